"""After a run: its result is checked, its experts mapped back to their global numbers, and what is better than what the
library holds put there."""

from dataclasses import dataclass

from flowrl.errors import LibraryError, TrainingError
from flowrl.evaluation.comparison import ComparisonAnswer, ComparisonPaths
from flowrl.files import Arrays, pack_arrays, read_arrays, read_json, read_text, write_json
from flowrl.library.home import SkillLibrary
from flowrl.library.versions import VersionCandidate, install, is_known, next_version, shelve
from flowrl.parallel.training_setup import SOURCE_FILE
from flowrl.paths import RunPaths
from flowrl.schema.home import SkillRecord
from flowrl.schema.run import RunSpec, TrainResult
from flowrl.weights import Tree, expert_of, flatten, sha256, unflatten


def process_completed_training(run: RunPaths, library: SkillLibrary) -> SkillRecord:
    """Returns the library's record of a skill after one of its runs ended; processing twice changes nothing.

    Frozen dependencies are not written. An expert that the library holds already is replaced where the run's `merge/`
    folder has evidence for the candidate (`flowrl.growing.merging`); the loser goes to `history/`.

    Raises:
        TrainingError: the run failed; carries its reason.
        LibraryError: the result or the weights are missing, damaged, or not those that the result names, or candidates
            were not held against the library.
    """
    spec = read_json(run.config, RunSpec)
    if run.processed.exists():
        return library.record(spec.skill)
    answer = ComparisonPaths.of(run).answer
    found = read_json(answer, ComparisonAnswer) if answer.exists() else None
    record = _Processing(run, library, spec, trained_result(run), found).process()
    write_json(run.processed, {"skill": record.name, "version": record.version})
    return record


def trained_result(run: RunPaths) -> TrainResult:
    """Returns a run's result, its weights being those that it names.

    Raises:
        TrainingError: the run failed; carries its reason.
        LibraryError: the weights are not those that the result names.
    """
    result = read_json(run.result, TrainResult)
    if result.outcome != "done" or result.evaluation is None:
        name = read_json(run.config, RunSpec).skill
        raise TrainingError(f"Training {name} failed: {result.error} See {run.log}")
    file = run.folder / result.params
    if sha256(file.read_bytes()) != result.params_sha256:
        raise LibraryError(f"{file} is not the file that {run.result} names: it was changed since.")
    return result


@dataclass(frozen=True)
class _Processing:
    """One run's result on its way into the library."""

    run: RunPaths
    library: SkillLibrary
    spec: RunSpec
    result: TrainResult
    answer: ComparisonAnswer | None

    def process(self) -> SkillRecord:
        named = unflatten(read_arrays(self.run.folder / self.result.params))
        self._process_dependencies(named)
        return self._process_own(named)

    def _process_dependencies(self, named: Tree) -> None:
        by_expert = {record.expert_idx: record for record in self.library.records()}
        for local in self.spec.trained:
            g = self.spec.local_to_global[local]
            if local == self.spec.own or local in self.spec.random:
                continue
            held = by_expert[g]
            arrays = flatten(expert_of(named, local))
            verdict = self._require_answer().verdict_on(g)
            if verdict is None:
                raise LibraryError(f"{self.run.merge} says nothing of expert {g}, which {self.run.folder} trained.")
            if self._is_held(held, arrays) or is_known(self.library, held, arrays):
                continue
            record = held.model_copy(
                update={
                    "version": next_version(self.library, held),
                    "frames": held.frames + self.result.frames,
                    "evaluation": verdict.evaluation,
                }
            )
            module = read_text(self.library.skill_paths(held).module)
            candidate = VersionCandidate(record, arrays, module, {})
            (install if verdict.wins else shelve)(self.library, candidate)

    def _process_own(self, named: Tree) -> SkillRecord:
        before = self.library.named().get(self.spec.skill)
        arrays = flatten(expert_of(named, self.spec.own))
        if before is not None and self._is_held(before, arrays):
            return before
        if before is None:
            record = self._record(1)
            return install(self.library, self._candidate(record, arrays, named))
        verdict = self._require_answer().verdict_on(self.spec.expert)
        record = self._record(next_version(self.library, before))
        if verdict is not None and verdict.wins:
            return install(self.library, self._candidate(record, arrays, named))
        if not is_known(self.library, before, arrays):
            shelve(self.library, self._candidate(record, arrays, named))
        answer = self._require_answer()
        kept = before.model_copy(update={"evaluation": answer.evaluation, "status": answer.status})
        write_json(self.library.skill_paths(before).record, kept)
        return kept

    def _require_answer(self) -> ComparisonAnswer:
        if self.answer is None:
            raise LibraryError(f"The experts of {self.run.folder} were not held against those of the library.")
        return self.answer

    def _is_held(self, record: SkillRecord, arrays: Arrays) -> bool:
        return self.library.weights_hash(record) == sha256(pack_arrays(arrays))

    def _record(self, version: int) -> SkillRecord:
        spec, result, answer = self.spec, self.result, self.answer
        status = answer.status if answer else result.status
        evaluation = answer.evaluation if answer else result.evaluation
        assert evaluation is not None
        folder = self.library.paths.skill(spec.expert, spec.skill).folder
        return SkillRecord(
            name=spec.skill,
            expert_idx=spec.expert,
            description=spec.description,
            spec=spec.spec,
            status="learned" if status == "learned" else "weak",
            version=version,
            frames=spec.frames_before + result.frames,
            evaluation=evaluation,
            plan=spec.plan,
            is_module=spec.is_module,
            companions=tuple(spec.local_to_global[i] for i in spec.random),
            path=str(folder.relative_to(self.library.paths.root)),
        )

    def _candidate(self, record: SkillRecord, arrays: Arrays, named: Tree) -> VersionCandidate:
        companions = {self.spec.local_to_global[i]: flatten(expert_of(named, i)) for i in self.spec.random}
        module = read_text(self.run.folder / SOURCE_FILE)
        return VersionCandidate(record, arrays, module, companions, self._start_states())

    def _start_states(self) -> bytes | None:
        """Returns the file of start states that the run kept, if it did.

        Raises:
            LibraryError: it is missing, or not the file that the result names.
        """
        if not self.result.start_states:
            return None
        file = self.run.folder / self.result.start_states
        data = file.read_bytes() if file.exists() else b""
        if sha256(data) != self.result.start_states_sha256:
            raise LibraryError(f"{file} is not the file that {self.run.result} names: it was changed since.")
        return data
