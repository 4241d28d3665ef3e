"""Every error that flowrl raises on purpose.

    FlowRLError
    ├── UsageError          what was asked for does not exist or makes no sense (exit code 2)
    ├── ModuleError         a task module or skill file that cannot be used
    ├── SpecError           a skill's specification that contradicts the game, itself or others (exit code 2)
    ├── PlanError           a goal that no plan of the known skills reaches, or a plan that breaks
    ├── LibraryError        a home that is not ours, of another shape, locked or damaged
    ├── PlatformError       a jax that computes wrong, a disk that is full
    ├── TrainingError       a run that failed: NaN, a worker that died
    └── LLMError            a language model that does not answer, or is not to be asked any more
        ├── Unanswered      no answer came this time; asking again later may help
        ├── BudgetSpent     the calls or the money that --max-calls or --max-cost allow are spent
        └── NotRecorded     a replayed transcript lacks what would be asked now

A message names the thing, its value, the place, and the next move.
"""

import difflib
from collections.abc import Iterable


class FlowRLError(Exception):
    """The root of the tree. The CLI prints its message without a traceback."""


class UsageError(FlowRLError):
    """What was asked for does not exist or makes no sense."""


class ModuleError(FlowRLError):
    """An unusable task module or skill file. The message names file and function."""


class SpecError(FlowRLError):
    """A skill's specification that makes no sense. The message names skill and field."""


class PlanError(FlowRLError):
    """No plan reaches the goal or a plan breaks."""


class LibraryError(FlowRLError):
    """A home that is foreign, locked, damaged or of another shape."""


class PlatformError(FlowRLError):
    """The machine cannot do the work."""


class TrainingError(FlowRLError):
    """A run failed."""


class LLMError(FlowRLError):
    """A language model that gives no answer. The message says why, and the next move."""


class Unanswered(LLMError):
    """No answer came but asking again may help.

    Attributes:
        retry_after: seconds that the server asked to wait, None if it did not say.
        tokens_in, tokens_out: what it cost all the same.
    """

    def __init__(self, message: str, retry_after: float | None = None, tokens_in: int = 0, tokens_out: int = 0) -> None:
        """Keeps what was spent beside the message."""
        super().__init__(message)
        self.retry_after, self.tokens_in, self.tokens_out = retry_after, tokens_in, tokens_out


class BudgetSpent(LLMError):
    """The allowed calls or money are spent."""


class NotRecorded(LLMError):
    """A transcript that is replayed lacks what would be asked now."""


def nearest_names(wrong: str, valid: Iterable[str], most: int = 3) -> str:
    """The valid names nearest to ``wrong`` as a sentence. All of them where none is near."""
    names = list(valid)
    folded = {name.casefold(): name for name in names}
    near = [folded[n] for n in difflib.get_close_matches(wrong.casefold(), folded, n=most, cutoff=0.5)]
    if near:
        return f"Did you mean {' or '.join(repr(n) for n in near)}?"
    return f"Known: {', '.join(names)}." if names else "There are none."
