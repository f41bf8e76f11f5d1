"""The command that brightens photographs: files and folders in, files out.

    python -m lowlight_jax.enhance IN [IN ...] --output OUT
    python -m lowlight_jax.enhance --list

Everything wrong with the names is told before anything is computed; after that a file
that cannot be read or written is named at the end and the others go on.
Exit codes: 0 all saved, 1 some failed, 2 wrong usage or nothing to do, 130 interrupted.
Not here: the computation (`lowlight_jax.enhance`, `baselines`, `finish`), what
`--model` can be (`methods`) and the formats (`image_files`).
"""

import argparse
import contextlib
import dataclasses
import functools
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from lowlight_jax.images.files import ImageFileError, Photo, read_photo, write_photo
from lowlight_jax.inference import methods
from lowlight_jax.inference.enhancer import DEFAULT_MODEL
from lowlight_jax.inference.finish import finish
from lowlight_jax.inference.jobs import Job, UsageError, plan_jobs
from lowlight_jax.runtime.command import NOTHING_WRITTEN, run_command
from lowlight_jax.runtime.progress import listening

PROG = "python -m lowlight_jax.enhance"
FORMATS = ("png", "jpg", "webp", "tif")
_NAMED_IN_SUMMARY = 5  # files; more are counted

_EPILOG = """\
examples:
  %(prog)s night.jpg --output night_enhanced.jpg
  %(prog)s photos/ --output enhanced/
  %(prog)s a.jpg b.tif --output enhanced/ --strength 0.7
  %(prog)s night.jpg --output gamma.png --model gamma --param exponent=0.5
  %(prog)s damaged.png --output repaired.png --model inpaint

Size, EXIF, colour profile, transparency, 16 bits and grayscale are kept where the
output format can hold them (png and tif: all of them). Classical methods compute in
8 bits, put back to 16 for a 16-bit photo; unlike networks they also change photos that
are bright already. --unsharp and --saturation come last.
Files in OUT of the same name are replaced; an input never is.
Exit code 0: all saved, 1: some failed, 2: wrong usage.
"""


@dataclasses.dataclass
class Outcome:
    """What has happened so far."""

    saved: list[Path] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
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
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="shipped network or classical method, see --list (default: %(default)s)",
    )
    network.add_argument(
        "--checkpoint",
        type=Path,
        metavar="WORKDIR",
        help="weights of your own training instead: the workdir it was given",
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of a classical method; may be repeated",
    )
    parser.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="image of the size of IN, white in the holes that --model inpaint repairs "
        "(default: the regions of pure black); of JPEG and WebP, what lies beside a "
        "hole is repaired too",
    )
    parser.add_argument(
        "--list",
        action=_PrintList,
        nargs=0,
        help="show every network and classical method, and exit",
    )
    parser.add_argument(
        "--strength",
        type=_number_to(1),
        default=1.0,
        metavar="0..1",
        help="0 leaves the photo as it is, 1 is the full effect (default: 1)",
    )
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument(
        "--denoise",
        type=_number_to(1),
        metavar="0..1",
        help="how much of the noise a network takes away (default: 1)",
    )
    noise.add_argument(
        "--no-denoise",
        dest="denoise",
        action="store_const",
        const=0.0,
        help="only brighten; keep grain and noise: the same as --denoise 0",
    )
    parser.add_argument(
        "--unsharp",
        type=_number_to(3),
        default=0.0,
        metavar="0..3",
        help="sharpens brightness, not colour, at 1.5 px (default: 0)",
    )
    parser.add_argument(
        "--saturation",
        type=_number_to(3),
        default=1.0,
        metavar="0..3",
        help="0 makes the result gray, 2 twice as colourful (default: 1)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the files in a folder OUT (default: png)",
    )
    return parser.parse_args(argv)


class _PrintList(argparse.Action):
    """Like --help: whatever else is on the command line."""

    def __call__(self, parser, namespace, values, option_string=None):
        methods.print_list()
        parser.exit()


def _number_to(high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= high:
            raise argparse.ArgumentTypeError(
                f"'{text}' is not a number from 0 to {high}"
            )
        return value

    return parse


def run(args: argparse.Namespace, enhancer_factory: Callable) -> int:
    """Does what was asked and returns the exit code.

    Args:
      args: from `parse_args`.
      enhancer_factory: `methods.network`, or one with its signature.
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
                    with listening(functools.partial(_show, progress, bar, index)):
                        pixels = enhancer(photo, strength=args.strength)
                    pixels = finish(
                        pixels, unsharp=args.unsharp, saturation=args.saturation
                    )
                    enhanced = dataclasses.replace(photo, pixels=pixels)
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(_save, job.target, enhanced, outcome)
            _show(progress, bar, index, 1.0)
        if writing is not None:
            writing.result()


def _make_enhancer(args: argparse.Namespace, enhancer_factory: Callable) -> Callable:
    """`f(photo, *, strength)`, pixels out, of the network or method that is meant."""
    if args.checkpoint is None:
        try:
            method = methods.classical(args.model, args.param)
        except (ValueError, ImportError) as error:
            raise UsageError(str(error)) from error
        if method is not None:
            if args.denoise is not None:
                raise UsageError(
                    f"--model {args.model} is a classical method without denoising; "
                    "leave --denoise and --no-denoise out"
                )
            _check_mask(args, repairs=False)
            return _of_pixels(method)
    from lowlight_jax.weights import WeightsError, shipped_names  # jax: --help is fast

    if args.checkpoint is None and args.model not in shipped_names():
        raise UsageError(
            f"--model {args.model}: there is no such network or classical method; "
            "`python -m lowlight_jax.enhance --list` shows all"
        )
    if args.param:
        raise UsageError(
            "--param: only classical methods have parameters; leave it out"
        )
    try:
        enhancer = enhancer_factory(model=args.model, checkpoint=args.checkpoint)
    except WeightsError as error:
        raise UsageError(str(error)) from error
    if args.denoise is not None and not enhancer.can_denoise:
        raise UsageError(
            f"{args.checkpoint or args.model} is a network without a denoising module; "
            "leave --denoise and --no-denoise out"
        )
    _check_mask(args, repairs=enhancer.repairs)
    if enhancer.repairs:
        return functools.partial(methods.repair, enhancer, _read_mask(args.mask))
    denoise = 1.0 if args.denoise is None else args.denoise
    return _of_pixels(functools.partial(enhancer, denoise=denoise))


def _of_pixels(function: Callable) -> Callable:
    return lambda photo, **options: function(photo.pixels, **options)


def _check_mask(args: argparse.Namespace, *, repairs: bool) -> None:
    if args.mask is None:
        return
    if not repairs:
        raise UsageError(
            "--mask: only networks that repair holes take a mask; see --list"
        )
    if len(args.inputs) > 1 or args.inputs[0].is_dir():
        raise UsageError("--mask: expected one IN file, the one that the mask is for")


def _read_mask(path: Path | None) -> np.ndarray | None:
    """`[h, w]`, True in holes: where a channel is above half of white."""
    if path is None:
        return None
    try:
        pixels = read_photo(path).pixels
    except (ImageFileError, OSError) as error:
        raise UsageError(f"--mask: {error}") from error
    return pixels.max(axis=-1) > np.iinfo(pixels.dtype).max // 2


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
    except ValueError as error:
        outcome.failures.append(f"{path}: {error}")
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


def _show(progress: Progress, bar, index: int, fraction: float) -> None:
    """A slow method's photo counts as far as it is done."""
    progress.update(bar, completed=index + fraction)


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


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    # Pillow warns of odd tags, OpenCV logs damage: what matters is in our messages.
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Being told to end is like Ctrl-C: the file in the making is finished or removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_command(
        lambda: run(parse_args(argv, prog), _make_cached_enhancer),
        interrupted=NOTHING_WRITTEN,
    )


def _make_cached_enhancer(**options) -> Callable:
    from lowlight_jax.runtime.cache import use_compilation_cache

    use_compilation_cache()
    return methods.network(**options)


if __name__ == "__main__":
    sys.exit(main())
