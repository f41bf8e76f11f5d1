"""Exposure brackets: aligned, fused, refused with a reason, trained on and scored."""

import json

import cv2
import numpy as np
import pytest

from lowlight_jax import evaluate
from lowlight_jax.config import ConfigError, base_config, only_phase, validate
from lowlight_jax.data import brackets
from lowlight_jax.data.brackets import align, bracket_pairs, load_brackets, moving_part
from lowlight_jax.data.pairs import PairsError
from lowlight_jax.data.sources import Options, find_sources
from lowlight_jax.models import model_fields
from lowlight_jax.training.loop import train_and_evaluate

H, W = 96, 128


def scene(seed):
    """Linear light with structure at every scale, over 6 stops."""
    rng = np.random.default_rng(seed)
    stops = np.zeros((H, W, 3), np.float32)
    for side in (3, 8, 24, 48):
        blobs = rng.normal(size=(side, side, 1)) + 0.3 * rng.normal(
            size=(side, side, 3)
        )
        stops += cv2.resize(np.float32(blobs), (W, H), interpolation=cv2.INTER_CUBIC)
    return 0.2 * 2 ** (1.2 * stops)


def expose(light, stops):
    return np.uint8(np.rint(np.clip(light * 2.0**stops, 0, 1) ** (1 / 2.2) * 255))


def bracket(seed, stops=(-2, 0, 2)):
    return {f"{i}.png": expose(scene(seed), stop) for i, stop in enumerate(stops)}


def write(folder, frames):
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        assert cv2.imwrite(str(folder / name), frame[..., ::-1])


def with_object(frame, x):
    """A disc of a twentieth of the picture, of the frame's own colours."""
    frame = frame.copy()
    h, w = np.mgrid[:H, :W]
    frame[(h - 50) ** 2 + (w - x) ** 2 < 14**2] = np.quantile(frame, 0.7, axis=(0, 1))
    return frame


def moved(frame, x, y, degrees=0.0):
    turn = cv2.getRotationMatrix2D((W / 2, H / 2), degrees, 1)
    turn[:, 2] += x, y
    return cv2.warpAffine(frame, turn, (W, H), borderMode=cv2.BORDER_REFLECT)


@pytest.fixture
def folder(tmp_path):
    """Four scenes, one of them deeper down."""
    for i, name in enumerate(("attic", "barn", "town/church", "pond")):
        write(tmp_path / "set" / name, bracket(i))
    return tmp_path / "set"


@pytest.fixture
def load(folder, tmp_path):
    return lambda **options: load_brackets(
        folder, cache_dir=tmp_path / "cache", **options
    )


def test_frames_that_stand_still_are_kept_and_fused():
    frames = bracket(0, stops=(2, -2, 0, -9))
    pairs = bracket_pairs("attic", frames)
    # The brightest is brighter than the fusion, the darkest all but black.
    assert [pair.name for pair in pairs] == ["attic/1.png", "attic/2.png"]
    assert {pair.group for pair in pairs} == {"attic"}
    fused = cv2.createMergeMertens().process([*frames.values()]) * 255
    for pair in pairs:
        np.testing.assert_array_equal(pair.low, frames[pair.name.split("/")[1]])
        np.testing.assert_allclose(pair.high, np.clip(fused, 0, 255), atol=0.51)
    assert pairs[1].low.mean() <= pairs[1].high.mean() + brackets.BRIGHTER_U8
    assert frames["0.png"].mean() > pairs[0].high.mean() + brackets.BRIGHTER_U8


@pytest.mark.parametrize("degrees, error", [(0.0, 0.0), (1.0, 3.0)])
def test_shift_and_turn_are_undone_and_the_border_cut(degrees, error):
    still = [*bracket(1).values()]
    shaken = [moved(still[0], 7, -4, degrees), still[1], moved(still[2], -3, 5)]
    aligned = align(shaken)
    (h, w, _), (y, x) = aligned[0].shape, (0, 7)  # what all have in common
    if not degrees:
        assert (h, w) == (H - 9, W - 10) == aligned[2].shape[:2]
        y, x = 5, 3  # the brightest frame lacks 3 columns at the right, 5 rows above
    middle = cv2.matchTemplate(still[1], aligned[1], cv2.TM_SQDIFF)
    x, y = cv2.minMaxLoc(middle)[2]
    for found, frame in zip(aligned, still, strict=True):
        wanted = frame[y : y + h, x : x + w].astype(float)
        assert np.median(np.abs(found - wanted)) <= error
    assert moving_part(*aligned[:2]) == moving_part(*aligned[1:]) == 0
    assert moving_part(*shaken[:2]) > brackets.MOST_MOVING


def test_frames_that_hardly_overlap_are_of_no_scene():
    frames = bracket(0)
    frames["2.png"] = np.roll(frames["2.png"], 48, axis=1)
    with pytest.raises(brackets.MovingSceneError, match="hardly overlap"):
        align([*frames.values()])


def test_a_scene_that_moves_is_left_out_and_named_each_time(folder, load, capsys):
    frames = bracket(7).items()
    write(
        folder / "street",
        {
            name: with_object(frame, 30 + 30 * i)
            for i, (name, frame) in enumerate(frames)
        },
    )
    for _ in range(2):  # fused, then read
        pairs = load()
        assert {*pairs.groups} == {"attic", "barn", "town", "pond"}
        lines = capsys.readouterr().out.splitlines()
        assert f"{folder}: 1 of 5 scenes move and are left out: street" in lines
    parked = [with_object(frame, 60) for _, frame in frames]
    assert moving_part(*parked[:2]) == 0, "it was the movement"


def test_fused_once_and_again_when_a_file_or_a_setting_changes(
    folder, load, monkeypatch
):
    fused, fuse = [], brackets.fuse
    monkeypatch.setattr(brackets, "fuse", lambda f: fused.append(f[0].shape) or fuse(f))
    first, again = load(), load()
    assert len(fused) == 4
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.high, b.high)
    write(folder / "barn", bracket(9))
    load()
    assert len(fused) == 8
    load(max_px=64)
    assert fused[8:] == [(48, 64, 3)] * 4


def break_file(file, keep):
    file.write_bytes(file.read_bytes()[:keep])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            lambda barn: write(barn, {"1.png": bracket(1)["1.png"][:80]}),
            "128x80, 128x96",
        ),
        (
            lambda barn: [(barn / f"{i}.png").unlink() for i in (0, 1)],
            "barn: a single frame; expected two or more",
        ),
        (lambda barn: break_file(barn / "1.png", 0), "1.png is an empty file"),
        (lambda barn: break_file(barn / "1.png", 9000), "1.png is damaged or cut"),
        (
            lambda barn: write(barn, bracket(1, stops=(-9, -8, -9))),
            "barn: no frame has",
        ),
    ],
    ids=["sizes", "single", "empty", "cut short", "black"],
)
def test_what_is_wrong_is_an_error_or_skipped(folder, load, capsys, spoil, message):
    spoil(folder / "barn")
    for _ in range(2):  # found, then remembered
        with pytest.raises(PairsError, match="1 problem.* with the brackets") as error:
            load()
        assert message in str(error.value)
        assert "--config.data.bad_pairs=skip" in str(error.value)
    assert {*load(bad_pairs="skip").groups} == {"attic", "town", "pond"}
    assert message in capsys.readouterr().out


def test_images_outside_a_scene_are_named(folder, load):
    write(folder, {"lonely.png": bracket(0)["0.png"]})
    with pytest.raises(PairsError, match="lonely.png: not in the subfolder of a scene"):
        load()
    for scene_folder in ("attic", "barn", "pond", "town/church"):
        for file in (folder / scene_folder).iterdir():
            file.unlink()
    with pytest.raises(PairsError, match="holds no exposure brackets"):
        load()


def test_nothing_left_is_an_error(tmp_path):
    frames = zip(bracket(0).values(), bracket(1).values(), strict=True)
    write(tmp_path / "set" / "x", {f"{i}.png": f[i % 2] for i, f in enumerate(frames)})
    with pytest.raises(PairsError, match="holds no usable bracket"):
        load_brackets(tmp_path / "set", cache_dir=tmp_path / "cache")


def test_the_source_is_found_and_its_parts_share_no_scene(folder, tmp_path, capsys):
    write(
        folder / "street", {"0.png": bracket(0)["0.png"], "1.png": bracket(1)["1.png"]}
    )
    cache = str(tmp_path / "cache")
    options = Options(
        brackets=str(folder),
        photographs=str(folder),
        cache_dir=cache,
        validation_every=2,
    )
    source, photographs = find_sources(options)
    assert source.kind == "pairs" and photographs.kind == "photographs"
    groups = {
        part: {pair.group for pair in source.load(part)}
        for part in ("train", "validation", "all")
    }
    assert groups["train"] == {"barn", "town"}
    assert groups["validation"] == {"attic", "pond"}
    assert groups["all"] == groups["train"] | groups["validation"]
    assert capsys.readouterr().out.count("scenes move and are left out: street") == 1
    with pytest.raises(PairsError, match=r"pass data\.brackets"):
        find_sources(Options(source="pairs+brackets", root="x"))


def test_a_folder_that_is_not_there_is_refused():
    config = base_config()
    config.data.brackets = "nowhere"
    with pytest.raises(ConfigError, match=r"data\.brackets is 'nowhere'"):
        validate(config)


def test_a_network_trains_on_them_and_is_scored(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = base_config()
    config.model = model_fields("cnn") | {"width": 4, "layers": 3}
    only_phase(config, "supervised", steps=2, learning_rate=1e-3)
    config.update_from_flattened_dict(
        {
            "data.source": "brackets",
            "data.brackets": str(folder),
            "data.crop_px": 24,
            "parallel": "jit",
            "data.validation_every": 0,  # nothing to be scored at its end: faster
        }
    )
    validate(config)
    train_and_evaluate(config, tmp_path / "run")
    count = len(load_brackets(folder))
    assert f"{folder}: {count} pairs to train on" in capsys.readouterr().out
    assert (tmp_path / "run" / "weights.safetensors").is_file()

    output = tmp_path / "scores.json"
    words = ["--model", "gamma", "--brackets", folder, "--output", output]
    assert evaluate.main([*map(str, words), "--validation-every", "2"]) == 0
    assert "brackets, validation: 4 pairs" in capsys.readouterr().out
    summary = json.loads(output.read_text())["summary"]
    assert list(summary["truth"]) == [
        *("psnr_rgb", "ssim_rgb", "ciede2000", "dark_level", "clipped_excess")
    ]
    means = {
        name: {k: v["mean"] for k, v in row.items()} for name, row in summary.items()
    }
    assert means["truth"]["psnr_rgb"] == 100 and not means["truth"]["clipped_excess"]
    assert means["input"]["dark_level"] < 60 < means["truth"]["dark_level"]


def test_a_network_that_repairs_is_not_scored_on_brackets(folder, capsys):
    assert evaluate.main(["--model", "inpaint", "--brackets", str(folder)]) == 2
    assert "expected one that brightens" in capsys.readouterr().err
