# The two commands: `make run` and `make test`. `make help` lists the others.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Which hardware or backend to install for: cpu, gpu, jax or torch (lock files in locks/).
# The one that is installed already, else cpu.
EXTRA ?= $(or $(patsubst installed-%,%,$(notdir $(firstword $(wildcard .venv/installed-*)))),cpu)
LOCK := locks/$(EXTRA).txt
INSTALLED := $(VENV)/installed-$(EXTRA)
# Compiled to bytecode at installation, because containers often do not let Python save bytecode
# later: then every job would take twice as long to import TensorFlow.
COMPILE = $(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib/python3*/site-packages || true
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help install run test test-all test-rest test-faults test-ui coverage bench microphone cluster \
        asr deepfilternet3 rooms demo audit lint format ui lock docs site clean

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.uv/bin/uv:
	@echo "Installing uv into .uv (it is not on the PATH)"
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.5"

$(INSTALLED): $(LOCK) pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.12")'
	@echo "Installing the environment of $(LOCK) into $(VENV)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet --require-hashes $(LOCK)
	@$(UV) pip install --quiet --no-deps --editable .
	@# Headers for custom C++ operations: 290 MB that no Python program reads.
	@rm -rf $(VENV)/lib/python3*/site-packages/tensorflow/include
	@$(COMPILE)
	@rm -f $(VENV)/installed-* $(VENV)/with-*
	@touch $@

# What some commands need on top: locks/with-<what>.txt holds the rest of their dependencies.
$(VENV)/with-%: locks/with-%.txt $(INSTALLED)
	@echo "Installing $< on top of it"
	@$(UV) pip install --quiet --no-deps --require-hashes --requirement $<
	@$(COMPILE)
	@touch $@

install: $(INSTALLED) ## Create the environment from the lock file (EXTRA=gpu|jax|torch)

run: install ## Install, then run the whole study of config.yaml
	@snakemake --cores all all
	@$(BIN)/python -m denoise.cli where

test: $(VENV)/with-test lint ## Check style and types, and run all tests but the slow ones
	@$(BIN)/python -m pytest

test-all: $(VENV)/with-test lint ## Check style and types, and run all tests
	@$(BIN)/python -m pytest -m ""

test-rest: $(VENV)/with-test ## The tests that `make test` leaves out
	@$(BIN)/python -m pytest -m slow

test-faults: $(VENV)/with-test ## Try every fault of docs/reliability.md as often as it states
	@$(BIN)/python -m pytest -m "" --full tests/faults

test-ui: $(VENV)/with-test ## Try the report and the other pages in a browser (needs Debian's chromium)
	@$(BIN)/python -m pytest -m "" tests/ui $(if $(STUDY),--study $(STUDY))

# Absolute, since tests start processes in other folders.
coverage: export COVERAGE_FILE := $(CURDIR)/.coverage/data
coverage: $(VENV)/with-test ## Which lines and branches test-all reaches, subprocesses included
	@rm -rf .coverage && mkdir .coverage
	@status=0; $(BIN)/python -m coverage run -m pytest -m "" || status=$$?; \
	$(BIN)/python -m coverage combine --quiet .coverage; \
	$(BIN)/python -m coverage report --ignore-errors --include "$(CURDIR)/src/*"; exit $$status

bench: install ## Measure every stage against the reference, and write docs/performance.md (half an hour)
	@$(BIN)/python benchmarks/speed.py --write docs/performance.md

microphone: $(VENV)/with-microphone ## Install what `denoise stream --microphone` needs

cluster: $(VENV)/with-cluster ## Install what profiles/slurm and profiles/kubernetes need

asr: $(VENV)/with-asr ## Install what `metrics: [wer]` needs

deepfilternet3: $(VENV)/with-deepfilternet3 ## Install what the baseline deepfilternet3 needs

rooms: $(VENV)/with-rooms ## Install what the corpus simulated_rooms needs

demo: $(VENV)/with-demo ## Install what `denoise demo` needs, and open its page
	@denoise demo

audit: $(filter .uv/bin/uv,$(UV)) ## Look for known flaws in the locked dependencies (asks pypi.org)
	@$(UV) tool run pip-audit --strict --disable-pip --require-hashes --requirement $(LOCK) \
	  --requirement locks/with-test.txt --requirement locks/with-microphone.txt

lint: $(VENV)/with-test ## Formatting, lint and types
	@ruff format --check --quiet .
	@ruff check --quiet .
	@snakefmt --check Snakefile workflow
	@mypy
	@lint-imports
	@snakemake --lint

format: $(VENV)/with-test ## Format all code
	@ruff format .
	@ruff check --fix .
	@snakefmt Snakefile workflow

ui: install ## Open the MLflow UI on http://127.0.0.1:5000
	@$(BIN)/python -m denoise.cli ui

docs: install ## Generate the JSON schema and the configuration table
	@$(BIN)/python -m denoise.study.reference

site: $(VENV)/with-test ## Build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "site/index.html"

lock: | $(filter .uv/bin/uv,$(UV)) ## Resolve the dependencies anew into locks/
	@compile() { \
	  $(UV) pip compile pyproject.toml "$$@" --universal --fork-strategy fewest --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-annotate --quiet --custom-compile-command "make lock"; \
	}; \
	pins() { grep '^[a-z]' "$$1" | sort; }; \
	on_top() { \
	  target=locks/with-$$1.txt; shift; rm -f $$target; \
	  compile --extra cpu "$$@" -o $$target; \
	  there=$$(comm -12 <(pins locks/cpu.txt) <(pins $$target) | sed 's/==.*//; s/^/--no-emit-package /'); \
	  compile --extra cpu "$$@" $$there -o $$target; \
	}; \
	compile --extra cpu -o locks/cpu.txt; \
	for extra in gpu jax torch; do \
	  compile --extra $$extra --constraint locks/cpu.txt -o locks/$$extra.txt; \
	done; \
	on_top test --extra test --constraint locks/jax.txt --constraint locks/torch.txt; \
	for extra in asr cluster deepfilternet3 demo microphone rooms; do \
	  on_top $$extra --extra $$extra --constraint locks/cpu.txt --constraint locks/with-test.txt; \
	done

clean: ## Delete what the workflow made (not the downloads)
	rm -rf results/* reports/*
