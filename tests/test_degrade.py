"""What synthetic degradations do, and that each image gets its own."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lowlight_jax.data.photographs import EVERYDAY, darkened_pairs, load_embedded
from lowlight_jax.ops.degrade import (
    Compression,
    Exposure,
    light_field,
    save_some,
    underexpose,
)
from lowlight_jax.ops.jpeg import compress

NOTHING = Exposure(
    min_stops=0.0,
    max_stops=0.0,
    unevenness_stops=0.0,
    white_balance=0.0,
    read_noise_u8=0.0,
    shot_noise_u8=0.0,
)


@pytest.fixture(scope="module")
def photograph():
    return load_embedded(["chelsea.png"])["chelsea.png"][:101, 20:175]


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def darken(image, count=1, **exposure):
    images = jnp.broadcast_to(jnp.float32(image), (count, *image.shape))
    return np.asarray(underexpose(keys(count), images, NOTHING.replace(**exposure)))


def psnr(a, b):
    return -10 * np.log10(np.mean(np.square(np.float64(a) - b)) / 255**2)


@pytest.mark.parametrize(
    "quality, least_db", [(10, 42.8), (50, 44.6), (75, 46), (95, 46.5)]
)
def test_jpeg_is_like_libjpegs(photograph, quality, least_db):
    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "JPEG", quality=quality, subsampling=2)
    theirs = np.asarray(Image.open(file))
    ours = compress(jnp.float32(photograph)[None] / 255, jnp.array([float(quality)]))
    ours = np.asarray(ours)[0] * 255
    np.testing.assert_allclose(ours, np.rint(ours), atol=1e-4)
    assert psnr(ours, theirs) > least_db
    lost = psnr(photograph, theirs)
    assert psnr(photograph, ours) == pytest.approx(lost, abs=0.6)


def test_each_image_gets_its_own_quality(photograph):
    images = jnp.float32(photograph)[None].repeat(2, 0) / 255
    worse, better = np.asarray(compress(images, jnp.array([20.0, 90.0]))) * 255
    assert psnr(better, photograph) > psnr(worse, photograph) + 4
    alone = compress(images[1:], jnp.array([90.0]))[0] * 255
    np.testing.assert_array_equal(better, alone)


def test_some_are_saved(photograph):
    """Each by a draw of its own, whatever batch it is in; the others stay."""
    images = jnp.float32(photograph)[None].repeat(40, 0) / 255
    quarter = Compression(fraction=0.25, least_quality=60)
    saved = np.asarray(save_some(keys(40), images, quarter))
    changed = np.abs(saved - images).max((1, 2, 3)) > 0
    assert 3 < changed.sum() < 20
    losses = [psnr(image * 255, photograph) for image in saved[changed]]
    assert min(losses) > 28 and max(losses) - min(losses) > 1
    i = np.flatnonzero(changed)[-1]
    alone = np.asarray(save_some(keys(40)[i : i + 1], images[:1], quarter))
    assert np.mean(alone[0] != saved[i]) < 0.01  # roundings, of another batch
    assert (save_some(keys(40), images, Compression()) == images).all()


def test_jpeg_comes_last(photograph):
    image = photograph / 255
    plain = darken(image, min_stops=2.0, max_stops=2.0)
    saved = darken(image, min_stops=2.0, max_stops=2.0, least_jpeg_quality=60.0)
    assert 25 < psnr(plain * 255, saved * 255) < 50


def test_no_exposure_changes_nothing(photograph):
    np.testing.assert_allclose(darken(photograph / 255)[0], photograph / 255, atol=1e-6)


def test_mixed_light_is_red_here_and_blue_there():
    gray = np.full((64, 64, 3), 0.5)
    low = darken(gray, 16, mixed_light=0.3)
    np.testing.assert_allclose(low[..., 1], 0.5, atol=0.003)
    red, blue = low[..., 0] - 0.5, low[..., 2] - 0.5
    assert red.min() < -0.04 and red.max() > 0.04
    assert np.corrcoef(red.ravel(), blue.ravel())[0, 1] < -0.98


def test_a_dark_picture_keeps_what_was_lost_near_white():
    white, gray = np.ones((8, 8, 3)), np.full((8, 8, 3), 0.7)
    under = {"min_stops": 2.0, "max_stops": 2.0}
    plain = darken(white, 32, **under).mean((1, 2, 3))
    kept = darken(white, 32, highlight_stops=2.0, **under).mean((1, 2, 3))
    assert plain.max() < 0.54
    assert (kept >= plain).all() and kept.max() > 0.9 and kept.min() < 0.6
    np.testing.assert_array_equal(
        darken(gray, 4, highlight_stops=2.0, **under), darken(gray, 4, **under)
    )


def test_tone_curves_lie_around_those_of_real_cameras(photograph):
    unchanged = darken(photograph / 255, tone_contrast=0.8)[0]
    np.testing.assert_allclose(unchanged, photograph / 255, atol=1e-5)
    grays = np.linspace(0.05, 0.9, 18)
    ramp = np.tile(grays[None, :, None], (8, 1, 3))
    for stops in 1.0, 2.0, 3.0, 4.0:
        under = {"min_stops": stops, "max_stops": stops}
        found = darken(ramp, 64, tone_contrast=0.8, **under)[:, 0, :, 0]
        # Ying, Li, Gao 2017, formula 9: of the light times k, for the mean camera.
        power = 2.0 ** (-stops * -0.3293)
        mean_camera = np.exp(1.1258 * (1 - power)) * grays**power
        assert np.abs(found.mean(0) - mean_camera).mean() < 0.02
        assert (found.max(0) - found.min(0)).mean() > 0.04
        linear = darken(ramp, **under)[0, 0, :, 0]
        assert np.abs(linear - mean_camera).mean() > 0.03, "too bright"


def test_noise_is_halved_by_chance():
    gray = np.full((32, 32, 3), 0.5)
    strong = darken(gray, 32, shot_noise_u8=8.0).std((1, 2, 3))
    weaker = darken(gray, 32, shot_noise_u8=8.0, noise_halvings=3.0).std((1, 2, 3))
    ratio = strong / weaker
    assert ratio.min() > 0.95 and ratio.max() < 8.8 and np.ptp(ratio) > 3


def test_a_part_of_a_field_is_flatter():
    wholes = np.array([light_field(key, (40, 60)) for key in keys(20)])
    parts = np.array([light_field(key, (40, 60), 0.2) for key in keys(20)])
    assert wholes.shape == (20, 40, 60, 1)
    assert -1 <= wholes.min() < -0.5 and 0.5 < wholes.max() <= 1
    assert np.abs(np.diff(wholes, axis=2)).max() < 0.1, "smooth"
    spans = np.ptp(parts, axis=(1, 2)) / np.ptp(wholes, axis=(1, 2))
    assert spans.mean() < 0.4
    assert np.ptp(parts.mean((1, 2))) > 0.4, "each shows another part"


def test_darkened_photographs_depend_on_their_name_alone(photograph):
    pairs = darkened_pairs({"a": photograph, "b": photograph}, EVERYDAY, [0, 2])
    of_a, dark_a, of_b, dark_b = (pair.low for pair in pairs)
    np.testing.assert_array_equal(of_a, photograph)
    np.testing.assert_array_equal(of_b, photograph)
    assert (dark_a != dark_b).any()
    assert dark_a.mean() < 0.7 * photograph.mean()
    (alone,) = darkened_pairs({"b": photograph}, EVERYDAY, [2])
    np.testing.assert_array_equal(alone.low, dark_b)
    assert alone.name == "b 2 stops under"
