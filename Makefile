# `make demo` and `make test` set up their own environment; Python 3.11 and git are all they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt
MODELS := models/treatystance-minilm

.PHONY: demo test slow check format lock bundled minilm benchmarks clean

# The stamp changes when what is to be installed does.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) $(MODELS)/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) ./$(MODELS) -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m treatystance.demo

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

# Longer checks: a wheel in a clean environment, served models, the rebuilt bundled model.
slow: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Resolve the newest versions within pyproject's ranges and lock them.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet ./$(MODELS) -e '.[dev]'
	build/lock/bin/python -m pip freeze --exclude-editable | sed -e '/ @ /d' -e 's/+cpu$$//' > $(CONSTRAINTS)

# Needs TREATYSTANCE_CORPORA: the folder with the public corpora.
bundled: $(VENV)/.installed
	$(BIN)/python -m treatystance.bundle linear

# Hours on two cores; fitted encoders are kept, so that it can be broken off.
minilm: $(VENV)/.installed
	$(BIN)/python -m treatystance.bundle minilm --keep build/encoders

benchmarks: $(VENV)/.installed
	$(BIN)/python benchmarks/scoring.py

clean:
	rm -rf build dist demo-output $(VENV)
