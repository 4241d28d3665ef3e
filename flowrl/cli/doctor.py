"""The checks of `flowrl doctor`: `python -m flowrl.cli.doctor HOME` prints them as JSON."""

import json
import logging
import platform
import shutil
import sys
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import flowrl
from flowrl.config import RunConfig
from flowrl.errors import PlatformError
from flowrl.jax_runtime import check_jax_results, check_jax_version, compilation_cache, configure_jax

logger = logging.getLogger(__name__)
MIN_MEMORY_GB, MIN_DISK_GB = 2.0, 1.0


def _check(name: str, found: str, ok: bool = True) -> dict[str, Any]:
    return {"name": name, "found": found, "ok": ok}


def _versions() -> list[dict[str, Any]]:
    python_ok = sys.version_info >= (3, 11)
    hint = "" if python_ok else "; flowrl needs 3.11 or newer"
    rows = [
        _check("python", f"{platform.python_version()} at {sys.executable}{hint}", python_ok),
        _check("flowrl", flowrl.__version__),
    ]
    return rows + [_package(name) for name in ("jax", "jaxlib", "craftax", "flax")]


def _package(name: str) -> dict[str, Any]:
    try:
        return _check(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        way = f"Install the pinned packages: {sys.executable} -m pip install -r lock/core.txt"
        return _check(name, f"is not installed. {way}", ok=False)


def _jax_checks() -> list[dict[str, Any]]:
    try:
        check_jax_version()
        configure_jax(0.5, RunConfig().groups)
        import jax

        from flowrl.rollout.devices import check_devices

        devices = jax.local_devices()
        check_jax_results()
        check_devices(devices)
        same = f"; {len(devices)} together give what one gives" if len(devices) > 1 else ""
        rows = [_check("devices", f"{', '.join(map(str, devices))} ({jax.default_backend()}){same}")]
    except PlatformError as error:
        return [_check("jax results", str(error), ok=False)]
    except Exception as error:  # a broken installation may raise anything
        logger.error("%s", traceback.format_exc())
        return [_check("jax results", f"jax cannot be used: {type(error).__name__}: {error}", ok=False)]
    return [*rows, _check("jax results", "vmapped noise maps equal single ones")]


def _machine(home: Path) -> list[dict[str, Any]]:
    memory = psutil.virtual_memory()
    existing = next(path for path in [home.absolute(), *home.absolute().parents] if path.exists())
    disk = shutil.disk_usage(existing)
    cache = compilation_cache()
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) if cache.exists() else 0
    free_memory, free_disk = memory.available / 1e9, disk.free / 1e9
    low_memory = "" if free_memory >= MIN_MEMORY_GB else f"; a worker needs about {MIN_MEMORY_GB:g} GB"
    low_disk = "" if free_disk >= MIN_DISK_GB else f"; keep {MIN_DISK_GB:g} GB free, or use another --home"
    return [
        _check("processors", f"{psutil.cpu_count()} ({platform.machine()})"),
        _check("memory", f"{free_memory:.1f} of {memory.total / 1e9:.1f} GB free{low_memory}", not low_memory),
        _check("disk", f"{free_disk:.1f} GB free at {existing}{low_disk}", not low_disk),
        _check("compiled programs", f"{size / 1e6:.0f} MB in {cache}"),
    ]


def main() -> int:
    """Print the checks; exit code 0 if all passed."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    checks = [*_versions(), *_jax_checks(), *_machine(home)]
    print(json.dumps({"checks": checks}))
    return 0 if all(check["ok"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
