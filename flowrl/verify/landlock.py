"""What files a process may still read: Python's own and those of its packages. By Landlock, where the kernel has it.

The filter of system calls (`limits.py`) cannot see which file is opened: without this, code that broke out could read
a key from a file, or from the memory of the process that verifies, and put it into the sentence that an author, or a
provider of models, gets to see. Landlock also forbids to trace, or to signal, processes that are not held so.

Only the calling thread and those that it starts are held, so that this comes before jax and its threads.
"""

import ctypes
import errno
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The numbers of the system calls, the same on every architecture."""
_VERSION_ONLY, _BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files each version of the kernel's interface knows; later ones know 16."""
_TCP, _SIGNALS_AND_SOCKETS = 3, 3
_PLACES = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
    "/proc/version", "/proc/sys", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/zero", "/dev/urandom",
)  # fmt: skip
"""What the interpreter, its libraries and XLA look at."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def read_only_python(more: Sequence[Path] = ()) -> str:
    """Takes every file from this process but Python's, its packages' and ``more``, and returns what holds now."""
    if sys.platform != "linux":
        return f"files can be read: no Landlock on {sys.platform}"
    try:
        _restrict([*_own_places(), *more])
    except OSError as error:
        return f"files can be read: no Landlock ({error.strerror})"
    return "no files are read but those of Python and its packages (Landlock)"


def _own_places() -> Iterator[Path]:
    package = Path(__file__).parents[1]
    yield package
    yield from map(Path, _PLACES)
    yield Path("/proc") / str(os.getpid())
    yield from {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    yield from {Path(prefix) / "lib" for prefix in (sys.base_prefix, sys.prefix)}
    yield from (Path(entry) for entry in sys.path if entry and Path(entry) != package.parent)


def _restrict(places: Sequence[Path]) -> None:
    """Lets this thread and its descendants read beneath these places, and write and run nothing at all.

    Raises:
        OSError: the kernel has no Landlock, or it is switched off.
    """
    version = _call(_CREATE_RULESET, None, 0, _VERSION_ONLY)
    # Folders may be listed: an import looks into each folder of the path.
    handled = ((1 << _RIGHTS.get(version, 16)) - 1) & ~_LIST
    wanted = _Ruleset(handled, _TCP if version >= 4 else 0, _SIGNALS_AND_SOCKETS if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(wanted), size, 0)
    try:
        for place in places:
            _allow_reading(ruleset, place)
        if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, place: Path) -> None:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this machine
    try:
        _call(_ADD_RULE, ruleset, _BENEATH, ctypes.byref(_Beneath(_READ, descriptor)), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    """Returns what a system call returns.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *passed))
    if result < 0:
        code = ctypes.get_errno() or errno.ENOSYS
        raise OSError(code, os.strerror(code))
    return result
