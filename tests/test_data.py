"""Pairs from folders, splits, records, crops: aligned, complete, repeatable."""

import shutil

import cv2
import numpy as np
import pytest

from lowlight_jax.data import cached_pairs, photographs
from lowlight_jax.data.cached_pairs import load_pairs, load_split
from lowlight_jax.data.memory import Kept, Mapped, Memory
from lowlight_jax.data.pairs import (
    PairsError,
    find_pairs,
    is_lol_layout,
    split_by_group,
)
from lowlight_jax.data.pipeline import make_batches, stream_seed
from lowlight_jax.data.sources import Options, find_sources
from lowlight_jax.ops.damage import Damage
from lowlight_jax.training.data import evenly_spaced


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def picture(seed, h=30, w=40):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Five pairs of three scenes, in mixed formats and sizes."""
    root = tmp_path / "set"
    for i, suffix in enumerate(("png", "bmp", "png", "webp", "png")):
        size = (30, 40) if i % 2 else (50, 36)
        high = picture(i, *size)
        write(root / "high" / f"{i}.png", high)
        write(root / "low" / f"{i}.{suffix}", high // 4)
    (root / "pairs.csv").write_text("file,scene\n0,0\n1,0\n2,1\n3,8\n4.png,8\n")
    return root


def test_pairs_are_matched_by_name_whatever_the_format(folder):
    pairs, problems = find_pairs(folder)
    assert not problems
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4"]
    assert [pair.group for pair in pairs] == ["0", "0", "1", "8", "8"]


def test_records_hold_what_the_files_hold_in_order(folder, tmp_path):
    for _ in range(2):  # built, then read
        records = load_pairs(folder, cache_dir=tmp_path / "cache")
        assert records.names == ["0", "1", "2", "3", "4"]
        for i, pair in enumerate(records):
            np.testing.assert_array_equal(pair.high, picture(i, *pair.high.shape[:2]))
            assert pair.low.shape == pair.high.shape
    np.testing.assert_array_equal(records[0].low, records[0].high // 4)


def test_a_changed_file_is_read_again(folder, tmp_path):
    load_pairs(folder, cache_dir=tmp_path / "cache")
    write(folder / "high" / "0.png", picture(99, 50, 36))
    records = load_pairs(folder, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(records[0].high, picture(99, 50, 36))


def test_every_problem_is_listed_at_once(folder, tmp_path):
    write(folder / "low" / "only_low.png", picture(7))
    write(folder / "high" / "only_high.png", picture(7))
    write(folder / "high" / "1.png", picture(7, 8, 8))
    good = (folder / "low" / "2.png").read_bytes()
    (folder / "low" / "2.png").write_bytes(good[: len(good) // 2])
    (folder / "low" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(PairsError) as error:
        load_pairs(folder, cache_dir=tmp_path / "cache")
    message = str(error.value)
    assert "5 problem(s)" in message
    for part in ("only_low", "only_high", "1: low is 40x30 px, high is 8x8", "2.png"):
        assert part in message
    assert "--config.data.bad_pairs=skip" in message
    assert not list((tmp_path / "cache").glob("pairs/*")), "nothing half-built"


def test_bad_pairs_can_be_skipped(folder, tmp_path, capsys):
    (folder / "low" / "0.png").write_bytes(b"not a picture")
    records = load_pairs(folder, cache_dir=tmp_path / "cache", bad_pairs="skip")
    assert records.names == ["1", "2", "3", "4"]
    assert "0.png" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["low", "high"])
def test_missing_side_is_named(folder, missing):
    shutil.rmtree(folder / missing)
    with pytest.raises(PairsError, match=f"no folder '{missing}'"):
        find_pairs(folder)


def test_pairs_may_be_held_out_whatever_their_scene(folder, tmp_path):
    def names(split, by):
        options = {"validation_by": by, "cache_dir": tmp_path / "c"}
        pairs = load_split(folder, split, validation_every=2, **options)
        return [pair.name for pair in pairs]

    assert names("validation", "scene") == ["0", "1", "3", "4"]
    assert names("validation", "image") == ["0", "2", "4"]
    assert names("train", "image") == ["1", "3"]


def test_lol_layout(folder, tmp_path):
    root = tmp_path / "lol"
    shutil.copytree(folder, root / "our485")
    shutil.copytree(folder, root / "eval15")
    (root / "eval15" / "pairs.csv").unlink()
    for side in ("low", "high"):
        next((root / "eval15" / side).glob("0.*")).unlink()
    assert is_lol_layout(root) and not is_lol_layout(folder)

    def names(split):
        pairs = load_split(root, split, validation_every=8, cache_dir=tmp_path / "c")
        return [pair.name for pair in pairs]

    assert names("train") == ["2"]  # scenes 0 and 8 are held out
    assert names("validation") == ["0", "1", "3", "4"]
    assert names("test") == ["1", "2", "3", "4"]


def test_sets_beyond_memory_are_decoded_on_access(folder, tmp_path):
    pairs = load_split(
        folder, "all", validation_every=0, cache_dir=tmp_path / "c", memory=Memory(0)
    )
    assert pairs[0].low is not pairs[0].low
    assert [pair.name for pair in pairs] == ["0", "1", "2", "3", "4"]


def test_pairs_are_prepared_one_by_one(folder, tmp_path, monkeypatch):
    read, written = [], []
    write = cached_pairs.records.write

    def counted(pairs):
        for pair in pairs:
            written.append(len(read))
            yield pair

    monkeypatch.setattr(
        cached_pairs, "read_visible_rgb8", lambda file: read.append(file) or picture(0)
    )
    monkeypatch.setattr(
        cached_pairs.records, "write", lambda to, pairs: write(to, counted(pairs))
    )
    load_pairs(folder, cache_dir=tmp_path / "cache")
    assert written == [2, 4, 6, 8, 10]


def test_a_pair_skipped_once_is_named_again(folder, tmp_path, capsys):
    (folder / "low" / "0.png").write_bytes(b"no image")
    damage = folder / "high" / "4.png"
    damage.write_bytes(damage.read_bytes()[:-200])  # its header is whole
    options = {"cache_dir": tmp_path / "cache", "bad_pairs": "skip"}
    for _ in range(2):
        load_pairs(folder, **options)
        said = capsys.readouterr().out
        assert "low/0.png" in said and "high/4.png" in said and "Skipped" in said
    with pytest.raises(PairsError, match="high/4.png"):
        load_pairs(folder, cache_dir=tmp_path / "cache")


def test_nothing_is_left_of_an_unfinished_preparation(folder, tmp_path, monkeypatch):
    def fail(image):
        raise OSError("the disk is full")

    monkeypatch.setattr(cached_pairs.records, "_png", fail)
    with pytest.raises(OSError, match="the disk is full"):
        load_pairs(folder, cache_dir=tmp_path / "cache")
    assert not [*(tmp_path / "cache").rglob("*.tmp")]


def is_kept(items, index):
    return items[index] is items[index]


def test_memory_is_shared_by_all_parts_of_a_set(folder, tmp_path):
    """Room for three of five pairs, with both of their sides."""
    memory = Memory(2 * 3 * (50 * 36 + 50 * 36 + 30 * 40) / 2**30)
    options = {"validation_every": 8, "cache_dir": tmp_path / "c", "memory": memory}
    train, held_out = (
        load_split(folder, part, **options) for part in ("train", "validation")
    )
    kept = [is_kept(part, i) for part in (train, held_out) for i in range(len(part))]
    assert kept.count(True) == 3 and len(kept) == 5


def test_what_finds_no_room_leaves_it_to_smaller_ones():
    arrays = Mapped([10, 1000, 20], lambda size: np.zeros(size, np.uint8))
    kept = Kept(arrays, Memory(100 / 2**30))
    assert [is_kept(kept, i) for i in (0, 1, 2)] == [True, False, True]
    with pytest.raises(IndexError):
        kept[3]
    assert kept[-1] is kept[2]


@pytest.mark.parametrize("gib", [1.0, 0.0])
def test_pairs_of_photographs_are_made_as_they_are_used(gib):
    used = []

    class Watched(dict):
        def __getitem__(self, name):
            used.append(name)
            return super().__getitem__(name)

    by_name = Watched({name: picture(i) for i, name in enumerate("abc")})
    pairs = Kept(photographs.damaged_pairs(by_name, Damage()), Memory(gib))
    used.clear()  # the tests' check of annotations looks at items
    assert len(pairs) == 3 and not used
    again = [pairs[1], pairs[1]]
    assert used == ["b"] * (1 if gib else 2)
    np.testing.assert_array_equal(again[0].low, again[1].low)


def test_a_photograph_that_is_cut_short_is_named(tmp_path, capsys):
    for i in range(4):
        write(tmp_path / f"{i}.png", picture(i))
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    options = {"photographs": str(tmp_path), "validation_every": 4}
    with pytest.raises(PairsError, match=r"1 problem.* with the photographs:\n.*1.png"):
        find_sources(Options(**options))[0].load("train")
    (found,) = find_sources(Options(**options, bad_pairs="skip"))
    assert sorted(found.load("train")) == ["2", "3"]
    assert "1.png" in capsys.readouterr().out


def test_no_scene_is_on_both_sides():
    groups = [str(i // 3) for i in range(60)]
    parts = split_by_group(groups, 8)
    training, validation = parts["train"], parts["validation"]
    assert not parts["test"]
    assert sorted(training + validation) == list(range(60))
    assert {groups[i] for i in validation} == {"0", "8", "16"}
    assert not {groups[i] for i in validation} & {groups[i] for i in training}


def test_scenes_that_are_no_numbers_split_by_order():
    parts = split_by_group(["b", "a", "c", "a"], 2)
    assert (parts["train"], parts["validation"]) == ([0], [1, 2, 3])


def test_no_two_trainings_or_phases_share_random_numbers():
    """Seed 0 in phase 1 is not seed 1 in phase 0, as it was when both were added."""
    seeds = {stream_seed(seed, phase) for seed in range(100) for phase in range(5)}
    assert len(seeds) == 500 and max(seeds) < 2**32
    examples = [{"high": picture(i)} for i in range(8)]

    def first_batch(seed, phase):
        batches = make_batches(
            examples, seed=stream_seed(seed, phase), crop_px=24, batch_size=8
        )
        return next(batches)["high"]

    batches = {first_batch(s, p).tobytes() for s in range(3) for p in range(3)}
    assert len(batches) == 9


def test_a_test_part_is_taken_from_what_is_left():
    groups = [str(i // 3) for i in range(60)]
    parts = split_by_group(groups, 8, test_every=5)
    assert sorted(sum(parts.values(), [])) == list(range(60))
    by_part = {part: {groups[i] for i in chosen} for part, chosen in parts.items()}
    assert by_part["validation"] == {"0", "8", "16"}
    assert by_part["test"] == {"1", "6", "12", "18"}
    assert not by_part["train"] & (by_part["test"] | by_part["validation"])


def test_embedded_photographs_are_there():
    for names in photographs.EMBEDDED.values():
        for image in photographs.load_embedded(names).values():
            assert image.ndim == 3 and image.dtype == np.uint8
    both = {*photographs.EMBEDDED["train"]} & {*photographs.EMBEDDED["validation"]}
    assert not both


def scenes(count, h=40, w=50):
    """Views whose pixels say which scene, row and column they come from."""
    views = []
    for i in range(count):
        rows, columns = np.mgrid[:h, :w].astype(np.uint8)
        image = np.stack([np.full_like(rows, i), rows, columns], axis=-1)
        views.append({"low": image, "high": 255 - image})
    return views


def take(count, **arguments):
    defaults = {"seed": 0, "crop_px": 24, "batch_size": 4}
    batches = make_batches(scenes(6), **(defaults | arguments))
    return [next(batches) for _ in range(count)]


def test_views_stay_aligned_under_augmentation():
    for batch in take(6):
        assert batch["low"].shape == (4, 24, 24, 3)
        np.testing.assert_array_equal(batch["low"], 255 - batch["high"])


def test_augmentation_flips_and_turns():
    crops = np.concatenate([batch["low"] for batch in take(12)])
    corners = crops[:, [0, 0, -1], [0, -1, 0], 1:].astype(int)
    right, down = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    assert (
        len({tuple(np.sign([*r, *d])) for r, d in zip(right, down, strict=True)}) == 8
    )


def test_each_epoch_sees_every_scene_once():
    seen = np.concatenate([batch["low"][:, 0, 0, 0] for batch in take(3)])
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))


def test_batches_repeat_by_seed_and_number_alone():
    first, again, later = take(5), take(5, threads=4), take(2, first_batch=3)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["low"], b["low"])
    for a, b in zip(first[3:], later, strict=True):
        np.testing.assert_array_equal(a["low"], b["low"])
    assert (take(1, seed=1)[0]["low"] != first[0]["low"]).any()


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("count", [6, 7])  # 7 scenes divide over no number of hosts
def test_hosts_share_the_batches_of_one(hosts, count):
    """Disjoint and together complete: crop for crop what a single host would have."""
    arguments = {"seed": 3, "crop_px": 24, "batch_size": 4}
    alone = make_batches(scenes(count), **arguments)
    shares = [
        make_batches(scenes(count), **arguments, host_index=i, host_count=hosts)
        for i in range(hosts)
    ]
    seen = []
    for _ in range(7):
        whole = next(alone)
        parts = [next(share) for share in shares]
        numbers = np.concatenate([part["number"] for part in parts])
        assert sorted(numbers) == list(whole["number"]) == list(range(4))
        for side in ("low", "high"):
            crops = np.concatenate([part[side] for part in parts])
            np.testing.assert_array_equal(crops[np.argsort(numbers)], whole[side])
        seen += list(whole["low"][:, 0, 0, 0])
    for epoch in range(len(seen) // count):
        chosen = seen[epoch * count : (epoch + 1) * count]
        assert sorted(chosen) == list(range(count))


def test_evenly_spaced_items():
    assert [*evenly_spaced("abcdefg", 3)] == ["a", "c", "e"]
    assert evenly_spaced("abc", 0) == evenly_spaced("abc", 3) == "abc"
    assert evenly_spaced("abc", 5) == "abc"
