"""Tables of scores, of whole folders and data sets; by title, then by method."""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.progress import track

from lowlight_jax.data.memory import Kept, Mapped
from lowlight_jax.data.pairs import Pair
from lowlight_jax.data.photographs import EVERYDAY, darkened_pairs
from lowlight_jax.data.sources import Options, find_sources
from lowlight_jax.evaluation import comparison, scoring
from lowlight_jax.evaluation.comparison import Method
from lowlight_jax.evaluation.folders import pair_files, read_items
from lowlight_jax.evaluation.jpeg_quality import decode, encode
from lowlight_jax.evaluation.scoring import Scores
from lowlight_jax.metrics import METRICS
from lowlight_jax.tasks.task import Settings, Task

Tables = dict[str, dict[str, Scores]]
OF_BRACKETS = ("psnr_rgb", "ssim_rgb", "ciede2000", "dark_level", "clipped_excess")


def score_data(
    method: Method,
    data: str,
    metrics: Sequence[str] = (),
    *,
    split: str = "validation",
    stops: Sequence[float] = (),
    jpeg: Sequence[int] = (),
    brackets: bool = False,
    validation_every: int = 8,
    test_every: int = 0,
    validation_by: str = "scene",
    baselines: str = "all",
) -> Tables:
    """A method, the baselines of its task and the truth on pairs held out of training.

    Args:
      method: of `load_method`.
      data: folder of pairs, folder of photographs, or "tfds:NAME".
      metrics: full names of metrics; none: those of the task, or `OF_BRACKETS`.
      split: "train", "validation", "test" or "all".
      stops: `data` holds normal photographs, which are under-exposed by each of these.
      jpeg: dark sides of pairs are saved as JPEG of each of these qualities.
      brackets: `data` holds exposure brackets; the truth is the fusion of each.
      validation_every, test_every: see `split_by_group`.
      validation_by: see `split_labels`.
      baselines: see `comparison.all_methods`.
    Raises:
      ValueError: the data are not what they should be, or a metric needs what they do
        not have.
    """
    if brackets and "pairs" not in method.task.trains_on:
        raise ValueError(
            f"{method.name} is for {method.task.name}; expected one that brightens, to "
            "be scored on exposure brackets"
        )
    metrics = metrics or (OF_BRACKETS if brackets else method.task.metrics)
    check_needs(metrics, {"target", "low"} | ({"mask"} if method.needs_mask else set()))
    options = Options(
        validation_every=validation_every,
        validation_by=validation_by,
        test_every=test_every,
        bad_pairs="skip",
    )
    methods = comparison.all_methods(method, baselines)
    return {
        f"{title}: {len(pairs)} pairs": comparison.score_methods(
            methods, pairs, metrics=metrics, skip_failing=True
        )
        for title, pairs in _load_pairs(
            data, method.task, split, stops, jpeg, brackets, options
        ).items()
    }


def _load_pairs(
    data: str,
    task: Task,
    split: str,
    stops: Sequence[float],
    jpeg: Sequence[int],
    brackets: bool,
    options: Options,
) -> dict[str, Sequence[Pair]]:
    """By title; photographs are made pairs of, by the task or by each of `stops`."""
    if brackets:
        options = dataclasses.replace(options, brackets=data)
    elif data.startswith("tfds:"):
        options = dataclasses.replace(options, source=data)
    elif stops or "pairs" not in task.trains_on:
        options = dataclasses.replace(options, photographs=data)
    else:
        options = dataclasses.replace(options, root=data)
    (source,) = find_sources(options)
    images = source.load(split)
    if not images:
        raise ValueError(f"the {split} part of {data} is empty")
    # It goes into reports, where paths of this machine do not belong.
    title = f"brackets, {split}" if brackets else split
    if options.validation_by == "image" and split != "all":
        title += " by image"
    if source.kind == "pairs":
        if not jpeg:
            return {title: images}
        return {
            f"{title}, dark sides as JPEG {quality}": Mapped(
                images, functools.partial(_saved_as_jpeg, quality=quality)
            )
            for quality in jpeg
        }
    if jpeg:
        raise ValueError(f"{data} has no dark sides to save as JPEG; expected pairs")
    if not stops:
        return {title: Kept(task.make_pairs(images, Settings()), options.memory)}
    return {
        f"{title}, {under:g} stops under": Kept(
            darkened_pairs(images, EVERYDAY, [under]), options.memory
        )
        for under in stops
    }


def _saved_as_jpeg(pair: Pair, quality: int) -> Pair:
    low = decode(encode(pair.low, quality))
    return dataclasses.replace(pair, low=low)


def score_folders(
    folders: Mapping[str, Path],
    metrics: Sequence[str] = (),
    *,
    method: Method | None = None,
    title: str = "",
    gt_mean: bool = False,
) -> tuple[Tables, list[str]]:
    """Scores of the files in folders, paired by name.

    Args:
      folders: "pred" unless there is a method, "low" if there is one, and "target".
      metrics: full names of metrics; none: all that the folders allow.
      method: makes the results of the files in "low".
      title: of the one row.
      gt_mean: see `score_items`.
    Returns:
      A table, and a sentence for each file that was left out.
    Raises:
      ValueError: a folder is missing or empty, or a metric needs another.
    """
    if method and method.needs_mask:
        raise ValueError(
            f"{method.name} repairs holes; expected --data DIR with photographs that "
            "get some"
        )
    if not metrics:
        metrics = [*scoring.WITHOUT_TARGET, *(["loe"] if "low" in folders else [])]
        if "target" in folders:
            metrics = [*scoring.WITH_TARGET, *metrics]
    check_needs(metrics, folders)
    files, problems = pair_files(folders)
    items = read_items(track(files, "Scoring", transient=True), method, problems)
    scores = scoring.score_items(items, metrics, gt_mean=gt_mean)
    return {f"{len(scores.names)} images": {title: scores}}, problems


def check_needs(metrics: Sequence[str], given: Collection[str]) -> None:
    """Raises a ValueError for metrics that compare with what is not given."""
    lacking = [
        f"{metric} needs --{role} DIR" if role != "mask" else f"{metric} needs masks"
        for metric in metrics
        for role in METRICS[metric].needs
        if role not in given
    ]
    if lacking:
        raise ValueError("; ".join(lacking))
