"""`python -m lowlight_jax`: the same as the command `lowlight`."""

import sys

from lowlight_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
