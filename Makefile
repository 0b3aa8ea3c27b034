# Every target works from a fresh clone; nothing outside this folder is changed, data and caches apart.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help smoke test lint format docs benchmark clean

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

help: ## show this list
	@echo 'make TARGET [PYTHON=python3.12] [JOBS=2]'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

smoke: $(VENV)/.installed ## train two rows in miniature, and hold them against what was recorded: three minutes on two cores
	$(BIN)/harness reproduce aspc-table1 --preset first-look
	$(BIN)/harness drift aspc-table1 --preset first-look --gate cells --all-cells

# One thread of torch for each worker: more only wait for each other.
test: lint ## run all checks and all tests, JOBS at a time
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup

lint: $(VENV)/.installed-dev ## check style, types and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## bring the code into its one format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-dev ## build the documentation as a site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

benchmark: $(VENV)/.installed-dev ## measure speed
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/cores.py
	$(BIN)/python benchmarks/aggregates.py
	$(BIN)/python benchmarks/coverage.py

clean: ## delete the virtual environment and caches; results stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build

# Only pyproject.toml and constraints.txt say what is installed; the code itself is installed as it stands here.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "no $(PYTHON) here; install Python 3.11 or later, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version), but Python 3.11 or later is needed: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
