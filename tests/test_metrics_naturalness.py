"""NIQE, BRISQUE and LOE against the authors' code, and on flat regions."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_images import GOLDEN, codes, image, names_with, photograph_of

from lowlight_jax import metrics
from lowlight_jax.metrics import naturalness


def from_codes(array):
    return jnp.asarray(array, jnp.float32)[None] / 255


@pytest.mark.parametrize("name", names_with("niqe"))
def test_naturalness_equals_the_reference(name):
    row, x = GOLDEN["images"][name], image(name)
    assert metrics.niqe(x)[0] == pytest.approx(row["niqe"], abs=1e-6)
    assert metrics.brisque(x)[0] == pytest.approx(row["brisque"], abs=1e-6)


@pytest.mark.parametrize("name", names_with("niqe_original"))
def test_without_flat_regions_it_equals_the_authors_own_code(name):
    row, x = GOLDEN["images"][name], image(name)
    assert metrics.niqe(x)[0] == pytest.approx(row["niqe_original"], abs=1e-6)
    assert metrics.brisque(x)[0] == pytest.approx(row["brisque_original"], abs=1e-6)


@pytest.mark.parametrize("name", GOLDEN["brisque_features"])
def test_brisque_features_equal_the_authors(name):
    plane, found = naturalness._gray(codes(name.replace("_", "/"))), []
    for _ in range(2):
        mscn = naturalness._mscn(plane, "constant")
        found.append(naturalness._brisque_features(mscn[None]))
        plane = naturalness._halve(plane)
    expected = GOLDEN["brisque_features"][name]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-10)


@pytest.mark.parametrize("size", ["8x8", "7x9"])
def test_halving_equals_imresize(size):
    golden = GOLDEN["halved"]
    (expected,) = (
        golden[k]
        for k in golden
        if k.startswith("out") and k[4:] in {"8x8": ("4x4",), "7x9": ("4x5",)}[size]
    )
    found = naturalness._halve(np.array(golden[f"in_{size}"]))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_flat_regions_do_not_depend_on_rounding():
    # A constant added to all pixels, or the negative, changes no coefficient of NIQE,
    # but all rounding. Half of this image is flat.
    x = codes("coffee/dark")[..., 1].astype(int) // 3
    x[:, 300:] = np.maximum(x[:, 300:], 25)
    variants = [from_codes(y[..., None]) for y in (x, x + 37, 255 - x, 201 - x)]
    scores = [metrics.niqe(variant)[0] for variant in variants]
    np.testing.assert_allclose(scores, scores[0], atol=1e-8)


def test_constant_windows_have_no_coefficients():
    plane = np.full((40, 40), 77.0)
    plane[:12] = np.arange(40)
    for border in ("edge", "constant"):
        assert not naturalness._mscn(plane, border)[20:30, 10:30].any()


def test_a_part_without_detail_is_left_out_of_niqe():
    x = codes("coffee/ref").copy()
    x[96:192, 96:192] = 0
    score = metrics.niqe(from_codes(x))[0]
    assert np.isfinite(score) and score < 20


def test_without_any_detail_there_is_no_score():
    for value in (0.0, 0.4):
        with pytest.raises(ValueError, match="niqe is not defined for this image: few"):
            metrics.niqe(jnp.full((1, 192, 192, 3), value))
    with pytest.raises(ValueError, match="brisque is not defined .*: it has no detail"):
        metrics.brisque(jnp.zeros((1, 96, 96, 3)))


def test_a_diverged_image_has_no_score_and_does_not_spoil_its_batch():
    x = jnp.concatenate([image("coffee/ref")[:, :192, :192]] * 2)
    for metric in (metrics.niqe, metrics.brisque):
        spoilt = x.at[1, 5, 5, 1].set(jnp.nan)
        with pytest.raises(ValueError, match="holds NaN; expected sRGB in .0, 1."):
            metric(spoilt)
        scores = jax.jit(metric)(spoilt)
        assert np.isnan(scores[1]) and scores[0] == np.float32(metric(x[:1])[0])


def test_noise_and_blur_look_less_natural():
    for metric in (metrics.niqe, metrics.brisque):
        scores = [metric(image(f"chelsea/{d}"))[0] for d in ("ref", "noise10", "blur2")]
        assert scores[0] < min(scores[1:])


def test_what_is_scored_is_what_a_file_holds():
    x = image("coffee/ref")
    for metric in (metrics.niqe, metrics.brisque):
        for fraction in (0.4, -0.4):
            assert metric(x + fraction / 255)[0] == metric(x)[0]


def test_float64_outside_jit_whatever_jax_is_set_to():
    x = image("chelsea/ref")
    assert metrics.niqe(x).dtype == np.float64
    inside = jax.jit(metrics.niqe)(x)
    assert inside.dtype == jnp.float32
    assert float(inside[0]) == pytest.approx(metrics.niqe(x)[0], rel=1e-6)


def test_niqe_needs_two_blocks():
    assert metrics.niqe(image("coffee/ref")[:, :96, :192]).shape == (1,)
    with pytest.raises(ValueError, match="niqe needs two blocks of 96x96 px"):
        metrics.niqe(image("coffee/ref")[:, :191, :191])
    with pytest.raises(ValueError, match="at least 96x96 px, found 95x600"):
        metrics.niqe(image("coffee/ref")[:, :95])


def test_niqe_and_brisque_take_less_than_three_tenths_of_a_second():
    x = image("coffee/ref")
    seconds = []
    for _ in range(3):
        start = time.process_time()  # of all threads, but not of other processes
        metrics.niqe(x)
        metrics.brisque(x)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3


@pytest.mark.parametrize("name", names_with("loe"))
def test_loe_equals_the_reference(name):
    found = metrics.loe(image(name), photograph_of(name))[0]
    assert found == GOLDEN["images"][name]["loe"]


def test_loe_by_its_definition():
    # All pairs, as the definition says; 13x17 px, so that samples repeat.
    random = np.random.default_rng(0)
    first, second = random.integers(0, 256, (2, 13, 17, 3))
    rows = np.rint(np.linspace(0, 12, 100)).astype(int)
    columns = np.rint(np.linspace(0, 16, 100)).astype(int)
    a, b = (x.max(2)[np.ix_(rows, columns)].ravel() for x in (first, second))
    wrong = sum(int(((a >= a[i]) ^ (b >= b[i])).sum()) for i in range(10000))
    assert metrics.loe(from_codes(first), from_codes(second))[0] == wrong / 1e4


def test_loe_does_not_see_a_monotone_change():
    x = codes("coffee/ref") // 4
    assert metrics.loe(from_codes(x * 3 + 20), from_codes(x))[0] == 0
