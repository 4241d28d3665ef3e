"""What exported skills cost against tracing their text: frames a second, compile time, export and load."""

import time
from dataclasses import dataclass, replace

import jax
import numpy as np

from benchmarks.tables.measure import Row, row
from benchmarks.tables.setup import plan_env, plan_trainer
from flowrl.config import build_config
from flowrl.env.flow_env import FlowEnv
from flowrl.env.skill_inputs import leaf_shapes
from flowrl.skillcode.artefact import export_functions, load_artefact
from flowrl.skillcode.functions import SkillFunctions
from flowrl.training.programs import Programs
from flowrl.training.state import TrainState

NAME, GOAL, UPDATES = "Craftax-Classic-Symbolic-v1", "Make Wood Pickaxe", 15


def exported(functions: SkillFunctions, shapes: dict[str, object]) -> bytes:
    """Returns the artefact of a skill's functions, made in this process: of code that may be run in it."""
    return export_functions(
        functions.is_done, functions.reward, functions.is_done_arguments, functions.reward_arguments, shapes
    )


def through_artefacts(env: FlowEnv) -> FlowEnv:
    """Returns the same environment with each of its skills exported and loaded again."""
    shapes = leaf_shapes(env.domain)
    skills = tuple(
        load_artefact(exported(skill, shapes), shapes, f"skill {i}")
        for i, skill in enumerate(env.tasks.skills)
        if isinstance(skill, SkillFunctions)
    )
    return replace(env, tasks=replace(env.tasks, skills=skills))


@dataclass
class Training:
    """A training under way: its programs, its state, and the processor's seconds to the first update."""

    programs: Programs
    state: TrainState
    compiling: float


def begin(env: FlowEnv) -> Training:
    """Returns the training of the plan's own expert after its first update, everything compiled anew."""
    start = time.process_time()
    programs = Programs(plan_trainer(env, build_config(), (2,)))
    state = programs.init(jax.random.PRNGKey(0), {})
    state, _ = jax.block_until_ready(programs.update(state))
    return Training(programs, state, time.process_time() - start)


def frames_per_second(training: Training) -> float:
    """Returns the rate of one more update."""
    start = time.perf_counter()
    training.state, _ = jax.block_until_ready(training.programs.update(training.state))
    return training.programs.trainer.frames_per_update / (time.perf_counter() - start)


def _is_same(one: Training, other: Training) -> bool:
    pairs = zip(jax.tree.leaves(one.state.params), jax.tree.leaves(other.state.params), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _handling() -> tuple[list[float], list[float], list[float]]:
    """Returns seconds to export each of the plan's skills, seconds to check and load it, and its size in kB."""
    env = plan_env(NAME, GOAL)
    shapes = leaf_shapes(env.domain)
    exporting, loading, sizes = [], [], []
    for skill in env.tasks.skills:
        if isinstance(skill, SkillFunctions):
            start = time.perf_counter()
            data = exported(skill, shapes)
            made = time.perf_counter()
            load_artefact(data, shapes)
            exporting.append(made - start)
            loading.append(time.perf_counter() - made)
            sizes.append(len(data) / 1000)
    return exporting, loading, sizes


def measure() -> list[Row]:
    """Returns the rows; the two trainings take turns, update by update."""
    table = f"exported skills, {GOAL} on Classic"
    jax.config.update("jax_enable_compilation_cache", False)
    env = plan_env(NAME, GOAL)
    traced, loaded = begin(env), begin(through_artefacts(env))
    pairs = [(frames_per_second(traced), frames_per_second(loaded)) for _ in range(UPDATES)]
    exporting, loading, sizes = _handling()
    return [
        row(table, "traced text", [rate for rate, _ in pairs], "frames/s"),
        row(table, "through artefacts", [rate for _, rate in pairs], "frames/s"),
        row(table, "through artefacts, of traced", [after / before for before, after in pairs], "x", at_least=0.9),
        row(table, "traced text: to the first update, compiling", [traced.compiling], "s of processor time"),
        row(table, "artefacts: to the first update, compiling", [loaded.compiling], "s of processor time"),
        row(table, "parameters are the same, bit for bit", [float(_is_same(traced, loaded))], "of 1", at_least=1.0),
        row(table, "export of a skill", exporting, "s"),
        row(table, "check and load of a skill", loading, "s"),
        row(table, "size of an artefact", sizes, "kB"),
    ]
