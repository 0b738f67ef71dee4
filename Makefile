# make demo    a report from real data in a few minutes     make test    the whole test suite
# make check-large    real-size runs (hours, tens of GB)    make clean   remove what was built here

PYTHON ?= python3
BIN := .venv/bin


.PHONY: demo test lint check-large clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/dnuc run jobs/digits.toml --on deploy/local.toml

test: .venv/installed lint
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-large: .venv/installed
	$(BIN)/python -m pytest -m large --timeout=7200

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dnuc needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
