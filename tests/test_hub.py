"""Models of the Hugging Face hub: what goes there comes back, and nothing else is read.

Against a server on loopback. huggingface_hub reads its settings once, when it is
imported, so that the fixture sets what it made of them.
"""

import json
import os
import sys

import huggingface_hub
import jax
import numpy as np
import pytest
from hub_server import REVISION, run_python, serving
from huggingface_hub import ModelCard, constants, hf_api

import lowlight_jax
from lowlight_jax import weights
from lowlight_jax.enhance import __main__ as enhance_command
from lowlight_jax.export import about_weights
from lowlight_jax.images.files import Photo, read_photo, write_photo
from lowlight_jax.inference.methods import load_method
from lowlight_jax.inference.runner import Runner
from lowlight_jax.metrics import METRICS
from lowlight_jax.models import example_inputs, make_model, model_fields
from lowlight_jax.weights import hub as our_hub
from lowlight_jax.weights import pretrained
from lowlight_jax.weights.hub import HubError

REPO = "someone/brighter"
ADDRESS = f"hf:{REPO}"
SMALL = {"name": "cnn", "width": 4, "layers": 2}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub with an empty repository, its cache, and a user who is logged in."""
    with serving({}, repo=REPO, large="model.safetensors") as hub:
        for name, value in {
            "ENDPOINT": hub.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint
            + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("HF_TOKEN", hub.token)
        huggingface_hub.close_session()  # which may have a proxy
        yield hub
        huggingface_hub.close_session()


@pytest.fixture(scope="module")
def dark():
    return np.random.default_rng(0).integers(0, 60, (24, 32, 3), np.uint8)


def write_weights(folder, fields=SMALL, seed=0):
    """A workdir whose training has saved once: a small network, random parameters."""
    network, rng = make_model(**fields), np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *example_inputs(network))
    weights.save_weights(
        folder / weights.WORKDIR_FILE,
        jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape), shapes["params"]),
        model=fields,
        about={"steps": "7", "commit": "abc"},
    )
    return folder


@pytest.fixture
def workdir(tmp_path):
    return write_weights(tmp_path / "run")


def assert_same_pixels(one, other, image):
    result = one(image)
    assert (result != image).any()
    np.testing.assert_array_equal(result, other(image))


# A folder


def test_a_workdir_goes_into_a_folder_and_comes_back(workdir, tmp_path, dark):
    enhancer = lowlight_jax.Enhancer(checkpoint=workdir)
    folder = tmp_path / "folder"
    enhancer.save_pretrained(folder, license="mit")
    assert sorted(file.name for file in folder.iterdir()) == [
        *("README.md", "config.json", "model.safetensors")
    ]
    weights_file = (workdir / weights.WORKDIR_FILE).read_bytes()
    assert (folder / "model.safetensors").read_bytes() == weights_file
    again = lowlight_jax.Enhancer.from_pretrained(folder)
    assert_same_pixels(enhancer, again, dark)
    assert_same_pixels(enhancer, load_method(folder), dark)  # --model FOLDER
    config = json.loads((folder / "config.json").read_text())
    assert config["library_name"] == "lowlight_jax"
    assert make_model(**config["model"]) == enhancer.network
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert card.data.library_name == "lowlight_jax"
    assert card.data.pipeline_tag == "image-to-image"
    assert card.data.tags == ["low-light-image-enhancement", "jax", "flax"]
    assert "- **Steps**: 7" in card.text
    again.save_pretrained(folder)  # onto itself


def write_scores(workdir, method="cnn"):
    scores = {"psnr_rgb": {"mean": 20.12345, "std": 1.0, "images": 5}}
    scores["niqe"] = {"mean": None, "std": None, "images": 0}
    report = {"summary": {"input": {}, method: scores, "truth": {}}}
    (workdir / "scores.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    "model, method", [("cnn", "cnn"), ("dual", "enhancement + denoising")]
)
def test_the_card_has_the_scores_of_the_training(tmp_path, model, method):
    fields = model_fields(model) if model == "dual" else SMALL
    workdir = write_weights(tmp_path / "run", fields)
    write_scores(workdir, method)
    pretrained.save_pretrained(workdir, tmp_path / "a")
    (result,) = ModelCard.load(tmp_path / "a" / "README.md").data.eval_results
    assert (result.metric_type, result.metric_value) == ("psnr_rgb", 20.1234)
    assert result.dataset_name == "images held out of training (5)"
    file = workdir / weights.WORKDIR_FILE
    later = (workdir / "scores.json").stat().st_mtime + 10
    os.utime(file, (later, later))  # trained further, and not scored again
    pretrained.save_pretrained(workdir, tmp_path / "b")
    assert ModelCard.load(tmp_path / "b" / "README.md").data.eval_results == []


@pytest.mark.parametrize("name", weights.shipped_names())
def test_cards_of_weights_that_ship(name):
    card = ModelCard.load(weights.SHIPPED / f"{name}.md")
    assert card.data.license and card.data.license_name
    assert card.data.library_name == "lowlight_jax"
    assert card.data.pipeline_tag == "image-to-image"
    results = card.data.eval_results or []
    # Those two were trained on all that they could be scored on.
    assert bool(results) == (name not in ("dual_global", "dual_scene"))
    prose = card.text.partition("**Scores**")[2]
    for result in results:
        digits = {"psnr": 2, "ssim": 3}.get(result.metric_type.partition("_")[0], 1)
        assert f"{result.metric_value:.{digits}f}" in prose
        assert result.metric_type in METRICS


def test_a_card_of_ones_own(workdir, tmp_path):
    pretrained.save_pretrained(workdir, tmp_path / "out", card="# Mine\n")
    assert (tmp_path / "out" / "README.md").read_text() == "# Mine\n"


def test_a_workdir_is_not_overwritten(workdir):
    (workdir / "config.json").write_text('{"config": {}}')
    with pytest.raises(HubError, match="config.json is there already and of something"):
        pretrained.save_pretrained(workdir, workdir)
    assert (workdir / "config.json").read_text() == '{"config": {}}'
    assert not (workdir / "README.md").exists()


def test_a_runner_of_parameters_has_no_file():
    with pytest.raises(ValueError, match="made of parameters, not of a file"):
        Runner(make_model(**SMALL), {}).save_pretrained("folder")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda f: (f / "config.json").unlink(),
            "is no lowlight_jax model: its config",
        ),
        (lambda f: (f / "config.json").write_text("{"), "is no lowlight_jax model"),
        (lambda f: (f / "config.json").write_text("[]"), "is no lowlight_jax model"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"other"),
            "model.safetensors has the checksum .*, but config.json says .*; get",
        ),
    ],
)
def test_other_folders_are_refused(workdir, tmp_path, change, message):
    pretrained.save_pretrained(workdir, tmp_path / "out")
    change(tmp_path / "out")
    with pytest.raises(HubError, match=message):
        lowlight_jax.Enhancer.from_pretrained(tmp_path / "out")


def test_a_folder_has_no_revision(workdir, tmp_path):
    pretrained.save_pretrained(workdir, tmp_path / "out")
    with pytest.raises(HubError, match="is a folder, which has no revision 'main'"):
        lowlight_jax.Enhancer.from_pretrained(tmp_path / "out", revision="main")


# The hub


def test_what_is_pushed_comes_back(server, workdir, dark):
    enhancer = lowlight_jax.Enhancer(checkpoint=workdir)
    address = enhancer.push_to_hub(REPO, license="mit")
    assert address == f"{ADDRESS}@{server.head}" != f"{ADDRESS}@{REVISION}"
    assert f"hf:{REPO}@REVISION" in server.files["README.md"].decode()
    server.files["pytorch_model.bin"] = b"\x80\x04a pickle"
    server.requests.clear()
    again = lowlight_jax.Enhancer.from_pretrained(REPO, revision=server.head)
    fetched = {path.rpartition("/")[2] for path, _ in server.requests}
    assert fetched == {"config.json", "model.safetensors"}
    assert_same_pixels(enhancer, again, dark)
    assert lowlight_jax.Enhancer.from_pretrained(address).source == again.source
    assert_same_pixels(enhancer, lowlight_jax.Enhancer(address), dark)
    assert_same_pixels(enhancer, load_method(address), dark)
    assert_same_pixels(enhancer, load_method(ADDRESS), dark)  # of its branch
    told = {"model": address, "steps": "7", "commit": "abc"}
    assert about_weights(address) == told


def test_repairers_too(server):
    address = lowlight_jax.Repairer().push_to_hub(REPO)
    again = lowlight_jax.Repairer.from_pretrained(REPO)
    assert isinstance(again, lowlight_jax.Repairer) and again.name == "inpaint"
    shipped = (weights.SHIPPED / "inpaint.safetensors").read_bytes()
    assert weights.find_weights(again.source).read_bytes() == shipped
    with pytest.raises(weights.WeightsError, match="are for inpainting; expected"):
        lowlight_jax.Enhancer(address)


def test_a_commit_stays_what_it_was(server, tmp_path, dark):
    runs = [write_weights(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    first, second = (pretrained.push_to_hub(run, REPO) for run in runs)
    assert first != second
    for address, run in ((first, runs[0]), (second, runs[1]), (ADDRESS, runs[1])):
        _, params = weights.load_any(address)
        kept = weights.load_checkpoint(run)[1]
        jax.tree.map(np.testing.assert_array_equal, params, kept)


def test_a_branch_that_moves_meanwhile(server, tmp_path, monkeypatch):
    """Both files are of the commit that the first one was found at."""
    runs = [write_weights(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    pretrained.push_to_hub(runs[0], REPO)
    download = huggingface_hub.hf_hub_download

    def moving(*args, **kwargs):
        result = download(*args, **kwargs)
        pretrained.push_to_hub(runs[1], REPO)
        return result

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", moving)
    fetched = our_hub.fetch(ADDRESS).read_bytes()
    assert fetched == (runs[0] / weights.WORKDIR_FILE).read_bytes()


def test_the_command_online_then_offline(
    server, workdir, tmp_path, dark, monkeypatch, capsys
):
    address = pretrained.push_to_hub(workdir, REPO)
    write_photo(tmp_path / "dark.png", Photo(dark))
    expected = lowlight_jax.Enhancer(checkpoint=workdir)(dark)

    def run(name, model=address):
        words = [str(tmp_path / "dark.png"), "--output", str(tmp_path / name)]
        return enhance_command.run(
            enhance_command.parse_args([*words, "--model", model]), load_method
        )

    assert run("online.png") == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert run("offline.png") == 0
    assert run("branch.png", ADDRESS) == 2  # its branch was never asked for
    assert (
        "not in the local cache, and HF_HUB_OFFLINE is set" in capsys.readouterr().err
    )
    assert not server.requests
    for name in ("online.png", "offline.png"):
        np.testing.assert_array_equal(read_photo(tmp_path / name).pixels, expected)


def test_offline_by_the_environment(server, workdir):
    address = pretrained.push_to_hub(workdir, REPO)
    file = our_hub.fetch(address)
    server.requests.clear()
    code = f"from lowlight_jax.weights import hub; print(hub.fetch({address!r}))"
    settings = {"HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HUB_OFFLINE": "1"}
    offline = run_python("-c", code, endpoint=server.endpoint, **settings)
    assert offline.stdout.strip() == str(file), offline.stderr
    assert not server.requests


@pytest.mark.parametrize(
    "address, message",
    [
        ("hf:someone/else", "there is no such repository, or it is not for everybody"),
        (f"{ADDRESS}@{'f' * 40}", "it has no such revision; expected a commit, tag"),
        (f"{ADDRESS}@v9", "it has no such revision"),
        ("hf:a b", "expected hf:OWNER/NAME@REVISION"),
        ("hf:", "expected hf:OWNER/NAME@REVISION"),
        (f"{ADDRESS}@", "expected hf:OWNER/NAME@REVISION"),
    ],
)
def test_what_the_hub_does_not_have(server, address, message):
    with pytest.raises(HubError, match=message) as raised:
        load_method(address)
    assert address in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda files: files.pop("config.json"),
            "it has no config.json; expected a re",
        ),
        (lambda files: files.pop("model.safetensors"), "it has no model.safetensors"),
        (
            lambda files: files.update(
                {"config.json": b'{"library_name": "transformers"}'}
            ),
            "is no lowlight_jax model: its config.json is missing or something else's",
        ),
        (
            lambda files: files.update({"model.safetensors": b"\x80\x04other"}),
            "model.safetensors has the checksum .*, but config.json says",
        ),
    ],
)
def test_a_repository_of_something_else(server, workdir, change, message):
    pretrained.push_to_hub(workdir, REPO)
    change(server.files)
    with pytest.raises(HubError, match=message):
        weights.load_any(ADDRESS)


def test_a_file_that_rots_in_the_cache_is_found_and_replaced(server, workdir):
    address = pretrained.push_to_hub(workdir, REPO)
    good = our_hub.fetch(address).read_bytes()
    our_hub.fetch(address).resolve().write_bytes(b"rotten")
    with pytest.raises(HubError, match="was removed, run again to download it anew"):
        our_hub.fetch(address)
    assert our_hub.fetch(address).read_bytes() == good


def test_an_unreachable_hub_is_told(server, monkeypatch):
    """As huggingface_hub says it, without the half minute for which it tries."""

    def fail(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("Connection error, and\n")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        HubError, match="brighter: the hub cannot be reached, and it is"
    ):
        our_hub.fetch(ADDRESS)


@pytest.mark.slow  # huggingface_hub tries for half a minute
def test_an_unreachable_hub(server, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the hub cannot be reached"):
        our_hub.fetch(ADDRESS)


def test_who_may_not_push_is_told(server, workdir, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(
        HubError, match=r"brighter cannot be pushed to \(.*401"
    ) as raised:
        pretrained.push_to_hub(workdir, REPO)
    assert "\n" not in str(raised.value)
    assert server.head == REVISION


def test_without_huggingface_hub(workdir, tmp_path, monkeypatch, capsys):
    pretrained.save_pretrained(workdir, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'lowlight_jax\[hub\]'"):
        lowlight_jax.Enhancer.from_pretrained(REPO)
    write_photo(tmp_path / "dark.png", Photo(np.zeros((8, 8, 3), np.uint8)))
    words = [str(tmp_path / "dark.png"), "--output", str(tmp_path / "bright.png")]
    assert enhance_command.main([*words, "--model", ADDRESS]) == 2
    error = capsys.readouterr().err
    assert "pip install 'lowlight_jax[hub]'" in error and error.count("\n") == 1
    lowlight_jax.Enhancer.from_pretrained(tmp_path / "out")  # which needs no hub
