"""How much memory workers need."""

import psutil

WORKER_GIB = {"Craftax-Classic-Symbolic-v1": 1.2, "Craftax-Symbolic-v1": 2.2, "Tiny-Grid-v1": 0.7}
"""Peak memory of a worker on a CPU with the default batch, in GiB: the high-water mark of the process (VmHWM)."""


def memory_warning(env: str, jobs: int, free_gib: float | None = None) -> str | None:
    """A warning if the workers exceed free memory.

    None if they fit.

    Args:
        free_gib: memory that is free; None: as the system says.
    """
    free = psutil.virtual_memory().available / 2**30 if free_gib is None else free_gib
    each = WORKER_GIB[env]
    if jobs * each <= free:
        return None
    fit = max(1, int(free / each))
    return (
        f"{jobs} jobs of about {each:.1f} GiB each need {jobs * each:.1f} GiB, but {free:.1f} GiB are free: "
        f"workers may be killed. Try --jobs {fit}."
    )
