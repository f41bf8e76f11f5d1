"""Score methods on pairs of photographs: what is saved is what is scored.

Every method maps a uint8 image to a uint8 image, so results are clipped and rounded
before they are scored, and nothing is rescaled by the truth's mean.

    python -m lowlight_jax.evaluate --data DIR --model dual
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lowlight_jax import metrics
from lowlight_jax.baselines import tone
from lowlight_jax.cache import use_compilation_cache
from lowlight_jax.data.pairs import Pair, load_split
from lowlight_jax.enhance import Enhancer

Method = Callable[[np.ndarray], np.ndarray]

# Column name to (function of (pred, target), digits). Means over images.
MEASURES = {
    "PSNR": (metrics.psnr_rgb, 2),
    "SSIM": (metrics.ssim_rgb, 3),
    "CIEDE2000": (metrics.ciede2000, 2),
    "saturation": (metrics.saturation_ratio, 2),
    "noise": (lambda pred, target: metrics.noise_level(pred), 2),
}
PROTOCOL = (
    "RGB, 8-bit results as saved, no rescaling by the truth; mean over images. "
    "saturation: mean chroma relative to the truth's (1 is right); "
    "noise: estimated standard deviation, 8-bit units"
)


def identity(image: np.ndarray) -> np.ndarray:
    """The image as it is."""
    return image


def network_methods(enhancer: Enhancer) -> dict[str, Method]:
    """The enhancement module alone, and the whole network."""
    return {
        "enhancement only": lambda image: enhancer(image, denoise=False),
        "enhancement + denoising": enhancer,
    }


def classical_methods() -> dict[str, Method]:
    """What costs nothing: the input, a gamma curve, CLAHE."""
    return {"input": identity, "gamma 0.4": tone.gamma, "CLAHE": tone.clahe}


@jax.jit
def _score(pred, target):
    images = (jnp.float32(image)[None] / 255.0 for image in (pred, target))
    pred, target = images
    return {name: measure(pred, target)[0] for name, (measure, _) in MEASURES.items()}


def score_methods(
    methods: Mapping[str, Method], pairs: Sequence[Pair], *, quiet: bool = False
) -> dict[str, dict[str, list[float]]]:
    """Scores of every method on every pair.

    Args:
      methods: by name.
      pairs: uint8 images.
      quiet: without progress bar.
    Returns:
      `{method: {measure: [one value per pair]}}`; also "truth", the noise of the
      normal photographs themselves.
    """
    scores = {
        name: {measure: [] for measure in MEASURES} for name in (*methods, "truth")
    }
    indices = range(len(pairs))
    for i in track(indices, "Scoring", transient=True, disable=quiet):
        pair = pairs[i]
        results = {name: method(pair.low) for name, method in methods.items()}
        results["truth"] = pair.high
        for name, result in results.items():
            for measure, value in _score(result, pair.high).items():
                scores[name][measure].append(float(value))
    return scores


def means(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> dict:
    """`{method: {measure: mean over images}}`."""
    return {
        method: {measure: float(np.mean(v)) for measure, v in by_measure.items()}
        for method, by_measure in scores.items()
    }


def print_table(title: str, scores: Mapping) -> None:
    """A row per method, a column per measure, means over images."""
    table = Table(title=title, caption=PROTOCOL)
    table.add_column("method")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    for method, by_measure in means(scores).items():
        cells = [
            f"{by_measure[measure]:.{digits}f}"
            for measure, (_, digits) in MEASURES.items()
        ]
        table.add_row(method, *cells)
    Console(width=100).print(table)


def write_report(path: Path, pairs: Sequence[Pair], scores: Mapping) -> None:
    """Scores of every image as JSON, with the protocol."""
    names = [pair.name for pair in pairs]
    report = {"protocol": PROTOCOL, "images": names, "scores": scores}
    path.write_text(json.dumps(report, indent=1))


def main(argv: Sequence[str] | None = None) -> int:
    """Scores a network beside the classical methods; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lowlight_jax.evaluate",
        description="Score a network on pairs of photographs.",
    )
    parser.add_argument("--data", required=True, help="folder with low/ and high/")
    parser.add_argument("--model", default="dual", help="weights that ship")
    parser.add_argument("--checkpoint", help="workdir or .safetensors, instead")
    parser.add_argument(
        "--split",
        default="validation",
        choices=("validation", "train", "all", "test"),
        help="which pairs; test is LOL's own eval15 (default: %(default)s)",
    )
    parser.add_argument("--validation-every", type=int, default=8)
    parser.add_argument("--output", help="JSON file for the scores of every image")
    args = parser.parse_args(argv)
    use_compilation_cache()
    try:
        enhancer = Enhancer(args.model, args.checkpoint)
        pairs = load_split(
            args.data, args.split, validation_every=args.validation_every
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    methods = classical_methods() | network_methods(enhancer)
    scores = score_methods(methods, pairs)
    print_table(f"{args.data}, {args.split} ({len(pairs)} pairs)", scores)
    if args.output:
        write_report(Path(args.output), pairs, scores)
    return 0


if __name__ == "__main__":
    sys.exit(main())
