"""The pure step: it learns, phases touch what they should, back ends agree."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lowlight_jax import parallel
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.objectives import OBJECTIVES, DualSettings, make_objective
from lowlight_jax.ops.degrade import Exposure, add_noise, underexpose
from lowlight_jax.optimizer import make_optimizer, make_schedule
from lowlight_jax.train_step import init_train_state, train_step

NETWORK = DualNetwork()
SETTINGS = DualSettings()


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    smooth = rng.uniform(40, 250, (4, 4, 4, 3)).repeat(12, 1).repeat(12, 2)
    high = np.uint8(smooth + rng.uniform(0, 5, smooth.shape))
    return {"low": high // 8, "high": high}


def new_state(tx):
    params = NETWORK.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    return init_train_state(jax.random.PRNGKey(1), params, tx)


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
    high_only = {"high": batch["high"]}
    _, metrics = jax.jit(make_step("enhance", tx))(new_state(tx), high_only)
    assert np.isfinite(metrics["loss"])


def test_ema_is_the_average():
    tx = make_optimizer(optax.constant_schedule(1e-2), name="sgd")

    def objective(params, batch, key):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)), {}

    state = init_train_state(jax.random.PRNGKey(0), {"w": jnp.ones(3)}, tx)
    after, _ = train_step(state, {}, objective=objective, tx=tx, ema_decay=0.75)
    np.testing.assert_allclose(after.params["w"], 0.99)
    np.testing.assert_allclose(after.ema_params["w"], 0.75 + 0.25 * 0.99)


def test_jit_and_pmap_agree_under_sgd(batch):
    """SGD, because RMSProp would hide a gradient that is off by a factor."""
    tx = make_optimizer(optax.constant_schedule(0.05), name="sgd")
    results = []
    for backend in ("jit", "pmap"):
        step, state = parallel.compile_step(make_step("enhance", tx), backend), None
        state = new_state(tx)
        for _ in range(3):
            state, metrics = step(state, parallel.place(batch, backend))
        results.append((state.params, float(metrics["loss"])))
    (params, loss), (other, other_loss) = results
    np.testing.assert_allclose(loss, other_loss, rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), params, other)


def test_automatic_back_end():
    assert jax.local_device_count() == 4, "as conftest says"
    assert parallel.choose_backend("auto", 8) == "pmap"
    assert parallel.choose_backend("jit", 7) == "jit"
    with pytest.raises(ValueError, match="batch_size is 6, which 4 devices cannot"):
        parallel.choose_backend("auto", 6)


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
    assert list(OBJECTIVES) == ["enhance", "denoise", "joint"]


def test_underexposure_halves_the_light_per_stop():
    exposure = Exposure(3.0, 3.0, 0.0, 0.0, 0.0, 0.0)
    low = underexpose(jax.random.key(0), jnp.full((1, 8, 8, 3), 0.8), exposure)
    light = 0.6038  # of sRGB 0.8
    expected = 1.055 * (light / 8) ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(low, np.rint(expected * 255) / 255, atol=1e-6)


def test_each_image_gets_its_own_exposure():
    low = underexpose(jax.random.key(0), jnp.full((8, 8, 8, 3), 0.8), Exposure())
    assert len(np.unique(np.asarray(low.mean((1, 2, 3))).round(3))) > 4
    np.testing.assert_allclose(low * 255, np.rint(low * 255), atol=1e-4)


def test_noise_has_the_strength_it_says():
    image = jnp.full((64, 32, 32, 3), 0.5)
    noise = add_noise(jax.random.key(0), image, 51.0) - image
    sigma = np.asarray(noise.std((1, 2, 3)))
    assert 0.0 <= sigma.min() < 0.03
    assert 0.15 < sigma.max() < 0.27
    assert abs(float(noise.mean())) < 0.01
