"""The command that brightens photographs and videos: files and folders in, files out.

    python -m lowlight_jax.enhance IN [IN ...] --output OUT
    python -m lowlight_jax.enhance --list

Everything wrong with the names is told before anything is computed; after that a file
that cannot be read or written is named at the end and the others go on.
Exit codes: 0 all saved, 1 some failed or are of a kind that is not read, 2 wrong usage
or nothing to do, 130 interrupted.
Not here: all else, which is in `lowlight_jax.inference`: which photo becomes which file
(`jobs`), what `--model` can be (`methods`), reading ahead and writing (`batch`); and
videos, which are in `lowlight_jax.video`, with their flags in `videos` here.
"""

import argparse
import contextlib
import functools
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from lowlight_jax.enhance.videos import (
    add_video_flags,
    check_paths,
    check_video_flags,
    enhance_camera,
    enhance_videos,
    is_camera,
    path_or_address,
)
from lowlight_jax.images.files import image_size
from lowlight_jax.images.kinds import VIDEO_SUFFIXES
from lowlight_jax.images.search import LeftOut, list_names
from lowlight_jax.inference.batch import Outcome, enhance_files
from lowlight_jax.inference.jobs import Job, UsageError, plan_jobs
from lowlight_jax.inference.methods import (
    is_classical,
    load_method,
    print_list,
    read_mask,
)
from lowlight_jax.inference.onnx_runtime import BACKENDS, takes_onnx
from lowlight_jax.inference.runner import DEFAULT_MODEL
from lowlight_jax.runtime.allocator import PHOTO_BUFFER, keep_freed_memory
from lowlight_jax.runtime.command import (
    NOTHING_WRITTEN,
    add_debug_flag,
    number_between,
    run_command,
)
from lowlight_jax.runtime.outputs import user_path

PROG = "python -m lowlight_jax.enhance"
_MOST_PIXELS_BY_ONNX = 6_000_000  # of all photographs; benchmarks/enhance.py
FORMATS = ("png", "jpg", "webp", "tif", "avif", "heic")

_EPILOG = """\
examples:
  %(prog)s night.jpg --output night_enhanced.jpg
  %(prog)s photos/ --output enhanced/
  %(prog)s a.jpg b.tif --output enhanced/ --strength 0.7
  %(prog)s night.jpg --output night_brighter.jpg --exposure 0.5 --shadows 0.8
  %(prog)s night.jpg --output gamma.png --model gamma --param exponent=0.5
  %(prog)s damaged.png --output repaired.png --model inpaint
  %(prog)s night.mp4 --output day.mp4

HEIC, and raw files of cameras as IN, need pip install 'lowlight_jax[heif,raw]', and
videos 'lowlight_jax[video]'.
Size, EXIF, colour profile, transparency, 16 bits and grayscale are kept where the
output format can hold them (png and tif: all of them). Classical methods compute in
8 bits, put back to 16 for a 16-bit photo; unlike networks they also change photos that
are bright already. --unsharp and --saturation come last.
Of a video all but its pixels is kept: sound, subtitles, chapters, times. One that was
interrupted goes on when the command is given again.
Files in OUT of the same name are replaced; an input never is.
Pictures in a folder that cannot be read are named, and so is what a format drops.
Exit code 0: all saved, 1: some failed or are not read, 2: wrong usage.
"""


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Brightens low-light photographs and videos, and removes noise.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        type=path_or_address,
        metavar="IN",
        help="file, or folder that is searched for images and videos with its "
        "subfolders; or a camera or stream: /dev/video0, rtsp://...",
    )
    parser.add_argument(
        "--output",
        required=True,
        type=path_or_address,
        metavar="OUT",
        help="folder for the results, which keep their names and subfolders; for a "
        "single IN file also a file name; of a camera or stream a file ending in .mkv "
        "or .ts, an address, or - for the standard output",
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="a network or classical method of --list, the workdir of your own "
        "training, a .safetensors file, or hf:OWNER/NAME@REVISION of the Hugging Face "
        "hub (default: %(default)s)",
    )
    model.add_argument(
        "--checkpoint",
        dest="model",
        metavar="WORKDIR",
        help="the same as --model WORKDIR",
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
        type=user_path,
        metavar="FILE",
        help="image of the size of IN, white in the holes that --model repairs, or "
        "opaque there and else transparent (default: the regions of pure black); of "
        "JPEG and other lossy formats, what lies beside a hole is repaired too",
    )
    parser.add_argument(
        "--list",
        action=_PrintList,
        nargs=0,
        help="show every network and classical method, and exit",
    )
    parser.add_argument(
        "--strength",
        type=number_between(0, 1),
        default=1.0,
        metavar="0..1",
        help="0 leaves the photo as it is, 1 is the full effect (default: 1)",
    )
    parser.add_argument(
        "--exposure",
        type=number_between(-2, 2),
        metavar="-2..2",
        help="stops brighter or darker than the network's estimate (default: 0)",
    )
    parser.add_argument(
        "--shadows",
        type=number_between(0, 1),
        metavar="0..1",
        help="how far dark parts of the result are opened (default: 0.5)",
    )
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument(
        "--denoise",
        type=number_between(0, 1),
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
        type=number_between(0, 3),
        default=0.0,
        metavar="0..3",
        help="sharpens brightness, not colour, at 1.5 px (default: 0)",
    )
    parser.add_argument(
        "--saturation",
        type=number_between(0, 3),
        default=1.0,
        metavar="0..3",
        help="0 makes the result gray, 2 twice as colourful (default: 1)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the files in a folder OUT (default: png); heic needs "
        "pip install 'lowlight_jax[heif]'",
    )
    parser.add_argument(
        "--compress",
        action="store_true",
        help="make png and tif as small as can be, some percent smaller than else; "
        "writing them takes several times longer",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what computes networks; auto takes ONNX Runtime, which starts at once, "
        "for up to 6 megapixels in all, where it is installed, the network ships and "
        "there is no GPU or TPU; else JAX (default: auto)",
    )
    parser.add_argument(
        "--half-size",
        action="store_true",
        help="develop raw files of cameras at half their width and height, several "
        "times faster, to preview the result; other files keep their size",
    )
    add_video_flags(parser)
    add_debug_flag(parser)
    return parser.parse_args(argv)


class _PrintList(argparse.Action):
    """Like --help: whatever else is on the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        print_list()
        parser.exit()


def run(args: argparse.Namespace, load: Callable) -> int:
    """Does what was asked and returns the exit code.

    Args:
      args: from `parse_args`.
      load: `load_method`, or one with its signature.
    """
    started = time.monotonic()
    outcome, left_out = Outcome(), LeftOut()
    try:
        mask = _read_mask(args)
        if args.input_format or is_camera(args.inputs):
            method = functools.partial(_load_method, args, "jax", load)
            return enhance_camera(args, lambda: _frame_method(args, method(), mask))
        check_paths(args)
        jobs = plan_jobs(args.inputs, args.output, args.format, left_out)
        check_video_flags(args, jobs)
        _note_idle_compress(args, jobs)
        method = functools.cache(
            functools.partial(_load_method, args, _backend(args, jobs), load)
        )
        photos = [job for job in jobs if not job.is_video]
        videos = [job for job in jobs if job.is_video]
        with _progress() as progress:
            bar = progress.add_task("Enhancing", total=len(photos))
            enhance_files(
                photos,
                method,
                outcome,
                on_progress=functools.partial(_show, progress, bar),
                compress=args.compress,
                half_size=args.half_size,
                mask=mask,
                strength=args.strength,
                unsharp=args.unsharp,
                saturation=args.saturation,
                **_controls(args),
            )
        enhance_videos(
            videos, lambda: _frame_method(args, method(), mask), args, outcome
        )
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        saved = _saved_line(outcome.saved, args.output)
        print(f"Interrupted; {saved}{outcome.goes_on}", file=sys.stderr)
        return 130
    seconds = time.monotonic() - started
    print(f"{_saved_line(outcome.saved, args.output)} in {seconds:.1f} s")
    for note, paths in outcome.notes.items():
        print(f"note: {list_names(paths)}: {note}", file=sys.stderr)
    for line in left_out.lines():
        print(line, file=sys.stderr)
    if outcome.failures:
        lines = [f"{len(outcome.failures)} failed:", *outcome.failures]
        print("\n  ".join(lines), file=sys.stderr)
        return 1
    return 1 if left_out.parted()[1] else 0


def _load_method(args: argparse.Namespace, backend: str, load: Callable):
    """The network or classical method that is meant, if it can do what is asked.

    Raises:
      UsageError: there is none, or the other options do not go with it.
    """
    try:
        method = load(args.model, args.param, backend)
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from error
    turned = _controls(args)
    if "denoise" in turned and "denoise" not in method.controls:
        raise UsageError(
            f"--model {args.model} has no denoising module; leave --denoise and "
            "--no-denoise out"
        )
    for name in turned:
        if name not in method.controls:
            raise UsageError(
                f"--{name}: only networks that brighten have it, which --model "
                f"{args.model} is not; leave it out"
            )
    if args.mask is not None and not method.needs_mask:
        raise UsageError(
            "--mask: only methods that repair holes take a mask; see --list"
        )
    return method


def _frame_method(args: argparse.Namespace, method: Any, mask: np.ndarray | None):
    """What is asked of a method, for the frames of a video."""
    from lowlight_jax.video.steady import FrameMethod

    if method.needs_mask and mask is None:
        raise UsageError(
            f"--model {args.model} repairs holes, which are not looked for in videos; "
            "expected --mask FILE"
        )
    return FrameMethod(
        method,
        smooth_seconds=args.smooth_seconds,
        temporal_denoise=args.temporal_denoise,
        mask=mask,
        strength=args.strength,
        unsharp=args.unsharp,
        saturation=args.saturation,
        controls=_controls(args),
    )


def _backend(args: argparse.Namespace, jobs: Sequence[Job]) -> str:
    """JAX instead of auto, where there is so much to do that its start is made up for.

    ONNX Runtime is there two seconds earlier, and takes an eighth longer for the rest.
    """
    if args.backend != "auto":
        return args.backend
    if any(job.is_video for job in jobs):
        return "jax"
    pixels = 0
    for job in jobs:
        with contextlib.suppress(Exception):  # told when its turn comes
            pixels += math.prod(image_size(job.source))
        if pixels > _MOST_PIXELS_BY_ONNX:
            return "jax"
    return "auto"


def _controls(args: argparse.Namespace) -> dict[str, float]:
    """What was turned."""
    turned = {name: getattr(args, name) for name in ("exposure", "shadows", "denoise")}
    return {name: value for name, value in turned.items() if value is not None}


def _read_mask(args: argparse.Namespace) -> np.ndarray | None:
    """The mask that is given, for the one photo that it is for."""
    if args.mask is None:
        return None
    if len(args.inputs) > 1 or Path(args.inputs[0]).is_dir():
        raise UsageError("--mask: expected one IN file, the one that the mask is for")
    try:
        return read_mask(args.mask)
    except (ValueError, OSError) as error:
        raise UsageError(f"--mask: {error}") from error


def _note_idle_compress(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """It does no harm to other formats, but whoever wants small files should know."""
    suffixes = {job.target.suffix.lower() for job in jobs}
    if args.compress and not suffixes & {".png", ".tif", ".tiff"}:
        print(
            "note: --compress makes png and tif smaller, and changes nothing in "
            f"{' '.join(sorted(suffixes))}",
            file=sys.stderr,
        )


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


def _show(
    progress: Progress, bar: TaskID, index: int, job: Job, fraction: float
) -> None:
    """A slow method's photo counts as far as it is done."""
    progress.update(bar, description=job.source.name, completed=index + fraction)


def _saved_line(saved: Sequence[Path], output: Path) -> str:
    """How many files were saved where, and by what names if they are few."""
    videos = sum(path.suffix.lower() in VIDEO_SUFFIXES for path in saved)
    kind = "photo" if not videos else "video" if videos == len(saved) else "file"
    if not saved:
        return f"No {kind} saved"
    if list(saved) == [output]:
        return f"1 {kind} saved to {output}"
    names = list_names([path.relative_to(output) for path in saved])
    plural = "s" * (len(saved) > 1)
    return f"{len(saved)} {kind}{plural} saved to {output}: {names}"


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    # Pillow warns of odd tags, OpenCV logs damage: what matters is in our messages.
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Being told to end is like Ctrl-C: the file in the making is finished or removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_command(
        lambda: run(parse_args(argv, prog), _load_with_cache),
        interrupted=NOTHING_WRITTEN,
    )


def _load_with_cache(model: str, params: Sequence[str], backend: str):
    if not is_classical(model) and not takes_onnx(backend, model):
        from lowlight_jax.runtime.cache import use_compilation_cache

        keep_freed_memory(PHOTO_BUFFER)
        use_compilation_cache()  # which imports JAX
    return load_method(model, params, backend)


if __name__ == "__main__":
    sys.exit(main())
