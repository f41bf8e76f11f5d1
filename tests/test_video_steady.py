"""Frames in a row through a network: steadier than each by itself, and repeatable."""

import numpy as np
import pytest
from video_clips import moving_picture

import lowlight_jax
from lowlight_jax.inference.methods import ClassicalMethod
from lowlight_jax.inference.runner import Enhancer
from lowlight_jax.video.scene import hold_exposure, next_scene
from lowlight_jax.video.steady import START, FrameMethod, State, enhance_frames

MODEL = "dual_global"


@pytest.fixture(scope="module")
def enhancer():
    return Enhancer(MODEL)


def night(count=12, jitter=0.0, seed=3):
    """A static dark scene, its noise new in each frame, exposed unevenly."""
    rng = np.random.default_rng(seed)
    scene = moving_picture(1, 96, 128)[0] * 0.3
    frames = []
    for _ in range(count):
        light = scene * np.exp(rng.normal(0, jitter))
        noise = rng.normal(0, 1, scene.shape) * np.sqrt(light + 1)
        frames.append(np.clip(np.rint(light + noise), 0, 255).astype(np.uint8))
    return frames


def run(method, frames, state=START):
    results = []
    for frame in frames:
        state, result = method(state, frame, 0.04)
        results.append(result)
    return results, state


def flicker(frames):
    return np.abs(np.diff([frame.mean() for frame in frames])).mean()


@pytest.mark.parametrize("jitter", [0.0, 0.05, 0.1])
def test_half_the_flicker_of_frames_by_themselves(enhancer, jitter):
    frames = night(jitter=jitter)
    alone = [enhancer(frame) for frame in frames]
    steady, _ = run(FrameMethod(enhancer, temporal_denoise=False), frames)
    assert flicker(steady) < flicker(alone) / 2
    assert abs(np.mean(steady) - np.mean(alone)) < 2


def scenes(lights):
    """Thumbnails of a scene under these lights, and the states after each."""
    scene = moving_picture(1, 128, 128)[0] / 255
    light = np.where(scene > 0.04045, ((scene + 0.055) / 1.055) ** 2.4, scene / 12.92)
    state, found = None, []
    for factor in lights:
        lit = np.clip(light * factor, 0, 1)
        srgb = np.where(lit > 0.0031308, 1.055 * lit ** (1 / 2.4) - 0.055, lit * 12.92)
        state, _ = next_scene(state, np.float32(srgb), 0.04, 1.0)
        found.append((np.float32(srgb), state))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_trembling_exposure_is_held(dtype):
    trembling = np.exp(np.random.default_rng(0).normal(0, 0.08, 60))
    means, held = [], []
    for srgb, state in scenes(trembling)[20:]:
        full = 1 if dtype == np.float32 else np.iinfo(dtype).max
        frame = np.rint(srgb * full).astype(dtype) if full > 1 else srgb
        steady = hold_exposure(frame, state)
        assert steady.dtype == np.float32
        means.append(srgb.mean())
        held.append(steady.mean())
    assert np.std(np.diff(held)) < 0.15 * np.std(np.diff(means))
    assert abs(np.mean(held) / np.mean(means) - 1) < 0.02


def test_a_new_exposure_is_held_briefly():
    """Light that is switched on counts at once but for a fifth, and soon wholly."""
    switched = scenes([1.0] * 5 + [3.0] * 150)
    exposures = [float(state.exposure) for _, state in switched]
    assert exposures[4] == 0
    assert exposures[5] == pytest.approx(0.2)
    assert all(a >= b for a, b in zip(exposures[5:], exposures[6:], strict=False))
    assert abs(exposures[-1]) < 0.002
    srgb, state = switched[-1]
    np.testing.assert_allclose(hold_exposure(srgb, state), srgb, atol=1e-3)


def test_temporal_denoising_takes_noise_away(enhancer):
    frames = night()
    noisy, clean = (
        run(FrameMethod(enhancer, temporal_denoise=on), frames)[0][-1].astype(float)
        for on in (False, True)
    )
    assert abs(noisy.mean() - clean.mean()) < 1

    def grain(image):
        return np.abs(np.diff(image, axis=1)).mean()

    assert grain(clean) < 0.9 * grain(noisy)


def test_state_goes_on_bit_for_bit(enhancer):
    method = FrameMethod(enhancer, controls={"denoise": 0.5})
    frames = night()
    whole, _ = run(method, frames)
    first, state = run(method, frames[:5])
    arrays = {name: array.copy() for name, array in state.as_arrays().items()}
    rest, _ = run(method, frames[5:], State.from_arrays(arrays))
    for a, b in zip(whole, first + rest, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_scene_begins_anew(enhancer):
    """What comes after a cut is as if nothing had been before."""
    method = FrameMethod(enhancer)
    other = [frame[::-1, ::-1].copy() for frame in night(4, seed=8)]
    for frame in other:
        frame[:, :64] //= 4
    _, state = run(method, night(4))
    after, _ = run(method, other, state)
    alone, _ = run(method, other)
    np.testing.assert_array_equal(after, alone)


def test_frames_of_a_camera_come_one_by_one():
    """As a library; each result is given before the next frame is asked for."""
    asked = []

    def camera():
        for frame in night(5):
            asked.append(frame)
            yield frame

    results = lowlight_jax.enhance_frames(
        camera(), 25, model=MODEL, temporal_denoise=False, strength=0.5
    )
    first = next(results)
    assert len(asked) == 1
    enhanced = Enhancer(MODEL)(asked[0], strength=0.5)
    np.testing.assert_allclose(first.astype(int), enhanced, atol=1)  # rounded twice
    assert len(list(results)) == 4


@pytest.mark.parametrize(
    "frames, fps, options, reason",
    [
        ([np.zeros((8, 8, 3), np.float32)], 25, {}, "expected uint8 or uint16"),
        (
            [np.zeros((48, 64, 3), np.uint8), np.zeros((48, 63, 3), np.uint8)],
            25,
            {},
            "expected frames of one kind",
        ),
        ([], 0, {}, "fps"),
        ([], 25, {"smooth_seconds": -1}, "smooth_seconds"),
        ([np.zeros((48, 64, 3), np.uint8)], 25, {"contrast": 1}, "no such control"),
    ],
)
def test_what_is_refused(frames, fps, options, reason):
    with pytest.raises(ValueError, match=reason):
        list(enhance_frames(frames, fps, model=MODEL, **options))


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_strength_mixes_with_the_frame_itself(enhancer, strength):
    frames = night(4, jitter=0.05)
    whole, _ = run(FrameMethod(enhancer), frames)
    mixed, _ = run(FrameMethod(enhancer, strength=strength), frames)
    for frame, full, got in zip(frames, whole, mixed, strict=True):
        expected = frame + strength * (full.astype(float) - frame)
        assert np.abs(got - expected).max() <= 0.5 + 1e-4


def test_holes_alone_are_repaired():
    """Nothing is averaged over time beside them."""

    def fill(image, mask):
        return np.where(mask, np.uint8(99), image)

    mask = np.zeros((96, 128), np.uint8)
    mask[40:50, 40:50] = 1
    method = FrameMethod(ClassicalMethod("fill", fill, needs_mask=True), mask=mask)
    frames = night(3)
    for frame, result in zip(frames, run(method, frames)[0], strict=True):
        assert (result[mask > 0] == 99).all()
        np.testing.assert_array_equal(result[mask == 0], frame[mask == 0])


def test_classical_methods_and_bars():
    """They see no scene; what lies outside is left as it is."""

    def double(image):
        return (image * 2).astype(np.uint8)

    inside = slice(10, 80), slice(0, 128)
    method = FrameMethod(ClassicalMethod("x2", double), inside=inside)
    frame = moving_picture(1, 96, 128)[0]
    state, result = method(START, frame, 0.0)
    np.testing.assert_array_equal(result[10:80], double(frame[10:80]))
    np.testing.assert_array_equal(result[:10], frame[:10])
    assert state.scene is None
