"""Where a command will write: found out before anything is computed.

Nothing is created here: what is checked is the nearest folder that exists.
"""

import argparse
import os
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path


class PathError(ValueError, argparse.ArgumentTypeError):
    """A path that cannot be used; one plain sentence, which argparse shows too."""


def user_path(text: str | Path) -> Path:
    """A path as it is given, `~` expanded: shells do not in `--output=~/scores.json`.

    Raises:
      PathError: there is no such home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise PathError(
            f"{text}: no home folder is known; expected a path without ~"
        ) from error


def check_folder(folder: Path, flag: str) -> None:
    """Whether files can be written in a folder, which need not exist yet.

    Args:
      folder: it, or a parent, exists.
      flag: what it was named by, like "--output".
    Raises:
      PathError: a file is in the way, or the system does not allow it.
    """
    _check_writable(folder, f"{flag} {folder}")


def check_file(path: Path, flag: str, suffixes: Collection[str] = ()) -> None:
    """Whether a file can be written, in a folder that need not exist yet.

    Args:
      path: an existing file is going to be replaced.
      flag: what it was named by.
      suffixes: what it may end in, in lower case; none: anything.
    Raises:
      PathError: its name ends in something else, it is a folder, or see `check_folder`.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise PathError(
            f"{flag} {path}: expected a name ending in {' or '.join(suffixes)}"
        )
    if path.is_dir():
        raise PathError(f"{flag} {path} is a folder; expected the name of a file")
    _check_writable(path.parent, f"{flag} {path}")


def check_outside(output: Path, inputs: Iterable[Path], flag: str) -> None:
    """Whether an output lies in none of the folders that are searched for input.

    Otherwise the next run would take the results of this one for photographs.

    Raises:
      PathError: it does, or is one of them.
    """
    resolved = output.resolve()
    for folder in inputs:
        if folder.is_dir() and resolved.is_relative_to(folder.resolve()):
            where = "is" if resolved == folder.resolve() else "lies inside"
            raise PathError(
                f"{flag} {output} {where} the input folder {folder}, where the next "
                "run would take results for photographs; choose a folder beside it"
            )


def ignores_case(folder: Path) -> bool:
    """Whether a.png and A.png are one file there, as macOS and Windows have it."""
    with tempfile.NamedTemporaryFile(prefix="Aa", dir=_existing(folder)) as file:
        path = Path(file.name)
        return path.with_name(path.name.swapcase()).exists()


def _check_writable(folder: Path, what: str) -> None:
    existing = _existing(folder)
    if not existing.is_dir():
        reason = f"{existing} is a file"
    else:
        try:
            with tempfile.TemporaryFile(dir=existing) as file:
                file.write(b"\0")  # a full disk allows an empty file
                file.flush()
            return
        except OSError as error:
            reason = f"{existing}: {error.strerror}"
    raise PathError(f"{what} cannot be written ({reason}); choose another folder")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    return existing
