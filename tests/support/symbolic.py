"""Symbolic states read off worlds, and specifications checked as a whole: what tests compare with."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowrl.env.domain import Domain, World
from flowrl.env.symbolic_state import fluents_of
from flowrl.fluents import PLACED, Vocabulary
from flowrl.knowledge.validate import problems_among, problems_of, require_none
from flowrl.planning.symbolic import SymbolicState, at_floor
from flowrl.schema.skill import Skill


def abstract(domain: Domain, world: World) -> SymbolicState:
    """The symbolic state of one world: all that holds in it, what is placed on every floor."""
    amounts, placed, floor = jax.device_get(_read(domain, world))
    held = {fluent: int(amount) for fluent, amount in amounts.items() if not fluent.startswith(PLACED)}
    for name, on_floor in placed.items():
        held |= {at_floor(PLACED + name, int(k)): 1 for k in np.flatnonzero(on_floor)}
    return SymbolicState.of(held, int(floor))


@functools.partial(jax.jit, static_argnums=0)
def _read(domain: Domain, world: World) -> tuple[dict[str, Any], dict[str, Any], Any]:
    amounts = fluents_of(domain, world)
    assert domain.facts is not None
    layers, names = domain.facts.ground_fn(world).layers, domain.sight.names
    placed = {}
    for station, blocks in domain.facts.stations:
        rows = np.array([names.index(name) for name in blocks])
        placed[station] = jnp.isin(layers, rows).any(axis=(1, 2, 3))  # [floors, height, width, layers] -> [floors]
    return amounts, placed, domain.sight.place_fn(world)[1]


def validate_skills(skills: Iterable[Skill], vocabulary: Vocabulary, known: Iterable[Skill] = ()) -> None:
    """Check skills by themselves and beside those that are ``known`` already; SpecError says what is wrong."""
    skills = list(skills)
    problems = [problem for skill in skills for problem in problems_of(skill, vocabulary)]
    require_none(problems or problems_among(skills, known, vocabulary))
