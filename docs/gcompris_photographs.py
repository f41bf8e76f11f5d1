"""Photographs out of the teaching game GCompris, which `dual_global_photo` learnt from.

    apt-get download gcompris-qt-data && dpkg-deb -x gcompris-qt-data_*.deb game
    python docs/gcompris_photographs.py game/usr/share/gcompris-qt/rcc PHOTOS/gcompris

Of animals, monuments, tools and landscapes, by many cameras; under free licences, which
GCompris lists. Its archives (Qt resources) hold the WebP files as they are; drawings,
cut-outs, small pictures and such as look like another one are left out.
"""

import argparse
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

ACTIVITIES = (
    "categorization",
    "details",
    "erase",
    "explore_farm_animals",
    "explore_monuments",
    "explore_world_animals",
)
SMALLEST_PX = 200
LARGEST_PX = 600
LEAST_COLOURS = 3000  # of 64 x 64 pixels: a drawing has fewer
LEAST_DIFFERENCE = 12.0  # 8-bit RMSE of 8 x 8 pixels: another scene has more


def images_in(archive: bytes):
    """The WebP images of a Qt resource file, in their order."""
    for match in re.finditer(rb"RIFF(....)WEBP", archive, re.DOTALL):
        end = match.start() + 8 + int.from_bytes(match[1], "little")
        try:
            yield Image.open(io.BytesIO(archive[match.start() : end]))
        except UnidentifiedImageError:
            continue  # these bytes were no file


def is_photograph(image: Image.Image) -> bool:
    if image.mode == "RGBA" and image.getchannel("A").getextrema()[0] < 255:
        return False
    colours = image.convert("RGB").resize((64, 64)).getcolors(64 * 64)
    return min(image.size) >= SMALLEST_PX and len(colours) >= LEAST_COLOURS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rcc", type=Path, help="folder of GCompris' .rcc files")
    parser.add_argument("output", type=Path, help="folder for the photographs (PNG)")
    args = parser.parse_args()
    missing = [a for a in ACTIVITIES if not (args.rcc / f"{a}.rcc").is_file()]
    if missing:
        parser.error(
            f"{args.rcc} holds no {missing[0]}.rcc; expected GCompris' archives"
        )
    args.output.mkdir(parents=True, exist_ok=True)
    seen: list[np.ndarray] = []
    for activity in ACTIVITIES:
        for image in images_in((args.rcc / f"{activity}.rcc").read_bytes()):
            if not is_photograph(image):
                continue
            image = image.convert("RGB")
            small = np.float32(image.resize((8, 8)))
            if any(np.sqrt(((small - s) ** 2).mean()) < LEAST_DIFFERENCE for s in seen):
                continue
            image.thumbnail((LARGEST_PX, LARGEST_PX))
            image.save(args.output / f"{activity}_{len(seen):03d}.png")
            seen.append(small)
    print(f"{len(seen)} photographs in {args.output}")


if __name__ == "__main__":
    main()
