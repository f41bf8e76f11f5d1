"""Each network of `lowlight_jax.models` again, as operations of an ONNX graph.

The functions follow the networks line by line, NCHW instead of NHWC, and take their
parameters as they are; where they part, for speed, results agree to within rounding.
`lowlight_jax.export` compares them before anything is written, and the tests do for the
graphs that ship.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lowlight_jax.models import dual_global, dual_grid, dual_scene, scene
from lowlight_jax.models.cnn import CNN
from lowlight_jax.models.dual import DualNetwork
from lowlight_jax.models.dual_global import DualGlobalNetwork
from lowlight_jax.models.dual_grid import DualGridNetwork
from lowlight_jax.models.dual_scene import DualSceneNetwork
from lowlight_jax.models.inpaint import InpaintNetwork
from lowlight_jax.onnx_graphs.builder import Graph, Layer, Value
from lowlight_jax.tasks import brightening
from lowlight_jax.tasks.brightening import LIGHT
from lowlight_jax.tasks.task import Network

Params = Mapping[str, Any]


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
    pred, log_gain = _in_light(g, enhanced, given.controls)
    if "denoising" not in params:
        return pred
    amount = given.controls["denoise"]

    def denoised(g: Graph) -> list[Value]:
        noise = denoise(g, network, params["denoising"], pred, log_gain)
        return [g.sub(pred, g.mul(amount, noise))]

    is_on = g.op("Greater", amount, 0.0)
    (result,) = g.choose(is_on, denoised, lambda g: [pred])
    return result


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


# models.scene


_TILES = (dual_global.THUMBNAIL_PX // scene.TILE_PX,) * 2  # along the sides


class _Tiles(NamedTuple):
    """`scene.Tiles`, NCHW; `brightest` are the maxima themselves, in [0, 1]."""

    means: Value
    maxima: Value
    mean: Value
    level: Value
    brightest: Value


def _tiles_of(g: Graph, thumbnail: Value) -> _Tiles:
    brightest = _pooled(g, "MaxPool", thumbnail, scene.TILE_PX)
    means = _log_dark(g, _pooled(g, "AveragePool", thumbnail, scene.TILE_PX))
    mean = g.mean(means, 1, 2, 3)
    maxima = g.sub(_log_dark(g, brightest), mean)
    return _Tiles(g.sub(means, mean), maxima, mean, g.add(mean, 3.0), brightest)


def _statistics(g: Graph, tiles: _Tiles) -> Value:
    """`[1, 37, 1, 1]`."""
    count = math.prod(_TILES)
    values = _sorted(g, g.reshape(tiles.means, 3, count), count)
    quantiles = g.mean(g.reshape(values, 3, scene.QUANTILES, -1), 2)
    brightest = _sorted(g, g.reshape(tiles.maxima, 3, count), count)
    tops = [g.mean(g.slice(brightest, 1, *ends), 1) for ends in scene.TOP]
    values = g.concat(g.reshape(quantiles, 3, -1), *tops)
    values = g.reshape(g.transpose(values, 1, 0), 1, -1, 1, 1)
    return g.concat(values, tiles.level)


class _Curve(NamedTuple):
    """Polylines in log(value) relative to a mean, with evenly spaced knots."""

    knots: int

    @property
    def spacing(self) -> float:
        return (scene.HIGHEST - scene.LOWEST) / (self.knots - 1)

    def terms(self, layer: Layer, scale: float) -> dict[str, np.ndarray]:
        """A layer that gives heights of knots, made to give what `at` takes.

        With k knots at x_0 = 0, x_1, ..., a polyline is a line from its first height,
        with a change of slope at each knot but the last: c + s_0 x + sum of
        (s_i - s_(i-1)) max(x, x_i), where the constant makes up for max(x, x_i) being
        x_i and not 0 before its knot. So a knot costs three passes over the image.
        """
        mix = np.zeros((self.knots, self.knots))  # rows: the constant, then slopes
        for i in range(self.knots - 1):
            slope = np.zeros(self.knots)
            slope[i : i + 2] = -1 / self.spacing, 1 / self.spacing
            mix[i + 1] += slope
            if i + 2 < self.knots:
                mix[i + 2] -= slope
        mix[0, 0] = 1
        mix[0] -= np.arange(self.knots - 1) * self.spacing @ mix[1:]
        spread = scale * np.kron(mix.T, np.eye(3))
        return {name: np.asarray(w, np.float64) @ spread for name, w in layer.items()}

    def at(
        self,
        g: Graph,
        log_light: Value,
        mean: Value,
        terms: list[Value],
        everywhere: Callable[[Value], Value] = lambda term: term,
    ) -> Value:
        """What the curves are at log values, `[1, 3, h, w]`.

        Args:
          mean: what log values are relative to.
          terms: `[1, 3, ...]` each, from `terms`.
          everywhere: `[1, 3, ...]` to `[1, 3, h, w]`, or what is broadcast to it.
        """
        x = g.sub(log_light, g.add(mean, scene.LOWEST))
        x = g.clip(x, 0.0, scene.HIGHEST - scene.LOWEST)
        constant, slope, *bends = map(everywhere, terms)
        y = g.add(g.mul(x, slope), constant)
        for i, bend in enumerate(bends, 1):
            y = g.add(y, g.mul(g.at_least(x, i * self.spacing), bend))
        return y


def _split_terms(
    g: Graph, terms: Value, curve: _Curve, constant: Value | float
) -> list[Value]:
    """One value for each knot, with a number added to the first."""
    first, *others = g.op("Split", terms, outputs=curve.knots, axis=1)
    return [g.add(first, constant), *others]


def _over_window(
    g: Graph, place: Value, low: Value, count: int
) -> Callable[[Value], Value]:
    """`scene.over_window`, from so many places along the sides to pixels of `low`."""
    at_rows, at_columns = (
        _between_places(g, place, axis, g.size(low, axis + 2), count) for axis in (0, 1)
    )
    at_columns = g.transpose(at_columns, 1, 0)
    return lambda x: g.op("MatMul", at_rows, g.op("MatMul", x, at_columns))


def _between_places(
    g: Graph, place: Value, axis: int, size: Value, count: int
) -> Value:
    """`[size, count]`, `scene._between_places`."""
    start, end = (g.slice(place, 0, i, i + 1) for i in (axis, axis + 2))
    length = g.op("Cast", size, to=1)
    pixels = g.op("Range", 0.0, g.op("Squeeze", length), 1.0)
    at = g.div(g.add(pixels, 0.5), length)
    at = g.add(start, g.mul(g.sub(end, start), at))
    at = g.clip(g.sub(g.mul(at, float(count)), 0.5), 0.0, count - 1.0)
    numbers = g.constant(np.arange(count, dtype=np.float32))
    away = g.op("Abs", g.sub(g.reshape(at, -1, 1), numbers))
    return g.op("Relu", g.sub(1.0, away))


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
    """`dual_global.GlobalEnhancement`.

    `coarse` gives the log gain, of which `less` is subtracted before it is multiplied
    by `scale`, and the log toe, or None.
    """
    params, low, thumbnail = params["enhancement"], given.image, given.thumbnail
    if not network.uses_thumbnail:
        side = dual_global.THUMBNAIL_PX
        thumbnail = g.constant(np.full((1, 3, side, side), 0.05, np.float32))
    lowest, highest = math.log(min_gain), math.log(network.max_gain)
    middle, width = (lowest + highest) / 2, highest - lowest
    # Bounds are lowest + width * sigmoid(scale * (log gain - middle)); scale and middle
    # are worked into the layers that give the log gain, which saves passes.
    scale = 4 / width
    scaled, log_toe = coarse(
        g, params["coarse"], low, thumbnail, given.place, scale=scale, less=middle
    )
    ends = lowest if log_toe is None else g.add(log_toe, lowest)

    def bounded(scaled: Value) -> Value:
        return g.add(g.mul(g.op("Sigmoid", scaled), width), ends)

    log_gain = bounded(scaled)
    coarse_pred = g.mul(low, g.op("Exp", log_gain))
    correction = _local_correction(g, params["fine"], coarse_pred, log_gain, scale)
    log_gain = bounded(g.add(scaled, correction))
    return Enhanced(g.mul(low, g.op("Exp", log_gain)), log_gain)


def _local_correction(
    g: Graph, params: Params, coarse_pred: Value, coarse_log_gain: Value, scale: float
) -> Value:
    """`dual_global.LocalCorrection`, times `scale`."""
    pooled = [_pooled(g, "AveragePool", x, 4) for x in (coarse_pred, coarse_log_gain)]
    x = g.conv(g.concat(*pooled), params["quarter"], relu=True)
    x = g.conv(x, params["mix"], relu=True)
    x = g.conv_transposed(x, params["up_half"], relu=True)
    return g.conv_transposed(x, _times(scale, params["up_full"]))


def _times(scale: float, layer: Layer) -> dict[str, np.ndarray]:
    """A layer that gives so many times as much."""
    return {name: scale * np.asarray(w) for name, w in layer.items()}


def _pooled(g: Graph, kind: str, x: Value, side: int) -> Value:
    return g.op(kind, x, kernel_shape=(side, side), strides=(side, side))


def _log_dark(g: Graph, light: Value) -> Value:
    return g.op("Log", g.add(light, scene.DARK))


def _channel_mean(g: Graph, x: Value) -> Value:
    """Four times faster than ReduceMean."""
    red, green, blue = g.op("Split", x, outputs=3, axis=1)
    return g.mul(g.add(g.add(red, green), blue), 1 / 3)


def _sorted(g: Graph, x: Value, count: int) -> Value:
    """All `count` values along axis 1, the smallest first."""
    values, _ = g.op(
        "TopK", x, g.integers(count), outputs=2, axis=1, largest=0, sorted=1
    )
    return values


def _tone_curve(
    g: Graph,
    params: Params,
    low: Value,
    thumbnail: Value,
    place: None,
    *,
    scale: float,
    less: float,
) -> tuple[Value, None]:
    """`dual_global.ToneCurve`, as `_global_enhance` wants it."""
    del place
    curve = _Curve(dual_global._KNOTS)
    light = _log_dark(g, _pooled(g, "AveragePool", thumbnail, scene.TILE_PX))
    count = math.prod(_TILES)
    mean = g.mean(light, 1, 2, 3)
    values = _sorted(g, g.reshape(light, 3, count), count)
    parts = g.reshape(values, 3, scene.QUANTILES, -1)
    quantiles = g.sub(g.transpose(g.mean(parts, 2), 2, 1, 0), mean)
    x = g.concat(g.reshape(quantiles, 1, -1, 1, 1), g.add(mean, 3.0))
    x = g.conv(x, params["hidden"], relu=True)
    terms = g.conv(x, curve.terms(params["heights"], scale))
    constant = g.mul(g.add(mean, 1.0 + less), -scale)
    terms = _split_terms(g, terms, curve, constant)
    return curve.at(g, _log_dark(g, low), mean, terms), None


def _global_denoise(
    g: Graph, network: DualGlobalNetwork, params: Params, noisy: Value, log_gain: Value
) -> Value:
    """`dual_global.GlobalDenoising`, all of it on blocks of 2x2 pixels as channels.

    There, and on blocks of blocks, the filters of 3 with wider taps are dense ones, and
    what is beyond the border is the nearest sample; only the noise is spread to pixels.
    """
    del network

    def conv(x: Value, name: str, **options) -> Value:
        return g.conv(x, params[name], **options)

    def noise_of(band: Value, rest: Value, share: Value) -> Value:
        return g.add(rest, g.mul(g.op("Sigmoid", share), band))

    image = g.gather(noisy, 2)
    smooth = g.gather(_smooth(g, noisy, 3), 2)
    smoother = _smooth(g, smooth, 12)
    fine_bands = g.sub(image, smooth), g.sub(smooth, smoother)
    quarters = g.gather(smoother, 2)
    coarse_band = g.sub(quarters, _smooth(g, quarters, 48))

    gain = g.gather(_channel_mean(g, log_gain), 2)
    order = np.arange(16).reshape(4, 4)  # of each pixel three colours, then the gain
    order = np.append(order[:, :3], order[:, 3])
    first = dict(
        params["half"], kernel=np.asarray(params["half"]["kernel"])[:, :, order]
    )
    half = g.conv(g.concat(image, gain), first, relu=True)
    quarter = conv(half, "to_quarter", stride=2, relu=True)
    quarter = conv(quarter, "quarter", relu=True)
    x = conv(quarter, "to_eighth", stride=2, relu=True)
    x = conv(x, "eighth", relu=True)
    x = g.add(g.conv_transposed(x, params["up_quarter"], relu=True), quarter)
    x = conv(x, "merge_quarter", relu=True)
    # 4x4 pixels, two images of 3 colours: pixels in the order of blocks of blocks.
    order = np.arange(96).reshape(2, 2, 2, 2, 2, 3).transpose(4, 0, 2, 1, 3, 5)
    noise = g.conv(x, _reordered(params["coarse_noise"], order))
    noise = noise_of(coarse_band, *g.op("Split", noise, outputs=2, axis=1))
    coarse = g.spread(noise, 2)
    x = g.add(g.conv_transposed(x, params["up_half"], relu=True), half)
    x = g.add(x, conv(g.sub(image, coarse), "show_half"))
    x = conv(x, "merge_half", relu=True)
    x = g.add(x, conv(conv(x, "refine", relu=True), "refine_end"))
    order = np.arange(36).reshape(2, 2, 3, 3).transpose(2, 0, 1, 3)
    x = g.conv(x, _reordered(params["noise"], order))
    noise, *shares = g.op("Split", x, outputs=3, axis=1)
    for band, share in zip(fine_bands, shares, strict=True):
        noise = noise_of(band, noise, share)
    return g.spread(g.add(coarse, noise), 2)


def _reordered(layer: Layer, order: np.ndarray) -> dict[str, np.ndarray]:
    """A layer that gives its channels in another order."""
    return {name: np.asarray(w)[..., order.ravel()] for name, w in layer.items()}


def _smooth(g: Graph, x: Value, channels: int) -> Value:
    """Weights 1 2 1 along both axes; beyond the border is the sample there."""
    binomial = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
    kernel = g.constant(np.tile(binomial, (channels, 1, 1, 1)))
    padded = g.op("Pad", x, g.integers(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
    return g.op("Conv", padded, kernel, group=channels)


# models.dual_grid


def _curve_grid(
    g: Graph,
    params: Params,
    low: Value,
    thumbnail: Value,
    place: Value,
    *,
    scale: float,
    less: float,
) -> tuple[Value, Value]:
    """`dual_grid.CurveGrid`, its log gain as `_global_enhance` wants it."""
    curve = _Curve(dual_grid._KNOTS)
    tiles = _tiles_of(g, thumbnail)
    seen = g.conv(_statistics(g, tiles), params["hidden"], relu=True)
    levels = g.op("Expand", tiles.level, g.integers(1, 1, *_TILES))
    x = g.concat(tiles.means, tiles.maxima, levels)
    x = g.conv(x, params["tiles"], relu=True)
    x = g.conv(x, params["to_half"], stride=2, relu=True)
    x = g.conv(x, params["to_places"], stride=2, relu=True)
    x = g.op("Relu", g.add(x, g.conv(seen, params["show_scene"])))
    x = g.conv(x, params["places"], relu=True)
    terms = g.add(
        g.conv(seen, curve.terms(params["heights_scene"], scale)),
        g.conv(x, curve.terms(params["heights_places"], scale)),
    )
    terms = _split_terms(g, terms, curve, g.mul(g.add(tiles.mean, 1.0 + less), -scale))
    over_window = _over_window(g, place, low, _TILES[0] // 4)
    whites = g.op("ReduceMax", tiles.brightest, axes=(1,), keepdims=1)
    count = math.prod(_TILES)
    whites = _sorted(g, g.reshape(whites, 1, count), count)
    white = g.slice(whites, 1, count - dual_grid._WHITEST, count)
    white = g.reshape(g.mean(white, 1), 1, 1, 1, 1)
    log_gain = curve.at(g, _log_dark(g, low), tiles.mean, terms, over_window)
    return log_gain, _log_toe(g, low, white)


def _log_toe(g: Graph, low: Value, white: Value) -> Value:
    white = g.clip(white, 0.0, 1.0)
    cube = g.mul(g.mul(white, white), g.mul(white, dual_grid._BLACK))
    mean = _channel_mean(g, low)
    power = g.add(g.mul(mean, mean), 1e-8)
    return g.op("Log", g.div(power, g.add(power, g.mul(cube, cube))))


# models.dual_scene


def _scene_light(
    g: Graph,
    params: Params,
    low: Value,
    thumbnail: Value,
    place: Value,
    *,
    scale: float,
    less: float,
) -> tuple[Value, None]:
    """`dual_scene.SceneLight`, as `_global_enhance` wants it."""
    curve = _Curve(dual_scene._KNOTS)
    tiles = _tiles_of(g, thumbnail)
    levels = g.op("Expand", tiles.level, g.integers(1, 1, *_TILES))

    def conv(x: Value, name: str, stride: int = 1) -> Value:
        return g.conv(x, params[name], stride=stride, relu=True)

    def up(x: Value, name: str) -> Value:
        return g.conv_transposed(x, params[name], relu=True)

    x = conv(g.concat(tiles.means, tiles.maxima, levels), "tiles")
    for name in ("to_half", "to_quarter", "to_eighth"):
        x = conv(x, name, stride=2)
    known = conv(g.reshape(g.transpose(x, 0, 2, 3, 1), 1, -1, 1, 1), "memory")
    seen = g.concat(conv(_statistics(g, tiles), "hidden"), known)
    terms = g.conv(seen, curve.terms(params["heights"], 1.0))

    curved = curve.at(g, tiles.means, 0.0, _split_terms(g, terms, curve, -1.0))
    curved = g.op("Exp", g.add(tiles.means, curved))
    curved = g.sub(g.mul(g.op("Min", curved, 2.0), 4.0), 2.0)
    whole = conv(g.concat(curved, tiles.means, levels), "map")
    half = conv(whole, "map_to_half", stride=2)
    x = conv(half, "map_to_quarter", stride=2)
    x = g.add(x, g.conv(seen, params["map_show_scene"]))
    x = g.add(x, conv(x, "map_quarter"))
    x = g.add(up(x, "map_up_half"), half)
    x = g.add(up(x, "map_up_whole"), whole)
    of_tiles = g.conv(conv(x, "map_merge"), _times(scale, params["map_end"]))

    constant = g.mul(g.add(tiles.mean, 1.0 + less), -scale)
    terms = _split_terms(g, g.mul(terms, scale), curve, constant)
    at_curve = curve.at(g, _log_dark(g, low), tiles.mean, terms)
    over_window = _over_window(g, place, low, _TILES[0])
    return g.add(at_curve, over_window(of_tiles)), None


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
    DualSceneNetwork: (
        partial(_global_enhance, coarse=_scene_light, min_gain=1.0),
        _global_denoise,
    ),
    DualGridNetwork: (
        partial(_global_enhance, coarse=_curve_grid, min_gain=dual_grid._MIN_GAIN),
        _global_denoise,
    ),
}
