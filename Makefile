# make install   the virtual environment of training, .venv
# make demo      train a small RATS on drawings on this CPU, score it, draw its parts
# make test      the tests within this process (under 9 minutes on 2 cores)
# make test-processes   those that start processes; make test-all: all, with the slow ones
# make lint      style and types
# make docs      the documentation as a site, in site/
#
# Each makes its own virtual environment first; PYTHON names the interpreter (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/demo
# The versions that the tests ran with. CONSTRAINTS= takes the newest instead.
CONSTRAINTS ?= constraints.txt
PINS := $(addprefix --constraint ,$(CONSTRAINTS))
BIN := $(VENV)/bin
# The test environment holds torch, which training never needs.
TESTS := .venv-test
DOCS := .venv-docs
PYTEST := JAX_PLATFORMS=cpu $(TESTS)/bin/python -m pytest -n 2 --dist=worksteal --durations=20

.PHONY: install demo test test-processes test-slow test-all lint docs clean

install: $(BIN)/ready

demo: $(BIN)/ready
	$(BIN)/python -m rats_jax.demo --workdir=$(WORKDIR)

test: $(TESTS)/bin/ready
	$(PYTEST) -m "not slow and not processes"

test-processes: $(TESTS)/bin/ready
	$(PYTEST) -m "not slow and processes"

# PATHS: which of them.
test-slow: $(TESTS)/bin/ready
	$(PYTEST) -o faulthandler_timeout=3600 -m slow $(PATHS)

test-all: $(TESTS)/bin/ready
	$(PYTEST) -o faulthandler_timeout=3600

lint: $(TESTS)/bin/ready
	$(TESTS)/bin/ruff check .
	$(TESTS)/bin/ruff format --check .
	$(TESTS)/bin/mypy

docs: $(DOCS)/bin/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) $(TESTS) $(DOCS) site .cache/tests

$(BIN)/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PINS) --editable .
	touch $@

$(TESTS)/bin/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(TESTS)
	$(TESTS)/bin/pip install --quiet $(PINS) --editable '.[test]'
	touch $@

$(DOCS)/bin/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet $(PINS) --editable '.[docs]'
	touch $@
