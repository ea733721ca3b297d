# make install   the virtual environment of training, .venv
# make demo      train a small RATS on drawings on this CPU, score it, draw its parts
# make test      the tests within this process (under 9 minutes on 2 cores)
# make test-processes   those that start processes; make test-all: all, with the slow ones
# make lint      style
#
# Each makes its own virtual environment first; PYTHON names the interpreter (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/demo
BIN := $(VENV)/bin
# The test environment holds torch, which training never needs.
TESTS := .venv-test
PYTEST := JAX_PLATFORMS=cpu $(TESTS)/bin/python -m pytest -n 2 --dist=worksteal --durations=20

.PHONY: install demo test test-processes test-all lint clean

install: $(BIN)/ready

demo: $(BIN)/ready
	$(BIN)/python -m rats_jax.demo --workdir=$(WORKDIR)

test: $(TESTS)/bin/ready
	$(PYTEST) -m "not slow and not processes"

test-processes: $(TESTS)/bin/ready
	$(PYTEST) -m "not slow and processes"

test-all: $(TESTS)/bin/ready
	$(PYTEST) -o faulthandler_timeout=3600

lint: $(TESTS)/bin/ready
	$(TESTS)/bin/ruff check .
	$(TESTS)/bin/ruff format --check .

clean:
	rm -rf $(VENV) $(TESTS) .cache/tests

$(BIN)/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

$(TESTS)/bin/ready: requirements.txt requirements-test.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(TESTS)
	$(TESTS)/bin/pip install --quiet -r requirements-test.txt
	$(TESTS)/bin/pip install --quiet --no-deps --editable .
	touch $@
