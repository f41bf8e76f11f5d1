"""The network that knows the scene: told the right one, everywhere, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_piece import in_one_piece

from lowlight_jax import weights
from lowlight_jax.data.memory import Memory
from lowlight_jax.data.pipeline import Geometry, make_batches
from lowlight_jax.inference.runner import Enhancer, Runner, _compiled
from lowlight_jax.inference.tiles import TILE_SHAPES, overlap_px
from lowlight_jax.models import init_params
from lowlight_jax.models.dual_global import DualGlobalNetwork, _bands
from lowlight_jax.ops.degrade import ColourVariation, Compression
from lowlight_jax.ops.padding import reflected_window
from lowlight_jax.ops.thumbnail import THUMBNAIL_PX, make_thumbnail
from lowlight_jax.tasks.brightening import _pairs, _thumbnails
from lowlight_jax.tasks.task import Settings, make_objective
from lowlight_jax.training.data import _examples, _WithThumbnails

NETWORK = DualGlobalNetwork()
apply = jax.jit(NETWORK.apply, static_argnames="method")


@pytest.fixture(scope="module")
def untrained():
    inputs = jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, THUMBNAIL_PX, THUMBNAIL_PX, 3))
    return jax.jit(NETWORK.init)(jax.random.key(0), *inputs)["params"]


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


@pytest.fixture(scope="module")
def enhancer(params):
    return Runner(NETWORK, params)


def photograph(h, w, c=3, seed=0):
    """Dark, and brighter to the right: windows of it are not like the whole."""
    noise = np.random.default_rng(seed).integers(0, 30, (h, w, c))
    return np.uint8(noise + np.linspace(0, 60, w)[:, None])


@pytest.mark.parametrize("h, w", [(2, 3), (1, 1)])
def test_a_scene_is_means_of_boxes(h, w):
    image = photograph(h * THUMBNAIL_PX, w * THUMBNAIL_PX)
    boxes = image.reshape(THUMBNAIL_PX, h, THUMBNAIL_PX, w, 3).mean((1, 3)) / 255
    np.testing.assert_allclose(make_thumbnail(image), boxes, rtol=1e-6)


@pytest.mark.parametrize("h, w", [(1, 1), (5, 700), (33, 31), (401, 299)])
def test_any_picture_has_a_scene_that_is_like_it(h, w):
    image = photograph(h, w)
    thumbnail = make_thumbnail(image)
    assert (
        thumbnail.shape == (THUMBNAIL_PX, THUMBNAIL_PX, 3)
        and thumbnail.dtype == np.float32
    )
    np.testing.assert_allclose(thumbnail.mean(), image.mean() / 255, rtol=0.03)
    values = np.rint(thumbnail * 255 * 1e3) / 1e3
    assert values.min() >= image.min() and values.max() <= image.max()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_a_scene_does_not_depend_on_the_kind_of_pixel(dtype):
    image = photograph(50, 70)
    other = image.astype(dtype) * 257 if dtype == np.uint16 else dtype(image / 255)
    np.testing.assert_allclose(make_thumbnail(other), make_thumbnail(image), atol=1e-6)


def test_a_gray_scene_has_three_equal_channels():
    gray = photograph(50, 70, 1)
    expected = make_thumbnail(gray.repeat(3, axis=-1))
    np.testing.assert_array_equal(make_thumbnail(gray), expected)


def test_fewer_than_100_000_parameters():
    params = jax.eval_shape(lambda: init_params(NETWORK, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) < 100_000


def test_the_image_model_holds(params):
    """low = enhanced * illumination, noisy = clean + noise, in both stages."""
    low = photograph(32, 40)[None] / np.float32(255)
    out = apply({"params": params}, low, make_thumbnail(low[0])[None])
    enhanced, denoised = out.enhanced, out.denoised
    for pred, illumination in (
        (enhanced.pred, enhanced.illumination),
        (enhanced.coarse_pred, enhanced.coarse_illumination),
    ):
        np.testing.assert_allclose(pred * illumination, low, atol=1e-6)
        assert 1 / 32 < illumination.min() and illumination.max() < 1
    for pred, noise in (
        (denoised.pred, denoised.noise),
        (denoised.coarse_pred, denoised.coarse_noise),
    ):
        np.testing.assert_allclose(pred + noise, enhanced.pred, atol=1e-6)
    np.testing.assert_array_equal(out.pred, denoised.pred)


def test_an_untrained_network_brings_every_scene_to_one_brightness(untrained):
    variables = {"params": untrained}
    for darkness in (1, 2, 4):
        low = photograph(64, 64)[None] / np.float32(255 * darkness)
        thumbnail = make_thumbnail(low[0])[None]
        coarse = apply(variables, low, thumbnail, method="enhance").coarse_pred
        assert 0.3 < np.median(coarse) < 0.5


def test_the_scene_decides_unless_it_is_not_used(params):
    low = jnp.full((1, 16, 16, 3), 0.1)
    dark, bright = (
        jnp.full((1, THUMBNAIL_PX, THUMBNAIL_PX, 3), v) for v in (0.05, 0.3)
    )
    for network, differs in (
        (NETWORK, True),
        (NETWORK.copy(uses_thumbnail=False), False),
    ):
        a, b = (network.apply({"params": params}, low, s).pred for s in (dark, bright))
        assert (float(jnp.abs(a - b).max()) > 0.05) == differs


def test_bands_are_what_they_say():
    """What is smooth is in none of them, of noise the most in the first."""
    rng = np.random.default_rng(0)
    rows = jnp.linspace(0.2, 0.8, 64)[None, :, None, None]
    ramp = jnp.broadcast_to(rows, (1, 64, 64, 3))
    bands = jax.jit(_bands)
    for band in bands(ramp):
        np.testing.assert_allclose(band[:, 8:-8, 8:-8], 0, atol=1e-6)
    noise = jnp.asarray(rng.normal(size=(1, 64, 64, 3)), jnp.float32)
    fine, middle, coarse = (float(jnp.std(band)) for band in bands(noise))
    assert fine > 0.7 > middle > 0.15 > coarse > 0.05
    flat = jnp.full((1, 8, 8, 3), 0.3)
    assert all(float(jnp.abs(band).max()) < 1e-6 for band in bands(flat)), "borders"


def test_an_untrained_network_takes_noise_away(untrained):
    noise = 0.1 * np.random.default_rng(0).normal(size=(1, 64, 64, 3))
    noisy = jnp.float32(0.5 + noise)
    light = jnp.full_like(noisy, 0.2)
    denoised = apply({"params": untrained}, noisy, light, method="denoise")
    assert float(denoised.pred.std()) < 0.75 * float(noisy.std())


def test_a_bright_image_stays(enhancer):
    bright = photograph(40, 50) + np.uint8(150)
    np.testing.assert_array_equal(enhancer(bright), bright)


def test_a_scene_of_another_shape_is_refused(params):
    low = jnp.zeros((2, 16, 16, 3))
    with pytest.raises(ValueError, match=r"have shape \(1, 32, 32, 3\); expected"):
        NETWORK.apply({"params": params}, low, jnp.zeros((1, 32, 32, 3)))


def test_nothing_beyond_the_reach_is_seen(params):
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(1, 160, 160, 3)), "f4")
    thumbnail = jnp.full((1, THUMBNAIL_PX, THUMBNAIL_PX, 3), 0.3)

    def probe(image):  # a block in phase with the stride
        pred = apply({"params": params}, image, thumbnail).pred
        return pred[0, 80:88, 80:88].sum()

    seen = np.abs(jax.jit(jax.grad(probe))(image)[0]).sum(-1) > 0
    rows = np.flatnonzero(seen.any(1))
    reach = max(80 - rows.min(), rows.max() - 87)
    assert NETWORK.receptive_radius_px - 9 < reach <= NETWORK.receptive_radius_px


@pytest.mark.parametrize(
    "size, kind",
    [((700, 450), "uint8"), ((700, 150), "uint8"), ((700, 150), "uint16")],
)
@pytest.mark.parametrize("channels", [3, 1])
def test_tiles_equal_the_whole_image(params, enhancer, size, kind, channels):
    """All of them are told the scene of the whole picture."""
    image = photograph(*size, channels)
    full = np.iinfo(kind).max
    image = image.astype(kind) * (full // 255)
    whole, inside = in_one_piece(image, overlap_px(NETWORK), NETWORK.stride)
    whole = np.broadcast_to(np.float32(whole) / full, (*whole.shape[:2], 3))
    thumbnail = make_thumbnail(image)[None]
    pred = apply({"params": params}, whole[None], thumbnail).pred[0]
    pred = pred[inside]
    if channels == 1:
        pred = pred.mean(-1, keepdims=True)
    expected = np.rint(np.clip(pred, 0, 1) * full)
    np.testing.assert_allclose(enhancer(image), expected, atol=full * 2e-5 + 1)
    assert (enhancer(image) != image).mean() > 0.9


def test_many_sizes_compile_a_handful_of_times(params):
    network = DualGlobalNetwork(max_gain=31.0)  # not compiled by any other test
    enhancer = Runner(network, params)
    for h, w in np.random.default_rng(0).integers(1, 300, (20, 2)):
        assert enhancer(np.zeros((h, w, 3), np.uint8)).shape == (h, w, 3)
    assert 1 <= _compiled(network)._cache_size() <= len(TILE_SHAPES)


def test_without_denoising_it_is_the_enhancement_module(params, enhancer):
    image = photograph(48, 48)
    window = reflected_window(image, -8, -8, 144, 144)[None] / np.float32(255)
    pred = apply(
        {"params": params}, window, make_thumbnail(image)[None], method="enhance"
    ).pred[0, 8:56, 8:56]
    expected = np.rint(np.clip(pred, 0, 1) * 255)
    np.testing.assert_allclose(enhancer(image, denoise=0), expected, atol=1)
    assert (enhancer(image) != enhancer(image, denoise=0)).any()


class Pair:
    def __init__(self, seed):
        self.high = photograph(40, 50, seed=seed) * 2 + np.uint8(seed)
        self.low = self.high // 4


def take(count, *, least_framing=1.0, **arguments):
    pairs = [Pair(seed) for seed in range(6)]
    ((examples, _),) = _examples([(pairs, 1)], [], False)
    thumbnails = _WithThumbnails(examples, Memory())
    batches = make_batches(
        thumbnails,
        seed=0,
        crop_px=24,
        batch_size=4,
        geometry=Geometry(least_framing=least_framing),
        **arguments,
    )
    return [next(batches) for _ in range(count)]


def test_crops_come_with_the_scene_of_their_own_picture():
    reduced = [np.float16(make_thumbnail(Pair(seed).low)) for seed in range(6)]
    turns = [(turns, flip) for turns in range(4) for flip in (1, -1)]
    for batch in take(6):
        assert batch["low_thumbnail"].shape == (4, THUMBNAIL_PX, THUMBNAIL_PX, 3)
        for crop, thumbnail in zip(batch["high"], batch["low_thumbnail"], strict=True):
            (seed,) = (
                i
                for i in range(6)
                if any(
                    (thumbnail == np.rot90(reduced[i], k)[:, ::flip]).all()
                    for k, flip in turns
                )
            )
            columns = Pair(seed).high.reshape(-1, 3)
            assert {*map(tuple, crop.reshape(-1, 3))} <= {*map(tuple, columns)}


def test_scenes_are_framed_anew_both_sides_alike():
    wholes, framed = take(4), take(4, least_framing=0.5)
    for whole, part in zip(wholes, framed, strict=True):
        np.testing.assert_array_equal(whole["low"], part["low"])
        for side in ("low", "high"):
            assert (whole[f"{side}_thumbnail"] != part[f"{side}_thumbnail"]).any()
        # Four times brighter, before rounding down.
        ratio = (part["high_thumbnail"] - 4 * part["low_thumbnail"]) * 255
        assert 0 <= ratio.min() + 0.1 and ratio.max() < 3 + 0.1  # half precision


def test_scenes_repeat_and_are_shared_by_hosts_as_crops_are():
    options = {"least_framing": 0.5}
    whole, later = take(5, **options), take(2, first_batch=3, **options)
    for a, b in zip(whole[3:], later, strict=True):
        np.testing.assert_array_equal(a["low_thumbnail"], b["low_thumbnail"])
    shares = [take(5, host_index=i, host_count=2, **options) for i in range(2)]
    for a, *parts in zip(whole, *shares, strict=True):
        numbers = np.concatenate([part["number"] for part in parts])
        thumbnails = np.concatenate([part["low_thumbnail"] for part in parts])
        np.testing.assert_array_equal(
            thumbnails[np.argsort(numbers)], a["low_thumbnail"]
        )


@pytest.mark.parametrize("sides", [("low", "high"), ("high",)])
def test_a_scene_is_varied_as_its_crop(sides):
    """Pictures of one colour: whatever happens to the crop happens to its scene."""
    values = np.random.default_rng(0).integers(100, 200, (16, 1, 1, 3), np.uint8)
    flat = {"low": values // 4, "high": values}
    batch = {side: flat[side].repeat(24, 1).repeat(24, 2) for side in sides}
    batch |= {
        f"{side}_thumbnail": np.float32(
            flat[side].repeat(THUMBNAIL_PX, 1).repeat(THUMBNAIL_PX, 2) / 255
        )
        for side in sides
    }
    batch = jax.tree.map(jnp.asarray, batch | {"number": np.arange(16)})
    settings = Settings(
        colour=ColourVariation(gain=0.2), dark_stops=0.5, identity_fraction=0.3
    )
    key = jax.random.key(4)
    low, high = jax.jit(_pairs, static_argnums=2)(batch, key, settings)
    thumbnail, _ = jax.jit(_thumbnails, static_argnums=2)(batch, key, settings)
    by_crop, by_thumbnail = low.mean((1, 2)), thumbnail.mean((1, 2))
    # The synthetic side has noise in the crop, and 8 bits.
    tolerance = 1e-5 if "low" in sides else 0.012
    np.testing.assert_allclose(by_thumbnail, by_crop, atol=tolerance)
    is_identity = np.abs(low - high).max((1, 2, 3)) == 0
    assert 0 < is_identity.sum() < 16


def test_real_dark_sides_alone_are_saved():
    """Neither normal sides, nor scenes, nor what else is drawn for the batch."""
    batch, key = take(1)[0], jax.random.key(4)
    other = {"dark_stops": 0.5, "colour": ColourVariation(gain=0.2)}
    plain = Settings(**other)
    jpeg = Settings(**other, dark_jpeg=Compression(fraction=1.0, least_quality=20.0))
    pairs, thumbnails = (jax.jit(f, static_argnums=2) for f in (_pairs, _thumbnails))
    (low, high), (saved, same) = (pairs(batch, key, s) for s in (plain, jpeg))
    np.testing.assert_array_equal(high, same)
    assert (np.abs(low - saved).max((1, 2, 3)) > 1 / 255).all()
    assert np.abs(low.mean() - saved.mean()) < 2 / 255
    np.testing.assert_array_equal(
        thumbnails(batch, key, plain)[0], thumbnails(batch, key, jpeg)[0]
    )
    synthetic = {name: x for name, x in batch.items() if not name.startswith("low")}
    (low, _), (saved, _) = (pairs(synthetic, key, s) for s in (plain, jpeg))
    np.testing.assert_array_equal(low, saved)


@pytest.mark.parametrize(
    "phase, trained",
    [
        ("enhance", {"enhancement"}),
        ("denoise", {"denoising"}),
        ("joint", {"enhancement", "denoising"}),
    ],
)
def test_a_step_gives_every_parameter_of_its_modules_a_gradient(params, phase, trained):
    batch = take(1)[0]
    objective = make_objective(phase, model=NETWORK, settings=Settings())
    grads, terms = jax.jit(jax.grad(objective, has_aux=True))(
        params, batch, jax.random.key(0)
    )
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert bool(jnp.abs(leaf).max() > 0) == (path[0].key in trained), path
    assert all(np.isfinite(term) for term in terms.values())


def test_weights_go_through_a_file(tmp_path, params):
    path = tmp_path / "w.safetensors"
    model = {"name": "dual_global", "uses_thumbnail": False, "max_gain": 20.0}
    weights.save_weights(path, params, model=model, about={})
    network, loaded = weights.load_weights(path)
    assert network == DualGlobalNetwork(uses_thumbnail=False, max_gain=20.0)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    image = photograph(30, 40)
    np.testing.assert_array_equal(
        Enhancer(checkpoint=str(path))(image),
        Runner(network, params)(image),
    )
