"""Small videos of every kind for tests, made with PyAV, and what is in a file."""

from fractions import Fraction

import numpy as np

TICK = Fraction(1, 90000)


def moving_picture(count, height=48, width=64, channels=3, seed=0):
    """A smooth picture that drifts by a pixel a frame, dark: uint8 frames."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(5, 90, (8, 10 + count // 8, channels))
    rows = np.linspace(0, coarse.shape[0] - 1.001, height)
    columns = np.arange(width + count) / 8 % (coarse.shape[1] - 1.001)
    top, left = rows.astype(int), columns.astype(int)
    a, b = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = (1 - b) * coarse[top][:, left] + b * coarse[top][:, left + 1]
    lower = (1 - b) * coarse[top + 1][:, left] + b * coarse[top + 1][:, left + 1]
    wide = (1 - a) * upper + a * lower
    wide += rng.normal(0, 2, wide.shape)
    wide = np.clip(np.rint(wide), 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(wide[:, i : i + width]) for i in range(count)]


def write_clip(
    path,
    frames,
    *,
    times=None,
    codec="libx264",
    pixels="yuv420p",
    options=None,
    tags=(),
    aspect=None,
    rotation=0,
    audio=0,
    audio_codec="aac",
    chapters=False,
    title=None,
    fps=25,
    tick=TICK,
):
    """Frames as a file; `times` in ticks, evenly by default."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = tick
        stream.options = {"crf": "10"} if options is None else options
        context = stream.codec_context
        names = "color_range", "colorspace", "color_primaries", "color_trc"
        for name, tag in zip(names, tags, strict=False):
            setattr(context, name, tag)
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        tracks = [container.add_stream(audio_codec, rate=48000) for _ in range(audio)]
        for track, language in zip(tracks, ("eng", "deu", "fra"), strict=False):
            track.metadata["language"] = language
        if len(tracks) > 1:
            tracks[1].disposition = av.stream.Disposition.hearing_impaired
        if title:
            container.metadata["title"] = title
        if chapters:
            names = {1: "dusk", 2: "night"}
            container.set_chapters(
                [
                    dict(
                        id=i,
                        start=500 * (i - 1),
                        end=500 * i,
                        time_base=Fraction(1, 1000),
                        metadata={"title": name},
                    )
                    for i, name in names.items()
                ]
            )
        step = round(1 / tick / fps)
        for i, pixels_of in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_of, "rgb24")
            frame.pts = i * step if times is None else times[i]
            frame.time_base = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        rng = np.random.default_rng(1)
        for track in tracks:
            layout = track.codec_context.format.name
            for start in range(0, 48000 * len(frames) // fps, 1024):
                sound = rng.normal(0, 0.1, (1, 1024)).astype(np.float32)
                if layout == "s16":
                    sound = (sound * 9999).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(sound, layout, "mono")
                frame.sample_rate, frame.pts = 48000, start
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def packets_of(path):
    """Of each stream, `(type, [(pts, dts, bytes), ...])`; times in seconds."""
    import av

    found = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                kind, packets = found.setdefault(
                    packet.stream_index, (packet.stream.type, [])
                )
                times = packet.pts * packet.time_base, packet.dts
                packets.append((*times, bytes(packet)))
    return found


def planes_of(path):
    """Luma of each frame as stored, and the times in seconds."""
    import av

    lumas, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
            rows = np.frombuffer(plane, kind).reshape(frame.height, -1)
            lumas.append(rows[:, : frame.width].astype(float))
            times.append(frame.pts * frame.time_base)
    return np.stack(lumas), times
