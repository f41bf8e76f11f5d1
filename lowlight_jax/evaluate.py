"""The command that scores: results in files, or a network on dark photographs.

    python -m lowlight_jax.evaluate --pred DIR --target DIR
    python -m lowlight_jax.evaluate --model dual --low DIR --target DIR
    python -m lowlight_jax.evaluate --model dual --data DIR
    python -m lowlight_jax.evaluate --model dual --data PHOTOS --stops 0,1,2,3,4,5
    python -m lowlight_jax.evaluate --model dual --data DIR --jpeg 95,85,70
    python -m lowlight_jax.evaluate --model dual --brackets DIR
    python -m lowlight_jax.evaluate --video RESULT --target TRUTH
    python -m lowlight_jax.evaluate --overlap TRAIN --data TEST

The third takes a folder of pairs as training does, by default the groups that training
keeps for validation, and compares the network with classical methods; the fourth does
so on normal photographs, which it under-exposes, the fifth with dark sides that are
saved as JPEG first, the sixth on exposure brackets, which it fuses. The seventh scores
a video, with the truth or without. The last one scores nothing: it lists which pictures
show a scene of TRAIN.
Exit codes: 0 all scored, 1 something is missing or was left out, 2 nothing to do.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lowlight_jax.runtime.allocator import PHOTO_BUFFER, keep_freed_memory
from lowlight_jax.runtime.cache import use_compilation_cache
from lowlight_jax.runtime.command import (
    NOTHING_WRITTEN,
    USAGE,
    add_debug_flag,
    run_command,
)
from lowlight_jax.runtime.devices import check_devices
from lowlight_jax.runtime.omissions import collecting
from lowlight_jax.runtime.outputs import check_file, user_path

if TYPE_CHECKING:
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


def _qualities(text: str) -> list[int]:
    try:
        qualities = [int(number) for number in text.split(",")]
        if min(qualities) >= 1 and max(qualities) <= 100:
            return qualities
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}'; expected 1 to 100: 95,85,70")


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Score enhanced images, or a network on dark ones.",
        epilog="Files are paired by name, whatever their suffix.",
    )
    parser.add_argument("--pred", type=user_path, help="folder of results to score")
    parser.add_argument(
        "--target",
        type=user_path,
        help="folder of what they should be; with --video, the true video",
    )
    parser.add_argument("--low", type=user_path, help="folder of dark originals")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of pairs, as for training, or tfds:NAME, TensorFlow Datasets",
    )
    parser.add_argument(
        "--brackets",
        metavar="DIR",
        help="folder of exposure brackets, a subfolder for each scene; the truth is "
        "their fusion",
    )
    parser.add_argument(
        "--video",
        type=user_path,
        metavar="RESULT",
        help="a video, or a folder of numbered frames: scores of its frames, and how "
        "steady it is; extra [video]",
    )
    parser.add_argument(
        "--overlap",
        type=user_path,
        metavar="TRAIN",
        help="with --data TEST, folders of images or pairs: which scenes both show",
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model",
        metavar="NAME",
        help="a network or classical method of `python -m lowlight_jax.enhance "
        "--list`, the workdir of a training, a .safetensors file, or "
        "hf:OWNER/NAME@REVISION of the Hugging Face hub",
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
        help="with --data or --brackets: which pairs; test is LOL's eval15, or what "
        "--test-every sets apart (default: %(default)s)",
    )
    parser.add_argument(
        "--stops",
        type=_stops,
        default=(),
        metavar="0,1,...",
        help="--data holds normal photographs; under-expose them by each of these",
    )
    parser.add_argument(
        "--jpeg",
        type=_qualities,
        default=(),
        metavar="95,...",
        help="dark sides are saved as JPEG of each of these qualities before a method "
        "sees them",
    )
    workdirs = "of --split (default: as the training of --model WORKDIR, else "
    parser.add_argument("--test-every", type=int, help=f"{workdirs}0)")
    parser.add_argument("--validation-every", type=int, help=f"{workdirs}8)")
    parser.add_argument(
        "--validation-by",
        choices=("scene", "image"),
        help=f"whether pictures of one scene stay together, {workdirs}scene)",
    )
    parser.add_argument(
        "--baselines",
        default="all",
        metavar="all|none|NAME,...",
        help="classical methods to compare with, with --data or --brackets; none: the "
        "method alone, in a quarter of the time (default: %(default)s)",
    )
    parser.add_argument("--metrics", default="", help="names, separated by commas")
    parser.add_argument(
        "--gt-mean",
        action="store_true",
        help="adds columns *_gtmean: scores after matching the target's mean",
    )
    parser.add_argument(
        "--per-image", action="store_true", help="a row for each image or frame"
    )
    parser.add_argument(
        "--against",
        type=user_path,
        metavar="SCORES.json",
        help="what --output wrote for another method on the same images: by how much "
        "this one is better, image by image, and whether that may be chance",
    )
    parser.add_argument("--output", type=user_path, help="scores.json or scores.csv")
    add_debug_flag(parser)
    args = parser.parse_args(argv)
    vars(args).update(_split_settings(args))
    if args.overlap and not args.data:
        parser.error("--overlap TRAIN: expected --data TEST, the folder to compare")
    sets = args.data, args.brackets
    if args.video and (args.model or args.low):
        parser.error(
            "--video RESULT is scored as it is; expected no --model, --checkpoint and "
            "--low beside it"
        )
    sources = args.pred, args.video, *sets, args.model and args.low
    if sum(map(bool, sources)) != 1:
        parser.error(
            "expected --pred DIR, or --model NAME with --low DIR, --data DIR or "
            "--brackets DIR, or --video RESULT"
        )
    if any(sets) and not args.model:
        args.model = "dual"
    if args.output and args.output.suffix not in (".json", ".csv"):
        parser.error(f"--output {args.output}: expected a name ending in .json or .csv")
    if args.against and (
        args.video or args.overlap or len(args.stops) > 1 or len(args.jpeg) > 1
    ):
        parser.error("--against: expected one set of images, no --video or --overlap")
    if args.stops and not args.data:
        parser.error("--stops: expected --data DIR with photographs")
    if args.jpeg and (args.stops or not any(sets)):
        parser.error("--jpeg: expected --data DIR or --brackets DIR, and no --stops")
    if args.gt_mean and not args.target:
        parser.error(
            "--gt-mean: expected --target DIR, the truth to take the mean from"
        )
    return args


def _split_settings(args: argparse.Namespace) -> dict[str, int | str]:
    """Those given, else those of a workdir: what it was trained on is not scored."""
    settings = {"test_every": 0, "validation_every": 8, "validation_by": "scene"}
    file = user_path(args.model or "") / "config.json"
    if args.model and file.is_file():
        trained = json.loads(file.read_text()).get("config", {}).get("data", {})
        settings |= {key: trained[key] for key in settings if trained.get(key)}
    given = {key: value for key in settings if (value := vars(args)[key]) is not None}
    return settings | given


def compare_scenes(train: Path, test: Path) -> int:
    """Lists what the folders have in common and returns the exit code."""
    from lowlight_jax.evaluation import overlap

    others, problems = overlap.read_scenes(train)
    scenes, more = overlap.read_scenes(test)
    overlap.print_overlap(overlap.find_nearest(scenes, others))
    for line in problems + more:
        print(line, file=sys.stderr)
    return 1 if problems or more else 0


def evaluate_video(args: argparse.Namespace) -> int:
    """Scores a video and returns the exit code."""
    from lowlight_jax.evaluation import scoring, video

    metrics = scoring.resolve_metrics(filter(None, args.metrics.split(",")))
    scores = video.score_video(args.video, args.target, metrics, gt_mean=args.gt_mean)
    protocol = video.PROTOCOL + args.gt_mean * scoring.GTMEAN_PROTOCOL
    video.print_video(str(args.video), scores, per_frame=args.per_image)
    print(protocol)
    if args.output:
        video.write_video(args.output, scores, protocol=protocol)
        print(f"written: {args.output}")
    for line in scores.notes:
        print(line, file=sys.stderr)
    return 1 if scores.notes else 0


def print_against(
    scores: "Mapping[str, Scores]", others: "Mapping[str, Scores]", path: Path
) -> list[str]:
    """Compares the methods of both image by image; a sentence for what cannot be."""
    from lowlight_jax.evaluation import paired

    first, second = (paired.main_method(methods) for methods in (scores, others))
    differences = paired.compare_paired(scores[first], others[second])
    if not differences:
        return [f"--against {path}: expected scores of some of the same images"]
    paired.print_paired(first, f"{second} of {path}", differences)
    lacking = set(scores[first].names) - set(others[second].names)
    return [f"--against {path} lacks {len(lacking)} of the images"] if lacking else []


def evaluate(args: argparse.Namespace) -> int:
    """Does what was asked and returns the exit code."""
    if args.overlap:
        return compare_scenes(args.overlap, user_path(args.data))
    if args.output:
        check_file(args.output, "--output")
    keep_freed_memory(PHOTO_BUFFER)
    use_compilation_cache()
    check_devices()
    if args.video:
        return evaluate_video(args)
    from lowlight_jax.evaluation import paired, scoring
    from lowlight_jax.evaluation.report import print_scores, write_report
    from lowlight_jax.evaluation.tables import score_data, score_folders
    from lowlight_jax.inference.methods import load_method

    others = paired.read_report(args.against) if args.against else {}
    method = load_method(args.model, args.param) if args.model else None
    metrics = scoring.resolve_metrics(filter(None, args.metrics.split(",")))
    problems: list[str] = []
    if args.data or args.brackets:
        with collecting() as problems:
            tables = score_data(
                method,
                args.data or args.brackets,
                metrics,
                split=args.split,
                stops=args.stops,
                jpeg=args.jpeg,
                brackets=bool(args.brackets),
                validation_every=args.validation_every,
                validation_by=args.validation_by,
                test_every=args.test_every,
                baselines=args.baselines,
            )
    else:
        roles = ("pred", "target", "low")
        tables, problems = score_folders(
            {role: folder for role in roles if (folder := getattr(args, role))},
            metrics,
            method=method,
            title=str(args.pred or args.model),
            gt_mean=args.gt_mean,
        )
    protocol = scoring.PROTOCOL + args.gt_mean * scoring.GTMEAN_PROTOCOL
    if args.validation_by == "image" and (args.data or args.brackets):
        protocol += scoring.BY_IMAGE_PROTOCOL * (args.split != "all")
    scores = {
        f"{title}, {method}" if len(tables) > 1 else method: of_method
        for title, table in tables.items()
        for method, of_method in table.items()
    }
    scored = sum(len(of_method.names) for of_method in scores.values())
    if scored:
        for title, table in tables.items():
            print_scores(title, table, per_image=args.per_image)
        if others:
            problems += print_against(scores, others, args.against)
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
