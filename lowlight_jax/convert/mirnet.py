"""The command that turns a trained Keras MIRNet into a weights file of this package.

    python -m lowlight_jax.convert.mirnet --output FILE.safetensors \\
        --repo keras-io/lowlight-enhance-mirnet --revision COMMIT
    python -m lowlight_jax.convert.mirnet --output FILE.safetensors --source DIR

It takes a SavedModel of the Keras example "Low-light image enhancement using MIRNet",
with any number of groups, blocks and channels, from the Hugging Face hub or a folder.
TensorFlow reads it; what the optimizer left there is dropped. Keras numbers the
convolutions as they are created ("conv2d", "conv2d_1", ...), and in the same order
`MIRNet` calls them. Since many are alike in shape, the result is compared with what the
SavedModel itself computes, before anything is written.
Exit codes: 0 written, 1 failed, 2 wrong usage, 130 interrupted.
"""

import argparse
import contextlib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lowlight_jax.runtime.command import NOTHING_WRITTEN, add_debug_flag, run_command
from lowlight_jax.runtime.devices import check_devices
from lowlight_jax.runtime.outputs import check_file, user_path

PROG = "python -m lowlight_jax.convert.mirnet"
CHECKPOINT = "variables/variables"
DATA = f"{CHECKPOINT}.data-00000-of-00001"
FILES = ("saved_model.pb", f"{CHECKPOINT}.index", DATA)
CARD = "README.md"
TOLERANCE = 1e-4  # of the greatest output, or of 1: float32 through 200 layers

_BLOCK = 83  # convolutions of a block
_AROUND = 2  # convolutions around the blocks of a group, and around the groups
_LAYER = re.compile(r"conv2d(?:_(\d+))?/(kernel|bias)")
_OF_TRAINING = re.compile(r".*/\.OPTIMIZER_SLOT/|optimizer/|keras_api/|save_counter/")
_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license:[ ]*(\S+)")


class ImportFailed(ValueError):
    """The weights cannot be had or are not what was expected; one plain sentence."""


def download(repo: str, revision: str, *, offline: bool = False) -> Path:
    """The SavedModel of a repository on the hub, in the hub's local cache.

    A connection that breaks is taken up again, and a file that is already there is not
    fetched again.

    Args:
      repo: e.g. "keras-io/lowlight-enhance-mirnet"; HF_ENDPOINT names another hub.
      revision: commit, 40 hexadecimal digits.
      offline: use only what is in the cache.
    Raises:
      ImportFailed: it is not there, or a file does not have the checksum that the hub
        gives for it.
    """
    hub = _huggingface_hub()
    if not sys.stderr.isatty():
        hub.utils.disable_progress_bars()
    paths = {}
    for name in (*FILES, CARD):
        try:
            path = hub.hf_hub_download(
                repo, name, revision=revision, local_files_only=offline
            )
        except hub.errors.EntryNotFoundError as error:
            if name != CARD:
                raise ImportFailed(_why_not(hub, repo, name, error, offline)) from error
        except Exception as error:
            raise ImportFailed(_why_not(hub, repo, name, error, offline)) from error
        else:
            paths[name] = Path(path)
            _check_sum(paths[name], name)
    return paths[FILES[0]].parent


def _why_not(
    hub: ModuleType, repo: str, name: str, error: Exception, offline: bool
) -> str:
    if not isinstance(error, hub.errors.LocalEntryNotFoundError):
        return f"{name} of {repo} cannot be downloaded: {_first_line(error)}"
    if offline:
        return f"{name} of {repo} is not in the local cache; run without --offline once"
    return f"{name} of {repo} cannot be downloaded: the hub cannot be reached"


def _check_sum(path: Path, name: str) -> None:
    """Compares a file of the cache with its name there, the hub's checksum.

    That is the SHA-256 of a large file and git's SHA-1 of a small one.
    """
    if not path.is_symlink():
        raise ImportFailed(
            f"{name} cannot be verified, since the hub's cache has no symbolic links "
            "here; download the repository and name its folder with --source"
        )
    expected = Path(os.readlink(path)).name
    if len(expected) == 64:
        found = _hash(path, hashlib.sha256())
    else:
        found = _hash(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size))
    if found != expected:
        path.resolve().unlink()
        path.unlink()
        raise ImportFailed(
            f"{name} has the checksum {found}, but the hub says {expected}; the file "
            "was removed, run again to download it anew"
        )


def _hash(path: Path, algorithm: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            algorithm.update(chunk)
    return algorithm.hexdigest()


def read_variables(source: Path) -> dict[str, np.ndarray]:
    """The variables of a SavedModel by their names in Keras, e.g. "conv2d_7/kernel".

    The optimizer's and the metrics' are left out.

    Raises:
      ImportFailed: this is not a SavedModel, or two variables have the same name.
    """
    for name in FILES:
        if not (source / name).is_file():
            raise ImportFailed(f"{source} is not a SavedModel: it has no {name}")
    tf = _tensorflow()
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    try:
        reader = tf.train.load_checkpoint(str(source / CHECKPOINT))
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
            reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
        )
        variables = [
            (entry.full_name, reader.get_tensor(entry.checkpoint_key))
            for node in graph.nodes
            for entry in node.attributes
            if not _OF_TRAINING.match(entry.checkpoint_key)
        ]
    except Exception as error:  # whatever TensorFlow and protobuf make of it
        raise ImportFailed(
            f"{source} holds no checkpoint that TensorFlow can read: "
            f"{_first_line(error)}"
        ) from error
    by_name = dict(variables)
    if len(by_name) < len(variables):
        raise ImportFailed(f"{source} holds two variables of the same name")
    return by_name


def convert(variables: Mapping[str, np.ndarray]) -> tuple[Any, dict[str, Any]]:
    """Parameters of `MIRNet` from the variables of the Keras example's network.

    Args:
      variables: by their names in Keras, as from `read_variables`.
    Returns:
      Nested dict of float32 arrays, and the fields of their `MIRNet`.
    Raises:
      ImportFailed: a variable is missing, left over or of another shape.
    """
    import flax.traverse_util  # here and below: --help does not wait for JAX

    from lowlight_jax.models.layer_table import layer_rows
    from lowlight_jax.models.mirnet import STRIDE, MIRNet

    layers: dict[int, dict[str, np.ndarray]] = {}
    for name, array in variables.items():
        match = _LAYER.fullmatch(name)
        if not match:
            raise ImportFailed(
                f"{name!r} is left over; expected the kernels and biases of "
                "convolutions named conv2d, conv2d_1, ..."
            )
        layers.setdefault(int(match[1] or 0), {})[match[2]] = array
    for number, arrays in layers.items():
        for kind in {"kernel", "bias"} - arrays.keys():
            raise ImportFailed(f"'{_name(number)}/{kind}' is missing")
    fields = _fields([layers[number] for number in sorted(layers)])
    side = 2 * STRIDE
    flat = {}
    rows = layer_rows(MIRNet(**fields), side, side)
    for row, number in zip(rows, sorted(layers), strict=True):
        kernel = (row.kernel_px, row.kernel_px, row.inputs, row.outputs)
        for kind, shape in (("kernel", kernel), ("bias", (row.outputs,))):
            array = layers[number][kind]
            if array.shape != shape:
                raise ImportFailed(
                    f"'{_name(number)}/{kind}' has the shape {array.shape}; expected "
                    f"{shape}, to be {row.name}/{kind}"
                )
            flat[f"{row.name}/{kind}"] = np.asarray(array, np.float32)
    return flax.traverse_util.unflatten_dict(flat, sep="/"), fields


def _name(number: int) -> str:
    return f"conv2d_{number}" if number else "conv2d"


def _fields(layers: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Fields of the network that has as many layers: there is one below 83 groups."""
    in_groups = len(layers) - _AROUND
    for groups in range(1, in_groups + 1):
        blocks, rest = divmod(in_groups - groups * _AROUND, groups * _BLOCK)
        if blocks > 0 and rest == 0:
            break
    else:
        raise ImportFailed(
            f"{len(layers)} convolutions are no MIRNet of the Keras example, where 3 "
            "groups of 2 blocks have 506; some are missing or left over"
        )
    return {
        "groups": groups,
        "blocks": blocks,
        "channels": layers[0]["bias"].size,
        "keras_graph": True,
        "dtype": "float32",
    }


def keras_output(source: Path, image: np.ndarray) -> np.ndarray:
    """What the SavedModel itself makes of `[b, h, w, 3]`.

    Raises:
      ImportFailed: TensorFlow cannot run it.
    """
    tf = _tensorflow()
    try:
        infer = tf.saved_model.load(str(source)).signatures["serving_default"]
        (name,) = infer.structured_input_signature[1]
        (pred,) = infer(**{name: tf.constant(image)}).values()
    except Exception as error:
        raise ImportFailed(
            f"TensorFlow cannot run {source}: {_first_line(error)}"
        ) from error
    return pred.numpy()


def check(source: Path, params: Any, fields: Mapping[str, Any]) -> float:
    """Greatest difference between both networks' outputs for one random dark image.

    Raises:
      ImportFailed: it is more than rounding.
    """
    import jax

    from lowlight_jax.models.mirnet import STRIDE, MIRNet

    shape = (1, 8 * STRIDE, 12 * STRIDE, 3)
    image = np.random.default_rng(0).uniform(0, 0.3, shape).astype(np.float32)
    expected = keras_output(source, image)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # float32 throughout
        pred = jax.jit(MIRNet(**fields).apply)({"params": params}, image).pred
    difference = float(np.abs(pred - expected).max())
    if not difference <= TOLERANCE * max(1.0, np.abs(expected).max()):
        raise ImportFailed(
            f"the result differs from what {source} computes by {difference:.1e}, so "
            "its layers are not those of the Keras example; nothing was written"
        )
    return difference


@functools.cache
def _tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _silent_stderr():
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")
    except ImportError as error:
        raise ImportFailed(
            "TensorFlow is needed to read a SavedModel: "
            "pip install 'lowlight_jax[convert]'"
        ) from error
    return tf


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """For what TensorFlow says of the machine, whatever its log level."""
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def _huggingface_hub():
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise ImportFailed(
            "huggingface_hub is needed to download: "
            "pip install 'lowlight_jax[convert]', or give a folder with --source"
        ) from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _licence(source: Path) -> str:
    card = source / CARD
    match = _LICENCE.match(card.read_text("utf-8")) if card.is_file() else None
    return match[1] if match else "not stated"


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Convert a trained Keras MIRNet to a weights file of lowlight_jax.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--repo", help="repository on the Hugging Face hub")
    source.add_argument(
        "--source", type=user_path, metavar="DIR", help="folder of a SavedModel"
    )
    parser.add_argument(
        "--revision",
        metavar="COMMIT",
        help="of --repo, 40 hexadecimal digits: a branch could change",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="take --repo from the local cache, without the network",
    )
    parser.add_argument(
        "--output", required=True, type=user_path, metavar="FILE.safetensors"
    )
    add_debug_flag(parser)
    args = parser.parse_args(argv)
    if args.source and (args.revision or args.offline):
        parser.error("--revision and --offline go with --repo")
    if args.repo and not re.fullmatch("[0-9a-f]{40}", args.revision or ""):
        parser.error(
            f"--revision {args.revision or 'is missing'}: expected the full hash of a "
            "commit, 40 hexadecimal digits"
        )
    if args.output.suffix != ".safetensors":
        parser.error(f"--output {args.output}: expected a name ending in .safetensors")
    return args


def run(args: argparse.Namespace) -> int:
    """Does what was asked and returns the exit code, 0.

    Raises:
      ValueError, OSError: with one plain sentence.
    """
    from lowlight_jax.weights import save_weights

    check_file(args.output, "--output")
    check_devices()
    if args.offline:  # not even telemetry; read when huggingface_hub is imported
        os.environ["HF_HUB_OFFLINE"] = "1"
    if args.repo:
        source = download(args.repo, args.revision, offline=args.offline)
    else:
        source = args.source
    params, fields = convert(read_variables(source))
    difference = check(source, params, fields)
    about = {
        "source": args.repo or source.resolve().name,
        "revision": args.revision or "local folder",
        "sha256": _hash(source / DATA, hashlib.sha256()),
        "licence": _licence(source),
    }
    save_weights(args.output, params, model={"name": "mirnet", **fields}, about=about)
    size = (f"{fields[name]} {name}" for name in ("groups", "blocks", "channels"))
    print(f"written: {args.output}: {', '.join(size)}")
    print(f"greatest difference from the SavedModel's output: {difference:.1e}")
    return 0


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    return run_command(lambda: run(parse_args(argv, prog)), interrupted=NOTHING_WRITTEN)


if __name__ == "__main__":
    sys.exit(main())
