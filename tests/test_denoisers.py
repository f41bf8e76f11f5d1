"""Patch denoisers, beside scikit-image's non-local means, and their parts."""

import sys
import warnings

import numpy as np
import pytest
import skimage.data
import skimage.restoration

from lowlight_jax.baselines import ghp, lssc, patches, svd, tone

SIGMA = 25
CLEAN = skimage.data.camera()[100:196, 200:296].astype(np.float32)
NOISY = CLEAN + np.random.default_rng(0).normal(0, SIGMA, CLEAN.shape)
NOISY = NOISY.astype(np.float32)
DENOISERS = {"svd": svd.denoise, "lssc": lssc.denoise, "ghp": ghp.denoise}
ENHANCERS = {"svd": svd.svd, "lssc": lssc.lssc, "ghp": ghp.ghp}
DARK = skimage.data.astronaut()[60:91, 190:225] // 8  # odd sides


def psnr(pred):
    error = np.rint(np.clip(pred, 0, 255)) - CLEAN
    return 10 * np.log10(255**2 / np.mean(error**2))


# Denoisers


@pytest.mark.parametrize(
    ("name", "gain", "over_nlm"),
    [("svd", 7.5, 0.7), ("lssc", 7.5, 0.7), ("ghp", 7.3, 0.5)],
)
def test_removes_noise(name, gain, over_nlm):
    nlm = max(
        psnr(
            skimage.restoration.denoise_nl_means(
                NOISY, 5, 8, strength * SIGMA, sigma=SIGMA, preserve_range=True
            )
        )
        for strength in (0.5, 0.6, 0.7, 0.8)
    )
    ours = psnr(DENOISERS[name](NOISY, sigma_u8=SIGMA))
    print(name, psnr(NOISY), nlm, ours)
    assert ours > psnr(NOISY) + gain
    assert ours > nlm + over_nlm


@pytest.mark.parametrize("name", ["svd", "lssc"])
def test_sigma_is_estimated_and_followed(name):
    crop = NOISY[:36, :36]
    estimated = DENOISERS[name](crop, sigma_u8=0)
    sigma = patches.estimate_sigma(crop)
    np.testing.assert_array_equal(DENOISERS[name](crop, sigma_u8=sigma), estimated)
    removed = [np.std(DENOISERS[name](crop, sigma_u8=x) - crop) for x in (12, sigma)]
    assert removed[0] < 0.8 * removed[1]
    assert 0.8 * sigma < removed[1] < 1.05 * sigma


@pytest.mark.parametrize("name", ["svd", "lssc"])
def test_same_result_again_and_the_input_stays(name, monkeypatch):
    monkeypatch.setattr(lssc, "_SAMPLES", 300)  # fewer than there are, so it draws
    crop = NOISY[:30, :35].copy()
    first = DENOISERS[name](crop, sigma_u8=SIGMA)
    np.testing.assert_array_equal(crop, NOISY[:30, :35])
    np.testing.assert_array_equal(DENOISERS[name](crop, sigma_u8=SIGMA), first)
    assert (first.dtype, first.shape) == (np.float32, crop.shape)


@pytest.mark.parametrize("name", ["svd", "lssc"])
@pytest.mark.parametrize("sides", [(1, 1), (1, 9), (7, 30), (8, 8), (10, 17)])
def test_constants_stay_and_small_images_work(name, sides):
    with warnings.catch_warnings(action="error"):
        for value in (0, 7):
            for sigma in (0, SIGMA):
                image = np.full(sides, value, np.float32)
                result = DENOISERS[name](image, sigma_u8=sigma)
                np.testing.assert_allclose(result, image, atol=0.01)
                assert not np.shares_memory(result, image)
        result = DENOISERS[name](NOISY[: sides[0], : sides[1]], sigma_u8=SIGMA)
    assert np.isfinite(result).all()
    if min(sides) < 8:
        np.testing.assert_array_equal(result, NOISY[: sides[0], : sides[1]])


# Enhancers


@pytest.mark.parametrize("name", ["svd", "lssc"])
@pytest.mark.parametrize("sigma", [0.0, 20.0])
def test_gray_is_the_same_as_three_equal_channels(name, sigma):
    gray = DARK[..., 1:2]
    of_gray = ENHANCERS[name](gray, sigma_u8=sigma)
    of_colour = ENHANCERS[name](np.repeat(gray, 3, 2), sigma_u8=sigma)
    np.testing.assert_allclose(of_colour, np.repeat(of_gray, 3, 2), atol=1)
    assert (of_gray != tone.histogram_equalisation(gray)).any()


@pytest.mark.parametrize("name", ["svd", "lssc"])
def test_colour_loses_its_noise_and_keeps_its_hues(name):
    """On an image that equalisation leaves: two colours, all levels equally full."""
    ramp = np.linspace(0, 1, 64)[:, None, None] * np.ones((1, 64, 1))
    clean = (
        255 * ramp * np.where(np.arange(64)[:, None] < 32, [1, 0.6, 0.4], [0.4, 0.7, 1])
    )
    noise = np.random.default_rng(0).normal(0, 20, clean.shape)
    noisy = np.uint8(np.clip(np.rint(clean + noise), 0, 255))
    equalised = tone.histogram_equalisation(noisy)
    target = tone.histogram_equalisation(np.uint8(np.rint(clean)))
    inner = np.s_[16:56, 8:-8]
    before = np.square(equalised[inner].astype(float) - target[inner]).mean((0, 1))
    after = ENHANCERS[name](noisy)[inner].astype(float) - target[inner]
    bias = equalised[inner].mean((0, 1)) - target[inner].mean((0, 1))
    assert (np.square(after - bias).mean((0, 1)) < before / 4).all()


def test_lssc_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(ImportError, match=r"pip install 'lowlight_jax\[baselines\]'"):
        lssc.denoise(NOISY[:20, :20], sigma_u8=SIGMA)


# Parts


@pytest.mark.parametrize(("size", "step"), [(8, 5), (3, 3), (1, 1), (7, 2)])
def test_unmodified_patches_give_the_image_back(size, step):
    image = NOISY[:31, :46]
    positions, _ = patches.match(
        image, size_px=size, step_px=step, radius_px=4, count=9
    )
    corners = patches.references(image.shape, size_px=size, step_px=step)
    np.testing.assert_array_equal(positions[:, 0], corners)
    canvas = patches.Canvas(image.shape, size_px=size)
    weights = np.random.default_rng(0).uniform(0.1, 1, positions.shape)
    for rows in np.array_split(np.arange(len(positions)), 3):
        groups = patches.extract(image, positions[rows], size_px=size)
        canvas.add(positions[rows], groups, np.float32(weights[rows]))
    np.testing.assert_allclose(canvas.plane(), image, atol=1e-3)


def test_canvas_is_the_weighted_mean():
    canvas = patches.Canvas((2, 3), size_px=2)
    ones = np.ones((1, 4), np.float32)
    canvas.add(np.array([0]), 10 * ones, np.float32(1))
    canvas.add(np.array([1]), 40 * ones, np.float32(2))
    np.testing.assert_allclose(canvas.plane(), [[10, 30, 40]] * 2)


def test_matching_is_that_of_a_full_search():
    image, size, radius = NOISY[:30, :41], 5, 6
    positions, distances = patches.match(
        image, size_px=size, step_px=4, radius_px=radius, count=20
    )
    w = image.shape[1] - size + 1
    everywhere = np.arange((image.shape[0] - size + 1) * w)
    candidates = patches.extract(image, everywhere, size_px=size)
    for position, found in zip(positions[:, 0], distances, strict=True):
        y, x = np.divmod(everywhere, w) - np.array(divmod(position, w))[:, None]
        near = (abs(y) <= radius) & (abs(x) <= radius)
        expected = np.square(candidates - candidates[position]).mean(1)[near]
        np.testing.assert_allclose(found, np.sort(expected)[:20], rtol=1e-4, atol=0.01)
    pairs = patches.extract(image, positions, size_px=size)
    np.testing.assert_allclose(
        np.square(pairs - pairs[:, :1]).mean(2), distances, rtol=1e-4, atol=0.01
    )


def test_matching_in_bands_is_the_same(monkeypatch):
    guide = np.random.default_rng(0).normal(size=(40, 33)).astype(np.float32)
    settings = {"size_px": 5, "step_px": 3, "radius_px": 6, "count": 9}
    whole = patches.match(guide, **settings)
    monkeypatch.setattr(patches, "_MOST_DISTANCES", 1)  # a row of the grid at a time
    for band, of_whole in zip(patches.match(guide, **settings), whole, strict=True):
        np.testing.assert_array_equal(band, of_whole)


def test_matching_finds_planted_copies():
    image = np.random.default_rng(0).uniform(0, 255, (40, 40)).astype(np.float32)
    places = [(16, 16), (8, 25), (27, 12), (22, 26)]
    for y, x in places:
        image[y : y + 6, x : x + 6] = image[16:22, 16:22]
    positions, distances = patches.match(
        image, size_px=6, step_px=4, radius_px=12, count=5
    )
    group = positions[:, 0].tolist().index(16 * 35 + 16)
    assert set(positions[group, :4]) == {y * 35 + x for y, x in places}
    assert (distances[group, :4] < 0.01).all() and distances[group, 4] > 1000


@pytest.mark.parametrize("scale", [1, 10])
def test_sigma_is_scikit_images(scale):
    plane = (scale * NOISY).astype(np.float32)
    expected = skimage.restoration.estimate_sigma(plane)
    assert patches.estimate_sigma(plane) == pytest.approx(expected, rel=0.06)
    assert patches.estimate_sigma(plane) == pytest.approx(scale * SIGMA, rel=0.15)


def test_planes_are_orthogonal_and_go_back():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    planes = patches.to_planes(image)
    np.testing.assert_array_equal(patches.from_planes(planes), image)
    np.testing.assert_allclose(planes[0], image.mean(2), rtol=1e-5)
    energy = np.square(image.astype(float)).sum(2) / 3
    np.testing.assert_allclose(np.square(planes).sum(0), energy, rtol=1e-4)


def test_pursuit_finds_the_common_atoms():
    random = np.random.default_rng(0)
    dictionary = random.normal(size=(100, 64))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    codes = random.uniform(50, 100, (2, 10, 3)) * random.choice([-1, 1], (2, 10, 3))
    chosen = dictionary[[[4, 50, 99], [0, 7, 8]]]
    clean = codes @ chosen
    noisy = clean + random.normal(size=clean.shape)
    arguments = (np.float32(noisy), np.float32(dictionary))
    result = lssc._code(*arguments, np.full(2, 10 * 64, np.float32) * 1.1)
    span = np.linalg.pinv(chosen) @ chosen  # onto the right atoms
    np.testing.assert_allclose(result, noisy @ span, atol=1e-3)
    untouched = lssc._code(*arguments, np.full(2, np.inf, np.float32))
    assert not untouched.any()


def test_learning_finds_what_the_image_has():
    """Of an image of one texture, a few atoms explain more than cosines do."""
    tile = np.random.default_rng(0).normal(0, 50, (5, 5)).astype(np.float32)
    plane = np.tile(tile, (12, 12))
    before = lssc._cosines()
    after = lssc._learn(plane, before, penalty=20.0)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, rtol=1e-4)
    samples = patches.extract(plane, np.arange(25), size_px=8)
    samples -= samples.mean(1, keepdims=True)

    def largest(dictionary):
        return np.square(samples @ dictionary.T).max(1).sum()

    assert largest(after) > 1.3 * largest(before)
