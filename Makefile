# twotower: everything that can be done from a fresh checkout. `make help` lists it.

PYTHON ?= python3
VENV   ?= .venv
RUN    ?= runs/movielens
ROWS   ?= 500000
LIVE   ?= runs/livestream-$(ROWS)
PEERS  ?=
BENCH  ?= build/benchmarks.jsonl
PYTHON_GPU ?= $(VENV)/bin/python

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP   := $(BIN)/python -m pip --quiet --disable-pip-version-check

# the flags of pip, such as another index for a build of torch without CUDA, come from pip's own settings (PIP_INDEX_URL)
TORCH := $(shell grep '^torch==' constraints.txt)

# acceptance/ may hold modules that the programs share; a program has a main guard
OTHER_BENCHMARKS = benchmarks/livestream_scale.py benchmarks/livestream_ingredients.py benchmarks/movielens_quality.py \
                   benchmarks/table_updates.py benchmarks/serving.py benchmarks/approximate_search.py benchmarks/propagation.py \
                   benchmarks/scale_curves.py
ACCEPTANCES = $(shell grep -l '__main__' acceptance/*.py 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help install data lint test test-all gpu demo demo-livestream bench bench-others accept docs clean

help: ## this list
	@echo "make targets (PYTHON=$(PYTHON), VENV=$(VENV)):"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "twotower needs Python 3.11 or newer; there is no '$(PYTHON)' here. Say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "twotower needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name a newer one: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing $(TORCH)"
	@$(PIP) install '$(TORCH)'
	@echo "installing twotower and what it is developed with"
	@$(PIP) install -c constraints.txt -e '.[dev,pandas,baselines,report,serve,ann,onnx,tune,distributed-cpu]'
	@$(PIP) install -c constraints.txt --no-deps torchrec # what it asks for is there; its own list wants FBGEMM with CUDA
	@touch $@

install: $(STAMP) ## a virtual environment with twotower and what it is developed with

data: install ## MovieLens 100K and 1M into the cache, once
	@$(BIN)/python -m twotower.datasets

lint: install ## ruff, mypy --strict and the layers contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: install data lint ## every check that takes minutes at most
	@$(BIN)/python -m pytest -m "not slow"

test-all: install data lint ## every check
	@echo "installing what slow proofs need"; $(PIP) install -c constraints.txt -e '.[proofs,redis,qdrant,ray]'
	@$(BIN)/python -m pytest

# no install: the build of torch that is pinned here may be one without CUDA
gpu: export PYTHONPATH := $(CURDIR)/src$(if $(PYTHONPATH),:$(PYTHONPATH))
gpu: ## where a GPU is: the tests of it and what is asked for on it (PYTHON_GPU=a Python whose torch has CUDA)
	@$(PYTHON_GPU) -c 'import importlib.util as u, sys; \
	  missing = [each for each in ("torch", "numpy", "polars", "pyarrow", "pydantic", "safetensors", "tokenizers", "typer", "rich", "pytest", "pytest_timeout", "hypothesis") if u.find_spec(each) is None]; \
	  missing and sys.exit("make gpu: $(PYTHON_GPU) has no " + ", ".join(missing) + "; name another: make gpu PYTHON_GPU=python3"); \
	  import torch; torch.cuda.is_available() or sys.exit("make gpu: no CUDA device that torch " + torch.__version__ + \
	  " of $(PYTHON_GPU) can use; with another build of torch: make gpu PYTHON_GPU=python3")'
	@$(PYTHON_GPU) -m pytest -m gpu tests/gpu
	@$(PYTHON_GPU) benchmarks/run_engine.py --device cuda --out $(BENCH)
	@$(PYTHON_GPU) benchmarks/asked.py $(BENCH)
	@echo "Lines of JSON are in $(BENCH); for the page: $(PYTHON_GPU) benchmarks/performance_page.py $(BENCH) --keep"

demo: install ## train on MovieLens, judge beside every baseline, draw a report, recommend for a user
	@if [ -f $(RUN)/bundle/manifest.json ]; then echo "$(RUN) is trained already; remove it to train again"; \
	else $(BIN)/twotower train recipes/movielens.toml --run-dir $(RUN); fi
	@$(BIN)/twotower report $(RUN)
	@$(BIN)/twotower recommend $(RUN) --user 196
	@echo "The bundle is in $(RUN)/bundle, the report in $(RUN)/report/report.html"
	@echo "To serve it, with a page at http://127.0.0.1:8000: $(BIN)/twotower serve $(RUN)"

demo-livestream: install ## a planted log of live streams: train, judge beside popularity and the oracle, recommend for a new viewer
	@test -f $(LIVE).csv || $(BIN)/twotower synth livestream --rows $(ROWS) --seed 0 --out $(LIVE).csv
	@if [ -f $(LIVE)/bundle/manifest.json ]; then echo "$(LIVE) is trained already; remove it to train again"; \
	else $(BIN)/twotower train recipes/livestream.toml --run-dir $(LIVE) \
	  --set data.interactions.path=$(LIVE).csv --set baselines.truth=$(LIVE).csv.truth; fi
	@$(BIN)/twotower recommend $(LIVE) --query viewer_country=BR,viewer_lang=pt,viewer_age=23
	@echo "The bundle is in $(LIVE)/bundle; ROWS=5300000 makes the log of full size"

bench: install ## the engine beside its peers, and the table of what was asked (PEERS=1: TensorFlow Recommenders, RecTools, FAISS too)
	@$(BIN)/python benchmarks/run_engine.py --out $(BENCH) $(if $(PEERS),--peer)
	@$(BIN)/python benchmarks/asked.py $(BENCH)
	@echo "Lines of JSON are in $(BENCH); for the page: $(BIN)/python benchmarks/performance_page.py $(BENCH)"

bench-others: install ## the other benchmarks, hours; each ends in one line of JSON
	@echo "installing the plain server beside ours"; $(PIP) install -c constraints.txt -e '.[bench]'
	@set -e; for program in $(OTHER_BENCHMARKS); do echo "== $$program"; $(BIN)/python $$program; done

accept: install ## every acceptance program; fails when one does
	@failed=""; for program in $(ACCEPTANCES); do \
	  echo "== $$program"; $(BIN)/python $$program || failed="$$failed $$program"; done; \
	if [ -n "$$failed" ]; then echo "not accepted:$$failed" >&2; exit 1; fi

docs: install ## the documentation as a site, into site/
	@$(BIN)/python -c 'import material, mkdocstrings_handlers.python' 2>/dev/null || { \
	  echo "installing what the site is built with"; $(PIP) install -c constraints.txt -e '.[docs]'; }
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "The site is in site/: open site/index.html"

clean: ## what the checks and builds leave behind (not the environment, the data or the runs)
	@rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests acceptance benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
