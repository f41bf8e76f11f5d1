"""The package as a whole: it imports, fast, and every command answers --help."""

import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import lowlight_jax
from lowlight_jax import cli
from lowlight_jax.runtime.command import run_command
from lowlight_jax.runtime.preemption import Preempted

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(lowlight_jax.__path__, "lowlight_jax.")
    if not module.name.endswith("__main__")
)
FORMS = {
    "python -m " + module.removesuffix(".__main__"): f"lowlight {name}"
    for name, (module, _) in cli.COMMANDS.items()
}
# What neither `import lowlight_jax` nor --help waits for, and what only training needs.
HEAVY = {"jax", "flax", "scipy", "skimage", "cv2"}
OF_TRAINING = {
    *("optax", "orbax", "grain", "tensorflow_datasets", "array_record", "tensorflow"),
    *("sklearn", "matplotlib", "optuna", "jinja2", "dm_pix"),
}


def python(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_module_imports():
    for name in MODULES:
        __import__(name)


HELP_OF_ALL = """
import contextlib, io, json, runpy, sys
from absl import flags
import lowlight_jax.cli

def call(function):
    before, out = set(flags.FLAGS), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = function()
        except SystemExit as error:
            code = error.code
    flags.FLAGS.remove_flag_values(set(flags.FLAGS) - before)
    return code, out.getvalue()

shown = {}
for form in FORMS:  # before the others import the modules
    sys.argv = [form, "--help"]
    module = form.split()[-1]
    shown[form] = call(
        lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)
    )
for form in FORMS.values():
    words = [form.split()[-1], "--help"]
    shown[form] = call(lambda: lowlight_jax.cli.main(words))
print(json.dumps([shown, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def help_of_all():
    """Exit code and text of every command's --help, and what they all import."""
    return json.loads(python(f"FORMS = {FORMS}\n{HELP_OF_ALL}"))


@pytest.mark.parametrize("form", FORMS)
def test_help(help_of_all, form):
    code, text = help_of_all[0][form]
    assert code == 0 and text.startswith(f"usage: {form} ")
    assert "Warning" not in text and "Traceback" not in text
    code, same = help_of_all[0][FORMS[form]]
    assert code == 0 and same.startswith(f"usage: {FORMS[form]} ")

    def words(text):  # the shorter name moves the ends of lines
        return text.replace(FORMS[form], form).split()

    assert words(same) == words(text)


def test_help_of_flags_has_them_all(help_of_all):
    for command, flag in (
        ("train", "--config:"),
        ("train", "--workdir:"),
        ("train", "--[no]distributed:"),
        ("tune", "--search:"),
        ("reproduce", "--paper: <dual|cnn>"),
    ):
        for form, name in FORMS.items():
            if name == f"lowlight {command}":
                assert flag in help_of_all[0][form][1]


def test_help_imports_nothing_heavy(help_of_all):
    assert not (HEAVY | OF_TRAINING) & set(help_of_all[1])


STAGES = {
    "package": "import lowlight_jax",
    "enhance": "import numpy; enhancer = lowlight_jax.Enhancer('cnn', backend='jax'); "
    "enhancer(numpy.ones((8, 8, 3)))",
    "train": "import lowlight_jax.training.loop, lowlight_jax.data.records",
}


@pytest.fixture(scope="module")
def after():
    """What is imported after each of STAGES, one after the other in one process."""
    code = "import json, sys; modules = {}\n"
    for stage, statement in STAGES.items():
        code += f"{statement}; modules[{stage!r}] = sorted(sys.modules)\n"
    code += (
        "import jax; modules['settings'] = [jax.config.jax_compilation_cache_dir, "
        "jax.config.jax_enable_x64]\nprint(json.dumps(modules))"
    )
    return json.loads(python(code).splitlines()[-1])


def test_nothing_heavy_is_imported_at_first(after):
    assert not (HEAVY | OF_TRAINING) & set(after["package"])


def test_enhancing_imports_nothing_of_training(after):
    assert "jax" in after["enhance"]
    assert not OF_TRAINING & set(after["enhance"])


def test_tensorflow_is_never_imported(after):
    assert "grain" in after["train"] and "tensorflow" not in after["train"]


def test_the_library_leaves_jaxs_settings_alone(after):
    assert after["settings"] == [None, False]


# What is distributed


def test_every_file_of_the_package_is_distributed():
    setuptools = PROJECT["tool"]["setuptools"]
    package = ROOT / "lowlight_jax"
    files = {
        file
        for file in package.rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    for pattern in setuptools["package-data"]["lowlight_jax"]:
        taken = set(package.glob(pattern))
        assert taken, pattern
        files -= taken
    assert not files
    for file in package.rglob("*.py"):
        assert (file.parent / "__init__.py").exists(), file
    for name in PROJECT["project"]["license-files"]:
        assert (ROOT / name).exists()


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    (version,) = re.findall(r"^version: (.+)$", citation, re.MULTILINE)
    assert version == lowlight_jax.__version__


# The command `lowlight`


def test_it_lists_its_commands(capsys):
    assert cli.main([]) == cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, about) in cli.COMMANDS.items():
        assert len(re.findall(rf"^  {name} +{about}$", out, re.MULTILINE)) == 2


def test_its_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    version = capsys.readouterr().out.strip().removeprefix("lowlight_jax ")
    assert version == lowlight_jax.__version__ == metadata.version("lowlight_jax")


def test_an_unknown_command_is_told_in_one_line(capsys):
    assert cli.main(["enhence", "a.png"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no command 'enhence'; expected one of ")
    assert error.count("\n") == 1


def test_a_command_gets_its_arguments_and_its_name(capsys):
    with pytest.raises(SystemExit) as info:
        cli.main(["enhance", "a.png", "--strength", "2"])
    assert info.value.code == 2
    error = capsys.readouterr().err
    assert "lowlight enhance: error: argument --strength: '2'" in error
    assert cli.main(["evaluate", "--pred", "no"]) == 2  # the code of the command


def test_its_script_is_that_of_the_package():
    name = PROJECT["project"]["scripts"]["lowlight"]
    assert pkgutil.resolve_name(name) is cli.main


# How commands end


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("wrong"), 1, "error: wrong\n"),
        (FileNotFoundError("gone"), 1, "error: gone\n"),
        (ImportError("install it"), 1, "error: install it\n"),
        (KeyboardInterrupt(), 130, "was interrupted\n"),
        (Preempted("stopped"), 75, "stopped\n"),
        (MemoryError(), 1, "error: out of memory; smaller images, crops or"),
        (MemoryError("5 GiB"), 1, "error: out of memory (5 GiB); smaller"),
        (RuntimeError("RESOURCE_EXHAUSTED: a\nb"), 1, "error: out of memory (RESOURCE"),
    ],
)
def test_known_errors_are_one_sentence(error, code, message, capsys):
    def run():
        raise error

    assert run_command(run, interrupted="was interrupted") == code
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1


def test_a_command_has_its_own_code_for_errors():
    assert run_command(lambda: int("a"), interrupted="", failed=2) == 2
    assert run_command(lambda: 7, interrupted="") == 7


def test_a_closed_pipe_ends_a_command_silently():
    reading, writing = os.pipe()
    os.close(reading)
    code = (
        "import sys; from lowlight_jax.runtime.command import run_command\n"
        "sys.exit(run_command(lambda: print('scores') or 0, interrupted=''))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (141, b"")
