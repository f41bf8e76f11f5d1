"""Images to be scored, from folders: paired by name, read, checked."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from lowlight_jax.evaluation.scoring import Item
from lowlight_jax.images.alpha import is_opaque
from lowlight_jax.images.files import ImageFileError, read_photo, search_images
from lowlight_jax.images.search import name_of, printable, say_left_out, say_once
from lowlight_jax.inference.methods import ClassicalMethod
from lowlight_jax.inference.runner import Runner


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
        files, left_out = search_images(folder)
        if not files:
            nothing = f"--{role}: {folder} holds no images"
            raise ValueError("\n  ".join([nothing, *left_out.lines()]))
        expected, losses = left_out.parted()
        say_left_out(folder, expected)
        problems += [f"--{role}: {line}" for line in losses.lines()]
        for file in files:
            name = name_of(file, folder)
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
    if photo.pixels.dtype != np.uint8 or not is_opaque(photo.alpha):
        found = "16 bits" if photo.pixels.dtype != np.uint8 else "transparency"
        raise ImageFileError(
            f"{path}: found an image with {found}; scores are defined for 8-bit RGB or "
            "gray images: convert it"
        )
    for note in photo.notes:
        say_once(f"note: {printable(str(path))}: {note}")
    return photo.pixels


def read_items(
    pairs: Iterable[tuple[str, Mapping[str, Path]]],
    method: Runner | ClassicalMethod | None,
    problems: list[str],
) -> Iterator[Item]:
    """Items of the files that can be scored; a sentence in `problems` for the others.

    `pred` comes from its file, or with a method from the file `low`.
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
        pred = method(images["low"]) if method else images["pred"]
        yield Item(name, pred, images.get("target"), images.get("low"))
