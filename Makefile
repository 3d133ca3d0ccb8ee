# make demo   run the built-in study and write its report
# make test   run the tests          make lint   run the linters and the type checker
# make learns train every method with three seeds, check its broken twins, and write the tables (an hour)
# make clean  remove the virtual environment and the caches; studies under runs/ stay
#
# Each sets up .venv by itself when pyproject.toml or constraints.txt has changed. Needed: make, and Python 3.11 or later.

SHELL := /bin/sh
BIN := .venv/bin
# The first of these that runs and is new enough; `make demo PYTHON=/path/to/python3.12` names one.
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)

.PHONY: demo test lint learns clean

demo: .venv/demo-installed
	$(BIN)/selfstudy study

test: .venv/test-installed
	$(BIN)/python -m pytest --numprocesses logical --dist loadfile

lint: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

learns: .venv/test-installed
	$(BIN)/python -m tests.learns
	$(BIN)/python -m benchmarks.methods

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/demo-installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/test-installed: .venv/demo-installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "selfstudy needs Python 3.11 or later, and none was found. Install it, or name one: make demo PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON): some minutes, up to 3 GB to download and 6 GB on the disk, once."
	@"$(PYTHON)" -m venv .venv
