"""One process at a time in a folder."""

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # Windows, which is not kept from doing it twice
    fcntl = None

LOCK_FILE = ".lock"


class InUseError(ValueError):
    """Another process holds the folder; one plain sentence."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder that exists; the system lets go of it however the process ends.

    Raises:
      InUseError: another process holds it; says which.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a file system without locks
            file = stack.enter_context((folder / LOCK_FILE).open("a+"))
            if fcntl:
                _take(file, folder)
        yield


def _take(file: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise InUseError(
            f"{folder} is in use by {holder}; wait for it or stop it, or choose "
            "another folder"
        ) from None
    now = datetime.datetime.now().isoformat(" ", "seconds")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}, since {now}")
    file.flush()
