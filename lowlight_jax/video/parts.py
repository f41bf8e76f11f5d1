"""What is done of a video whose enhancement was cut off.

A file that is being written cannot be played, so the result grows in segments in a
hidden folder. With each, the times of all frames so far and what the next frame needs
of them are kept; a segment counts once these are written. Of the last, half-written one
nothing is used. Of a video that is done, that can be kept too: of many, only the others
are then made when the command is given again.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlight_jax.runtime.lock import LOCK_FILE
from lowlight_jax.runtime.whole_file import write_whole
from lowlight_jax.video.steady import START, State

_JOB, _STATE, _DONE = "job.json", "state.npz", "done.json"


def folder_of(target: Path) -> Path:
    """Where the parts of a result lie."""
    return target.parent / f".{target.name}.parts"


def forget(target: Path) -> None:
    """Removes them."""
    shutil.rmtree(folder_of(target), ignore_errors=True)


class Parts:
    """The folder of one video.

    Args:
      folder: exists, and is locked.
      job: all that decides what frames come out; what was done for another is removed.

    Attributes:
      times: of all frames that are done, in the source's ticks.
      state: after the last of them.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]):
        self._folder = folder
        self.times: list[int] = []
        self.state = START
        self._count = 0
        asked = json.dumps(job, indent=2).encode()
        path = folder / _JOB
        if path.is_file() and path.read_bytes() == asked:
            self._load()
        else:
            self._clear()
            write_whole(path, asked)

    @property
    def segments(self) -> list[Path]:
        """Those that are done, in order."""
        return [self._segment(number) for number in range(self._count)]

    @property
    def unfinished(self) -> Path:
        """Where the next segment is to be written."""
        return self._segment(self._count)

    def keep(self, times: Sequence[int], state: State) -> None:
        """Counts the segment at `unfinished`.

        Args:
          times: of its frames.
          state: after the last of them.
        """
        self.times += times
        self.state = state
        self._count += 1
        file = io.BytesIO()
        arrays = {"times": np.int64(self.times), "count": np.int64(self._count)}
        np.savez(file, **arrays, **state.as_arrays())
        write_whole(self._folder / _STATE, file.getvalue())

    def outcome(self, target: Path) -> tuple[list[str], str | None] | None:
        """What `finish` was told, if the result is still there as it was."""
        try:
            done = json.loads((self._folder / _DONE).read_bytes())
            if done["target"] == _stamp(target):
                return done["notes"], done["problem"]
        except (OSError, ValueError, KeyError):
            pass
        return None

    def finish(self, target: Path, notes: Sequence[str], problem: str | None) -> None:
        """Keeps what happened, and no segment."""
        self._clear(but=(_JOB,))
        done = {"target": _stamp(target), "notes": notes, "problem": problem}
        write_whole(self._folder / _DONE, json.dumps(done).encode())

    def _clear(self, but: Sequence[str] = ()) -> None:
        for path in self._folder.iterdir():
            if path.name not in (LOCK_FILE, *but):
                path.unlink()

    def _segment(self, number: int) -> Path:
        return self._folder / f"{number:05}.mkv"

    def _load(self) -> None:
        """What there is to go on with; nothing if any of it is missing or damaged."""
        try:
            with np.load(self._folder / _STATE, allow_pickle=False) as arrays:
                times, count = arrays["times"].tolist(), int(arrays["count"])
                state = State.from_arrays(arrays)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return
        if all(self._segment(number).is_file() for number in range(count)):
            self.times, self._count, self.state = times, count, state


def _stamp(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
