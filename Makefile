# `make help` lists what there is. Everything works on a machine with Python >= 3.11, pip and make, without root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES := tests/flows tests/kill
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/muster: requirements.lock pyproject.toml
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(BIN)/muster

setup: $(BIN)/muster ## make .venv with everything locked in requirements.lock

demo: setup ## the main job on made-up clients against a simulator, through a real Prefect flow
	@$(BIN)/muster demo

test: setup ## all tests: those that start and kill processes one after the other, the others before, in two processes
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(PROCESSES:%=--ignore=%)
	@$(BIN)/python -m pytest $(PROCESSES)

lint: setup ## formatting and rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: setup ## mypy, strict
	@$(BIN)/mypy

check: lint types test ## lint, types and tests

bench: setup ## the benchmarks behind the README's numbers
	@$(BIN)/python -m benchmarks

torture: setup ## 1,000 random kills of real processes; prints what was lost (nothing) and repeated
	@$(BIN)/python -m tests.kill.torture

lock: ## write requirements.lock anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements.lock

.PHONY: help setup demo test lint types check bench torture lock
