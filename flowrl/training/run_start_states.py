"""The start states of a run: those it uses, those it leaves."""

import logging
from collections.abc import Mapping

import jax

from flowrl.env.snapshots import Snapshots, join, read_snapshots, write_snapshots
from flowrl.errors import LibraryError
from flowrl.models.experts import Params
from flowrl.paths import RunPaths
from flowrl.rollout.collect_states import StateCollector
from flowrl.rollout.programs import PlayPrograms
from flowrl.rollout.start_states import Starts, starts_at, supported
from flowrl.rollout.world_seeds import STARTS, skill_key
from flowrl.schema.metrics import OnRow, PhaseRow, StartsRow
from flowrl.schema.run import RunSpec
from flowrl.weights import sha256

logger = logging.getLogger(__name__)
FINAL_FILE = "final_states.safetensors"
MIN_STATES = 16
"""With fewer, a run begins in new worlds only: it would learn a handful of places by heart."""
_WORLDS_A_STATE = 4
"""At most this many worlds are played per state wanted."""
_FINAL, _FRONTIER = 0, 1


def find_starts(paths: RunPaths, spec: RunSpec, programs: PlayPrograms, params: Params, on_row: OnRow) -> Starts | None:
    """Find the snapshots that a share of the run's episodes begins at.

    They are those of the library in which the skill's preconditions hold. Where these are too few, the run's own plan
    is played up to its last task, once, and what it reaches is stored in the run's folder. None where there are still
    too few.

    Args:
        params: who plays up to the last task.
        on_row: called before anything is played and with what was found, frames not filled in.

    Raises:
        LibraryError: a file of states is damaged, was changed, or is of another game.
    """
    share = spec.config.start.share
    parts = _from_library(paths, spec, programs)
    of = {name: _count(programs, spec, part) for name, part in parts.items()}
    if sum(of.values()) < MIN_STATES:
        own = _own_frontier(paths, spec, programs, params, on_row)
        if own is not None:
            parts, of = parts | {"": own}, of | {"": _count(programs, spec, own)}
    states = sum(of.values())
    is_enough = states >= MIN_STATES
    note = _note(of, share)
    on_row(StartsRow(share=share if is_enough else 0.0, states=states, note=note))
    logger.info("%s", note)
    return starts_at(programs.runner.env, spec.spec, join(list(parts.values())), share) if is_enough else None


def _note(of: Mapping[str, int], share: float) -> str:
    named = [
        f"{count} after {name}" if name else f"{count} where its own plan led" for name, count in of.items() if count
    ]
    total = sum(of.values())
    if total < MIN_STATES:
        there = f"only {', '.join(named)}" if named else "none"
        return (
            f"start states in which all that it needs holds: {there}, fewer than {MIN_STATES}: every episode begins "
            "in a new world"
        )
    return f"{share:.0%} of the episodes begin at one of {total} snapshots: {', '.join(named)}"


def keep_final_states(paths: RunPaths, spec: RunSpec, programs: PlayPrograms, params: Params) -> tuple[str, str]:
    """Store states in which the run's episodes ended in success.

    Gives file name and hash, empty where there are none. They are of new worlds that nothing is measured on.
    """
    wanted = spec.config.start.keep
    if not wanted or spec.trial:
        return "", ""
    found = StateCollector(programs, len(spec.tasks)).states(params, _key(spec, _FINAL), wanted, wanted)
    if found is None:
        return "", ""
    file = paths.folder / FINAL_FILE
    write_snapshots(file, programs.runner.env.domain, found)
    logger.info("%d final states kept, %d bytes each", found.size, file.stat().st_size // found.size)
    return FINAL_FILE, sha256(file.read_bytes())


def _from_library(paths: RunPaths, spec: RunSpec, programs: PlayPrograms) -> dict[str, Snapshots]:
    found = {}
    for name, digest in sorted(spec.start_files.items()):
        file = paths.start_states(digest)
        if file.exists() and sha256(file.read_bytes()) != digest:
            raise LibraryError(f"{file} is not the file that {paths.config} names: it was changed since.")
        found[name] = read_snapshots(file, programs.runner.env.domain)
    return found


def _own_frontier(
    paths: RunPaths, spec: RunSpec, programs: PlayPrograms, params: Params, on_row: OnRow
) -> Snapshots | None:
    """States in which episodes have just reached the last task. From new worlds; None if there are none."""
    domain, before = programs.runner.env.domain, len(spec.tasks) - 1
    if paths.frontier.exists():
        return read_snapshots(paths.frontier, domain)
    if not before or not spec.config.start.keep:
        return None
    on_row(PhaseRow(kind="exploring"))
    wanted = spec.config.start.keep
    found = StateCollector(programs, before).states(params, _key(spec, _FRONTIER), wanted, _WORLDS_A_STATE * wanted)
    if found is not None:
        write_snapshots(paths.frontier, domain, found)
    return found


def _count(programs: PlayPrograms, spec: RunSpec, snapshots: Snapshots) -> int:
    min_n, max_n = supported(programs.runner.env, spec.spec, snapshots)
    return int((min_n <= max_n).sum())


def _key(spec: RunSpec, what: int) -> jax.Array:
    return skill_key(STARTS, spec.config.seed, 2 * spec.runs_before + what, spec.world_name)
