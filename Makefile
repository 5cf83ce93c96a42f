# Everything that is done to this repository, by name. `make help` lists it.
#
# PYTHON  the interpreter that the environment is made with (3.11 or newer)
# VENV    where the environment lies
# TORCH   what pip is asked for first, for instance TORCH='torch==2.13.0 --index-url URL' for a CUDA build
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0

BIN := $(VENV)/bin
LOG := $(VENV)/install.log
PROJECTS := core/pyproject.toml $(sort $(wildcard plugins/*/pyproject.toml backends/*/pyproject.toml templates/*/pyproject.toml))
PACKAGES := $(PROJECTS:/pyproject.toml=)
EDITABLE := $(foreach package,$(filter-out core,$(PACKAGES)),-e ./$(package))
BUILD_TOOLS := $(shell grep -E '^(setuptools|wheel|hatchling)==' constraints.txt)
# One thread per process: the suite runs in two, and numbers do not depend on the machine.
QUIET := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false

.PHONY: help demo test test-long matrix lint docs bench wheels new catalogue reference install clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        make a tiny model, fine-tune it, compare before and after (about 5 minutes on 2 cores)"
	@echo "make test        the test suite (at most 45 minutes on 2 cores)"
	@echo "make test-long   the tests that take longer, and what they need"
	@echo "make matrix      every tuner in every stage over every quantizer (make test runs a cover of all pairs)"
	@echo "make lint        ruff, mypy and import-linter"
	@echo "make docs        the documentation as a site in site/"
	@echo "make bench       every benchmark that needs no peer"
	@echo "make wheels      every package as a wheel in dist/"
	@echo "make new KIND=tuner NAME=acme    start a plugin package; tunesmith new --help lists the kinds"
	@echo "make catalogue   write the list of what the packages of this repository offer"
	@echo "make reference   write the generated pages under docs/reference/"
	@echo "make install     only the environment, in $(VENV)"
	@echo "make clean       remove what was built"

# -- the environment ---------------------------------------------------------------------------------------------------

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here. Name a Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Tunesmith needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V). Name another: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "Making a virtual environment failed: see above. On Debian: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made constraints.txt setup.cfg $(PROJECTS)
	@echo "Installing $(firstword $(TORCH)) and the packages of this checkout at the tested versions; log in $(LOG)"
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	@$(call pip,$(BUILD_TOOLS) $(TORCH))
	@$(call pip,--no-build-isolation -e './core[runtime]' $(EDITABLE) -e '.[dev]')
	@touch $@

pip = PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -c $(VENV)/constraints.txt $(1) >>$(LOG) 2>&1 || { \
  echo "pip could not install: $(subst ',,$(1))"; tail -n 15 $(LOG); echo "The whole log is in $(LOG)."; exit 1; }

install: $(VENV)/.installed

# -- the two commands --------------------------------------------------------------------------------------------------

demo: $(VENV)/.installed
	@$(QUIET) $(BIN)/python examples/demo/demo.py

# PYTEST_STATUS names a file that takes pytest's own exit status; make has only one for every failure.
test: $(VENV)/.installed
	@echo "pytest in two processes; tests marked 'long' are left to make test-long"
	@$(QUIET) $(BIN)/python -m pytest -q -n 2 --dist loadgroup $(ARGS); status=$$?; \
	  if [ -n "$(PYTEST_STATUS)" ]; then echo $$status > "$(PYTEST_STATUS)"; else exit $$status; fi

test-long: $(VENV)/.installed
	@echo "Tests marked 'long': allow an hour on 2 cores, 8 GiB of memory, 10 GiB of disk and access to a package index."
	@$(QUIET) $(BIN)/python -m pytest -q -m long $(ARGS)

matrix: $(VENV)/.installed
	@echo "Every tuner in every stage over every quantizer: allow half an hour on 2 cores"
	@TUNESMITH_FULL_MATRIX=1 $(QUIET) $(BIN)/python -m pytest -q -n 2 tests/test_combinations.py $(ARGS)

# -- keeping it in order -----------------------------------------------------------------------------------------------

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.docs: $(VENV)/.installed
	@echo "Installing mkdocs; log in $(LOG)"
	@$(call pip,--no-build-isolation -e '.[docs]')
	@touch $@

reference: $(VENV)/.installed
	$(BIN)/python tools/generate_reference.py

docs: $(VENV)/.docs
	$(BIN)/python tools/generate_reference.py --check
	$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

catalogue: $(VENV)/.installed
	$(BIN)/python tools/generate_catalogue.py

bench: $(VENV)/.installed
	@for script in $(foreach name,startup prepare train_step,benchmarks/$(name).py); do echo "== $$script"; $(QUIET) $(BIN)/python $$script || exit 1; done

wheels: $(VENV)/.installed
	@rm -rf dist
	@for package in $(PACKAGES) .; do echo "wheel of $$package"; \
	  $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist ./$$package || exit 1; done
	@ls dist

new: $(VENV)/.installed
	@test -n "$(KIND)" -a -n "$(NAME)" || { echo "Say what to make: make new KIND=tuner NAME=acme"; exit 1; }
	$(BIN)/tunesmith new $(KIND) $(NAME)

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache
