"""Train and evaluate: `python -m lowlight_jax.main --config=configs/dual.py`."""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file: configs/dual.py, or configs/dual.py:variant=fine5.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where everything goes, and where a run that was cut off goes on. "
    "Default: runs/ and the name of the config.",
)


def _default_workdir() -> Path:
    """runs/dual for configs/dual.py, runs/dual-fine5 for its variant fine5."""
    file, _, arg = flags.FLAGS["config"].config_filename.partition(":")
    return Path("runs") / "-".join([Path(file).stem, *arg.split("=")[1:]])


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        print(f"error: unexpected arguments {argv[1:]}", file=sys.stderr)
        return 2
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # orbax says 30 lines at each save
    from lowlight_jax.allocator import keep_freed_memory

    keep_freed_memory()
    from lowlight_jax.cache import use_compilation_cache
    from lowlight_jax.telemetry import TrainingDiverged
    from lowlight_jax.train import train_and_evaluate

    use_compilation_cache()
    try:
        train_and_evaluate(_CONFIG.value, _WORKDIR.value or _default_workdir())
    except (ValueError, TrainingDiverged, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
