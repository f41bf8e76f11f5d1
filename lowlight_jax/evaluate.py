"""The command that scores: results in files, or a network on dark photographs.

    python -m lowlight_jax.evaluate --pred DIR --target DIR
    python -m lowlight_jax.evaluate --model dual --low DIR --target DIR
    python -m lowlight_jax.evaluate --model dual --data DIR
    python -m lowlight_jax.evaluate --model dual --data PHOTOS --stops 0,1,2,3,4,5

The third takes a folder of pairs as training does, by default the scenes that training
keeps for validation, and compares the network with classical methods; the last one does
so on normal photographs, which it under-exposes.
Exit codes: 0 all scored, 1 something is missing or was left out, 2 nothing to do.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.runtime.command import NOTHING_WRITTEN, USAGE, run_command

if TYPE_CHECKING:
    import flax.linen as nn

    from lowlight_jax.data.pairs import Pair
    from lowlight_jax.evaluation.scoring import Scores

PROG = "python -m lowlight_jax.evaluate"


def _stops(text: str) -> list[float]:
    try:
        stops = [float(number) for number in text.split(",")]
        if min(stops) >= 0:
            return stops
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}'; expected numbers from 0 up: 0,1,2")


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Score enhanced images, or a network on dark ones.",
        epilog="Files are paired by name, whatever their suffix.",
    )
    parser.add_argument("--pred", type=Path, help="folder of results to score")
    parser.add_argument("--target", type=Path, help="folder of what they should be")
    parser.add_argument("--low", type=Path, help="folder of dark originals")
    parser.add_argument("--data", help="folder of pairs, as for training")
    parser.add_argument("--model", help="weights that ship, e.g. dual")
    parser.add_argument("--checkpoint", help="workdir of a training, or .safetensors")
    parser.add_argument(
        "--split",
        default="validation",
        choices=("validation", "train", "all", "test"),
        help="with --data: which pairs; test is LOL's eval15, or what --test-every "
        "sets apart (default: %(default)s)",
    )
    parser.add_argument(
        "--stops",
        type=_stops,
        metavar="0,1,...",
        help="--data holds normal photographs; under-expose them by each of these",
    )
    parser.add_argument("--test-every", type=int, default=0, help="with --data")
    parser.add_argument("--validation-every", type=int, default=8, help="with --data")
    parser.add_argument("--metrics", help="names, separated by commas")
    parser.add_argument(
        "--gt-mean",
        action="store_true",
        help="adds columns *_gtmean: scores after matching the target's mean",
    )
    parser.add_argument("--per-image", action="store_true", help="a row for each image")
    parser.add_argument("--output", type=Path, help="scores.json or scores.csv")
    args = parser.parse_args(argv)
    network = bool(args.model or args.checkpoint)
    if args.model and args.checkpoint:
        parser.error("--model and --checkpoint: expected one of them")
    if sum(map(bool, (args.pred, args.data, network and args.low))) != 1:
        parser.error(
            "expected --pred DIR, or --model NAME (or --checkpoint) with --low DIR or "
            "--data DIR"
        )
    if args.data and not network:
        args.model = "dual"
    if args.output and args.output.suffix not in (".json", ".csv"):
        parser.error(f"--output {args.output}: expected a name ending in .json or .csv")
    if args.stops and not args.data:
        parser.error("--stops: expected --data DIR with photographs")
    if args.gt_mean and not args.target:
        parser.error(
            "--gt-mean: expected --target DIR, the truth to take the mean from"
        )
    return args


def _load_data(
    args: argparse.Namespace, network: "nn.Module"
) -> "dict[str, list[Pair]]":
    """Pairs by title: of a folder of them, or made of its photographs.

    For networks that repair they get holes; with --stops they are darkened, by each.
    """
    from lowlight_jax.data.pairs import load_split
    from lowlight_jax.data.photographs import (
        EVERYDAY,
        damaged_pairs,
        darkened_pairs,
        load_photographs,
    )
    from lowlight_jax.ops.damage import Damage

    apart = {"validation_every": args.validation_every, "test_every": args.test_every}
    title = args.split  # goes into reports, where paths of this machine do not belong
    if "repair" not in network.phases and not args.stops:
        return {title: load_split(args.data, args.split, **apart)}
    parts = load_photographs(args.data, **apart)
    chosen = parts.values() if args.split == "all" else [parts[args.split]]
    if not any(chosen):
        raise ValueError(f"the {args.split} part of {args.data} is empty")
    if "repair" in network.phases:
        make = {title: lambda part: damaged_pairs(part, Damage())}
    else:
        make = {
            f"{title}, {stops:g} stops under": partial(
                darkened_pairs, exposure=EVERYDAY, stops=[stops]
            )
            for stops in args.stops
        }
    return {
        title: [pair for part in chosen for pair in of_part(part)]
        for title, of_part in make.items()
    }


def _score_data(
    args: argparse.Namespace, network: "nn.Module", params: Any, measures: Sequence[str]
) -> "dict[str, dict[str, Scores]]":
    """Scores by title and method."""
    from lowlight_jax.evaluation.comparison import (
        classical_methods,
        network_methods,
        score_methods,
        truth,
    )

    methods = classical_methods(network) | network_methods(network, params)
    methods["truth"] = truth
    return {
        f"{title}: {len(pairs)} pairs": score_methods(methods, pairs, measures=measures)
        for title, pairs in _load_data(args, network).items()
    }


def _choose_measures(
    args: argparse.Namespace, network: "nn.Module | None"
) -> list[str]:
    from lowlight_jax import metrics
    from lowlight_jax.evaluation import scoring
    from lowlight_jax.evaluation.comparison import compared_measures

    if args.metrics:
        measures = scoring.resolve_measures(filter(None, args.metrics.split(",")))
    elif args.data:
        return list(compared_measures(network))
    else:
        measures = list(scoring.WITH_TARGET if args.target else ())
        measures += scoring.WITHOUT_TARGET
        measures += ["loe"] if args.low else []
    needed = {m: "low" if m == "loe" else "target" for m in measures}
    lacking = [
        f"{measure} needs --{role} DIR"
        for measure, role in needed.items()
        if measure not in metrics.NO_REFERENCE
        and not (args.data or getattr(args, role))
    ]
    if lacking:
        raise ValueError("; ".join(lacking))
    return measures


def evaluate(args: argparse.Namespace) -> int:
    """Does what was asked and returns the exit code."""
    use_compilation_cache()
    from rich.progress import track

    from lowlight_jax import weights
    from lowlight_jax.evaluation import scoring
    from lowlight_jax.evaluation.folders import pair_files, read_items
    from lowlight_jax.evaluation.report import print_scores, write_report
    from lowlight_jax.inference.enhancer import Enhancer

    network = None
    if args.model or args.checkpoint:
        network, params = weights.load_any(args.model or args.checkpoint)
    measures = _choose_measures(args, network)
    problems: list[str] = []
    if args.data:
        tables = _score_data(args, network, params, measures)
    else:
        roles = ("pred", "target", "low")
        folders = {r: getattr(args, r) for r in roles if getattr(args, r)}
        files, problems = pair_files(folders)
        enhancer = network and Enhancer.from_params(network, params)
        items = read_items(track(files, "Scoring", transient=True), enhancer, problems)
        result = scoring.score_items(items, measures, gt_mean=args.gt_mean)
        scores = {str(args.pred or args.checkpoint or args.model): result}
        tables = {f"{len(result.names)} images": scores}
    protocol = scoring.PROTOCOL + args.gt_mean * scoring.GTMEAN_PROTOCOL
    scores = {
        f"{title}, {method}" if len(tables) > 1 else method: of_method
        for title, table in tables.items()
        for method, of_method in table.items()
    }
    scored = sum(len(of_method.names) for of_method in scores.values())
    if scored:
        for title, table in tables.items():
            print_scores(title, table, per_image=args.per_image)
        print(protocol)
        if args.output:
            write_report(args.output, scores, protocol=protocol)
            print(f"written: {args.output}")
    notes = [note for of_method in scores.values() for note in of_method.notes]
    for line in problems + notes:
        print(line, file=sys.stderr)
    if not scored:
        print("error: no image could be scored", file=sys.stderr)
        return 2
    return 1 if problems or notes else 0


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    return run_command(
        lambda: evaluate(parse_args(argv, prog)),
        interrupted=NOTHING_WRITTEN,
        failed=USAGE,
    )


if __name__ == "__main__":
    sys.exit(main())
