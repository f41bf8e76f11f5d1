"""What JPEG costs: PSNR, SSIM and bytes of images at many qualities.

The columns are those of table I of Salman, Kalakech 2024. Every image is encoded by
Pillow in memory, decoded, and scored against its own pixels; its bytes are those of the
pixels, without colour profile and EXIF.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata

import numpy as np
import PIL
from PIL import Image, features
from rich.console import Console
from rich.table import Table

ENCODER = {"subsampling": "4:2:0", "optimize": False, "progressive": False}
PROTOCOL = (
    "JPEG by Pillow, 4:2:0, baseline, standard Huffman tables, without metadata; "
    "scored against the image itself, 8 bits, all channels."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One image at one quality; a score is None where the image has none."""

    image: str
    quality: int
    psnr_rgb: float | None
    ssim_rgb: float | None
    bytes: float
    bits_per_pixel: float


def encode(pixels: np.ndarray, quality: int) -> bytes:
    """A JPEG file of uint8 `[h, w, c]`, c = 3 or 1, by the settings of `ENCODER`."""
    file = io.BytesIO()
    squeezed = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(squeezed).save(file, "JPEG", quality=quality, **ENCODER)
    return file.getvalue()


def decode(jpeg: bytes) -> np.ndarray:
    """uint8 `[h, w, c]` of a JPEG file."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def sweep(
    name: str, pixels: np.ndarray, qualities: Iterable[int]
) -> tuple[list[Row], list[str]]:
    """Rows of one image, and a sentence for every score it does not have.

    Args:
      name: of the image in its rows.
      pixels: uint8 `[h, w, c]`, c = 3 (RGB) or 1 (gray).
      qualities: 1 to 100 each.
    """
    from lowlight_jax.evaluation import scoring
    from lowlight_jax.evaluation.scoring import Item

    sizes = {}

    def items() -> Iterator[Item]:
        for quality in qualities:
            jpeg = encode(pixels, quality)
            sizes[quality] = len(jpeg)
            yield Item(f"{name} at {quality}", decode(jpeg), pixels)

    scores = scoring.score_items(items(), ("psnr_rgb", "ssim_rgb"))
    columns = zip(*scores.columns.values(), strict=True)
    h, w = pixels.shape[:2]
    rows = [
        Row(name, quality, psnr, ssim, size, 8 * size / (h * w))
        for (quality, size), (psnr, ssim) in zip(sizes.items(), columns, strict=True)
    ]
    return rows, scores.notes


def mean_rows(rows: Sequence[Row]) -> list[Row]:
    """For every quality the mean over its images, of each score those that have it."""
    by_quality: dict[int, list[Row]] = {}
    for row in rows:
        by_quality.setdefault(row.quality, []).append(row)

    def mean(group: list[Row], column: str) -> float | None:
        values = [getattr(row, column) for row in group]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    names = [field.name for field in dataclasses.fields(Row)][2:]
    return [
        Row("mean", quality, *(mean(group, name) for name in names))
        for quality, group in by_quality.items()
    ]


def print_rows(rows: Sequence[Row], title: str) -> None:
    table = Table(title=title, caption=PROTOCOL)
    for heading in ("Quality", "PSNR (dB)", "SSIM", "Bytes", "bits per pixel"):
        table.add_column(heading, justify="right")
    for row in rows:
        psnr, ssim = (
            "" if value is None else f"{value:.{digits}f}"
            for value, digits in ((row.psnr_rgb, 3), (row.ssim_rgb, 5))
        )
        size, rate = f"{row.bytes:.0f}", f"{row.bits_per_pixel:.3f}"
        table.add_row(str(row.quality), psnr, ssim, size, rate)
    console = Console()
    console.width = max(console.width, 80)  # numbers are not folded
    console.print(table)


def csv_text(rows: Sequence[Row]) -> str:
    """Protocol, versions, and a line for every image and quality."""
    versions = {
        "pillow": PIL.__version__,
        "libjpeg-turbo": features.version("libjpeg_turbo"),
    } | {name: metadata.version(name) for name in ("jax", "dm-pix", "numpy")}
    file = io.StringIO(newline="")
    file.write(f"# {PROTOCOL}\n# {json.dumps(versions)}\n")
    writer = csv.DictWriter(
        file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(map(dataclasses.asdict, rows))
    return file.getvalue()


def plot(rows: Sequence[Row]) -> bytes:
    """PSNR, SSIM and bits per pixel against quality; a PNG file.

    Raises:
      ImportError: matplotlib, of the extra `[plots]`, is missing.
    """
    from matplotlib.figure import Figure

    axes_of = {
        "psnr_rgb": "PSNR (dB)",
        "ssim_rgb": "SSIM",
        "bits_per_pixel": "file size (bits per pixel)",
    }
    images = list(dict.fromkeys(row.image for row in rows))
    curves = [[row for row in rows if row.image == image] for image in images]
    if len(images) > 1:
        curves.append(mean_rows(rows))
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, (column, label) in zip(
        figure.subplots(1, 3), axes_of.items(), strict=True
    ):
        for curve in curves:
            points = sorted((row.quality, getattr(row, column)) for row in curve)
            heavy = curve is curves[-1]
            axes.plot(
                *zip(*points, strict=True),
                color="#0072B2" if heavy else "0.6",
                linewidth=2 if heavy else 0.7,
                marker="o" if heavy else None,
                markersize=3.5,
            )
        axes.set_xlabel("JPEG quality")
        axes.set_ylabel(label)
        axes.grid(color="0.9")
    many = f"mean of {len(images)} images (each thin line is one)"
    figure.suptitle(many if len(images) > 1 else images[0], fontsize=11)
    figure.supxlabel(PROTOCOL, fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    return file.getvalue()
