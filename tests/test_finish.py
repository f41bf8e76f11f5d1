"""Mixing, sharpening and saturation: identities, known values, kept types."""

import numpy as np
import pytest
import skimage.data

from lowlight_jax.inference.finish import blend, finish

PHOTO = skimage.data.astronaut()[40:141, 100:177]
DTYPES = (np.uint8, np.uint16, np.float16, np.float32, np.float64)


def photo(dtype, channels=3):
    pixels = PHOTO[..., :channels]
    if dtype == np.uint16:  # not multiples of 257
        return pixels.astype(np.uint16) * 256 + pixels[::-1]
    return pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)


def soft_photo(dtype):
    """From 0.25 to 0.75, so that nothing is clipped."""
    values = 0.25 + PHOTO / 510
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 0
    return np.rint(values * full).astype(dtype) if full else values.astype(dtype)


def one_step(dtype):
    return 1.01 / np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 2e-3


def as_float(image):
    full = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return image.astype(np.float64) / full


def luma(image):
    weights = [0.299, 0.587, 0.114] if image.shape[-1] == 3 else [1.0]
    return as_float(image) @ weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_asked_nothing_computed(dtype, channels):
    image = photo(dtype, channels)
    assert finish(image) is image
    assert finish(image, unsharp=0.0, saturation=1.0) is image
    result = image[::-1]
    assert blend(image, result, 1.0) is result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_type_shape_and_input_are_kept(dtype, channels):
    image = photo(dtype, channels)
    before = image.copy()
    result = finish(image, unsharp=1.0, saturation=2.0)
    assert (result.dtype, result.shape) == (image.dtype, image.shape)
    assert not np.array_equal(result, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_saturation_every_channel_is_the_luma(dtype):
    image = photo(dtype)
    result = as_float(finish(image, saturation=0.0))
    expected = np.repeat(luma(image)[..., None], 3, axis=2)
    np.testing.assert_allclose(result, expected, atol=one_step(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturation_scales_the_distance_from_the_luma(dtype):
    image = soft_photo(dtype)
    result = finish(image, saturation=1.4)
    gray = luma(image)[..., None]
    expected = gray + 1.4 * (as_float(image) - gray)
    tolerance = 1e-12 if dtype == np.float64 else one_step(dtype) / 1.9
    np.testing.assert_allclose(as_float(result), expected, atol=tolerance)


def test_saturation_of_gray_does_nothing():
    gray = photo(np.uint8, 1)
    assert finish(gray, saturation=3.0) is gray
    colour = np.repeat(gray, 3, axis=2)
    np.testing.assert_array_equal(finish(colour, saturation=3.0), colour)


def test_clipped_not_wrapped():
    red = np.uint8([[[200, 20, 20]]])
    # luma 73.82: 73.82 + 3 * (200 - 73.82) is above 255, the others below 0
    assert finish(red, saturation=3.0).tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_unsharp_adds_the_same_to_every_channel(dtype):
    image = soft_photo(dtype)
    change = as_float(finish(image, unsharp=0.5)) - as_float(image)
    assert np.ptp(change, axis=2).max() <= one_step(dtype)
    assert np.abs(change).max() > 0.02


def test_unsharp_known_values():
    """At a step: the amount times what the Gaussian takes away."""
    step = np.full((41, 40, 1), 0.4)
    step[:, 20:] = 0.6
    change = (finish(step, unsharp=2.0) - step)[20, :, 0]
    offsets = np.arange(-20, 20)
    kernel = np.exp(-(np.arange(-6, 7) ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    blurred = [kernel[np.arange(-6, 7) + x >= 0].sum() for x in offsets]
    expected = 2.0 * 0.2 * ((offsets >= 0) - np.array(blurred))
    np.testing.assert_allclose(change[8:-8], expected[8:-8], atol=1e-3)
    assert change[20] > 0.1


def test_flat_pictures_and_single_pixels_stay():
    for shape in ((1, 1, 3), (1, 7, 1), (9, 1, 3), (12, 13, 3)):
        flat = np.full(shape, 90, np.uint8)
        result = finish(flat, unsharp=3.0, saturation=2.0)
        np.testing.assert_array_equal(result, flat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_blend(dtype, channels):
    image = photo(dtype, channels)
    result = image[::-1, ::-1]
    np.testing.assert_array_equal(blend(image, result, 0.0), image)
    mixed = blend(image, result, 0.25)
    assert mixed.dtype == dtype
    expected = 0.75 * as_float(image) + 0.25 * as_float(result)
    np.testing.assert_allclose(as_float(mixed), expected, atol=one_step(dtype))
