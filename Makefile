# One virtual environment, made on first use; every verb works from a fresh clone with Python >= 3.11, gcc and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := setup.py pyproject.toml $(wildcard kernels/*.pyx kernels/*.pxd kernels/*.h ipc/*.pyx ipc/*.pxd ipc/*.h ipc/os_build.py)

.PHONY: demo test lint bench stress debug-test clean install

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(STAMP): $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[demo,test,lint]'
	touch $(STAMP)

install: $(STAMP)

demo: install
	$(BIN)/mixline demo

test: install
	$(BIN)/python -m pytest -m 'not stress'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint kernels ipc
	$(BIN)/codespell
	$(BIN)/python -m mypy -p mixline.storage -p mixline.node -p mixline.tools

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find kernels ipc -name '*.so' -delete
