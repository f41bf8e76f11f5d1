"""The command `python -m lowlight_jax.enhance`, in `__main__`.

The code is in `lowlight_jax.inference`; as an attribute, `lowlight_jax.enhance` is the
function of that name.
"""
