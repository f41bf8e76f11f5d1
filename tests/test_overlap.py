"""Scenes that two folders share are found, whatever their exposure."""

import numpy as np
import pytest
from PIL import Image

from lowlight_jax.evaluate import main
from lowlight_jax.evaluation.overlap import TWINS, find_nearest


def scene(seed, height=60, width=90):
    """Smooth patches, as a photograph has them."""
    grid = np.random.default_rng(seed).integers(20, 200, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.BICUBIC))


def test_a_scene_is_known_again_in_other_light_and_size():
    others = {f"{i}": scene(i) for i in range(12)}
    darker = (scene(7, 50, 80) * 0.3 + 5).astype(np.uint8)
    twin, stranger = find_nearest({"new": scene(99), "dark": darker}, others)
    assert (twin.name, twin.twin) == ("dark", "7") and twin.correlation > 0.98
    assert stranger.name == "new" and stranger.correlation < TWINS


def test_pictures_without_contrast_are_no_twins():
    flat = {"flat": np.full((40, 40, 3), 90, np.uint8)}
    assert find_nearest(flat, flat)[0].correlation == 0


def test_the_command_counts_them(tmp_path, capsys):
    for folder, seeds in (("train/high", range(6)), ("test", (4, 50))):
        (tmp_path / folder).mkdir(parents=True)
        for seed in seeds:
            Image.fromarray(scene(seed)).save(tmp_path / folder / f"{seed}.png")
    words = ["--overlap", str(tmp_path / "train"), "--data", str(tmp_path / "test")]
    assert main(words) == 0
    assert (
        "1 of 2 pictures seem to show a scene of the other folder"
        in capsys.readouterr().out
    )
    (tmp_path / "test" / "bad.png").write_bytes(b"no image")
    assert main(words) == 1
    assert "bad.png" in capsys.readouterr().err


def test_what_to_compare_is_asked_for(capsys):
    with pytest.raises(SystemExit):
        main(["--overlap", "train"])
    assert "expected --data TEST" in capsys.readouterr().err
