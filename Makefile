# Two commands do everything on a machine that has only Python 3.11+: `make train`, `make test`.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS))
# a worker for each core, and for each file of tests one worker: files share what they prepare
WORKERS ?= auto
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
ARGS ?=

.PHONY: train test test-fast bench chaos lint clean

train: $(VENV)/.train ## train simple-cnn through Accelerate; ARGS="--num-seeds 3" adds flags
	@echo "make: training simple-cnn for ten epochs: under a minute on two cores"
	$(BIN)/accelerate launch -m mnistbench.train --recipe simple-cnn $(ARGS)

test: $(VENV)/.dev ## the whole test suite
	@echo "make: running all tests: about thirteen minutes on two cores; make test-fast takes one"
	$(PYTEST) $(ARGS)

test-fast: $(VENV)/.dev ## tests that start no process, compiler or server and are done in a moment
	$(PYTEST) -m "not processes and not slow" $(ARGS)

bench: $(VENV)/.dev ## the benchmark suites
	$(BIN)/python -m pytest bench/ --benchmark-only $(ARGS)

chaos: $(VENV)/.dev ## interrupt runs at random, have them go on, compare the bits
	$(BIN)/python -m bench.chaos $(ARGS)

lint: $(VENV)/.dev ## style, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Nine tenths of what pip would compile is never imported: the first import compiles the rest.
$(VENV)/.train: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mnistbench needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	@echo "make: installing torch, Accelerate and what training needs: one to three minutes, 5 GB"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --no-compile -e .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import torchvision, accelerate.commands.launch, rich'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "make: adding what tests and linters need: one minute"
	@$(INSTALL) --no-compile -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib || true # templates for other Pythons do not compile
	@touch $@

clean: ## remove what make and the tools made, but no results
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
