"""The pure step: it learns, phases touch what they should, back ends agree."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lowlight_jax.losses.dual import EnhancementWeights
from lowlight_jax.models import all_phases
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.ops.degrade import Exposure, add_noise, underexpose
from lowlight_jax.runtime import parallel
from lowlight_jax.tasks.task import Settings, make_objective
from lowlight_jax.training import telemetry
from lowlight_jax.training.optimizer import make_optimizer, make_schedule
from lowlight_jax.training.step import init_train_state, train_step

NETWORK = DualNetwork()
SETTINGS = Settings()


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    smooth = rng.uniform(40, 250, (8, 4, 4, 3)).repeat(12, 1).repeat(12, 2)
    high = np.uint8(smooth + rng.uniform(0, 5, smooth.shape))
    return {"low": high // 8, "high": high, "number": np.arange(8, dtype=np.uint32)}


@cache
def initial_params():
    init = jax.jit(NETWORK.init)
    return init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]


def new_state(tx):
    return init_train_state(jax.random.key(1), initial_params(), tx)


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def make_step(phase, tx, **options):
    objective = make_objective(phase, model=NETWORK, settings=SETTINGS)
    return partial(train_step, objective=objective, tx=tx, **options)


def moved(before, after):
    """Which modules' parameters are no longer the same."""
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    return {name for name, part in changed.items() if any(jax.tree.leaves(part))}


@pytest.mark.parametrize(
    "phase, trained",
    [
        ("enhance", {"enhancement"}),
        ("denoise", {"denoising"}),
        ("joint", {"enhancement", "denoising"}),
    ],
)
def test_a_phase_trains_its_modules_and_no_other(batch, phase, trained):
    tx = make_optimizer(optax.constant_schedule(1e-3))
    state = new_state(tx)
    after, metrics = jax.jit(make_step(phase, tx))(state, batch)
    assert moved(state.params, after.params) == trained
    assert int(after.step) == 1
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("phase", ["enhance", "denoise"])
def test_loss_falls_on_one_batch(batch, phase):
    tx = make_optimizer(optax.constant_schedule(2e-3), clip_norm=1.0)
    step, state = jax.jit(make_step(phase, tx)), new_state(tx)
    losses = []
    for _ in range(30):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert step._cache_size() == 1, "compiled again at a later step"


def test_synthetic_dark_side_where_there_is_none(batch):
    tx = make_optimizer(optax.constant_schedule(1e-3))
    high_only = {name: batch[name] for name in ("high", "number")}
    _, metrics = jax.jit(make_step("enhance", tx))(new_state(tx), high_only)
    assert np.isfinite(metrics["loss"])


def test_ema_is_the_average():
    tx = make_optimizer(optax.constant_schedule(1e-2), name="sgd")

    def objective(params, batch, key):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)), {}

    state = init_train_state(jax.random.key(0), {"w": jnp.ones(3)}, tx)
    after, _ = train_step(state, {}, objective=objective, tx=tx, ema_decay=0.75)
    np.testing.assert_allclose(after.params["w"], 0.99)
    np.testing.assert_allclose(after.ema_params["w"], 0.75 + 0.25 * 0.99)


def run_steps(tx, batch, count, backend, settings=SETTINGS, **options):
    objective = make_objective("enhance", model=NETWORK, settings=settings)
    step = partial(train_step, objective=objective, tx=tx, **options)
    step = parallel.compile_step(step, backend)
    state = parallel.place_state(jax.device_get(new_state(tx)), backend)
    losses = []
    for _ in range(count):
        state, metrics = step(state, parallel.place_batch(batch, backend))
        losses.append(float(metrics["loss"]))
    return jax.device_get(state.params), losses


@pytest.fixture(scope="module")
def by_jit(batch):
    """Parameters and losses after 20 steps of SGD on one device.

    SGD, because RMSProp would hide a gradient that is off by a factor. The dark side is
    synthetic, with noise: each image's must be its own on any device. One term of the
    loss alone, which is quick to compile.
    """
    tx = make_optimizer(optax.constant_schedule(0.01), name="sgd", clip_norm=1.0)
    weights = EnhancementWeights(structural=0.0, reverse=0.0, coarse=0.0)
    settings = Settings(enhancement=weights)
    batch = {name: batch[name] for name in ("high", "number")}
    options = {"tx": tx, "settings": settings}
    return options, batch, *run_steps(batch=batch, count=20, backend="jit", **options)


@pytest.mark.parametrize(
    "backend, accumulate", [("pmap", 1), ("mesh", 1), ("jit", 4), ("mesh", 2)]
)
def test_back_ends_agree_on_8_devices(by_jit, backend, accumulate):
    options, batch, params, losses = by_jit
    if (backend, accumulate) == ("mesh", 2):  # twice the same images on each device
        batch = {name: np.repeat(images, 2, 0) for name, images in batch.items()}
    other, other_losses = run_steps(
        batch=batch, count=20, backend=backend, accumulate=accumulate, **options
    )
    np.testing.assert_allclose(losses, other_losses, rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), params, other)


@pytest.mark.slow
def test_back_ends_agree_under_rmsprop(batch):
    tx = make_optimizer(optax.constant_schedule(1e-4))
    losses = [run_steps(tx, batch, 20, backend)[1] for backend in parallel.BACKENDS]
    np.testing.assert_allclose(losses[1:], losses[:1] * 2, rtol=1e-4)


def test_automatic_back_end():
    assert jax.local_device_count() == 8, "as conftest says"
    assert parallel.choose_backend("auto", 8) == "pmap"
    assert parallel.choose_backend("mesh", 8) == "mesh"
    assert parallel.choose_backend("jit", 7) == "jit"
    with pytest.raises(ValueError, match="batch_size is 12, which 8 device.* cannot"):
        parallel.choose_backend("auto", 12)
    with pytest.raises(ValueError, match="in 2 parts each; pass a multiple of 16"):
        parallel.choose_backend("auto", 8, accumulate=2)


def test_bfloat16_computes_in_it_and_keeps_the_rest_in_float32(batch):
    network = DualNetwork(dtype="bfloat16")
    tx = make_optimizer(optax.constant_schedule(2e-3), clip_norm=1.0)
    objective = make_objective("enhance", model=network, settings=SETTINGS)
    state = new_state(tx)
    low = jnp.asarray(batch["low"], jnp.float32) / 255
    variables = {"params": state.params}
    convolved = str(jax.make_jaxpr(network.apply)(variables, low)).split("\n")
    convolved = [line for line in convolved if " conv_general_dilated[" in line]
    assert convolved and all(":bf16[" in line for line in convolved)
    step = jax.jit(partial(train_step, objective=objective, tx=tx, ema_decay=0.9))
    first, _ = step(state, batch)
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(first.params)}
    assert dtypes == {"float32"}
    losses = []
    for _ in range(30):
        state, metrics = step(state, batch)
        losses.append(metrics["loss"])
    assert losses[0].dtype == jnp.float32
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def exploding(at_step):
    """An objective whose gradient is not finite at one step."""

    def objective(params, batch, key):
        bad = jnp.where(batch["step"] == at_step, jnp.nan, 1.0)
        return bad * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)), {}

    return objective


def test_steps_that_are_not_finite_can_be_skipped():
    """They leave parameters and optimizer as they were, and are counted."""
    schedule = optax.constant_schedule(1e-2)
    tx = make_optimizer(schedule, skip_nonfinite=3)
    state = init_train_state(jax.random.key(0), {"w": jnp.ones(3)}, tx)
    step = partial(train_step, objective=exploding(1), tx=tx)
    states = [state]
    for i in range(3):
        state, metrics = step(state, {"step": jnp.int32(i)})
        states.append(state)
        telemetry.check_finite("enhance", i, jax.device_get(metrics), may_skip=3)
        assert int(metrics["skipped"]) == (i >= 1)
        assert int(metrics["skipped_in_a_row"]) == (i == 1)
    weights = [np.asarray(state.params["w"])[0] for state in states]
    assert weights[0] > weights[1] == weights[2] > weights[3]
    assert int(states[-1].step) == 3


def test_too_many_bad_steps_in_a_row_are_an_error():
    tx = make_optimizer(optax.constant_schedule(1e-2), skip_nonfinite=2)
    state = init_train_state(jax.random.key(0), {"w": jnp.ones(3)}, tx)
    step = partial(train_step, objective=exploding(0), tx=tx)
    with pytest.raises(telemetry.TrainingDiverged, match="'joint' at step 2.*loss"):
        for i in range(5):
            state, metrics = step(state, {"step": jnp.int32(0)})
            telemetry.check_finite("joint", i, jax.device_get(metrics), may_skip=2)


def test_a_bad_step_is_an_error_where_none_may_be_skipped():
    with pytest.raises(telemetry.TrainingDiverged, match="'denoise' at step 7: loss"):
        telemetry.check_finite("denoise", 7, {"loss": np.nan, "grad_norm": 1.0})


def test_step_schedule():
    schedule = make_schedule(
        "step",
        peak=1.0,
        steps=100,
        warmup_steps=10,
        final_fraction=0.0,
        step_at=(0.5, 0.8),
        step_factor=0.1,
    )
    rates = [float(schedule(step)) for step in (0, 10, 49, 51, 79, 81, 99)]
    np.testing.assert_allclose(rates, [0, 1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)


def test_constant_schedule():
    schedule = make_schedule(
        "constant", peak=0.3, steps=9, warmup_steps=0, final_fraction=0.0
    )
    assert schedule(0) == schedule(8) == 0.3


def test_schedule_warms_up_and_falls():
    schedule = make_schedule(
        "cosine", peak=1.0, steps=100, warmup_steps=10, final_fraction=0.1
    )
    assert schedule(0) == 0
    np.testing.assert_allclose(schedule(10), 1.0)
    np.testing.assert_allclose(schedule(100), 0.1, atol=1e-6)
    assert schedule(5) == 0.5 < schedule(50) < 1.0


def test_clipping_bounds_the_update():
    tx = make_optimizer(optax.constant_schedule(1.0), name="sgd", clip_norm=0.5)
    grads = {"w": jnp.asarray([3.0, 4.0])}
    updates, _ = tx.update(grads, tx.init(grads))
    np.testing.assert_allclose(updates["w"], [-0.3, -0.4], rtol=1e-6)


def test_rmsprop_is_the_papers():
    """First step: lr * g / sqrt((1 - decay) * g**2 + eps)."""
    tx = make_optimizer(optax.constant_schedule(0.1), decay=0.9)
    grads = {"w": jnp.asarray([2.0])}
    updates, _ = tx.update(grads, tx.init(grads))
    np.testing.assert_allclose(updates["w"], -0.1 * 2 / np.sqrt(0.1 * 4), rtol=1e-5)


@pytest.mark.parametrize("name", ["momentum", ""])
def test_unknown_optimizer_is_named(name):
    with pytest.raises(ValueError, match="optimizer.name is one of"):
        make_optimizer(optax.constant_schedule(1.0), name=name)


def test_phases_are_in_the_papers_order():
    assert all_phases()[:4] == ["scene", "enhance", "denoise", "joint"]


def test_underexposure_halves_the_light_per_stop():
    exposure = Exposure(3.0, 3.0, 0.0, 0.0, 0.0, 0.0)
    low = underexpose(jax.random.key(0)[None], jnp.full((1, 8, 8, 3), 0.8), exposure)
    light = 0.6038  # of sRGB 0.8
    expected = 1.055 * (light / 8) ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(low, np.rint(expected * 255) / 255, atol=1e-6)


def test_each_image_gets_its_own_exposure():
    low = underexpose(keys(8), jnp.full((8, 8, 8, 3), 0.8), Exposure())
    assert len(np.unique(np.asarray(low.mean((1, 2, 3))).round(3))) > 4
    np.testing.assert_allclose(low * 255, np.rint(low * 255), atol=1e-4)


def test_noise_has_the_strength_it_says():
    image = jnp.full((64, 32, 32, 3), 0.5)
    noise = add_noise(keys(64), image, 51.0) - image
    sigma = np.asarray(noise.std((1, 2, 3)))
    assert 0.0 <= sigma.min() < 0.03
    assert 0.15 < sigma.max() < 0.27
    assert abs(float(noise.mean())) < 0.01
