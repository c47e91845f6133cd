# Targets for a machine that has Python 3.11 or newer. They install what they need in .venv.
#
#   make demo             run every step on generated pictures; results in demo/
#   make test             run all tests, in one process for each processor
#   make test-fast        run all tests but the slow ones
#   make test-programs  install the programs that tests drive: encoders, servers, a browser (root, Debian)
#   make test-torch       train the same model on PyTorch, which it installs
#   make test-processors  compare a bundle's masks on emulated processors (root, Debian); BUNDLE=dir
#   make test-pi          test the built wheel on emulated Raspberry Pis (root, Linux 6.7, Debian); BUNDLE=dir
#   make lint             run ruff, import-linter and mypy
#   make docs             build the documentation site strictly; open site/index.html
#   make wheel            build dist/unet_edge-*.whl, to copy to the device
#   make bench-NAME       run a campaign of benchmarks/, such as bench-formats; ARGS="--data DIR"
#   make bench            write the index of the campaigns' reports, benchmarks/reference/index.md
#   make clean            delete .venv, demo/ and everything that was built

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BUNDLE ?= demo/bundle

# The tests start hundreds of processes. Without bytecode files each of them compiles the package.
unexport PYTHONDONTWRITEBYTECODE

# The tests of one file share their fixtures, so they run in one process, in the order of conftest.py.
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Tests that need a program which is not installed are skipped, and say which.
TEST_PROGRAMS := mosquitto openssl ffmpeg chromium systemd gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
  gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-tools python3-gi

.PHONY: demo test test-fast test-programs test-torch test-processors test-pi lint docs wheel bench clean

demo: $(VENV)/.installed
	$(BIN)/unet-edge demo --output demo --overwrite

test: $(VENV)/.installed
	$(PYTEST)

test-fast: $(VENV)/.installed
	$(PYTEST) -m 'not slow'

test-programs:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends $(TEST_PROGRAMS) > /dev/null

test-torch: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pytest tests/training/test_keras_backends.py

test-pi: $(VENV)/.installed $(BUNDLE)/bundle.json
	$(BIN)/python -m benchmarks.pi.check $(BUNDLE)

test-processors: $(VENV)/.installed $(BUNDLE)/bundle.json
	$(BIN)/python -m benchmarks.processors.check $(BUNDLE) --arm

demo/bundle/bundle.json: | $(VENV)/.installed
	$(BIN)/unet-edge demo --output demo --overwrite

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# pip gets what it builds with for this step: nothing of [dev] is needed.
wheel: | $(BIN)/pip
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

bench-%: $(VENV)/.installed
	$(BIN)/python -m benchmarks.$(subst -,_,$*) $(ARGS)

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.index

$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("unet-edge needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo site .pytest_cache .mypy_cache .ruff_cache
