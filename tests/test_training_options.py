"""What a config can ask for: other networks, early stopping, augmentation."""

import itertools
import json
import operator
import re
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lowlight_jax import weights
from lowlight_jax.config import (
    ConfigError,
    base_config,
    model_config,
    only_phase,
    validate,
)
from lowlight_jax.data.pairs import Pair, PairsError
from lowlight_jax.data.pipeline import Geometry, RandomCrop, make_batches
from lowlight_jax.data.sources import Options
from lowlight_jax.models import init_params, make_model
from lowlight_jax.models.cnn import CNN
from lowlight_jax.ops.degrade import ColourVariation, Exposure, vary_colour
from lowlight_jax.runtime import parallel
from lowlight_jax.tasks.brightening import BRIGHTENING, _pairs, _thumbnails
from lowlight_jax.tasks.task import Settings
from lowlight_jax.training.data import _examples, load_data
from lowlight_jax.training.early_stopping import Best
from lowlight_jax.training.loop import (
    BEST_FILE,
    _initial_params,
    load_training_data,
    train,
    train_and_evaluate,
)


def small_config(**settings):
    """A plain CNN that trains in seconds on the embedded photographs."""
    c = base_config()
    c.model = model_config("cnn")
    c.model.width, c.model.layers = 4, 3
    only_phase(c, "supervised", steps=12, learning_rate=1e-2)
    c.data.crop_px, c.data.batch_size = 24, 8
    c.optimizer.name, c.optimizer.warmup_steps = "adam", 0
    c.log_every_steps, c.grid_images = 4, 1
    c.update_from_flattened_dict(settings)
    return c


@pytest.fixture(autouse=True)
def two_small_photographs(monkeypatch):
    """Evaluation on the embedded photographs, cut down."""
    from lowlight_jax.data import photographs

    load = photographs.load_embedded
    monkeypatch.setattr(
        photographs,
        "load_embedded",
        lambda names: {n: image[100:140, 100:148] for n, image in load(names).items()},
    )


def rows(workdir):
    return [json.loads(row) for row in (workdir / "metrics.jsonl").open()]


def test_it_trains_off_the_main_thread(tmp_path):
    """Where Python lets nobody handle signals: a server's worker, a notebook's job."""
    config = small_config(**{"phases.supervised.steps": 2})
    with ThreadPoolExecutor(1) as other:
        _, state, _ = other.submit(train, config, tmp_path).result()
    assert int(state.step) == 2


def test_no_phase_shares_its_crops_with_another_seeds(monkeypatch, tmp_path):
    """What `train` asks `make_batches` for; the steps themselves are left out."""
    seeds = []

    def record(examples, *, seed, **kwargs):
        seeds.append(seed)
        return itertools.repeat({"high": np.zeros((8, 24, 24, 3), np.uint8)})

    def compile_nothing(step, backend):
        return lambda state, batch: (state.replace(step=state.step + 1), {"loss": 0.0})

    monkeypatch.setattr("lowlight_jax.training.loop.make_batches", record)
    monkeypatch.setattr(parallel, "compile_step", compile_nothing)
    for seed in (0, 1):
        config = small_config(seed=seed)
        config.model = model_config("dual")
        config.model.fine_layers, config.model.denoises = 0, False  # the smallest
        config.phases.supervised.steps = 0
        config.phases.enhance.steps = config.phases.denoise.steps = 1
        train(config, tmp_path / str(seed))
    assert len(set(seeds)) == len(seeds) == 4


def test_a_plain_cnn_trains_and_brightens(tmp_path, capsys):
    config = small_config(**{"phases.supervised.steps": 60})
    train_and_evaluate(config, tmp_path)
    losses = [row["loss"] for row in rows(tmp_path)]
    assert losses[-1] < 0.5 * losses[0]
    scores = json.loads((tmp_path / "scores.json").read_text())["summary"]
    classical = ["gamma 0.4", "CLAHE", "MSRCR", "LIME"]
    assert list(scores) == ["input", *classical, "cnn", "truth"]
    assert scores["cnn"]["psnr_rgb"]["mean"] > scores["input"]["psnr_rgb"]["mean"]
    network, _ = weights.load_checkpoint(tmp_path)
    assert (type(network), network.width, network.layers) == (CNN, 4, 3)


def test_a_network_that_repairs_trains(tmp_path, capsys):
    config = small_config()
    config.model = model_config("inpaint")
    config.model.width = 2
    only_phase(config, "repair", steps=4, learning_rate=1e-3)
    config.data.crop_px = 32
    train_and_evaluate(config, tmp_path)
    scores = json.loads((tmp_path / "scores.json").read_text())["summary"]
    assert list(scores) == [
        *("input", "Telea", "Navier-Stokes", "biharmonic", "inpaint", "truth")
    ]
    assert scores["inpaint"]["psnr_holes"]["mean"] > 15
    assert (tmp_path / "results.png").exists()


def test_early_stopping_goes_back_to_the_best(tmp_path, capsys):
    config = small_config(
        **{
            "phases.supervised.learning_rate": 0.3,  # soon worse
            "phases.supervised.steps": 40,
            "evaluate_every_steps": 2,
            "early_stopping_patience": 3,
            "optimizer.ema_decay": 0.0,
            "optimizer.schedule": "constant",
        }
    )
    state = train_and_evaluate(config, tmp_path)
    scores = [(r["psnr_rgb"], r["step"]) for r in rows(tmp_path) if "psnr_rgb" in r]
    best, last = max(scores), scores[-1][1]
    assert last == best[1] + 6 < 40
    assert int(state.step) == 40
    said = re.search(r"ended at step (\d+)", capsys.readouterr().err)
    assert int(said[1]) == last
    network, params = weights.load_checkpoint(tmp_path)
    _, kept = weights.load_weights(tmp_path / BEST_FILE)
    jax.tree.map(np.testing.assert_array_equal, params, kept)
    again = json.loads((tmp_path / "scores.json").read_text())
    assert again["summary"]["cnn"]["psnr_rgb"]["mean"] == pytest.approx(best[0])
    assert len(rows(tmp_path)) == len(scores) + last // 4
    train_and_evaluate(config, tmp_path)  # is at its end, and stays there
    assert len(rows(tmp_path)) == len(scores) + last // 4


def test_patience_counts_from_the_best_also_when_resumed():
    best = Best(2, operator.gt, before=[1.0, 3.0, 2.0])
    assert not best.is_over
    assert not best.add(3.0)
    assert best.is_over
    assert best.add(3.1) and not best.is_over
    assert not Best(0, operator.gt, before=[2.0, 1.0, 1.0, 1.0]).is_over


def test_training_starts_from_given_weights(tmp_path, capsys):
    first = train_and_evaluate(small_config(), tmp_path / "first")
    config = small_config(initial_weights=str(tmp_path / "first"))
    config.phases.supervised.learning_rate = 1e-30  # nothing, in float32
    state = train_and_evaluate(config, tmp_path / "second")
    jax.tree.map(np.testing.assert_array_equal, state.params, first.ema_params)
    config.model.width = 5
    with pytest.raises(ConfigError, match="initial_weights.*'width': 4.*'width': 5"):
        train_and_evaluate(config, tmp_path / "third")
    config.initial_weights = "nothing"
    with pytest.raises(weights.WeightsError, match="there are no weights 'nothing'"):
        train_and_evaluate(config, tmp_path / "fourth")


def test_the_rate_falls_on_a_plateau(tmp_path, capsys):
    """A rate of 0 learns nothing: the loss is flat from the start."""
    settings = {"optimizer.schedule": "plateau", "optimizer.plateau_steps": 2}
    settings |= {"optimizer.plateau_patience": 1, "phases.supervised.steps": 20}
    config = small_config(**settings, **{"phases.supervised.learning_rate": 1e-30})
    state = train_and_evaluate(config, tmp_path)
    assert float(state.opt_state[1].scale) < 0.5


def test_photographs_of_a_folder_are_split_and_read(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(6):
        image = rng.integers(80, 255, (30, 40, 3), np.uint8)
        Image.fromarray(image).save(folder / f"{i}.png")
    config = small_config(**{"data.photographs": str(folder)})
    config.data.validation_every = 3
    train_and_evaluate(config, tmp_path / "run")
    assert "4 photographs to train on, 2 held out" in capsys.readouterr().out
    (folder / "broken.png").write_bytes(b"no image")
    message = "(?s)1 problem.s. with the photographs.*broken"
    with pytest.raises(ValueError, match=message):
        train_and_evaluate(config, tmp_path / "other")


def test_pairs_and_photographs_are_mixed(tmp_path):
    """Real dark sides stay as they are; those of photographs are made of the normal."""
    for folder, values in {
        "pairs/low": [10, 12],
        "pairs/high": [100, 120],
        "photographs": [200, 210, 220],
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        for i, value in enumerate(values):
            image = np.full((30 + i, 40, 3), value, np.uint8)
            Image.fromarray(image).save(tmp_path / folder / f"{i}.png")
    config = small_config(
        **{
            "data.root": str(tmp_path / "pairs"),
            "data.photographs": str(tmp_path / "photographs"),
            "data.cache_dir": str(tmp_path / "cache"),
            "data.validation_every": 0,
        }
    )
    validate(config)

    def load(**options):
        data = Options(**{k: config.data[k] for k in vars(Options())} | options)
        return load_data(
            data,
            BRIGHTENING,
            Settings(),
            darken_pairs=config.data.darken_pairs,
            with_thumbnails=True,
        )

    examples, held_out = load()
    assert len(examples) == 5 and not held_out
    batch = next(make_batches(examples, seed=0, crop_px=16, batch_size=20))
    low, high = _pairs(batch, jax.random.key(0), Settings(exposure=Exposure(2.0, 2.0)))
    thumbnail, _ = _thumbnails(
        batch, jax.random.key(0), Settings(exposure=Exposure(2.0, 2.0))
    )
    assert batch["is_pair"].sum() == 8
    for i, is_pair in enumerate(batch["is_pair"]):
        bright, dark = high[i].mean() * 255, low[i].mean() * 255
        assert (bright in (100, 120)) == is_pair
        if is_pair:
            np.testing.assert_allclose(dark, bright / 10, atol=0.01)
        else:
            assert 0.4 * bright < dark < 0.75 * bright
        np.testing.assert_allclose(thumbnail[i].mean() * 255, dark, rtol=0.1)
    config.data.darken_pairs = True
    more = load()[0]
    assert len(more) == 5 + 2
    assert [int(views["low"].mean()) for views in more][5:] == [100, 120]
    assert [bool(views["is_pair"]) for views in more] == [True] * 2 + [False] * 5
    assert len(load(source="pairs+photographs+embedded")[0]) == 5 + 2 + 4
    assert len(load(source="pairs*3+photographs*2")[0]) == 3 * 2 + 2 * 3 + 2
    for times in ("0", "2.5", "x"):
        with pytest.raises(ValueError, match=r"expected a whole number after \*"):
            load(source=f"pairs*{times}")


@pytest.mark.parametrize("low, darkened", [(15, 100), (40, 40), (80, 80)])
def test_what_shows_the_scene_is_darkened_further(low, darkened):
    """The normal side of LOL's pairs, but the frames of a bracket themselves."""
    pair = Pair("a", "a", *(np.full((8, 8, 3), v, np.uint8) for v in (low, 100)))
    ((_, _), (photo, _), (more, _)) = _examples([([pair], 1)], [({}, 1)], True)
    (views,) = more
    assert views["low"].mean() == darkened and views["high"].mean() == 100
    assert not views["is_pair"] and not len(photo)


def test_modules_of_another_network_are_taken_over(tmp_path, capsys):
    """Of one that differs in the other modules."""
    params = init_params(make_model("dual_global"), jax.random.key(7))
    weights.save_weights(
        tmp_path / "w.safetensors", params, model={"name": "dual_global"}, about={}
    )
    config = small_config(initial_weights=str(tmp_path / "w.safetensors"))
    config.initial_parts = ("denoising",)
    network = make_model("dual_grid")
    ours = _initial_params(config, network, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, ours["denoising"], params["denoising"])
    fresh = init_params(network, jax.random.key(0))
    jax.tree.map(
        np.testing.assert_array_equal, ours["enhancement"], fresh["enhancement"]
    )
    for part in ("enhancement/coarse", "nothing", "denois"):
        config.initial_parts = (part,)
        with pytest.raises(ConfigError, match=f"'{part}' of .* a module of both"):
            _initial_params(config, network, jax.random.key(0))


def test_a_part_to_keep_that_there_is_not(tmp_path):
    config = small_config(kept_parts=("coarse",))
    with pytest.raises(
        ConfigError, match="has no module 'coarse'; expected paths like"
    ):
        train_and_evaluate(config, tmp_path)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"early_stopping_patience": 2}, "expected evaluate_every_steps too"),
        ({"phases.joint.steps": 5}, "'cnn' cannot be trained by"),
        (
            {"damage.min_coverage": 0.5},
            "damage.max_coverage 0.15; expected min",
        ),
        (
            {"damage.discs": -1.0},
            "damage.discs is -1.0; expected",
        ),
        ({"damage.max_size_px": 1}, "damage.min_size_px is 4, damage.max_size_px 1"),
        (
            {"model.name": "unet"},
            "no model 'unet'; expected one of dual, dual_global, dual_grid, dual_scene",
        ),
    ],
)
def test_what_cannot_work_is_said(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate(small_config(**settings))


def test_pairs_cannot_train_a_repair(tmp_path):
    config = base_config()
    config.model = model_config("inpaint")
    only_phase(config, "repair", steps=1, learning_rate=1e-3)
    config.data.root = str(tmp_path)
    with pytest.raises(PairsError, match="for inpainting are trained on photographs"):
        load_training_data(config, make_model(**config.model))


def numbered(h=40, w=50):
    rows_, columns = np.mgrid[:h, :w].astype(np.uint8)
    return np.stack([rows_, columns, rows_], axis=-1)


def crop(geometry, seed=0, side=16, image=None):
    image = numbered() if image is None else image
    views = {"low": image, "high": 255 - image}
    crops = RandomCrop(side, geometry).random_map(views, np.random.default_rng(seed))
    return crops["low"], crops["high"]


@pytest.mark.parametrize(
    "geometry",
    [Geometry(), Geometry(rotate_degrees=20.0), Geometry(translate_px=9)],
)
def test_both_sides_are_moved_alike(geometry):
    for seed in range(5):
        low, high = crop(geometry, seed)
        assert low.shape == (16, 16, 3)
        np.testing.assert_allclose(low.astype(int) + high, 255, atol=1)


def test_crops_stay_upright_where_flips_and_turns_are_off():
    for seed in range(8):
        low, _ = crop(Geometry(flips=False, quarter_turns=False), seed)
        assert (np.diff(low[..., 0].astype(int), axis=0) == 1).all()
        assert (np.diff(low[..., 1].astype(int), axis=1) == 1).all()


def test_rotation_is_by_the_angle():
    flat = Geometry(flips=False, quarter_turns=False)
    turned = Geometry(flips=False, quarter_turns=False, rotate_degrees=30.0)
    slopes = set()
    for seed in range(8):
        upright, _ = crop(flat, seed)
        low, _ = crop(turned, seed)
        down = np.diff(low[4:12, 4:12, 0].astype(float), axis=0).mean()
        assert np.cos(np.radians(30)) - 0.1 < down <= 1.01
        slopes.add(round(down, 2))
        assert abs(int(low[8, 8, 0]) - int(upright[8, 8, 0])) <= 1  # about the centre
    assert len(slopes) > 3


def test_translation_reaches_beyond_the_border():
    """Of an image as large as the crop there is but one crop, without it."""
    image = numbered(16, 16)
    still = Geometry(flips=False, quarter_turns=False)
    moving = Geometry(flips=False, quarter_turns=False, translate_px=4)
    assert all((crop(still, s, image=image)[0] == image).all() for s in range(4))
    corners = {tuple(crop(moving, s, image=image)[0][0, 0, :2]) for s in range(8)}
    assert len(corners) > 3


def test_masks_come_with_the_crops():
    from lowlight_jax.ops.damage import Damage

    def batches(damage):
        return make_batches(
            [{"high": numbered()}], seed=0, crop_px=24, batch_size=2, damage=damage
        )

    batch = next(batches(Damage()))
    assert batch["mask"].shape == (2, 24, 24, 1) and batch["mask"].dtype == np.uint8
    assert (batch["mask"][0] != batch["mask"][1]).any()
    np.testing.assert_array_equal(batch["high"], next(batches(None))["high"])


def test_colours_vary_alike_on_both_sides():
    keys = jax.random.split(jax.random.key(0), 4)
    image = jax.random.uniform(jax.random.key(1), (4, 8, 8, 3), maxval=0.5)
    varied = vary_colour(keys, image, ColourVariation(0.2, 0.2))
    again = vary_colour(keys, image / 2, ColourVariation(0.2, 0.2))
    np.testing.assert_allclose(varied, 2 * again, atol=1e-6)
    assert float(jnp.abs(varied - image).mean()) > 0.005
    assert len({round(float(x), 3) for x in (varied / image).mean((1, 2, 3))}) == 4
    np.testing.assert_allclose(
        vary_colour(keys, image, ColourVariation()), image, atol=1e-6
    )


def test_metrics_fit_the_task():
    assert "psnr_holes" not in CNN().task.metrics
