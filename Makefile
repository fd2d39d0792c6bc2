# The few commands a newcomer needs:
#   make demo     everything, with demonstration data, on http://127.0.0.1:8000   (ARGS="--port 8100 ..." passes on)
#   make test     all tests   (PYTEST_ARGS="tests/payments -x" narrows them down)
#   make check    format, lint, types, import contracts, tests: what must pass before a commit
# and, less often: make install, format, translations, lock, bench, clean.
#
# What the product needs is installed into .venv/ once, from requirements.lock, and what the tests need besides from
# tests/requirements.lock when they are first asked for; after that nothing asks the network.

.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
PRODUCT := .venv/installed
TOOLS := .venv/installed-for-tests
PYTEST_WORKERS ?= 3

# any Python from 3.11 on, the ordinary one first
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$python; break; fi; done)

.PHONY: help demo install test check lint services format translations lock bench clean

help:
	@sed -n 's/^#   //p; s/^# and, less often: /others: /p' Makefile

demo: $(PRODUCT)
	@exec $(BIN)/portal demo $(ARGS)

# for production: compiled as well, because the service may not write where it is installed
install: $(PRODUCT)
	@$(BIN)/python -m compileall -q -j 0 portal migrations .venv/lib

test: $(TOOLS) services
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

check: lint
	@$(MAKE) --no-print-directory test

lint: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# PostgreSQL, Redis, FreeRADIUS, openNDS and Chromium: installed as root on Debian and Ubuntu, named if missing elsewhere
services:
	@sh tests/support/services/install

format: $(TOOLS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# takes new sentences into the catalogue (empty: write the Swahili, then run this again) and compiles it
CATALOGUE := translations/sw/LC_MESSAGES/messages.po
translations: $(PRODUCT)
	@set -e; words=$$(mktemp); trap 'rm -f "$$words"' EXIT; \
	$(BIN)/pybabel -q extract -F translations/babel.cfg -k _l -k lazy_gettext -k Sentence --ignore-dirs '.*' \
		--add-location file --project Mlango --version 1 -o "$$words" .; \
	$(BIN)/pybabel -q update -i "$$words" -o $(CATALOGUE) -l sw -w 110 --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date
	@$(BIN)/pybabel -q compile --statistics -i $(CATALOGUE) -o $(CATALOGUE:.po=.mo) -l sw

bench: $(TOOLS)
	$(BIN)/python -m bench $(ARGS)

# Exact versions with hashes for every system; no addresses, so that the registry is the reader's own choice. One
# resolution, the tests' one: what the product needs is taken from it, so both agree. ARGS="--upgrade" for newer versions.
RESOLVE = PATH="$(CURDIR)/$(BIN):$$PATH" uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links
lock: $(PRODUCT)
	@command -v uv >/dev/null 2>&1 || test -x $(BIN)/uv || $(BIN)/pip install -qq --disable-pip-version-check uv
	$(RESOLVE) pyproject.toml --extra dev --output-file tests/requirements.lock $(ARGS) >/dev/null
	@rm requirements.lock  # what it says now must not count
	$(RESOLVE) pyproject.toml --no-annotate --constraint tests/requirements.lock --output-file requirements.lock >/dev/null
	echo uv | $(RESOLVE) - --no-annotate --output-file deploy/installer.lock $(ARGS) >/dev/null
	@if grep -nE '[a-z]+://' requirements.lock tests/requirements.lock deploy/installer.lock; then \
		echo "The locks must contain no addresses." >&2; exit 1; fi

clean:
	rm -rf .venv .venv-peer .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# by uv, which needs a tenth of pip's time, where it can be had; uncompiled, because most of it is never imported
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes
UV = $${PIP_INDEX_URL:+env UV_DEFAULT_INDEX="$$PIP_INDEX_URL"} $(BIN)/uv pip install -q --python $(BIN)/python --require-hashes
INSTALL = install() { $(UV) "$$@" 2>/dev/null || $(PIP) "$$@"; }; install

$(PRODUCT): requirements.lock deploy/installer.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "Mlango needs Python 3.11 or later; here is $$(python3 --version 2>/dev/null || echo none)." >&2; \
		echo "Install one (Debian, Ubuntu: sudo apt-get install -y python3 python3-venv)," >&2; \
		echo "or name it: make PYTHON=/path/to/python3.11 demo" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		version=$$($(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
		echo "$(PYTHON) cannot make a virtual environment. Debian and Ubuntu have that in a package of its own:" >&2; \
		echo "    sudo apt-get install -y python3-venv   (or $$version-venv)" >&2; exit 1; fi
	@# a .venv whose Python has gone or was moved is made anew
	@$(BIN)/python -c 'import pip' >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@echo "Installing into .venv/ ..."
	@$(PIP) -r deploy/installer.lock 2>/dev/null || true
	@$(INSTALL) -r requirements.lock
	@# the product itself lies here already: Python is told where, and there is nothing to build
	@$(BIN)/python -c 'import sysconfig; open(sysconfig.get_path("purelib") + "/mlango.pth", "w").write("$(CURDIR)\n")'
	@printf '#!/bin/sh\nexec "%s" -P -m portal "$$@"\n' '$(CURDIR)/$(BIN)/python' >$(BIN)/portal && chmod +x $(BIN)/portal
	@touch $(PRODUCT)

$(TOOLS): $(PRODUCT) tests/requirements.lock
	@echo "Installing what the tests need into .venv/ ..."
	@$(INSTALL) -r tests/requirements.lock
	@touch $(TOOLS)
