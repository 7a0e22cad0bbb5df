# make setup   everything that the demo needs, into .venv and .scad; run it again at any time
# make demo    setup, then the whole platform with simulated patients (ARGS="--patients 50 --minutes 5")
# make test    setup with the tests' services, then every test: those that need no broker side by side, then
#              the others (ARGS="-k firmware")
# make faults SEED=7   a fault run of a million readings and 200 faults (READINGS=, FAULTS=); goes on where it stopped
# make fuzz SEED=1 MINUTES=60   every decoder under structure-aware fuzzing; failing inputs in .scad/fuzz/SEED
# make bench   this worker beside its peers, latency, recovery, database, its parts (an hour or more; docs/benchmarks.md)
# make bench-history   the dashboards' queries over a hundred million readings (MILLIONS=2 to try; 55 GB; FOLDER= keeps it)
# make docs    the documentation as a site, in .scad/site
# make lint    formatting, lint and types
# make requirements   the pinned requirements anew from pyproject.toml (needs uv)
# make clean   remove .venv and .scad

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: setup setup-test demo test faults fuzz bench bench-history docs lint requirements clean

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

# uv where it works (seconds), else pip (half a minute)
define install
	@if uv --version >/dev/null 2>&1; \
	then uv pip install --quiet --python $(BIN)/python $(1); \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1); fi
endef

setup: .venv/.embedded
	@$(BIN)/python -m scad.services fetch --for demo

setup-test: .venv/.embedded .venv/.test
	@$(BIN)/python -m scad.services fetch --for test

demo: setup
	@exec $(BIN)/scad demo $(ARGS)

test: setup-test
	$(BIN)/python tests/phases.py $(ARGS)

SEED ?= 1
READINGS ?= 1000000
FAULTS ?= 200
faults: setup-test
	$(BIN)/python tests/faults/run.py --seed $(SEED) --readings $(READINGS) --faults $(FAULTS)

MINUTES ?= 60
fuzz: setup-test
	$(BIN)/python tests/fuzz/run.py --seed $(SEED) --minutes $(MINUTES)

bench: setup-test
	$(BIN)/python -m bench.peers
	$(BIN)/python -m bench.peers --patients 300,3000,10000
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.recovery
	$(BIN)/python -m bench.database
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.writer
	$(BIN)/python -m bench.bridge
	$(BIN)/python -m bench.scale
	$(BIN)/python -m bench.report

MILLIONS ?= 100
bench-history: setup-test
	$(BIN)/python -m bench.history --millions $(MILLIONS) $(if $(FOLDER),--folder $(FOLDER)) $(ARGS)

docs: setup-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: .venv/.embedded .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# A virtualenv whose making was interrupted has no pip and is made again.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'SCAD needs Python 3.11 or later: install it, or name it as in: make setup PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'Python cannot make a virtualenv here: install the package python3-venv'; exit 1; }
	@echo 'making the virtualenv .venv'
	@$(PYTHON) -m venv --clear .venv

.venv/.embedded: requirements-embedded.txt pyproject.toml | .venv/bin/pip
	@echo 'installing the Python packages'
	$(call install,--require-hashes -r requirements-embedded.txt)
	$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

.venv/.test: requirements-test.txt .venv/.embedded
	@echo 'installing the Python packages of the tests'
	$(call install,--require-hashes -r requirements-test.txt)
	@touch $@

# The longest list is made first and holds the others to its versions. setuptools builds the editable package.
COMPILE := env -u PIP_FIND_LINKS UV_CUSTOM_COMPILE_COMMAND='make requirements' \
  uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-annotate
requirements:
	echo setuptools | $(COMPILE) --extra embedded --extra test -o requirements-test.txt pyproject.toml -
	echo setuptools | $(COMPILE) --extra embedded -c requirements-test.txt -o requirements-embedded.txt pyproject.toml -
	$(COMPILE) -c requirements-test.txt -o requirements.txt pyproject.toml

clean:
	rm -rf .venv .scad
