"""Settings for every test, made before JAX is used: CPU, as eight devices.

Arrays of different ranks are not broadcast: it hides a forgotten axis.
"""

import logging
import os
from pathlib import Path

import pytest
from absl import flags
from absl import logging as absl_logging

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Modules whose annotations are checked at every call. Not `types` and `ops.degrade`,
# whose structs JAX rebuilds with leaves of other types. Not where an annotation names
# what TYPE_CHECKING alone imports: `inference`, `data.pairs`, `training.search`.
CHECKED = (
    *("baselines", "losses", "metrics", "models", "tasks"),
    *("ops.colour", "ops.damage", "ops.jpeg", "ops.padding", "ops.structure"),
    *("ops.thumbnail",),
    *("data.photographs", "data.pipeline", "data.prepared", "data.sources"),
    *("evaluation.comparison", "evaluation.folders", "evaluation.scoring"),
    *("training.optimizer", "training.step"),
)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

install_import_hook(
    [f"lowlight_jax.{part}" for part in CHECKED],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A command tells libraries to be quiet, for the rest of its process."""
    level, verbosity = logging.root.level, absl_logging.get_verbosity()
    yield
    absl_logging.set_verbosity(verbosity)
    logging.root.setLevel(level)


@pytest.fixture(autouse=True)
def exports_as_they_were(monkeypatch):
    """A command has functions kept, for the rest of its process."""
    monkeypatch.setattr("lowlight_jax.runtime.cache._exports_folder", None)


@pytest.fixture(autouse=True)
def malloc_as_it_was(monkeypatch):
    """A command sets it, for the rest of its process."""
    monkeypatch.setattr("lowlight_jax.runtime.allocator._mallopt", lambda *_: 0)


@pytest.fixture
def without_extras(monkeypatch):
    """As where neither HEIC nor raw files can be read."""
    monkeypatch.setattr("lowlight_jax.images.kinds.find_spec", lambda name: None)


@pytest.fixture
def call_command(monkeypatch):
    """`f(module, *words) -> exit code` of a command with flags, in this process.

    It runs in the repository's root; flags and caches stay as they were.
    """

    def call(module, *words):
        monkeypatch.chdir(Path(__file__).parents[1])
        monkeypatch.setattr(module, "use_compilation_cache", lambda: None)
        return module.main(list(words))

    import grain.python  # noqa: F401 its own flags must not go

    before = set(flags.FLAGS)
    yield call
    flags.FLAGS.remove_flag_values(set(flags.FLAGS) - before)
