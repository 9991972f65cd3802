# Everything runs from here; each target makes .venv itself when it is missing.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
ONE_THREAD := OMP_NUM_THREADS=1 $(BIN)/python
PROFILE ?= quick
# processes of the tests, of one thread each
JOBS ?= 2

# deterministic matrix products on a GPU must be asked for before a kernel starts
export CUBLAS_WORKSPACE_CONFIG := :4096:8
# glibc gives large arrays back at once and asks for new ones, page by page: half of the time of a small convolution
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 2147483648
# threads that spin while they wait take the core from the work they wait for
export OMP_WAIT_POLICY := passive

.PHONY: setup reproduce test lab record site check-gpu same stress numerics mutation fuzz bench lock sbom audit-packages \
	test-versions test-browser clean
.DELETE_ON_ERROR:

setup: .venv/ready

.venv/ready: requirements/torch.txt requirements/main.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements/torch.txt
	$(PIP) --require-hashes -r requirements/main.txt
	$(PIP) --no-deps --editable .
	@touch $@

# make reproduce [PROFILE=full] [CORPUS=ferplus] [DATA_ROOT=...] [ONLY="11 12"] [OPTIONS="--workers 4 --html"]
reproduce: setup
	$(BIN)/uncertain-affect reproduce $(ONLY) --profile $(PROFILE) $(if $(CORPUS),--corpus $(CORPUS)) $(if $(DATA_ROOT),--data-root $(DATA_ROOT)) $(OPTIONS)

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	export OMP_NUM_THREADS=1 && \
	UNCERTAIN_AFFECT_CACHE=$$cache $(BIN)/pytest -n $(JOBS) --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout 1800 notebooks && \
	$(BIN)/pytest -n $(JOBS) --dist loadfile

lab: setup
	OMP_NUM_THREADS=1 $(BIN)/jupyter lab notebooks/00_start_here.ipynb

# make record [RUN="results/local/full/ferplus/11_uncnet_disagreement"] [OPTIONS=--demonstration]
record: setup
	$(BIN)/uncertain-affect record $(RUN) $(OPTIONS)

# the book in build/site, from the committed notebooks; once .venv/site-ready is there, without a network
site: .venv/site-ready
	rm -rf build/book build/site && mkdir -p build && cp -r site build/book
	cp -r notebooks results/scoreboard.md results/verdicts.svg build/book
	$(BIN)/sphinx-build -q --fail-on-warning build/book build/site
	@echo "the book: build/site/index.html"

.venv/site-ready: requirements/site.txt .venv/ready
	$(PIP) --require-hashes -r requirements/site.txt
	@touch $@

# does all of it run on this GPU, how far is it from the CPU, how much faster? in results/gpu, after five minutes
check-gpu: setup ; $(BIN)/uncertain-affect check-gpu

# --- for developers: the first comment of each script says what it does --------------------------------------------
same: setup ; $(BIN)/python tests/stress/same.py $(BASE) $(if $(TINY),--tiny) $(OPTIONS)
stress: setup ; $(ONE_THREAD) tests/stress/stress.py $(ONLY) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(NOTEBOOKS),--notebooks $(NOTEBOOKS))
test-versions: setup ; $(ONE_THREAD) tests/stress/stress.py versions
numerics: setup ; $(ONE_THREAD) tests/stress/numerics.py
mutation: setup build/mutation/ready ; $(ONE_THREAD) tests/mutation/mutate.py $(if $(MUTANTS),--number $(MUTANTS)) $(if $(MINUTES),--minutes $(MINUTES)) --jobs $(JOBS)
fuzz: setup ; $(PIP) -r requirements/fuzz.txt; $(BIN)/python tests/fuzz/fuzz.py $(if $(FUZZ_SECONDS),--seconds $(FUZZ_SECONDS)) $(PARSERS)
bench: setup build/bench/ready ; env -u OMP_WAIT_POLICY PYTHONPATH=tests build/bench/bin/python -m bench && $(BIN)/uncertain-affect bench
lock: build/supply/ready ; build/supply/bin/python tests/supply/write_locks.py $(UPGRADE)
sbom: setup ; $(BIN)/python tests/supply/bill.py
audit-packages: build/supply/ready ; build/supply/bin/python tests/supply/vulnerabilities.py
test-browser: site ; OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadgroup tests/browser
clean: ; rm -rf .venv build results/local .pytest_cache .ruff_cache .hypothesis; find . -name __pycache__ -type d -prune -exec rm -rf {} +

# environments of their own for peers and tools; the peers' one sees the project's packages
build/bench/ready: .venv/ready
build/%/ready: requirements/%.txt ; $(PYTHON) tests/supply/environments.py $*
