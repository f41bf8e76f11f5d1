"""The command's part for videos: options, progress, one file after the other."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from lowlight_jax.images.kinds import VIDEO_SUFFIXES
from lowlight_jax.inference.batch import Outcome
from lowlight_jax.inference.jobs import Job, UsageError
from lowlight_jax.runtime.allocator import keep_freed_memory
from lowlight_jax.runtime.command import number_between
from lowlight_jax.runtime.errors import of_item
from lowlight_jax.runtime.outputs import user_path
from lowlight_jax.video.reader import VideoError
from lowlight_jax.video.writer import CODECS, Coding, default_codec

if TYPE_CHECKING:
    from lowlight_jax.video.steady import FrameMethod


def add_video_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `enhance` that are for videos alone."""
    videos = parser.add_argument_group(
        f"videos ({' '.join(VIDEO_SUFFIXES)}), with pip install 'lowlight_jax[video]'"
    )
    videos.add_argument(
        "--smooth-seconds",
        type=number_between(0, 60),
        default=1.0,
        metavar="0..60",
        help="over how long the light of the scene is averaged, against flicker; 0: "
        "each frame has its own (default: 1)",
    )
    videos.add_argument(
        "--temporal-denoise",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="average what is left of the noise over frames, along the motion "
        "(default: yes)",
    )
    videos.add_argument(
        "--codec",
        choices=tuple(CODECS),
        help="of the result (default: h264, and av1 for webm)",
    )
    videos.add_argument(
        "--crf",
        type=number_between(0, 63),
        metavar="0..63",
        help="quality, lower is better and larger (default: "
        + ", ".join(f"{codec.crf} for {name}" for name, codec in CODECS.items())
        + ")",
    )
    videos.add_argument(
        "--input-format",
        metavar="NAME",
        help="IN is a camera, and this FFmpeg's name of what reads it, like v4l2, "
        "avfoundation or dshow; not needed for /dev/video0 and addresses",
    )


def path_or_address(text: str) -> Path | str:
    """A path of a file, or an address as it stands: rtsp://camera/1 has two slashes."""
    return text if _is_address(text) else user_path(text)


def is_camera(inputs: Sequence[Path | str]) -> bool:
    """Whether a camera or stream is among them."""
    return any(_is_address(str(name)) for name in inputs)


def _is_address(text: str) -> bool:
    return "://" in text or text.startswith("/dev/video")


def check_paths(args: argparse.Namespace) -> None:
    """Whether files are written to files.

    Raises:
      UsageError: the output is an address.
    """
    if not isinstance(args.output, Path) or str(args.output) == "-":
        raise UsageError(
            f"--output {args.output} is for a camera or stream; expected a path for "
            f"{args.inputs[0]}"
        )


def check_video_flags(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Whether they can be meant.

    Raises:
      UsageError: the codec does not go to so high a number.
    """
    for job in jobs:
        if job.is_video and args.crf is not None:
            name = args.codec or default_codec(job.target.suffix.lower())
            if args.crf > (most := CODECS[name].most_crf):
                raise UsageError(f"--crf {args.crf:g}: {name} takes 0 to {most}")


def enhance_videos(
    jobs: Sequence[Job],
    make: Callable[[], "FrameMethod"],
    args: argparse.Namespace,
    outcome: Outcome,
) -> None:
    """Enhances one video after the other; one that fails does not stop the others.

    Args:
      jobs: of videos alone.
      make: the method, called if there is any job.
      args: of the command.
      outcome: kept up to date.
    """
    if not jobs:
        return
    from lowlight_jax.video.files import enhance_video
    from lowlight_jax.video.parts import forget

    method = _made(make)
    with _progress() as progress:
        for job in jobs:
            bar = progress.add_task(job.source.name, total=None, fps=0.0)

            def show(done: int, total: int, fps: float, bar: Any = bar) -> None:
                progress.update(bar, completed=done, total=total, fps=fps)

            outcome.goes_on = f"; with {job.source} the same command goes on"
            codec = args.codec or default_codec(job.target.suffix.lower())
            try:
                notes, problem = enhance_video(
                    job.source,
                    job.target,
                    method,
                    Coding(codec, args.crf),
                    show,
                    is_remembered=True,
                )
            except Exception as error:
                outcome.failures.append(of_item(error, job.source))
            else:
                outcome.saved.append(job.target)
                for note in notes:
                    outcome.notes.setdefault(note, []).append(job.source)
                if problem:
                    outcome.failures.append(problem)
            outcome.goes_on = ""
            progress.remove_task(bar)
    for target in outcome.saved:  # now that none of them is to be made again
        forget(target)


def _made(make: Callable[[], "FrameMethod"]) -> "FrameMethod":
    """The method; frame after frame needs the same memory, more than photographs do."""
    method = make()
    keep_freed_memory()  # last, since `make` says how much to keep for photographs
    return method


def enhance_camera(args: argparse.Namespace, make: Callable[[], "FrameMethod"]) -> int:
    """Enhances a camera or stream as it comes, and returns the exit code.

    All that is said goes to stderr, since the result may go to the standard output.

    Raises:
      UsageError: the arguments do not go together.
    """
    from lowlight_jax.video import live

    source, target = str(args.inputs[0]), str(args.output)
    if len(args.inputs) > 1:
        raise UsageError(f"{source} is a camera or stream; expected it alone as IN")
    coding = Coding(args.codec or "h264", args.crf)
    try:
        live.format_of(target, coding.codec)
    except VideoError as error:
        raise UsageError(str(error)) from error
    console = Console(stderr=True)
    with console.status("waiting for frames") as status:
        done, problem = live.enhance_live(
            source,
            target,
            _made(make),
            coding,
            input_format=args.input_format,
            on_progress=lambda progress: status.update(progress.summary()),
        )
    print(done.summary(), file=sys.stderr)
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem or not done.written else 0


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} frames/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
