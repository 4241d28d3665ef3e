"""What jax and the machine must be able to do before a number can be trusted."""

import contextlib
import ctypes
import gc
import os
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flowrl.errors import PlatformError

WRONG_JAX = frozenset({"0.10.2", "0.11.0"})
"""Versions that compute vmapped worlds wrong on a CPU (jax issues 39103 and 39257)."""
RIGHT_JAX = "0.10.1"
_FLAGS_OF_MANY_DEVICES = {
    # Each device is a core: its work is not to be cut up for the others' threads.
    "xla_cpu_multi_thread_eigen": "false",
    # A device that waits for another, as where a busy machine runs the other one later, waits for minutes.
    "xla_cpu_collective_call_terminate_timeout_seconds": "600",
}
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Numbers of mallopt's options, malloc.h of glibc."""


def check_jax_version() -> None:
    """Checks the installed version against the known wrong ones, without importing jax.

    Raises:
        PlatformError: it is one of them; says what to install.
    """
    version = metadata.version("jaxlib")
    if version in WRONG_JAX:
        raise PlatformError(
            f"jaxlib {version} computes wrong results on CPUs (jax issue 39103). "
            f"Install another one: pip install jax=={RIGHT_JAX} jaxlib=={RIGHT_JAX}"
        )


def check_jax_results(worlds: int = 64) -> None:
    """Checks that noise maps made under `vmap`, as every new world needs them, equal those made one by one.

    Raises:
        PlatformError: they do not; says what to install.
    """
    import jax
    import numpy as np
    from craftax.craftax_classic.util.noise import generate_fractal_noise_2d

    def noise(key: jax.Array) -> jax.Array:
        return generate_fractal_noise_2d(key, (64, 64), (4, 4), octaves=1)

    keys = jax.random.split(jax.random.PRNGKey(7), worlds)
    together = np.asarray(jax.jit(jax.vmap(noise))(keys))
    alone = jax.jit(noise)
    sample = range(0, worlds, max(1, worlds // 16))
    wrong = sum(not np.allclose(together[i], np.asarray(alone(keys[i])), atol=1e-5) for i in sample)
    if wrong:
        raise PlatformError(
            f"This jax ({jax.__version__}) makes {wrong} of {len(sample)} vmapped worlds wrong on {jax.devices()[0]}. "
            f"Install another one: pip install jax=={RIGHT_JAX} jaxlib=={RIGHT_JAX}"
        )


def user_cache() -> Path:
    """Returns flowrl's folder for what can be made again: per user, outside of any repository or home."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "flowrl"


def user_state() -> Path:
    """Returns flowrl's folder for what a user has decided: per user, outside of any repository or home."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "flowrl"


def private_folder(folder: Path) -> Path:
    """Returns a folder that only this user can write to, nor rename or replace on the way to it; made where missing.

    Raises:
        PlatformError: it cannot be made, or is another user's, or others can write to it or to a folder on the way, so
            that what lies there could be anybody's.
    """
    try:
        make_private(folder)
        reasons = [f"{place} {why}" for place in _way_to(folder) if (why := _doubt(place, place == folder.absolute()))]
    except OSError as error:
        raise PlatformError(f"Cannot use the folder {folder}: {error}.") from error
    if reasons:
        raise PlatformError(
            f"Others can write to {folder}, whose files decide what runs: {reasons[0]}. Take that right from them: "
            f"chmod go-w, or chown; or let XDG_CACHE_HOME and XDG_STATE_HOME name folders of your own."
        )
    return folder


def make_private(folder: Path) -> None:
    """Makes a folder, and those on the way to it that are missing, so that only this user can use them."""
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)


def _way_to(folder: Path) -> Iterator[Path]:
    """Yields every folder and link that the path to a folder leads through, itself first."""
    waiting, seen = [folder], set[Path]()
    while waiting:
        path = waiting.pop().absolute()
        for place in (path, *path.parents):
            if place not in seen:
                seen.add(place)
                yield place
                if place.is_symlink():
                    waiting.append(place.parent / place.readlink())


def _doubt(place: Path, is_own: bool) -> str:
    """Returns why what lies in a place may be another user's, nothing where it cannot.

    Args:
        is_own: it must be this user's, and a folder; else root's will do, or a link, or one such as /tmp (sticky),
            where nobody renames what is another's.
    """
    found = place.lstat()
    us = os.geteuid() if hasattr(os, "geteuid") else found.st_uid
    if found.st_uid not in ({us} if is_own else {us, 0}):
        return f"belongs to user {found.st_uid}"
    if stat.S_ISLNK(found.st_mode):
        return "is a link" if is_own else ""
    others = 0o002 if _is_own_group(found.st_gid) else 0o022
    is_open = found.st_mode & others and (is_own or not found.st_mode & stat.S_ISVTX)
    return f"has the rights {stat.S_IMODE(found.st_mode):o}" if is_open else ""


def _is_own_group(number: int) -> bool:
    """Returns whether a group is the user's private one, of the same name, as many systems make for each user: what it
    may write (umask 002) is the user's own."""
    try:
        import grp
        import pwd

        return grp.getgrgid(number).gr_name == pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        return False


def compilation_cache() -> Path:
    """Returns the folder for compiled programs."""
    return user_cache() / "jax"


def cores() -> int:
    """Returns how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Lets the C library keep large blocks that are freed, where it is glibc; elsewhere nothing changes.

    It gives them back to the system by default, and each new array of a megabyte or more is mapped and zeroed anew by
    the kernel, page by page: adding two arrays of 46 MB takes 28 ms that way and 4 ms without.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, value in (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26):
        mallopt(option, value)


def _set_xla_flags(devices: int) -> None:
    """Sets flags of XLA that the user has not set, for every program: those that are loaded from the cache forget what
    they were compiled with. A file of flags is left to its owner.
    """
    given = os.environ.get("XLA_FLAGS", "").strip()
    if devices > 1 and (not given or given.startswith("-")):
        missing = [f"--{name}={value}" for name, value in _FLAGS_OF_MANY_DEVICES.items() if name not in given]
        os.environ["XLA_FLAGS"] = " ".join([given, *missing]).strip()


def configure_jax(gpu_memory: float, groups: int = 1) -> None:
    """Sets up jax for a worker process: compiled programs are kept, each core is a device for some of the groups of
    worlds, and a card's memory is taken up to a share.

    To be called before jax touches a device.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(gpu_memory))
    # XLA calls it an error where a program that it loads was compiled with preferences that are no feature of a
    # processor, 3 kB each time; what does go wrong comes back as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    devices = max(n for n in range(1, cores() + 1) if groups % n == 0)
    _set_xla_flags(devices)
    keep_freed_memory()
    # Tracing makes a million objects that stay; looking for cycles among them took a fifth of a second start's time.
    gc.set_threshold(200_000, 10, 10)
    import jax

    with contextlib.suppress(RuntimeError):  # in a process that has used jax before, its devices stay as they are
        jax.config.update("jax_num_cpu_devices", devices)

    folder = compilation_cache()
    make_private(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
