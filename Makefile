# Commands for a fresh machine: `make demo`, `make demo-llm` and `make test`. Each makes .venv with the pinned dependencies first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?= 2

.PHONY: demo demo-llm test format lint types fast test-benches structure house lock clean

demo: $(VENV)/.core
	$(BIN)/flowrl grow --env Craftax-Classic-Symbolic-v1 --skills 3 --home demo

# The same with a language model, whose answers come from a transcript: nothing is asked over the network.
demo-llm: $(VENV)/.core
	$(BIN)/flowrl grow --proposer llm --replay examples/llm/classic.jsonl --skills 4 --home demo-llm

# PROCESSES at once; a gigabyte or three of memory each.
test: lint types
	$(BIN)/python -m pytest -n $(PROCESSES) --durations=40

fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(PROCESSES) -m "not slow and not bench"

# Whole tables of the benches; they say little that a change of the package could break.
test-benches: $(VENV)/.dev
	$(BIN)/python -m pytest -m bench

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The file lists of docs/structure.md and the README's picture, made anew.
structure: $(VENV)/.dev
	$(BIN)/python -m tools.tree
	$(BIN)/python -m tools.picture

# The package in figures: circles, files, lines, functions, docstrings.
house: $(VENV)/.dev
	$(BIN)/python tools/house.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "flowrl needs Python 3.11 or newer; $(PYTHON) is older. Say which one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: lock/core.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lock/core.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: lock/dev.txt $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lock/dev.txt
	@touch $@

# Pins for every Python from 3.11 on; needs uv. No registry is named in what it writes.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -o lock/core.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-header -c lock/core.txt -o lock/dev.txt

clean:
	rm -rf $(VENV) build dist
