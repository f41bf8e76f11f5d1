"""Traced functions kept on disk, so that a second run need not trace them again.

JAX's compilation cache saves compiling alone: to look into it, a function must be
traced and lowered, which for a network takes longer than all the rest of a small
photograph. What is kept here is the lowered function as `jax.export` serializes it: a
StableHLO module, no pickle.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lowlight_jax.runtime.whole_file import write_whole

_PACKAGE = Path(__file__).parents[1]
_DIGEST_BYTES = 32  # of SHA-256


def keep_exports(function: Callable, name: str, folder: Path, **options) -> Callable:
    """`function`, jitted, exported once for each signature and from then on read.

    A folder that cannot be written, or an entry that cannot be read, costs time only.

    Args:
      function: jitted; its arguments are pytrees of arrays and None.
      name: tells it from others, all that it depends on beside its arguments and the
        source of this package.
      folder: where exports lie; made if there is none.
      **options: of `jax.jit` for what was exported.
    """
    import jax

    made: dict[Any, Callable] = {}

    @functools.wraps(function)
    def call(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        kinds = tuple(map(jax.typeof, leaves))
        if (structure, kinds) not in made:
            key = (_source_digest(), *_settings(), name, structure, kinds)
            digest = hashlib.sha256(repr(key).encode()).hexdigest()
            path = folder / f"{digest}.stablehlo"
            exported = _read(path) or _write(path, function, arguments)
            made[structure, kinds] = jax.jit(exported.call, **options)
        return made[structure, kinds](*arguments)

    return call


def _read(path: Path):
    from jax import export

    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, module = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if checksum != hashlib.sha256(module).digest():  # damaged: it is made anew
        return None
    return export.deserialize(bytearray(module))


def _write(path: Path, function: Callable, arguments: tuple):
    from jax import export

    exported = export.export(function)(*arguments)
    module = bytes(exported.serialize())
    with contextlib.suppress(OSError):  # read-only or full
        write_whole(path, hashlib.sha256(module).digest() + module)
    return exported


def _settings() -> tuple[Any, ...]:
    """What else decides what a function is lowered to."""
    import jax

    config = jax.config
    return (
        jax.__version__,
        jax.default_backend(),
        config.jax_enable_x64,
        config.jax_default_matmul_precision,
    )


@functools.cache
def _source_digest() -> str:
    """Of this package's files: a network that was edited is another one."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
