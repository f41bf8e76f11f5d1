"""Images of a folder, and what else lies there: nothing is left out without a word."""

import functools
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lowlight_jax.images.kinds import RAW_SUFFIXES, UNREAD

_NONE: Mapping[str, Sequence[Path]] = MappingProxyType({})
_NAMED = 5  # files of each reason; more are counted
# What systems leave in folders; nobody takes it for a photograph.
_LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}
_HIDDEN = "hidden"
_OTHER = "no images by their suffix"
_BESIDE = "raw files beside a picture of the same name, which is taken"
# Reasons that nobody needs to do anything about.
EXPECTED = {_HIDDEN, _OTHER, _BESIDE}


class LeftOut(dict[str, list[Path]]):
    """Files and folders that are not read, by reason."""

    def add(self, path: Path, reason: str) -> None:
        """One more; a folder may be searched twice."""
        self.setdefault(reason, []).append(path)

    def parted(self) -> tuple["LeftOut", "LeftOut"]:
        """What nobody needs to do anything about, and what may be missed."""
        parts = LeftOut(), LeftOut()
        for reason, paths in self.items():
            parts[reason not in EXPECTED][reason] = paths
        return parts

    def lines(self) -> list[str]:
        """A line for each reason: how many, and the first names."""
        once = {reason: list(dict.fromkeys(paths)) for reason, paths in self.items()}
        return [
            f"{len(paths)} left out, {reason}: {list_names(paths)}"
            for reason, paths in once.items()
        ]


def list_names(paths: Sequence[Path | str]) -> str:
    """The first few names, and how many more there are."""
    names = [printable(str(path)) for path in paths[:_NAMED]]
    if len(paths) > _NAMED:
        names.append(f"and {len(paths) - _NAMED} more")
    return ", ".join(names)


@functools.cache
def say_once(line: str) -> None:
    """A note on stderr; parts of a set are loaded one by one, and would repeat it."""
    print(line, file=sys.stderr)


def say_left_out(
    folder: Path, left_out: LeftOut, notes: Mapping[str, Sequence[Path]] = _NONE
) -> None:
    """A note for each reason, and for each sentence on files that were read.

    Args:
      folder: where they lie.
      left_out: see `search`.
      notes: files by sentence.
    """
    for line in left_out.lines():
        say_once(f"{printable(str(folder))}: {line}")
    for note, paths in notes.items():
        say_once(f"note: {list_names(paths)}: {note}")


def printable(name: str) -> str:
    """A file name as text: what is not UTF-8 in it becomes \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def name_of(file: Path, folder: Path) -> str:
    """The path below a folder without suffix, by which files are paired.

    Composed, because macOS stores "e" and its accent apart.
    """
    name = printable(str(file.relative_to(folder).with_suffix("")))
    return unicodedata.normalize("NFC", name)


def search(folder: Path, suffixes: Sequence[str]) -> tuple[list[Path], LeftOut]:
    """The images below a folder, sorted, and what is left out.

    Args:
      folder: to be searched.
      suffixes: of images, in lower case.
    """
    left_out = LeftOut()
    files = []

    def unreadable(error: OSError) -> None:
        left_out.add(Path(error.filename), f"unreadable ({error.strerror})")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(place)
        for name in sorted(folders):
            path = here / name
            reason = None
            if name.lower() in _LITTER:
                folders.remove(name)
            elif name.startswith("."):
                reason = _HIDDEN
            elif path.is_symlink():
                reason = "links to folders, which are not followed"
            if reason:
                folders.remove(name)
                left_out.add(path, reason)
        for name in names:
            path = here / name
            if reason := _reason(path, suffixes):
                left_out.add(path, reason)
            elif reason is None:
                files.append(path)
    developed = {
        f.with_suffix("") for f in files if f.suffix.lower() not in RAW_SUFFIXES
    }
    for path in files:
        if path.suffix.lower() in RAW_SUFFIXES and path.with_suffix("") in developed:
            left_out.add(path, _BESIDE)
    for paths in left_out.values():
        paths.sort()
    return sorted(set(files).difference(left_out.get(_BESIDE, []))), left_out


def _reason(path: Path, suffixes: Sequence[str]) -> str | None:
    """Why a file is left out; "" if nobody needs to know, None if it is not."""
    suffix = path.suffix.lower()
    is_picture = suffix in suffixes or suffix in UNREAD
    if path.name.startswith("."):
        is_shadow = path.name.startswith("._")  # macOS keeps one beside each file
        return _HIDDEN if is_picture and not is_shadow else ""
    if path.name.lower() in _LITTER:
        return ""
    try:
        is_file = path.is_file()
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if not is_file and is_picture:
        return "links to nothing" if path.is_symlink() else "no ordinary files"
    if suffix in suffixes:
        return None
    if suffix in UNREAD:
        name, advice = UNREAD[suffix]
        return f"{name}, which is not read ({advice})"
    return _OTHER
