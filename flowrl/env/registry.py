"""Domains by the name of their environment. A game is imported only when asked for."""

import importlib

from flowrl.config import ENVIRONMENTS, LAYOUTS
from flowrl.env.domain import Domain
from flowrl.errors import UsageError, nearest_names

_MODULES = dict(zip(ENVIRONMENTS, ("flowrl.env.classic", "flowrl.env.craftax", "flowrl.env.tiny"), strict=True))


def domain_named(name: str, fast: bool = True, layout: str = "") -> Domain:
    """Build the domain of an environment.

    Args:
        fast: rewrite the game's functions for CPUs, see `flowrl.env.fast`; the results are the same.
        layout: of the observation; empty: the first of `LAYOUTS`.

    Raises:
        UsageError: there is none of that name; the nearest are named.
    """
    if name not in _MODULES:
        raise UsageError(f"No environment {name!r}. {nearest_names(name, _MODULES)}")
    return importlib.import_module(_MODULES[name]).domain(fast, layout or LAYOUTS[name][0])
