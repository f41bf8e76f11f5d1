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
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from lowlight_jax.data.pairs import Pair
from lowlight_jax.data.photographs import EVERYDAY, darkened_pairs
from lowlight_jax.data.sources import Options, find_sources
from lowlight_jax.evaluation import comparison, scoring
from lowlight_jax.evaluation.folders import pair_files, read_items
from lowlight_jax.evaluation.report import print_scores, write_report
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.inference.methods import load_method
from lowlight_jax.metrics import METRICS
from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.tasks.task import Settings, Task


def _stops(text: str) -> list[float]:
    try:
        stops = [float(number) for number in text.split(",")]
        if min(stops) >= 0:
            return stops
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}'; expected numbers from 0 up: 0,1,2")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lowlight_jax.evaluate",
        description="Score enhanced images, or a network on dark ones.",
        epilog="Files are paired by name, whatever their suffix.",
    )
    parser.add_argument("--pred", type=Path, help="folder of results to score")
    parser.add_argument("--target", type=Path, help="folder of what they should be")
    parser.add_argument("--low", type=Path, help="folder of dark originals")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of pairs, as for training, or tfds:NAME, TensorFlow Datasets",
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model",
        metavar="NAME",
        help="a network or classical method of `python -m lowlight_jax.enhance "
        "--list`, the workdir of a training, or a .safetensors file",
    )
    model.add_argument(
        "--checkpoint",
        dest="model",
        metavar="WORKDIR",
        help="the same as --model WORKDIR",
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of a classical method; may be repeated",
    )
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
    if sum(map(bool, (args.pred, args.data, args.model and args.low))) != 1:
        parser.error(
            "expected --pred DIR, or --model NAME with --low DIR or --data DIR"
        )
    if args.data and not args.model:
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


def _load_data(args: argparse.Namespace, task: Task) -> dict[str, Sequence[Pair]]:
    """Pairs by title, of what `--data` names.

    Photographs, with --stops or of a task that is trained on nothing else, are made
    pairs of; with --stops they are darkened, by each.
    """
    options = Options(
        validation_every=args.validation_every, test_every=args.test_every
    )
    title = args.split  # goes into reports, where paths of this machine do not belong
    if args.data.startswith("tfds:"):
        options = dataclasses.replace(options, source=args.data)
    elif args.stops or "pairs" not in task.trains_on:
        options = dataclasses.replace(options, photographs=args.data)
    else:
        options = dataclasses.replace(options, root=args.data)
    (source,) = find_sources(options)
    images = source.load(args.split)
    if not images:
        raise ValueError(f"the {args.split} part of {args.data} is empty")
    if source.kind == "pairs":
        return {title: images}
    if not args.stops:
        return {title: task.make_pairs(images, Settings())}
    return {
        f"{title}, {stops:g} stops under": darkened_pairs(images, EVERYDAY, [stops])
        for stops in args.stops
    }


def _score_data(
    args: argparse.Namespace, method: comparison.Method, measures: Sequence[str]
) -> dict[str, dict[str, Scores]]:
    """Scores by title and method."""
    methods = comparison.all_methods(method)
    return {
        f"{title}: {len(pairs)} pairs": comparison.score_methods(
            methods, pairs, measures=measures
        )
        for title, pairs in _load_data(args, method.task).items()
    }


def _choose_measures(
    args: argparse.Namespace, method: comparison.Method | None
) -> list[str]:
    """Full names of the metrics that are asked for, or of those that fit."""
    given = {role for role in ("target", "low") if getattr(args, role)}
    if args.data:
        given = {"target", "low"} | ({"mask"} if method.needs_mask else set())
    if args.metrics:
        measures = scoring.resolve_measures(filter(None, args.metrics.split(",")))
    elif args.data:
        return list(method.task.metrics)
    else:
        measures = list(scoring.WITH_TARGET if args.target else ())
        measures += scoring.WITHOUT_TARGET
        measures += ["loe"] if args.low else []
    lacking = [
        f"{measure} needs --{role} DIR" if role != "mask" else f"{measure} needs masks"
        for measure in measures
        for role in METRICS[measure].needs
        if role not in given
    ]
    if lacking:
        raise ValueError("; ".join(lacking))
    return measures


def evaluate(args: argparse.Namespace) -> int:
    """Does what was asked and returns the exit code."""
    method = load_method(args.model, args.param) if args.model else None
    measures = _choose_measures(args, method)
    problems: list[str] = []
    if args.data:
        tables = _score_data(args, method, measures)
    else:
        roles = ("pred", "target", "low")
        folders = {r: getattr(args, r) for r in roles if getattr(args, r)}
        files, problems = pair_files(folders)
        if method and method.needs_mask:
            raise ValueError(
                f"--model {args.model} repairs holes; expected --data DIR with "
                "photographs that get some"
            )
        items = read_items(track(files, "Scoring", transient=True), method, problems)
        result = scoring.score_items(items, measures, gt_mean=args.gt_mean)
        scores = {str(args.pred or args.model): result}
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


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    use_compilation_cache()
    try:
        return evaluate(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
