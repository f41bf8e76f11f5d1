"""Decoded pairs as a tensorflow-datasets data set: array_record files, no TensorFlow.

The only file that writes records of tensorflow-datasets.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

from lowlight_jax.data.pairs import Pair, natural_order

_NAME = "lowlight_pairs"
_SPLIT = "pairs"  # train and validation are split by group, when they are read


_VERSION = "2.0.0"


def _info(folder: Path) -> tfds.core.DatasetInfo:
    """Of pairs of a dark and a normal photograph of the same size."""
    image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
    text = tfds.features.Text()
    features = {"name": text, "group": text, "low": image, "high": image}
    identity = tfds.core.DatasetIdentity(
        name=_NAME,
        version=tfds.core.Version(_VERSION),
        data_dir=str(folder),
        module_name=__name__,
    )
    return tfds.core.DatasetInfo(
        builder=identity, features=tfds.features.FeaturesDict(features)
    )


def _png(image: np.ndarray) -> bytes:
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return cv2.imencode(".png", image[..., ::-1], fast)[1].tobytes()


class Records(Sequence[Pair]):
    """The pairs of a prepared folder, in order of name, decoded as they are indexed.

    Attributes:
      names, groups: of all pairs, known without decoding an image.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder):
        encoded = tfds.decode.SkipDecoding()
        labels = builder.as_data_source(
            _SPLIT, decoders={"low": encoded, "high": encoded}
        )
        rows = [(row["name"].decode(), row["group"].decode()) for row in labels]
        # Earlier versions stored examples in the order of a hash.
        self._order = sorted(range(len(rows)), key=lambda i: natural_order(rows[i][0]))
        self.names = [rows[i][0] for i in self._order]
        self.groups = [rows[i][1] for i in self._order]
        self._source = builder.as_data_source(_SPLIT)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Pair:
        row = self._source[self._order[index]]
        return Pair(self.names[index], self.groups[index], row["low"], row["high"])


def _directory(prepared: Path) -> Path:
    return prepared / _NAME / _VERSION


def exist(prepared: Path) -> bool:
    """Whether `write` has finished there."""
    return _directory(prepared).is_dir()


def write(prepared: Path, pairs: Iterable[Pair]) -> None:
    """Builds the records; they appear under their name only when all are written.

    One pair is in memory at a time. (tensorflow-datasets' own `download_and_prepare`
    holds up to 1 GiB of them to shuffle.)
    """
    unfinished = prepared.with_name(f"{prepared.name}.{os.getpid()}.tmp")
    try:
        folder = _directory(unfinished)
        folder.mkdir(parents=True)
        writer = tfds.core.SequentialWriter(
            _info(folder),
            max_examples_per_shard=sys.maxsize,
            file_format="array_record",
        )
        writer.initialize_splits([_SPLIT])
        for pair in pairs:
            example = {
                "name": pair.name,
                "group": pair.group,
                "low": _png(pair.low),
                "high": _png(pair.high),
            }
            writer.add_examples({_SPLIT: [example]})
        writer.close_all()
        try:
            os.replace(unfinished, prepared)
        except OSError:
            if not exist(prepared):  # else another process was faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read(prepared: Path) -> Records:
    """What `write` wrote."""
    return Records(tfds.builder_from_directory(_directory(prepared)))
