"""Settings for every test: CPU, and shapes that broadcast only on purpose."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
