"""Prompts as text files with named variables. A prompt file begins with a head that
names its variables:

    ---
    fixed: goal, frontier
    measured: success
    ---
    What is wanted: {{ goal }} ...

Measured variables (success rates, trajectories) differ between machines. So a prompt is rendered twice: as sent, and
with each measured variable replaced by its name, which replay matches on. Missing and unused variables are errors.
"""

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import jinja2.meta

from flowrl.errors import UsageError
from flowrl.llm.transport.client import Message

_MARK = "---\n"
_FOLDER = resources.files("flowrl.llm") / "prompts"


@dataclass(frozen=True)
class Prompt:
    """A prompt's text and its variables.

    Attributes:
        fixed: variables with the same value on every machine.
        measured: variables without.
    """

    name: str
    text: str
    fixed: frozenset[str]
    measured: frozenset[str]

    def render(self, **variables: Any) -> Message:
        """The message with its variables filled in. Its role is system or user by the prompt's name.

        Raises:
            UsageError: a variable is missing or unknown.
        """
        wanted = self.fixed | self.measured
        if lacking := sorted(wanted - variables.keys()):
            raise UsageError(f"The prompt {self.name!r} lacks its variable {', '.join(lacking)}.")
        if unused := sorted(variables.keys() - wanted):
            raise UsageError(f"The prompt {self.name!r} does not use {', '.join(unused)}. It has {sorted(wanted)}.")
        masked = variables | {name: _Mask(name) for name in self.measured}
        template = _environment().from_string(self.text)
        role: Any = "system" if self.name.startswith("system") else "user"
        return Message(role=role, text=template.render(variables).strip(), masked=template.render(masked).strip())


class _Mask:
    """A stand-in for a measured value and its parts."""

    def __init__(self, name: str):
        self._name = name

    def __str__(self) -> str:
        return f"<{self._name}>"

    def __getitem__(self, _key: object) -> "_Mask":
        return self

    def __iter__(self) -> Any:
        return iter([self])


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)


def parse_prompt(name: str, text: str) -> Prompt:
    """The prompt in a file's text.

    Raises:
        UsageError: it has no head, or its variables are not those of its head.
    """
    begin, _, rest = text.partition(_MARK)
    head, mark, body = rest.partition(_MARK)
    if begin or not mark:
        raise UsageError(f"The prompt {name!r} must begin with its variables between two lines of ---.")
    named = dict(line.split(":", 1) for line in head.splitlines() if line.strip())
    if unknown := sorted(named.keys() - {"fixed", "measured"}):
        raise UsageError(f"The head of the prompt {name!r} has {unknown[0]!r}; it can have fixed and measured.")
    fixed, measured = (
        frozenset(word.strip() for word in named.get(kind, "").split(",") if word.strip())
        for kind in ("fixed", "measured")
    )
    used = jinja2.meta.find_undeclared_variables(_environment().parse(body))
    if missing := sorted(used - fixed - measured):
        raise UsageError(f"The prompt {name!r} uses {missing[0]!r}, which its head does not name.")
    if unused := sorted((fixed | measured) - used):
        raise UsageError(f"The prompt {name!r} never uses {unused[0]!r}, which its head names.")
    if both := sorted(fixed & measured):
        raise UsageError(f"The prompt {name!r} names {both[0]!r} as fixed and as measured.")
    return Prompt(name, body, fixed, measured)


@functools.cache
def load_prompt(name: str) -> Prompt:
    """A prompt of the package by file name."""
    return parse_prompt(name, (_FOLDER / f"{name}.md").read_text("utf-8"))
