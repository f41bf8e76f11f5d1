"""What is done of a video whose enhancement was cut off.

A file that is being written cannot be played, so the result grows in segments in a
hidden folder. With each, the times of all frames so far and what the next frame needs
of them are kept; a segment counts once these are written. Of the last, half-written one
nothing is used.
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

_JOB, _STATE = "job.json", "state.npz"


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
        if path.is_file() and path.read_bytes() == asked and self._load():
            return
        for path in folder.iterdir():
            if path.name != LOCK_FILE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_whole(folder / _JOB, asked)

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

    def _segment(self, number: int) -> Path:
        return self._folder / f"{number:05}.mkv"

    def _load(self) -> bool:
        """Whether there is something to go on with."""
        try:
            with np.load(self._folder / _STATE, allow_pickle=False) as arrays:
                self.times = arrays["times"].tolist()
                self._count = int(arrays["count"])
                self.state = State.from_arrays(arrays)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return False
        return all(path.is_file() for path in self.segments)
