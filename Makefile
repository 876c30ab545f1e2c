# Every target that needs the environment first completes .venv (see tools/dev/setup_env.sh).
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test unit coverage check format clean
# One target after the other: they share the environment and the processors.
.NOTPARALLEL:

TASK ?= det
METHOD ?=
ARGS ?=

# MMKD_PYTHON names the Python of an environment that is used as it is; then nothing is installed.
ifdef MMKD_PYTHON
PY := $(MMKD_PYTHON)
SETUP := @:
else
PY := .venv/bin/python
SETUP := @sh tools/dev/setup_env.sh
endif

help:
	@echo 'make quickstart [TASK=det|seg|cls] [METHOD=cwd]'
	@echo '                                    train a teacher, a student and a distilled student, and compare'
	@echo 'make test                           run all tests'
	@echo 'make unit                           run the tests that take seconds'
	@echo 'make coverage                       the same tests, and the share of lines that they run'
	@echo 'make check                          ruff, mypy, the layers of imports and codespell'
	@echo 'make format                         let ruff format the code and order the imports'
	@echo 'make setup                          only create or complete the environment in .venv'
	@echo 'make clean                          remove caches and build files; .venv and results stay'
	@echo
	@echo 'ARGS="..." is passed on to the quickstart or to pytest.'
	@echo 'MMKD_PYTHON=/path/to/python uses that environment and installs nothing.'

setup:
	$(SETUP)

quickstart:
	$(SETUP)
	@$(PY) tools/quickstart.py --task $(TASK) $(if $(METHOD),--method $(METHOD)) $(ARGS)

test:
	$(SETUP)
	@$(PY) -m pytest -n auto --dist loadfile $(ARGS)

unit:
	$(SETUP)
	@$(PY) -m pytest -n auto --dist loadfile -m 'not slow and not ddp' $(ARGS)

coverage:
	$(SETUP)
	@$(PY) -m pytest -n auto --dist loadfile -m 'not slow and not ddp' --cov=mmkd --cov-report=term:skip-covered --cov-report=html $(ARGS)

check:
	$(SETUP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy mmkd
	$(PY) -c 'from importlinter.cli import lint_imports; raise SystemExit(lint_imports())'
	$(PY) -m codespell_lib

format:
	$(SETUP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage
	find configs mmkd tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
