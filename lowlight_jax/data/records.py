"""Decoded pairs as a tensorflow-datasets builder: array_record files, no TensorFlow.

The only file that writes records of tensorflow-datasets.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

from lowlight_jax.data.pairs import Pair, natural_order

_SPLIT = "pairs"  # train and validation are split by group, when they are read


class LowlightPairs(tfds.core.GeneratorBasedBuilder):
    """Pairs of a dark and a normal photograph of the same size."""

    VERSION = tfds.core.Version("2.0.0")

    def __init__(self, *, pairs: Iterable[Pair] = (), **kwargs):
        self._pairs = pairs
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        text = tfds.features.Text()
        features = {"name": text, "group": text, "low": image, "high": image}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager  # nothing is downloaded
        return {_SPLIT: self._generate_examples()}

    def _generate_examples(self):
        for i, pair in enumerate(self._pairs):
            yield (
                i,
                {
                    "name": pair.name,
                    "group": pair.group,
                    "low": _png(pair.low),
                    "high": _png(pair.high),
                },
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
        # tfds stores examples in the order of a hash.
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
    return prepared / "lowlight_pairs" / str(LowlightPairs.VERSION)


def exist(prepared: Path) -> bool:
    """Whether `write` has finished there."""
    return _directory(prepared).is_dir()


def write(prepared: Path, pairs: Iterable[Pair]) -> None:
    """Builds the records; they appear under their name only when all are written."""
    unfinished = prepared.with_name(f"{prepared.name}.{os.getpid()}.tmp")
    try:
        builder = LowlightPairs(
            pairs=pairs,
            data_dir=unfinished,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )
        builder.download_and_prepare()
        os.replace(unfinished, prepared)
    except OSError:
        if not exist(prepared):  # else another process was faster
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read(prepared: Path) -> Records:
    """What `write` wrote."""
    return Records(tfds.builder_from_directory(_directory(prepared)))
