"""Work that is done once: each part leaves a file, and is skipped where it is there."""

import csv
import dataclasses
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from lowlight_jax.runtime.errors import of_item

TIMES_FILE = "times.csv"


@dataclasses.dataclass(frozen=True)
class Part:
    """A piece of work.

    Attributes:
      title: for the progress, and in the table of times.
      kind: "training" or "scoring", by which times are summed.
      result: the file that `make` leaves last, whole or not at all.
      make: does it, and goes on where it was cut off.
    """

    title: str
    kind: str
    result: Path
    make: Callable[[], None]


def run_parts(parts: Sequence[Part], output: Path) -> None:
    """Does those that are not done, in order; says which, and notes how long each took.

    Args:
      parts: all there are.
      output: gets `times.csv`, a line for each part, and for each time it was cut off.
    Raises:
      ValueError: some failed; the others are done, and all failures are listed.
    """
    failures = []
    for number, part in enumerate(parts, 1):
        place = f"[{number}/{len(parts)}] {part.title}"
        if part.result.exists():
            print(f"{place}: done before", flush=True)
            continue
        print(place, flush=True)
        part.result.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        try:
            part.make()
        except Exception as error:
            failures.append(of_item(error, part.title))
            print(f"{place} failed: {failures[-1]}", file=sys.stderr)
        finally:
            with (output / TIMES_FILE).open("a", newline="") as file:
                seconds = f"{time.monotonic() - started:.1f}"
                csv.writer(file).writerow([part.kind, part.title, seconds])
    if failures:
        raise ValueError(
            "\n  ".join(
                [f"{len(failures)} of {len(parts)} parts failed:", *failures]
                + ["The others are kept; the same command tries these again"]
            )
        )


def hours(output: Path) -> dict[str, float]:
    """Hours by kind of part, all times of a report together."""
    seconds: dict[str, float] = defaultdict(float)
    if (output / TIMES_FILE).exists():
        with (output / TIMES_FILE).open(newline="") as file:
            for kind, _, value in csv.reader(file):
                seconds[kind] += float(value)
    return {kind: value / 3600 for kind, value in seconds.items()}
