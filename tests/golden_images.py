"""The photographs and distortions that tests/goldens/metrics.json speaks of.

The photographs are PNG files inside the scikit-image wheel; the SHA-256 of every array
is checked, so that another image never passes for the golden one.
"""

import functools
import hashlib
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from skimage import data

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "metrics.json").read_text())
_LOADERS = {
    "coffee": data.coffee,
    "chelsea": data.chelsea,
    "astronaut": data.astronaut,
    "ihc": data.immunohistochemistry,
}


def names_with(metric: str) -> list[str]:
    """The images, as "coffee/noise10", that have a golden value of this metric."""
    return [name for name, row in GOLDEN["images"].items() if metric in row]


@functools.cache
def codes(name: str) -> np.ndarray:
    """`[h, w, 3]` uint8; `name` as "coffee/dark", "coffee/ref" is the photograph."""
    photograph, distortion = name.split("/")
    image = _distort(_LOADERS[photograph](), distortion)
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]
    assert digest == GOLDEN["sha256_first16"][name], f"{name} is another image"
    return image


def image(name: str) -> jnp.ndarray:
    """`[1, h, w, 3]` float32 in [0, 1]."""
    return jnp.asarray(codes(name)[None], jnp.float32) / 255


def photograph_of(name: str) -> jnp.ndarray:
    """The undistorted image, as `image` gives it."""
    return jnp.asarray(_LOADERS[name.split("/")[0]]()[None], jnp.float32) / 255


def _distort(photograph: np.ndarray, distortion: str) -> np.ndarray:
    x = photograph.astype(np.float64)
    random = np.random.RandomState(0)  # the legacy stream, which numpy keeps frozen
    noise = random.randn(*photograph.shape)
    match distortion:
        case "ref":
            return photograph
        case "noise10":
            return _quantise(x + 10.0 * noise)
        case "noise50":
            noise = random.randn(*photograph.shape)  # the second draw of the stream
            return _quantise(x + 50.0 * noise)
        case "blur2":
            blurred = ndimage.gaussian_filter(x, sigma=(2, 2, 0), mode="reflect")
            return _quantise(blurred)
        case "dark":
            return _quantise(255.0 * 0.35 * (x / 255.0) ** 2.2)
        case "invert":
            return 255 - photograph
        case "shift":
            return np.roll(photograph, (3, 5), (0, 1))
    raise ValueError(distortion)


def _quantise(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)
