# make demo   simulate stars, measure them with MPI, look at the result
# make test   the whole test suite
# make quick  the quick ones of the tests, in a minute or two
# Each sets up what it needs in .venv first: no root, nothing outside this folder.

PYTHON ?= python3
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
READY  := $(VENV)/.ready
# two processes, a file of tests at a time: the tests start processes of their own besides, which
# find the compiled modules
PYTEST := PYTHONDONTWRITEBYTECODE= PATH="$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help demo test quick coverage lint format docs bench clean

help:
	@sed -n 's/^# //p' Makefile

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "photometry needs Python 3.10 or newer; $$($(PYTHON) --version) is what '$(PYTHON)' starts. Try: make PYTHON=python3.11 ..."; exit 2; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version); takes a minute or two, only once ..."
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Could not make a virtual environment; on Debian and Ubuntu the package python3-venv is missing."; exit 2; }
	@{ $(BIN)/pip install --disable-pip-version-check --upgrade pip && \
	   $(BIN)/pip install --disable-pip-version-check --editable '.[all,test]'; } > $(VENV)/install.log 2>&1 || \
	  { tail -n 20 $(VENV)/install.log; echo "Installing failed; all of it is in $(VENV)/install.log"; exit 2; }
	@touch $(READY)

demo: $(READY)
	@PATH="$(BIN):$$PATH" $(BIN)/python run_scripts/run_demo.py
	@echo
	@echo "The command is $(VENV)/bin/photometry; after '. $(VENV)/bin/activate' it is just photometry."

test: $(READY)
	@echo "Running the test suite; takes 15 to 25 minutes ..."
	@$(PYTEST)

quick: $(READY)
	@$(PYTEST) -m "not slow and not mpi"

coverage: $(READY)
	@rm -f .coverage .coverage.*
	@PATH="$(BIN):$$PATH" $(BIN)/python -m coverage run -m pytest -n 2 --dist loadfile
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(READY)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(READY)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]' || \
	  echo "Not all the peers could be installed; those that are missing are left out."
	@PATH="$(BIN):$$PATH" $(BIN)/python benchmarks/run_all.py

clean:
	rm -rf $(VENV) demo docs/_build .coverage .coverage.* .pytest_cache .ruff_cache *.egg-info
