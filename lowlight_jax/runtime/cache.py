"""Where things are kept between runs: decoded pairs, compiled functions.

A cache is for speed. Without a home, or with a read-only, full or damaged cache, a run
takes longer and gives the same results.
"""

import functools
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from lowlight_jax.runtime.errors import is_disk_full
from lowlight_jax.runtime.outputs import PathError, check_folder

_OF_COMPILATION = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '([^']+)'"
)
_exports_folder: Path | None = None


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/lowlight_jax`, by default `~/.cache/lowlight_jax`.

    Without a home, a temporary folder.
    """
    return _cache_dir() or _temporary_cache("no home folder is known")


def writable_cache(folder: Path) -> Path:
    """A folder below a cache, or a temporary one where that cannot be written."""
    try:
        check_folder(folder, "cache")
    except PathError as error:
        return _temporary_cache(str(error).partition(";")[0]) / folder.name
    return folder


def kept_in(folder: Path, make: Callable[[Path], None]) -> Path:
    """Has a folder below a cache made; a temporary one where the disk becomes full.

    Args:
      folder: from `writable_cache`.
      make: makes the folder that it is given, or leaves nothing.
    Returns:
      The folder that was made.
    """
    try:
        make(folder)
    except Exception as error:
        other = Path(_temporary_folder().name) / folder.name
        if not is_disk_full(error) or other == folder:
            raise
        _temporary_cache(f"the disk of {folder.parent} is full")
        make(other)
        return other
    return folder


def _cache_dir() -> Path | None:
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(root).expanduser() / "lowlight_jax"
    except RuntimeError:  # a user without a name
        return None


def _temporary_cache(reason: str) -> Path:
    folder = Path(_temporary_folder().name)
    if not any(folder.iterdir()):
        print(
            f"{reason}: what is prepared is not kept for the next run", file=sys.stderr
        )
        (folder / "said").touch()
    return folder


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="lowlight_jax-")


def exports_folder() -> Path | None:
    """Where lowered functions are kept: with compiled ones, if these are."""
    return _exports_folder


def use_compilation_cache() -> None:
    """Keeps compiled functions on disk, so that a second run starts at once.

    For commands; a library must leave that choice to its user.
    `JAX_COMPILATION_CACHE_DIR`, where it is set, takes precedence.
    """
    import jax  # not above: that would cost every `--help` half a second

    global _exports_folder
    directory = jax.config.jax_compilation_cache_dir
    if directory is None:
        if (root := _cache_dir()) is None:
            return
        directory = str(root / "compiled")
        jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if "://" in directory:  # a bucket
        return
    try:
        check_folder(Path(directory), "cache")
    except PathError:  # what lies there can be read still; XLA would write its own
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    _exports_folder = Path(directory) / "exported"
    _mend_compilation_cache(Path(directory))


def _mend_compilation_cache(directory: Path) -> None:
    """Lets JAX replace an entry that it cannot read, and say nothing of its cache.

    JAX warns, compiles, and keeps the damaged file, at every start; by the name in its
    warning the file is removed before the compiled function is written.
    """
    show = warnings.showwarning

    def show_others(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        found = _OF_COMPILATION.match(str(message))
        if not found:
            show(message, category, filename, lineno, file, line)
            return
        try:
            for entry in directory.glob(f"{found[2]}-*"):
                if found[1] == "reading":
                    entry.unlink(missing_ok=True)
        except OSError:  # it is not ours to mend
            pass

    warnings.filterwarnings("always", message=_OF_COMPILATION.pattern)  # not once
    warnings.showwarning = show_others
