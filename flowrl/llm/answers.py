"""The forms of a model's answers, and how a text becomes one: JSON as it comes, whatever is wrapped around it."""

import json
import re
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowrl.errors import SpecError
from flowrl.knowledge.quantities import parse_quantity, quantity_text
from flowrl.library.drafts import RewardDesign
from flowrl.schema.skill import Quantity, SkillSpec

_LONGEST = 100_000
_FENCE = re.compile(r"```(?:[A-Za-z]*)\n(.*?)```", re.DOTALL)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProposeAnswer(_Answer):
    """The next skill, or a weak one to go on with."""

    action: Literal["new", "continue"] = "new"
    name: str = Field(min_length=1, max_length=80)
    description: str = Field(default="", max_length=500)
    gain: str = Field(default="", max_length=200)


class SpecAnswer(_Answer):
    """A specification; amounts are whole numbers or texts such as "2*n + 1"."""

    requires: dict[str, int | str] = Field(default_factory=dict)
    consumes: dict[str, int | str] = Field(default_factory=dict)
    yields: dict[str, int | str] = Field(default_factory=dict)
    stays: bool = False
    item: str | None = None
    n_range: tuple[int, int] | None = None
    floors: tuple[int, ...] | None = None
    to_floor: int | None = None
    practice: tuple[tuple[str, int], ...] = ()

    def spec(self, name: str) -> SkillSpec:
        """Returns the specification.

        Raises:
            SpecError: an amount cannot be read; says all that cannot.
        """
        values: dict[str, Any] = self.model_dump()
        problems: list[str] = []
        for part in ("requires", "consumes", "yields"):
            values[part], unread = _quantities(values[part], f"{name!r}, {part}")
            problems += unread
        if problems:
            raise SpecError("\n".join(problems))
        return SkillSpec.model_validate(values)

    @classmethod
    def of(cls, spec: SkillSpec) -> "SpecAnswer":
        """Returns the form in which a model would have written a specification."""
        amounts = {part: _texts(getattr(spec, part)) for part in ("requires", "consumes", "yields")}
        rest = {name: getattr(spec, name) for name in ("stays", "item", "n_range", "floors", "to_floor", "practice")}
        return cls(**amounts, **rest)

    def text(self) -> str:
        """Returns it as JSON on one line, what is empty left out."""
        return self.model_dump_json(exclude_defaults=True)


class DesignAnswer(_Answer):
    """One or more designs of a reward."""

    designs: tuple[RewardDesign, ...] = Field(min_length=1, max_length=8)


class CodeAnswer(_Answer):
    """The text of a skill file with a third function, `network_number`."""

    code: str = Field(min_length=1, max_length=40_000)


class RefineAnswer(_Answer):
    """A corrected specification."""

    reason: str = Field(default="", max_length=2000)
    spec: SpecAnswer


AnswerT = TypeVar("AnswerT", bound=_Answer)


class UnreadableAnswerError(Exception):
    """An answer that has not the form asked for; the message tells its author what is wrong."""


def parse_answer(text: str, form: type[AnswerT]) -> AnswerT:
    """Returns the answer that a text holds.

    JSON may stand in a code fence or between other words; code alone in a fence will do for a `CodeAnswer`.

    Raises:
        UnreadableAnswerError: there is none of this form; says what is wrong, for its author.
    """
    if not text.strip():
        raise UnreadableAnswerError("The answer is empty. Answer with one JSON object.")
    if len(text) > _LONGEST:
        raise UnreadableAnswerError(f"The answer has {len(text):,} characters, more than {_LONGEST:,}. Be brief.")
    reason = ""
    for candidate in _candidates(text):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError) as error:
            if "{" in candidate or "[" in candidate:
                reason = reason or f"It is not valid JSON: {error}. Was it cut off?"
            continue
        if _has_surrogates(found):
            raise UnreadableAnswerError("It holds half a character (a lone surrogate). Write plain text.")
        if not isinstance(found, dict):
            reason = reason or f"It is a JSON {type(found).__name__}, not an object."
            continue
        try:
            return form.model_validate(found)
        except ValidationError as error:
            raise UnreadableAnswerError(_what_is_wrong(error)) from None
    fenced = _FENCE.findall(text)
    if form is CodeAnswer and len(fenced) == 1 and "def " in fenced[0]:
        return form.model_validate({"code": fenced[0]})
    raise UnreadableAnswerError(
        reason or "There is no JSON object in it. Answer with one JSON object and nothing else."
    )


def _has_surrogates(found: object) -> bool:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _candidates(text: str) -> Iterable[str]:
    yield text
    yield from _FENCE.findall(text)
    begin, end = text.find("{"), text.rfind("}")
    if 0 <= begin < end:
        yield text[begin : end + 1]


def _what_is_wrong(error: ValidationError) -> str:
    """Returns what is wrong with each field, a line each."""
    lines = []
    for detail in error.errors()[:10]:
        where = ".".join(str(part) for part in detail["loc"]) or "the object"
        given = repr(detail["input"])
        given = given if len(given) <= 80 else f"{given[:77]}..."
        what = detail["msg"][0].lower() + detail["msg"][1:]
        lines.append(f"{where}: {what}" + (f"; it is {given}" if detail["type"] != "missing" else ""))
    return "\n".join(lines)


def _quantities(amounts: dict[str, Any], where: str) -> tuple[dict[str, Quantity], list[str]]:
    found: dict[str, Quantity] = {}
    problems = []
    for fluent, amount in amounts.items():
        try:
            found[fluent] = (
                Quantity(base=amount) if isinstance(amount, int) else parse_quantity(amount, f"{where} {fluent}")
            )
        except SpecError as error:
            problems.append(str(error))
    return found, problems


def _texts(amounts: dict[str, Quantity]) -> dict[str, int | str]:
    return {f: quantity_text(q) if q.per_n else q.base for f, q in amounts.items()}
