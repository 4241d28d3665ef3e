"""The outcome of verifying a skill's code. A value, never an exception."""

from flowrl.schema.frozen import Frozen


class Check(Frozen):
    """One check of a skill's code.

    Attributes:
        name: e.g. "parse", "allow-list", "trace", "finite", "reachable", "farming".
        detail: what was checked, or what is wrong, as a sentence that an author can act on.
    """

    name: str
    passed: bool
    detail: str
    seconds: float = 0.0


class Verdict(Frozen):
    """The outcome of verifying a skill's code.

    Attributes:
        error: the first problem, as a sentence that an author or a model can act on; empty if ok.
        checks: in the order in which they ran; the first failure ends them.
        enforced: the restrictions on the child process, e.g. "no network (seccomp)", and those the platform lacks.
        artefact: the key of the exported functions in the local cache, empty if there are none.
        seconds: wall time in all; ``start_seconds`` until the child was ready for the code.
    """

    ok: bool
    error: str = ""
    checks: tuple[Check, ...] = ()
    enforced: tuple[str, ...] = ()
    artefact: str = ""
    seconds: float = 0.0
    start_seconds: float = 0.0
