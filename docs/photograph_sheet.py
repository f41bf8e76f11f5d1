"""Makes docs/photograph_sheet.jpg: a dozen pictures, before and after `enhance`.

    apt-get download blender-data lomiri-wallpapers-16.04 libjxl-testdata
    for package in *.deb; do dpkg-deb -x "$package" packages; done
    pip install OpenEXR && python docs/photograph_sheet.py packages

Six photographs as they are, and six frames of a simulated camera in HDR panoramas that
no training saw. Licences: `SOURCES`.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from simulated_brackets import Camera, look, read_panorama

import lowlight_jax
from lowlight_jax.data.photographs import load_embedded
from lowlight_jax.images.files import read_rgb8

SOURCES = {
    "cvo9xd_keong_macan_srgb8.png": "Keong Macan, CC0 (libjxl-testdata)",
    "seeding_by_Clements_Engelhardt.jpg": "Clements Engelhardt, CC0 (lomiri)",
    "sunset_by_Aitzol_Berasategi.jpg": "Aitzol Berasategi, CC BY 4.0 (lomiri)",
    "life_by_Aitzol_Berasategi.jpg": "Aitzol Berasategi, CC BY 4.0 (lomiri)",
    "Wine_by_Jakkub_Mede.jpg": "Jakkub Mede, CC BY 4.0 (lomiri)",
    "rocket.jpg": "SpaceX, public domain (scikit-image)",
}
# Greg Zaal, HDRI Haven, CC0 (blender-data); and by how many stops under what the
# camera meters.
PANORAMAS = {"city.exr": (-3, -1), "courtyard.exr": (-2, -1), "interior.exr": (-3, -1)}
WIDTH, HEIGHT = 300, 200


def framed(picture: np.ndarray) -> np.ndarray:
    """The middle of it, reduced to fill a frame."""
    scale = max(WIDTH / picture.shape[1], HEIGHT / picture.shape[0])
    size = [
        max(a, round(b * scale))
        for a, b in zip((WIDTH, HEIGHT), picture.shape[1::-1], strict=True)
    ]
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - HEIGHT) // 2, (size[0] - WIDTH) // 2
    return picture[top : top + HEIGHT, left : left + WIDTH]


def pictures(packages: Path):
    for name in SOURCES:
        found = sorted(packages.rglob(name))
        if name == "rocket.jpg":
            yield load_embedded([name])[name]
        else:
            yield read_rgb8(found[0])
    rng = np.random.default_rng(3)
    for name, stops in PANORAMAS.items():
        panorama = read_panorama(sorted(packages.rglob(f"world/{name}"))[0])
        for under in stops:
            camera = Camera(look(panorama, rng), rng)
            yield camera.expose(camera.meter() + under)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packages", type=Path, help="folder they are unpacked in")
    args = parser.parse_args()
    pairs = []
    for picture in pictures(args.packages):
        pairs.append(
            np.hstack([framed(picture), framed(lowlight_jax.enhance(picture))])
        )
    rows = [np.hstack(pairs[i : i + 2]) for i in range(0, len(pairs), 2)]
    path = Path(__file__).with_suffix(".jpg")
    Image.fromarray(np.vstack(rows)).save(path, quality=88)


if __name__ == "__main__":
    main()
