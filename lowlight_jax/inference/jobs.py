"""Which photograph becomes which file, found out before anything is computed."""

import dataclasses
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lowlight_jax.images.files import IMAGE_SUFFIXES, search_images
from lowlight_jax.images.search import LeftOut


class UsageError(ValueError):
    """The inputs and the output cannot go together; told before anything starts."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One photograph to read and the file to write."""

    source: Path
    target: Path


def plan_jobs(
    inputs: Sequence[Path],
    output: Path,
    image_format: str | None = None,
    left_out: LeftOut | None = None,
) -> list[Job]:
    """Pairs every photograph with the file it becomes.

    Args:
      inputs: files, and folders to search; what lies below `output` is left out, so
        that a second run does not take the results of the first for photographs.
      output: a file, if the only input is a file and `output` has an image suffix; else
        a folder, in which relative paths and stems are kept.
      image_format: "png", "jpg", ...; None is png, or what the suffix of `output` says.
      left_out: is told what in the folders is no job.
    Raises:
      UsageError: inputs that do not exist, nothing to do, two inputs with the same
        output name, an output that is an input, or an output that cannot be a folder.
    """
    missing = [f"  {path}" for path in inputs if not path.exists()]
    if missing:
        raise UsageError("\n".join(["These inputs do not exist:", *missing]))
    left_out = LeftOut() if left_out is None else left_out
    names_file = output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir()
    if names_file and len(inputs) == 1 and inputs[0].is_file():
        wanted = {"jpg": (".jpg", ".jpeg"), "tif": (".tif", ".tiff")}
        fitting = wanted.get(image_format, (f".{image_format}",))
        if image_format and output.suffix.lower() not in fitting:
            raise UsageError(
                f"--output {output} and --format {image_format} contradict each other; "
                "leave --format out"
            )
        jobs = [Job(inputs[0], output)]
        folder = output.parent
    elif names_file:
        raise UsageError(
            f"--output {output} names a file, but there is more than one photo to "
            "save; name a folder"
        )
    else:
        jobs = _jobs_into_folder(inputs, output, f".{image_format or 'png'}", left_out)
        folder = output
    if not jobs:
        nothing = (
            f"Nothing to do: no images in {', '.join(map(str, inputs))}; looked for "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
        raise UsageError("\n  ".join([nothing, *left_out.lines()]))
    _check_names(jobs)
    _check_folder(folder)
    return jobs


def _jobs_into_folder(
    inputs: Sequence[Path], output: Path, suffix: str, left_out: LeftOut
) -> list[Job]:
    jobs = {}  # keyed by both names: the same file may be given twice
    results = output.resolve()
    for path in inputs:
        base = path if path.is_dir() else path.parent
        found, others = search_images(path, results=results)
        for reason, paths in others.items():
            for other in paths:
                left_out.add(other, reason)
        for file in found:
            relative = file.relative_to(base)
            target = output / relative.with_name(relative.stem + suffix)
            jobs[file.resolve(), target] = Job(file, target)
    return list(jobs.values())


def _check_names(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    overwritten = [f"  {job.target}" for job in jobs if job.target.resolve() in sources]
    if overwritten:
        raise UsageError(
            "\n".join(["These inputs would be overwritten:", *overwritten])
            + "\nChoose another --output."
        )
    by_target = defaultdict(list)
    for job in jobs:
        by_target[job.target].append(job.source)
    clashes = [
        f"  {target} from {' and '.join(map(str, sources))}"
        for target, sources in by_target.items()
        if len(sources) > 1
    ]
    if clashes:
        raise UsageError(
            "\n".join(["Several inputs would get the same output name:", *clashes])
            + "\nRename them, or enhance them in separate runs into separate folders."
        )


def _check_folder(folder: Path) -> None:
    """Finds out before the work whether results can be saved; creates nothing."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UsageError(
            f"--output: {existing} is a file, so {folder} cannot be a folder; choose "
            "another name"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(
            f"--output: nothing can be saved in {existing}; check its permissions"
        )
