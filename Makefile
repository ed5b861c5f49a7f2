# Everything installs into .venv: `make run` and `make test` need nothing but Python 3.11 or newer and a C compiler.
# PYTHON=... and STACK=cpu|cuda steer the set-up, see requirements/install.sh.

BIN     := .venv/bin
# Folders are listed too: their time changes where a file goes away.
SOURCES := $(shell find tsallis_run hydra_plugins conf sweeps -not -name '__pycache__' -not -name '*.pyc')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run bench slurm slurm-sweep slurm-dry test test-slurm test-namespaces check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Examples: make run ARGS="estimator=garl q=0.75", make test ARGS="-k estimators", make setup PYTHON=python3.12'

setup: .venv/installed  ## install into .venv what is not there yet

run: setup  ## one run, by default the embedded task; ARGS="key=value ..." are its overrides
	$(BIN)/tsallis-run $(ARGS)

bench: setup  ## the speed of this machine, as tables (docs/performance.md); PYTHONPATH=FOLDER brings TRL, the peer
	$(BIN)/python benchmarks/against_trl.py
	$(BIN)/python benchmarks/against_trl.py --prompt-tokens 512 --overrides optimizer.micro_batch_tokens=1200
	$(BIN)/python benchmarks/deepspeed_cost.py
	$(BIN)/python benchmarks/trainer_alone.py
	$(BIN)/python benchmarks/packed_linears.py
	$(BIN)/python benchmarks/growth.py --steps 1 optimizer.micro_batch_tokens=4608
	$(BIN)/python benchmarks/start_up.py

slurm: setup  ## one run as a job of Slurm, see docs/scaling.md; ARGS as for run
	$(BIN)/tsallis-run -m hydra/launcher=slurm $(ARGS)

slurm-sweep: setup  ## a sweep as an array of jobs; SWEEP=NAME of sweeps/, or none and ARGS="q=0,0.5,1"
	$(BIN)/tsallis-run -m hydra/launcher=slurm $(SWEEP:%=+sweep=%) $(ARGS)

slurm-dry: setup  ## prints the script that slurm or slurm-sweep would submit, and submits nothing
	$(BIN)/tsallis-run -m hydra/launcher=slurm_dry $(SWEEP:%=+sweep=%) $(ARGS)

test: setup  ## the tests, on the installed package; ARGS="..." go to pytest
	$(BIN)/pytest $(ARGS)

test-slurm: setup  ## Slurm for real on this machine; as root, with Debian's slurm-wlm and munge
	$(BIN)/pytest tests/cluster/slurm.py $(ARGS)

test-namespaces: setup  ## two network namespaces as two machines; as root, with iproute2
	$(BIN)/pytest tests/cluster/namespaces.py $(ARGS)

check: setup  ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove .venv, builds and caches; outputs/ stays
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/requirements: pyproject.toml $(wildcard requirements/*)
	@requirements/install.sh
	@touch $@

.venv/installed: .venv/requirements $(SOURCES)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation .
	@touch $@
