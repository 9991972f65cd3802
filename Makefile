# Everything runs from here; each target makes .venv itself when it is missing.
PYTHON ?= python3
BIN := .venv/bin
PROFILE ?= quick

# deterministic matrix products on a GPU must be asked for before a kernel starts
export CUBLAS_WORKSPACE_CONFIG := :4096:8
# threads that spin while they wait take the core from the work they wait for
export OMP_WAIT_POLICY := passive

.PHONY: setup reproduce test record lab bench lint clean
.DELETE_ON_ERROR:

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# make reproduce [PROFILE=full] [CORPUS=ferplus] [DATA_ROOT=...] [ONLY="11 12"]
reproduce: setup
	$(BIN)/uncertain-affect reproduce $(ONLY) --profile $(PROFILE) $(if $(CORPUS),--corpus $(CORPUS)) $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest
	$(BIN)/pytest --nbval-lax --nbval-cell-timeout 600 notebooks

record: setup
	$(BIN)/uncertain-affect record $(RUN)

lab: setup
	$(BIN)/jupyter lab notebooks

bench: setup
	$(BIN)/python -m uncertain_affect.bench

clean:
	rm -rf .venv results/local .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
