"""Skill inputs as flat, named arrays, for recordings and exported functions. `inventory.wood`, `inventory_diff.wood`,
`closest_blocks`, ...; inputs that a game lacks are left out.
"""

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

Leaves = dict[str, Any]
"""Arrays by name, all with the same leading axes."""


def flat_leaves(inputs: NamedTuple) -> Leaves:
    """The inputs' arrays by name. A struct's fields are named STRUCT.FIELD."""
    leaves: Leaves = {}
    for name, value in inputs._asdict().items():
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            leaves |= {f"{name}.{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)}
        else:
            leaves[name] = value
    return leaves


def bound_inputs(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of skill functions by name. Structs become plain objects with the same fields."""
    arguments: dict[str, Any] = {}
    for name, value in leaves.items():
        struct, dot, field = name.partition(".")
        if dot:
            arguments.setdefault(struct, SimpleNamespace())
            setattr(arguments[struct], field, value)
        else:
            arguments[name] = value
    return arguments
