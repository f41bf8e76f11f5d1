"""Which photo or video becomes which file, found out before anything is computed."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lowlight_jax.images.files import IMAGE_SUFFIXES, search_images
from lowlight_jax.images.kinds import (
    HEIC_SUFFIXES,
    VIDEO_SUFFIXES,
    WRITTEN_VIDEO_SUFFIXES,
    missing_extra,
)
from lowlight_jax.images.search import LeftOut
from lowlight_jax.runtime.outputs import (
    PathError,
    check_folder,
    check_outside,
    ignores_case,
)


class UsageError(ValueError):
    """The inputs and the output cannot go together; told before anything starts."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One photograph or video to read and the file to write."""

    source: Path
    target: Path

    @property
    def is_video(self) -> bool:
        """By its suffix."""
        return _is_video(self.source)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def plan_jobs(
    inputs: Sequence[Path],
    output: Path,
    image_format: str | None = None,
    left_out: LeftOut | None = None,
) -> list[Job]:
    """Pairs every photograph and video with the file it becomes.

    Args:
      inputs: files, and folders to search.
      output: a file, if the only input is a file and `output` has the suffix of an
        image, or of a video if that is one; else a folder, in which relative paths and
        stems are kept.
      image_format: "png", "jpg", ...; None is png, or what the suffix of `output` says.
        Videos keep their format, and become mkv from one that is not written.
      left_out: is told what in the folders is no job.
    Raises:
      UsageError: inputs that do not exist, nothing to do, two inputs with the same
        output name, an output that is an input or lies inside a folder of inputs, where
        a second run would take the results of the first for photographs, or one that
        cannot be a folder, is named like a file of an unknown kind, or of one whose
        extra is not installed.
    """
    missing = [f"  {path}" for path in inputs if not path.exists()]
    if missing:
        raise UsageError("\n".join(["These inputs do not exist:", *missing]))
    left_out = LeftOut() if left_out is None else left_out
    suffix = output.suffix.lower()
    written = (*IMAGE_SUFFIXES, *WRITTEN_VIDEO_SUFFIXES)
    names_file = suffix in written and not output.is_dir()
    if names_file and len(inputs) == 1 and inputs[0].is_file():
        found, named = (
            "video" if _is_video(path) else "photo" for path in (inputs[0], output)
        )
        if found != named:
            raise UsageError(
                f"{inputs[0]} is a {found} and --output {output} a {named}; expected a "
                f"folder, or a name ending in one of {' '.join(_written_as(found))}"
            )
        wanted = {"jpg": (".jpg", ".jpeg"), "tif": (".tif", ".tiff")}
        wanted |= {"heic": HEIC_SUFFIXES}
        fitting = wanted.get(image_format, (f".{image_format}",))
        if image_format and not _is_video(output) and suffix not in fitting:
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
        _check_means_folder(output)
        jobs = _jobs_into_folder(inputs, output, f".{image_format or 'png'}", left_out)
        folder = output
    if not jobs:
        nothing = (
            f"Nothing to do: no images in {', '.join(map(str, inputs))}; looked for "
            f"{' '.join((*IMAGE_SUFFIXES, *_read_videos()))}"
        )
        raise UsageError("\n  ".join([nothing, *left_out.lines()]))
    _check_names(jobs)
    for target in (job.target for job in jobs):
        if install := missing_extra(target.suffix.lower()):
            raise UsageError(f"{target}: to write {target.suffix}, {install}")
    try:
        check_folder(folder, "--output")
        if not names_file:
            check_outside(output, inputs, "--output")
        _check_case(jobs, folder)
    except PathError as error:
        raise UsageError(str(error)) from error
    return jobs


def _check_means_folder(output: Path) -> None:
    """A name like out.avif is no folder, unless there is one of this name."""
    suffix = output.suffix
    if re.fullmatch(r"\.[A-Za-z]\w*", suffix) and not output.exists():
        kind = "video" if _is_video(output) else "image"
        raise UsageError(
            f"--output {output}: no {kind} is written as {suffix}; expected "
            f"{' '.join(_written_as(kind))}, or a folder: one with such a name must "
            "exist"
        )


def _written_as(kind: str) -> tuple[str, ...]:
    return WRITTEN_VIDEO_SUFFIXES if kind == "video" else IMAGE_SUFFIXES


def _read_videos() -> tuple[str, ...]:
    """What is searched for where PyAV is installed."""
    return () if missing_extra(VIDEO_SUFFIXES[0]) else VIDEO_SUFFIXES


def _jobs_into_folder(
    inputs: Sequence[Path], output: Path, suffix: str, left_out: LeftOut
) -> list[Job]:
    jobs = {}  # keyed by both names: the same file may be given twice
    for path in inputs:
        base = path if path.is_dir() else path.parent
        found, others = search_images(path, more=_read_videos())
        for reason, paths in others.items():
            for other in paths:
                left_out.add(other, reason)
        for file in found:
            relative = file.relative_to(base)
            kept = file.suffix.lower()
            kept = kept if kept in WRITTEN_VIDEO_SUFFIXES else ".mkv"
            ending = kept if _is_video(file) else suffix
            target = output / relative.with_name(relative.stem + ending)
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


def _check_case(jobs: Sequence[Job], folder: Path) -> None:
    """Names that differ by case only are one file where the disk does not tell them."""
    by_name = defaultdict(list)
    for job in jobs:
        by_name[str(job.target).casefold()].append(job.source)
    clashes = [sources for sources in by_name.values() if len(sources) > 1]
    if clashes and ignores_case(folder):
        names = [f"  {' and '.join(map(str, sources))}" for sources in clashes]
        raise UsageError(
            "\n".join(["The disk of --output takes these names for the same:", *names])
            + "\nRename them, or enhance them in separate runs into separate folders."
        )
