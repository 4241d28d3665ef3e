"""The library of skills with their experts on disk."""

import contextlib
import json
import os
import shlex
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from flowrl.config import RunConfig
from flowrl.errors import LibraryError, PlatformError, UsageError, nearest_names
from flowrl.files import (
    ModelT,
    lock_of,
    pack_arrays,
    read_bytes,
    read_json,
    unpack_arrays,
    write_bytes,
    write_json,
    write_text,
)
from flowrl.paths import DEFAULT_HOME, HomePaths, RunPaths, SkillPaths
from flowrl.schema.home import ExpertMeta, HomeDescription, HomeFormat, SkillRecord
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.weights import Expert, expert_sha256, sha256

OnDamaged = Callable[[LibraryError], None]


def command_for(home: Path, *words: str) -> str:
    """A command for a home as typed. The home is named unless it is the default.

    >>> command_for(Path("demo"), "train", "Collect Wood")
    "flowrl train 'Collect Wood' --home demo"
    """
    named = [] if home == DEFAULT_HOME else ["--home", str(home)]
    return shlex.join(["flowrl", *words, *named])


def description_of(config: RunConfig) -> HomeDescription:
    """What a home of this configuration holds."""
    name = config.env.name
    return HomeDescription(env=name, layout=config.layout, **config.model.model_dump())


def read_description(paths: HomePaths) -> HomeDescription:
    """What an existing home holds.

    Raises:
        LibraryError: its description is damaged, or of another format.
    """
    found, known = read_json(paths.description, HomeFormat).format, HomeDescription.model_fields["format"].default
    if found != known:
        raise LibraryError(
            f"The home {paths.root} has format {found}; this flowrl reads format {known}, where the options of runs "
            f"have the usual names of PPO. Grow a new one with another --home, or use the flowrl that made this one."
        )
    return read_json(paths.description, HomeDescription)


@dataclass(frozen=True)
class SkillLibrary:
    """The skills and experts of one home."""

    paths: HomePaths
    description: HomeDescription

    @staticmethod
    def open(home: Path) -> "SkillLibrary":
        """Open an existing home without changing anything.

        Raises:
            LibraryError: there is none, the folder is not a home, or its description is damaged.
        """
        paths = HomePaths(home)
        if not home.exists():
            raise LibraryError(f"There is no home {home}. Make one: {command_for(home, 'grow')}")
        if not paths.description.exists():
            raise LibraryError(f"{home} is not a flowrl home: it has no home.json. Give another folder with --home.")
        return SkillLibrary(paths, read_description(paths))

    @staticmethod
    def open_for(home: Path, config: RunConfig) -> "SkillLibrary":
        """Open or make a home. It is made if the folder is missing or holds at most a kb/.

        Raises:
            LibraryError: the folder is not a home, or holds another environment or network shape; nothing is changed.
        """
        wanted = description_of(config)
        # Skill files may be put into a home's kb/ before anything is learned.
        if not home.exists() or (home.is_dir() and all(path.name == "kb" for path in home.iterdir())):
            write_json(HomePaths(home).description, wanted)
        if not home.is_dir():
            raise LibraryError(f"{home} is a file, not a home. Give another folder with --home.")
        library = SkillLibrary.open(home)
        library.require(wanted)
        return library

    def require(self, wanted: HomeDescription) -> None:
        """Check that the home fits.

        Raises:
            LibraryError: it holds another environment, observation layout or network shape.
        """
        for field in HomeDescription.model_fields:
            held, asked = getattr(self.description, field), getattr(wanted, field)
            if held != asked:
                way = "the flowrl that made it" if field in ("format", "layout") else f"the {field} that it holds"
                raise LibraryError(
                    f"The home {self.paths.root} holds {field}={held!r}, not {asked!r}: it was fixed at first use. "
                    f"Use another home with --home, or {way}."
                )

    def command(self, *words: str) -> str:
        """A command for this home as typed."""
        return command_for(self.paths.root, *words)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for one control process.

        Raises:
            LibraryError: another process holds it; names that process.
        """
        lock = lock_of(self.paths.lock)
        try:
            lock.acquire(timeout=1.0)  # a process that only tests the lock holds it for an instant
        except Timeout as error:
            raise LibraryError(f"The home {self.paths.root} is in use by {self._owner()}. Wait, or stop it.") from error
        except OSError as error:
            raise PlatformError(f"Cannot lock the home {self.paths.root}: {error}.") from error
        try:
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            write_text(self.paths.owner, json.dumps(owner) + "\n")
            yield
        finally:
            lock.release()

    def _owner(self) -> str:
        try:
            owner: dict[str, Any] = json.loads(self.paths.owner.read_text())
            return f"process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, KeyError):
            return "another process"

    def records(self, on_damaged: OnDamaged | None = None) -> list[SkillRecord]:
        """The skills of the library by expert.

        Args:
            on_damaged: called for each unreadable record, which is left out; None: it is an error.

        Raises:
            LibraryError: a record is damaged; names the file.
        """
        found = [record for _, record in _readable(self.paths.skills.glob("*/skill.json"), SkillRecord, on_damaged)]
        return sorted(found, key=lambda record: record.expert_idx)

    def named(self) -> dict[str, SkillRecord]:
        """The skills of the library by name."""
        return {record.name: record for record in self.records()}

    def by_expert(self) -> dict[int, SkillRecord]:
        """The skills of the library by expert."""
        return {record.expert_idx: record for record in self.records()}

    def record(self, name: str) -> SkillRecord:
        """One skill by name, ignoring case.

        Raises:
            UsageError: the library lacks it; the nearest names are given.
        """
        named = self.named()
        folded = {known.casefold(): record for known, record in named.items()}
        if name.casefold() not in folded:
            count = f"the {len(named)} in {self.paths.skills}"
            raise UsageError(f"No skill {name!r} among {count}. {nearest_names(name, named)}")
        return folded[name.casefold()]

    def skill_paths(self, record: SkillRecord) -> SkillPaths:
        """The files of a skill."""
        return self.paths.skill(record.expert_idx, record.name)

    def expert(self, record: SkillRecord) -> Expert:
        """The weights of a skill's expert.

        Raises:
            LibraryError: they are missing or damaged, or were changed since they were stored.
        """
        return read_expert(self.skill_paths(record), self.description)

    def store_expert(self, folder: SkillPaths, expert: Expert, frames: int) -> None:
        """Write an expert's weights and their `meta.json`.

        A process killed between the two files leaves the old weights, which the new `meta.json` names too.
        """
        data = pack_arrays(expert)
        before = sha256(folder.params.read_bytes()) if folder.params.exists() else ""
        meta = ExpertMeta(
            expert=folder.expert, frames=frames, sha256=sha256(data), replaces=before, fits=self.description
        )
        write_json(folder.meta, meta)
        write_bytes(folder.params, data)

    def weights_hash(self, record: SkillRecord) -> str:
        """The hash of a skill's stored weights."""
        return sha256(self.skill_paths(record).params.read_bytes())

    def holds(self, record: SkillRecord, expert: Expert) -> bool:
        """Whether a skill's stored weights are these."""
        return self.weights_hash(record) == expert_sha256(expert)

    def runs(self, on_damaged: OnDamaged | None = None) -> list[tuple[RunPaths, RunSpec]]:
        """The training runs ordered by expert.

        Args:
            on_damaged: called for each unreadable run, which is left out; None: it is an error.

        Raises:
            LibraryError: a run's configuration is damaged; names the file.
        """
        found = []
        for path, spec in _readable(self.paths.runs.glob("skill_*/run.json"), RunSpec, on_damaged):
            if path.parent == self.paths.run(spec.expert, spec.skill).folder:
                found.append((self.paths.run(spec.expert, spec.skill), spec))
        return sorted(found, key=lambda item: item[1].expert)

    def taken_experts(self) -> dict[str, int]:
        """Expert numbers in use by skill. In the library or in a run.

        A run that ended before it trained frees its number. Companions are listed as `SKILL, companion G`.
        """
        runs = [spec for paths, spec in self.runs() if not ended_untrained(paths)]
        owners: list[tuple[str, int, tuple[int, ...]]] = [
            (member.name, member.expert, ()) for spec in runs for member in spec.members
        ]
        owners += [(spec.skill, spec.expert, spec.companions) for spec in runs]
        owners += [(record.name, record.expert_idx, record.companions) for record in self.records()]
        taken: dict[str, int] = {}
        for name, expert, _ in owners:
            taken[name] = expert
        owned = set(taken.values())
        for name, _, companions in owners:
            taken |= {companion_name(name, g): g for g in companions if g not in owned}
        return taken

    def free_expert(self) -> int:
        """The lowest unused expert number."""
        taken = set(self.taken_experts().values())
        return next(number for number in range(len(taken) + 1) if number not in taken)


def _readable(
    paths: Iterable[Path], model: type[ModelT], on_damaged: OnDamaged | None
) -> Iterator[tuple[Path, ModelT]]:
    for path in paths:
        try:
            value = read_json(path, model)
        except LibraryError as error:
            if not path.exists():
                continue  # it was renamed meanwhile
            damaged = LibraryError(f"{error}. Restore it from a copy, or move {path.parent} out of the home.")
            if on_damaged is None:
                raise damaged from error
            on_damaged(damaged)
            continue
        yield path, value


def companion_name(skill: str, expert: int) -> str:
    """The name of an expert that no skill of the library owns."""
    return f"{skill}, companion {expert}"


def read_expert(paths: SkillPaths, fits: HomeDescription | None) -> Expert:
    """Read an expert and check it against its `meta.json`.

    Args:
        fits: the home that the weights must be made for; None: any.

    Raises:
        LibraryError: the weights are missing or damaged, of another shape, or were changed since they were stored.
    """
    meta = read_json(paths.meta, ExpertMeta)
    if fits is not None and meta.fits != fits:
        raise LibraryError(f"{paths.policy} holds weights for {meta.fits}, this home is {fits}.")
    data = read_bytes(paths.params)
    expert = unpack_arrays(data, paths.params)
    if sha256(data) not in (meta.sha256, meta.replaces):
        raise LibraryError(
            f"{paths.params} is not the file that {paths.meta} describes: it was changed since. Restore it from a copy."
        )
    # What is shipped is stored in half the size.
    return {name: leaf.astype(np.float32) if leaf.dtype == np.float16 else leaf for name, leaf in expert.items()}


def ended_untrained(run: RunPaths) -> bool:
    """Whether a run failed or was cancelled before its first checkpoint."""
    if not run.result.exists() or run.has_trained:
        return False
    return read_json(run.result, TrainResult).outcome != "done"
