"""Each back end: compiled once a phase, with our options, nothing moved unasked."""

import re
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

from lowlight_jax.config import base_config
from lowlight_jax.models import init_params, make_model
from lowlight_jax.runtime import parallel
from lowlight_jax.training.loop import train
from lowlight_jax.training.telemetry import ProgressLine
from lowlight_jax.weights import save_weights

STEP_NAMES = ("train_step", "_fun", "pmap")  # JAX calls what pmap has wrapped so


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Real pairs: the synthetic dark side takes longer to compile than a network."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for side in ("low", "high"):
        (root / side).mkdir()
        for i in range(3):
            image = np.uint8(rng.integers(0, 255, (24, 24, 3)))
            Image.fromarray(image).save(root / side / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def initial_weights(tmp_path_factory):
    """Any parameters: to initialise them takes longer to compile than both phases."""
    network = make_model(**two_phases("", "", "auto").model)
    shapes = jax.eval_shape(partial(init_params, network), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(0, 0.05, a.shape), shapes)
    params = jax.tree.map(np.float32, params)
    path = tmp_path_factory.mktemp("initial") / "weights.safetensors"
    model = two_phases("", "", "auto").model.to_dict()
    save_weights(path, params, model=model, about={})
    return path


def two_phases(pairs, cache, backend):
    """The cheapest losses and network that there are two phases of."""
    c = base_config()
    c.parallel = backend
    c.model.fine_layers = 0
    c.data.root, c.data.cache_dir = str(pairs), str(cache)
    c.data.crop_px, c.data.batch_size = 24, 8
    for phase in c.phases.values():
        phase.steps = 0
    c.phases.enhance.steps = c.phases.supervised.steps = 3
    for name in ("structural", "reverse", "coarse"):
        c.loss.enhancement[name] = 0.0
    c.checkpoint_every_steps = 2
    c.log_every_steps = 1
    return c


@pytest.mark.parametrize("backend", parallel.BACKENDS)
def test_a_phase_is_compiled_once_and_moves_nothing_unasked(
    tmp_path, pairs, initial_weights, backend, caplog, monkeypatch
):
    """The guard is up from each batch's placing until its metrics are logged."""
    place_batch, log = parallel.place_batch, ProgressLine.log

    def guard(level):
        jax.config.update("jax_transfer_guard", level)

    def guard_then_place(*args):
        guard("disallow")
        return place_batch(*args)

    def log_then_unguard(*args):
        log(*args)
        guard(None)

    monkeypatch.setattr(parallel, "place_batch", guard_then_place)
    monkeypatch.setattr(ProgressLine, "log", log_then_unguard)
    config = two_phases(pairs, tmp_path, backend)
    config.initial_weights = str(initial_weights)
    try:
        with jax.log_compiles():
            train(config, tmp_path / "run")
    finally:
        guard(None)
    compiled = re.findall(r"Finished XLA compilation of jit\((.+)\) in", caplog.text)
    steps = [name for name in compiled if name.startswith(STEP_NAMES)]
    assert len(steps) == 2, compiled


@pytest.mark.parametrize("backend", parallel.BACKENDS)
def test_compiler_options_reach_every_back_end(backend, monkeypatch):
    monkeypatch.setattr(parallel, "cpu_compiler_options", lambda: {"not_one": "1"})
    step = parallel.compile_step(lambda state, batch, axis_name=None: state, backend)
    state = parallel.place_state({"w": np.zeros(3)}, backend)
    batch = parallel.place_batch({"high": np.zeros((8, 2))}, backend)
    with pytest.raises(jax.errors.JaxRuntimeError, match="not_one"):
        step(state, batch)
