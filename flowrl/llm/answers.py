"""The forms of a model's answers with parsers. JSON even inside other text, and skill code."""

import json
import re
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from flowrl.errors import ModuleError, SpecError
from flowrl.knowledge.quantities import parse_quantity, quantity_text
from flowrl.library.drafts import RewardDesign
from flowrl.schema.frozen import Frozen
from flowrl.schema.skill import SkillSpec
from flowrl.skillcode.skill_file import functions_of
from flowrl.skillcode.source import literal_number, parse, without_statement

NUMBER = "network_number"
_MAX_LENGTH = 100_000
_FENCE = re.compile(r"```(?:[A-Za-z]*)\n(.*?)```", re.DOTALL)


class RejectedError(Exception):
    """An answer that breaks a rule. The message tells the model which, and the next move."""


class ProposeAnswer(Frozen):
    """The next skill, or a weak one to continue."""

    action: Literal["new", "continue"] = "new"
    name: str = Field(min_length=1, max_length=80)
    description: str = Field(default="", max_length=500)
    gain: str = Field(default="", max_length=200)


class SpecAnswer(Frozen):
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
        """The specification of the skill ``name``.

        Raises:
            RejectedError: amounts cannot be read; names all of them.
        """
        values: dict[str, Any] = self.model_dump()
        problems: list[str] = []
        for part in ("requires", "consumes", "yields"):
            for fluent, amount in values[part].items():
                try:
                    values[part][fluent] = parse_quantity(str(amount), f"{name!r}, {part} {fluent}")
                except SpecError as error:
                    problems.append(str(error))
        if problems:
            raise RejectedError("\n".join(problems))
        return SkillSpec.model_validate(values)

    @classmethod
    def of(cls, spec: SkillSpec) -> "SpecAnswer":
        """A specification as a model would write it."""
        amounts: dict[str, Any] = {
            part: {f: quantity_text(q) if q.per_n else q.base for f, q in getattr(spec, part).items()}
            for part in ("requires", "consumes", "yields")
        }
        rest = {name: getattr(spec, name) for name in ("stays", "item", "n_range", "floors", "to_floor", "practice")}
        return cls(**amounts, **rest)

    def text(self) -> str:
        """JSON on one line without empty parts."""
        return self.model_dump_json(exclude_defaults=True)


class DesignAnswer(Frozen):
    """One or more designs of a reward."""

    designs: tuple[RewardDesign, ...] = Field(min_length=1, max_length=8)


class CodeAnswer(Frozen):
    """The text of a skill file with a third function, `network_number`."""

    code: str = Field(min_length=1, max_length=40_000)


class RefineAnswer(Frozen):
    """A corrected specification."""

    reason: str = Field(default="", max_length=2000)
    spec: SpecAnswer


AnswerT = TypeVar("AnswerT", bound=Frozen)


def parse_answer(text: str, form: type[AnswerT]) -> AnswerT:
    """The answer in a text.

    JSON may stand in a code fence or between other words; for a `CodeAnswer` fenced code alone is enough.

    Raises:
        RejectedError: there is none of this form; tells the model what is wrong.
    """
    if not text.strip():
        raise RejectedError("The answer is empty. Answer with one JSON object.")
    if len(text) > _MAX_LENGTH:
        raise RejectedError(f"The answer has {len(text):,} characters, more than {_MAX_LENGTH:,}. Be brief.")
    reason = ""
    for candidate in _candidates(text):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError) as error:
            if "{" in candidate or "[" in candidate:
                reason = reason or f"It is not valid JSON: {error}. Was it cut off?"
            continue
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise RejectedError("It holds half a character (a lone surrogate). Write plain text.") from None
        if not isinstance(found, dict):
            reason = reason or f"It is a JSON {type(found).__name__}, not an object."
            continue
        try:
            return form.model_validate(found)
        except ValidationError as error:
            raise RejectedError(_what_is_wrong(error)) from None
    fenced = _FENCE.findall(text)
    if form is CodeAnswer and len(fenced) == 1 and "def " in fenced[0]:
        return form.model_validate({"code": fenced[0]})
    raise RejectedError(reason or "There is no JSON object in it. Answer with one JSON object and nothing else.")


def _candidates(text: str) -> Iterable[str]:
    yield text
    yield from _FENCE.findall(text)
    begin, end = text.find("{"), text.rfind("}")
    if 0 <= begin < end:
        yield text[begin : end + 1]


def _what_is_wrong(error: ValidationError) -> str:
    """What is wrong with each field."""
    lines = []
    for detail in error.errors()[:10]:
        where = ".".join(str(part) for part in detail["loc"]) or "the object"
        given = repr(detail["input"])
        given = given if len(given) <= 80 else f"{given[:77]}..."
        what = detail["msg"][0].lower() + detail["msg"][1:]
        lines.append(f"{where}: {what}" + (f"; it is {given}" if detail["type"] != "missing" else ""))
    return "\n".join(lines)


def own_functions(text: str, expert: int) -> str:
    """The skill file without `network_number`. The number is assigned when the skill is trained.

    Raises:
        RejectedError: the text is no Python, or `network_number` is missing or returns another number.
    """
    try:
        tree = parse(text, "the code")
    except ModuleError as error:
        raise RejectedError(str(error)) from None
    named = [node for node in functions_of(tree) if node.name == NUMBER]
    if len(named) != 1:
        count = "no" if not named else "more than one"
        raise RejectedError(f"The code has {count} function {NUMBER}. Write one: def {NUMBER}(): return {expert}")
    (node,) = named
    where = f"{NUMBER}, at line {node.lineno},"
    if literal_number(node) != expert:
        raise RejectedError(f"{where} must return {expert}, as a literal and without arguments.")
    if (rest := without_statement(text, tree, node)) is None:
        raise RejectedError(f"{where} must stand on lines of its own.")
    return rest.strip("\n") + "\n"
