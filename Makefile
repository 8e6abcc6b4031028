# Every target starts from nothing and, the second time, at once. Needs: make, Python 3.11 or later with venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
RUN := .venv/ready-to-run
DEV := .venv/ready-to-develop

.PHONY: run test lint setup
run: $(RUN)
	@exec $(BIN)/chat run $(ARGS)

test: $(DEV)
	@sh tests/install-browser.sh
	@exec $(BIN)/python -m pytest $(ARGS)

lint: $(DEV)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

setup: $(RUN)

$(RUN): setup.cfg pyproject.toml constraints.txt package.json package-lock.json
	@sh setup.sh "$(PYTHON)"
	@touch $@

$(DEV): $(RUN)
	@echo "setup: the tools for tests and lint"
	@$(PIP) --editable '.[embedded,dev]'
	@touch $@
