"""The command `lowlight`: one name for all commands of this package.

`lowlight NAME ...` is the same as `python -m lowlight_jax.NAME ...`.
"""

import importlib
import sys
from collections.abc import Sequence

from lowlight_jax.runtime.command import INTERRUPTED, USAGE

# Name, module with `main(argv, prog) -> int`, and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "enhance": ("lowlight_jax.enhance.__main__", "brighten photographs, repair holes"),
    "serve": ("lowlight_jax.serve.__main__", "a page and an API on this machine"),
    "train": ("lowlight_jax.main", "train and evaluate a network"),
    "evaluate": ("lowlight_jax.evaluate", "score files, or a network"),
    "reproduce": ("lowlight_jax.reproduce.__main__", "the papers' experiments"),
    "tune": ("lowlight_jax.tune", "search for good settings of a training"),
    "jpeg-sweep": ("lowlight_jax.jpeg_sweep", "what JPEG costs, quality by quality"),
    "export": ("lowlight_jax.export", "write a network as an ONNX or StableHLO file"),
    "summary": ("lowlight_jax.summary", "layers, parameters, operations of a network"),
    "convert-mirnet": (
        "lowlight_jax.convert.mirnet",
        "import weights of Keras' MIRNet",
    ),
}


def _help() -> str:
    lines = [f"  {name:16}{about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: lowlight COMMAND ...",
            "\nLow-light image enhancement in JAX.\n\ncommands:",
            *lines,
            "\n`lowlight COMMAND --help` tells more; `lowlight --version` the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Calls the command that the first argument names; returns its exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        from lowlight_jax import __version__

        print(f"lowlight_jax {__version__}")
        return 0
    if name not in COMMANDS:
        print(
            f"error: there is no command {name!r}; expected one of "
            f"{', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return USAGE
    module, _ = COMMANDS[name]
    try:
        command = importlib.import_module(module)
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return INTERRUPTED
    return command.main(rest, prog=f"lowlight {name}")
