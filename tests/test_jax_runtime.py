"""What a worker process is set up with."""

import os
import subprocess
import sys
from importlib import metadata

import pytest

from flowrl.errors import PlatformError
from flowrl.jax_runtime import check_jax_version, keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from flowrl.jax_runtime import keep_freed_memory
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


SET_UP = """
import os
import flowrl.jax_runtime
from flowrl.jax_runtime import configure_jax
flowrl.jax_runtime.cores = lambda: 2
configure_jax(0.5, groups=2)
configure_jax(0.5, groups=2)
print(os.environ["XLA_FLAGS"])
"""


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ("", "--xla_cpu_multi_thread_eigen=false --xla_cpu_collective_call_terminate_timeout_seconds=600"),
        (
            "--xla_cpu_multi_thread_eigen=true --xla_dump_to='/two  words'",
            "--xla_cpu_multi_thread_eigen=true --xla_dump_to='/two  words' "
            "--xla_cpu_collective_call_terminate_timeout_seconds=600",
        ),
        ("flags.txt", "flags.txt"),
    ],
)
def test_flags_of_xla_are_added_once_to_those_that_a_user_sets(given: str, after: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SET_UP],
        env={**os.environ, "XLA_FLAGS": given},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.strip() == after


DRAWN = """
import flowrl.jax_runtime
from flowrl.jax_runtime import check_devices, configure_jax
configure_jax(0.5)
check_devices()
import jax, jax.numpy as jnp
key, third = jax.random.PRNGKey(3), 1 / jnp.int32(3)
print(jax.random.categorical(key, jnp.arange(5.0), shape=(9,)), jax.random.split(key, 3)[1], jnp.ones(2) + third)
print((jnp.arange(3) + jnp.ones((2, 3))).dtype, jax.jit(lambda x: isinstance(x, jax.core.Tracer))(1))
"""


def drawn(**switches: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | switches
    return subprocess.run([sys.executable, "-c", DRAWN], env=environment, capture_output=True, text=True, check=False)


def test_a_shell_s_switches_of_jax_change_no_result() -> None:
    plain = drawn()
    assert plain.returncode == 0 and "float32 True" in plain.stdout
    switches = {
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_ENABLE_CUSTOM_PRNG": "1",
        "JAX_LEGACY_PRNG_KEY": "error",
        "JAX_RANDOM_SEED_OFFSET": "7",
        "JAX_DISABLE_JIT": "1",
        "JAX_TRANSFER_GUARD": "disallow",
    }
    for name, value in switches.items():
        found = drawn(**{name: value})
        assert (found.returncode, found.stdout) == (0, plain.stdout), (name, found.stderr[-500:])


def test_a_platform_that_is_not_there_is_named_with_the_variable() -> None:
    found = drawn(JAX_PLATFORMS="tpu")
    assert "JAX_PLATFORMS=tpu asks for a platform that jax does not find here" in found.stderr
    assert "Unset the variable" in found.stderr.splitlines()[-1]


def test_a_system_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: object) -> object:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", no_library)
    keep_freed_memory()


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0"])
def test_a_jax_that_computes_wrong_is_refused_with_the_version_to_install(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    with pytest.raises(PlatformError, match=rf"jaxlib {version} computes wrong.*pip install jax==0\.10\.1"):
        check_jax_version()


def test_a_jax_whose_worlds_differ_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    from flowrl.jax_runtime import check_jax_results

    check_jax_results()
    monkeypatch.setattr(jax, "vmap", lambda fn: lambda keys: jax.numpy.stack([fn(keys[0])] * len(keys)))
    with pytest.raises(PlatformError, match=r"vmapped worlds wrong.*pip install"):
        check_jax_results()
