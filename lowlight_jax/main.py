"""Train and evaluate: `python -m lowlight_jax.main --config=configs/dual.py`.

Exit codes: 0 done; 1 error, said in one sentence; 2 wrong usage; 75 stopped by SIGTERM
or Ctrl-C after saving: the same command goes on; 130 interrupted without saving.
"""

import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from lowlight_jax.runtime import preemption
from lowlight_jax.runtime.allocator import keep_freed_memory
from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.runtime.command_flags import parse_flags

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
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "This is one of several processes, started by Slurm, GKE, a TPU pod or a script of "
    "launch/.",
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
    keep_freed_memory()
    use_compilation_cache()
    code = run()
    if _DISTRIBUTED.value and code not in (0, preemption.EXIT_CODE):
        # Leaving in good order would wait for the others, and they for this one.
        sys.stdout.flush()
        os._exit(code)
    return code


def run() -> int:
    """Trains; says what went wrong in one sentence; returns the exit code."""
    from jax.errors import JaxRuntimeError

    from lowlight_jax.runtime import parallel
    from lowlight_jax.training.loop import train_and_evaluate
    from lowlight_jax.training.telemetry import TrainingDiverged

    try:
        if _DISTRIBUTED.value:
            parallel.join_processes()
        train_and_evaluate(_CONFIG.value, _WORKDIR.value or _default_workdir())
    except preemption.Preempted as stop:
        if parallel.is_main_process():
            print(stop, file=sys.stderr)
        return preemption.EXIT_CODE
    except (ValueError, TrainingDiverged, OSError, JaxRuntimeError) as error:
        message = str(error)
        if parallel.says_lost_process(error):
            message = (
                f"this process lost another one ({message.splitlines()[0]}); the same "
                "command goes on from the last checkpoint"
            )
        elif isinstance(error, JaxRuntimeError):
            raise
        print(f"error: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse_flags)
