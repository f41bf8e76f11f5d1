"""Kinds of files by their suffix and by their first bytes, and what reads them.

HEIC, raw files and, by `enhance`, videos are read where the extra is installed, and
AVIF always; all other kinds here never.
"""

from importlib.util import find_spec

_DEVELOP = "develop it to a 16-bit TIFF with darktable, RawTherapee or its maker's tool"
_EXPORT = "export it as PNG or TIFF"
_INSTALL = "pip install 'lowlight_jax[{}]'"
_RAW = "3fr arw cr2 cr3 crw dcr dng erf fff iiq k25 kdc mef mos mrw nef nrw orf pef raf"
_RAW += " raw rw2 rwl sr2 srf srw x3f"
RAW_SUFFIXES = tuple(f".{name}" for name in _RAW.split())
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
WRITTEN_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
VIDEO_SUFFIXES = (*WRITTEN_VIDEO_SUFFIXES, ".avi")
# The extra, and its module, that reads (and writes, but for raw) such files.
_EXTRAS = {
    **dict.fromkeys(RAW_SUFFIXES, ("raw", "rawpy")),
    **dict.fromkeys(HEIC_SUFFIXES, ("heif", "pillow_heif")),
}
# What it is called, and what to do where it is not read, by suffix.
UNREAD = {
    **dict.fromkeys(
        RAW_SUFFIXES,
        ("a camera's raw file", f"{_INSTALL.format('raw')}, or {_DEVELOP}"),
    ),
    **dict.fromkeys(
        HEIC_SUFFIXES,
        ("HEIC", f"{_INSTALL.format('heif')}, or export it as JPEG, PNG or TIFF"),
    ),
    ".avif": ("AVIF", _EXPORT),
    ".gif": ("GIF", "name the file itself, or save it as PNG"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c"), ("JPEG 2000", _EXPORT)),
    ".jxl": ("JPEG XL", _EXPORT),
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), ("JPEG XR", _EXPORT)),
    **dict.fromkeys((".psd", ".psb"), ("Photoshop", _EXPORT)),
    ".xcf": ("GIMP", _EXPORT),
    ".kra": ("Krita", _EXPORT),
    **dict.fromkeys((".exr", ".hdr", ".pfm"), ("floating point", _EXPORT)),
    **dict.fromkeys(
        (".pbm", ".pgm", ".ppm", ".pnm", ".pam"), ("Netpbm", "convert it to PNG")
    ),
    **dict.fromkeys(
        (".tga", ".dds", ".ico", ".pcx", ".apng", ".qoi", ".dib", ".bpg", ".sgi"),
        ("of an uncommon kind", "convert it to PNG"),
    ),
    **dict.fromkeys((".dcm", ".fits", ".fit", ".nii"), ("scientific", _EXPORT)),
    **dict.fromkeys((".svg", ".pdf", ".eps", ".ai"), ("a drawing", _EXPORT)),
    **dict.fromkeys(
        VIDEO_SUFFIXES,
        ("a video", f"`enhance` does, with {_INSTALL.format('video')}"),
    ),
}
# Suffix that means the same, by the first bytes and where they are.
_MAGIC = (
    (0, b"GIF8", ".gif"),
    (0, b"8BPS", ".psd"),
    (0, b"v/1\x01", ".exr"),
    (0, b"#?RADIANCE", ".hdr"),
    (0, b"\xff\x0a", ".jxl"),
    (4, b"JXL ", ".jxl"),
    (4, b"jP  ", ".jp2"),
    (0, b"\xff\x4f\xff\x51", ".jp2"),
    (0, b"II\xbc\x01", ".jxr"),
    (0, b"gimp xcf", ".xcf"),
    (0, b"FUJIFILMCCD-RAW", ".raf"),
    (0, b"IIRO", ".orf"),
    (0, b"IIRS", ".orf"),
    (0, b"IIU\0", ".rw2"),
    (8, b"CR\x02", ".cr2"),
    (4, b"ftypcrx", ".cr3"),
    (4, b"ftypavi", ".avif"),
    (4, b"ftyphe", ".heic"),
    (4, b"ftypmif1", ".heic"),
    (4, b"ftypmsf1", ".heic"),
    (4, b"ftyphev", ".heic"),
    (4, b"ftyp", ".mp4"),
    (0, b"SIMPLE  =", ".fits"),
    (0, b"%PDF", ".pdf"),
    (128, b"DICM", ".dcm"),
    *((0, b"P%d" % kind, ".ppm") for kind in range(1, 8)),
)
HEAD_BYTES = 132


def missing_extra(suffix: str) -> str | None:
    """How to install what a kind needs and is not there; None if nothing is missing."""
    video = ("video", "av") if suffix in VIDEO_SUFFIXES else ("", "")
    extra, module = _EXTRAS.get(suffix, video)
    return _INSTALL.format(extra) if module and find_spec(module) is None else None


def readable_suffixes(always: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are always read, and those that are since an extra is installed."""
    return always + tuple(
        suffix
        for suffix in _EXTRAS
        if suffix not in always and not missing_extra(suffix)
    )


def suffix_of(head: bytes) -> str | None:
    """The suffix of what a file is by its first `HEAD_BYTES`; None if not known."""
    if head[4:8] == b"ftyp" and b"avif" in head[8 : int.from_bytes(head[:4])]:
        return ".avif"  # one of its brands, and maybe not the first
    for place, magic, suffix in _MAGIC:
        if head[place:].startswith(magic):
            return suffix
    return None
