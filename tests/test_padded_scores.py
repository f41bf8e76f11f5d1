"""Scores of images of many sizes: padded to a few shapes, equal to the unpadded."""

import jax
import numpy as np
import pytest

from lowlight_jax import metrics
from lowlight_jax.evaluation import scoring
from lowlight_jax.evaluation.scoring import Item

PADDABLE = [name for name, metric in metrics.METRICS.items() if metric.takes_size]


def picture(rng, h, w, c=3):
    """Smooth, dark at the left, with noise: uint8."""
    smooth = rng.integers(0, 256, (h // 8 + 2, w // 8 + 2, c), np.uint8)
    smooth = smooth.repeat(8, 0).repeat(8, 1)[:h, :w]
    light = np.linspace(0.1, 1, w)[None, :, None]
    return np.uint8(np.clip(smooth * light + rng.normal(0, 6, (h, w, c)), 0, 255))


def item(rng, h, w):
    target = picture(rng, h, w)
    noise = rng.normal(0, 9, target.shape)
    pred = np.uint8(np.clip(0.9 * target + noise, 0, 255))
    return Item(f"{h}x{w}", pred, target, target // 3)


def unit(image, h, w, filling=0.0):
    padded = np.full((1, h, w, 3), filling, np.float32)
    padded[0, : image.shape[0], : image.shape[1]] = np.float32(image) / 255
    return padded


@pytest.mark.parametrize("name", PADDABLE)
def test_what_an_image_is_padded_with_does_not_count(name):
    """161 is odd at every scale of MS-SSIM, 166 even and then odd."""
    rng, metric = np.random.default_rng(0), metrics.METRICS[name]
    items = [item(rng, 161, 190), item(rng, 183, 166)]
    roles = ("pred", *metric.needs)
    for filling in (0.0, 1.0):
        batch = [
            np.concatenate([unit(getattr(i, r), 200, 192, filling) for i in items])
            for r in roles
        ]
        found = metric.function(*batch, size=np.int32([[161, 190], [183, 166]]))
        for i, score in zip(items, found, strict=True):
            images = [unit(getattr(i, r), *i.pred.shape[:2]) for r in roles]
            assert float(score) == pytest.approx(float(metric(*images)[0]), rel=1e-5)


@pytest.mark.parametrize("size", [[[10, 24]], [[24, 25]], [[24, 24]] * 2, [24, 24]])
def test_sizes_that_cannot_be_are_refused(size):
    images = np.zeros((1, 24, 24, 3), np.float32)
    with pytest.raises(ValueError, match="ssim_rgb: size is .*expected height and wid"):
        metrics.ssim_rgb(images, images, size=np.int32(size))


@pytest.fixture
def compilations():
    """Names of what is compiled, in a list that grows."""
    found = []

    def listen(event, seconds, **about):
        if event.endswith("backend_compile_duration"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_twenty_sizes_share_a_few_shapes(compilations):
    rng = np.random.default_rng(1)
    sizes = rng.integers(20, 250, (20, 2))
    items = [item(rng, *size) for size in sizes]
    scores = scoring.score_items(items, ["psnr_rgb", "noise_level"], gt_mean=True)
    # The first size, and squares of 64, 128 and 256.
    assert len(compilations) <= 2 * 4
    error = [np.mean((i.pred / 255 - i.target / 255) ** 2) for i in items]
    np.testing.assert_allclose(
        scores.columns["psnr_rgb"], -10 * np.log10(error), rtol=1e-5
    )


def test_a_small_image_in_a_batch_has_no_score_and_the_others_have_theirs():
    rng = np.random.default_rng(2)
    items = [item(rng, *size) for size in ((30, 40), (9, 60), (50, 60))]
    scores = scoring.score_items(items, ["ssim_rgb"])
    first, small, last = scores.columns["ssim_rgb"]
    assert 0 < first < 1 and small is None and 0 < last < 1
    (note,) = scores.notes
    assert note == (
        "9x60: no ssim_rgb: ssim_rgb needs images of at least 11x11 px, found 9x60: "
        "leave this metric out for images this small"
    )


@pytest.mark.parametrize("h, w", [(1, 1), (64, 65), (512, 3), (513, 3), (700, 1500)])
def test_padded_sides_cover_the_image(h, w):
    height, width = scoring.padded_sides(h, w)
    assert height >= h and width >= w
    if max(h, w) > 512:
        assert height - h < 512 and width - w < 512


WRONG = {
    "turned": {"target": (4, 6, 3), "pred": (6, 4, 3)},
    "gray": {"target": (4, 6, 1), "pred": (4, 6, 3)},
    "turned mask": {"pred": (4, 6, 3), "mask": (6, 4, 1)},
    "mask of three channels": {"pred": (4, 6, 3), "mask": (4, 6, 3)},
    "no pixels": {"pred": (0, 6, 3)},
    "no channels": {"pred": (4, 6)},
}


@pytest.mark.parametrize("kind", WRONG)
def test_images_of_other_sizes_are_refused(kind):
    images = {role: np.zeros(shape, np.uint8) for role, shape in WRONG[kind].items()}
    with pytest.raises(ValueError, match="^photo") as error:
        Item("photo", **images)
    assert "\n" not in str(error.value)


def test_floating_point_is_no_image_to_score():
    with pytest.raises(ValueError, match="photo: pred is float64 .* expected uint8"):
        Item("photo", np.zeros((4, 6, 3)))
