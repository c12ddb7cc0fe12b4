# make demo: the environment and the main job on the embedded default.  make test: the environment and all tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Scripts are checked for calls and names that are not there.
LOOSELY := --allow-untyped-defs --check-untyped-defs $(addprefix --disable-error-code=,\
	arg-type assignment dict-item has-type index misc return-value union-attr)

.PHONY: demo test lint format clean

demo: $(VENV)/.core
	$(BIN)/sycam synth grammars/gradient.sy --metric average-drop

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks $(LOOSELY)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev,referee,ray]'
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) runs
