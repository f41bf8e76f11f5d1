"""Exposure brackets: several photographs of one scene, each with its own exposure.

Each folder of images is one scene. Its frames are aligned and fused; the fusion is what
every frame that is not brighter should become. So the targets have what no darkened
photograph has: light in the shadows and detail in the highlights.
Images are uint8 `[h, w, 3]`, sRGB. Not here: the split, which is that of pairs.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from lowlight_jax.data import records
from lowlight_jax.data.cached_pairs import fingerprint
from lowlight_jax.data.pairs import Pair, PairsError, report_problems, size_noting
from lowlight_jax.data.records import Records
from lowlight_jax.images.files import read_visible_rgb8, search_images
from lowlight_jax.images.search import LeftOut, printable, say_left_out
from lowlight_jax.runtime.cache import default_cache_dir, kept_in, writable_cache
from lowlight_jax.runtime.errors import of_item
from lowlight_jax.runtime.outputs import user_path
from lowlight_jax.runtime.whole_file import write_whole

MAX_PX = 768
# A JPEG as dark as this has little but blocks to learn from.
DARKEST_MEAN_U8 = 12.0
# A frame of the target's mean is its identity; means of a fusion and a frame scatter.
BRIGHTER_U8 = 2.0
# Of the pixels that two neighbouring frames can be compared by. By experiment on 64
# synthetic brackets (HDR panoramas and photographs; 2 to 5 frames 1 to 3 stops apart,
# noise, JPEG of quality 75 to 95): at most 0.3 % where the scene stood still and the
# camera shifted by up to 12 px and turned by up to 1 degree. An object of 3 % of the
# picture that moved was above 1 % in 63 of 64, one of 1 % in 24; texture that swayed by
# 3 px in a third of the picture in 49.
MOST_MOVING = 0.01
_LEAST_OVERLAP = 0.75  # of a side; what is aligned farther off is no bracket
_COMPARABLE_U8 = (16, 240)  # below is noise, above a channel may be clipped


class MovingSceneError(PairsError):
    """The frames of a bracket do not show the same."""


def find_brackets(folder: str | Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Folders of images below `folder`, at any depth: each is one scene.

    Returns:
      The files of each scene, by its path, and one line per problem: images outside a
      scene, a single frame, unreadable headers, differing sizes.
    Raises:
      PairsError: there is no scene.
      ImageFileError: there is no such folder.
    """
    folder = Path(folder)
    by_scene: dict[str, list[Path]] = {}
    found, left_out = search_images(folder)
    say_left_out(folder, left_out)
    for file in found:
        scene = printable(file.parent.relative_to(folder).as_posix())
        by_scene.setdefault(scene, []).append(file)
    loose = by_scene.pop(".", [])
    if not by_scene:
        raise PairsError(
            f"{folder} holds no exposure brackets; expected a subfolder for each scene"
        )
    problems = [f"{file.name}: not in the subfolder of a scene" for file in loose]
    scenes, notes = {}, {}
    for scene, files in by_scene.items():
        try:
            sizes = sorted({size_noting(file, notes) for file in files})
        except Exception as error:
            problems.append(of_item(error, scene))
            continue
        if len(files) == 1:
            problems.append(f"{scene}: a single frame; expected two or more")
        elif len(sizes) > 1:
            found = ", ".join(f"{w}x{h}" for h, w in sizes)
            problems.append(f"{scene}: frames of {found} px; expected one size")
        else:
            scenes[scene] = files
    say_left_out(folder, LeftOut(), notes)
    return scenes, problems


def load_brackets(
    folder: str | Path,
    *,
    cache_dir: str | Path = "",
    bad_pairs: str = "error",
    max_px: int = MAX_PX,
) -> Records:
    """Pairs of all brackets of a folder: a frame, and the fusion of its bracket.

    The first call fuses and writes records; later calls read them. Scenes that move are
    left out and named in one line. A pair is named "scene/frame"; its group is the
    first folder of the scene's path, so that brackets of one place can share one.

    Args:
      folder: see `find_brackets`.
      cache_dir: where the records live; "" is `default_cache_dir()`.
      bad_pairs: "error" or "skip", for all that is wrong but scenes that move.
      max_px: of the long side; larger frames are reduced.
    Raises:
      PairsError: anything is wrong and `bad_pairs` is "error", or nothing is left.
    """
    scenes, problems = find_brackets(folder)
    settings = (max_px, DARKEST_MEAN_U8, BRIGHTER_U8, MOST_MOVING)
    key = fingerprint(
        (file, f"{scene}|{settings}")
        for scene, files in scenes.items()
        for file in files
    )
    prepared = user_path(cache_dir or default_cache_dir()) / "brackets2" / key
    if not records.exist(prepared):
        prepared = writable_cache(prepared)
    if not records.exist(prepared):

        def prepare(folder: Path) -> None:
            pairs = _read_scenes(scenes, max_px, folder.with_suffix(".json"))
            if first := next(pairs, None):  # no records can be written of nothing
                records.write(folder, itertools.chain([first], pairs))

        prepared = kept_in(prepared, prepare)
    # Why, for later calls too.
    moving, broken = json.loads(prepared.with_suffix(".json").read_text())
    report_problems(folder, problems + broken, bad_pairs, "brackets")
    if moving:
        print(
            f"{folder}: {len(moving)} of {len(scenes)} scenes move and are left out: "
            f"{', '.join(moving)}"
        )
    if not records.exist(prepared):
        raise PairsError(f"{folder} holds no usable bracket")
    return records.read(prepared)


def _read_scenes(
    scenes: Mapping[str, Sequence[Path]], max_px: int, left_out: Path
) -> Iterator[Pair]:
    """The pairs of all scenes; `[moving, problems]` goes to the file `left_out`."""
    moving, problems = [], []
    for scene, files in track(scenes.items(), "Fusing brackets", transient=True):
        try:
            frames = {
                printable(file.name): _reduced(read_visible_rgb8(file), max_px)
                for file in files
            }
            yield from bracket_pairs(scene, frames)
        except MovingSceneError:
            moving.append(scene)
        except Exception as error:
            problems.append(of_item(error, scene))
    write_whole(left_out, json.dumps([moving, problems]).encode())


def _reduced(image: np.ndarray, max_px: int) -> np.ndarray:
    """By area averaging, so that the long side has at most `max_px`."""
    h, w = image.shape[:2]
    scale = max_px / max(h, w)
    if scale >= 1:
        return image
    size = max(1, round(w * scale)), max(1, round(h * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def bracket_pairs(scene: str, frames: Mapping[str, np.ndarray]) -> list[Pair]:
    """The frames by name, in any order, each with the fusion of all; see the head.

    Left out are frames that are brighter than the fusion (mean of all values, by more
    than `BRIGHTER_U8`) or darker than `DARKEST_MEAN_U8`; they still are fused.

    Args:
      scene: path of its folder; the group is the first part.
      frames: two or more of one size.
    Raises:
      MovingSceneError: the frames do not show the same.
      PairsError: no frame is left.
    """
    names = sorted(frames, key=lambda name: frames[name].mean())
    aligned = align([frames[name] for name in names])
    for dark, bright in zip(aligned, aligned[1:], strict=False):
        if moving_part(dark, bright) > MOST_MOVING:
            raise MovingSceneError(f"{scene} moves")
    high = fuse(aligned)
    brightest = high.mean() + BRIGHTER_U8
    pairs = [
        Pair(f"{scene}/{name}", scene.partition("/")[0], low, high)
        for name, low in zip(names, aligned, strict=True)
        if DARKEST_MEAN_U8 <= low.mean() <= brightest
    ]
    if not pairs:
        raise PairsError(
            f"{scene}: no frame has a mean from {DARKEST_MEAN_U8:g} to that of the "
            f"fusion, {high.mean():.0f}"
        )
    return pairs


def fuse(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Exposure fusion of aligned frames, clipped and rounded.

    Source: Mertens, Kautz, Van Reeth 2007, "Exposure Fusion", doi:10.1109/PG.2007.17.
    Differs: OpenCV's defaults weight by contrast and saturation, not by how well a
      pixel is exposed.
    """
    fused = cv2.createMergeMertens().process(list(frames))
    return np.uint8(np.rint(np.clip(fused, 0, 1) * 255))


def align(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Frames, in order of brightness, laid on the middle one, as far as all overlap.

    Shifts and turns are undone. Where a shift by whole pixels leaves less than half a
    pixel, nothing is interpolated.

    Raises:
      MovingSceneError: they overlap by less than three quarters of a side.
    Source: phase correlation (Kuglin, Hines 1975), refined by the enhanced correlation
      coefficient (Evangelidis, Psarakis 2008, doi:10.1109/TPAMI.2008.113), both on luma
      of equal histograms. The median threshold bitmaps of Ward 2003 (`cv2.AlignMTB`)
      were more than 5 px off in a fifth of brackets like those of `MOST_MOVING`, this
      in none.
    """
    h, w = frames[0].shape[:2]
    corners = np.float32([[0, 0], [w - 1, 0], [0, h - 1], [w - 1, h - 1]])
    middle = frames[len(frames) // 2]
    aligned, places = [], []
    for frame in frames:
        warp = _displacement(middle, frame)
        # Where the frame's corners come to lie.
        place = cv2.transform(corners[None], cv2.invertAffineTransform(warp))[0]
        shift = np.rint(np.mean(place - corners, axis=0))
        if np.abs(place - corners - shift).max() < 0.5:
            place = corners + shift
            warp = np.float32([[1, 0, -shift[0]], [0, 1, -shift[1]]])
        places.append(place)
        aligned.append(
            cv2.warpAffine(
                frame,
                warp,
                (w, h),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )
    x, y = np.moveaxis(places, -1, 0)
    lefts, tops, rights, bottoms = x[:, ::2], y[:, :2], x[:, 1::2], y[:, 2:]
    left, top = int(np.ceil(lefts.max())), int(np.ceil(tops.max()))
    right, bottom = int(rights.min()) + 1, int(bottoms.min()) + 1
    if right - left < _LEAST_OVERLAP * w or bottom - top < _LEAST_OVERLAP * h:
        raise MovingSceneError("the frames hardly overlap")
    return [frame[top:bottom, left:right] for frame in aligned]


def _displacement(reference: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """`[2, 3]` float32: from places in `reference` to those in `frame`, in px."""
    first, second = _luma(reference), _luma(frame)
    if first.mean() < second.mean():
        first = _matched(first, second)
    else:
        second = _matched(second, first)
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(np.float32(first), np.float32(second), window)
    warp = np.float32([[1, 0, x], [0, 1, y]])
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    with contextlib.suppress(cv2.error):  # it did not converge: the shift alone
        _, warp = cv2.findTransformECC(
            first, second, warp.copy(), cv2.MOTION_EUCLIDEAN, stop, None, 5
        )
    return warp


def moving_part(dark: np.ndarray, bright: np.ndarray) -> float:
    """How much differs between two aligned frames, apart from the exposure; [0, 1].

    The darker frame gets the histogram of the brighter one. A pixel has moved where the
    brighter frame lies outside what the other has in the 3x3 px around, so that half a
    pixel at an edge is no movement.

    Returns:
      The part of the pixels that can be compared; 0 where these are below 1 %.
    """
    dark, bright = (cv2.blur(_luma(frame), (3, 3)) for frame in (dark, bright))
    expected = _matched(dark, bright)
    least, most = _COMPARABLE_U8
    comparable = (np.minimum(dark, bright) >= least) & (
        np.maximum(expected, bright) <= most
    )
    if comparable.mean() < 0.01:
        return 0.0
    box = np.ones((3, 3), np.uint8)
    # 12 % of a code value is a third of a stop; the constant is noise and JPEG.
    tolerance = 8 + 0.12 * bright
    above = bright - tolerance > cv2.dilate(expected, box)
    below = bright + tolerance < cv2.erode(expected, box)
    moved = np.uint8(comparable & (above | below))
    moved = cv2.morphologyEx(moved, cv2.MORPH_OPEN, box)  # single pixels are noise
    return float(moved.sum() / comparable.sum())


def _luma(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _matched(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """uint8 `[h, w]` with the histogram of another: a monotone change of exposure."""
    counts, wanted = (np.bincount(i.ravel(), minlength=256) for i in (image, other))
    middle_rank = np.cumsum(counts) - counts / 2
    curve = np.searchsorted(np.cumsum(wanted), middle_rank)
    return np.uint8(np.minimum(curve, 255))[image]
