"""The options of commands that ask a language model."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None, typer.Option("--model", help="The model that is asked, by the name its server has for it.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="An OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1; OpenAI's own if left out.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="A file that holds the key; else FLOWRL_API_KEY, then OPENAI_API_KEY. Never kept."),
]
Record = Annotated[Path | None, typer.Option("--record", help="Add every exchange with the model to this transcript.")]
Replay = Annotated[Path | None, typer.Option("--replay", help="Take the answers from a transcript: no network.")]
ReplayStrict = Annotated[
    bool, typer.Option("--replay-strict", help="With --replay: measured values in a prompt must be the same as well.")
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", min=0, help="US dollars that may be spent on this home, earlier commands counted."),
]
MaxCalls = Annotated[
    int | None,
    typer.Option("--max-calls", min=0, help="Calls of a model that may be made for this home, earlier ones counted."),
]
Prices = Annotated[
    Path | None,
    typer.Option("--prices", help="A TOML table of US dollars per million tokens; the home's prices.toml if left out."),
]
AnswerSeconds = Annotated[
    float, typer.Option("--llm-timeout", min=1, help="Seconds that a model may take for one answer.")
]
Manual = Annotated[Path | None, typer.Option("--manual", help="A text about the game in place of the domain's own.")]
Candidates = Annotated[int, typer.Option("--candidates", min=1, max=16, help="Rewards written and tried per skill.")]
CandidateFrames = Annotated[
    int, typer.Option("--candidate-frames", min=1, help="With --candidates: frames that each reward is tried for.")
]
Attempts = Annotated[
    int, typer.Option("--attempts", min=1, max=20, help="Answers asked for per stage before a proposal is given up.")
]
