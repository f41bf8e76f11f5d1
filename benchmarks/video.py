"""How steady videos come out, against the truth, and what a frame costs.

    python benchmarks/video.py [--photos FOLDER] [--scenes 3] [--jitter 0.04] [--h264]
    python benchmarks/video.py --only-times

Night clips of known truth are made from photographs, by default some that come with
scikit-image: a camera at rest, panning, zooming or shaking, or one at rest before which
people (cut out of the next photograph) walk by. Their light is scaled by 2 ** -stops
and, with `--jitter`, by exp(jitter * normal) of each frame, as a camera's exposure
trembles; it gets the shot and read noise of `ops.degrade.Exposure`, 8 bits and, with
`--h264` (PyAV), a real encoder, which takes noise for motion. Measured, over frames:
  flicker, warping error   see `metrics.video`; flow and cuts are those of the truth
  PSNR, SSIM               beside the truth; the exposure that a network chooses counts
for each frame by itself, the scene's thumbnail averaged over 1 s as it comes, averaged
with the exposure compensated (`video.scene`), and results denoised over time as well
(`video.temporal`), with the network's own denoising and without. The truth has flicker
too where the view moves: what comes into it has a brightness of its own.

Then the time that all cores together take for a frame of 640x360, for each part, and
from file to file (PyAV). At 25 frames a second four cores have 160 ms. Medians; other
processes of a busy machine change them.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lowlight_jax.inference.runner import Enhancer, Scene
from lowlight_jax.metrics import psnr_rgb, ssim_rgb
from lowlight_jax.metrics.video import VideoMeasures
from lowlight_jax.ops.degrade import Exposure
from lowlight_jax.ops.thumbnail import make_thumbnail
from lowlight_jax.runtime.allocator import keep_freed_memory
from lowlight_jax.video.scene import next_scene
from lowlight_jax.video.steady import START, FrameMethod
from lowlight_jax.video.temporal import blend_past

PHOTOGRAPHS = ("coffee", "chelsea", "astronaut", "rocket")  # of skimage.data
MOTIONS = ("rest", "pan", "zoom", "shake", "walkers")
FPS = 25
SMOOTH_SECONDS = 1.0
WALKERS = 3
TIMED = (360, 640)

Frames = list[np.ndarray]


def load(folder: Path | None, count: int) -> Frames:
    """RGB photographs, `[h, w, 3]` uint8."""
    if folder is None:
        import skimage.data

        return [getattr(skimage.data, name)() for name in PHOTOGRAPHS[:count]]
    read = (cv2.imread(str(path)) for path in sorted(folder.iterdir()))
    photographs = [cv2.cvtColor(p, cv2.COLOR_BGR2RGB) for p in read if p is not None]
    return photographs[:: max(len(photographs) // count, 1)][:count]


# Clips


def camera(motion: str, t: int, shake: np.ndarray) -> tuple[float, float, float]:
    """Scale of the view, and its shift in pixels."""
    if motion == "pan":
        return 1.0, 1.7 * (t - len(shake) / 2), 0.3 * t
    if motion == "zoom":
        return 1 / (1 + 0.006 * t), 0.0, 0.0
    return 1.0, *(shake[t] if motion == "shake" else (0.0, 0.0))


def person(photograph: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """A figure of its pixels, and how much of each is covered."""
    width = height // 2
    cover = np.zeros((height, width), np.float32)
    for centre, axes in (((0.5, 0.16), (0.2, 0.14)), ((0.5, 0.62), (0.35, 0.36))):
        x, y = np.multiply(centre, (width, height)).astype(int)
        radii = np.multiply(axes, (width, height)).astype(int)
        cv2.ellipse(cover, (x, y), radii, 0, 0, 360, 1, -1, cv2.LINE_AA)
    pixels = cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA)
    return pixels.astype(np.float32), cover


def make_clip(
    motion: str, photographs: Frames, size: tuple[int, int], count: int, seed: int
) -> Frames:
    """What is there, `[h, w, 3]` uint8, of the first photograph."""
    h, w = size
    rng = np.random.default_rng(seed)
    shake = cv2.GaussianBlur(rng.normal(0, 2, (count, 2)), (1, 3), 0.8)
    background = photographs[0]
    # As large as a margin of an eighth for the motion allows.
    scale = 1.25 * max(h / background.shape[0], w / background.shape[1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    background = cv2.resize(background, None, fx=scale, fy=scale, interpolation=method)
    centre = np.array(background.shape[1::-1]) / 2 - (w / 2, h / 2)
    walkers = []
    for i in range(WALKERS if motion == "walkers" else 0):
        figure = person(photographs[1 + i % (len(photographs) - 1)], h * (4 + i) // 10)
        speed = rng.uniform(0.005, 0.02) * w * rng.choice([-1, 1])
        walkers.append((*figure, rng.uniform(0, w), rng.uniform(0, h / 3), speed))
    frames = []
    for t in range(count):
        zoom, right, down = camera(motion, t, shake)
        x, y = centre + (right, down) + (1 - zoom) * np.array([w, h]) / 2
        view = cv2.warpAffine(
            background,
            np.float32([[zoom, 0, x], [0, zoom, y]]),
            (w, h),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        ).astype(np.float32)
        for pixels, cover, start, top, speed in walkers:
            width = cover.shape[1]
            left = (start + speed * t + width) % (w + width) - width
            place = np.float32([[1, 0, left], [0, 1, top + 2 * np.sin(t / 3)]])
            share = cv2.warpAffine(cover, place, (w, h))[..., None]
            view += share * (cv2.warpAffine(pixels, place, (w, h)) - view)
        frames.append(np.clip(np.rint(view), 0, 255).astype(np.uint8))
    return frames


def darken(frames: Frames, stops: float, jitter: float, seed: int) -> Frames:
    """As a camera would have taken them at night."""
    from lowlight_jax.ops.colour import linear_to_srgb, srgb_to_linear

    rng = np.random.default_rng(seed)
    noise, dark = Exposure(), []
    for frame in frames:
        light = np.asarray(srgb_to_linear(np.float32(frame) / 255))
        light = light * 2.0**-stops * np.exp(jitter * rng.normal())
        read, shot = rng.normal(size=(2, *light.shape)) / 255
        light += noise.read_noise_u8 * read
        light += noise.shot_noise_u8 * np.sqrt(np.maximum(light, 0)) * shot
        codes = 255 * np.asarray(linear_to_srgb(np.float32(np.clip(light, 0, 1))))
        dark.append(np.rint(codes).astype(np.uint8))
    return dark


def write(file: io.BytesIO | Path, frames: Frames) -> None:
    """As H.264 at the encoder's own quality, 4:2:0."""
    import av

    with av.open(file, "w", "matroska") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def encode(frames: Frames) -> Frames:
    """Through H.264 and back."""
    import av

    file = io.BytesIO()
    write(file, frames)
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


# Methods


def plainly_averaged(enhancer: Enhancer, frames: Iterable) -> Iterator[np.ndarray]:
    """The scene averaged as it comes, whatever the exposure does."""
    kept, smooth = np.exp(-1 / FPS / SMOOTH_SECONDS), None
    for frame in frames:
        thumbnail = make_thumbnail(frame)
        smooth = thumbnail if smooth is None else smooth
        smooth = (kept * smooth + (1 - kept) * thumbnail).astype(np.float32)
        yield enhancer(frame, scene=Scene(smooth, (0.0, 0.0, 1.0, 1.0)))


def steadily(method: FrameMethod, frames: Iterable) -> Iterator[np.ndarray]:
    state = START
    for frame in frames:
        state, result = method(state, frame, 1 / FPS)
        yield result


def make_methods(enhancer: Enhancer) -> dict[str, Callable[[Frames], Iterator]]:
    def steady(seconds: float, temporal: bool, **controls: float) -> Callable:
        method = FrameMethod(enhancer, seconds, temporal, controls=controls)
        return lambda frames: steadily(method, frames)

    return {
        "each by itself": steady(0.0, False),
        "plain average": lambda frames: plainly_averaged(enhancer, frames),
        "smoothed": steady(SMOOTH_SECONDS, False),
        "smoothed, temporal": steady(SMOOTH_SECONDS, True),
        "same, denoise 0": steady(SMOOTH_SECONDS, True, denoise=0.0),
    }


def score(results: Iterable[np.ndarray], truth: Frames) -> list[float]:
    """Flicker, warping error, PSNR and SSIM."""
    measures, quality = VideoMeasures(), []
    for result, target in zip(results, truth, strict=True):
        measures.add(result, target)
        pair = [np.float32(image)[None] / 255 for image in (result, target)]
        quality.append([float(m(*pair)[0]) for m in (psnr_rgb, ssim_rgb)])
    summary = measures.summary()
    means = np.mean(quality, axis=0)
    return [summary["flicker"], summary["warping_error"], *map(float, means)]


# Times


def core_ms(run: Callable[[], object], repeats: int) -> float:
    """Of the whole process, the median."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def time_parts(enhancer: Enhancer, frames: Frames, repeats: int) -> dict[str, float]:
    thumbnail, (first, second) = make_thumbnail(frames[0]), frames[:2]
    scene, _ = next_scene(None, thumbnail, 1 / FPS, SMOOTH_SECONDS)
    shown = Scene(scene.smooth, (0.0, 0.0, 1.0, 1.0))
    brighter = thumbnail * np.float32(1.01)
    _, past = blend_past(None, enhancer(first, scene=shown))
    result = enhancer(second, scene=shown)
    parts = {
        "thumbnail": lambda: make_thumbnail(second),
        "scene smoothed": lambda: next_scene(scene, brighter, 1 / FPS, SMOOTH_SECONDS),
        "network, denoise 1": lambda: enhancer(second, scene=shown, denoise=1.0),
        "network, denoise 0": lambda: enhancer(second, scene=shown, denoise=0.0),
        "temporal denoising": lambda: blend_past(past, result),
    }
    return {name: core_ms(run, repeats) for name, run in parts.items()}


def time_files(
    enhancer: Enhancer, frames: Frames, repeats: int
) -> dict[str, tuple[float, float]]:
    """Of a frame from file to file: core-ms and frames a second, here."""
    from lowlight_jax.video.files import enhance_video
    from lowlight_jax.video.writer import Coding

    times = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "night.mkv"), Path(folder, "day.mkv")
        write(source, frames * repeats)
        for denoise in (1.0, 0.0):
            method = FrameMethod(enhancer, controls={"denoise": denoise})
            method(START, frames[0], 0.0)  # compiles
            core, wall = time.process_time(), time.perf_counter()
            enhance_video(source, target, method, Coding("h264"))
            core, wall = time.process_time() - core, time.perf_counter() - wall
            count = len(frames) * repeats
            times[f"file to file, denoise {denoise:g}"] = (
                1e3 * core / count,
                count / wall,
            )
    return times


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument("--scenes", type=int, default=3, help="photographs for each")
    parser.add_argument("--motions", nargs="+", choices=MOTIONS, default=MOTIONS)
    parser.add_argument("--frames", type=int, default=24, help="of a clip")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 384), help="h w")
    parser.add_argument("--stops", type=float, default=3.0, help="of darkness")
    parser.add_argument("--jitter", type=float, default=0.0, help="of the exposure")
    parser.add_argument("--h264", action="store_true", help="encoded, as in reality")
    parser.add_argument("--backend", default="auto", help="jax, onnxruntime or auto")
    parser.add_argument("--only-times", action="store_true")
    parser.add_argument("--timed-size", type=int, nargs=2, default=TIMED, help="h w")
    parser.add_argument("--repeats", type=int, default=20, help="of what is timed")
    args = parser.parse_args(arguments)
    keep_freed_memory()  # as the command
    console, enhancer = Console(), Enhancer(backend=args.backend)
    photographs = load(args.photos, args.scenes + 1)  # walkers come out of another

    methods = {} if args.only_times else make_methods(enhancer)
    for motion in args.motions if methods else ():
        rows = {name: [] for name in ("truth", *methods)}
        for seed in track(range(args.scenes), description=motion, transient=True):
            order = photographs[seed:] + photographs[:seed]
            truth = make_clip(motion, order, args.size, args.frames, seed)
            dark = darken(truth, args.stops, args.jitter, seed)
            dark = encode(dark) if args.h264 else dark
            rows["truth"].append(score(truth, truth))
            for name, method in methods.items():
                rows[name].append(score(method(dark), truth))
        table = Table(title=f"{motion}, {args.stops:g} stops, jitter {args.jitter:g}")
        for column in ("", "flicker", "warping error", "PSNR", "SSIM"):
            table.add_column(column, justify="right" if column else "left")
        for name, scores in rows.items():
            flicker, warping, decibels, ssim = np.mean(scores, axis=0)
            table.add_row(
                *(name, f"{flicker:.3f}", f"{warping:.3f}"),
                *(f"{decibels:.2f}", f"{ssim:.4f}"),
            )
        console.print(table)

    clip = make_clip("pan", photographs, args.timed_size, 2, 0)
    night = darken(clip, args.stops, 0.0, 0)
    times = time_parts(enhancer, night, args.repeats)
    h, w = args.timed_size
    table = Table("", "core-ms", "frames/s here", title=f"a frame of {w}x{h}")
    for name, milliseconds in times.items():
        table.add_row(name, f"{milliseconds:.1f}", "")
    for name, (milliseconds, rate) in time_files(enhancer, night, args.repeats).items():
        table.add_row(name, f"{milliseconds:.1f}", f"{rate:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
