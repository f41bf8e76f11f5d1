"""Black bars of files as they come: JPEG rings beside a bar, and darkness is none."""

import io

import numpy as np
from PIL import Image

from lowlight_jax.ops.letterbox import inside_bars


def as_jpeg(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=85)
    return np.asarray(Image.open(content))


def test_bars_of_a_jpeg_are_found():
    scene = np.random.default_rng(0).integers(0, 90, (60, 80, 3), dtype=np.uint8)
    rows, columns = inside_bars(as_jpeg(np.pad(scene, [(40, 32), (0, 0), (0, 0)])))
    assert abs(rows.start - 40) <= 4 and abs(rows.stop - 100) <= 4
    assert columns == slice(0, 80)


def test_the_dark_side_of_a_jpeg_is_no_bar():
    """Which is black enough for one, but not 0."""
    light = np.linspace(0.4, 12, 160)[None, :, None] * np.ones(3)
    dark = np.random.default_rng(0).poisson(light, (120, 160, 3)).astype(np.uint8)
    saved = as_jpeg(dark)
    side = saved[:, :8]
    assert (side.mean((0, 2)) < 1.5).all() and side.max() <= 8
    assert inside_bars(saved) == (slice(0, 120), slice(0, 160))
