"""Where things are kept between runs: decoded pairs, compiled functions."""

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/lowlight_jax`, by default `~/.cache/lowlight_jax`."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "lowlight_jax"


def use_compilation_cache() -> None:
    """Keeps compiled functions on disk, so that a second run starts at once.

    For commands; a library must leave that choice to its user.
    `JAX_COMPILATION_CACHE_DIR`, where it is set, takes precedence.
    """
    import jax  # not above: that would cost every `--help` half a second

    if jax.config.jax_compilation_cache_dir is None:
        directory = default_cache_dir() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
