"""How long PNG takes to write, and how large it becomes, beside other ways.

    python benchmarks/png.py                     # 24 megapixels that look like a photo
    python benchmarks/png.py --input bright.tif  # this one, 8 or 16 bits

The ways take turns, so that a machine that slows down slows all of them; medians count.
Sizes are relative to what this package wrote before: in 8 bits Pillow's default, and in
16 the filter Sub and zlib's default level.
"""

import argparse
import io
import os
import statistics
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lowlight_jax.images.files import Photo, read_photo
from lowlight_jax.images.png_writer import write_png

BEFORE = "before"


def photograph(megapixels: float) -> np.ndarray:
    """`[h, w, 3]` uint16, 3:2: sharp and soft parts, all with a sensor's noise."""
    random = np.random.default_rng(0)
    h = round((megapixels * 1e6 / 1.5) ** 0.5)
    scene = skimage.data.astronaut().astype(np.float32) / 255
    soft = cv2.resize(scene, (round(1.5 * h), h), interpolation=cv2.INTER_CUBIC)
    fine = np.tile(scene, (h // 512 + 1, round(1.5 * h) // 512 + 1, 1))[
        :h, : len(soft[0])
    ]
    noise = random.standard_normal(soft.shape, np.float32)
    values = 0.7 * soft + 0.3 * fine + 0.01 * cv2.GaussianBlur(noise, (3, 3), 0.6)
    return np.round(np.clip(values, 0, 1) * 65535).astype(np.uint16)


def before(samples: np.ndarray) -> int:
    if samples.dtype == np.uint8:
        return by_pillow(samples)
    h, w, c = samples.shape
    deflate, size = zlib.compressobj(), 0
    for top in range(0, h, 256):
        octets = samples[top : top + 256].astype(">u2").view(np.uint8)
        octets = octets.reshape(-1, w, 2 * c)
        differences = octets.copy()
        differences[:, 1:] -= octets[:, :-1]
        rows = np.pad(differences.reshape(len(octets), -1), ((0, 0), (1, 0)))
        size += len(deflate.compress(rows.tobytes()))
    return size + len(deflate.flush())


def by_pillow(samples: np.ndarray, strategy: int = -1) -> int:
    """By default with what Pillow takes for best."""
    file = io.BytesIO()
    image = samples[:, :, 0] if samples.shape[2] == 1 else samples
    Image.fromarray(image).save(file, "PNG", compress_type=strategy)
    return file.tell()


def by_opencv(samples: np.ndarray) -> int:
    c = samples.shape[2]
    order = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[c]
    image = samples if order is None else cv2.cvtColor(samples, order)
    return len(cv2.imencode(".png", image)[1])


def ours(samples: np.ndarray, compress: bool) -> int:
    file = io.BytesIO()
    write_png(file, samples, Photo(samples), compress=compress)
    return file.tell()


def ways_for(samples: np.ndarray) -> dict[str, Callable[[], int]]:
    ways = {
        BEFORE: before,
        "ours": partial(ours, compress=False),
        "ours, --compress": partial(ours, compress=True),
        "OpenCV": by_opencv,
    }
    if samples.dtype == np.uint8:
        ways["Pillow"] = by_pillow
        ways["Pillow, runs alone"] = partial(by_pillow, strategy=zlib.Z_RLE)
    return {name: partial(way, samples) for name, way in ways.items()}


def measure(title: str, samples: np.ndarray, rounds: int) -> Table:
    ways = ways_for(samples)
    seconds, sizes = {name: [] for name in ways}, {}
    for _ in track(range(rounds), description=title, transient=True):
        for name, way in ways.items():
            start = time.perf_counter()
            sizes[name] = way()
            seconds[name].append(time.perf_counter() - start)
    h, w, c = samples.shape
    table = Table(title=f"{title}: {w}x{h}x{c}, {8 * samples.itemsize} bits")
    for column in ("", "seconds", "speed", "MB", "size"):
        table.add_column(column, justify="right" if column else "left")
    for name in ways:
        median = statistics.median(seconds[name])
        table.add_row(
            name,
            f"{median:.2f}",
            f"{statistics.median(seconds[BEFORE]) / median:.1f}",
            f"{sizes[name] / 1e6:.1f}",
            f"{sizes[name] / sizes[BEFORE]:.3f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, metavar="FILE", help="a photograph")
    parser.add_argument("--megapixels", type=float, default=24, help="of the synthetic")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    args = parser.parse_args()
    if args.input:
        pictures = {args.input.name: read_photo(args.input).pixels}
    else:
        deep = photograph(args.megapixels)
        pixels = (deep // 257).astype(np.uint8)
        pictures = {"RGB": pixels, "deep": deep, "gray": pixels[:, :, 1:2].copy()}
    console = Console()
    console.print(f"{os.cpu_count()} CPU cores")
    for title, samples in pictures.items():
        console.print(measure(title, samples, args.rounds))


if __name__ == "__main__":
    main()
