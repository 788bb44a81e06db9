# farebox: each target sets itself up; `make demo` and `make test` work from a clean clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
HTTP_PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002
FAREBOX_REPOSITORY ?= model_repo/models
PYTEST_ARGS ?=
EXTRAS ?=
BENCH_TARGETS ?= .bench-targets
ACCELERATORS := gpu,tpu,fpga
TARGETS := cpu,gpu,tpu,fpga
, := ,
BENCH_RECIPES := tests/bench/resnet18/recipe.yaml digits minilm topics

.PHONY: help install demo demo-accelerators test test-accelerators check bench bench-savings
.PHONY: bench-compilers bench-targets build clean

help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(VENV)/made:
	@[ -n "$(PYTHON)" ] || { echo "farebox needs Python 3.11 or newer, and none is on the PATH"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null \
	    && $(PYTHON) -m venv --clear $(VENV); } \
	  || { echo "could not make a virtual environment: sudo apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/with-%: pyproject.toml constraints.txt | $(VENV)/made
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

KNOWN := gpu tpu fpga tensorrt minilm openvino
WANTED := $(strip $(subst $(,), ,$(EXTRAS)))
$(if $(filter-out $(KNOWN),$(WANTED)),$(error EXTRAS has $(filter-out $(KNOWN),$(WANTED)): choose from $(KNOWN), with commas between))
WITH := $(VENV)/with-dev$(if $(WANTED),$(,)$(subst $(eval) ,$(,),$(WANTED)))

install: $(WITH)  ## Make .venv with what a developer needs, and EXTRAS=gpu,tpu,fpga

demo: $(VENV)/with-compile  ## Compile the digits example, serve it, and say what to try
	@$(BIN)/farebox compile digits --repository $(FAREBOX_REPOSITORY) \
	  || { [ $$? = 2 ] && $(BIN)/farebox report digits --repository $(FAREBOX_REPOSITORY) >/dev/null \
	    && echo "Serving the digits that are on the shelf."; }
	@exec $(BIN)/farebox serve --welcome --repository $(FAREBOX_REPOSITORY) \
	  --http-port $(HTTP_PORT) --grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT)

demo-accelerators: $(VENV)/with-compile,$(ACCELERATORS)  ## As demo, for CPU, GPU, TPU and FPGA; half an hour the first time
	@$(BIN)/farebox compile digits --targets $(TARGETS) --repository $(FAREBOX_REPOSITORY) \
	  || { [ $$? != 130 ] && $(BIN)/farebox report digits --repository $(FAREBOX_REPOSITORY) >/dev/null \
	    && echo "Not all of it could be made, as said above; serving the digits that are on the shelf."; }
	@exec $(BIN)/farebox serve --welcome --repository $(FAREBOX_REPOSITORY) \
	  --http-port $(HTTP_PORT) --grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT)

test: $(VENV)/with-dev  ## Run every test that needs no whole compile for accelerators
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-accelerators: $(VENV)/with-dev,$(ACCELERATORS)  ## Compile, place and serve digits for every target, and check the answers
	$(BIN)/python -m pytest -m accelerators --timeout 3600 --no-skips $(PYTEST_ARGS)

check: $(VENV)/with-dev  ## Lint, types, and the rules of who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/with-dev  ## Gateway against bare servers, repeats of profiles, profiles against the ledger
	$(BIN)/python tests/bench/bench_gateway.py
	$(BIN)/farebox compile digits --repository $(FAREBOX_REPOSITORY)
	$(BIN)/python tests/bench/bench_profiles.py --repository $(FAREBOX_REPOSITORY)
	$(BIN)/python tests/bench/bench_ledger.py --repository $(FAREBOX_REPOSITORY)

bench-savings: $(VENV)/with-dev  ## Dollars per million under load, against always serving the reference
	$(BIN)/farebox compile digits --repository $(FAREBOX_REPOSITORY)
	$(BIN)/python tests/bench/bench_savings.py --repository $(FAREBOX_REPOSITORY)

bench-compilers: $(VENV)/with-dev  ## What compiling brings, against ONNX Runtime fp32; about half an hour the first time
	@for recipe in $(BENCH_RECIPES); do \
	  $(BIN)/farebox compile $$recipe --repository $(FAREBOX_REPOSITORY) >/dev/null; done
	$(BIN)/python tests/bench/bench_compilers.py --repository $(FAREBOX_REPOSITORY) $(BENCH_RECIPES)
	$(BIN)/python tests/bench/bench_cascades.py topics --repository $(FAREBOX_REPOSITORY)

bench-targets: $(VENV)/with-dev,$(ACCELERATORS)  ## What was promised of each target, beside what was reached
	$(BIN)/python tests/bench/bench_targets.py --folder $(BENCH_TARGETS)

build: $(VENV)/with-dev  ## Build the wheel and the source package into dist/
	$(BIN)/python -m build

clean:  ## Remove .venv, caches and built packages; the model repository stays
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
