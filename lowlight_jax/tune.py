"""Search for good settings: `python -m lowlight_jax.tune --config=configs/cnn.py`.

Each trial is a training in a folder of its own beside the study, ended early where its
validation score is worse than the median of the others at the same step. The study is
an SQLite file; the same command goes on with it, and with a trial that was cut off.
Exit codes as those of `lowlight_jax.main`. Needs the extra [tune].
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from lowlight_jax.runtime.allocator import keep_freed_memory
from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.runtime.command import GOES_ON, run_command
from lowlight_jax.runtime.command_flags import parse_flags
from lowlight_jax.runtime.devices import check_devices
from lowlight_jax.runtime.outputs import PathError, check_file, user_path

PROG = "python -m lowlight_jax.tune"


def define_flags(words: list[str]) -> None:
    """Those of the command; a library that is imported defines none."""
    config_flags.DEFINE_config_file(
        "config", None, "Config file to start from.", sys_argv=words
    )
    flags.DEFINE_string(
        "study", "runs/tune/study.db", "SQLite file; trials lie in a folder beside it."
    )
    flags.DEFINE_integer(
        "trials", 20, "Trials in all, those done before included.", lower_bound=1
    )
    flags.DEFINE_multi_string(
        "search",
        [],
        "What to vary: KEY=LOW:HIGH, KEY=LOW:HIGH:log, or KEY=A,B,C; KEY as behind "
        "--config. Default: learning rates, batch size, loss weights in use and width.",
    )
    flags.mark_flag_as_required("config")


def check_study(file: Path) -> None:
    """Raises a PathError where a study can be neither found nor made."""
    check_file(file, "--study")
    if file.exists() and file.read_bytes()[:16] not in (b"", b"SQLite format 3\0"):
        raise PathError(f"--study: {file} is no SQLite file; name another")


def run(argv: Sequence[str] | None, prog: str) -> int:
    """Tunes as the arguments say; returns the exit code."""
    parse_flags(define_flags, argv, prog=prog, about=__doc__)
    file = user_path(flags.FLAGS.study)
    check_study(file)
    keep_freed_memory()
    use_compilation_cache()
    check_devices()
    from lowlight_jax.training.search import (
        best_metric,
        default_search,
        parse_range,
        print_study,
        tune,
    )

    config = flags.FLAGS.config
    search = [parse_range(text, config) for text in flags.FLAGS.search]
    study = tune(
        config,
        file,
        trials=flags.FLAGS.trials,
        search=search or default_search(config),
    )
    print_study(study, best_metric(config))
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):
        print("error: no trial was finished", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    return run_command(lambda: run(argv, prog), interrupted=GOES_ON)


if __name__ == "__main__":
    sys.exit(main())
