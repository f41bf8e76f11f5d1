"""How glibc's malloc keeps memory, for commands."""

import ctypes
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
_MOST = 2**31 - 1  # that mallopt takes
PHOTO_BUFFER = 2**29  # bytes; `dual_global` needs none larger, damaged files may


def keep_freed_memory(largest: int | None = None) -> None:
    """Tells glibc to hand buffers on to the next step or picture; elsewhere nothing.

    By default each large buffer goes back to the kernel, which must clear the pages
    again: 100 of 410 ms of CPU time in a step of 8 x 128 x 128, 10 with this; a third
    of the time that a folder of photographs takes. One arena, since only the main one
    can keep buffers of more than 32 MiB. The price is a higher peak: what is free may
    lie in pieces that are too small.

    Process-wide, hence for commands, not for a library; call it before JAX starts.

    Args:
      largest: bytes of a buffer that is kept, and of what is free at the heap's end;
        None, and where an old glibc refuses so much: all.
    """
    if largest is None or not _mallopt(_M_MMAP_THRESHOLD, largest):
        _mallopt(_M_MMAP_MAX, 0)
    _mallopt(_M_TRIM_THRESHOLD, largest or _MOST)
    _mallopt(_M_ARENA_MAX, 1)


def _mallopt(option: int, value: int) -> int:
    """glibc's, 0 where it is refused; with another C library or system, nothing."""
    if sys.platform != "linux":
        return 0
    return getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(option, value)
