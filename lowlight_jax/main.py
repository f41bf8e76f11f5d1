"""Train and evaluate: `python -m lowlight_jax.main --config=configs/dual.py`.

Exit codes: 0 done; 1 error, said in one sentence; 2 wrong usage; 75 stopped by SIGTERM
or Ctrl-C after saving: the same command goes on; 130 interrupted without saving.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from lowlight_jax.runtime import preemption
from lowlight_jax.runtime.allocator import keep_freed_memory
from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.runtime.command import GOES_ON, run_command
from lowlight_jax.runtime.command_flags import parse_flags

PROG = "python -m lowlight_jax.main"


def define_flags(words: list[str]) -> None:
    """Those of the command; a library that is imported defines none."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Config file: configs/dual.py, or configs/dual.py:variant=fine5.",
        sys_argv=words,
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "Where everything goes, and where a run that was cut off goes on. "
        "Default: runs/ and the name of the config.",
    )
    flags.DEFINE_bool(
        "continue_changed",
        False,
        "Go on in the workdir although settings or data are others than its run's.",
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "This is one of several processes, started by Slurm, GKE, a TPU pod or a "
        "script of launch/.",
    )
    flags.mark_flag_as_required("config")


def _default_workdir() -> Path:
    """runs/dual for configs/dual.py, runs/dual-fine5 for its variant fine5."""
    file, _, arg = flags.FLAGS["config"].config_filename.partition(":")
    return Path("runs") / "-".join([Path(file).stem, *arg.split("=")[1:]])


def run(argv: Sequence[str] | None, prog: str) -> int:
    """Trains as the arguments say; returns the exit code."""
    parse_flags(define_flags, argv, prog=prog, about=__doc__)
    keep_freed_memory()
    use_compilation_cache()
    from jax.errors import JaxRuntimeError

    from lowlight_jax.runtime import parallel
    from lowlight_jax.training.loop import train_and_evaluate

    try:
        if flags.FLAGS.distributed:
            parallel.join_processes()
        workdir = flags.FLAGS.workdir or _default_workdir()
        train_and_evaluate(
            flags.FLAGS.config, workdir, may_differ=flags.FLAGS.continue_changed
        )
    except (ValueError, JaxRuntimeError) as error:
        if not parallel.says_lost_process(error):
            raise
        reason = str(error).splitlines()[0]
        raise ConnectionError(
            f"this process lost another one ({reason}); the same command goes on from "
            "the last checkpoint"
        ) from error
    return 0


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    code = run_command(lambda: run(argv, prog), interrupted=GOES_ON)
    together = flags.FLAGS.is_parsed() and flags.FLAGS.distributed
    if together and code not in (0, preemption.EXIT_CODE):
        # Leaving in good order would wait for the others, and they for this one.
        sys.stdout.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
