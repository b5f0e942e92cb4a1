# Every target works from a bare clone: the virtual environment is made and filled when it is missing or outdated.
PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.installed

.PHONY: setup demo test test-long chaos check clean
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(VENV)/bin/python tune_main.py sweeps/smoke.yaml

test: setup
	$(VENV)/bin/python -m pytest

test-long: setup
	$(VENV)/bin/python -m pytest -m long

# N seeded runs from FIRST on, KILLS of the driver at random instants, TRACES of recorded losses; prints their figures.
N       ?= 5
KILLS   ?= 3
TRACES  ?= 1
FIRST   ?= 0
FIGURES ?= chaos.json
chaos: setup
	CHAOS_FIRST=$(FIRST) CHAOS_RUNS=$(N) CHAOS_KILLS=$(KILLS) CHAOS_TRACES=$(TRACES) CHAOS_FIGURES=$(FIGURES) \
	$(VENV)/bin/python -m pytest tests/chaos -v -m 'long or not long'

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m cluster validate cluster/*.yaml cluster/iam/*.json

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
