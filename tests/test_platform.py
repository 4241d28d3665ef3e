"""What a worker process is set up with."""

import subprocess
import sys

import pytest

from flowrl.platform import keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from flowrl.platform import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(2):
    np.ones(6_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(6_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_memory_that_is_freed_is_used_again_without_the_kernel() -> None:
    plain, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("plain", "kept")
    )
    assert plain > 100, "glibc maps a large array anew each time, else this proves nothing"
    assert kept < plain / 10


def test_a_system_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: object) -> object:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", no_library)
    keep_freed_memory()
