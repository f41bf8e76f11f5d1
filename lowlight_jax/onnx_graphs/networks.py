"""Each network of `lowlight_jax.models` again, as operations of an ONNX graph.

The functions follow the networks line by line, NCHW instead of NHWC, and take their
parameters as they are. What a mistake here would break, `file.parity` measures before
anything is written.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lowlight_jax.models import dual_global, dual_grid
from lowlight_jax.models.cnn import CNN
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.models.dual_global import DualGlobalNetwork
from lowlight_jax.models.dual_grid import DualGridNetwork
from lowlight_jax.models.inpaint import InpaintNetwork
from lowlight_jax.onnx_graphs.builder import Graph, Value
from lowlight_jax.tasks import brightening
from lowlight_jax.tasks.brightening import LIGHT
from lowlight_jax.tasks.task import Network

Params = Mapping[str, Any]
_DARK = 1 / 255


class Inputs(NamedTuple):
    """What the graph of a network gets, values of float32.

    Attributes:
      image: `[1, 3, h, w]` in [0, 1].
      mask: `[1, 1, h, w]`, 1 in holes, for inpainting.
      thumbnail: `[1, 3, 128, 128]`, for networks that see one.
      place: `[4]`, see `types.Places`, for networks that see it.
      controls: `[]` each, by name, of all of `Network.controls`.
    """

    image: Value
    mask: Value | None
    thumbnail: Value | None
    place: Value | None
    controls: Mapping[str, Value]


class Enhanced(NamedTuple):
    """`types.Enhanced`, as far as it is needed further on.

    Attributes:
      pred: `[1, 3, h, w]`.
      log_gain: -log(illumination), of the same shape; None: what comes next does not
        ask for it.
    """

    pred: Value
    log_gain: Value | None = None


def predict(g: Graph, network: Network, params: Params, given: Inputs) -> Value:
    """`network.task.predict`, not clipped.

    Raises:
      ValueError: there is no graph for this network.
    """
    if isinstance(network, InpaintNetwork):
        return _repaired(g, network, params, given)
    enhance, denoise = _modules(network)
    enhanced = enhance(g, network, params, given)
    if "denoise" not in network.controls:
        return _in_light(g, enhanced, given.controls).pred
    pred, log_gain = _in_light(g, enhanced, given.controls)
    amount = given.controls["denoise"]

    def denoised(g: Graph) -> list[Value]:
        noise = denoise(g, network, params["denoising"], pred, log_gain)
        return [g.sub(pred, g.mul(amount, noise))]

    is_on = g.op("Greater", amount, 0.0)
    (result,) = g.choose(is_on, denoised, lambda g: [pred])
    return result


def has_graph(network: Network) -> bool:
    """Whether `predict` knows this network."""
    return isinstance(network, InpaintNetwork) or type(network) in _MODULES


def _modules(network: Network) -> tuple[Callable, Callable | None]:
    if type(network) not in _MODULES:
        names = [kind.__name__ for kind in (*_MODULES, InpaintNetwork)]
        raise ValueError(
            f"there is no ONNX graph for {type(network).__name__}; expected one of "
            f"{', '.join(names)}, or the format stablehlo, which takes any network"
        )
    return _MODULES[type(network)]


# The user's light: tasks.brightening.predict, ops.light.


def _in_light(g: Graph, enhanced: Enhanced, controls: Mapping[str, Value]) -> Enhanced:
    """As bright as the user likes, and how far that has amplified noise."""
    is_off = [
        g.op("Equal", controls[name], float(control.off))
        for name, control in LIGHT.items()
    ]
    none_on = g.op("And", *is_off)

    def changed(g: Graph) -> list[Value]:
        clipped = g.clip(enhanced.pred, 0.0, 1.0)
        amount = g.sub(g.mul(controls["shadows"], 2.0), 1.0)
        pred = _open_shadows(g, clipped, amount)
        pred = _change_exposure(g, pred, controls["exposure"])
        if enhanced.log_gain is None:
            return [pred]
        gain = g.div(g.add(pred, brightening._DARK), g.add(clipped, brightening._DARK))
        log_gain = g.add(enhanced.log_gain, g.op("Log", gain))
        return [pred, g.clip(log_gain, 0.0, math.log(1e3))]

    given = [value for value in enhanced if value is not None]
    return Enhanced(*g.choose(none_on, lambda g: given, changed))


def _open_shadows(g: Graph, values: Value, amount: Value) -> Value:
    dark = g.sub(1.0, values)
    power = g.mul(g.mul(dark, dark), amount)
    return g.mul(values, g.op("Pow", 2.0, power))


def _change_exposure(g: Graph, values: Value, stops: Value) -> Value:
    light = _srgb_to_linear(g, values)
    gain = g.op("Pow", 2.0, stops)
    total = g.add(g.mul(light, g.sub(gain, 1.0)), 1.0)
    total = g.op("Max", total, g.op("Min", gain, 1.0))
    return _linear_to_srgb(g, g.div(g.mul(light, gain), total))


def _srgb_to_linear(g: Graph, values: Value) -> Value:
    power = g.op("Pow", g.div(g.add(values, 0.055), 1.055), 2.4)
    is_power = g.op("Greater", values, 0.04045)
    return g.op("Where", is_power, power, g.div(values, 12.92))


def _linear_to_srgb(g: Graph, light: Value) -> Value:
    power = g.sub(g.mul(g.op("Pow", light, 1 / 2.4), 1.055), 0.055)
    is_power = g.op("Greater", light, 0.0031308)
    return g.op("Where", is_power, power, g.mul(light, 12.92))


# models.cnn


def _cnn(g: Graph, network: CNN, params: Params, given: Inputs) -> Enhanced:
    x = given.image
    for i in range(network.layers - 1):
        x = g.conv(x, params[f"conv_{i}"], relu=True)
    return Enhanced(g.conv(x, params["image"]))


# models.dual


def _dual_enhance(
    g: Graph, network: DualNetwork, params: Params, given: Inputs
) -> Enhanced:
    params, low = params["enhancement"], given.image

    def gain(x: Value, layers: Params) -> Value:
        """1 / illumination, `dual.IlluminationStage`."""
        if "conv_full" in layers:
            x = g.conv(x, layers["conv_full"], relu=True)
        x = g.conv(x, layers["conv_half"], stride=2, relu=True)
        x = g.conv(x, layers["conv_quarter"], stride=2, relu=True)
        x = g.conv_transposed(x, layers["up_half"], relu=True)
        x = g.op("Sigmoid", g.conv_transposed(x, layers["up_full"]))
        return g.op("Exp", g.mul(x, math.log(network.max_gain)))

    coarse_pred = g.mul(low, gain(low, params["coarse"]))
    if network.fine_layers == 0:
        return Enhanced(coarse_pred)
    return Enhanced(g.mul(low, gain(g.concat(low, coarse_pred), params["fine"])))


def _dual_denoise(
    g: Graph, network: DualNetwork, params: Params, noisy: Value, _: None
) -> Value:
    def noise(x: Value, layers: Params) -> Value:
        x = g.conv(x, layers["conv_full"], relu=True)
        x = g.conv(x, layers["conv_half"], stride=2, relu=True)
        x = g.conv(x, layers["mix"], relu=True)
        x = g.conv_transposed(x, layers["up_full"], relu=True)
        return g.conv_transposed(x, layers["noise"], stride=1)

    coarse = noise(noisy, params["coarse"])
    fine = params["coarse" if network.share_stages else "fine"]
    return g.add(coarse, noise(g.sub(noisy, coarse), fine))


# models.dual_global


def _global_enhance(
    g: Graph,
    network: DualGlobalNetwork,
    params: Params,
    given: Inputs,
    *,
    coarse: Callable,
    min_gain: float,
) -> Enhanced:
    """`dual_global.GlobalEnhancement`; `coarse` gives log gain and log toe, or None."""
    params, low, thumbnail = params["enhancement"], given.image, given.thumbnail
    if not network.uses_thumbnail:
        side = dual_global.THUMBNAIL_PX
        thumbnail = g.constant(np.full((1, 3, side, side), 0.05, np.float32))
    lowest, highest = math.log(min_gain), math.log(network.max_gain)
    middle, width = (lowest + highest) / 2, highest - lowest

    def bounded(log_gain: Value, log_toe: Value | None) -> Value:
        """0.5 + 0.5 tanh(x / 2) is the sigmoid."""
        x = g.op("Sigmoid", g.mul(g.sub(log_gain, middle), 4 / width))
        x = g.add(g.mul(x, width), lowest)
        return x if log_toe is None else g.add(x, log_toe)

    log_gain, log_toe = coarse(g, params["coarse"], low, thumbnail, given.place)
    coarse_log_gain = bounded(log_gain, log_toe)
    coarse_pred = g.mul(low, g.op("Exp", coarse_log_gain))
    correction = _local_correction(g, params["fine"], coarse_pred, coarse_log_gain)
    log_gain = bounded(g.add(log_gain, correction), log_toe)
    return Enhanced(g.mul(low, g.op("Exp", log_gain)), log_gain)


def _local_correction(
    g: Graph, params: Params, coarse_pred: Value, coarse_log_gain: Value
) -> Value:
    x = _pooled(g, "AveragePool", g.concat(coarse_pred, coarse_log_gain), 4)
    x = g.conv(x, params["quarter"], relu=True)
    x = g.conv(x, params["mix"], relu=True)
    x = g.conv_transposed(x, params["up_half"], relu=True)
    return g.conv_transposed(x, params["up_full"])


def _pooled(g: Graph, kind: str, x: Value, side: int) -> Value:
    return g.op(kind, x, kernel_shape=(side, side), strides=(side, side))


def _log_dark(g: Graph, light: Value) -> Value:
    return g.op("Log", g.add(g.at_least(light, 0.0), _DARK))


def _sorted(g: Graph, x: Value, count: int) -> Value:
    """All `count` values along axis 1, the smallest first."""
    values, _ = g.op(
        "TopK", x, g.integers(count), outputs=2, axis=1, largest=0, sorted=1
    )
    return values


def _curve(g: Graph, position: Value, heights: Value, knots: int) -> Value:
    """What a polyline is at `position`, one for each channel.

    A line from its first height, with a change of slope at each knot, instead of a sum
    of hats: fewer passes over the image.

    Args:
      position: `[1, 3, h, w]`, in knots, 0 to knots - 1.
      heights: `[1, knots * 3, h, w]` or `[1, knots * 3, 1, 1]`, from `_bends`.
    """
    hinges = knots - 1
    copies = [np.zeros((3, 3)), *hinges * [np.eye(3)]]
    starts = np.append(np.ones(3), -np.repeat(np.arange(hinges), 3))
    copying = {"kernel": np.concatenate(copies, axis=1)[None, None], "bias": starts}
    beyond = g.conv(position, copying, relu=True)
    terms = g.mul(beyond, heights)
    adding = {"kernel": np.tile(np.eye(3), (knots, 1))[None, None], "bias": np.zeros(3)}
    return g.conv(terms, adding)


def _bends(layer: Mapping[str, Any], knots: int) -> dict[str, np.ndarray]:
    """The layer that gives heights of knots, so that it gives what `_curve` takes.

    The first height, the first slope, then each change of slope.
    """
    bends = np.zeros((knots, knots))
    bends[0, 0] = 1
    for i in range(1, knots):
        bends[i, i - 1 : i + 1] = -1, 1
        if i > 1:
            bends[i, i - 2 : i] -= -1, 1
    mix = np.kron(bends.T, np.eye(3))
    return {
        "kernel": np.asarray(layer["kernel"], np.float64) @ mix,
        "bias": np.asarray(layer["bias"], np.float64) @ mix,
    }


def _tone_curve(
    g: Graph, params: Params, low: Value, thumbnail: Value, place: None
) -> tuple[Value, None]:
    """`dual_global.ToneCurve`."""
    del place
    light = _log_dark(g, _pooled(g, "AveragePool", thumbnail, dual_global._TILE_PX))
    count = (dual_global.THUMBNAIL_PX // dual_global._TILE_PX) ** 2
    mean = g.mean(light, 1, 2, 3)
    values = _sorted(g, g.reshape(light, 3, count), count)
    parts = g.reshape(values, 3, dual_global._QUANTILES, -1)
    quantiles = g.sub(g.transpose(g.mean(parts, 2), 2, 1, 0), mean)
    x = g.concat(g.reshape(quantiles, 1, -1, 1, 1), g.add(mean, 3.0))
    x = g.conv(x, params["hidden"], relu=True)
    heights = g.conv(x, _bends(params["heights"], dual_global._KNOTS))
    position = _knot_position(g, low, mean, dual_global)
    curve = _curve(g, position, heights, dual_global._KNOTS)
    return g.sub(curve, g.add(mean, 1.0)), None


def _knot_position(g: Graph, low: Value, mean: Value, sizes: Any) -> Value:
    """Where a pixel's value lies on the curves; sizes are those of a module."""
    spacing = (sizes._HIGHEST - sizes._LOWEST) / (sizes._KNOTS - 1)
    value = g.sub(_log_dark(g, low), g.add(mean, sizes._LOWEST))
    return g.clip(g.div(value, spacing), 0.0, sizes._KNOTS - 1.0)


def _global_denoise(
    g: Graph, network: DualGlobalNetwork, params: Params, noisy: Value, log_gain: Value
) -> Value:
    """`dual_global.GlobalDenoising`."""
    del network

    def conv(x: Value, name: str, **options) -> Value:
        return g.conv(x, params[name], **options)

    def per_pixel(x: Value, count: int, side: int, name: str) -> list[Value]:
        x = g.spread(conv(x, name), side)
        return g.op("Split", x, outputs=count, axis=1)

    def noise_of(bands: list[Value], rest: Value, *shares: Value) -> Value:
        for share, band in zip(shares, bands, strict=True):
            rest = g.add(rest, g.mul(g.op("Sigmoid", share), band))
        return rest

    *fine_bands, coarse_band = _bands(g, noisy)
    half = g.gather(g.concat(noisy, g.mean(log_gain, 1)), 2)
    half = conv(half, "half", relu=True)
    quarter = conv(half, "to_quarter", stride=2, relu=True)
    quarter = conv(quarter, "quarter", relu=True)
    x = conv(quarter, "to_eighth", stride=2, relu=True)
    x = conv(x, "eighth", relu=True)
    x = g.add(g.conv_transposed(x, params["up_quarter"], relu=True), quarter)
    x = conv(x, "merge_quarter", relu=True)
    coarse_noise = noise_of([coarse_band], *per_pixel(x, 2, 4, "coarse_noise"))
    coarse_pred = g.sub(noisy, coarse_noise)
    x = g.add(g.conv_transposed(x, params["up_half"], relu=True), half)
    x = g.add(x, conv(g.gather(coarse_pred, 2), "show_half"))
    x = conv(x, "merge_half", relu=True)
    x = g.add(x, conv(conv(x, "refine", relu=True), "refine_end"))
    noise = noise_of(fine_bands, *per_pixel(x, 3, 2, "noise"))
    return g.add(coarse_noise, noise)


def _bands(g: Graph, image: Value) -> list[Value]:
    binomial = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
    kernel = g.constant(np.tile(binomial, (3, 1, 1, 1)))
    bands = []
    for step in dual_global._BAND_STEPS:
        padded = image
        for axis in (2, 3):  # beyond the border, a sample's neighbour is itself
            first = g.slice(padded, axis, 0, step)
            last = g.slice(padded, axis, -step, 2**31)
            padded = g.concat(first, padded, last, axis=axis)
        smooth = g.op("Conv", padded, kernel, group=3, dilations=(step, step))
        bands.append(g.sub(image, smooth))
        image = smooth
    return bands


# models.dual_grid


def _curve_grid(
    g: Graph, params: Params, low: Value, thumbnail: Value, place: Value
) -> tuple[Value, Value]:
    """`dual_grid.CurveGrid`."""
    side = dual_global.THUMBNAIL_PX // dual_grid._TILE_PX
    tile_means = _pooled(g, "AveragePool", thumbnail, dual_grid._TILE_PX)
    tile_maxima = _pooled(g, "MaxPool", thumbnail, dual_grid._TILE_PX)
    means, maxima = _log_dark(g, tile_means), _log_dark(g, tile_maxima)
    mean = g.mean(means, 1, 2, 3)
    level = g.add(mean, 3.0)
    means, maxima = g.sub(means, mean), g.sub(maxima, mean)
    values = _sorted(g, g.reshape(means, 3, side**2), side**2)
    quantiles = g.mean(g.reshape(values, 3, dual_grid._QUANTILES, -1), 2)
    brightest = _sorted(g, g.reshape(maxima, 3, side**2), side**2)
    tops = [g.mean(g.slice(brightest, 1, *ends), 1) for ends in dual_grid._TOP]
    statistics = g.concat(g.reshape(quantiles, 3, -1), *tops)
    statistics = g.reshape(g.transpose(statistics, 1, 0), 1, -1, 1, 1)
    scene = g.conv(g.concat(statistics, level), params["hidden"], relu=True)
    levels = g.op("Expand", level, g.integers(1, 1, side, side))
    x = g.conv(g.concat(means, maxima, levels), params["tiles"], relu=True)
    x = g.conv(x, params["to_half"], stride=2, relu=True)
    x = g.conv(x, params["to_places"], stride=2, relu=True)
    x = g.op("Relu", g.add(x, g.conv(scene, params["show_scene"])))
    x = g.conv(x, params["places"], relu=True)
    knots = dual_grid._KNOTS
    heights = g.add(
        g.conv(scene, _bends(params["heights_scene"], knots)),
        g.conv(x, _bends(params["heights_places"], knots)),
    )
    places = side // 4
    at_rows, at_columns = (
        _between_places(g, place, axis, g.size(low, axis + 2), places)
        for axis in (0, 1)
    )
    heights = g.op("MatMul", heights, g.transpose(at_columns, 1, 0))
    heights = g.op("MatMul", at_rows, heights)
    curve = _curve(g, _knot_position(g, low, mean, dual_grid), heights, knots)
    whites = g.op("ReduceMax", tile_maxima, axes=(1,), keepdims=1)
    whites = _sorted(g, g.reshape(whites, 1, side**2), side**2)
    white = g.slice(whites, 1, side**2 - dual_grid._WHITEST, side**2)
    white = g.reshape(g.mean(white, 1), 1, 1, 1, 1)
    return g.sub(curve, g.add(mean, 1.0)), _log_toe(g, low, white)


def _between_places(
    g: Graph, place: Value, axis: int, size: Value, count: int
) -> Value:
    """`[size, count]`, `dual_grid._between_places`."""
    start, end = (g.slice(place, 0, i, i + 1) for i in (axis, axis + 2))
    length = g.op("Cast", size, to=1)
    pixels = g.op("Range", 0.0, g.op("Squeeze", length), 1.0)
    at = g.div(g.add(pixels, 0.5), length)
    at = g.add(start, g.mul(g.sub(end, start), at))
    at = g.clip(g.sub(g.mul(at, float(count)), 0.5), 0.0, count - 1.0)
    numbers = g.constant(np.arange(count, dtype=np.float32))
    away = g.op("Abs", g.sub(g.reshape(at, -1, 1), numbers))
    return g.op("Relu", g.sub(1.0, away))


def _log_toe(g: Graph, low: Value, white: Value) -> Value:
    white = g.clip(white, 0.0, 1.0)
    cube = g.mul(g.mul(white, white), g.mul(white, dual_grid._BLACK))
    mean = g.mean(low, 1)
    power = g.add(g.mul(mean, mean), 1e-8)
    return g.op("Log", g.div(power, g.add(power, g.mul(cube, cube))))


# models.inpaint


def _repaired(
    g: Graph, network: InpaintNetwork, params: Params, given: Inputs
) -> Value:
    holes = given.mask
    filled = _fill_smoothly(g, given.image, holes, network.fill_levels)

    def block(x: Value, name: str, stride: int = 1) -> Value:
        x = g.conv(x, params[f"{name}a"], stride=stride, relu=True)
        return g.conv(x, params[f"{name}b"], relu=True)

    x = g.concat(g.sub(filled, 0.5), holes)
    depth = sum(name.startswith("down_") for name in params) // 2
    skips = []
    for i in range(depth):
        x = block(x, f"down_{i}", stride=2 if i else 1)
        skips.append(x)
    x = block(x, "deepest_", stride=2)
    for i in reversed(range(depth)):
        x = g.conv_transposed(x, params[f"up_{i}a"], relu=True)
        x = g.conv(g.concat(x, skips[i]), params[f"up_{i}b"], relu=True)
    repaired = g.add(filled, g.conv(x, params["image"]))
    return g.op("Where", g.op("Greater", holes, 0.0), repaired, given.image)


def _fill_smoothly(g: Graph, image: Value, holes: Value, levels: int) -> Value:
    known = g.sub(1.0, holes)
    image = g.mul(image, known)
    pyramid = []
    for _ in range(levels):
        pyramid.append((image, known))
        total = g.mul(_pooled(g, "AveragePool", g.mul(image, known), 2), 4.0)
        weight = g.mul(_pooled(g, "AveragePool", known, 2), 4.0)
        image = g.div(total, g.at_least(weight, 1e-6))
        known = g.op("Min", weight, 1.0)
    scales = g.constant(np.float32([1, 1, 2, 2]))
    for finer, known in reversed(pyramid):
        image = g.op("Resize", image, "", scales, mode="linear")
        coarser = g.mul(g.sub(1.0, known), image)
        image = g.add(g.mul(known, finer), coarser)
    return image


_MODULES = {
    CNN: (_cnn, None),
    DualNetwork: (_dual_enhance, _dual_denoise),
    DualGlobalNetwork: (
        partial(_global_enhance, coarse=_tone_curve, min_gain=1.0),
        _global_denoise,
    ),
    DualGridNetwork: (
        partial(_global_enhance, coarse=_curve_grid, min_gain=dual_grid._MIN_GAIN),
        _global_denoise,
    ),
}
