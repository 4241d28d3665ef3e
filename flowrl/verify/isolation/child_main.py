"""The main program of a sandbox's child process. Run as `python -m flowrl.verify.isolation.child_main trace|judge FD`
by `verify.py`.

The request comes on stdin: a line of JSON, then bytes. The answer goes to the file descriptor FD: the line "ready" once
the child is ready for the code, a line of JSON, then bytes; a child that fails earlier sends the line of JSON alone.
All limits are set before a skill's text is run.

What this does not cover: code that escaped the allow-list could make the first child answer anything, such as an
artefact of its own making. So the artefact, and nothing else that this child says, is what the second child judges and
what workers run. Only an artefact and one sentence of bounded length leave the process; without Landlock, such code
could read this user's files and put them into that sentence, which a model's provider may see. Use of processor time
and memory within the limits, and side channels, are not covered.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowrl.verify.isolation.landlock import drop_capabilities, end_with_parent, restrict_files
from flowrl.verify.isolation.resource_limits import SandboxLimits, limit_resources
from flowrl.verify.isolation.seccomp import install_filter, prepare_filter


def main() -> int:
    """Handle the request. Every outcome, a crash too, is an answer."""
    role, descriptor = sys.argv[1], int(sys.argv[2])
    stdin = sys.stdin.buffer
    request = json.loads(stdin.readline())
    prepare_filter()
    enforced = limit_resources(SandboxLimits(**request["limits"]))
    required = not request["trusted"]
    with os.fdopen(descriptor, "wb") as answers:
        try:
            powers = drop_capabilities(required)
            end_with_parent()
            if os.getppid() != request["parent"]:
                return 1
            enforced += [powers, restrict_files([Path(request["recording"]).parent], required)]
            header, data = {"trace": _trace, "judge": _judge}[role](request, stdin, answers, enforced)
        except Exception as error:
            header, data = {"crash": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}, b""
        answers.write(json.dumps(header).encode() + b"\n" + data)
    return 0


def _ready(answers: Any) -> None:
    answers.write(b"ready\n")
    answers.flush()


def _trace(request: Mapping[str, Any], _: Any, answers: Any, enforced: list[str]) -> tuple[dict[str, Any], bytes]:
    from flowrl.verify.tracing import Refused, traced_artefact, warm_up

    warm_up(request["env"])
    enforced += install_filter(required=not request["trusted"])
    _ready(answers)
    try:
        return {"problem": "", "enforced": enforced}, traced_artefact(request)
    except Refused as refused:
        return {"problem": str(refused), "enforced": enforced}, b""


def _judge(request: Mapping[str, Any], stdin: Any, answers: Any, enforced: list[str]) -> tuple[dict[str, Any], bytes]:
    from flowrl.schema.skill import SkillSpec
    from flowrl.verify.behaviour.judge import Judge

    judge = Judge(Path(request["recording"]))
    enforced += install_filter(required=not request["trusted"])
    _ready(answers)
    spec = SkillSpec.model_validate(request["spec"])
    artefact = stdin.read()
    checks = judge.checks(artefact, spec, request["trusted"])
    return {"checks": [check.model_dump() for check in checks], "enforced": enforced}, b""


if __name__ == "__main__":
    sys.exit(main())
