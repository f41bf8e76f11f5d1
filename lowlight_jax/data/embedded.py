"""The set that is always there: colour photographs shipped with scikit-image.

Clean photographs only; `lowlight_jax.ops.degrade` makes their dark sides. Some are kept
apart for evaluation, so that even the smallest run scores on pictures it never saw.
"""

from pathlib import Path

import numpy as np

from lowlight_jax.image_files import read_rgb8

TRAINING = ("astronaut.png", "chelsea.png", "motorcycle_left.png", "ihc.png")
EVALUATION = ("coffee.png", "rocket.jpg")


def load_photographs(names: tuple[str, ...]) -> list[np.ndarray]:
    """The photographs as uint8 `[h, w, 3]`; licences in scikit-image's data folder."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [read_rgb8(folder / name) for name in names]
