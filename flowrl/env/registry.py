"""Domains by the name of their environment; a game is imported only when asked for."""

import importlib

from flowrl.config import ENVIRONMENTS
from flowrl.env.domain import Domain
from flowrl.errors import UsageError, nearest_names

_MODULES = dict(zip(ENVIRONMENTS, ("flowrl.env.classic", "flowrl.env.craftax", "flowrl.env.tiny"), strict=True))


def domain_named(name: str) -> Domain:
    """Returns the domain of an environment.

    Raises:
        UsageError: there is none of that name; the nearest are named.
    """
    if name not in _MODULES:
        raise UsageError(f"No environment {name!r}. {nearest_names(name, _MODULES)}")
    domain: Domain = importlib.import_module(_MODULES[name]).domain()
    return domain
