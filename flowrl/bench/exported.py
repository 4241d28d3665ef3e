"""What exported skills cost against tracing their text: frames a second, compile time, export and load."""

import subprocess
import sys
import time
from dataclasses import replace
from statistics import median

import jax
import numpy as np
from pydantic import BaseModel

from flowrl.bench.measure import Row, row
from flowrl.bench.setup import plan_env, plan_trainer
from flowrl.config import build_config
from flowrl.env.code_parser import SkillFunctions
from flowrl.env.exported import leaf_shapes
from flowrl.env.flow_env import FlowEnv
from flowrl.learning.programs import Programs
from flowrl.verify.artefact import export_functions, load_artefact
from flowrl.weights import flatten, sha256

NAME, GOAL, UPDATES, ROUNDS = "Craftax-Classic-Symbolic-v1", "Make Wood Pickaxe", 8, 3


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


class Trained(BaseModel):
    """A few updates: frames a second of each, seconds to the first, the hash of the parameters after the last."""

    rates: tuple[float, ...]
    first: float
    params: str


def train_some(through: bool) -> Trained:
    """Trains the plan's own expert for a few updates in this process, compiling anew."""
    jax.config.update("jax_enable_compilation_cache", False)
    env = plan_env(NAME, GOAL)
    programs = Programs(plan_trainer(through_artefacts(env) if through else env, build_config(), (2,)))
    start = time.perf_counter()
    state = programs.init(jax.random.PRNGKey(0), {})
    state, _ = jax.block_until_ready(programs.update(state))
    compiling, rates = time.perf_counter() - start, []
    for _ in range(UPDATES):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(programs.update(state))
        rates.append(programs.trainer.frames_per_update / (time.perf_counter() - start))
    leaves = flatten({"params": jax.tree.map(np.asarray, state.params)})
    digest = sha256(b"".join(name.encode() + leaf.tobytes() for name, leaf in sorted(leaves.items())))
    return Trained(rates=tuple(rates), first=compiling, params=digest)


def _in_a_process_of_its_own(through: bool) -> Trained:
    code = f"from flowrl.bench.exported import train_some; print(train_some({through}).model_dump_json())"
    done = subprocess.run([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, check=True)
    return Trained.model_validate_json(done.stdout.splitlines()[-1])


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
    """Returns the rows; traced and exported runs take turns, each in a process of its own that compiles anew."""
    table = f"exported skills, {GOAL} on Classic"
    pairs = [(_in_a_process_of_its_own(False), _in_a_process_of_its_own(True)) for _ in range(ROUNDS)]
    traced, loaded = zip(*pairs, strict=True)
    quotients = [median(after.rates) / median(before.rates) for before, after in pairs]
    same = len({run.params for run in (*traced, *loaded)}) == 1
    exporting, loading, sizes = _handling()
    return [
        row(table, "traced text", [rate for run in traced for rate in run.rates], "frames/s"),
        row(table, "through artefacts", [rate for run in loaded for rate in run.rates], "frames/s"),
        row(table, "through artefacts, of traced", quotients, "x", at_least=0.9),
        row(table, "traced text: to the first update, compiling", [run.first for run in traced], "s"),
        row(table, "artefacts: to the first update, compiling", [run.first for run in loaded], "s"),
        row(table, "parameters are the same, bit for bit", [float(same)], "of 1", at_least=1.0),
        row(table, "export of a skill", exporting, "s"),
        row(table, "check and load of a skill", loading, "s"),
        row(table, "size of an artefact", sizes, "kB"),
    ]
