"""What commands share: any error is one sentence, outputs are checked first.

Nor does a run depend on a home, a cache, open streams or an encoding.
"""

import errno
import importlib
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

from lowlight_jax import cli
from lowlight_jax.data import records
from lowlight_jax.data.pairs import Pair
from lowlight_jax.reproduce.parts import Part, run_parts
from lowlight_jax.runtime import cache, errors, omissions, outputs
from lowlight_jax.runtime.command import run_command
from lowlight_jax.runtime.command_flags import searched_folders
from lowlight_jax.runtime.devices import check_devices
from lowlight_jax.runtime.preemption import Preempted
from lowlight_jax.runtime.whole_file import write_whole

DISK_FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def raising(error):
    def function(*args, **kwargs):
        raise error

    return function


def python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=60, **options
    )


# Errors


UNEXPECTED = [
    RecursionError("maximum recursion depth exceeded"),
    Image.DecompressionBombError("bomb"),
    OverflowError("too large"),
    zlib.error("Error -5"),
    struct.error("unpack requires 4 bytes"),
    cv2.error("OpenCV(4): bad\nsecond line"),
    SyntaxError("invalid"),
    KeyError("key"),
    AttributeError("no attribute"),
    RuntimeError(),
    AssertionError("ours"),
]


@pytest.mark.parametrize("error", UNEXPECTED, ids=lambda e: type(e).__name__)
def test_an_unexpected_error_is_one_line_and_debug_shows_where(error, capsys):
    def debugged():
        errors.show_tracebacks(True)
        raise error

    assert run_command(raising(error), interrupted="", failed=3) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"error: unexpected {type(error).__name__}")
    assert said.endswith("; --debug shows where\n") and said.count("\n") == 1
    assert run_command(debugged, interrupted="") == 1
    assert "Traceback" in capsys.readouterr().err
    assert run_command(raising(error), interrupted="") == 1
    assert "Traceback" not in capsys.readouterr().err  # it is not kept


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EACCES, "Permission denied", "a.png"), "a.png: Permission den"),
        (DISK_FULL, "No space left on device"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "'utf-8' codec"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "out of memory (RESOUR"),
        (cv2.error("(-4:Insufficient memory) Failed"), "out of memory ((-4:"),
        (ValueError("RESOURCE_EXHAUSTED: No space left on device"), "RESOURCE_EXH"),
        (RuntimeError("at byte 9: No space left on device"), "unexpected RuntimeErr"),
    ],
)
def test_sentences(error, message):
    assert errors.sentence(error).startswith(message)


def test_without_a_current_folder(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert "current folder is gone" in errors.sentence(FileNotFoundError(2, "No"))
    finally:
        os.chdir(tmp_path)


@pytest.mark.parametrize("error", UNEXPECTED[:-1], ids=lambda e: type(e).__name__)
def test_an_error_of_an_item_names_it(error):
    sentence = errors.of_item(error, "a.png")
    assert sentence.startswith(f"a.png: unexpected {type(error).__name__}")
    assert "\n" not in sentence


def test_a_name_is_said_once():
    assert errors.of_item(ValueError("a.png is bad"), "a.png") == "a.png is bad"
    assert errors.of_item(MemoryError(), "a.png") == "a.png does not fit into memory"


@pytest.mark.parametrize("error", [AssertionError(), NameError(), Preempted()])
def test_what_no_item_is_to_blame_for_ends_everything(error):
    with pytest.raises(type(error)):
        errors.of_item(error, "a.png")


# Ctrl-C and streams


INTERRUPTED_IN = """
import gc, signal, sys, time
from lowlight_jax.runtime.command import run_command

def callback(*args):  # as JAX has one; Python drops what it raises
    gc.callbacks.remove(callback)
    signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it behind &

def run():
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(20)
    return 0

sys.exit(run_command(run, interrupted="interrupted"))
"""


def test_ctrl_c_is_not_lost_in_a_callback_of_the_garbage_collector():
    result = python(INTERRUPTED_IN)
    assert (result.returncode, result.stderr) == (130, b"interrupted\n")


def test_ctrl_c_ends_with_its_code_though_it_passed_through_exec(tmp_path):
    code = "from lowlight_jax.runtime.command import run_command\nimport sys\n"
    code += "def run(): exec('raise KeyboardInterrupt')\n"
    (tmp_path / "it.py").write_text(code + "sys.exit(run_command(run, interrupted=''))")
    words = [sys.executable, "-m", "it"]
    assert subprocess.run(words, cwd=tmp_path, timeout=60).returncode == 130


PRINTING = (
    "import sys; from lowlight_jax.runtime.command import run_command\n"
    "sys.exit(run_command(lambda: print('± ↑ \\u00fc \\udcff') or 0, interrupted=''))"
)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("ascii", rb"+- ^ \xfc \udcff"), ("latin-1", b"\xb1 ^ \xfc \\udcff")],
)
def test_a_stream_that_lacks_characters(encoding, printed):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    result = python(PRINTING, env=environment, stdout=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == printed + os.linesep.encode()


def test_closed_streams():
    # A file that is opened must not become standard output.
    code = PRINTING.replace("print(", "open('/dev/null').fileno() > 2 and print(")
    shell = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
    assert subprocess.run(shell, timeout=60).returncode == 0


def test_a_full_disk_behind_standard_output():
    with open("/dev/full", "wb") as full:
        result = python(PRINTING, stdout=full)
    assert result.returncode == 1
    assert result.stderr == b"error: No space left on device\n"


# Outputs


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert outputs.user_path("~/a.png") == Path("/somewhere/a.png")
    with pytest.raises(outputs.PathError, match="no home folder is known"):
        outputs.user_path("~no-such-user/a.png")


def test_folders_that_can_be_written(tmp_path):
    outputs.check_folder(tmp_path / "new" / "deep", "--output")
    outputs.check_file(tmp_path / "new" / "a.JSON", "--output", (".json",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "--output .*a.txt: expected a name ending in .json or .csv"),
        ("folder.json", "folder.json is a folder; expected the name of a file"),
        ("file/a.json", "file/a.json cannot be written .*file is a file"),
        ("file/deep/a.json", "cannot be written .*file is a file"),
        ("no-link/a.json", "cannot be written"),
    ],
)
def test_files_that_cannot_be_written(name, message, tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "no-link").symlink_to("nowhere")
    with pytest.raises(outputs.PathError, match=message):
        outputs.check_file(tmp_path / name, "--output", (".json", ".csv"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_folders_that_the_system_refuses(code, tmp_path, monkeypatch):
    error = OSError(code, os.strerror(code))
    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", raising(error))
    with pytest.raises(outputs.PathError, match=os.strerror(code)):
        outputs.check_folder(tmp_path, "--output")


def test_an_output_lies_outside_its_inputs(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "a.png").touch()
    inputs = [tmp_path / "a.png", tmp_path / "in"]
    outputs.check_outside(tmp_path / "inside", inputs, "--output")
    for name, where in (("in", "is"), ("in/x/y", "lies inside"), ("link/x", "lies in")):
        with pytest.raises(outputs.PathError, match=f"{where}.* input folder"):
            outputs.check_outside(tmp_path / name, inputs, "--output")


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    write_whole(tmp_path / "new" / "a.csv", b"a")
    monkeypatch.setattr(os, "replace", raising(DISK_FULL))
    with pytest.raises(OSError) as info:
        write_whole(tmp_path / "new" / "a.csv", b"b")
    assert (
        errors.sentence(info.value) == f"{tmp_path}/new/a.csv: No space left on device"
    )
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"a"
    assert len(list((tmp_path / "new").iterdir())) == 1


TRAINING = "--config=configs/smoke.py"
PHOTOGRAPHS = "--config.data.photographs"


@pytest.fixture
def call(call_command, monkeypatch, tmp_path):
    """`f(command, *words)`; nothing may be computed, and JAX is not set up."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "file").touch()
    (tmp_path / "photos").mkdir()

    def call(command, *words):
        module = importlib.import_module(cli.COMMANDS[command][0])
        monkeypatch.setattr(
            module, "use_compilation_cache", lambda: None, raising=False
        )
        monkeypatch.chdir(Path(__file__).parents[1])
        return module.main([word.replace("TMP", str(tmp_path)) for word in words])

    return call


WRITING = {
    "enhance": ("TMP/a.png", "--model", "gamma", "--output"),
    "train": (TRAINING, "--workdir"),
    "evaluate": ("--pred", "TMP", "--target", "TMP", "--output"),
    "reproduce": ("--paper=dual", "--output"),
    "tune": (TRAINING, "--study"),
    "jpeg-sweep": ("TMP/a.png", "--output"),
    "convert-mirnet": ("--source", "TMP", "--output"),
}
SUFFIX = {"evaluate": ".json", "convert-mirnet": ".safetensors"}


@pytest.mark.parametrize("command", WRITING)
def test_every_command_checks_first_that_it_can_write(command, call, capsys, tmp_path):
    output = f"TMP/file/out{SUFFIX.get(command, '')}"
    assert call(command, *WRITING[command], output) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f" {tmp_path}/file/out" in said
    assert f"cannot be written ({tmp_path}/file is a file)" in said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", (TRAINING, f"{PHOTOGRAPHS}=TMP/photos", "--workdir=TMP/photos/run")),
        ("reproduce", ("--paper=cnn", f"{PHOTOGRAPHS}=TMP", "--output=TMP/report")),
        ("jpeg-sweep", ("TMP", "--output", "TMP/sweep")),
    ],
)
def test_results_do_not_go_where_photographs_are_searched(command, words, call, capsys):
    assert call(command, *words) in (1, 2)
    said = capsys.readouterr().err
    assert "lies inside the input folder" in said and said.count("\n") == 1


@pytest.mark.parametrize("command", [c for c in WRITING if c != "enhance"])
def test_every_command_needs_a_device(command, call, capsys, monkeypatch):
    monkeypatch.setattr(jax, "devices", raising(AssertionError()))
    output = f"TMP/new/out{SUFFIX.get(command, '')}"
    assert call(command, *WRITING[command], output) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("error: JAX has no device") and said.count("\n") == 1


def test_what_device_was_asked_for(monkeypatch):
    reason = "Unable to initialize backend 'x': no (set JAX_PLATFORMS='' to choose)"
    monkeypatch.setattr(jax, "devices", raising(RuntimeError(reason)))
    with pytest.raises(ValueError) as info:
        check_devices()
    assert str(info.value) == (
        "JAX has no device for JAX_PLATFORMS=cpu (Unable to initialize backend 'x': "
        "no); unset JAX_PLATFORMS to use what there is, or set it to cpu"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:", "c.py, line 1: invalid syntax"),
        ("1 / 0", "c.py, line 1: ZeroDivisionError: division by zero"),
        ("import nothing_like_it", "c.py, line 1: ModuleNotFoundError: No module"),
        ("x = 1", "has no function get_config()"),
        ("def get_config(): return {}", "returned dict; expected a ConfigDict"),
        ("\0", "the config is no Python: source code"),
    ],
)
def test_config_files_that_fail(content, message, call, capsys, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "config_config", raising=False)  # ml_collections'
    (tmp_path / "c.py").write_text(content)
    with pytest.raises(SystemExit) as info:
        call("train", "--config=TMP/c.py")
    assert info.value.code == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_study_that_is_no_study(call, capsys, tmp_path):
    (tmp_path / "s.db").write_text("a letter")
    assert call("tune", TRAINING, "--study=TMP/s.db") == 1
    assert "s.db is no SQLite file" in capsys.readouterr().err


def test_help_in_a_narrow_terminal():
    code = "from lowlight_jax import cli; cli.main(['train', '--help'])"
    result = python(code, env=os.environ | {"COLUMNS": "1"}, stdout=subprocess.PIPE)
    assert result.returncode == 0 and b"--[no]debug" in result.stdout


# Caches


@pytest.fixture
def no_temporary_cache():
    cache._temporary_folder.cache_clear()
    yield
    cache._temporary_folder.cache_clear()


def test_without_a_home(monkeypatch, capsys, no_temporary_cache):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", raising(RuntimeError("no home")))
    folder = cache.default_cache_dir()
    assert folder.is_dir() and folder == cache.default_cache_dir()
    said = capsys.readouterr().err
    assert said.startswith("no home folder is known") and said.count("\n") == 1


def test_a_cache_that_cannot_be_written(tmp_path, capsys, no_temporary_cache):
    (tmp_path / "file").touch()
    assert cache.writable_cache(tmp_path / "new" / "key") == tmp_path / "new" / "key"
    other = cache.writable_cache(tmp_path / "file" / "key")
    assert other.name == "key" and other.parent.is_dir()
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("error", [DISK_FULL, RuntimeError(str(DISK_FULL))])
def test_a_cache_that_becomes_full(error, tmp_path, no_temporary_cache):
    def make(folder):
        if folder.is_relative_to(tmp_path / "cache"):
            raise error
        folder.mkdir()

    assert cache.kept_in(tmp_path / "cache" / "key", make).is_dir()
    with pytest.raises(ValueError, match="another"):
        cache.kept_in(tmp_path / "cache" / "key", raising(ValueError("another")))


def test_records_that_cannot_be_written_leave_nothing(tmp_path):
    def pairs():
        image = np.zeros((8, 8, 3), np.uint8)
        yield Pair("a", "a", image, image)
        raise DISK_FULL

    with pytest.raises(OSError):
        records.write(tmp_path / "key", pairs())
    assert not list(tmp_path.iterdir())


COMPILING = """
import warnings, jax
from pathlib import Path
from lowlight_jax.runtime.cache import use_compilation_cache

use_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

def double(x):
    return 2 * x

def entry():
    jax.clear_caches()
    assert jax.jit(double)(3.0) == 6
    (file,) = Path(jax.config.jax_compilation_cache_dir).glob("jit_double-*-cache")
    return file

file = entry()
size = file.stat().st_size
for damage in (b"", b"damage", file.read_bytes()[:50]):
    file.write_bytes(damage)
    file = entry()
    assert file.stat().st_size > size // 2, "it was not replaced"
"""


def test_a_damaged_compiled_function_is_replaced(tmp_path):
    result = python(COMPILING, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)})
    assert (result.returncode, result.stderr) == (0, b"")


def test_other_warnings_are_shown(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *args: shown.append(args[0]))
    cache._mend_compilation_cache(tmp_path)
    for name in ("jit_run-1-cache", "jit_run-2-cache", "jit_other-1-cache"):
        (tmp_path / name).touch()
    prefix = "persistent compilation cache entry for 'jit_run': OSError"
    for text in (f"Error writing {prefix}", "another"):
        warnings.showwarning(UserWarning(text), UserWarning, "file", 1)
    assert list(map(str, shown)) == ["another"] and len(os.listdir(tmp_path)) == 3
    warnings.showwarning(UserWarning(f"Error reading {prefix}"), UserWarning, "f", 1)
    assert os.listdir(tmp_path) == ["jit_other-1-cache"]


# Items


def test_what_is_left_out_reaches_who_collects_it(capsys):
    with omissions.collecting() as found:
        omissions.report("inside")
    omissions.report("outside")
    assert found == ["inside"] and capsys.readouterr().out == "outside\n"


def test_a_part_that_fails_leaves_the_others(tmp_path, capsys):
    def part(name, make):
        return Part(name, "scoring", tmp_path / name, make)

    def write(name):
        return lambda: (tmp_path / name).write_text("done")

    parts = [
        part("a", write("a")),
        part("b", raising(RuntimeError("it broke"))),
        part("c", write("c")),
    ]
    with pytest.raises(ValueError, match=r"1 of 3 parts failed:\n  b: .*it broke"):
        run_parts(parts, tmp_path)
    assert (tmp_path / "a").exists() and (tmp_path / "c").exists()
    with pytest.raises(Preempted):
        run_parts([part("d", raising(Preempted("stop")))], tmp_path)


def test_folders_that_are_searched():
    from lowlight_jax.config import base_config

    data = base_config().data
    assert searched_folders(data) == []
    data.root, data.photographs = "pairs", "photos"
    assert {"photos", "pairs/low"} <= {str(f) for f in searched_folders(data)}
    assert Path("pairs") not in searched_folders(data)
