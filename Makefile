# `make demo` and `make test` do all of their set-up; they need Python 3.10 to 3.13 and nothing else.
# On Linux the plain index serves torch with CUDA (several GB). `make demo TORCH_BACKEND=cpu` takes the small
# CPU build from PyTorch's own index instead.

PYTHON ?= python3
VENV ?= .venv
TORCH_BACKEND ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check format hooks clean

help:            ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND),--constraint constraints.txt) --editable '.[dev]'
	touch $(READY)

demo: $(READY)   ## run the whole recipe: footage, clips, captions, model, videos, report
	$(BIN)/reelwright demo

test: $(READY)   ## every test that needs no GPU and no network
	$(BIN)/python -m pytest -n 2

check: $(READY)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

hooks: $(READY)  ## run these checks on every commit
	$(BIN)/pre-commit install

clean:           ## remove the virtual environment and what the demo made
	rm -rf $(VENV) demo-out
