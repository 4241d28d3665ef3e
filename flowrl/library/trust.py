"""Skill code that may run outside the sandbox. Shipped code, and code this user approved by hash.

A user approves a text by passing it by hand: a file with `--module`, a folder with `--kb`. Its hash is kept in a folder
of the user's own, outside of any home, so that no home, archive or run's folder can approve itself. Any other text goes
through the sandbox, and workers run what that exports (`exported_for`).
"""

import functools
from collections.abc import Collection, Mapping
from pathlib import Path

from flowrl.errors import LibraryError, ModuleError, PlatformError
from flowrl.files import read_text, write_bytes, write_text
from flowrl.knowledge.base import load_base
from flowrl.paths import PlayPaths
from flowrl.schema.run import ArtefactRef, RunSpec
from flowrl.schema.skill import Skill
from flowrl.skillcode.artefact_cache import artefact_key, find_artefact
from flowrl.userdirs import private_folder, user_state
from flowrl.weights import sha256


def vouch(text: str, what: str) -> None:
    """Note that this user approves a text.

    Args:
        what: what it is, for people who look at the notes.

    Raises:
        PlatformError: it cannot be noted, or others can write to the notes.
    """
    if not is_vouched(text):
        write_text(_note_of(text), f"{what}\n")


def is_vouched(text: str) -> bool:
    """Whether this user approved this very text."""
    return _note_of(text).exists()


def _note_of(text: str) -> Path:
    digest = sha256(text.encode("utf-8", "surrogatepass"))
    return private_folder(user_state() / "vouched") / digest


def is_trusted(text: str, env: str) -> bool:
    """Whether a skill's code may run as text. It ships with the package, or was vouched for."""
    return text in _shipped(env) or is_vouched(text)


@functools.cache
def _shipped(env: str) -> frozenset[str]:
    return frozenset(skill.code for skill in load_base(env).skills)


def require_module(skill: Skill, command: str) -> None:
    """Check that a task module may be run. Modules are not verified, so the user must vouch for them.

    Args:
        command: what the user can type to vouch for it.

    Raises:
        ModuleError: says what to do.
    """
    if skill.is_module and not skill.trusted:
        raise ModuleError(
            f"{skill.name!r} is a task module that you have not passed by hand on this machine, so its code is not "
            f"run. Read it, and if you want it to run: {command}"
        )


def exported_for(skills: Mapping[str, Skill], env: str, new: Collection[str] = ()) -> dict[str, ArtefactRef]:
    """Artefacts that a worker runs instead of text. None if all code is trusted, else one for every skill.

    Args:
        skills: all skills that the run plays, by name.
        new: those that the library does not hold yet, which are verified against their specifications. For the others
            a cached artefact is enough: measuring may have corrected their specifications since.

    Raises:
        ModuleError: a skill does not pass verification; says why.
        PlatformError: there can be no sandbox here, or no cache.
    """
    if all(skill.trusted for skill in skills.values()):
        return {}
    exported = {}
    for name, skill in skills.items():
        cached = None if name in new else find_artefact(artefact_key(skill, env))
        exported[name] = cached.ref if cached else _verified(skill, env)
    return exported


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
        raise PlatformError(f"The sandbox's export of {skill.name!r} is gone from the cache. Try again.")
    return found.ref


def put_artefacts(run: PlayPaths, exported: Mapping[str, ArtefactRef]) -> None:
    """Copy artefacts into a run's folder. Its worker may be on any machine.

    Raises:
        PlatformError: an artefact is no longer in the cache.
    """
    for name, ref in exported.items():
        found = find_artefact(ref.key)
        if found is None or found.ref != ref:
            raise PlatformError(f"The sandbox's export of {name!r} is gone from the cache. Try again.")
        write_bytes(run.artefact(ref.key), found.path.read_bytes())


def require_ours(run: PlayPaths, spec: RunSpec) -> None:
    """Check that the code in a run's folder is this user's. Needed for any folder not written by this process.

    Raises:
        LibraryError: its module was not vouched for, or an artefact is not one of this user's sandbox.
    """
    unknown = ""
    for name, ref in spec.exported.items():
        found = find_artefact(ref.key)
        if found is None or found.ref != ref:
            unknown = f"the export of {name!r}"
    if not spec.exported and not is_vouched(read_text(run.module)):
        unknown = "its module"
    if unknown:
        raise LibraryError(
            f"{run.folder} was set up by another user or an earlier flowrl: {unknown} is not known here, so it is not "
            f"run. Move that folder out of the home, and train {spec.skill!r} again."
        )
