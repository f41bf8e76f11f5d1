"""How glibc's malloc keeps memory, for commands."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Tells glibc to hand buffers on to the next step or picture; elsewhere nothing.

    By default each large buffer goes back to the kernel, which must clear the pages
    again: 100 of 410 ms of CPU time in a step of 8 x 128 x 128, 10 with this; a third
    of the time that a folder of photographs takes. One arena, since only the main one
    can keep buffers of more than 32 MiB. The price is a higher peak: what is free may
    lie in pieces that are too small.

    Process-wide, hence for commands, not for a library; call it before JAX starts.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_ARENA_MAX, 1)
