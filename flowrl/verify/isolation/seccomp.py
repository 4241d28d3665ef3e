"""Filters on system calls by seccomp. One for untrusted code, one that only removes the network.

The first is an allow-list of system calls: no sockets, no new processes or programs, nothing opened for writing,
nothing renamed or removed, no tracing, no signals to others. It restricts root as well, whom RLIMIT_NPROC does not. A
filter cannot see the arguments of clone3 and openat2, so these two "do not exist"; the C library then falls back to
clone and openat.
"""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def prepare_filter() -> None:
    """Load libseccomp. Finding it starts programs, which limits set later would forbid."""
    why_no_filter()


def install_filter(required: bool) -> list[str]:
    """Filter this process's system calls irrevocably. Its threads too; lists what is enforced.

    Args:
        required: the code is untrusted: on Linux it is not run without a filter.

    Raises:
        OSError: it is required and fails; tells what to install.
    """
    reason = why_no_filter()
    if reason is None:
        try:
            _allow_only(_FREE.split())
        except OSError as error:
            reason = str(error)
    if reason is not None and required and sys.platform == "linux":
        raise OSError(
            f"the kernel's filter cannot be set up ({reason}), and untrusted code is not run "
            "without it. Install libseccomp 2, e.g. the Debian package libseccomp2"
        )
    if reason is not None:
        return [
            f"no kernel filter on this platform ({reason}): only the allow-lists of texts and artefacts keep code from "
            "the network, processes and files"
        ]
    return [
        "no network: no sockets (seccomp)",
        "no new processes or programs, no tracing of others (seccomp)",
        "read-only file system: nothing is opened for writing, renamed or removed (seccomp)",
    ]


def deny_network() -> str:
    """Remove the network from this process and its children. Where the kernel can; tells the outcome.

    Local sockets (AF_UNIX, and AF_NETLINK to the kernel) stay: drivers of accelerators need them.
    """
    drives_tpu = "tpu" in os.environ.get("JAX_PLATFORMS", "") or any(Path("/dev").glob("accel[0-9]*"))
    reason = why_no_filter() or ("a TPU is driven through it" if drives_tpu else None)
    if reason is None:
        try:
            _refuse_network()
        except OSError as error:
            reason = str(error)
    if reason is not None:
        return f"network allowed: {reason}"
    return "no network: sockets of other machines are refused (seccomp)"


def why_no_filter() -> str | None:
    """Why system calls cannot be filtered here. None if they can."""
    if sys.platform != "linux":
        return f"no seccomp on {sys.platform}"
    try:
        import pyseccomp  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        return f"libseccomp cannot be loaded: {error}"
    return None


_FREE = """
access arch_prctl brk clock_getres clock_gettime clock_nanosleep close dup dup2 dup3 epoll_create1 epoll_ctl
epoll_pwait epoll_wait eventfd2 exit exit_group faccessat faccessat2 fadvise64 fstat fstatfs futex
getcwd getdents64 getegid geteuid getgid getpgrp getpid getppid getrandom getresgid getresuid getrlimit getrusage
getsid gettid gettimeofday getuid lseek lstat madvise membarrier mincore mmap mprotect mremap msync munmap
nanosleep newfstatat pipe2 poll ppoll pread64 preadv pselect6 read readlink readlinkat readv restart_syscall
rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getparam sched_getscheduler sched_yield select set_robust_list set_tid_address
sigaltstack stat statfs statx sysinfo time times uname wait4 write writev
"""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD = 0x10000
_FCNTL = (0, 1, 2, 3, 4, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC; F_SETOWN and F_SETSIG would signal to others."""
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41
_NO_SUCH_CALL = -1
_AF_UNIX, _AF_NETLINK = 1, 16


def _allow_only(free: list[str]) -> None:
    """Refuse system calls except those listed. A few are allowed with certain arguments only."""
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    # By default, a thread that uses another table of calls is killed and the others wait for it.
    rules.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.ERRNO(errno.EPERM))
    for name in free:
        _add(rules, seccomp.ALLOW, name)
    nothing_written = (seccomp.MASKED_EQ, _WRITING, 0)
    _add(rules, seccomp.ALLOW, "open", seccomp.Arg(1, *nothing_written))
    _add(rules, seccomp.ALLOW, "openat", seccomp.Arg(2, *nothing_written))
    _add(rules, seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    _add(rules, seccomp.ALLOW, "tgkill", seccomp.Arg(0, seccomp.EQ, os.getpid()))
    _add(rules, seccomp.ALLOW, "prlimit64", seccomp.Arg(2, seccomp.EQ, 0))
    for command in _FCNTL:
        _add(rules, seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, command))
    for option in (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA):
        _add(rules, seccomp.ALLOW, "prctl", seccomp.Arg(0, seccomp.EQ, option))
    for name in ("clone3", "openat2"):
        _add(rules, seccomp.ERRNO(errno.ENOSYS), name)
    rules.load()


def _refuse_network() -> None:
    """Refuse all but local sockets. And io_uring, which could open sockets unseen."""
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    # The kernel reads the lower half of the register alone; anything in the upper half makes the number larger.
    others = [seccomp.Arg(0, seccomp.EQ, n) for n in range(_AF_NETLINK) if n != _AF_UNIX]
    for family in (*others, seccomp.Arg(0, seccomp.GT, _AF_NETLINK)):
        for name in ("socket", "socketpair"):
            _add(rules, seccomp.ERRNO(errno.EPERM), name, family)
    _add(rules, seccomp.ERRNO(errno.ENOSYS), "io_uring_setup")
    rules.load()


def _add(rules: Any, action: Any, name: str, *arguments: Any) -> None:
    """Add a rule for an existing system call."""
    import pyseccomp as seccomp

    if seccomp.resolve_syscall(seccomp.system_arch(), name) != _NO_SUCH_CALL:
        rules.add_rule(action, name, *arguments)
