"""A child process of the sandbox; `verify.py` starts it.

Run as `python -m flowrl.verify.isolation.child_main trace|judge FD`.

It reads its request from stdin: a line of JSON, then bytes. It answers on the file descriptor FD: the line "ready" once
it could look at the code, a line of JSON, then bytes; where it could not get so far, the line of JSON alone. All limits
are set before the text of a skill is run.

What this does not cover: code that broke out of the allow-list could, in the first child, answer anything it likes: an
artefact of its own making. That is why the artefact, and nothing else that this child says, is what the second child
judges and what workers run. Nothing but an artefact and one sentence of bounded length leaves the process; where there
is no Landlock, such code could read files that this user may read, and say them in that sentence, which a model's
provider would get to see. Processor time and memory that others lack meanwhile, and side channels, are not covered.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrl.verify.isolation.landlock import drop_powers, end_with_parent, read_only_these
from flowrl.verify.isolation.resource_limits import SandboxLimits, limit_resources
from flowrl.verify.isolation.seccomp import close_door, prepare_filter


def main() -> int:
    """Does what the request says and answers; whatever happens is in the answer."""
    role, descriptor = sys.argv[1], int(sys.argv[2])
    stdin = sys.stdin.buffer
    request = json.loads(stdin.readline())
    prepare_filter()
    enforced = limit_resources(SandboxLimits(**request["limits"]))
    must_hold = not request["trusted"]
    with os.fdopen(descriptor, "wb") as answers:
        try:
            powers = drop_powers(must_hold)
            end_with_parent()
            if os.getppid() != request["parent"]:
                return 1
            enforced += [powers, read_only_these([Path(request["recording"]).parent], must_hold)]
            header, data = {"trace": _trace, "judge": _judge}[role](request, stdin, answers, enforced)
        except Exception as error:
            header, data = {"crash": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}, b""
        answers.write(json.dumps(header).encode() + b"\n" + data)
    return 0


def _ready(answers: Any) -> None:
    answers.write(b"ready\n")
    answers.flush()


def _trace(request: Mapping[str, Any], _: Any, answers: Any, enforced: list[str]) -> tuple[dict[str, Any], bytes]:
    from flowrl.verify.tracing.trace import Refused, traced_artefact, warm_up

    warm_up(request["env"])
    enforced += close_door(must_hold=not request["trusted"])
    _ready(answers)
    try:
        return {"problem": "", "enforced": enforced}, traced_artefact(request)
    except Refused as refused:
        return {"problem": str(refused), "enforced": enforced}, b""


def _judge(request: Mapping[str, Any], stdin: Any, answers: Any, enforced: list[str]) -> tuple[dict[str, Any], bytes]:
    from flowrl.schema.skill import SkillSpec
    from flowrl.verify.behaviour.judge import Judge

    judge = Judge(Path(request["recording"]))
    enforced += close_door(must_hold=not request["trusted"])
    _ready(answers)
    spec = SkillSpec.model_validate(request["spec"])
    artefact = stdin.read()
    checks = judge.checks(artefact, spec, request["trusted"])
    return {"checks": [check.model_dump() for check in checks], "enforced": enforced}, b""


if __name__ == "__main__":
    sys.exit(main())
