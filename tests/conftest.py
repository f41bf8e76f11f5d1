"""Settings for every test, made before JAX is used: CPU, as eight devices.

Arrays of different ranks are not broadcast: it hides a forgotten axis.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
