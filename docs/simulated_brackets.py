"""Simulated exposure brackets, which `dual_global_photo` learnt from.

    apt-get download blender-data && dpkg-deb -x blender-data_*.deb panoramas
    npm pack @pmndrs/assets && tar -xf pmndrs-assets-*.tgz -C panoramas
    pip install OpenEXR
    python docs/simulated_brackets.py BRACKETS \\
        --panoramas panoramas --photographs PHOTOS
    python docs/simulated_brackets.py BRACKETS_HELD_OUT \\
        --panoramas panoramas --held-out

Of HDR panoramas (Poly Haven's, CC0, in both packages), which hold all the light of a
place: a camera looks about in them, meters, and takes 3 to 9 frames. Of finished
photographs, which have lost the brightest light (some is made up) and keep the dark one
in 8 bits: the same camera, not turned. Each bracket is a folder of JPEG files, in one
folder for each panorama, or of the photograph's name. Of photographs, those that
training holds out (each eighth) are left out.
"""

import argparse
import base64
import io
import re
import zlib
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
from PIL import Image
from rich.progress import track

from lowlight_jax.data.photographs import load_photographs

VIEWS = 12  # of each panorama
VIEW_PX = 0.2  # long side, of the panorama's width: 70 degrees are as sharp as that
PHOTO_PX = 480
FRAMES, FRAMES_PART = (3, 5, 7, 9), (0.3, 0.35, 0.25, 0.1)
DEEP_U8, DEEP_PART = 50, 0.2  # luma below, of the pixels: deep shadows
# The same place again, in half the resolution or other lamps; and a rendering.
LEFT_OUT = ("sunrise.exr.js", "studio.exr.js", "sky.exr.js")
# Places that the weights are scored on: `--held-out` makes brackets of these alone.
HELD_OUT = (
    "city.exr",
    "courtyard.exr",
    "interior.exr",
    "dawn.exr.js",
    "forest.exr.js",
    "lobby.exr.js",
    "venice.exr.js",
)


def read_panorama(path: Path) -> np.ndarray:
    """Linear light, float32 `[h, w, 3]`."""
    if path.suffix == ".hdr":
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    if path.suffix == ".js":  # a module with the file in base64
        text = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text())[1]
        exr = OpenEXR.File(io.BytesIO(base64.b64decode(text)))
    else:
        exr = OpenEXR.File(str(path))
    channels = exr.channels()
    if "RGB" in channels:
        light = channels["RGB"].pixels
    else:
        light = np.stack([channels[name].pixels for name in "RGB"], axis=-1)
    return np.clip(np.nan_to_num(np.float32(light), posinf=6e4), 0.0, 6e4)


def look(panorama: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees of an equirectangular panorama, nearly level."""
    full_h, full_w = panorama.shape[:2]
    long = round(VIEW_PX * full_w)
    shapes = [(2 / 3, 1), (3 / 4, 1), (1, 2 / 3), (1, 3 / 4)]
    h, w = (
        round(long * side) for side in shapes[rng.choice(4, p=(0.4, 0.3, 0.15, 0.15))]
    )
    turn, tilt = rng.uniform(0, 2 * np.pi), np.clip(rng.normal(0, 0.17), -0.45, 0.45)
    focal_px = 0.5 * w / np.tan(np.deg2rad(rng.uniform(55, 100)) / 2)
    x, y = np.meshgrid(np.arange(w) + 0.5 - w / 2, np.arange(h) + 0.5 - h / 2)
    distance = np.sqrt(x**2 + y**2 + focal_px**2)
    down = (y * np.cos(tilt) - focal_px * np.sin(tilt)) / distance
    ahead = y * np.sin(tilt) + focal_px * np.cos(tilt)
    longitude, latitude = np.arctan2(x, ahead) + turn, np.arcsin(down)
    columns = (longitude / (2 * np.pi) % 1) * full_w - 0.5
    rows = (latitude / np.pi + 0.5) * full_h - 0.5
    return cv2.remap(
        panorama,
        np.float32(columns),
        np.float32(rows),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def light_of(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear light of a finished photograph; near white it gets up to 2 stops more."""
    values = photo / 255
    contrast = 1 / (1 + rng.uniform(0, 0.5))
    values = values**contrast / (values**contrast + (1 - values) ** contrast)
    light = np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )
    luma = photo @ np.float32([0.299, 0.587, 0.114]) / 255
    near_white = np.clip(5 * luma - 4, 0, 1)[..., None]
    return light * 2 ** (rng.uniform(0, 2) * near_white) + 2e-4


class Camera:
    """One that has its own tone curve, saturation, white balance, glare and noise."""

    def __init__(self, light: np.ndarray, rng: np.random.Generator):
        light = np.clip(light / np.median(light.mean(-1)) * 0.2, 1e-6, 400.0)
        glare = rng.uniform(0, 0.01) * np.minimum(light, 3).mean((0, 1))
        balance = np.array([rng.uniform(0.93, 1.07), 1, rng.uniform(0.93, 1.07)])
        self.light = (light + glare) * balance
        self.contrast = 1 + rng.uniform(0, 0.6)
        self.saturation = rng.uniform(1, 1.3)
        self.noise = 2 ** rng.uniform(-9, -6)
        self.rng = rng

    def expose(self, stops: float, every: int = 1) -> np.ndarray:
        """uint8 `[h, w, 3]`, of each n-th pixel."""
        light = self.light[::every, ::every] * 2.0**stops
        shot, read = self.rng.normal(size=(2, *light.shape))
        light = light + self.noise * (np.sqrt(np.minimum(light, 4)) * shot + read / 20)
        light = np.clip(light, 0, 1)
        values = np.where(
            light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
        )
        bright, dark = values**self.contrast, (1 - values) ** self.contrast
        values = bright / (bright + dark)
        luma = (values @ np.array([0.299, 0.587, 0.114]))[..., None]
        values = luma + self.saturation * (values - luma)
        return np.uint8(np.rint(np.clip(values, 0, 1) * 255))

    def meter(self) -> float:
        """Stops that make the frame as bright as some photographer likes it."""
        wanted, low, high = 255 * self.rng.normal(0.45, 0.07), -8.0, 8.0
        for _ in range(14):
            middle = (low + high) / 2
            if self.expose(middle, every=4).mean() < wanted:
                low = middle
            else:
                high = middle
        return middle

    def bracket(self) -> list[np.ndarray]:
        rng = self.rng
        middle, count = self.meter(), rng.choice(FRAMES, p=FRAMES_PART)
        step, shift = rng.choice((1.0, 1.5, 2.0, 2.5)), 0
        if count > 3:
            step = rng.choice((0.7, 1.0, 1.3, 2.0), p=(0.2, 0.4, 0.2, 0.2))
            shift = rng.choice((-1, 0, 0, 1))
        places = np.arange(count) - (count - 1) / 2 + shift
        return [self.expose(middle + step * place) for place in places]


def save(folder: Path, frames: list[np.ndarray], rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    quality = int(rng.integers(90, 99))
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(
            folder / f"{number}.jpg", quality=quality, subsampling=0
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="folder for the brackets")
    parser.add_argument("--panoramas", type=Path, help="folder of .hdr and .exr files")
    parser.add_argument("--photographs", type=Path, help="folder of normal ones")
    parser.add_argument("--views", type=int, default=VIEWS, help="of each panorama")
    parser.add_argument("--held-out", action="store_true", help="of HELD_OUT alone")
    args = parser.parse_args()
    files = [
        path
        for path in (sorted(args.panoramas.rglob("*")) if args.panoramas else ())
        if path.name.endswith((".hdr", ".exr", ".exr.js"))
        and path.name not in LEFT_OUT
        and path.parent.name != "matcap"  # Blender's: spheres, no places
        and (path.name in HELD_OUT) == args.held_out
    ]
    for path in track(files, "Panoramas"):
        panorama = read_panorama(path)
        rng = np.random.default_rng(zlib.crc32(path.name.encode()))
        for view in range(args.views):
            light = look(panorama, rng)
            light = light[:, ::-1] if rng.integers(2) else light
            place = args.output / path.name.replace(".", "_")
            save(place / f"{view:02}", Camera(light, rng).bracket(), rng)
    photographs, normal = {}, args.output.parent / "normal"
    if args.photographs:
        parts = load_photographs(args.photographs, validation_every=8)
        photographs = parts["train"]
        normal.mkdir(parents=True, exist_ok=True)
    for name in track(photographs, "Photographs"):
        photo = photographs[name]
        scale = PHOTO_PX / max(photo.shape[:2])
        if scale < 1:
            photo = cv2.resize(
                photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
            )
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        frames = Camera(light_of(photo, rng), rng).bracket()
        title = f"photo {name.replace('/', ' ')}"
        luma = photo @ np.float32([0.299, 0.587, 0.114])
        if (luma < DEEP_U8).mean() > DEEP_PART:
            frames.append(np.uint8(photo))
        else:
            Image.fromarray(photographs[name]).save(normal / f"{title}.png")
        save(args.output / title, frames, rng)


if __name__ == "__main__":
    main()
