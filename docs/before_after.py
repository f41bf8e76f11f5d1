"""Makes docs/before_after.jpg with the weights that ship."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import lowlight_jax
from lowlight_jax.data.photographs import load_embedded
from lowlight_jax.ops.degrade import Exposure, underexpose

STOPS = 4.0

normal = load_embedded(["coffee.png"])["coffee.png"]
exposure = Exposure(min_stops=STOPS, max_stops=STOPS, white_balance=0.0)
dark = underexpose(jax.random.key(0)[None], jnp.float32(normal)[None] / 255, exposure)
dark = np.uint8(np.rint(np.asarray(dark[0]) * 255))
pictures = [
    dark,
    lowlight_jax.enhance(dark, denoise=False),
    lowlight_jax.enhance(dark),
    normal,
]
strip = np.concatenate([picture[:, 100:500] for picture in pictures], axis=1)
image = Image.fromarray(strip).resize((1200, 300), Image.Resampling.LANCZOS)
image.save(Path(__file__).with_name("before_after.jpg"), quality=88)
