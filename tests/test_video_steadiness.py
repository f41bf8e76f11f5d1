"""Steadiness of videos: the smoothed scene, and denoising over time."""

import cv2
import numpy as np
import pytest

from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.video.scene import SceneState, next_scene
from lowlight_jax.video.temporal import RESTING, Past, blend_past

H, W = 96, 128
SIGMA = 8.0  # levels, of noise
DTYPES = (np.uint8, np.uint16)


def picture(seed, smooth_px=3.0):
    """A smooth random picture in levels, `[h, w, 3]`, with a margin of 16 px."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(H + 32, W + 32, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), smooth_px)
    return 110 + 35 * blurred / blurred.std()


def as_frame(levels, dtype=np.uint8):
    white = np.iinfo(dtype).max
    return np.clip(np.rint(levels * (white / 255)), 0, white).astype(dtype)


def noisy(levels, seed, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    return as_frame(levels + rng.normal(0, SIGMA, levels.shape), dtype)


def inner(image):
    return image[16:-16, 16:-16]


def blended(frames):
    past, results = None, []
    for frame in frames:
        result, past = blend_past(past, frame)
        assert result.dtype == frame.dtype and result.shape == frame.shape
        results.append(result)
    return results


def error(pred, levels):
    """Root mean square, in levels."""
    return np.sqrt(np.square(pred / (np.iinfo(pred.dtype).max / 255) - levels).mean())


# The scene


def thumbnail(seed=0, gain=1.0, noise=0.0):
    """Of a dark picture; gain is of light."""
    rng = np.random.default_rng(seed + 100)
    light = np.square(inner(picture(seed, smooth_px=12.0)) / 255) * 0.1 * gain
    return make_thumbnail(
        np.clip(np.sqrt(light) + rng.normal(0, noise, light.shape), 0, 1)
    )


def scenes(thumbnails, seconds=0.04, smooth_seconds=1.0):
    state, found = None, []
    for image in thumbnails:
        state, is_cut = next_scene(state, image, seconds, smooth_seconds)
        found.append((state, is_cut))
    return found


def test_a_constant_scene_stays():
    states = scenes([thumbnail()] * 5)
    assert [is_cut for _, is_cut in states] == [True] + 4 * [False]
    np.testing.assert_allclose(states[-1][0].smooth, thumbnail(), atol=1e-6)


def test_noise_of_the_scene_falls():
    states = scenes(
        [
            thumbnail() + n
            for n in np.random.default_rng(0)
            .normal(0, 0.01, (60, 128, 128, 3))
            .astype(np.float32)
        ]
    )
    assert np.std(states[-1][0].smooth - thumbnail()) < 0.01 / 4
    own = scenes([thumbnail(), thumbnail(gain=1.1)], smooth_seconds=0)
    np.testing.assert_array_equal(own[-1][0].smooth, thumbnail(gain=1.1))


def srgb(light):
    return np.where(
        light > 0.0031308,
        1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055,
        12.92 * light,
    ).astype(np.float32)


@pytest.mark.parametrize("gain", [0.5, 1.05, 2.0])
def test_exposure_is_followed_at_once(gain):
    light = np.square(thumbnail()).astype(np.float64)
    before, after = srgb(light), srgb(gain * light)
    state, is_cut = scenes([before, after])[-1]
    assert not is_cut
    np.testing.assert_allclose(state.smooth, after, atol=1e-3)


def test_exposure_is_told_by_what_stays_and_is_lit():
    """A person in front, and a black sky, change nothing of it."""
    light = np.square(thumbnail()).astype(np.float64)
    light[:72] = 0.0
    brighter = 1.3 * light
    brighter[100:, :30] = 0.5
    state, is_cut = scenes([srgb(light), srgb(brighter)])[-1]
    assert not is_cut
    np.testing.assert_allclose(
        state.smooth[90:, 40:], srgb(brighter)[90:, 40:], atol=1e-3
    )


def test_time_counts_not_frames():
    """Two steps of half the time are one of the whole."""
    new = thumbnail() + 0.02 * np.sign(np.arange(128) % 2 - 0.5)[:, None, None]
    start, _ = next_scene(None, thumbnail(), 0.1, 1.0)
    once, _ = next_scene(start, new.astype(np.float32), 0.1, 1.0)
    half, _ = next_scene(start, new.astype(np.float32), 0.05, 1.0)
    twice, _ = next_scene(half, new.astype(np.float32), 0.05, 1.0)
    np.testing.assert_allclose(twice.smooth, once.smooth, atol=1e-5)
    moved = np.abs(once.smooth - thumbnail()).mean() / 0.02
    assert moved == pytest.approx(1 - np.exp(-0.1), rel=0.02)


def test_a_cut_begins_anew():
    state, is_cut = scenes([thumbnail(0), thumbnail(1)])[-1]
    assert is_cut
    np.testing.assert_array_equal(state.smooth, thumbnail(1))


@pytest.mark.parametrize("level", [0.0, 1 / 255, 5 / 255, 40 / 255])
def test_noise_of_a_flat_scene_is_no_cut(level):
    rng = np.random.default_rng(0)
    frames = np.clip(level + rng.normal(0, 3 / 255, (6, H, W, 3)), 0, 1)
    found = scenes([make_thumbnail(frame) for frame in frames])
    assert not any(is_cut for _, is_cut in found[1:])


# Denoising over time


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_at_rest_is_averaged(dtype):
    levels = inner(picture(0))
    frames = [noisy(levels, seed, dtype) for seed in range(16)]
    result = blended(frames)[-1]
    # Where the past is never doubted: (1 - share) / (1 + share) of the variance.
    least = np.sqrt((1 - RESTING) / (1 + RESTING)) * SIGMA
    assert least * 0.9 < error(result, levels) < 0.5 * SIGMA


def test_noise_in_motion_is_averaged():
    wide = picture(0)
    views = [wide[16 : 16 + H, 2 * t : 2 * t + W] for t in range(12)]
    result = blended([noisy(view, seed) for seed, view in enumerate(views)])[-1]
    assert error(result, views[-1]) < 0.7 * SIGMA


def test_identical_frames_stay_bit_for_bit():
    frame = noisy(inner(picture(0)), 0)
    for result in blended([frame] * 6):
        np.testing.assert_array_equal(result, frame)


@pytest.mark.parametrize("step", [3, 12])
def test_nothing_is_left_behind_what_moves(step):
    levels = inner(picture(0))
    frames, views = [], []
    for t in range(9):
        view = levels.copy()
        view[30:60, step * t : step * t + 24] = (220, 60, 40)
        views.append(view)
        frames.append(noisy(view, t))
    result = blended(frames)[-1].astype(np.float32)
    behind = np.s_[32:58, max(step * 8 - 24, 0) : step * 8 - 1]
    trail = (result - views[-1])[behind].mean((0, 1))
    assert np.abs(trail).max() < 3.0  # of differences around 100
    assert error(np.uint8(result), views[-1]) < SIGMA


@pytest.mark.parametrize("what", ["scene", "exposure"])
def test_a_sudden_change_is_not_mixed_in(what):
    """Without being told: `past` is also given at a flash."""
    before = inner(picture(0))
    after = inner(picture(1)) if what == "scene" else before + 40
    frames = [noisy(before, seed) for seed in range(4)] + [noisy(after, 9)]
    result = blended(frames)[-1]
    assert error(result, after) < 1.1 * SIGMA
    bias = (result.astype(np.float32) - np.clip(after, 0, 255)).mean()
    assert abs(bias) < 1.0


def test_states_are_arrays():
    """Written to a file and read, they lead to the same frames."""
    levels = inner(picture(0))
    frames = [noisy(levels, seed) for seed in range(3)]
    _, past = blend_past(None, frames[0])
    _, past = blend_past(past, frames[1])
    scene, _ = next_scene(None, thumbnail(), 0.04, 1.0)
    for state in (past, scene):
        assert all(isinstance(value, np.ndarray) for value in state)
    again = Past(*(np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for a in past))
    np.testing.assert_array_equal(
        blend_past(past, frames[2])[0], blend_past(again, frames[2])[0]
    )
    assert isinstance(scene, SceneState) and scene.smooth.dtype == np.float32


def test_steps_are_pure():
    frames = [noisy(inner(picture(0)), seed) for seed in range(2)]
    _, past = blend_past(None, frames[0])
    kept = [frames[1].copy(), *(array.copy() for array in past)]
    blend_past(past, frames[1])
    for array, copy in zip((frames[1], *past), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_threads_change_nothing():
    frames = [noisy(inner(picture(0)), seed) for seed in range(4)]
    threads, results = cv2.getNumThreads(), []
    try:
        for count in (1, 3):
            cv2.setNumThreads(count)
            results.append(blended(frames)[-1])
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (31, 200), (32, 32), (33, 47)])
def test_any_size(shape):
    levels = np.full((*shape, 3), 120.0)
    results = blended([noisy(levels, seed) for seed in range(3)])
    assert results[-1].shape == (*shape, 3)
    small = blended([noisy(levels, 0), noisy(np.full((40, 40, 3), 90.0), 1)])
    np.testing.assert_array_equal(small[1], noisy(np.full((40, 40, 3), 90.0), 1))
