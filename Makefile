# The commands of scope_ml. `make` lists them. Everything runs in .venv, made from hashed locks on first use.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# The first Python that runs and fits; a name on the PATH may be a shim of a version that is not there.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TF_CPP_MIN_LOG_LEVEL ?= 3

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock requirements-installer.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "scope_ml needs Python 3.11 to 3.13; install one, or type make PYTHON=/path/to/python3.12 ..."; exit 2; }
	@echo "Setting up .venv (once, about a minute) ..."
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-installer.lock
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

setup: $(READY) ## make the environment in .venv

repro: $(READY) ## run the main job on the embedded survey, from light curves to the report
	@$(BIN)/python pipelines/repro.py

test: $(READY) ## run the tests, on two to four cores
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: $(READY) ## run the long tests too
	@$(BIN)/python -m pytest -m "not gpu and not slurm"

test-slurm: $(READY) ## run the tests that start a Slurm here: as root, with Debian's slurm-wlm and munge
	@$(BIN)/python -m pytest -m slurm tests/slurm

test-gpu: $(READY) ## run the tests that need an NVIDIA GPU, after pip install 'scope_ml[gpu]'
	@CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} $(BIN)/python -m pytest -m gpu tests/gpu

check: $(READY) ## format, lint, types, floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

benchmark: $(READY) ## run the pipeline on real light curves in SCOPE_BENCHMARK_DATA
	@$(BIN)/python pipelines/benchmark/benchmark.py

release-data: $(READY) ## pack the results of make repro as a data release
	@$(BIN)/python pipelines/release.py results

ui: $(READY) ## open the MLflow UI on http://127.0.0.1:5000
	@$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

# What everybody installs: not the GPU's libraries, nor the peers that benchmarks are timed beside.
EXTRAS := train tracking pipeline tune services testing cesium lightcurve hats dask dev

lock: $(READY) ## renew the hashed locks from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate $(addprefix --extra ,$(EXTRAS)) pyproject.toml -o requirements.lock
	@echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate - -o requirements-installer.lock

clean: ## remove results and local state of runs (keeps .venv)
	@rm -rf results outputs mlruns mlflow.db .pytest_cache .mypy_cache .ruff_cache

.PHONY: help setup repro test test-slow test-slurm test-gpu check benchmark release-data ui lock clean
