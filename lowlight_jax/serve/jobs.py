"""Uploads and results in one folder, and the one thread that computes.

A second photograph at once would need twice the memory and be no faster. Previews go
first: they are made between two windows of a photograph that is being computed.
"""

import dataclasses
import os
import secrets
import shutil
import sys
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lowlight_jax.images.files import ImageFileError, read_photo, write_photo
from lowlight_jax.inference.methods import NoHolesError, enhance_photo, read_mask
from lowlight_jax.runtime.errors import is_out_of_memory
from lowlight_jax.serve.options import Options, load_network
from lowlight_jax.serve.pictures import (
    LARGE_WINDOWS,
    LEAST_PX,
    MOST_PX,
    WHOLE,
    WINDOWS,
    Picture,
    Previews,
    View,
    preview_size,
    resized_mask,
)
from lowlight_jax.serve.refusals import Refused
from lowlight_jax.serve.uploads import as_sentence

KEEP_S = 30 * 60.0
MOST_PICTURES = 64  # kept for previews, 3 MB of memory each
MOST_JOBS = 1000  # that have ended
FAST_S = 0.1  # for a preview while somebody moves a slider
NO_HOLES = (
    "There is nothing to repair: paint over what is to be replaced, or make it pure "
    "black."
)
_STOP_S = 4.0
_READ, _COMPUTED = 0.05, 0.85  # of the whole progress


class Cancelled(Exception):
    """The job is not wanted any more."""


class Unwritable(Exception):
    """The result could not be written: the disk is full, most likely."""


class Superseded(Exception):
    """A later preview of the same picture was asked for."""


@dataclasses.dataclass
class Kept:
    """Something with a folder of its own that is deleted some time after its last use.

    Attributes:
      id: nobody can guess it.
      folder: in the server's.
      name: the stem of the client's file name.
      size: height and width of the picture.
      suffix: of its format.
      used: when, by `time.monotonic`.
    """

    id: str
    folder: Path
    name: str
    size: tuple[int, int]
    suffix: str
    used: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def upload(self) -> Path:
        return self.folder / "upload"

    @property
    def mask(self) -> Path:
        """A file as it was uploaded; there is none where nothing was painted."""
        return self.folder / "mask"

    @property
    def is_busy(self) -> bool:
        """Whether it must not be deleted."""
        return False


@dataclasses.dataclass
class Upload(Kept):
    """A picture that somebody looks at."""

    picture: Picture | None = None


@dataclasses.dataclass
class Job(Kept):
    """A photograph to be computed.

    Attributes:
      options: see `Options`.
      state: queued, running, then done, failed or cancelled.
      stage: of a running one: reading, computing, writing.
      error: one sentence, of a failed one.
      notes: sentences on what could not be kept.
    """

    options: Options | None = None
    state: str = "queued"
    stage: str = ""
    error: str = ""
    notes: tuple[str, ...] = ()
    _fraction: float = 0.0
    _told: float = 0.0
    _since: float = 0.0
    _expected_s: float = 1.0

    @property
    def is_busy(self) -> bool:
        return self.state in ("queued", "running")

    @property
    def result(self) -> Path:
        """The file, with the suffix of its format."""
        file_format = self.options.format
        suffix = self.suffix if file_format == "original" else f".{file_format}"
        return self.folder / f"result{suffix}"

    @property
    def result_name(self) -> str:
        return f"{self.name}_enhanced{self.result.suffix}"

    def go(self, stage: str, fraction: float, expected_s: float | None = None) -> None:
        """Notes how far it is, and how long all of the computing may take."""
        self.stage, self._fraction, self._since = stage, fraction, time.monotonic()
        self._expected_s = expected_s or self._expected_s

    @property
    def fraction(self) -> float:
        """How far it is, 0 to 1; estimated between two windows."""
        if self.state != "running":
            return float(self.state == "done")
        passed = (time.monotonic() - self._since) / self._expected_s
        self._told = max(self._told, min(self._fraction + min(passed, 0.1), 0.99))
        return self._told


class Store:
    """Everything that is kept, and the thread that computes.

    Args:
      folder: is written to, nothing else is.
      queue: how many photographs may wait, be uploaded or computed.
      keep_s: how long results and pictures are kept.
      keep_bytes: what they may take on the disk; above, the oldest go earlier.
    """

    def __init__(
        self,
        folder: Path,
        *,
        queue: int = 8,
        keep_s: float = KEEP_S,
        keep_bytes: int = 4 * 10**9,
    ):
        self._folder, self._queue = folder, queue
        self._keep_s, self._keep_bytes = keep_s, keep_bytes
        self._kept: dict[str, Kept] = {}
        self._reserved = 0
        self._waiting: deque[Job] = deque()
        self._previews: OrderedDict[Any, tuple[Callable, Future]] = OrderedDict()
        self._maker = Previews()
        self._chores: deque[Callable[[], None]] = deque()
        self._seconds_per_px = 0.5e-6
        self._changed = threading.Condition()
        self.is_stopping = False
        self._thread = threading.Thread(target=self._run, name="compute", daemon=True)

    # Life

    def start(self, warm: bool = True) -> None:
        """Starts to compute; with `warm`, compiles first what previews need."""
        if warm:
            from lowlight_jax.inference.runner import DEFAULT_MODEL

            options = Options(DEFAULT_MODEL, {})
            for shape in (*WINDOWS, *WINDOWS[:4]):  # twice: the second shows the speed
                self._chores.append(partial(self._warm, shape, options.all_on))
            for shape in LARGE_WINDOWS:
                self._chores.append(partial(self._warm, shape, dict))
        self._thread.start()

    def stop(self) -> bool:
        """Cancels what waits and what is computed; returns whether that has ended.

        What is being compiled cannot be cancelled, and may take longer.
        """
        with self._changed:
            patience_s = 0.0 if self.is_stopping else _STOP_S  # once is enough
            self.is_stopping = True
            for job in self._all(Job):
                if job.is_busy:
                    job.state = "cancelled"
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether everything is compiled that previews need."""
        return not self._chores

    # What is kept

    def reserve(self) -> None:
        """A place in the queue for an upload, which `release` or `submit` ends.

        Raises:
          Refused: 429, there is none.
        """
        with self._changed:
            busy = sum(isinstance(one, Job) and one.is_busy for one in self._all())
            if busy + self._reserved >= self._queue:
                raise Refused(
                    429,
                    f"{self._queue} photographs are waiting already, which is the "
                    "limit; try again in a moment.",
                    {"Retry-After": "2"},
                )
            self._reserved += 1

    def release(self) -> None:
        """Gives a reserved place back."""
        with self._changed:
            self._reserved -= 1

    def new_folder(self) -> tuple[str, Path]:
        """An id that nobody can guess, and its folder."""
        name = secrets.token_urlsafe(18)
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        return name, folder

    def keep(self, one: Kept) -> None:
        """Keeps a picture, or a job, which will be computed in its turn."""
        with self._changed:
            self._kept[one.id] = one
            if isinstance(one, Job):
                self._waiting.append(one)
                self._changed.notify_all()
        self.sweep()

    def find(self, kind: type[Kept], name: str) -> Any:
        """A job or picture by its id.

        Raises:
          Refused: 404, there is none.
        """
        one = self._kept.get(name)
        if not isinstance(one, kind):
            what = "job" if kind is Job else "picture"
            raise Refused(
                404,
                f"There is no {what} of this id; it may have been deleted, as all are "
                "after half an hour.",
            )
        one.used = time.monotonic()
        return one

    def place(self, job: Job) -> int:
        """How many are computed before it."""
        with self._changed:
            ahead = sum(one.state == "running" for one in self._all(Job))
            for one in self._waiting:
                if one is job:
                    return ahead
                ahead += 1
        return 0

    def drop(self, one: Kept) -> None:
        """Deletes it; a job that is computed ends at its next window."""
        with self._changed:
            self._kept.pop(one.id, None)
            if isinstance(one, Job) and one.is_busy:
                running = one.state == "running"
                one.state = "cancelled"
                if running:
                    return  # the thread deletes the folder
                self._waiting.remove(one)
        self._maker.forget(one.upload)
        shutil.rmtree(one.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Deletes what is old, and the oldest of what is too much."""
        now = time.monotonic()
        idle = sorted(
            (one for one in self._all() if not one.is_busy), key=lambda one: one.used
        )
        sizes = {one.id: _size_of(one.folder) for one in self._all()}
        total = sum(sizes.values())
        left = {kind: sum(type(one) is kind for one in idle) for kind in (Job, Upload)}
        for one in idle:
            kind = type(one)
            most = MOST_JOBS if kind is Job else MOST_PICTURES
            is_old = now - one.used > self._keep_s
            if is_old or total > self._keep_bytes or left[kind] > most:
                self.drop(one)
                total -= sizes[one.id]
                left[kind] -= 1

    def _all(self, kind: type = Kept) -> list[Any]:
        return [one for one in list(self._kept.values()) if isinstance(one, kind)]

    # The thread

    def preview(
        self, upload: Upload, options: Options, view: View, is_fast: bool
    ) -> "Future[tuple[bytes, str]]":
        """A preview; a later one of the same picture supersedes it.

        Args:
          upload: whose picture it is.
          options, view: see `Previews.make`.
          is_fast: rather small than late.
        """
        key = upload.id, options.leaves_alone
        future: Future = Future()

        def make() -> tuple[bytes, str]:
            most_px = self._fast_px() if is_fast else MOST_PX
            started = time.monotonic()
            made = self._maker.make(upload.picture, options, view, most_px)
            if not options.leaves_alone and view == WHOLE:
                h, w = preview_size(*upload.size, most_px)
                self._note_speed((time.monotonic() - started) / (h * w))
            return made

        with self._changed:
            if self.is_stopping:
                future.set_exception(Superseded())
                return future
            before = self._previews.pop(key, None)
            self._previews[key] = make, future
            self._changed.notify_all()
        if before is not None:
            _supersede(before[1])
        return future

    def _fast_px(self) -> float:
        areas = sorted({h * w for h, w in WINDOWS})
        fast = [area for area in areas if area * self._seconds_per_px <= FAST_S]
        return max([LEAST_PX, *fast])

    def _note_speed(self, seconds_per_px: float) -> None:
        # What was slow once, by a compilation, must not count for long.
        limited = min(seconds_per_px, 2 * self._seconds_per_px)
        self._seconds_per_px += 0.3 * (limited - self._seconds_per_px)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (
                    self.is_stopping or self._previews or self._waiting or self._chores
                ):
                    self._changed.wait()
                if self.is_stopping:
                    break
                job = None
                if not self._previews and self._waiting:
                    job = self._waiting.popleft()
                    job.state = "running"
            if job is not None:
                self._compute(job)
            elif self._previews:
                self._make_previews()
            else:
                self._do(self._chores.popleft())
        for _, future in self._previews.values():
            _supersede(future)

    def _make_previews(self) -> None:
        while self._previews and not self.is_stopping:
            with self._changed:
                _, (make, future) = self._previews.popitem(last=False)
            if not future.set_running_or_notify_cancel():
                continue  # who asked has gone
            try:
                future.set_result(make())
            except Exception as error:
                future.set_exception(error)

    def _do(self, chore: Callable[[], None]) -> None:
        try:
            chore()
        except Exception:  # the first request then meets it, and is told
            traceback.print_exc(file=sys.stderr)

    def _warm(
        self, shape: tuple[int, int], make_values: Callable[[], dict[str, float]]
    ) -> None:
        from lowlight_jax.inference.runner import DEFAULT_MODEL

        image = np.full((*shape, 3), 40, np.uint8)
        image[::2, ::2, 0] = 80
        network, values = load_network(DEFAULT_MODEL), make_values()
        started = time.monotonic()
        network(image, **values)
        self._note_speed((time.monotonic() - started) / image[..., 0].size)

    def _compute(self, job: Job) -> None:
        try:
            self._enhance(job)
            job.state = "done"
        except Cancelled:
            job.state = "cancelled"
        except Exception as error:
            job.error = _sentence(error)
            job.state = "failed"
        job.used = time.monotonic()
        job.upload.unlink(missing_ok=True)
        job.mask.unlink(missing_ok=True)
        if job.id not in self._kept:
            shutil.rmtree(job.folder, ignore_errors=True)
        self.sweep()

    def _enhance(self, job: Job) -> None:
        px = job.size[0] * job.size[1]
        job.go("reading", 0.0, 1.2 * px * self._seconds_per_px + 1e-3)
        self._maker.forget()  # the memory is for this one
        photo = read_photo(job.upload.read_bytes())
        method = load_network(job.options.model)
        mask = None
        if job.mask.exists():
            mask = resized_mask(read_mask(job.mask.read_bytes()), job.size)

        def tick(fraction: float) -> None:
            if self.is_stopping or job.state == "cancelled":
                raise Cancelled
            job.go("computing", _READ + (_COMPUTED - _READ) * fraction)
            self._make_previews()

        tick(0.0)
        photo = enhance_photo(method, photo, mask, progress=tick, **job.options.values)
        tick(1.0)
        job.go("writing", _COMPUTED)
        try:
            lost = write_photo(job.result, photo)
        except ImageFileError as error:
            raise Unwritable from error
        job.notes = tuple(map(as_sentence, (*photo.notes, *lost)))
        if job.state == "cancelled":
            raise Cancelled


def _supersede(future: Future) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(Superseded())


def _sentence(error: Exception) -> str:
    """What to tell a client of an error in a job; no path, no class, no stack."""
    if isinstance(error, NoHolesError):
        return NO_HOLES
    if isinstance(error, ValueError):  # ImageFileError among them
        return as_sentence(error)
    if is_out_of_memory(error):
        return "The photograph does not fit into the memory; a smaller one does."
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, Unwritable):
        return "The result could not be written; the server's disk may be full."
    return "The photograph could not be computed; the server's own output says why."


def _size_of(folder: Path) -> int:
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    except OSError:  # deleted by now
        return 0
