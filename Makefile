# Two commands do everything on a machine that has only Python 3.11+: `make train`, `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: train test bench chaos lint clean

train: $(VENV)/.installed ## train simple-cnn through Accelerate; ARGS="--num-seeds 3" adds flags
	$(BIN)/accelerate launch -m mnistbench.train --recipe simple-cnn $(ARGS)

test: $(VENV)/.installed ## the whole test suite
	$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.installed ## the benchmark suites
	$(BIN)/python -m pytest bench/ --benchmark-only $(ARGS)

chaos: $(VENV)/.installed ## interrupt runs at random, have them go on, compare the bits
	$(BIN)/python -m bench.chaos $(ARGS)

lint: $(VENV)/.installed ## style, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mnistbench needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean: ## remove what make and the tools made, but no results
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
