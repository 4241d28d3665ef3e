"""Landlock: the kernel restricts which files a process may read. And dropping root's capabilities.

A filter on system calls cannot tell one path from another. Landlock restricts a thread and those that it starts later,
so it is set while there is only one.
"""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from flowrl.paths import PACKAGE_ROOT

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on every machine."""
_VERSION, _PATH_BENEATH = 1, 1
_SIGNAL_AT_PARENTS_END, _NO_NEW_PRIVS = 1, 38
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many file rights each version of Landlock knows; later ones know at least as many."""
_SYSTEM = (
    *("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup"),
    *("/dev/null", "/dev/urandom"),
)
"""What C libraries and jax read; no environments of other processes."""
_CAPABILITY_VERSION, _DROP_FROM_BOUNDS, _READ_ANYTHING, _MAX_CAPABILITIES = 0x20080522, 24, 2, 64


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_version() -> int:
    """This kernel's version of Landlock or 0."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, 0, _VERSION)))


def _not_set_up(consequence: str, required: bool) -> str:
    """What a failed restriction leaves open. With the system call's error."""
    number = ctypes.get_errno() or errno.EPERM
    if required:
        raise OSError(
            number,
            f"this kernel could confine untrusted code, but refuses to: {consequence}: {os.strerror(number)}. "
            "Run flowrl as an ordinary user, and outside of other sandboxes",
        )
    return f"{consequence}: {os.strerror(number)}"


def restrict_files(folders: Iterable[Path], required: bool) -> str:
    """Let this process read only Python and ``folders``. Tells the outcome.

    Raises:
        OSError: it is required and fails, although this kernel offers it.
    """
    everything = "all files of this user can be read"
    if sys.platform != "linux":
        return f"{everything}: no Landlock on {sys.platform}"
    version = landlock_version()
    if version < 1:
        return f"{everything}: this kernel has no Landlock"
    libc = ctypes.CDLL(None, use_errno=True)
    handled = (1 << _RIGHTS.get(version, _RIGHTS[5])) - 1
    attributes = _Ruleset(handled)
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    if rules < 0:
        return _not_set_up(everything, required)
    for path in {*map(Path, _SYSTEM), *_python(), *folders}:
        _allow(libc, rules, path, _EXECUTE | _READ_FILE | _READ_DIR)
    for folder in filter(None, sys.path):
        _allow(libc, rules, Path(folder), _READ_DIR)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    failed = libc.syscall(_RESTRICT_SELF, rules, 0) != 0
    os.close(rules)
    if failed:
        return _not_set_up(everything, required)
    return "only files of Python and its packages can be read, none written (Landlock)"


def _python() -> Iterable[Path]:
    """Yield the folders of Python and its packages. Of a folder that holds more, only this package."""
    yield from map(Path, (sys.prefix, sys.base_prefix, sys.exec_prefix))
    yield PACKAGE_ROOT / "flowrl"
    yield from (Path(path) for path in sys.path if path.endswith(("site-packages", "dist-packages")))


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    """Allow some rights on an existing path."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    beneath = _Beneath(rights if path.is_dir() else rights & _READ_FILE, handle)
    libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(beneath), 0)
    os.close(handle)


def end_with_parent() -> None:
    """Make the kernel kill this process when its parent ends. A sleeping one would outlive all other limits."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_END, int(signal.SIGKILL), 0, 0, 0)


def drop_capabilities(required: bool) -> str:
    """Drop all of root's capabilities but reading files. Tells the outcome.

    Raises:
        OSError: it is required and fails.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return f"no capabilities of root (user {os.geteuid()})"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(_MAX_CAPABILITIES):
        if capability != _READ_ANYTHING:
            libc.prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0)
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    # effective, permitted, inheritable: first of the lower 32, then of the higher ones.
    data = (ctypes.c_uint32 * 6)()
    if libc.capget(ctypes.byref(head), ctypes.byref(data)) != 0:
        return _not_set_up("root keeps its capabilities", required)
    # A container's root may lack even this one.
    kept = data[1] & 1 << _READ_ANYTHING
    data = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
    if libc.capset(ctypes.byref(head), ctypes.byref(data)) != 0:
        return _not_set_up("root keeps its capabilities", required)
    return "root without capabilities, except reading files"
