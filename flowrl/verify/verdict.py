"""What verification found out about a skill's code; a value, never an exception."""

from flowrl.schema.frozen import Frozen


class Check(Frozen):
    """One check of a skill's code.

    Attributes:
        name: e.g. "syntax", "allow-list", "trace", "finite", "reachable", "farming", "primitives".
        detail: what was looked at, or what is wrong, as a sentence that an author can act on.
    """

    name: str
    passed: bool
    detail: str
    seconds: float = 0.0


class Verdict(Frozen):
    """The outcome of verifying a skill's code.

    Attributes:
        ok: every check has passed.
        error: the first thing that is wrong, as a sentence that an author (or a model) can act on; empty if ok.
        checks: in the order in which they were made; none is made after one that failed.
        enforced: what held the child process in, e.g. "no network (seccomp)"; what the platform lacks is said too.
        artefact: the key of the exported functions in the local cache, empty if there are none.
        seconds: wall time of it all; ``start_seconds`` until the child was ready to look at the code.
    """

    ok: bool
    error: str = ""
    checks: tuple[Check, ...] = ()
    enforced: tuple[str, ...] = ()
    artefact: str = ""
    seconds: float = 0.0
    start_seconds: float = 0.0
