"""Packs a folder of pairs into one file, small enough to be sent to a rented machine.

    python launch/pack_pairs.py DIR PAIRS.zip [--megabytes 60]

DIR is what training takes, low/ and high/ with pairs.csv, or LOL as it is distributed,
of which the training part is packed. The file holds the same folders, and
`python -m zipfile -e PAIRS.zip FOLDER` unpacks them; launch/one_gpu.sh does so.

Images that are small enough stay as they are. Else normal sides become AVIF in full
colour resolution, and dark sides are rounded to multiples of 2, 3, ... codes, whatever
fits, and kept as WebP without loss: a lossy format would take away the noise that
training is to learn from, rounding adds a little. Scores of packed pairs are not those
of the originals: evaluate on these.
"""

import argparse
import csv
import io
import itertools
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from lowlight_jax.data.pairs import (
    LOL_PARTS,
    PairFile,
    find_pairs,
    is_lol_layout,
    report_problems,
)
from lowlight_jax.images.files import read_visible_rgb8
from lowlight_jax.runtime.command import add_debug_flag, run_command
from lowlight_jax.runtime.outputs import check_file, user_path

QUALITY = 85  # of AVIF: 39.6 dB, 46 kB for one of LOL's normal sides
SAMPLE = 12  # pairs that the size is guessed from


def rounded(image: np.ndarray, step: int) -> np.ndarray:
    """uint8, to the nearest multiples of `step`."""
    return np.uint8(np.minimum((image.astype(int) + step // 2) // step * step, 255))


def encode(image: np.ndarray, kind: str, **options: object) -> bytes:
    """An image file in memory."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def encode_low(pair: PairFile, step: int) -> bytes:
    """Its dark side, without loss but for the rounding."""
    return encode(rounded(read_visible_rgb8(pair.low), step), "WEBP", lossless=True)


def encode_high(pair: PairFile) -> bytes:
    """Its normal side, nearly as it was."""
    image = read_visible_rgb8(pair.high)
    return encode(image, "AVIF", quality=QUALITY, subsampling="4:4:4", speed=7)


def fitting_step(pairs: Sequence[PairFile], limit: float) -> int:
    """The least rounding with which all pairs are likely to take `limit` bytes."""
    sample = pairs[:: -(-len(pairs) // SAMPLE)]
    left = 0.97 * limit * len(sample) / len(pairs)
    left -= sum(len(encode_high(pair)) for pair in sample)
    for step in itertools.count(1):
        size = sum(len(encode_low(pair, step)) for pair in sample)
        if size <= left:
            return step
        if step == 32:
            raise ValueError(
                f"{len(pairs)} pairs do not fit into {limit / 1e6:g} MB; expected "
                "more --megabytes, or fewer pairs"
            )


def as_they_are(pairs: Sequence[PairFile]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file."""
    for pair in pairs:
        for side in ("low", "high"):
            file = getattr(pair, side)
            yield f"{side}/{pair.name}{file.suffix}", file.read_bytes()


def made_smaller(pairs: Sequence[PairFile], step: int) -> Iterator[tuple[str, bytes]]:
    """The same, each encoded anew."""
    with ThreadPoolExecutor() as pool:
        lows = pool.map(encode_low, pairs, itertools.repeat(step))
        highs = pool.map(encode_high, pairs)
        for pair in track(pairs, "Encoding pairs", transient=True):
            yield f"low/{pair.name}.webp", next(lows)
            yield f"high/{pair.name}.avif", next(highs)


def write_zip(
    path: Path, pairs: Sequence[PairFile], files: Iterator[tuple[str, bytes]]
) -> int:
    """Writes them with their groups, whole or not at all; the size in bytes."""
    table = io.StringIO()
    csv.writer(table).writerows(
        [("file", "group"), *((pair.name, pair.group) for pair in pairs)]
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        with zipfile.ZipFile(unfinished, "w") as archive:  # they are compressed
            archive.writestr("pairs.csv", table.getvalue())
            for name, content in files:
                archive.writestr(name, content)
        return unfinished.replace(path).stat().st_size


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="packs pairs into one file")
    parser.add_argument("folder", type=user_path, metavar="DIR")
    parser.add_argument("output", type=user_path, metavar="PAIRS.zip")
    parser.add_argument("--megabytes", type=float, default=60.0, help="at most")
    add_debug_flag(parser)
    args = parser.parse_args(argv)
    check_file(args.output, "PAIRS.zip", (".zip",))
    folder = args.folder
    if is_lol_layout(folder):
        folder = folder / LOL_PARTS["train"]
    pairs, problems = find_pairs(folder)
    report_problems(folder, problems, "error")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    limit = 1e6 * args.megabytes
    size = sum(f.stat().st_size for pair in pairs for f in (pair.low, pair.high))
    if size <= 0.99 * limit:
        how = "as they are"
        size = write_zip(args.output, pairs, as_they_are(pairs))
    else:
        step = fitting_step(pairs, limit)
        size = write_zip(args.output, pairs, made_smaller(pairs, step))
        while size > limit:  # a bad guess
            step += 1
            size = write_zip(args.output, pairs, made_smaller(pairs, step))
        how = f"dark sides rounded to multiples of {step}, normal sides as AVIF"
    print(f"{args.output}: {len(pairs)} pairs, {size / 1e6:.1f} MB, {how}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="interrupted; nothing was written"))
