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
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lowlight_jax import metrics, scoring, weights
from lowlight_jax.baselines import inpainting, lime, retinex, tone
from lowlight_jax.cache import use_compilation_cache
from lowlight_jax.data.pairs import Pair, load_split
from lowlight_jax.data.photographs import (
    EVERYDAY,
    damaged_pairs,
    darkened_pairs,
    load_photographs,
)
from lowlight_jax.enhance import Enhancer
from lowlight_jax.enhance.repair import Repairer
from lowlight_jax.image_files import ImageFileError, find_images, read_photo
from lowlight_jax.models import name_of
from lowlight_jax.ops.damage import Damage
from lowlight_jax.scoring import Item, Scores
from lowlight_jax.whole_file import write_whole

Method = Callable[[Pair], np.ndarray]  # the result for a pair's dark or damaged side

COMPARED = ("psnr_rgb", "ssim_rgb", "ciede2000", "saturation_ratio", "noise_level")
COMPARED_REPAIRS = ("psnr_holes", "psnr_rgb", "ssim_rgb", "ciede2000")


def compared_measures(network: nn.Module) -> tuple[str, ...]:
    """What results of a network are compared by."""
    return COMPARED_REPAIRS if "repair" in network.phases else COMPARED


def network_methods(network: nn.Module, params: Any) -> dict[str, Method]:
    """The network and, before it, its enhancement module alone, where it has one."""
    if "repair" in network.phases:
        repairer = Repairer.from_params(network, params)
        return {name_of(network): lambda pair: repairer(pair.low, pair.mask)}
    enhancer = Enhancer.from_params(network, params)
    whole = lambda pair: enhancer(pair.low)  # noqa: E731
    if not enhancer.can_denoise:
        return {name_of(network): whole}
    return {
        "enhancement only": lambda pair: enhancer(pair.low, denoise=0),
        "enhancement + denoising": whole,
    }


def classical_methods(network: nn.Module) -> dict[str, Method]:
    """What costs nothing and does the work of a network."""
    methods = {"input": lambda pair: pair.low}
    if "repair" in network.phases:
        for name, method in inpainting.METHODS.items():
            methods[name] = partial(_repair_classically, method)
        return methods
    return methods | {
        "gamma 0.4": lambda pair: tone.gamma(pair.low),
        "CLAHE": lambda pair: tone.clahe(pair.low),
        "MSRCR": lambda pair: retinex.msrcr(pair.low),
        "LIME": lambda pair: lime.lime(pair.low),
    }


def _repair_classically(method: Callable, pair: Pair) -> np.ndarray:
    return method(pair.low, pair.mask)


def score_methods(
    methods: Mapping[str, Method],
    pairs: Sequence[Pair],
    *,
    measures: Sequence[str] = COMPARED,
    quiet: bool = False,
) -> dict[str, Scores]:
    """Scores of every method on every pair.

    Args:
      methods: by name; each returns uint8 `[h, w, 3]`.
      pairs: what they are tried on.
      measures: see `scoring.score_items`.
      quiet: without progress bar.
    """

    def items(method: Method, title: str) -> Iterator[Item]:
        for pair in track(pairs, title, transient=True, disable=quiet):
            yield Item(pair.name, method(pair), pair.high, pair.low, pair.mask)

    return {
        name: scoring.score_items(items(method, name), measures)
        for name, method in methods.items()
    }


def truth(pair: Pair) -> np.ndarray:
    """The target itself, a method like the others: what can be reached."""
    return pair.high


def print_scores(
    title: str, scores: Mapping[str, Scores], *, per_image: bool = False
) -> None:
    """A row for each method: mean ± standard deviation over images."""
    table = Table(title=title)
    table.add_column("")
    columns = list(next(iter(scores.values())).columns)
    for column in columns:
        table.add_column(_heading(column), justify="right")
    for method, of_method in scores.items():
        if per_image:
            for i, name in enumerate(of_method.names):
                values = [of_method.columns[column][i] for column in columns]
                cells = [_cell(c, v) for c, v in zip(columns, values, strict=True)]
                table.add_row(name, *cells)
            table.add_section()
        table.add_row(method, *(summary(of_method, column) for column in columns))
    Console(width=max(100, 24 + 18 * len(columns))).print(table)


def _heading(column: str) -> str:
    measure = column.removesuffix("_gtmean")
    better = "↑" if scoring.higher_is_better(measure) else "↓"
    return column if column.startswith("saturation") else f"{column} {better}"


def _cell(column: str, value: float | None) -> str:
    digits = scoring.DIGITS.get(column.removesuffix("_gtmean"), 2)
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def summary(scores: Scores, column: str) -> str:
    """Mean ± standard deviation over images, and how many where not all have one."""
    mean, std = scores.mean(column), scores.std(column)
    count = scores.values(column).size
    text = _cell(column, mean)
    if not np.isnan(std):
        text += f" ± {_cell(column, std)}"
    return text if count == len(scores.names) else f"{text} ({count} images)".strip()


def write_report(
    path: Path, scores: Mapping[str, Scores], *, protocol: str = scoring.PROTOCOL
) -> None:
    """Protocol, versions, means and a row for each image; JSON or CSV by suffix."""
    versions = {name: metadata.version(name) for name in ("jax", "dm-pix", "numpy")}
    rows = [
        {"method": method, "image": name}
        | {column: values[i] for column, values in of_method.columns.items()}
        for method, of_method in scores.items()
        for i, name in enumerate(of_method.names)
    ]
    if path.suffix == ".csv":
        file = io.StringIO()
        file.write(f"# {protocol}\n# {json.dumps(versions)}\n")
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    else:
        summary = {
            method: {
                column: {
                    "mean": _or_none(of_method.mean(column)),
                    "std": _or_none(of_method.std(column)),
                    "images": int(of_method.values(column).size),
                }
                for column in of_method.columns
            }
            for method, of_method in scores.items()
        }
        notes = [note for of_method in scores.values() for note in of_method.notes]
        report = {
            "protocol": protocol,
            "versions": versions,
            "summary": summary,
            "notes": notes,
            "rows": rows,
        }
        text = json.dumps(report, indent=1)
    write_whole(path, text.encode())


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value  # JSON has no NaN


def pair_files(
    folders: Mapping[str, Path],
) -> tuple[list[tuple[str, dict[str, Path]]], list[str]]:
    """Files of the same name, whatever their suffix, in every folder.

    Returns:
      `(name, {role: file})` in order of name, and a sentence for each file that has no
      partner.
    Raises:
      ValueError: a folder is missing or holds no images.
    """
    named: dict[str, dict[str, Path]] = {}
    problems = []
    for role, folder in folders.items():
        if not folder.is_dir():
            raise ValueError(f"--{role}: {folder} is no folder; expected one of images")
        files = find_images(folder)
        if not files:
            raise ValueError(f"--{role}: {folder} holds no images")
        for file in files:
            name = str(file.relative_to(folder).with_suffix(""))
            if role in named.setdefault(name, {}):
                problems.append(
                    f"{file}: a second file of this name; the first is used"
                )
            else:
                named[name][role] = file
    pairs = []
    for name, files in sorted(named.items()):
        missing = [role for role in folders if role not in files]
        if missing:
            found = next(iter(files.values()))
            problems.append(
                f"{found}: no file of this name in --{', --'.join(missing)}"
            )
        else:
            pairs.append((name, files))
    return pairs, problems


def read_8_bit(path: Path) -> np.ndarray:
    """The pixels of an 8-bit file without transparency, uint8 `[h, w, c]`.

    Raises:
      ImageFileError: it cannot be read, or is no such file.
    """
    photo = read_photo(path)
    if photo.pixels.dtype != np.uint8 or photo.alpha is not None:
        found = "16 bits" if photo.pixels.dtype != np.uint8 else "transparency"
        raise ImageFileError(
            f"{path}: found an image with {found}; scores are defined for 8-bit RGB or "
            "gray images: convert it"
        )
    return photo.pixels


def read_items(
    pairs: Iterable[tuple[str, Mapping[str, Path]]],
    enhancer: Enhancer | None,
    problems: list[str],
) -> Iterator[Item]:
    """Items of the files that can be scored; a sentence in `problems` for the others.

    `pred` comes from its file, or with an enhancer from the file `low`.
    """
    for name, files in pairs:
        try:
            images = {role: read_8_bit(file) for role, file in files.items()}
        except ImageFileError as error:
            problems.append(str(error))
            continue
        if len({image.shape for image in images.values()}) > 1:
            sizes = ", ".join(
                f"{role} {i.shape[1]}x{i.shape[0]}x{i.shape[2]}"
                for role, i in images.items()
            )
            problems.append(f"{name}: images differ in size or channels: {sizes}")
            continue
        pred = enhancer(images["low"]) if enhancer else images["pred"]
        yield Item(name, pred, images.get("target"), images.get("low"))


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


def _load_data(args: argparse.Namespace, network: nn.Module) -> dict[str, list[Pair]]:
    """Pairs by title: of a folder of them, or made of its photographs.

    For networks that repair they get holes; with --stops they are darkened, by each.
    """
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
    args: argparse.Namespace, network: nn.Module, params: Any, measures: Sequence[str]
) -> dict[str, dict[str, Scores]]:
    """Scores by title and method."""
    methods = classical_methods(network) | network_methods(network, params)
    methods["truth"] = truth
    return {
        f"{title}: {len(pairs)} pairs": score_methods(methods, pairs, measures=measures)
        for title, pairs in _load_data(args, network).items()
    }


def _choose_measures(args: argparse.Namespace, network: nn.Module | None) -> list[str]:
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
