# `make demo` and `make test` each set up what they need: .venv, made by scripts/setup.sh.
SHELL := /bin/bash
PYTHON_VENV := .venv/bin/python
# What tests use beyond Python packages: PACKAGE:COMMAND,... (a browser opens the HTML report).
TEST_PACKAGES := chromium:chromium,chromium-browser,google-chrome g++:c++,g++,clang++ \
    g++-aarch64-linux-gnu:aarch64-linux-gnu-g++ qemu-user-static:qemu-aarch64-static
ARGS ?=

# Caches need a home that can be written to; build machines do not always have one. The set-up
# keeps the real one: pip's configuration may lie there.
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo writable),writable)
HOME_OF_RUNS := HOME="$(CURDIR)/.cache/home" XDG_CACHE_HOME="$(CURDIR)/.cache"
$(shell mkdir -p "$(CURDIR)/.cache/home")
endif
RUN := $(HOME_OF_RUNS) $(PYTHON_VENV)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-packages lint format bench clean distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | while IFS=$$'\t' read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: ## make .venv; does nothing when it is up to date
	@scripts/setup.sh

demo: setup ## convert a model, prove it, profile it and write the report into demo/
	@$(RUN) scripts/demo.py $(ARGS) </dev/null

test-packages:
	@scripts/system_packages.sh $(TEST_PACKAGES) || true

# Files of tests run side by side; those of one file share what they converted. They keep their
# order: files of few tests, put last, are the long ones, and one core would wait for the other.
WORKERS ?= 2

test: setup test-packages ## every test but the slow ones; ARGS="-k spec" narrows it
	@$(RUN) -m pytest -q -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS) </dev/null

test-slow: setup test-packages ## the tests that take minutes
	@$(RUN) -m pytest -q -m slow $(ARGS) </dev/null

lint: setup ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: setup ## write the format that `make lint` checks
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

bench: setup ## every benchmark in turn; each prints a table
	@failed=; for script in benchmarks/*.py; do \
		[ -e "$$script" ] || { echo "no benchmarks/*.py"; break; }; \
		echo "== $$script"; \
		$(RUN) "$$script" $(ARGS) </dev/null || failed="$$failed $$script"; \
	done; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

clean: ## remove what builds, tests and the demo leave
	rm -rf build dist demo .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv
	rm -rf .venv
