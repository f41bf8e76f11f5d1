"""Nothing in a folder is left out without a word: it is counted and named by reason."""

import codecs
import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lowlight_jax.data.pairs import PairsError, find_pairs
from lowlight_jax.data.photographs import load_photographs
from lowlight_jax.enhance import __main__ as command
from lowlight_jax.evaluation.folders import pair_files
from lowlight_jax.images import search as searching
from lowlight_jax.images.files import (
    ImageFileError,
    Photo,
    read_photo,
    search_images,
    write_photo,
)
from lowlight_jax.inference.methods import load_method
from lowlight_jax.runtime.command import run_command

PHOTO = Photo(np.random.default_rng(0).integers(0, 99, (20, 24, 3)).astype(np.uint8))


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch, without_extras):
    monkeypatch.chdir(tmp_path)
    searching.say_once.cache_clear()


def save(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        write_photo(name, PHOTO)


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")


def enhance(*words):
    args = command.parse_args([*words, "--model", "gamma"])
    return command.run(args, load_method)


def test_reasons():
    save("in/a.png", "in/sub/b.png", "in/.hidden.png", "in/.cache/c.png", "in/._a.png")
    touch("in/x.HEIC", "in/y.cr2", "in/z.nef", "in/m.gif", "in/notes.txt", "in/none")
    touch("in/.DS_Store", "in/Thumbs.db", "in/.gitignore", "in/__MACOSX/._a.png")
    Path("in/link").symlink_to("sub")
    Path("in/gone.png").symlink_to("nowhere.png")
    os.mkfifo("in/pipe.png")
    Path("in/folder.png").mkdir()
    files, left_out = search_images("in")
    assert files == [Path("in/a.png"), Path("in/sub/b.png")]
    names = {
        reason.partition(",")[0]: [path.name for path in paths]
        for reason, paths in left_out.items()
    }
    assert names == {
        "hidden": [".cache", ".hidden.png"],
        "HEIC": ["x.HEIC"],
        "a camera's raw file": ["y.cr2", "z.nef"],
        "GIF": ["m.gif"],
        "no images by their suffix": ["none", "notes.txt"],
        "links to folders": ["link"],
        "links to nothing": ["gone.png"],
        "no ordinary files": ["pipe.png"],
    }
    advice = "pip install 'lowlight_jax[raw]', or develop it to a 16-bit TIFF"
    assert any(advice in reason for reason in left_out)


def test_more_than_a_few_are_counted():
    touch(*(f"in/{i}.heic" for i in range(9)))
    _, left_out = search_images("in")
    (line,) = left_out.lines()
    assert line.startswith(
        "9 left out, HEIC, which is not read (pip install 'lowlight_jax[heif]', or "
        "export it as JPEG"
    )
    assert line.endswith(
        "in/0.heic, in/1.heic, in/2.heic, in/3.heic, in/4.heic, and 4 more"
    )


def test_unreadable_folder(monkeypatch):
    save("in/a.png", "in/secret/b.png")
    scandir = os.scandir

    def deny(path):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    files, left_out = search_images("in")
    assert files == [Path("in/a.png")]
    assert left_out.lines() == ["1 left out, unreadable (Permission denied): in/secret"]


def test_other_suffixes_of_jpeg_are_read():
    save("in/a.jpg", "in/b.jpg")
    Path("in/a.jpg").rename("in/a.jfif")
    Path("in/b.jpg").rename("in/b.JPE")
    assert [path.name for path in search_images("in")[0]] == ["a.jfif", "b.JPE"]


def test_summary_of_the_command(capsys):
    save("in/a.png", "in/b.png")
    touch("in/c.heic", "in/notes.txt")
    assert enhance("in", "--output", "out") == 1
    out, err = capsys.readouterr()
    assert out.startswith("2 photos saved to out: a.png, b.png")
    assert "1 left out, HEIC, which is not read (pip install 'lowlight_jax" in err
    assert "1 left out, no images by their suffix: in/notes.txt" in err
    Path("in/c.heic").unlink()
    assert enhance("in", "--output", "out") == 0  # nothing that may be missed
    touch("only/c.heic")
    assert enhance("only", "--output", "out") == 2
    assert "1 left out, HEIC" in capsys.readouterr().err


def test_notes_of_the_command(capsys):
    """What a file or a format loses is said once for all files."""
    save("in/a.jpg", "in/b.jpg", "in/c.jpg")
    for name in ("in/a.jpg", "in/b.jpg"):
        Path(name).write_bytes(Path(name).read_bytes()[:-2])
    assert enhance("in", "--output", "out") == 0
    assert capsys.readouterr().err == (
        "note: in/a.jpg, in/b.jpg: it lacks its end marker; all of its pixels are "
        "there\n"
    )
    content = Path("in/c.jpg").read_bytes()
    Path("in/c.jpg").write_bytes(content[: len(content) * 3 // 4] + b"\xff\xd9")
    assert enhance("in", "--output", "out2") == 1
    assert "in/c.jpg is damaged or cut short" in capsys.readouterr().err


def not_utf8(name):
    with suppress(OSError):  # file systems of macOS refuse it
        Path(os.fsdecode(name)).parent.mkdir(parents=True, exist_ok=True)
        save(os.fsdecode(name))
        return
    pytest.skip("this file system has no such names")


def test_names_that_are_not_utf8(monkeypatch, capsys):
    not_utf8(b"in/caf\xe9.png")
    strict = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    monkeypatch.setattr("sys.stdout", strict)
    code = run_command(lambda: enhance("in", "--output", "out"), interrupted="")
    strict.seek(0)
    assert code == 0 and "caf\\xe9.png" in strict.read()
    assert len(search_images("out")[0]) == 1


def pairs(*names):
    save(*(f"data/{side}/{name}" for side in ("low", "high") for name in names))


def test_names_of_pairs(capsys):
    """Not UTF-8, and with an accent that macOS stores apart from its letter."""
    pairs("a.png")
    save("data/low/caf\u00e9.png", "data/high/cafe\u0301.png")
    not_utf8(b"data/low/\xe9.png")
    not_utf8(b"data/high/\xe9.png")
    found, problems = find_pairs("data")
    assert problems == []
    assert [pair.name for pair in found] == ["\\xe9", "a", "caf\u00e9"]
    touch("data/low/x.heic")
    find_pairs("data")
    find_pairs("data")
    assert capsys.readouterr().err.count("1 left out, HEIC") == 1


TABLE = "file,group\n0.png,a\n1,a\n\n   \n2.5,b\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        codecs.BOM_UTF8 + TABLE.encode(),
        codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("file,group", " file , group ").encode(),
        TABLE.replace("\n", ",,\n").encode(),
        TABLE.replace("group", "scene").encode(),
    ],
)
def test_table_of_groups(content):
    pairs("0.png", "1.png", "2.5.png")
    Path("data/pairs.csv").write_bytes(content)
    found, problems = find_pairs("data")
    assert problems == []
    assert [pair.group for pair in found] == ["a", "a", "b"]


def test_rows_of_no_use_are_named(capsys):
    pairs(*(f"{i}.png" for i in range(6)))
    rows = ["file,group", "0,a", "1,b,more", "2", "3,", "0,c", "no.png,d", "nor,d"]
    Path("data/pairs.csv").write_text("\n".join(rows))
    found, problems = find_pairs("data")
    assert len(found) == 6
    assert problems == [
        "pairs.csv, line 3: 3 values; expected 2, like the titles",
        "pairs.csv, line 4: 1 values; expected 2, like the titles",
        "pairs.csv, line 5: no group",
        "pairs.csv, line 6: 0 is in group a already",
        "pairs.csv: 2 names match no image: no.png, nor",
    ]
    assert "5 images have no row, and are groups of their own: 1, 2, 3, 4, 5" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"file,gr\xfcppe\n", "is no table in UTF-8"),
        (b"file;group\n0;a\n", "found 'file;group'"),
        (b"", "found nothing"),
        (b'file,group\n"0,' + b"a" * 200_000, "is no table in UTF-8"),
    ],
)
def test_what_is_no_table_is_one_sentence(content, found):
    pairs("0.png")
    Path("data/pairs.csv").write_bytes(content)
    with pytest.raises(PairsError, match=found):
        find_pairs("data")


def test_photographs(capsys):
    save("in/a.png", "in/b.png", "in/c.png", "in/c.jpg")
    touch("in/x.heic", "in/broken.png")
    parts = load_photographs("in", validation_every=0, bad_files="skip")
    assert set(parts["train"]) == {"a", "b", "c", "c.png"}  # none replaces another
    out, err = capsys.readouterr()
    assert "1 left out, HEIC" in err
    assert "1 problem(s) with the photographs" in out and "Skipped, as asked." in out


def test_folders_to_be_compared(capsys):
    save("pred/a.png", "target/a.jpg", "target/caf\u00e9.png", "pred/cafe\u0301.png")
    touch("pred/b.heic", "target/notes.txt")
    found, problems = pair_files({"pred": Path("pred"), "target": Path("target")})
    assert [name for name, _ in found] == ["a", "caf\u00e9"]
    (problem,) = problems
    assert problem.startswith("--pred: 1 left out, HEIC, which is not read")
    assert "target: 1 left out, no images by their suffix" in capsys.readouterr().err


def test_a_pipe_is_no_image():
    """Reading it would wait for ever."""
    os.mkfifo("pipe.png")
    with pytest.raises(ImageFileError, match=r"pipe\.png is no ordinary file"):
        read_photo("pipe.png")
