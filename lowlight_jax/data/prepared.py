"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow.

Only files are needed, not the code that made them, in a format with random access:
`download_and_prepare(file_format="array_record")`. With image features "low" and "high"
they are pairs, with "image" photographs; a text feature "group" keeps examples of one
place together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.read_only_builder import builder_from_files

from lowlight_jax.data.memory import Kept, Memory
from lowlight_jax.data.pairs import Pair, PairsError, split_by_group, split_labels

Kind = Literal["pairs", "photographs"]


def prepared_kind(name: str, folder: str = "") -> Kind:
    """What the examples of a data set are.

    Raises:
      PairsError: it is not there, or has none of the features.
    """
    return _kind(name, _builder(name, folder))


def load_prepared(
    name: str,
    split: str,
    *,
    folder: str = "",
    validation_every: int,
    test_every: int = 0,
    validation_by: str = "scene",
    memory: Memory | None = None,
) -> Sequence[Pair] | Mapping[str, np.ndarray]:
    """Part of a data set: pairs, or photographs by name, uint8 `[h, w, 3]`.

    Args:
      name: of the builder, like "div2k/bicubic_x2".
      split: "train", "validation" or "test", of the data set's own splits of that name;
        what it does not have is taken from its train split. "all": that whole split.
      folder: data_dir of TensorFlow Datasets; "": its default.
      validation_every, test_every: see `split_by_group`.
      validation_by: see `split_labels`.
      memory: where decoded images are kept while there is room.
    Raises:
      PairsError: it is not there, has no train split, or is in a format without random
        access.
    """
    builder = _builder(name, folder)
    own = list(builder.info.splits)
    if "train" not in own:
        raise PairsError(f"tfds:{name} has the splits {', '.join(own)}; expected train")
    is_own = split in own and split != "train"
    rows = _open(name, builder, split if is_own else "train")
    chosen: Sequence[int] = range(len(rows))
    if not is_own and split != "all":
        numbers = [str(i) for i in range(len(rows))]
        chosen = split_by_group(
            split_labels(validation_by, _groups(name, builder, len(rows)), numbers),
            0 if "validation" in own else validation_every,
            0 if "test" in own else test_every,
        )[split]
    names = {f"{split if is_own else 'train'} {i}": i for i in chosen}
    if _kind(name, builder) == "pairs":
        return Kept(_Pairs(rows, names), memory or Memory())
    return _Photographs(rows, names, memory or Memory())


def _builder(name: str, folder: str) -> tfds.core.DatasetBuilder:
    try:
        return builder_from_files(name, data_dir=folder or None)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise PairsError(
            f"there is no prepared data set {name!r} in "
            f"{folder or '~/tensorflow_datasets'}; prepare it with tfds.builder("
            f"{name!r}).download_and_prepare(file_format='array_record'), or pass "
            "data.tfds_dir"
        ) from error


def _kind(name: str, builder: tfds.core.DatasetBuilder) -> Kind:
    features = dict(builder.info.features or {})
    images = {k for k, f in features.items() if isinstance(f, tfds.features.Image)}
    if images >= {"low", "high"}:
        return "pairs"
    if "image" in images:
        return "photographs"
    raise PairsError(
        f"tfds:{name} has the features {', '.join(features)}; expected images 'low' "
        "and 'high', or 'image'"
    )


def _open(
    name: str, builder: tfds.core.DatasetBuilder, split: str, **options: Any
) -> Sequence[Mapping[str, Any]]:
    try:
        return builder.as_data_source(split, **options)
    except NotImplementedError as error:
        raise PairsError(
            f"tfds:{name} is prepared as {builder.info.file_format.value}, which has "
            "no random access; prepare it again with file_format='array_record'"
        ) from error


def _groups(name: str, builder: tfds.core.DatasetBuilder, count: int) -> list[str]:
    """Of all examples of the train split; without the feature each is its own."""
    features = builder.info.features
    if "group" not in features:
        return [str(i) for i in range(count)]
    images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    encoded = {key: tfds.decode.SkipDecoding() for key in images}
    labels = _open(name, builder, "train", decoders=encoded)
    return [row["group"].decode() for row in labels]


class _Pairs(Sequence[Pair]):
    """Decoded at each access."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], indices: Mapping[str, int]):
        self._rows, self._indices = rows, list(indices.items())

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Pair:
        name, row = self._indices[index]
        low, high = (_rgb8(name, self._rows[row][side]) for side in ("low", "high"))
        if low.shape != high.shape:
            raise PairsError(
                f"{name}: low has shape {low.shape}, high {high.shape}; expected the "
                "same"
            )
        return Pair(name, name, low, high)


class _Photographs(Mapping[str, np.ndarray]):
    """Decoded at their first access, and kept while there is room."""

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        indices: Mapping[str, int],
        memory: Memory,
    ):
        self._rows, self._indices, self._memory = rows, indices, memory
        self._decoded: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        row = self._indices[name]
        return self._memory.kept(
            self._decoded, name, lambda: _rgb8(name, self._rows[row]["image"])
        )

    def __iter__(self):
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


def _rgb8(name: str, image: np.ndarray) -> np.ndarray:
    """uint8 `[h, w, 3]` of an RGB or gray image."""
    if image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise PairsError(
            f"{name}: found {image.dtype} of shape {image.shape}; expected uint8 "
            "[h, w, c] with c = 3 or 1"
        )
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
