"""Resource limits of a sandboxed process."""

import resource
from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class SandboxLimits:
    """How much a child process that runs untrusted code may use.

    Attributes:
        seconds: wall time for one skill; then the children are killed.
        memory: bytes of private memory of each child; far above what jax itself needs.
        answer: bytes of a child's answer.
    """

    seconds: float = 60.0
    cpu_seconds: int = 60
    memory: int = 3072 * MEBIBYTE
    files: int = 128
    answer: int = 2 * MEBIBYTE


def limit_resources(limits: SandboxLimits) -> list[str]:
    """Set and list this process's irrevocable resource limits."""
    wanted = {
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_FSIZE": (0, 0),
        "RLIMIT_NOFILE": (limits.files, limits.files),
        "RLIMIT_DATA": (limits.memory, limits.memory),
        # The soft limit sends a signal that tells the cause, the hard one kills.
        "RLIMIT_CPU": (limits.cpu_seconds, limits.cpu_seconds + 1),
    }
    refused = []
    for name, values in wanted.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        soft, most = (value if hard == resource.RLIM_INFINITY else min(value, hard) for value in values)
        try:
            resource.setrlimit(number, (soft, most))
        except (ValueError, OSError):
            refused.append(name)
    return [
        f"processor time of {limits.cpu_seconds} s, files of 0 bytes, {limits.files} open files, no core dumps, "
        f"{limits.memory // MEBIBYTE:,} MiB of memory (resource limits; the parent watches time and memory)",
        *(f"not limited on this platform: {name}" for name in refused),
    ]
