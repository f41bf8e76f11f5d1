"""Data sets of TensorFlow Datasets as a source, by their files alone."""

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from lowlight_jax.data.pairs import PairsError
from lowlight_jax.data.sources import Options, find_sources

SPLITS = {"train": 9, "validation": 2}


def image(value, channels=3):
    """A PNG file: of arrays tfds would make one with TensorFlow."""
    return cv2.imencode(".png", np.full((6, 8, channels), value, np.uint8))[1].tobytes()


def prepare(folder, name, features, example, splits=SPLITS, file_format="array_record"):
    """A builder of its own, prepared; its class is gone when it is read."""

    def info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def split_generators(self, _):
        return {
            split: [(i, example(split, i)) for i in range(count)]
            for split, count in splits.items()
        }

    methods = {
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": lambda self: (),
        "__module__": __name__,
    }
    kind = type(name, (tfds.core.GeneratorBasedBuilder,), methods, skip_registration=1)
    builder = kind(data_dir=folder, file_format=file_format)
    builder.download_and_prepare()


def picture(channels=3):
    return tfds.features.Image(shape=(None, None, channels), encoding_format="png")


def source(folder, name, **options):
    options = Options(source=f"tfds:{name}", tfds_dir=str(folder), **options)
    (found,) = find_sources(options)
    return found


@pytest.mark.parametrize("memory_gib", [4.0, 0.0])
def test_pairs_with_groups_are_split_by_them(tmp_path, memory_gib):
    features = {"low": picture(), "high": picture(), "group": tfds.features.Text()}
    prepare(
        tmp_path,
        "TinyPairs",
        features,
        lambda split, i: {
            "low": image(i),
            "high": image(10 * i),
            "group": f"place {i // 3}",
        },
        splits={"train": 9},
    )
    found = source(tmp_path, "tiny_pairs", validation_every=3, memory_gib=memory_gib)
    assert found.kind == "pairs" and found.about == "tfds:tiny_pairs"
    train, held_out = found.load("train"), found.load("validation")
    assert len(train) == 6 and len(held_out) == 3
    values = {int(pair.low[0, 0, 0]) for pair in held_out}
    assert values in ({0, 1, 2}, {3, 4, 5}, {6, 7, 8})
    assert all((10 * pair.low == pair.high).all() for pair in [*train, *held_out])
    assert len({pair.name for pair in [*train, *held_out]}) == 9
    assert len(found.load("all")) == 9
    by_image = source(tmp_path, "tiny_pairs", validation_every=3, validation_by="image")
    shown = [pair.name for pair in by_image.load("validation")]
    assert shown == ["train 0", "train 3", "train 6"]


@pytest.mark.parametrize("memory_gib", [4.0, 0.0])
def test_photographs_keep_the_splits_that_they_have(tmp_path, memory_gib):
    prepare(
        tmp_path,
        "TinyPhotos",
        {"image": picture(1), "label": tfds.features.Text()},
        lambda split, i: {
            "image": image(i + 100 * (split != "train"), 1),
            "label": "x",
        },
    )
    found = source(tmp_path, "tiny_photos", memory_gib=memory_gib)
    assert found.kind == "photographs"
    train, held_out = found.load("train"), found.load("validation")
    assert sorted(int(photo[0, 0, 0]) for photo in train.values()) == list(range(9))
    assert sorted(int(photo.max()) for photo in held_out.values()) == [100, 101]
    assert all(photo.shape == (6, 8, 3) for photo in train.values())


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(PairsError, match="no prepared data set 'none'"):
        source(tmp_path, "none")
    with pytest.raises(PairsError, match="expected tfds:NAME"):
        source(tmp_path, "")
    text = {"text": tfds.features.Text()}
    prepare(tmp_path, "Texts", text, lambda split, i: {"text": "a"})
    with pytest.raises(
        PairsError, match="expected images 'low' and 'high', or 'image'"
    ):
        source(tmp_path, "texts")
    only_test = {"test": 2}
    one = {"image": picture()}
    prepare(tmp_path, "Tests", one, lambda s, i: {"image": image(i)}, only_test)
    with pytest.raises(PairsError, match="has the splits test; expected train"):
        source(tmp_path, "tests").load("train")
