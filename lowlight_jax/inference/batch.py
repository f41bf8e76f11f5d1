"""Many photographs: read, enhanced, written, with all three at work at once."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lowlight_jax.images.files import (
    Photo,
    check_fits_format,
    read_photo,
    write_photo,
)
from lowlight_jax.inference.jobs import Job
from lowlight_jax.inference.methods import enhance_photo
from lowlight_jax.runtime.errors import of_item

if TYPE_CHECKING:
    from lowlight_jax.inference.methods import ClassicalMethod
    from lowlight_jax.inference.runner import Runner

# Told the job's index, the job, and which fraction of it is done.
JobListener = Callable[[int, Job, float], None]


@dataclasses.dataclass
class Outcome:
    """What has happened so far: files saved, and a sentence for each that was not.

    Attributes:
      notes: files that were saved without something that they had, by what it is.
      goes_on: what to say of one that was begun, if it is interrupted.
    """

    saved: list[Path] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    notes: dict[str, list[Path]] = dataclasses.field(default_factory=dict)
    goes_on: str = ""


def enhance_files(
    jobs: Sequence[Job],
    load: "Callable[[], Runner | ClassicalMethod]",
    outcome: Outcome,
    *,
    on_progress: JobListener = lambda index, job, fraction: None,
    compress: bool = False,
    half_size: bool = False,
    **options,
) -> None:
    """Reads, enhances and writes; a photograph that fails does not stop the others.

    The next photo is read and the last one written while one is computed, no more: a
    photo of 24 million pixels takes 72 MB, and four of them are held at most. (Of a
    wide-gamut one, what the network sees and makes are held too, in 16 bits.)

    Args:
      jobs: of photographs, see `plan_jobs`.
      load: makes the method, while the first photo is being read; what it raises ends
        everything.
      outcome: kept up to date.
      on_progress: told at the start, during and at the end of each photo.
      compress: of `write_photo`.
      half_size: of `read_photo`.
      **options: of `enhance_photo`.
    """
    if not jobs:
        return
    with (
        ThreadPoolExecutor(1, "reader") as reader,
        ThreadPoolExecutor(1, "writer") as writer,
    ):
        read = partial(read_photo, half_size=half_size)
        reading = reader.submit(read, jobs[0].source)
        method = load()
        writing = None
        for index, job in enumerate(jobs):
            show = partial(on_progress, index, job)
            show(0.0)
            photo = None
            with _noting_failure(outcome, job.source):
                photo = reading.result()
            if index + 1 < len(jobs):
                reading = reader.submit(read, jobs[index + 1].source)
            if photo is not None:
                with _noting_failure(outcome, job.source):
                    check_fits_format(job.target, *photo.pixels.shape[:2])
                    enhanced = enhance_photo(method, photo, progress=show, **options)
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(_save, job, enhanced, outcome, compress)
            show(1.0)
        if writing is not None:
            writing.result()


def _save(job: Job, photo: Photo, outcome: Outcome, compress: bool) -> None:
    target = job.target
    with _noting_failure(outcome, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lost = write_photo(target, photo, compress=compress)
        outcome.saved.append(target)
        for note in (*photo.notes, *lost):
            outcome.notes.setdefault(note, []).append(job.source)


@contextlib.contextmanager
def _noting_failure(outcome: Outcome, path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        outcome.failures.append(of_item(error, path))
