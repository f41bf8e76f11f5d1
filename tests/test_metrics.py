"""Fidelity metrics against other people's numbers, and what all metrics promise."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_images import GOLDEN, image, photograph_of

from lowlight_jax import metrics
from lowlight_jax.ops.structure import ms_ssim_terms, ssim_terms

DIFFERENTIABLE = {
    "psnr_rgb",
    "ssim_rgb",
    "ms_ssim_rgb",
    "delta_e76",
    "ciede2000",
    "delta_e_itp",
    "saturation_ratio",
    "noise_level",
}
WITHOUT_EXTRA = sorted(metrics.METRICS.keys() - {"lpips_alex"})
COLOUR_ONLY = {
    "delta_e76",
    "ciede2000",
    "delta_e_itp",
    "saturation_ratio",
    "lpips_alex",
}
MIN_SIDE_PX = {
    "ssim_rgb": 11,
    "ms_ssim_rgb": 161,
    "lpips_alex": 31,
    "brisque": 13,
    "noise_level": 3,
}

ONE_WAY = {"saturation_ratio", "clipped_excess", "dark_level"}  # not symmetric
NO_REFERENCE = {n for n, metric in metrics.METRICS.items() if not metric.needs}

DISTORTIONS = ["noise10", "noise50", "blur2", "dark", "invert", "shift"]


def arguments_of(name, pred, target):
    """The images that the metric takes: one, or two."""
    mask = [jnp.ones_like(pred[..., :1])] if name == "psnr_holes" else []
    return (pred, target, *mask) if metrics.METRICS[name].needs else (pred,)


def random_images(seed, shape=(1, 24, 29, 3)):
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def random_pair(name, b=1, c=3):
    """Two batches of about the smallest images that the metric takes."""
    h, w = {"ms_ssim_rgb": (161, 163), "niqe": (97, 193)}.get(name, (24, 29))
    return random_images(1, (b, h, w, c)), random_images(2, (b, h, w, c))


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize("photograph", ["coffee", "chelsea"])
def test_fidelity_equals_the_references(photograph, distortion):
    name = f"{photograph}/{distortion}"
    row, pred, target = GOLDEN["images"][name], image(name), photograph_of(name)
    for metric, tolerance in (
        ("psnr_rgb", 1e-4),
        ("ssim_rgb", 3e-5),
        ("ms_ssim_rgb", 2e-6),
    ):
        found = float(metrics.METRICS[metric](pred, target)[0])
        assert found == pytest.approx(row[metric], abs=tolerance), metric


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_our_ssim_terms_equal_ssim(distortion):
    name = f"chelsea/{distortion}"
    ours = jax.jit(ssim_terms)(image(name), photograph_of(name))[0].mean()
    assert float(ours) == pytest.approx(GOLDEN["images"][name]["ssim_rgb"], abs=3e-5)


def test_ms_ssim_equals_the_reference_at_every_scale():
    name = "chelsea/dark"
    terms = jax.jit(ms_ssim_terms, static_argnums=2)(
        image(name), photograph_of(name), 5
    )
    # float32 loses more on single terms than on their product of small powers.
    np.testing.assert_allclose(terms[0], GOLDEN["ms_ssim_terms"][name], atol=5e-6)


def test_psnr_of_identical_images_is_100():
    x = random_images(0)
    assert metrics.psnr_rgb(x, x).tolist() == [100.0]


def test_psnr_of_a_known_error():
    x = jnp.full((2, 2000, 3000, 1), 0.5)  # one float32 sum of all would drift
    y = x.at[0].add(0.1).at[1].add(0.01)
    np.testing.assert_allclose(metrics.psnr_rgb(x, y), [20, 40], atol=1e-4)


@pytest.mark.parametrize("name", ["ssim_rgb", "ms_ssim_rgb"])
def test_similarity_of_identical_images_is_1(name):
    x, _ = random_pair(name)
    np.testing.assert_allclose(metrics.METRICS[name](x, x), 1, atol=1e-6)


def test_ms_ssim_counts_a_negative_scale_as_0():
    x, _ = random_pair("ms_ssim_rgb")
    assert metrics.ms_ssim_rgb(x, 1 - x).tolist() == [0.0]
    assert metrics.ssim_rgb(x, 1 - x)[0] < -0.5


@pytest.mark.parametrize("name", WITHOUT_EXTRA)
def test_a_batch_is_its_images_and_vmap_and_jit_change_nothing(name):
    metric = metrics.METRICS[name]
    pair = arguments_of(name, *random_pair(name, b=2))
    together = metric(*pair)
    assert together.shape == (2,)
    # Under vmap each call sees a batch of one image.
    mapped = jax.jit(jax.vmap(metric))(*(x[:, None] for x in pair))[:, 0]
    np.testing.assert_allclose(mapped, together, rtol=2e-5)


@pytest.mark.parametrize("name", sorted(set(WITHOUT_EXTRA) - NO_REFERENCE - ONE_WAY))
def test_measures_of_two_images_are_symmetric(name):
    x, y = random_pair(name)
    metric = metrics.METRICS[name]
    there, back = metric(*arguments_of(name, x, y)), metric(*arguments_of(name, y, x))
    np.testing.assert_allclose(there, back, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(WITHOUT_EXTRA) - COLOUR_ONLY))
def test_a_grey_image_of_one_channel_scores_as_one_of_three(name):
    x, y = (jnp.rint(z * 255) / 255 for z in random_pair(name, c=1))
    gray = metrics.METRICS[name](*arguments_of(name, x, y))
    repeated = (jnp.repeat(z, 3, axis=3) for z in (x, y))
    colour = metrics.METRICS[name](*arguments_of(name, *repeated))
    np.testing.assert_allclose(gray, colour, rtol=1e-5, atol=1e-6)


def patterns(x):
    """Pairs of images on which a careless gradient is NaN."""
    black, white, flat = jnp.zeros_like(x), jnp.ones_like(x), jnp.full_like(x, 0.3)
    grey = jnp.repeat(x[..., :1], 3, axis=3)
    return {
        "black, black": (black, black),
        "black, white": (black, white),
        "white, black": (white, black),
        "flat, flat": (flat, flat),
        "black, photograph": (black, x),
        "photograph, black": (x, black),
        "identical": (x, x),
        "anti-correlated": (x, 1 - x),
        "saturated": (jnp.where(x > 0.5, 1.0, 0.0), x),
        "grey, colour": (grey, x),
        "outside [0, 1]": (3 * x - 1, x),
        "almost black": (x * 1e-12, x * 1e-20),
    }


@functools.cache
def value_and_gradient(name):
    """Compiled function of (pred, target): the sum over images, its slope by `pred`."""

    def total(pred, target):
        return metrics.METRICS[name](*arguments_of(name, pred, target)).sum()

    return jax.jit(jax.value_and_grad(total))


@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE))
def test_value_and_gradient_are_finite(name):
    for pattern, pair in patterns(random_pair(name)[0]).items():
        value, gradient = value_and_gradient(name)(*pair)
        assert bool(jnp.isfinite(value)), pattern
        assert bool(jnp.isfinite(gradient).all()), pattern


# Not noise_level: its absolute values bend everywhere on a noisy image.
@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE - {"noise_level"}))
def test_the_gradient_is_the_slope(name):
    target, other = random_pair(name)
    pred = 0.2 + 0.3 * target + 0.3 * other
    metric, step = value_and_gradient(name), 1e-2 * (other - target)
    _, gradient = metric(pred, target)
    measured = (metric(pred + step, target)[0] - metric(pred - step, target)[0]) / 2
    expected = float((gradient * step).sum())
    assert expected == pytest.approx(float(measured), rel=2e-2)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_unusable_input_is_refused_in_one_sentence(name):
    metric, one = metrics.METRICS[name], name in NO_REFERENCE
    x = random_images(0)
    smaller = x[:, 1:]
    if not one:
        with pytest.raises(ValueError, match=f"{name} needs two images of one shape"):
            metric(*arguments_of(name, x, smaller))
    for bad, message in (
        (x[0], r"found shape \(24, 29, 3\)"),
        ((x * 255).astype(jnp.uint8), "divide 8-bit images by 255"),
        (jnp.concatenate([x, x[..., :1]], axis=3), "found 4 in shape"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            metric(*arguments_of(name, bad, bad))
        assert str(error.value).startswith(f"{name} needs ")
        assert "\n" not in str(error.value)
    if name in COLOUR_ONLY:
        with pytest.raises(ValueError, match="needs 3 channels, found 1"):
            metric(x[..., :1], x[..., :1])


@pytest.mark.parametrize("name", MIN_SIDE_PX)
def test_the_smallest_image_passes_and_one_pixel_less_is_refused(name):
    side_px = MIN_SIDE_PX[name]
    x = random_images(0, (1, side_px, side_px + 2, 3))
    if name != "lpips_alex":
        assert np.isfinite(metrics.METRICS[name](*arguments_of(name, x, x * 0.9)))[0]
    smaller = x[:, 1:]
    with pytest.raises(ValueError, match=f"at least {side_px}x{side_px} px"):
        metrics.METRICS[name](*arguments_of(name, smaller, smaller))


def test_dark_level_is_the_mean_where_the_original_was_dark():
    codes = np.array([[10, 59], [60, 200]], np.uint8)
    low = np.repeat(codes[None, ..., None], 3, axis=3) / np.float32(255)
    pred = np.float32([[100, 50], [7, 255]])[None, ..., None] / 255
    assert metrics.dark_level(np.repeat(pred, 3, axis=3), low)[0] == pytest.approx(75)
    both = np.concatenate([low, np.full_like(low, 60 / 255)])  # nothing dark in it
    with pytest.raises(ValueError, match="not defined for image 1 of the batch: no"):
        metrics.dark_level(np.concatenate([low, low]), both)
    found = jax.jit(metrics.dark_level)(np.concatenate([low, low]), both)
    assert found[0] == pytest.approx(34.5) and np.isnan(found[1])


def test_clipped_excess_counts_pixels_with_any_channel_clipped():
    target = np.zeros((1, 2, 5, 3), np.float32)
    target[0, 0, 0, 1] = 254 / 255
    pred = np.zeros_like(target)
    pred[0, 1, :3, 2] = 1
    pred[0, 1, 3] = 253 / 255
    assert metrics.clipped_excess(pred, target)[0] == pytest.approx(20)
    assert metrics.clipped_excess(target, pred)[0] == pytest.approx(-20)


def test_half_precision_is_widened():
    x = random_images(0, (1, 16, 16, 3)).astype(jnp.bfloat16)
    assert metrics.psnr_rgb(x, x * 0.5).dtype == jnp.float32


def test_the_table_of_metrics_is_complete():
    for name in metrics.METRICS:
        assert name in metrics.__all__
        assert getattr(metrics, name) is metrics.METRICS[name].function
        assert name in (metrics.__doc__ or "")
        metric = metrics.METRICS[name]
        parameters = inspect.signature(metric.function).parameters.values()
        images = [p for p in parameters if p.kind != p.KEYWORD_ONLY]
        assert len(images) == 1 + len(metric.needs)
        assert metric.takes_size != (metric.on_host or name == "lpips_alex")
