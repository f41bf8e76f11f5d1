"""The command that brightens photographs: files and folders in, files out.

    python -m lowlight_jax.enhance IN [IN ...] --output OUT

Everything wrong with the names is told before anything is computed; after that a file
that cannot be read or written is named at the end and the others go on.
Exit codes: 0 all saved, 1 some failed, 2 wrong usage or nothing to do, 130 interrupted.
Not here: the computation (`lowlight_jax.enhance`) and the formats (`image_files`).
"""

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from lowlight_jax.image_files import (
    IMAGE_SUFFIXES,
    ImageFileError,
    Photo,
    find_images,
    read_photo,
    write_photo,
)

FORMATS = ("png", "jpg", "webp", "tif")
_NAMED_IN_SUMMARY = 5  # files; more are counted

_EPILOG = """\
examples:
  python -m lowlight_jax.enhance night.jpg --output night_enhanced.jpg
  python -m lowlight_jax.enhance photos/ --output enhanced/
  python -m lowlight_jax.enhance a.jpg b.tif --output enhanced/ --strength 0.7

Size, EXIF, colour profile, transparency, 16 bits and grayscale are kept where the
output format can hold them (png and tif: all of them). Files in OUT of the same name
are replaced; an input never is. Exit code 0: all saved, 1: some failed, 2: wrong usage.
"""


class UsageError(ValueError):
    """The inputs and the output cannot go together; told before anything starts."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One photograph to read and the file to write."""

    source: Path
    target: Path


@dataclasses.dataclass
class Outcome:
    """What has happened so far."""

    saved: list[Path] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lowlight_jax.enhance",
        description="Brightens low-light photographs and removes their noise.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="IN",
        help="image file, or folder that is searched for images with its subfolders",
    )
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="folder for the results, which keep their names and subfolders; for a "
        "single IN file also a file name with an image suffix",
    )
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--model", default="dual", help="shipped weights to use (default: dual)"
    )
    network.add_argument(
        "--checkpoint",
        type=Path,
        metavar="WORKDIR",
        help="weights of your own training instead: the workdir it was given",
    )
    parser.add_argument(
        "--strength",
        type=_unit_interval,
        default=1.0,
        metavar="0..1",
        help="0 leaves the photo as it is, 1 is the full effect (default: 1)",
    )
    parser.add_argument(
        "--no-denoise",
        dest="denoise",
        action="store_false",
        help="only brighten; keep grain and noise",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the files in a folder OUT (default: png)",
    )
    return parser.parse_args(argv)


def _unit_interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


def plan_jobs(
    inputs: Sequence[Path], output: Path, image_format: str | None = None
) -> list[Job]:
    """Pairs every photograph with the file it becomes.

    Args:
      inputs: files, and folders to search; what lies below `output` is left out, so
        that a second run does not take the results of the first for photographs.
      output: a file, if the only input is a file and `output` has an image suffix; else
        a folder, in which relative paths and stems are kept.
      image_format: one of `FORMATS`; None is png, or what the suffix of `output` says.
    Raises:
      UsageError: inputs that do not exist, nothing to do, two inputs with the same
        output name, an output that is an input, or an output that cannot be a folder.
    """
    missing = [f"  {path}" for path in inputs if not path.exists()]
    if missing:
        raise UsageError("\n".join(["These inputs do not exist:", *missing]))
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
        jobs = _jobs_into_folder(inputs, output, f".{image_format or 'png'}")
        folder = output
    if not jobs:
        raise UsageError(
            f"Nothing to do: no images in {', '.join(map(str, inputs))}; looked for "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    _check_names(jobs)
    _check_folder(folder)
    return jobs


def _jobs_into_folder(inputs: Sequence[Path], output: Path, suffix: str) -> list[Job]:
    jobs = {}  # keyed by both names: the same file may be given twice
    results = output.resolve()
    for path in inputs:
        base = path if path.is_dir() else path.parent
        found = find_images(path)
        if path.is_dir() and results != path.resolve():
            found = [file for file in found if results not in file.resolve().parents]
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


def run(args: argparse.Namespace, enhancer_factory: Callable) -> int:
    """Does what was asked and returns the exit code.

    Args:
      args: from `parse_args`.
      enhancer_factory: `Enhancer` of `lowlight_jax.enhance`, or one with its signature.
    """
    started = time.monotonic()
    outcome = Outcome()
    try:
        jobs = plan_jobs(args.inputs, args.output, args.format)
        enhance_jobs(jobs, args, enhancer_factory, outcome)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"Interrupted; {_saved_line(outcome.saved, args.output)}", file=sys.stderr
        )
        return 130
    seconds = time.monotonic() - started
    print(f"{_saved_line(outcome.saved, args.output)} in {seconds:.1f} s")
    if outcome.failures:
        lines = [f"{len(outcome.failures)} failed:", *outcome.failures]
        print("\n  ".join(lines), file=sys.stderr)
        return 1
    return 0


def enhance_jobs(
    jobs: Sequence[Job],
    args: argparse.Namespace,
    enhancer_factory: Callable,
    outcome: Outcome,
) -> None:
    """Reads, enhances and writes; `outcome` is kept up to date.

    The next photo is read and the last one written while one is computed, no more: a
    photo of 24 million pixels takes 72 MB, and four of them are held at most.
    """
    with (
        _progress() as progress,
        ThreadPoolExecutor(1, "reader") as reader,
        ThreadPoolExecutor(1, "writer") as writer,
    ):
        bar = progress.add_task("Enhancing", total=len(jobs))
        reading = reader.submit(read_photo, jobs[0].source)
        enhancer = _make_enhancer(args, enhancer_factory)
        writing = None
        for index, job in enumerate(jobs):
            progress.update(bar, description=job.source.name)
            photo = None
            with _noting_failure(outcome, job.source):
                photo = reading.result()
            if index + 1 < len(jobs):
                reading = reader.submit(read_photo, jobs[index + 1].source)
            if photo is not None:
                with _noting_failure(outcome, job.source):
                    pixels = enhancer(
                        photo.pixels, strength=args.strength, denoise=args.denoise
                    )
                    enhanced = dataclasses.replace(photo, pixels=pixels)
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(_save, job.target, enhanced, outcome)
            progress.advance(bar)
        if writing is not None:
            writing.result()


def _make_enhancer(args: argparse.Namespace, enhancer_factory: Callable) -> Callable:
    from lowlight_jax.weights import WeightsError  # imports jax: --help must not wait

    try:
        return enhancer_factory(model=args.model, checkpoint=args.checkpoint)
    except WeightsError as error:
        raise UsageError(str(error)) from error


def _save(target: Path, photo: Photo, outcome: Outcome) -> None:
    with _noting_failure(outcome, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_photo(target, photo)
        outcome.saved.append(target)


@contextlib.contextmanager
def _noting_failure(outcome: Outcome, path: Path) -> Iterator[None]:
    """One photo that fails is noted and does not stop the others."""
    try:
        yield
    except ImageFileError as error:
        outcome.failures.append(str(error))
    except OSError as error:
        outcome.failures.append(f"{path}: {error.strerror}")
    except MemoryError:
        outcome.failures.append(f"{path} does not fit into memory")


def _progress() -> Progress:
    """A bar on the terminal; nothing where stderr is a file or a pipe."""
    console = Console(stderr=True)
    return Progress(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(max_width=40, no_wrap=True, overflow="ellipsis"),
        ),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _saved_line(saved: Sequence[Path], output: Path) -> str:
    """How many photos were saved where, and by what names if they are few."""
    if not saved:
        return "No photo saved"
    if list(saved) == [output]:
        return f"1 photo saved to {output}"
    names = [str(path.relative_to(output)) for path in saved[:_NAMED_IN_SUMMARY]]
    if len(saved) > _NAMED_IN_SUMMARY:
        names.append(f"and {len(saved) - _NAMED_IN_SUMMARY} more")
    plural = "s" * (len(saved) > 1)
    return f"{len(saved)} photo{plural} saved to {output}: {', '.join(names)}"


def main(argv: Sequence[str] | None = None) -> int:
    # Pillow warns of odd tags, OpenCV logs damage: what matters is in our messages.
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    return run(parse_args(argv), _make_cached_enhancer)


def _make_cached_enhancer(**options) -> Callable:
    from lowlight_jax.cache import use_compilation_cache
    from lowlight_jax.enhance import Enhancer

    use_compilation_cache()
    return Enhancer(**options)


if __name__ == "__main__":
    # Being told to end is like Ctrl-C: the file in the making is finished or removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
