"""MIRNet against its authors' code and against Keras; the import of Keras's weights.

Tests of the import run as far as TensorFlow (with tf_keras, which still writes what
Keras 2 wrote) and huggingface_hub are installed: pip install tensorflow tf_keras
huggingface_hub. No published weights are used here: none can be had without a network.
"""

import errno
import hashlib
import json
import sys
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hub_server import REVISION, run_python, serving

from lowlight_jax.convert import mirnet as mirnet_import
from lowlight_jax.convert.mirnet import ImportFailed, convert, main
from lowlight_jax.models.layer_table import layer_rows
from lowlight_jax.models.mirnet import MIRNet
from lowlight_jax.weights import load_weights

GOLDENS = Path(__file__).parent / "goldens"
KERAS_GOLDEN = GOLDENS / "mirnet_keras.npz"
SMALL = {"groups": 1, "blocks": 1, "channels": 8}
VARIANTS = [False, True]  # keras_graph
REPO = "someone/mirnet"


def shapes(network):
    image = jnp.zeros((1, 12, 20, 3))
    params = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {name: flat[name].shape for name in sorted(flat)}


def random_params(network, bias, slope=0.3):
    """Values that depend on NumPy's generator and the parameters' sorted names only."""
    rng = np.random.default_rng(0)

    def values(name, shape):
        if name.endswith("bias"):
            return bias * rng.uniform(0, 1, shape)
        if name.endswith("negative_slope"):
            return np.full(shape, slope)
        return rng.normal(0, np.sqrt(0.5 / np.prod(shape[:3])), shape)

    flat = {
        name: values(name, shape).astype(np.float32)
        for name, shape in shapes(network).items()
    }
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def fast_jit(function):
    """Compiled in half the time, since it runs only once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def outputs(network, params, image):
    return np.asarray(fast_jit(network.apply)({"params": params}, image).pred)


def assert_all_matter(network, params, image):
    """Every array of parameters has a gradient worth the name."""

    @fast_jit
    @jax.grad
    def gradient(params):
        return network.apply({"params": params}, image).pred.sum()

    for path, leaf in jax.tree.leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-4, path


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).uniform(0, 1, (2, 12, 20, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "keras_graph, convolutions, parameters",
    [
        (True, 506, 36_351_613),  # the Keras example's own counts
        # The authors' 31,787,419; biases; and PReLU slopes: 28 in each block, where the
        # authors have 25, and one for all attention units.
        (False, 455, 31_787_419 + 57_013 + 6 * 3 - 1),
    ],
)
def test_size(keras_graph, convolutions, parameters):
    network = MIRNet(keras_graph=keras_graph)
    of_each = shapes(network)
    assert sum("kernel" in name for name in of_each) == convolutions
    assert sum(map(int, map(np.prod, of_each.values()))) == parameters


def test_keras_graph_calls_each_layer_once():
    rows = layer_rows(MIRNet(keras_graph=True), 8, 8)
    assert len(rows) == len({row.name for row in rows}) == 506


@pytest.mark.parametrize("keras_graph", VARIANTS)
def test_any_multiple_of_the_stride_and_bfloat16(keras_graph, image):
    exact = MIRNet(**SMALL, keras_graph=keras_graph)
    rough = MIRNet(**SMALL, keras_graph=keras_graph, dtype=jnp.bfloat16)
    params = random_params(exact, bias=0.1)
    pred, rough_pred = (outputs(network, params, image) for network in (exact, rough))
    assert pred.shape == image.shape
    assert pred.dtype == rough_pred.dtype == np.float32
    error = np.abs(pred - rough_pred)
    assert 0 < error.mean() < 0.03 * np.abs(pred - image).mean()


@pytest.mark.parametrize("keras_graph", VARIANTS)
def test_smallest_image(keras_graph):
    network = MIRNet(**SMALL, keras_graph=keras_graph)
    black = jnp.zeros((1, 4, 4, 3))
    pred = outputs(network, random_params(network, bias=0.1), black)
    assert np.isfinite(pred).all()


def test_other_sizes_say_what_to_do():
    with pytest.raises(ValueError, match="multiples of 4, not \\(1, 18, 16, 3\\)"):
        MIRNet().init(jax.random.key(0), jnp.zeros((1, 18, 16, 3)))


def test_channels_that_cannot_be_squeezed():
    with pytest.raises(ValueError, match="channels is 12; expected a multiple of 8"):
        MIRNet(channels=12).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


def test_every_parameter_gets_a_gradient(image):
    network = MIRNet(**SMALL)
    assert_all_matter(network, random_params(network, bias=0.5), image)


def test_authors_code_gives_the_same():
    """Golden by networks/MIRNet_model.py of github.com/swz30/MIRNet at 26e0be1.

    Made with n_feat=8, n_RRG=2, n_MSRB=2 in PyTorch 2.13 from the weights below, with
    its concatenation [spatial, channel] and ours [channel, spatial] taken into account.
    It may change only with `random_params`.
    """
    golden = np.load(GOLDENS / "mirnet_authors.npz")
    network = MIRNet(groups=2, blocks=2, channels=8)
    pred = outputs(network, random_params(network, bias=0.0), golden["low"])
    np.testing.assert_allclose(pred, golden["pred"], atol=1e-5)


def keras_golden():
    with np.load(KERAS_GOLDEN) as file:
        golden = dict(file)
    return golden, golden.pop("low"), golden.pop("pred")


@pytest.fixture(scope="module")
def variables():
    return keras_golden()[0]


def test_keras_gives_the_same(variables):
    """Golden by `save_keras_golden`, below, with tf_keras 2.21."""
    _, low, pred = keras_golden()
    params, fields = convert(variables)
    assert fields == SMALL | {"keras_graph": True, "dtype": "float32"}
    np.testing.assert_allclose(outputs(MIRNet(**fields), params, low), pred, atol=1e-5)


def test_every_variable_matters_in_the_golden(variables):
    """Else two layers could be exchanged unseen."""
    params, fields = convert(variables)
    assert_all_matter(MIRNet(**fields), params, keras_golden()[1])


def without(variables, *names):
    return {name: array for name, array in variables.items() if name not in names}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: without(v, "conv2d_2/bias"), "'conv2d_2/bias' is missing"),
        (
            lambda v: without(v, "conv2d_2/bias", "conv2d_2/kernel"),
            "86 convolutions are no MIRNet",
        ),
        (lambda v: v | {"dense/kernel": np.zeros(3)}, "'dense/kernel' is left over"),
        (
            lambda v: v | {f"conv2d_999/{k}": v[f"conv2d/{k}"] for k in _KINDS},
            "88 convolutions are no MIRNet",
        ),
        (
            lambda v: v | {"conv2d_1/kernel": np.zeros((1, 1, 8, 8))},
            r"'conv2d_1/kernel' has the shape \(1, 1, 8, 8\); expected \(3, 3, 8, 8\)",
        ),
        (lambda v: {}, "0 convolutions are no MIRNet"),
    ],
)
def test_other_variables_are_refused(variables, change, message):
    with pytest.raises(ImportFailed, match=message):
        convert(change(variables))


_KINDS = ("kernel", "bias")


@pytest.fixture
def model_folder(tmp_path, variables, monkeypatch):
    """A folder that TensorFlow is said to read the golden network from."""
    folder = tmp_path / "model"
    write_files(folder, {name: b"" for name in mirnet_import.FILES})
    (folder / "README.md").write_text("---\ntags:\n- x\nlicense: mit\n---\n# Model\n")
    monkeypatch.setattr(mirnet_import, "read_variables", lambda source: variables)
    monkeypatch.setattr(mirnet_import, "check", lambda *args: 0.0)
    return folder


def write_files(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_command_writes_weights_that_load(tmp_path, model_folder, capsys, variables):
    output = tmp_path / "w.safetensors"
    assert main(["--source", str(model_folder), "--output", str(output)]) == 0
    assert "1 groups, 1 blocks, 8 channels" in capsys.readouterr().out
    network, params = load_weights(output)
    jax.tree.map(np.testing.assert_array_equal, params, convert(variables)[0])
    assert network == MIRNet(**SMALL, keras_graph=True, dtype="float32")
    about = safetensors_header(output)
    assert about["licence"] == "mit"
    assert about["sha256"] == hashlib.sha256(b"").hexdigest()


def safetensors_header(path):
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata()


def test_what_computes_otherwise_is_refused(variables, monkeypatch):
    monkeypatch.setattr(mirnet_import, "keras_output", lambda source, image: image)
    with pytest.raises(ImportFailed, match="the result differs from what model comp"):
        mirnet_import.check("model", *convert(variables))


def test_full_disk_is_said(tmp_path, model_folder, capsys, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    output = tmp_path / "w.safetensors"
    assert main(["--source", str(model_folder), "--output", str(output)]) == 1
    assert_one_sentence(capsys.readouterr().err, "No space left on device")
    assert not output.exists()


def assert_one_sentence(stderr, message):
    assert stderr.startswith("error: "), stderr
    assert message in stderr
    assert stderr.count("\n") == 1, stderr


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--output", "w.safetensors"], "one of the arguments --repo --source"),
        (
            ["--repo", REPO, "--output", "w.safetensors"],
            "--revision is missing: expected the full hash",
        ),
        (
            ["--repo", REPO, "--revision", "main", "--output", "w.safetensors"],
            "--revision main: expected the full hash",
        ),
        (
            ["--source", ".", "--offline", "--output", "w.safetensors"],
            "--revision and --offline go with --repo",
        ),
        (["--source", ".", "--output", "w.npz"], "ending in .safetensors"),
    ],
)
def test_wrong_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(argv)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("files", [[], ["saved_model.pb"]])
def test_a_folder_of_something_else(tmp_path, files, capsys):
    write_files(tmp_path / "model", {name: b"" for name in files})
    argv = [
        "--source",
        str(tmp_path / "model"),
        "--output",
        str(tmp_path / "w.safetensors"),
    ]
    assert main(argv) == 1
    assert_one_sentence(capsys.readouterr().err, "is not a SavedModel: it has no")


def test_without_tensorflow(tmp_path, capsys, monkeypatch):
    mirnet_import._tensorflow.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    write_files(tmp_path, {name: b"" for name in mirnet_import.FILES})
    argv = ["--source", str(tmp_path), "--output", str(tmp_path / "w.safetensors")]
    assert main(argv) == 1
    assert_one_sentence(capsys.readouterr().err, "pip install 'lowlight_jax[convert]'")


def test_without_huggingface_hub(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    output = str(tmp_path / "w.safetensors")
    assert main(["--repo", REPO, "--revision", REVISION, "--output", output]) == 1
    assert_one_sentence(capsys.readouterr().err, "pip install 'lowlight_jax[convert]'")


# --- the hub's protocol, on loopback


@pytest.fixture
def hub():
    pytest.importorskip("huggingface_hub")
    large = np.random.default_rng(0).bytes(12_000_000)  # over the hub's unit of 10 MB
    files = {name: name.encode() for name in mirnet_import.FILES}
    files |= {mirnet_import.DATA: large, "README.md": b"# Model\n"}
    with serving(files, repo=REPO, large=mirnet_import.DATA) as server:
        yield server


def download(cache, endpoint, *, repo=REPO, revision=REVISION, offline=False):
    """`mirnet_import.download`: the folder or, as an ImportFailed, its sentence."""
    code = (
        "from lowlight_jax.convert.mirnet import ImportFailed, download\n"
        f"try: print(download({repo!r}, {revision!r}, offline={offline}))\n"
        "except ImportFailed as error: print('ImportFailed:', error)"
    )
    result = run_python("-c", code, hub_cache=cache, endpoint=endpoint)
    assert result.returncode == 0, result.stderr
    outcome = result.stdout.strip()
    if outcome.startswith("ImportFailed: "):
        raise ImportFailed(outcome)
    return Path(outcome)


def test_download_then_offline(hub, tmp_path):
    folder = download(tmp_path, hub.endpoint)
    for name, content in hub.files.items():
        assert (folder / name).read_bytes() == content, name
    assert folder.name == REVISION
    hub.files.clear()
    assert download(tmp_path, hub.endpoint) == folder
    assert download(tmp_path, hub.endpoint, offline=True) == folder


def test_a_broken_transfer_is_taken_up_again(hub, tmp_path):
    hub.break_after = 11_000_000
    folder = download(tmp_path, hub.endpoint)
    data = mirnet_import.DATA
    assert (folder / data).read_bytes() == hub.files[data]
    ranges = [
        wanted for path, wanted in hub.requests if path == f"/cdn/{REVISION}/{data}"
    ]
    assert ranges[0] is None
    assert ranges[-1].startswith("bytes=10")


def test_a_wrong_checksum_is_refused_and_the_file_removed(hub, tmp_path):
    hub.claimed = "f" * 64
    says = f"has the checksum {hub.sha256}, but the hub says {hub.claimed}"
    with pytest.raises(ImportFailed, match=says):
        download(tmp_path, hub.endpoint)
    hub.claimed = None
    download(tmp_path, hub.endpoint)


def test_a_file_that_rots_in_the_cache_is_found(hub, tmp_path):
    index = download(tmp_path, hub.endpoint) / "variables/variables.index"
    index.resolve().write_bytes(b"something else")
    with pytest.raises(ImportFailed, match="variables.index has the checksum"):
        download(tmp_path, hub.endpoint, offline=True)


def test_offline_with_an_empty_cache(hub, tmp_path):
    result = run_python(
        *("-m", "lowlight_jax.convert.mirnet", "--offline"),
        *("--output", str(tmp_path / "w.safetensors")),
        *("--repo", REPO, "--revision", REVISION),
        hub_cache=tmp_path,
        endpoint=hub.endpoint,
    )
    assert result.returncode == 1
    assert_one_sentence(result.stderr, "is not in the local cache; run without")
    assert not hub.requests


@pytest.mark.parametrize(
    "wrong", [{"repo": "someone/else"}, {"revision": "f" * 40}, {"repo": "no repo"}]
)
def test_what_the_hub_does_not_have(hub, tmp_path, wrong):
    with pytest.raises(ImportFailed, match="cannot be downloaded: .*[a-z]"):
        download(tmp_path, hub.endpoint, **wrong)


def test_a_repository_of_something_else(hub, tmp_path):
    del hub.files["saved_model.pb"]
    with pytest.raises(ImportFailed, match="saved_model.pb of .* cannot be downloaded"):
        download(tmp_path, hub.endpoint)


@pytest.mark.slow  # the hub's library tries for 25 seconds
def test_unreachable_hub(tmp_path):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(ImportFailed, match="the hub cannot be reached"):
        download(tmp_path, "http://127.0.0.1:9")


# --- the same network in Keras


def keras_mirnet(groups, blocks, channels, last=(1, 3, 3)):
    """The Keras example's network, built in its order; `last`: its last fusion."""
    keras = pytest.importorskip("tf_keras", reason="needs TensorFlow and tf_keras")
    import tensorflow as tf

    layers = keras.layers
    keras.backend.clear_session()

    def conv(x, features, kernel_px, activation=None):
        return layers.Conv2D(
            features, kernel_px, padding="same", activation=activation
        )(x)

    def pooled(x):
        return tf.reshape(layers.GlobalAveragePooling2D()(x), (-1, 1, 1, x.shape[-1]))

    def fusion(*branches):
        c = branches[0].shape[-1]
        x = conv(pooled(layers.Add()(branches)), c // 8, 1, "relu")
        weights = [conv(x, c, 1, "softmax") for _ in branches]
        weighted = [x * w for x, w in zip(branches, weights, strict=True)]
        return layers.Add()(weighted)

    def attention(x):
        c = x.shape[-1]
        y = conv(conv(x, c, 3, "relu"), c, 3)
        channel = conv(conv(pooled(y), c // 8, 1, "relu"), c, 1, "sigmoid")
        greatest = tf.expand_dims(tf.reduce_max(y, axis=-1), axis=-1)
        mean = tf.expand_dims(tf.reduce_mean(y, axis=-1), axis=-1)
        place = tf.nn.sigmoid(conv(layers.Concatenate()([greatest, mean]), 1, 1))
        both = layers.Concatenate()([y * channel, y * place])
        return layers.Add()([x, conv(both, c, 1)])

    def resized(x, resize, features):
        c = x.shape[-1]
        y = conv(resize()(conv(conv(x, c, 1, "relu"), c, 3, "relu")), features, 1)
        return layers.Add()([conv(resize()(x), features, 1), y])

    def down(x):
        return resized(x, layers.MaxPooling2D, x.shape[-1] * 2)

    def up(x):
        return resized(x, layers.UpSampling2D, x.shape[-1] // 2)

    def block(x):
        x2 = down(x)
        x3 = down(x2)
        a1, a2, a3 = attention(x), attention(x2), attention(x3)
        f1 = fusion(a1, up(a2), up(up(a3)))
        f2 = fusion(down(a1), a2, up(a3))
        f3 = fusion(down(down(a1)), down(a2), a3)
        scales = {1: attention(f1), 2: up(attention(f2)), 3: up(up(attention(f3)))}
        y = conv(fusion(*(scales[scale] for scale in last)), x.shape[-1], 3)
        return layers.Add()([x, y])

    image = keras.Input([None, None, 3])
    x = conv(image, channels, 3)
    for _ in range(groups):
        y = conv(x, channels, 3)
        for _ in range(blocks):
            y = block(y)
        x = layers.Add()([conv(y, channels, 3), x])
    return keras.Model(image, layers.Add()([image, conv(x, 3, 3)]))


def randomize(model):
    """Kernels and biases that keep the features' size, exact in float16.

    With this seed no ReLU of one channel is closed; see `assert_all_matter`.
    """
    rng = np.random.default_rng(11)
    for variable in model.trainable_variables:
        if len(variable.shape) == 1:
            values = rng.uniform(-0.2, 0.4, variable.shape)
        else:
            fan_in = np.prod(variable.shape[:3])
            values = rng.normal(0, np.sqrt(1 / fan_in), variable.shape)
        variable.assign(values.astype(np.float16).astype(np.float32))


def by_name(model):
    return {
        variable.name.removesuffix(":0"): variable.numpy()
        for variable in model.trainable_variables
    }


def golden_image():
    return np.random.default_rng(1).uniform(0, 1, (1, 12, 20, 3)).astype(np.float32)


def save_keras_golden():
    """Run by hand, from the repository, where `keras_mirnet` has changed:

    python -c "from tests.test_mirnet import save_keras_golden; save_keras_golden()"
    """
    model = keras_mirnet(**SMALL)
    randomize(model)
    low = golden_image()
    variables = {name: v.astype(np.float16) for name, v in by_name(model).items()}
    np.savez_compressed(KERAS_GOLDEN, low=low, pred=model(low).numpy(), **variables)


def test_keras_golden_is_keras():
    model = keras_mirnet(**SMALL)
    golden, low, pred = keras_golden()
    for variable in model.trainable_variables:
        variable.assign(golden[variable.name.removesuffix(":0")].astype(np.float32))
    np.testing.assert_allclose(model(low).numpy(), pred, atol=1e-5)


def test_keras_example_has_506_convolutions():
    model = keras_mirnet(3, 2, 64)
    convolutions = [layer for layer in model.layers if layer.count_params()]
    assert len(convolutions) == 506
    assert model.count_params() == 36_351_613


def save_trained(model, folder, optimizer):
    """After one step, so that the optimizer has slots."""
    model.compile(optimizer, "mse")
    image = golden_image()
    model.fit(image, image, verbose=0)
    model.save(folder, save_format="tf")
    return model


@pytest.mark.parametrize("kind, groups, blocks", [("legacy", 1, 2), ("new", 2, 1)])
def test_import_of_a_keras_model(tmp_path, kind, groups, blocks):
    """`legacy` is what Keras had when the published weights were made."""
    model = keras_mirnet(groups, blocks, 8)
    randomize(model)
    import tf_keras as keras

    optimizers = keras.optimizers.legacy if kind == "legacy" else keras.optimizers
    save_trained(model, tmp_path / "model", optimizers.Adam(1e-3))
    output = tmp_path / "w.safetensors"
    result = run_python(
        *("-m", "lowlight_jax.convert.mirnet"),
        *("--source", str(tmp_path / "model"), "--output", str(output)),
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    network, params = load_weights(output)
    assert (network.groups, network.blocks) == (groups, blocks)
    low = golden_image()
    expected = model(low).numpy()
    np.testing.assert_allclose(outputs(network, params, low), expected, atol=1e-5)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A network of the same layers, wired otherwise."""
    model = keras_mirnet(**SMALL, last=(3, 1, 1))
    randomize(model)
    folder = tmp_path_factory.mktemp("other") / "model"
    return save_trained(model, folder, "adam") and folder


def test_another_graph_of_the_same_shapes_is_refused(other_model, tmp_path, capsys):
    output = tmp_path / "w.safetensors"
    assert main(["--source", str(other_model), "--output", str(output)]) == 1
    assert_one_sentence(capsys.readouterr().err, "the result differs from what")
    assert not output.exists()


def test_a_damaged_checkpoint(other_model, tmp_path, capsys):
    files = {name: (other_model / name).read_bytes() for name in mirnet_import.FILES}
    for name in ("variables/variables.index", mirnet_import.DATA):
        broken = files | {name: files[name][: len(files[name]) // 2]}
        write_files(tmp_path, broken)
        argv = ["--source", str(tmp_path), "--output", str(tmp_path / "w.safetensors")]
        assert main(argv) == 1
        assert_one_sentence(capsys.readouterr().err, "no checkpoint that TensorFlow")


def test_import_from_the_hub(hub, tmp_path):
    model = keras_mirnet(**SMALL)
    randomize(model)
    save_trained(model, tmp_path / "model", "adam")
    hub.files = {
        name: (tmp_path / "model" / name).read_bytes() for name in mirnet_import.FILES
    }
    output = tmp_path / "w.safetensors"
    command = (
        *("-m", "lowlight_jax.convert.mirnet", "--output", str(output)),
        *("--repo", REPO, "--revision", REVISION),
    )
    result = run_python(*command, hub_cache=tmp_path / "hub", endpoint=hub.endpoint)
    assert result.returncode == 0, result.stderr
    header = safetensors_header(output)
    assert header["source"] == REPO
    assert header["revision"] == REVISION
    assert header["sha256"] == hub.sha256
    assert json.loads(header["model"])["keras_graph"] is True
