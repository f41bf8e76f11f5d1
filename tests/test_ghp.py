"""GHP: how much noise goes, how much texture stays, and the estimated gradients."""

import functools
import inspect
import sys
import warnings

import numpy as np
import pytest
import skimage.data
from skimage.restoration import denoise_nl_means

from lowlight_jax.baselines import ghp, patches, tone
from lowlight_jax.runtime.progress import listening

SIGMA = 25.0
CLEAN = skimage.data.camera()[400:496, 300:396].astype(np.float32)  # grass
NOISY = CLEAN + np.random.default_rng(0).normal(0, SIGMA, CLEAN.shape)
NOISY = NOISY.astype(np.float32)
DARK = skimage.data.astronaut()[40:101, 190:260] / 8
DARK += np.random.default_rng(1).normal(0, 1, DARK.shape)
DARK = np.rint(np.clip(DARK, 0, 255)).astype(np.uint8)
GRAY = DARK[..., 1:2]


def quantised(plane):
    return np.rint(np.clip(plane, 0, 255))


def psnr(plane):
    return 10 * np.log10(255**2 / np.mean((quantised(plane) - CLEAN) ** 2))


def histogram_distance(plane):
    """Between the gradient magnitudes of a plane and of the clean one, in code values.

    The earth mover's distance: 0 if they are the same, whatever the bins.
    """
    sorts = []
    for image in (quantised(plane), CLEAN):
        down, across = np.diff(image, axis=0)[:, 1:], np.diff(image, axis=1)[1:]
        sorts.append(np.sort(np.hypot(down, across), axis=None))
    return np.abs(sorts[0] - sorts[1]).mean()


@functools.cache
def denoised(texture=True):
    return ghp._denoise(NOISY, SIGMA, texture=texture)


@functools.cache
def nl_means():
    """At its best of these strengths."""
    results = [
        denoise_nl_means(
            NOISY, patch_size=5, patch_distance=6, h=h * SIGMA, sigma=SIGMA
        )
        for h in (0.4, 0.5, 0.6, 0.7, 0.8)
    ]
    return max(results, key=psnr)


# The denoiser


def test_removes_noise_and_not_less_than_nonlocal_means():
    gain = psnr(denoised()) - psnr(NOISY)
    assert gain > 4.5
    assert psnr(denoised()) > psnr(nl_means())


def test_keeps_the_gradient_histogram():
    """Nearer to the clean one than without the term, and than nonlocal means."""
    with_term = histogram_distance(denoised())
    assert with_term < 0.6 * histogram_distance(denoised(texture=False))
    assert with_term < 0.6 * histogram_distance(nl_means())
    assert with_term < 0.5 * histogram_distance(NOISY)


def test_denoise_is_with_the_gradient_term_and_reports_progress():
    told = []
    before = NOISY.copy()
    with listening(told.append):
        result = ghp.denoise(NOISY, sigma_u8=SIGMA)
    np.testing.assert_array_equal(result, denoised())
    assert not np.array_equal(result, denoised(texture=False))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(NOISY, before)
    assert told == sorted(told) and told[-1] == 1 and len(told) > 1


def test_zero_estimates_the_noise():
    """Within a tenth of the true sigma the picture is nearly as good."""
    assert psnr(ghp.denoise(NOISY, sigma_u8=0.0)) > psnr(denoised()) - 0.3


def test_many_clusters_are_deterministic(monkeypatch):
    monkeypatch.setattr(ghp, "_LEAST_PER_CLUSTER", 150)
    first, second = (ghp.denoise(NOISY, sigma_u8=SIGMA) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, denoised())


@pytest.mark.parametrize("sides", [(5, 20), (20, 20)])
@pytest.mark.parametrize("sigma_u8", [0.0, 25.0])
def test_constant_planes_come_back_as_copies(sides, sigma_u8):
    plane = np.full(sides, 7.3, np.float32)
    result = ghp.denoise(plane, sigma_u8=sigma_u8)
    np.testing.assert_array_equal(result, plane)
    assert not np.shares_memory(result, plane)


# Gradients


def test_magnitudes_of_a_flat_density():
    """0 is one of its 2 * n - 1 values, every other magnitude two."""
    n = ghp._BINS
    expected = np.r_[1, np.full(n - 1, 2)] / (2 * n - 1)
    np.testing.assert_allclose(ghp._of_magnitude(np.ones(2 * n - 1)), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_estimated_gradient_histogram_is_near_the_clean_one(axis):
    """By half the sum of differences in ten bins that a clean one fills alike."""
    clean, noisy = (np.abs(np.diff(plane, axis=axis)) for plane in (CLEAN, NOISY))
    inner = np.unique(np.rint(np.quantile(clean, np.arange(1, 10) / 10)))
    bins = np.r_[-0.5, inner + 0.5, np.inf]
    shares = [np.histogram(m, bins)[0] / m.size for m in (clean, noisy)]
    estimated = ghp._clean_magnitudes(np.diff(NOISY, axis=axis), SIGMA)
    assert estimated.sum() == pytest.approx(1)
    shares.append(np.histogram(np.arange(ghp._BINS), bins, weights=estimated)[0])
    of_noisy, of_estimated = (np.abs(s - shares[0]).sum() / 2 for s in shares[1:])
    assert of_estimated < 0.1 < 0.25 < of_noisy


def test_specified_gradients_have_the_histogram_their_order_and_signs():
    gradient = np.random.default_rng(0).laplace(0, 20, (60, 50)).astype(np.float32)
    histogram = np.exp(-np.arange(ghp._BINS) / 5)
    histogram /= histogram.sum()
    result = ghp._specify(gradient, histogram)
    magnitudes = np.abs(result)
    found = np.bincount(np.rint(magnitudes).astype(int).ravel(), minlength=ghp._BINS)
    np.testing.assert_allclose(found / found.sum(), histogram, atol=0.001)
    np.testing.assert_array_equal(np.sign(result), np.sign(gradient))
    order = np.argsort(np.abs(gradient), axis=None)
    assert (np.diff(magnitudes.ravel()[order]) >= 0).all()


def test_a_step_descends_the_objective():
    """|F - grad x|^2 becomes less, by nearly its derivative along a short step."""
    wanted = [ghp._clean_magnitudes(np.diff(NOISY, axis=i), SIGMA) for i in (0, 1)]
    gradients = [np.diff(CLEAN, axis=i) for i in (0, 1)]
    targets = [ghp._specify(g, h) for g, h in zip(gradients, wanted, strict=True)]

    def objective(plane):
        return sum(
            np.square(np.diff(plane, axis=i) - targets[i]).sum() / 2 for i in (0, 1)
        )

    step = ghp._step_towards(CLEAN, wanted) - CLEAN
    share = 1e-3
    change = objective(CLEAN.astype(float) + share * step) - objective(CLEAN)
    slope = -np.square(step.astype(float)).sum() / ghp._STEP_SIZE
    assert change == pytest.approx(share * slope, rel=0.01)
    assert objective(CLEAN + step) < objective(CLEAN)


# The enhancer


def test_enhances_and_is_deterministic():
    before = DARK.copy()
    result = ghp.ghp(DARK)
    bright = tone.histogram_equalisation(DARK)
    assert abs(result.mean() - bright.mean()) < 2
    assert (result.shape, result.dtype) == (DARK.shape, np.uint8)
    assert patches.estimate_sigma(patches.to_planes(result)[0]) < 0.5 * (
        patches.estimate_sigma(patches.to_planes(bright)[0])
    )
    np.testing.assert_array_equal(result, ghp.ghp(DARK))
    np.testing.assert_array_equal(DARK, before)


def test_colour_is_denoised_as_brightness_and_differences():
    planes = patches.to_planes(tone.histogram_equalisation(DARK))
    expected = [ghp._denoise(p, 20.0, texture=i == 0) for i, p in enumerate(planes)]
    result = ghp.ghp(DARK, sigma_u8=20.0)
    np.testing.assert_array_equal(result, patches.from_planes(np.stack(expected)))


@pytest.mark.parametrize("sigma_u8", [0.0, 20.0])
def test_gray_is_the_same_as_three_equal_channels(sigma_u8):
    of_gray = ghp.ghp(GRAY, sigma_u8=sigma_u8)
    of_colour = ghp.ghp(np.repeat(GRAY, 3, axis=2), sigma_u8=sigma_u8)
    np.testing.assert_allclose(of_colour, np.repeat(of_gray, 3, 2), atol=1)
    assert not np.array_equal(of_gray, tone.histogram_equalisation(GRAY))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", [(1, 1), (1, 9), (6, 9), (7, 7), (12, 9)])
@pytest.mark.parametrize("sigma_u8", [0.0, 30.0])
def test_any_size_and_constant_images(sides, channels, sigma_u8):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*sides, channels), dtype=np.uint8)
    with warnings.catch_warnings(action="error"):
        result = ghp.ghp(image, sigma_u8=sigma_u8)
        for value in (0, 7, 255):
            constant = np.full_like(image, value)
            of_constant = ghp.ghp(constant, sigma_u8=sigma_u8)
            np.testing.assert_array_equal(of_constant, constant)
            assert not np.shares_memory(of_constant, constant)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
    assert not np.shares_memory(result, image)
    # The smallest are only equalised.
    changed = not np.array_equal(result, tone.histogram_equalisation(image))
    assert changed == (min(sides) >= 7)


def test_half_flat_images():
    """Exact zeros among the gradients and the wavelet coefficients."""
    image = np.zeros((30, 40, 3), np.uint8)
    image[:, 20:] = 40
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(
            ghp.ghp(image), tone.histogram_equalisation(image)
        )
        assert np.isfinite(ghp.denoise(np.float32(image[..., 0]), sigma_u8=9.0)).all()


def test_is_documented():
    doc = inspect.getdoc(ghp.ghp)
    assert "\nSource: " in doc and "\n  sigma_u8: " in doc


def test_missing_scikit_learn_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    message = r"^GHP needs scikit-learn; .* 'lowlight_jax\[baselines\]'$"
    with pytest.raises(ImportError, match=message):
        ghp.ghp(GRAY)
