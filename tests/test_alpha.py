"""Hidden colours, below transparency, decide nothing."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from lowlight_jax.baselines import METHODS
from lowlight_jax.evaluation.folders import read_8_bit
from lowlight_jax.images.files import (
    ImageFileError,
    Photo,
    read_visible_rgb8,
    write_photo,
)
from lowlight_jax.inference.methods import enhance_photo, load_method, read_mask

PIXELS = skimage.data.astronaut()[:60, 50:114] // 2
ALPHA = np.full(PIXELS.shape[:2], 255, np.uint8)
ALPHA[:, :20] = 0
HIDDEN = ALPHA == 0
SLOW = ("ghp", "lssc", "svd")


def hiding(colour, pixels=PIXELS, dtype=np.uint8, channels=3):
    """The same picture with other colours where nobody sees them."""
    scale = np.iinfo(dtype).max // 255
    stored = np.where(HIDDEN[..., None], colour, pixels)[..., :channels]
    return Photo(
        stored.astype(dtype) * dtype(scale), ALPHA.astype(dtype) * dtype(scale)
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name not in SLOW])
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint16, 1)])
def test_no_method_sees_hidden_colours(name, dtype, channels):
    method = load_method(name)
    noise = np.random.default_rng(0).integers(0, 256, PIXELS.shape)
    results = [
        enhance_photo(method, hiding(colour, dtype=dtype, channels=channels), unsharp=1)
        for colour in (0, 255, noise)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(
            result.pixels[~HIDDEN], results[0].pixels[~HIDDEN]
        )
    stored = hiding(noise, dtype=dtype, channels=channels)
    np.testing.assert_array_equal(results[2].pixels[HIDDEN], stored.pixels[HIDDEN])


@pytest.mark.parametrize("name", ["telea", "navier-stokes"])
def test_hidden_black_is_no_hole(name):
    pixels = np.maximum(PIXELS, 1)
    method = load_method(name)
    with pytest.raises(ValueError, match="found no holes"):
        enhance_photo(method, hiding(0, pixels))
    pixels[20:26, 40:46] = 0  # a hole that can be seen
    pixels[:4, 20:22] = 0  # too small for one, but beside what is hidden
    results = [enhance_photo(method, hiding(c, pixels)) for c in (0, 255)]
    for result in results:
        assert result.pixels[20:26, 40:46].any()
        changed = (result.pixels != pixels).any(-1)
        changed[20:26, 40:46] = False
        assert not changed[~HIDDEN].any()
    np.testing.assert_array_equal(
        results[0].pixels[~HIDDEN], results[1].pixels[~HIDDEN]
    )


def test_picture_of_which_nothing_is_seen():
    clear = np.zeros_like(ALPHA)
    photo = Photo(np.zeros_like(PIXELS), clear)
    with pytest.raises(ValueError, match="found no holes"):
        enhance_photo(load_method("telea"), photo)
    result = enhance_photo(load_method("gamma"), Photo(PIXELS, clear))
    np.testing.assert_array_equal(result.pixels, PIXELS)


def test_mask_of_nothing_that_is_seen():
    mask = np.where(HIDDEN, np.uint8(255), np.uint8(0))
    with pytest.raises(ValueError, match="the mask tells no holes"):
        enhance_photo(load_method("telea"), hiding(0), mask)


# Masks: white, or opaque

HOLES = np.zeros((12, 16), bool)
HOLES[3:7, 4:9] = True
WHITE, OTHER = np.uint8(HOLES * 255), np.uint8(HOLES.T[:12, :12] * 255)
NOISE = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)


def rgba(colour, alpha):
    colour = np.broadcast_to(np.asarray(colour), (12, 16, 3))
    alpha = np.broadcast_to(np.asarray(alpha), (12, 16))
    return np.uint8(np.dstack([colour, alpha]))


@pytest.mark.parametrize(
    "samples",
    [
        WHITE,
        np.dstack([WHITE, np.full_like(WHITE, 255)]),  # opaque
        rgba(WHITE[..., None], 254),
        np.dstack([np.full_like(WHITE, 255), WHITE]),  # white everywhere
        np.dstack([np.zeros_like(WHITE), WHITE]),  # black everywhere
        rgba([200, 0, 0], WHITE),  # a red brush on a clear ground
        rgba([90, 20, 0], WHITE),
        rgba(WHITE[..., None], WHITE),  # both tell the same
        rgba(np.where(HOLES[..., None], 255, NOISE), WHITE),  # hidden colours
        rgba(np.where(HOLES[..., None], 10, NOISE), WHITE),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_mask_by_luminance_or_alpha(samples, suffix, tmp_path):
    Image.fromarray(samples).save(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"mask{suffix}"), HOLES)


@pytest.mark.parametrize(
    "samples",
    [
        rgba(NOISE, WHITE),  # a picture with a hole, or with a patch?
        rgba(NOISE, 255 - WHITE),
        rgba(NOISE // 4, 255 - WHITE),  # as dark as it may be
        rgba(WHITE[..., None], np.where(np.arange(16) < 6, 0, 255)),
    ],
)
def test_ambiguous_mask_is_refused(samples, tmp_path):
    Image.fromarray(samples).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"mask\.png is partly transparent.*expected"):
        read_mask(tmp_path / "mask.png")


def test_mask_with_a_clear_colour_of_its_palette(tmp_path):
    image = Image.fromarray(np.uint8(HOLES))
    image.putpalette([255, 255, 255, 255, 255, 255])
    image.save(tmp_path / "mask.png", transparency=0)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), HOLES)


# Scores and training


def test_scores_are_of_what_is_seen(tmp_path):
    write_photo(tmp_path / "opaque.png", Photo(PIXELS, np.full_like(ALPHA, 255)))
    np.testing.assert_array_equal(read_8_bit(tmp_path / "opaque.png"), PIXELS)
    write_photo(tmp_path / "clear.png", Photo(PIXELS, ALPHA))
    with pytest.raises(ImageFileError, match="found an image with transparency"):
        read_8_bit(tmp_path / "clear.png")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_training_sees_no_hidden_colours(suffix, tmp_path):
    images = []
    for colour in (0, 255):
        write_photo(tmp_path / f"a{suffix}", hiding(colour, np.full_like(PIXELS, 90)))
        images.append(read_visible_rgb8(tmp_path / f"a{suffix}"))
    if suffix != ".webp":
        np.testing.assert_array_equal(images[0], np.full_like(PIXELS, 90))
    np.testing.assert_allclose(*np.float32(images), atol=12)
    write_photo(tmp_path / f"b{suffix}", Photo(PIXELS, np.zeros_like(ALPHA)))
    with pytest.raises(ImageFileError, match="is transparent everywhere"):
        read_visible_rgb8(tmp_path / f"b{suffix}")
