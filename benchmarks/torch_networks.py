"""The networks `dual` and `dual_global` in PyTorch, as one would write them there.

For `benchmarks/network.py`: the same layers and names as in `lowlight_jax.models`,
where they are explained, so that `load_weights` finds its way. Images are `[b, 3, h,
w]`; each network returns its predictions: enhanced coarse and fine, denoised coarse and
fine.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MAX_GAIN = 32.0
DARK = 1 / 255


def conv(c_in: int, c_out: int, stride: int = 1, k: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, k, stride, k // 2)


def transposed(c_in: int, c_out: int, stride: int = 2) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(c_in, c_out, 3, stride, 1, stride - 1)


def with_relus(layers: dict[str, nn.Module]) -> nn.Sequential:
    """Layers by name; a ReLU after every one but the last."""
    modules = nn.Sequential()
    for i, (name, layer) in enumerate(layers.items()):
        modules.add_module(name, layer)
        if i < len(layers) - 1:
            modules.add_module(f"{name}_relu", nn.ReLU(inplace=True))
    return modules


class Dual(nn.Module):
    # Layers whose input channels are gathered, or output channels spread, in blocks.
    gathers: dict[str, int] = {}
    spreads: dict[str, int] = {}

    def __init__(self):
        super().__init__()

        def illumination(first):
            rest = {
                "conv_quarter": conv(32, 64, 2),
                "up_half": transposed(64, 32),
                "up_full": transposed(32, 3),
            }
            return with_relus(first | rest)

        self.enhancement = nn.ModuleDict(
            {
                "coarse": illumination(
                    {"conv_full": conv(3, 16), "conv_half": conv(16, 32, 2)}
                ),
                "fine": illumination({"conv_half": conv(6, 32, 2)}),
            }
        )
        noise = with_relus(
            {
                "conv_full": conv(3, 16),
                "conv_half": conv(16, 32, 2),
                "mix": conv(32, 32, k=1),
                "up_full": transposed(32, 16),
                "noise": transposed(16, 3, 1),
            }
        )
        self.denoising = nn.ModuleDict({"coarse": noise})

    def forward(self, low):
        def enhance(x):
            return low * torch.exp(math.log(MAX_GAIN) * torch.sigmoid(x))

        noise = self.denoising["coarse"]
        coarse = enhance(self.enhancement["coarse"](low))
        enhanced = enhance(self.enhancement["fine"](torch.cat([low, coarse], 1)))
        once = enhanced - noise(enhanced)
        return coarse, enhanced, once, once - noise(once)


class ToneCurve(nn.Module):
    quantiles, knots = 8, 6
    lowest, highest = -2.0, 3.0

    def __init__(self):
        super().__init__()
        self.hidden = conv(3 * self.quantiles + 1, 64, k=1)
        self.heights = conv(64, 3 * self.knots, k=1)

    def forward(self, low, thumbnail):
        b = len(low)
        light = torch.log(F.avg_pool2d(thumbnail, 4).clamp(min=0) + DARK)
        mean = light.mean((1, 2, 3), keepdim=True)
        light = light.flatten(2).sort(2).values.reshape(b, 3, self.quantiles, -1)
        quantiles = light.mean(3).transpose(1, 2).reshape(b, -1, 1, 1)
        x = torch.cat([quantiles - mean, mean + 3.0], 1)
        heights = self.heights(F.relu(self.hidden(x))).reshape(b, self.knots, 3, 1, 1)
        value = torch.log(low.clamp(min=0) + DARK) - mean
        spacing = (self.highest - self.lowest) / (self.knots - 1)
        position = ((value - self.lowest) / spacing).clamp(0, self.knots - 1)
        curve = sum(
            F.relu(1.0 - (position - i).abs()) * heights[:, i]
            for i in range(self.knots)
        )
        return curve - mean - 1.0


class GlobalEnhancement(nn.Module):
    def __init__(self):
        super().__init__()
        self.coarse = ToneCurve()
        self.fine = with_relus(
            {
                "quarter": conv(6, 32),
                "mix": conv(32, 32, k=1),
                "up_half": transposed(32, 16),
                "up_full": transposed(16, 3),
            }
        )

    def forward(self, low, thumbnail):
        width = math.log(MAX_GAIN)

        def bounded(log_gain):
            return width * torch.sigmoid(4.0 / width * (log_gain - width / 2))

        log_gain = self.coarse(low, thumbnail)
        coarse_log_gain = bounded(log_gain)
        coarse = low * torch.exp(coarse_log_gain)
        correction = self.fine(F.avg_pool2d(torch.cat([coarse, coarse_log_gain], 1), 4))
        log_gain = bounded(log_gain + correction)
        return coarse, low * torch.exp(log_gain), log_gain.mean(1, keepdim=True)


class GlobalDenoising(nn.Module):
    def __init__(self):
        super().__init__()
        self.at_half = conv(16, 24)  # `half` is PyTorch's own
        self.to_quarter = conv(24, 32, 2)
        self.quarter = conv(32, 32)
        self.to_eighth = conv(32, 36, 2)
        self.eighth = conv(36, 36)
        self.up_quarter = transposed(36, 32)
        self.merge_quarter = conv(32, 32)
        self.coarse_noise = conv(32, 96, k=1)
        self.up_half = transposed(32, 24)
        self.show_half = conv(12, 24, k=1)
        self.merge_half = conv(24, 24)
        self.refine = conv(24, 24)
        self.refine_end = conv(24, 24)
        self.noise = conv(24, 36, k=1)

    def forward(self, noisy, log_gain):
        *fine_bands, coarse_band = bands(noisy)
        half = F.relu(
            self.at_half(F.pixel_unshuffle(torch.cat([noisy, log_gain], 1), 2))
        )
        quarter = F.relu(self.quarter(F.relu(self.to_quarter(half))))
        x = F.relu(self.eighth(F.relu(self.to_eighth(quarter))))
        x = F.relu(self.merge_quarter(F.relu(self.up_quarter(x)) + quarter))
        rest, share = F.pixel_shuffle(self.coarse_noise(x), 4).chunk(2, 1)
        coarse_noise = rest + torch.sigmoid(share) * coarse_band
        coarse = noisy - coarse_noise
        x = F.relu(self.up_half(x)) + half
        x = F.relu(self.merge_half(x + self.show_half(F.pixel_unshuffle(coarse, 2))))
        x = x + self.refine_end(F.relu(self.refine(x)))
        rest, *shares = F.pixel_shuffle(self.noise(x), 2).chunk(3, 1)
        fine_noise = rest + sum(
            torch.sigmoid(share) * band
            for share, band in zip(shares, fine_bands, strict=True)
        )
        return coarse, coarse - fine_noise


def bands(image):
    """What binomial filters take away, finest first; borders as in `dual_global`."""
    found = []
    for step in 1, 2, 4:
        smooth = image
        for axis, ends, starts in (
            (2, (0, 0, 0, step), (0, 0, step, 0)),
            (3, (0, step), (step, 0)),
        ):
            size = smooth.shape[axis] - step
            rise = smooth.narrow(axis, step, size) - smooth.narrow(axis, 0, size)
            smooth = smooth + (F.pad(rise, ends) - F.pad(rise, starts)) / 4
        found.append(image - smooth)
        image = smooth
    return found


class DualGlobal(nn.Module):
    gathers = {"denoising.at_half": 2, "denoising.show_half": 2}
    spreads = {"denoising.coarse_noise": 4, "denoising.noise": 2}

    def __init__(self):
        super().__init__()
        self.enhancement = GlobalEnhancement()
        self.denoising = GlobalDenoising()

    def forward(self, low, thumbnail):
        coarse, enhanced, log_gain = self.enhancement(low, thumbnail)
        return coarse, enhanced, *self.denoising(enhanced, log_gain)


NETWORKS = {"dual": Dual, "dual_global": DualGlobal}


def load_network(name: str, weights: str) -> nn.Module:
    """The network, channels_last, with parameters of ours from an .npz file."""
    network = NETWORKS[name]()
    state = {}
    for path, value in np.load(weights).items():
        layer, kind = path.replace("/half/", "/at_half/").rsplit("/", 1)
        layer = layer.replace("/", ".")
        if kind == "kernel":
            # [k, k, in, out]; of transposed layers [k, k, out, in], where theirs begin
            # at the end too.
            value = value.transpose(3, 2, 0, 1)
        if kind == "kernel" and layer in network.gathers:
            value = _block_last(value, 1, network.gathers[layer])
        if layer in network.spreads:
            value = _block_last(value, 0, network.spreads[layer])
        name = f"{layer}.{'weight' if kind == 'kernel' else 'bias'}"
        state[name] = torch.from_numpy(value.copy())
    network.load_state_dict(state)
    return network.to(memory_format=torch.channels_last)


def _block_last(value: np.ndarray, axis: int, side: int) -> np.ndarray:
    """Channels from (place in the block, channel), ours, to PyTorch's (channel, place).

    PyTorch: `pixel_shuffle` and `pixel_unshuffle`.
    """
    before, after = value.shape[:axis], value.shape[axis + 1 :]
    parts = value.reshape(*before, side**2, -1, *after)
    return parts.swapaxes(axis, axis + 1).reshape(value.shape)
