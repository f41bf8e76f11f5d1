"""What freed memory costs: measured in a process of its own, where glibc is."""

import os
import platform
import subprocess
import sys

import pytest

# Faults of pages while so many bytes are taken, written and given back 10 times.
_FAULTS = """
import resource, sys
import numpy as np
from lowlight_jax.runtime.allocator import PHOTO_BUFFER, keep_freed_memory
if sys.argv[1] != "default":
    keep_freed_memory(PHOTO_BUFFER if sys.argv[1] == "photo" else None)
size = int(sys.argv[2])
np.ones(size, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(size, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setting, size):
    command = [sys.executable, "-c", _FAULTS, setting, str(size)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_handed_on():
    """All of it, or only that of buffers that photographs need."""
    size = 64 * 10**6
    before = faults("default", size)
    assert faults("all", size) < before / 4
    assert faults("photo", size) < before / 4
    assert faults("photo", 10 * size) > before / 4
