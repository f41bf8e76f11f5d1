"""Makes the sample pictures of the server's page: photographs, under-exposed.

Of scikit-image's data, all free to use: coffee (Rachel Michetti, CC0), chelsea, a cat
(Stefan van der Walt, CC0), and rocket (SpaceX, public domain).
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageOps

import lowlight_jax
from lowlight_jax.data.photographs import load_embedded
from lowlight_jax.ops.degrade import Exposure, underexpose

FOLDER = Path(__file__).parents[1] / "lowlight_jax" / "serve" / "page" / "samples"
SAMPLES = {"coffee": ("coffee.png", 3.0), "cat": ("chelsea.png", 3.0)}
SAMPLES |= {"rocket": ("rocket.jpg", 1.5)}

FOLDER.mkdir(exist_ok=True)
for name, (source, stops) in SAMPLES.items():
    normal = load_embedded([source])[source]
    exposure = Exposure(min_stops=stops, max_stops=stops, white_balance=0.0)
    dark = underexpose(
        jax.random.key(0)[None], jnp.float32(normal)[None] / 255, exposure
    )
    pixels = np.uint8(np.rint(np.asarray(dark[0]) * 255))
    Image.fromarray(pixels).save(FOLDER / f"{name}.jpg", quality=90)
    # What the page shows of it: the left half dark, the right half enhanced.
    card = lowlight_jax.enhance(pixels)
    card[:, : card.shape[1] // 2] = pixels[:, : card.shape[1] // 2]
    card = ImageOps.fit(Image.fromarray(card), (480, 320))
    card.save(FOLDER / f"{name}_card.jpg", quality=85)
