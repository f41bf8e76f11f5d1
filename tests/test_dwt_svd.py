"""DWT-SVD: the paper's formula, hues, and what it says without PyWavelets."""

import inspect
import sys
import warnings

import cv2
import numpy as np
import pytest
import pywt
import skimage.data

from lowlight_jax.baselines.dwt_svd import dwt_svd

DARK = skimage.data.astronaut()[40:241, 100:277] // 8  # odd sides
GRAY = cv2.cvtColor(DARK, cv2.COLOR_RGB2GRAY)[..., None]


def by_singular_values(value):
    """The paper's, step by step, of uint8 `[h, w]`."""
    low, details = pywt.dwt2(value.astype(float), "bior4.4")
    equalised, _ = pywt.dwt2(cv2.equalizeHist(value).astype(float), "bior4.4")
    u, s, vt = np.linalg.svd(low, full_matrices=False)
    xi = np.linalg.svd(equalised, compute_uv=False).max() / s.max()
    new = u @ np.diag(xi * s) @ vt
    result = pywt.idwt2((new, details), "bior4.4")[: value.shape[0], : value.shape[1]]
    return np.rint(np.clip(result, 0, 255))


def test_gray_is_the_papers_formula():
    expected = by_singular_values(GRAY[..., 0])
    result = dwt_svd(GRAY)[..., 0].astype(int)
    assert abs(result - expected).max() <= 1  # float32 rounds a few the other way
    assert (result == expected).mean() > 0.99
    assert result.mean() > 4 * GRAY.mean()


def test_value_of_colour_is_the_papers_formula_and_hue_stays():
    result = dwt_svd(DARK).astype(float)
    expected = by_singular_values(DARK.max(2))
    np.testing.assert_allclose(result.max(2), expected, atol=1)
    value = DARK.max(2)[..., None]
    share = np.where(value, DARK / np.maximum(value, 1), 1)
    np.testing.assert_allclose(result, expected[..., None] * share, atol=1.5)


def test_gray_is_the_same_as_three_equal_channels():
    of_colour = dwt_svd(np.repeat(GRAY, 3, axis=2))
    np.testing.assert_array_equal(of_colour, np.repeat(dwt_svd(GRAY), 3, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (8, 7)])
def test_any_size_and_constant_images(sides, channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*sides, channels), dtype=np.uint8)
    before = image.copy()
    with warnings.catch_warnings(action="error"):
        result = dwt_svd(image)
        for value in (0, 7, 255):
            constant = np.full_like(image, value)
            np.testing.assert_array_equal(dwt_svd(constant), constant)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(result, image)


def test_is_deterministic_and_documented():
    np.testing.assert_array_equal(dwt_svd(DARK), dwt_svd(DARK))
    doc = inspect.getdoc(dwt_svd)
    assert "\nSource: " in doc and "\n  image: " in doc


def test_missing_pywavelets_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    message = r"^DWT-SVD needs PyWavelets; .* 'lowlight_jax\[baselines\]'$"
    with pytest.raises(ImportError, match=message):
        dwt_svd(GRAY)
