# Every target works from a bare clone: the virtual environment is made and filled when it is missing or outdated.
PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.installed

.PHONY: setup demo test test-sweeps test-rest test-long cluster-test chaos check up submit dashboard fetch down orphans clean
.DELETE_ON_ERROR:

setup: $(STAMP)

# Setuptools' warning of folders that hide an editable package is about folders that are none here.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	PYTHONWARNINGS=ignore $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(VENV)/bin/python tune_main.py sweeps/smoke.yaml

# Whole sweeps wait a lot, so the rest is tested beside them; Ray's workers, nice by default, would starve there.
test test-sweeps test-rest: export RAY_worker_niceness = 0
test: setup
	$(MAKE) --no-print-directory --jobs=2 test-sweeps test-rest

test-sweeps: setup
	$(VENV)/bin/python -m pytest tests/chaos
	$(VENV)/bin/python -m pytest tests/sweep

test-rest: setup
	$(VENV)/bin/python -m pytest --ignore=tests/sweep --ignore=tests/chaos

test-long: setup
	$(VENV)/bin/python -m pytest -m long

# All of a spot cluster's life on a simulated AWS; prints what each step took, in seconds. By itself: it wants both cores.
cluster-test: setup
	$(VENV)/bin/python -m pytest -m long -s tests/cluster/e2e

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

# A cluster's life, as docs/cluster.md tells it: make submit SWEEP=sweeps/embed.yaml STORAGE=s3://BUCKET/PREFIX
CLUSTER ?= cluster/spot.yaml
SWEEP   ?= sweeps/embed.yaml
STORAGE ?=
RESULTS  = $(or $(STORAGE:/=),$(error give STORAGE=s3://BUCKET/PREFIX))
up: setup
	$(VENV)/bin/ray up -y $(CLUSTER)

submit: setup
	$(VENV)/bin/ray exec $(CLUSTER) 'cd paramalloc && RAY_ADDRESS=auto python tune_main.py $(SWEEP) --storage $(RESULTS) --down-when-done' --tmux

dashboard: setup
	$(VENV)/bin/ray dashboard $(CLUSTER)

fetch: setup
	$(VENV)/bin/python -m paramalloc fetch $(RESULTS)/$(basename $(notdir $(SWEEP)))

# What stops the bill does not wait for an environment to be made anew.
down: | $(STAMP)
	$(VENV)/bin/ray down -y $(CLUSTER)

# What of ours still runs at AWS, in the cluster file's region, or in REGIONS; exit code 1 when there is something.
REGIONS ?=
orphans: | $(STAMP)
	$(VENV)/bin/python -m cluster orphans $(CLUSTER) $(addprefix --region ,$(REGIONS))

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
