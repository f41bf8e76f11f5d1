"""The package as a whole: it imports, fast, and every command answers --help."""

import pkgutil
import subprocess
import sys

import pytest

import lowlight_jax

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(lowlight_jax.__path__, "lowlight_jax.")
    if not module.name.endswith("__main__")
)
COMMANDS = (
    *("main", "tune", "enhance", "evaluate", "summary", "jpeg_sweep"),
    "reproduce",
    "models.mirnet_import",
)


def python(*args):
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=120
    )


def test_every_module_imports():
    for name in MODULES:
        __import__(name)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    result = python(
        "-m",
        f"lowlight_jax.{command}",
        "--helpshort" if command in ("main", "tune", "reproduce") else "--help",
    )
    assert "lowlight_jax" in result.stdout
    assert "Traceback" not in result.stderr
    assert "RuntimeWarning" not in result.stderr


def test_nothing_heavy_is_imported_at_first():
    heavy = "jax", "flax", "orbax", "tensorflow_datasets", "grain", "skimage", "cv2"
    code = f"import sys, lowlight_jax; print([m for m in {heavy} if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def test_tensorflow_is_never_imported():
    code = (
        "import sys, lowlight_jax.training.loop, lowlight_jax.data.records;"
        "print('tensorflow' in sys.modules)"
    )
    assert python("-c", code).stdout.strip() == "False"


def test_the_library_leaves_jaxs_settings_alone():
    code = (
        "import jax, numpy, lowlight_jax.enhance, lowlight_jax.metrics;"
        "print(jax.config.jax_compilation_cache_dir, jax.config.jax_enable_x64)"
    )
    assert python("-c", code).stdout.strip() == "None False"
