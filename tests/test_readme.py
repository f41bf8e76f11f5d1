"""README.md and the pages behind it: code runs, commands are understood."""

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
from absl import flags

import lowlight_jax
from lowlight_jax import cli, evaluate, export, jpeg_sweep, main, summary, tune
from lowlight_jax.config import base_config, model_config, validate
from lowlight_jax.convert import mirnet
from lowlight_jax.enhance import __main__ as enhance
from lowlight_jax.images.files import Photo, read_photo, write_photo
from lowlight_jax.models import MODELS
from lowlight_jax.reproduce import __main__ as reproduce
from lowlight_jax.reproduce import recipes
from lowlight_jax.serve import __main__ as serve

ROOT = Path(__file__).parents[1]
MARKDOWN = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("launch/*.md"),
    *ROOT.glob("lowlight_jax/weights/*.md"),
]
PAGES = {str(p.relative_to(ROOT)): p for p in [*MARKDOWN, *ROOT.glob("configs/*.py")]}
MODULES = {
    "lowlight_jax.enhance": enhance,
    "lowlight_jax.reproduce": reproduce,
    "lowlight_jax.serve": serve,
} | {
    module.__name__: module
    for module in (evaluate, export, jpeg_sweep, main, summary, tune, mirnet)
}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


class Understood(BaseException):  # which no command takes for an error
    """A command has read its arguments, and would start to work."""


FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def fenced(text, language):
    return [code for marked, code in FENCED.findall(text) if marked == language]


def commands_of(path):
    """Every command of this package that a page shows whole, as words."""
    text = path.read_text()
    if path.suffix == ".py":  # indented in the docstring, whose backslashes are doubled
        indented = re.findall(r"^    .*$", text.split('"""')[1], re.MULTILINE)
        texts = ["\n".join(indented).replace("\\\\", "\\")]
    else:
        spans = re.findall(r"`([^`]+)`", FENCED.sub("", text))
        texts = fenced(text, "") + [" ".join(span.split()) for span in spans]
    shown = "\n".join(texts).replace("\\\n", " ").replace("COMMIT", 40 * "0")
    commands = []
    for line in shown.splitlines():
        for part in re.split(r"&&|\|", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # code of another kind
                continue
            form = " ".join(words[:3])
            if form.startswith("python -m lowlight_jax"):
                _, _, module, *rest = words
            elif words[:1] == ["lowlight"] and words[1:2]:
                module = cli.COMMANDS[words[1]][0].removesuffix(".__main__")
                rest = words[2:]
            else:
                continue
            if rest and "..." not in rest:
                commands.append((module, rest))
    return commands


def understand(module, words, monkeypatch):
    """Lets a command read its arguments, and goes no further."""

    def stop(*args, **kwargs):
        raise Understood

    for name in ("keep_freed_memory", "print_list", "print_summary"):
        if hasattr(module, name):  # the first that it does with what it was told
            monkeypatch.setattr(module, name, stop)
    if hasattr(module, "parse_args"):
        try:
            module.parse_args(words)
        except Understood:
            pass
        return
    before = set(flags.FLAGS)
    try:
        with pytest.raises(Understood):
            module.main(words)
        if module in (main, tune):
            config = flags.FLAGS.config
            for key in ("root", "brackets", "photographs"):
                config.data[key] = ""  # DIR is not there
            validate(config)
    finally:
        flags.FLAGS.remove_flag_values(set(flags.FLAGS) - before)


@pytest.mark.parametrize("page", [name for name in PAGES if commands_of(PAGES[name])])
def test_commands_are_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for module, words in commands_of(PAGES[page]):
        understand(MODULES[module], words, monkeypatch)


def test_the_commands_are_found():
    readme = commands_of(ROOT / "README.md")
    assert ("lowlight_jax.main", ["--config=configs/dual.py"]) in readme
    assert {"main", "enhance", "evaluate", "reproduce"} <= {
        module.removeprefix("lowlight_jax.") for module, _ in readme
    }
    photos = commands_of(ROOT / "docs" / "photos.md")
    assert ["--model", "lime"] in [words[3:5] for _, words in photos]
    (smoke,) = commands_of(ROOT / "configs" / "smoke.py")
    assert smoke == ("lowlight_jax.main", ["--config=configs/smoke.py"])


@pytest.mark.parametrize("name", ["README.md", "docs/photos.md"])
def test_python_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dark = np.full((48, 64, 3), 30, np.uint8)
    write_photo("night.jpg", Photo(dark))
    blocks = fenced(PAGES[name].read_text(), "python")
    names = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    assert names["repaired"].shape == dark.shape
    assert names["repaired"].dtype == np.uint8
    if name == "README.md":
        assert read_photo("night_enhanced.png").pixels.mean() > 60
        assert names["grainy"].mean() > 40
    else:
        assert names["half"].shape == dark.shape
        assert read_photo("lime.tif").pixels.mean() > 40
        assert names["outcome"].saved == [Path("enhanced/night.png")]
        np.testing.assert_array_equal(
            read_photo("enhanced/night.png").pixels,
            lowlight_jax.enhance(names["dark"], model="dual"),
        )


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1000  # as wc -w counts


def test_the_readme_says_how_to_test():
    shell = "\n".join(fenced((ROOT / "README.md").read_text(), ""))
    assert "pip install -e '.[test]' && python -m pytest\n" in shell


def headings(path):
    """Anchors of a page, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", [str(p.relative_to(ROOT)) for p in MARKDOWN])
def test_links_lead_somewhere(page):
    prose = FENCED.sub("", PAGES[page].read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (PAGES[page].parent / file) if file else PAGES[page]
        assert path.exists(), target
        assert not anchor or anchor in headings(path), target


@pytest.mark.parametrize("page", PAGES)
def test_files_keys_and_extras_that_are_named_exist(page):
    text = PAGES[page].read_text()
    for file in re.findall(
        r"\b((?:configs|benchmarks|docs|launch|tests)/[\w/]+\.\w+)", text
    ):
        assert (ROOT / file).exists() or file == "tests/test_x.py", file
    for file in re.findall(r"`(lowlight_jax/[\w/.]+)`", text):
        assert (ROOT / file).exists(), file
    known = keys_of(recipes.command_config()) | keys_of(base_config())
    for name in MODELS:
        known |= {f"model.{field}" for field in model_config(name)}
    assert set(re.findall(r"--config\.([a-z]\w*(?:\.[a-z]\w*)*)", text)) <= known
    for extra in re.findall(r"'\.\[(\w+)\]'", text):
        assert extra in EXTRAS


def keys_of(config, before=""):
    """Its keys, and those of its sections, as behind --config."""
    keys = set()
    for name, value in config.items():
        keys.add(before + name)
        if hasattr(value, "items"):
            keys |= keys_of(value, f"{before}{name}.")
    return keys
