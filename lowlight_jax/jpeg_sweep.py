"""The command that shows what JPEG costs: PSNR, SSIM and bytes at many qualities.

    python -m lowlight_jax.jpeg_sweep IMAGE... --output DIR

The columns are those of table I of Salman, Kalakech 2024. Every image is encoded by
Pillow in memory, decoded, and scored against its own pixels; its bytes are those of the
pixels, without colour profile and EXIF. DIR gets `jpeg_sweep.csv` and `jpeg_sweep.png`.
Exit codes: 0 all done, 1 something was left out, 2 wrong usage or nothing to do, 130
interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from lowlight_jax.evaluation.jpeg_quality import (
    PROTOCOL,
    Row,
    csv_text,
    mean_rows,
    plot,
    print_rows,
    sweep,
)
from lowlight_jax.images.files import check_fits_format, search_images
from lowlight_jax.images.search import say_left_out
from lowlight_jax.runtime.allocator import PHOTO_BUFFER, keep_freed_memory
from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.runtime.command import (
    NOTHING_WRITTEN,
    USAGE,
    add_debug_flag,
    run_command,
)
from lowlight_jax.runtime.devices import check_devices
from lowlight_jax.runtime.errors import of_item
from lowlight_jax.runtime.outputs import check_folder, check_outside, user_path
from lowlight_jax.runtime.whole_file import write_whole

PROG = "python -m lowlight_jax.jpeg_sweep"
CSV_NAME = "jpeg_sweep.csv"
PLOT_NAME = "jpeg_sweep.png"


def parse_qualities(text: str) -> list[int]:
    """Qualities of "95:5:-5" (both ends included) or "90,50,10", or both mixed.

    Raises:
      argparse.ArgumentTypeError: not of this form, empty, or not all in 1 to 100.
    """
    qualities: list[int] = []
    for part in text.split(","):
        try:
            numbers = [int(number) for number in part.split(":")]
        except ValueError:
            numbers = []
        if len(numbers) == 3 and numbers[2]:
            start, stop, step = numbers
            numbers = list(range(start, stop + (1 if step > 0 else -1), step))
        elif len(numbers) != 1:
            numbers = []
        if not numbers or min(numbers) < 1 or max(numbers) > 100:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no quality; expected numbers from 1 to 100 like 90,50,10 "
                "or start:stop:step like 95:5:-5"
            )
        qualities += numbers
    return list(dict.fromkeys(qualities))


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="PSNR, SSIM and bytes of images over a sweep of JPEG qualities.",
        epilog=PROTOCOL,
    )
    parser.add_argument(
        "images",
        nargs="+",
        type=user_path,
        metavar="IMAGE",
        help="8-bit image file, or folder that is searched with its subfolders",
    )
    parser.add_argument(
        "--qualities",
        type=parse_qualities,
        default="95:5:-5",
        help="start:stop:step with both ends, or numbers separated by commas "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        required=True,
        metavar="DIR",
        help=f"folder for {CSV_NAME} and {PLOT_NAME}",
    )
    parser.add_argument("--no-plot", action="store_true", help="only the CSV")
    add_debug_flag(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Does what was asked and returns the exit code."""
    check_folder(args.output, "--output")
    check_outside(args.output, args.images, "--output")  # the plot is an image, too
    args.output.mkdir(parents=True, exist_ok=True)
    keep_freed_memory(PHOTO_BUFFER)
    use_compilation_cache()
    check_devices()
    from lowlight_jax.evaluation.folders import read_8_bit

    problems: list[str] = []
    files: list[Path] = []
    for path in args.images:
        try:
            found, left_out = search_images(path)
            expected, losses = left_out.parted()
            say_left_out(path, expected)
            problems += [f"{path}: {line}" for line in losses.lines()]
            files += found
        except Exception as error:
            problems.append(of_item(error, path))
    rows: list[Row] = []
    for file in track(dict.fromkeys(files), "Encoding", transient=True):
        try:
            pixels = read_8_bit(file)
            check_fits_format(file.with_suffix(".jpg"), *pixels.shape[:2])
            of_image, notes = sweep(str(file), pixels, args.qualities)
        except Exception as error:
            problems.append(of_item(error, file))
            continue
        rows += of_image
        problems += notes
    if rows:
        plotted = _plot_or_problem(rows, problems) if not args.no_plot else None
        images = len({row.image for row in rows})
        title = f"mean of {images} images" if images > 1 else rows[0].image
        print_rows(mean_rows(rows), title)
        text = csv_text(rows).encode(errors="surrogateescape")  # of names
        write_whole(args.output / CSV_NAME, text)
        print(f"written: {args.output / CSV_NAME}")
        if plotted:
            write_whole(args.output / PLOT_NAME, plotted)
            print(f"written: {args.output / PLOT_NAME}")
    for line in problems:
        print(line, file=sys.stderr)
    if not rows:
        print("error: no image could be scored", file=sys.stderr)
        return 2
    return 1 if problems else 0


def _plot_or_problem(rows: Sequence[Row], problems: list[str]) -> bytes | None:
    try:
        return plot(rows)
    except ImportError:
        problems.append(
            "No plot without matplotlib: pip install 'lowlight_jax[plots]', or give "
            "--no-plot"
        )
    except Exception as error:  # the CSV is there all the same
        problems.append(of_item(error, "the plot"))
    return None


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    return run_command(
        lambda: run(parse_args(argv, prog)), interrupted=NOTHING_WRITTEN, failed=USAGE
    )


if __name__ == "__main__":
    sys.exit(main())
