"""Whose code runs as text: what ships with the package, and what this user has vouched for.

A worker may run a text that ships with flowrl, or that this user passed by hand: a file of `--module`, a folder of
`--kb`. Such a text is vouched for by its hash, in a folder of the user's own outside of any home: nothing that stands
in a home, an archive or a run's folder can say so of itself. Any other text goes through the sandbox, and workers run
what that exports (`exported_for`).
"""

import functools
from collections.abc import Collection, Mapping
from pathlib import Path

from flowrl.errors import LibraryError, ModuleError, PlatformError
from flowrl.files import read_text, write_bytes, write_text
from flowrl.knowledge.base import load_base
from flowrl.paths import RunPaths
from flowrl.schema.run import ArtefactRef, RunSpec
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact_cache import artefact_key, find_artefact
from flowrl.userdirs import private_folder, user_state
from flowrl.weights import sha256


def vouch(text: str, what: str) -> None:
    """Notes that this user wants a text to be run as it is.

    Args:
        what: what it is, for people who look at the notes.

    Raises:
        PlatformError: it cannot be noted, or others could note anything.
    """
    if not is_vouched(text):
        write_text(_note_of(text), f"{what}\n")


def is_vouched(text: str) -> bool:
    """Returns whether this user has vouched for exactly this text."""
    return _note_of(text).exists()


def _note_of(text: str) -> Path:
    digest = sha256(text.encode("utf-8", "surrogatepass"))
    return private_folder(user_state() / "vouched") / digest


def is_trusted(text: str, env: str) -> bool:
    """Returns whether a skill's code may be run as text: it ships with the package, or this user vouched for it."""
    return text in _shipped(env) or is_vouched(text)


@functools.cache
def _shipped(env: str) -> frozenset[str]:
    return frozenset(skill.code for skill in load_base(env).skills)


def require_module(skill: Skill, command: str) -> None:
    """Checks that a task module may be run; one that nobody vouched for cannot, as it is not verified.

    Args:
        command: what the user can type to vouch for it.

    Raises:
        ModuleError: says what to do.
    """
    if skill.is_module and not skill.trusted:
        raise ModuleError(
            f"{skill.name!r} is a task module that you have not passed by hand on this machine, so that its code "
            f"is not run. Read it, and if you want it to run: {command}"
        )


def exported_for(skills: Mapping[str, Skill], env: str, new: Collection[str] = ()) -> dict[str, ArtefactRef]:
    """Returns what a worker is to run instead of a run's text: nothing where all of it is trusted, else an artefact of
    every skill, those that are trusted too.

    Args:
        skills: all skills that the run plays, by name.
        new: those that the library does not hold yet. They are verified against their specifications; of the others,
            whose specifications were corrected by what was measured, an artefact made before will do.

    Raises:
        ModuleError: a skill does not pass verification; says why.
        PlatformError: there can be no sandbox here, or no cache.
    """
    if all(skill.trusted for skill in skills.values()):
        return {}
    return {name: _verified(skill, env) if name in new else _known(skill, env) for name, skill in skills.items()}


def _known(skill: Skill, env: str) -> ArtefactRef:
    found = find_artefact(artefact_key(skill, env))
    return _verified(skill, env) if found is None else found.ref


def _verified(skill: Skill, env: str) -> ArtefactRef:
    from flowrl.verify.verify import verify

    verdict = verify(skill, env)
    if not verdict.ok:
        raise ModuleError(
            f"{skill.name!r} is not trained or played, as its code does not pass verification: {verdict.error} "
            f"See all that was checked: flowrl kb verify {skill.name!r}"
        )
    found = find_artefact(verdict.artefact)
    if found is None:
        raise PlatformError(f"What the sandbox exported of {skill.name!r} is gone from the cache. Try again.")
    return found.ref


def put_artefacts(run: RunPaths, exported: Mapping[str, ArtefactRef]) -> None:
    """Copies from this user's cache into a run's folder what its worker will load, wherever that runs.

    Raises:
        PlatformError: an artefact is not in the cache any more.
    """
    for name, ref in exported.items():
        found = find_artefact(ref.key)
        if found is None or found.ref != ref:
            raise PlatformError(f"What the sandbox exported of {name!r} has left the cache. Try again.")
        write_bytes(run.artefact(ref.key), found.path.read_bytes())


def require_ours(run: RunPaths, spec: RunSpec) -> None:
    """Checks that what a run's folder would have a worker run is this user's: to be asked of a folder that was not
    written just now.

    Raises:
        LibraryError: its module was not vouched for, or an artefact is not one of this user's sandbox.
    """
    if spec.exported:
        strange = [name for name, ref in spec.exported.items() if not _is_cached(ref)]
        what = f"what was exported of {strange[0]!r}" if strange else ""
    else:
        what = "" if is_vouched(read_text(run.module)) else "its module"
    if what:
        raise LibraryError(
            f"{run.folder} was set up by somebody else, or by an earlier flowrl: {what} is not known here, so that it "
            f"is not run. Move that folder out of the home, and train {spec.skill!r} again."
        )


def _is_cached(ref: ArtefactRef) -> bool:
    found = find_artefact(ref.key)
    return found is not None and found.ref == ref
