# One virtual environment, made on first use; every verb works from a fresh clone with Python >= 3.11, gcc and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILED_FOLDERS := kernels ipc storage node tools
SOURCES := setup.py pyproject.toml ipc/os_build.py $(foreach folder,$(COMPILED_FOLDERS),$(wildcard $(folder)/*.pyx $(folder)/*.pxd $(folder)/*.h))
COMPILED := $(patsubst %,mixline.%,$(subst /,.,$(basename $(foreach folder,$(COMPILED_FOLDERS),$(wildcard $(folder)/*.pyx)))))
# Where the other kinds of build lie; first on the path of the tests that are meant to load them.
DEBUG_LIB := build/debug/lib
SANITIZE_LIB := build/sanitize/lib
SANITIZE_TESTS := tests/kernels tests/ipc tests/node/test_broker_probe.py
SANITIZE_MARKS := not stress
SANITIZERS := $(shell gcc -print-file-name=libasan.so) $(shell gcc -print-file-name=libubsan.so) $(shell gcc -print-file-name=libstdc++.so)

.PHONY: demo test lint bench stress debug-test sanitize-test clean install

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(STAMP): $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[demo,test,lint]'
	$(BIN)/python -m pip install --quiet 'setuptools>=77' 'cython>=3.2'
	touch $(STAMP)

install: $(STAMP)

demo: install
	$(BIN)/mixline demo

test: install
	$(BIN)/python -m pytest -m 'not stress'

# The checked build (bounds, asserts, leak counters) of the compiled folders, and their tests on it.
debug-test: install
	MIXLINE_DEBUG=1 $(BIN)/python setup.py -q build --build-lib $(DEBUG_LIB)
	MIXLINE_EXPECT_BUILD=$(DEBUG_LIB) PYTHONPATH=$(DEBUG_LIB) $(BIN)/python -m pytest -m 'not stress' tests/kernels tests/ipc

# The same, with every load, store and shift watched. Leaks are left to the debug build: CPython itself keeps objects.
sanitize-test: install
	MIXLINE_DEBUG=1 MIXLINE_SANITIZE=address,undefined $(BIN)/python setup.py -q build --build-lib $(SANITIZE_LIB)
	MIXLINE_EXPECT_BUILD=$(SANITIZE_LIB) PYTHONPATH=$(SANITIZE_LIB) PYTHONMALLOC=malloc LD_PRELOAD='$(SANITIZERS)' \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 $(BIN)/python -m pytest -m '$(SANITIZE_MARKS)' --timeout 900 $(SANITIZE_TESTS)

# The long tests, in parts that can be resumed: PART=name, SEED=7, AGAIN=1 (also what has passed), LIST=1 (run nothing).
stress: install
	$(BIN)/python tests/stress/run.py $(addprefix --part ,$(PART)) $(addprefix --seed ,$(SEED)) $(if $(AGAIN),--again) $(if $(LIST),--list)

bench: install
	$(BIN)/mixline bench all --json

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cython-lint $(COMPILED_FOLDERS)
	$(BIN)/codespell
	MYPYPATH=build/cython_view $(BIN)/python -m mypy.stubtest $(COMPILED) --mypy-config-file pyproject.toml \
		--allowlist tests/stubtest_allowed.txt --ignore-disjoint-bases
	$(BIN)/python -m mypy -p mixline.storage -p mixline.ipc -p mixline.node -p mixline.tools

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(COMPILED_FOLDERS) -name '*.so' -delete
