"""What a result was made with: the source's commit, versions, the machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def commit() -> str:
    """The git commit of the source, "unknown" outside a checkout."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Of Python and the packages that numbers depend on."""
    packages = {name: metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **packages}


def machine() -> str:
    """JAX's devices and the CPU, in words."""
    import jax

    kinds = [device.device_kind for device in jax.devices()]
    devices = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"{os.cpu_count()} CPU cores ({platform.machine()}); JAX on {devices}"
