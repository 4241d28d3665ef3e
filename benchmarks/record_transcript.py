"""Records a transcript anew with the prompts of today and the answers of an older one, while really training.

    .venv/bin/python benchmarks/record_transcript.py OLD NEW --home HOME --skills 4
    .venv/bin/python benchmarks/record_transcript.py OLD NEW --planted     the planted errors of `flowrl bench verify`

The answers are matched on stage and skill, in the order in which they stand there; of the older file only `stage`,
`skill` and `answer` are read, so that one can be begun by hand. What is written is what is really exchanged.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.tables.planted import outcomes, repaired_with_model
from flowrl.cli.live_display import Display
from flowrl.config import build_config
from flowrl.errors import LLMError
from flowrl.growing.controller import GrowLimits
from flowrl.llm.context import FlowSettings
from flowrl.llm.grow import grow_with
from flowrl.llm.transport.client import ModelRequest, ModelResponse
from flowrl.llm.transport.ledger import Ledger
from flowrl.llm.transport.transcript import TranscriptRecorder
from flowrl.paths import HomePaths

NAME = "by hand"


class Answers:
    """Gives the answers of a file, those of one stage and skill in their order."""

    def __init__(self, file: Path):
        self.rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Returns the next answer for a stage and skill."""
        for i, row in enumerate(self.rows):
            if (row["stage"], row["skill"]) == (request.stage, request.skill):
                return ModelResponse(text=self.rows.pop(i)["answer"], model=NAME)
        raise LLMError(f"There is no answer left for {request.stage} of {request.skill!r}. Write one into the file.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--home", type=Path, default=Path("transcript-home"))
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--skills", type=int, default=4)
    given = parser.parse_args()
    if given.planted:
        print(repaired_with_model(outcomes(), TranscriptRecorder(Answers(given.old), given.new)))
        return
    config = build_config(seed=0)
    llm = Ledger(TranscriptRecorder(Answers(given.old), given.new), HomePaths(given.home).ledger, NAME)
    with Display(sys.stdout) as display:
        outcome = grow_with(llm, given.home, config, given.skills, FlowSettings(), None, display, GrowLimits())
    print(outcome.reason)


if __name__ == "__main__":
    main()
