"""The old name of `python -m lowlight_jax.convert.mirnet`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("lowlight_jax.convert.mirnet", run_name="__main__")
