"""Set-up of jax and checks of what it computes."""

import contextlib
import ctypes
import gc
import os
from importlib import metadata
from pathlib import Path

from flowrl.errors import PlatformError
from flowrl.userdirs import make_private, user_cache

WRONG_JAX = frozenset({"0.10.2", "0.11.0"})
"""Versions that compute vmapped worlds wrong on a CPU (jax issues 39103 and 39257)."""
RIGHT_JAX = "0.10.1"
_FLAGS_OF_MANY_DEVICES = {
    # Each device is a core: its work is not to be cut up for the others' threads.
    "xla_cpu_multi_thread_eigen": "false",
    # A device that waits for another, as where a busy machine runs the other one later, waits for minutes.
    "xla_cpu_collective_call_terminate_timeout_seconds": "600",
}
_RELIED_ON: dict[str, object] = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_enable_custom_prng": False,
    "jax_legacy_prng_key": "allow",
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_softmax_custom_jvp": False,
    "jax_disable_jit": False,
    "jax_no_execution": False,
    "jax_transfer_guard": "allow",
}
"""Switches that change results, or with which nothing runs, as flowrl relies on them, whatever a shell has set."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Numbers of mallopt's options, malloc.h of glibc."""


def check_jax_version() -> None:
    """Check that the installed jaxlib is not a known wrong one. jax is not imported.

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
    """Check vmapped noise maps against single ones. Every new world is made from such maps.

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


def start_jax(gpu_memory: float, groups: int = 1) -> None:
    """Set up jax for a worker and check its results. See `configure_jax`.

    Raises:
        PlatformError: it does not; says what to install.
    """
    check_jax_version()
    configure_jax(gpu_memory, groups)
    check_devices()
    check_jax_results()


def check_devices() -> None:
    """Check that jax finds a device.

    Raises:
        PlatformError: the platform that is asked for is not there; names the variable that asks for it.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asking = [name for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(name)]
        if not asking:
            raise PlatformError(f"jax finds no device: {error}. See what it finds: flowrl doctor") from error
        raise PlatformError(
            f"{asking[0]}={os.environ[asking[0]]} asks for a platform that jax does not find here"
            f"{f' ({error})' if str(error) else ''}. Unset the variable, or install jax for that platform."
        ) from error


def compilation_cache() -> Path:
    """The folder for compiled programs."""
    return user_cache() / "jax"


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks. Elsewhere nothing changes.

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
    """Set XLA flags that the user has not set.

    They hold for every program, since programs from the cache forget what they were compiled with. A file of flags
    is left to its owner.
    """
    given = os.environ.get("XLA_FLAGS", "").strip()
    if devices > 1 and (not given or given.startswith("-")):
        missing = [f"--{name}={value}" for name, value in _FLAGS_OF_MANY_DEVICES.items() if name not in given]
        os.environ["XLA_FLAGS"] = " ".join([given, *missing]).strip()


def configure_jax(gpu_memory: float, groups: int = 1) -> None:
    """Set up jax for a worker process.

    Compiled programs are kept, each core is a device for some of the groups of worlds, and a card's memory is taken
    up to a share.

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

    for switch, value in _RELIED_ON.items():
        if hasattr(jax.config, switch):  # not every version has each
            jax.config.update(switch, value)
    with contextlib.suppress(RuntimeError):  # in a process that has used jax before, its devices stay as they are
        jax.config.update("jax_num_cpu_devices", devices)

    folder = compilation_cache()
    make_private(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
