"""States come back bit for bit; what is damaged, changed or full is said so."""

import asyncio
import json
import subprocess
import sys
import textwrap
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from lowlight_jax.training.checkpoint import CheckpointError, Checkpoints
from lowlight_jax.training.optimizer import make_optimizer
from lowlight_jax.training.step import init_train_state

MODEL = {"name": "dual", "fine_layers": 4}


def new_state(step, clip_norm=1.0, size=2000):
    tx = make_optimizer(optax.constant_schedule(1e-3), clip_norm=clip_norm)
    weights = jax.random.normal(jax.random.key(step), (size,))
    state = init_train_state(jax.random.key(7), {"w": weights}, tx)
    return state.replace(step=jnp.int32(step))


@pytest.fixture
def saved(tmp_path):
    """A workdir with checkpoints of steps 1, 2 and 3, of which two are kept."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(new_state(step), {"model": MODEL})
    checkpoints.close()
    return tmp_path


def restore(workdir, model=MODEL, like=None):
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore_latest(like or new_state(0), model)
    finally:
        checkpoints.close()


def assert_same(state, expected):
    assert jax.dtypes.issubdtype(state.key.dtype, jax.dtypes.prng_key)
    jax.tree.map(np.testing.assert_array_equal, *map(_with_key_data, (state, expected)))


def _with_key_data(state):
    return state.replace(key=jax.random.key_data(state.key))


def test_the_newest_comes_back_bit_for_bit(saved):
    assert sorted(p.name for p in (saved / "checkpoints").iterdir()) == ["2", "3"]
    assert_same(restore(saved), new_state(3))


def test_nothing_saved_is_none(tmp_path):
    assert restore(tmp_path) is None


def largest(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def truncate(folder):
    path = largest(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(folder):
    path = largest(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def lose_the_largest_file(folder):
    largest(folder).unlink()


def empty_the_notes(folder):
    next((folder / "about").rglob("*metadata*")).write_text("")


def swap_the_state(folder):
    """Every file is whole, but it is another state than the notes say."""
    path = next((folder / "about").rglob("metadata"))
    about = json.loads(path.read_text())
    about["checksum"] += 1
    path.write_text(json.dumps(about))


DAMAGES = [
    truncate,
    flip_a_bit,
    lose_the_largest_file,
    empty_the_notes,
    swap_the_state,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_said_and_the_one_before_used(saved, capsys, damage):
    damage(saved / "checkpoints" / "3")
    checkpoints = Checkpoints(saved)
    assert_same(checkpoints.restore_latest(new_state(0), MODEL), new_state(2))
    assert "the checkpoint of step 3 is damaged" in capsys.readouterr().out
    assert (saved / "damaged_checkpoints" / "3").is_dir(), "nothing is deleted"
    checkpoints.save(new_state(3), {"model": MODEL})  # training comes there again
    checkpoints.close()
    assert_same(restore(saved), new_state(3))


def test_all_damaged_is_an_error(saved):
    for step in "23":
        truncate(saved / "checkpoints" / step)
    with pytest.raises(CheckpointError, match="all checkpoints in .* were damaged"):
        restore(saved)


def test_a_changed_model_is_an_error_that_names_the_keys(saved):
    with pytest.raises(
        CheckpointError, match="model config .*fine_layers: 4 in the checkpoint, 5 now"
    ):
        restore(saved, MODEL | {"fine_layers": 5})
    assert_same(restore(saved), new_state(3))


def test_a_changed_optimizer_is_an_error_and_no_damage(saved):
    with pytest.raises(CheckpointError, match="training state .*opt_state"):
        restore(
            saved,
            like=init_train_state(
                jax.random.key(7),
                {"w": jnp.zeros(2000)},
                make_optimizer(optax.constant_schedule(1e-3), name="adam"),
            ),
        )
    assert_same(restore(saved), new_state(3))


def test_a_checkpoint_with_an_untyped_key_is_of_an_earlier_version(saved):
    for step in "23":
        path = next((saved / "checkpoints" / step / "about").rglob("metadata"))
        about = json.loads(path.read_text())
        about["layout"]["key"] = "uint32[2]"
        path.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="earlier version.*pass another"):
        restore(saved)
    assert not (saved / "damaged_checkpoints").exists()


def test_an_unfinished_save_is_invisible(saved):
    """What SIGKILL in mid-save leaves: a folder under orbax's temporary name."""
    whole = saved / "checkpoints" / "3"
    whole.rename(whole.with_name("3.orbax-checkpoint-tmp"))
    assert_same(restore(saved), new_state(2))


def test_training_goes_on_and_overwrites_while_a_state_is_saved(tmp_path, monkeypatch):
    """Writing is held up until the next step has used the same buffers."""
    is_overwritten = threading.Event()
    write = ocp.type_handlers.NumpyHandler._open_and_write

    async def hold_then_write(*args):
        assert await asyncio.to_thread(is_overwritten.wait, 60), "save() waits for it"
        await write(*args)

    monkeypatch.setattr(
        ocp.type_handlers.NumpyHandler, "_open_and_write", hold_then_write
    )
    params = jax.tree.map(np.array, new_state(1).params)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(new_state(1).replace(params=params), {"model": MODEL})
        params["w"].fill(0)
        assert not (tmp_path / "checkpoints" / "1").exists()
        is_overwritten.set()
    assert_same(restore(tmp_path), new_state(1))


def test_an_exception_waits_for_the_save_in_progress(tmp_path, monkeypatch):
    write = ocp.type_handlers.NumpyHandler._open_and_write

    async def write_late(*args):
        await asyncio.sleep(0.5)
        await write(*args)

    monkeypatch.setattr(ocp.type_handlers.NumpyHandler, "_open_and_write", write_late)
    with pytest.raises(KeyboardInterrupt), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(new_state(1), {"model": MODEL})
        raise KeyboardInterrupt
    assert (tmp_path / "checkpoints" / "1").is_dir()
    assert_same(restore(tmp_path), new_state(1))


def test_a_full_disk_is_said_and_the_checkpoint_before_kept(saved):
    """A limit on the size of files stands for the full disk."""
    script = f"""
        import resource, sys
        sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
        import test_checkpoint as t
        checkpoints = t.Checkpoints({str(saved)!r})
        big = t.new_state(4, size=1_000_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000_000, 1000_000))
        try:
            with checkpoints:
                checkpoints.save(big, {{"model": t.MODEL}})
        except t.CheckpointError as error:
            print("said:", error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert "said: the checkpoint of step 4 could not be written" in result.stdout
    assert "that of step 3 is kept" in result.stdout, result.stderr
    assert_same(restore(saved), new_state(3))
