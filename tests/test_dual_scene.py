"""The network that knows scenes again: by where things are, alike in every window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from one_piece import in_one_piece

from lowlight_jax.inference.runner import Runner
from lowlight_jax.inference.tiles import overlap_px
from lowlight_jax.models import init_params, make_model
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX, make_thumbnail
from lowlight_jax.tasks.task import Settings, make_objective
from lowlight_jax.types import WHOLE

NETWORK = make_model("dual_scene")
PLACE = np.float32([WHOLE])


@pytest.fixture(scope="module")
def untrained():
    return init_params(NETWORK, jax.random.key(0))


@pytest.fixture(scope="module")
def params(untrained):
    """Random, and with layers that start small doing something."""
    leaves, tree = jax.tree.flatten(untrained)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        x + 0.02 * jax.random.normal(k, x.shape)
        for x, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


def photograph(h, w, seed=0):
    """Dark, and brighter to the right: windows of it are not like the whole."""
    noise = np.random.default_rng(seed).integers(0, 30, (h, w, 3))
    return np.uint8(noise + np.linspace(0, 60, w)[:, None])


def coarse(params, window, scene, place=WHOLE):
    return NETWORK.apply(
        {"params": params}, window, scene, jnp.float32([place]), method="enhance"
    ).coarse_pred


def test_fewer_than_100_000_parameters(params):
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) < 100_000


def test_an_untrained_network_brings_every_scene_to_one_brightness(untrained):
    for darkness in (1, 2, 4):
        low = photograph(64, 64)[None] / np.float32(255 * darkness)
        result = coarse(untrained, low, make_thumbnail(low[0])[None])
        assert 0.3 < np.median(result) < 0.5


def test_a_map_of_the_picture_lies_where_its_window_does(params):
    """Of one value everywhere, told a scene that is brighter at the right."""
    low = jnp.full((1, 64, 64, 3), 0.1)
    scene = make_thumbnail(photograph(64, 64))[None]
    whole = coarse(params, low, scene)
    assert np.ptp(whole) > 0.01
    part = coarse(params, low[:, 32:, 16:48], scene, (0.5, 0.25, 1.0, 0.75))
    np.testing.assert_allclose(part, whole[:, 32:, 16:48], atol=1e-5)


def test_where_things_are_makes_the_scene(params):
    """Two thumbnails of the same statistics get other curves; maps apart."""
    flat = flatten_dict(params, sep="/")
    for name in flat:
        if "/map_end/" in name:
            flat[name] = jnp.zeros_like(flat[name])
    params = unflatten_dict(flat, sep="/")
    scene = make_thumbnail(photograph(64, 64))[None]
    low = jnp.full((1, 16, 16, 3), 0.1)
    one, other = (coarse(params, low, s) for s in (scene, scene[:, ::-1, ::-1]))
    assert abs(one.mean() - other.mean()) > 1e-3


@pytest.mark.parametrize("size", [(700, 450), (1100, 500)])
def test_tiles_equal_the_whole_image(params, size):
    image = photograph(*size)
    whole, inside = in_one_piece(image, overlap_px(NETWORK), NETWORK.stride)
    top, left = (-part.start for part in inside)
    height, width = whole.shape[:2]
    place = np.float32([[top, left, top + height, left + width]])
    place /= np.float32([*size, *size])
    scene = make_thumbnail(image)[None]
    low = np.float32(whole)[None] / 255
    pred = NETWORK.apply({"params": params}, low, scene, place).pred[0][inside]
    expected = np.rint(np.clip(pred, 0, 1) * 255)
    found = Runner(NETWORK, params)(image)
    np.testing.assert_allclose(found, expected, atol=1)
    assert (found != image).mean() > 0.9


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 60, (2, 24, 24, 3), np.uint8)
    thumbnail = rng.uniform(0, 0.2, (2, THUMBNAIL_PX, THUMBNAIL_PX, 3)).astype("f4")
    arrays = {"low": low, "high": 4 * low, "number": np.arange(2)}
    arrays |= {"low_thumbnail": thumbnail, "high_thumbnail": 4 * thumbnail}
    return jax.tree.map(jnp.asarray, arrays | {"place": np.float32([WHOLE, WHOLE])})


def gradients(phase, params, batch, *kept):
    settings = Settings(kept_parts=kept)
    objective = make_objective(phase, model=NETWORK, settings=settings)
    return jax.jit(jax.grad(objective, has_aux=True))(params, batch, jax.random.key(0))


@pytest.mark.parametrize("phase, trained", [("scene", {"enhancement"}), ("joint", {})])
def test_a_step_gives_every_parameter_of_its_modules_a_gradient(
    params, batch, phase, trained
):
    grads, terms = gradients(phase, params, batch)
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        is_trained = not trained or path[0].key in trained
        assert bool(jnp.abs(leaf).max() > 0) == is_trained, path
    assert all(np.isfinite(term) for term in terms.values())


def test_a_part_may_be_kept_while_the_others_are_trained_together(params, batch):
    free, _ = gradients("joint", params, batch)
    kept, _ = gradients("joint", params, batch, "enhancement/coarse")
    assert not any(
        leaf.any() for leaf in jax.tree.leaves(kept["enhancement"]["coarse"])
    )
    for grads in (free, kept):
        del grads["enhancement"]["coarse"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), free, kept)
    with pytest.raises(ValueError, match="has no module 'coarse'; expected paths like"):
        gradients("joint", params, batch, "coarse")
