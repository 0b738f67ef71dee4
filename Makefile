# make demo    a report from real data in a few minutes     make test    the whole test suite
# make check-large    real-size runs (hours, tens of GB)    make clean   remove what was built here
# make bench          dnuc beside other libraries (an hour)  make bench-gpu  the same on a GPU; options: ARGS="--quick"
# make bench-plan     what `dnuc plan` predicts beside what jobs take (minutes)
# make bench-images   images from files beside the bare forward pass (minutes)
# make bench-scale    what comes after the neighbors, of 1,281,167 samples (half an hour, 12 GB of memory and of disk)
# make conformance    the same numbers as DADApy? (minutes)
# make check-cluster  faults and networks of real clusters, as root on Linux; writes docs/reliability.md (20 minutes)

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.PHONY: demo test lint check-large check-cluster bench bench-gpu bench-images bench-plan bench-scale conformance dadapy-env clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/dnuc run jobs/digits.toml --on deploy/local.toml

test: .venv/test-installed lint
	$(BIN)/python -m pytest

lint: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-large: .venv/test-installed
	$(BIN)/python -m pytest -m large --timeout=7200

check-cluster: .venv/test-installed
	DNUC_RELIABILITY=docs/reliability.md $(BIN)/python -m pytest -m check_cluster $(ARGS)

bench: .venv/bench-installed
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-gpu: .venv/test-installed
	$(BIN)/python -m tests.benchmarks.gpu $(ARGS)

bench-images: .venv/test-installed
	$(BIN)/python -m tests.benchmarks.images $(ARGS)

bench-plan: .venv/test-installed
	$(BIN)/python -m tests.benchmarks.plan $(ARGS)

bench-scale: .venv/test-installed
	$(BIN)/python -m tests.benchmarks.scale $(ARGS)

conformance: .venv/test-installed .venv-dadapy/installed
	$(BIN)/python -m tests.conformance $(ARGS)

dadapy-env: .venv-dadapy/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dnuc needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) .
	touch $@

.venv/test-installed: .venv/installed
	$(INSTALL) ".[test]"
	touch $@

# FAISS shares the environment: it is measured with the very NumPy and torch that the tests use, and torch is large.
# Nothing but the benchmark imports it.
.venv/bench-installed: .venv/test-installed
	$(INSTALL) ".[bench]"
	touch $@

# DADApy needs NumPy 1: an environment of its own, which only processes of the benchmark and of conformance use.
.venv-dadapy/installed: Makefile
	$(PYTHON) -m venv .venv-dadapy
	.venv-dadapy/bin/python -m pip install --quiet "dadapy==0.3.4" "numpy<2"
	touch $@

clean:
	rm -rf .venv .venv-dadapy .pytest_cache .mypy_cache .ruff_cache .hypothesis
