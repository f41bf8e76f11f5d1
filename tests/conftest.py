"""Settings for every test: on the CPU, which must be said before JAX is imported."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
