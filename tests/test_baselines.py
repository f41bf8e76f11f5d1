"""Classical methods: known values, identities, and OpenCV, scikit-image and SciPy."""

import inspect
import warnings

import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import skimage.data
import skimage.filters

from lowlight_jax.baselines import METHODS, filters, lime, retinex, tone
from lowlight_jax.baselines.method import allowed, defaults, parse_params, spell

PHOTO = skimage.data.astronaut()[40:241, 100:277]  # odd sides
DARK = PHOTO // 8
GRAY = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)[..., None]
SLOW = {"ghp", "lssc", "svd"}  # more of them in test_denoisers and test_ghp


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# Every method


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_constant_images(name, channels):
    sides = [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (8, 8), (37, 53)]
    images = [noise(*side, channels) for side in sides]
    for value in (7,) if name in SLOW else (0, 7, 255):
        images += [np.full((*side, channels), value, np.uint8) for side in sides]
    for image in images:
        before = image.copy()
        with warnings.catch_warnings(action="error"):
            result = METHODS[name](image)
        assert (result.shape, result.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(image, before)
        assert not np.shares_memory(result, image)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"clahe"} - SLOW))
def test_gray_is_the_same_as_three_equal_channels(name):
    """Not of CLAHE: the lightness of Lab is not the gray value."""
    of_gray = METHODS[name](GRAY)
    of_colour = METHODS[name](np.repeat(GRAY, 3, axis=2))
    np.testing.assert_allclose(of_colour, np.repeat(of_gray, 3, 2), atol=1)


@pytest.mark.parametrize("name", METHODS)
def test_changes_a_photo_and_documents_it(name):
    photo = PHOTO[:50, :50] if name in SLOW else PHOTO
    assert not np.array_equal(METHODS[name](photo), photo)
    doc = inspect.getdoc(METHODS[name])
    assert doc.split("\n")[0].endswith(".")
    assert "\nSource: " in doc
    for param in ("image", *defaults(METHODS[name])):
        assert f"\n  {param}: " in doc


@pytest.mark.parametrize("name", METHODS)
def test_defaults_and_ranges_survive_being_spelt(name):
    method = METHODS[name]
    for param, value in defaults(method).items():
        assert parse_params(method, [f"{param}={spell(value)}"]) == {param: value}
        assert allowed(method, param)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match=r"expected uint8 \[h, w, c\]"):
        tone.negative(image)


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        (tone.gamma, {"exponent": -1.0}, "exponent is -1; expected a number from 0.01"),
        (tone.gamma, {"exponent": float("nan")}, "exponent is nan"),
        (tone.gamma, {"exponent": "x"}, "exponent is x"),
        (tone.gamma, {"power": 1}, "no parameter 'power'; expected one of exponent"),
        (tone.negative, {"power": 1}, "no parameter 'power'; expected none"),
        (tone.clahe, {"tiles": 2.5}, "tiles is 2.5; expected an integer from 1 to 64"),
        (filters.median, {"size_px": 4}, "size_px is 4; expected an odd integer"),
        (filters.edges, {"detector": "x"}, "detector is x; expected sobel or canny"),
        (retinex.msr, {"sigmas_px": ()}, "expected numbers from 0.1 to 1000"),
        (retinex.msr, {"sigmas_px": (5.0, -1.0)}, "sigmas_px is 5,-1"),
        (tone.intensity_slicing, {"low": 9, "high": 8}, "low is 9 and high 8"),
        (tone.contrast_stretching, {"low_percent": 99.0}, "low_percent is 99"),
    ],
)
def test_bad_parameters_are_named(method, params, message):
    with pytest.raises(ValueError, match=message):
        method(PHOTO, **params)


# Point operations and histograms


def test_negative_known_values_and_twice():
    assert tone.negative(np.uint8([[[0, 1, 255]]])).tolist() == [[[255, 254, 0]]]
    np.testing.assert_array_equal(tone.negative(tone.negative(PHOTO)), PHOTO)


def test_contrast_stretching_known_values():
    ramp = np.arange(50, 151, dtype=np.uint8).reshape(1, 101, 1)
    stretched = tone.contrast_stretching(ramp, low_percent=10, high_percent=90)
    assert stretched[0, [0, 10, 50, 90, 100], 0].tolist() == [0, 0, 128, 255, 255]
    whole = tone.contrast_stretching(DARK, low_percent=0, high_percent=100)
    low, high = DARK.min(), DARK.max()
    expected = np.rint((DARK.astype(float) - low) * 255 / (int(high) - int(low)))
    np.testing.assert_array_equal(whole, expected)


def test_intensity_slicing_marks_the_pixels_in_range():
    luma = (PHOTO @ [0.299, 0.587, 0.114]).astype(float)
    inside = (luma > 100.51) & (luma < 199.49)
    outside = (luma < 99.49) | (luma > 200.51)
    kept = tone.intensity_slicing(PHOTO)
    assert (kept[inside] == 255).all()
    np.testing.assert_array_equal(kept[outside], PHOTO[outside])
    black = tone.intensity_slicing(PHOTO, others="black")
    assert (black[inside] == 255).all() and not black[outside].any()
    assert 0 < inside.mean() < 1


@pytest.mark.parametrize("image", [PHOTO, GRAY])
def test_bit_planes_recombine_to_the_image(image):
    planes = [tone.bit_plane(image, plane=plane) for plane in range(8)]
    assert set(np.unique(planes)) == {0, 255}
    total = sum((plane // 255).astype(int) << i for i, plane in enumerate(planes))
    np.testing.assert_array_equal(total, image)


def test_gamma_known_values():
    values = np.uint8([[[0, 64, 255]]])
    assert tone.gamma(values).tolist() == [[[0, 147, 255]]]  # 255 * (64 / 255) ** 0.4
    np.testing.assert_array_equal(tone.gamma(PHOTO, exponent=1.0), PHOTO)


def test_equalised_histogram_is_nearly_flat():
    for image in (DARK, DARK[..., :1]):
        value = tone.histogram_equalisation(image).max(2)
        quarters = np.histogram(value, 4, (0, 256))[0] / value.size
        before = np.histogram(image.max(2), 4, (0, 256))[0] / value.size
        assert abs(quarters - 0.25).max() < 0.1 < abs(before - 0.25).max()
        np.testing.assert_array_equal(value, cv2.equalizeHist(image.max(2)))


def test_equalisation_keeps_hues():
    image = np.uint8([[[40, 20, 10], [80, 40, 20], [8, 4, 2]]])
    result = tone.histogram_equalisation(image)
    bright = result[0, 1]
    assert bright.tolist() == [255, 128, 64]


@pytest.mark.parametrize("sides", [(201, 177), (40, 61)])
def test_clahe_is_opencvs_on_lightness(sides):
    image = DARK[: sides[0], : sides[1]]
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(40.0, (8, 8)).apply(lab[..., 0].copy())
    expected = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    np.testing.assert_array_equal(tone.clahe(image), expected)
    gray = DARK[..., :1]
    expected = cv2.createCLAHE(2.0, (3, 3)).apply(gray[..., 0].copy())
    result = tone.clahe(gray, clip_limit=2.0, tiles=3)
    np.testing.assert_array_equal(result[..., 0], expected)


def test_gray_world_makes_the_means_equal():
    image = np.uint8(DARK * [1.0, 0.7, 0.3])
    means = image.mean((0, 1))
    balanced = tone.gray_world(image).mean((0, 1))
    assert np.ptp(means) > 5
    np.testing.assert_allclose(balanced, means.mean(), atol=0.5)
    np.testing.assert_array_equal(tone.gray_world(GRAY), GRAY)


# Filters


def test_gaussian_is_scikit_images():
    expected = 255 * skimage.filters.gaussian(
        PHOTO, 2.0, mode="mirror", truncate=3, channel_axis=-1
    )
    result = filters.gaussian(PHOTO, sigma_px=2.0)
    np.testing.assert_allclose(result, expected, atol=1.2)  # OpenCV computes in 8 bits


@pytest.mark.parametrize("size_px", [1, 3, 7])
def test_median_is_scipys(size_px):
    expected = scipy.ndimage.median_filter(PHOTO, (size_px, size_px, 1), mode="nearest")
    np.testing.assert_array_equal(filters.median(PHOTO, size_px=size_px), expected)


def test_unsharp_mask_is_scikit_images():
    expected = 255 * skimage.filters.unsharp_mask(
        PHOTO, radius=1.5, amount=2.0, channel_axis=2
    )
    result = filters.unsharp_mask(PHOTO, amount=2.0)
    inner = np.s_[8:-8, 8:-8]  # they treat the border differently
    np.testing.assert_allclose(result[inner], expected[inner], atol=1)
    np.testing.assert_array_equal(filters.unsharp_mask(PHOTO, amount=0.0), PHOTO)


def test_sobel_is_scikit_images():
    expected = skimage.filters.sobel(GRAY[..., 0] / 255.0) * 255 * np.sqrt(2)
    result = filters.edges(PHOTO)
    inner = np.s_[1:-1, 1:-1]
    expected = np.minimum(expected, 255)
    np.testing.assert_allclose(result[inner][..., 0], expected[inner], atol=0.51)
    step = np.zeros((5, 6, 1), np.uint8)
    step[:, 3:] = 255
    assert filters.edges(step)[2, :, 0].tolist() == [0, 0, 255, 255, 0, 0]


def test_canny_gives_thin_lines_where_the_edge_is():
    step = np.zeros((21, 30, 3), np.uint8)
    step[:, 15:] = 90
    lines = filters.edges(step, detector="canny")
    assert set(np.unique(lines)) == {0, 255}
    assert (np.count_nonzero(lines[..., 0], axis=1) == 1).all()
    assert set(np.nonzero(lines)[1]) <= {14, 15}
    assert not filters.edges(step // 30, detector="canny").any()


# Retinex


@pytest.mark.parametrize("sigma", [3.0, 40.0])
def test_single_scale_retinex_is_log_of_image_over_surround(sigma):
    samples = DARK.astype(np.float64) + 1
    surround = scipy.ndimage.gaussian_filter(samples, (sigma, sigma, 0), truncate=6)
    expected = np.log(samples / surround)
    ours = retinex._retinex(DARK, (sigma,))
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    low, high = np.percentile(expected, (1, 99))
    shown = 255 * np.clip((expected - low) / (high - low), 0, 1)
    np.testing.assert_allclose(retinex.ssr(DARK, sigma_px=sigma), shown, atol=1)


def test_multi_scale_is_the_mean_of_scales():
    scales = [retinex._retinex(DARK, (sigma,)) for sigma in (5.0, 50.0)]
    both = retinex._retinex(DARK, (5.0, 50.0))
    np.testing.assert_allclose(both, np.mean(scales, axis=0), atol=1e-5)


def lit_from_one_side(photo):
    light = np.geomspace(0.06, 0.6, photo.shape[1])[:, None]
    return np.uint8(np.rint(photo * light))


def chroma(image):
    return float(np.ptp(image.astype(int), axis=2).mean())


@pytest.mark.parametrize("name", ["ssr", "msr", "msrcr", "lime"])
def test_uneven_light_is_brightened_and_evened(name):
    def halves(image):
        return image[:, :88].mean(), image[:, 88:].mean()

    unlit = lit_from_one_side(PHOTO)
    dark, light = halves(unlit)
    dark_after, light_after = halves(METHODS[name](unlit))
    assert dark_after > 2 * dark
    assert dark_after / light_after > 2 * dark / light


def test_colour_restoration_restores_colour():
    unlit = lit_from_one_side(PHOTO)
    assert chroma(retinex.msrcr(unlit)) > 1.05 * chroma(retinex.msr(unlit))
    clear = np.ptp(PHOTO.astype(int), axis=2) > 60
    kept = retinex.msrcr(unlit).argmax(2) == PHOTO.argmax(2)
    assert kept[clear].mean() > 0.9


def test_msrcr_of_gray_is_msr():
    np.testing.assert_allclose(retinex.msrcr(GRAY), retinex.msr(GRAY), atol=1)


# LIME


def objective(t, initial, alpha, sigma_px):
    t, initial = t.astype(np.float64), initial.astype(np.float64)
    total = ((t - initial) ** 2).sum()
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (0, 1)
        edges = np.pad(np.diff(initial, axis=axis), padding)
        weights = 1 / (
            np.abs(scipy.ndimage.gaussian_filter(edges, sigma_px, mode="mirror")) + 0.01
        )
        gradient = np.pad(np.diff(t, axis=axis), padding)
        total += alpha * (weights * np.abs(gradient)).sum()
    return total


def test_illumination_minimises_the_papers_objective():
    image = skimage.data.astronaut()[100:120, 210:233] // 3
    initial = np.float32(image.max(2) / 255)
    alpha, sigma = 0.003, 2.0
    ours = lime.refine_illumination(initial, alpha=alpha, sigma_px=sigma)
    reached = objective(ours, initial, alpha, sigma)
    flat = np.full_like(initial, initial.mean())
    best = smallest_objective(initial, alpha, sigma)
    assert 0.97 * best < reached < 1.03 * best
    assert reached < 0.8 * objective(flat, initial, alpha, sigma)
    assert reached < 0.5 * objective(initial, initial, alpha, sigma)


def smallest_objective(initial, alpha, sigma):
    """By a solver that knows nothing of ours, with |x| as sqrt(x^2 + 1e-8)."""
    t0 = initial.astype(np.float64)
    weights = []
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (0, 1)
        edges = np.pad(np.diff(t0, axis=axis), padding)
        smooth = scipy.ndimage.gaussian_filter(edges, sigma, mode="mirror")
        inner = np.s_[:-1] if axis == 0 else np.s_[:, :-1]
        weights.append((alpha / (np.abs(smooth) + 0.01))[inner])

    def smoothed(flat):
        t = flat.reshape(t0.shape)
        value, slope = ((t - t0) ** 2).sum(), 2 * (t - t0)
        for axis, weight in enumerate(weights):
            difference = np.diff(t, axis=axis)
            length = np.sqrt(difference**2 + 1e-8)
            value += (weight * length).sum()
            pull = weight * difference / length
            slope -= np.diff(pull, axis=axis, prepend=0, append=0)
        return value, slope.ravel()

    found = scipy.optimize.minimize(
        smoothed, t0.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 5000}
    )
    return objective(found.x.reshape(t0.shape), initial, alpha, sigma)


def test_lime_divides_every_channel_by_the_same():
    dark = np.zeros((20, 31, 3), np.uint8)
    dark[:] = [40, 20, 10]
    # T = 40 / 255, gain T ** -0.8
    expected = np.rint(np.array([40, 20, 10]) * (40 / 255) ** -0.8)
    np.testing.assert_array_equal(lime.lime(dark)[3, 5], expected)
    np.testing.assert_array_equal(lime.lime(DARK, exponent=0.0), DARK)


def test_lime_keeps_the_edges_of_the_light():
    """No dark seam beside a lamp: each side is divided by its own illumination."""
    scene = np.full((60, 80, 1), 20, np.uint8)
    scene[:, 40:] = 200
    result = lime.lime(scene)[30, :, 0].astype(int)
    assert np.ptp(result[:38]) <= 6 and np.ptp(result[42:]) <= 6
    assert result[5] > 3 * 20
