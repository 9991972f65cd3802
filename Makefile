# Everything runs from here; each target makes .venv itself when it is missing.
PYTHON ?= python3
BIN := .venv/bin
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

.PHONY: setup reproduce test same test-versions stress numerics mutation fuzz record lab site test-browser bench lock sbom \
	audit-packages clean
.DELETE_ON_ERROR:

setup: .venv/ready

.venv/ready: requirements-torch.txt requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# make reproduce [PROFILE=full] [CORPUS=ferplus] [DATA_ROOT=...] [ONLY="11 12"] [OPTIONS="--workers 4 --html"]
reproduce: setup
	$(BIN)/uncertain-affect reproduce $(ONLY) --profile $(PROFILE) $(if $(CORPUS),--corpus $(CORPUS)) $(if $(DATA_ROOT),--data-root $(DATA_ROOT)) $(OPTIONS)

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	export OMP_NUM_THREADS=1 && \
	UNCERTAIN_AFFECT_CACHE=$$cache $(BIN)/pytest -n $(JOBS) --dist loadfile --nbval-lax --nbval-cell-timeout 1800 notebooks && \
	UNCERTAIN_AFFECT_WARM_CACHE=$$cache $(BIN)/pytest -n $(JOBS) --dist loadfile

# make stress [ONLY="kill fuzz"] [MINUTES=20] [NOTEBOOKS=all]: what the project survives, into results/stress
stress: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/stress/stress.py $(ONLY) --minutes $(or $(MINUTES),20) $(if $(NOTEBOOKS),--notebooks $(NOTEBOOKS))

# make same BASE=32a3517 [TINY=1] [OPTIONS="--tolerance 1e-6"]: has a change of code changed a number? Half an hour a side
same: setup
	$(BIN)/python tests/stress/same.py $(BASE) $(if $(TINY),--tiny) $(OPTIONS)

# the unit tests on every Python from 3.11 to 3.13 that is here, and on the oldest NumPy and pandas allowed
test-versions: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/stress/stress.py versions

# what metrics and losses make of awkward numbers, ten million examples among them: results/stress/numerics.md
numerics: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/stress/numerics.py

# make mutation [MUTANTS=300] [MINUTES=60]: would the tests notice? results/stress/mutation.md
MUTANTS ?= 300
mutation: setup build/mutation/ready
	build/mutation/bin/python tests/mutation/mutate.py draw --number $(MUTANTS)
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation/mutate.py run --minutes $(or $(MINUTES),60) --jobs $(JOBS)

record: setup
	$(BIN)/uncertain-affect record $(RUN)

lab: setup
	OMP_NUM_THREADS=1 $(BIN)/jupyter lab notebooks/00_start_here.ipynb

# the book in build/site, from the committed notebooks; once .venv/site-ready is there, without a network
site: .venv/site-ready
	rm -rf build/book build/site && mkdir -p build && cp -r site build/book
	cp -r notebooks results/scoreboard.md build/book
	$(BIN)/sphinx-build -q --fail-on-warning build/book build/site
	@echo "the book: build/site/index.html"

test-browser: site
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadgroup tests/browser

.venv/site-ready: requirements-site.txt .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-site.txt
	@touch $@

# Peers that come in many small steps lose most by threads that do not spin: here they may.
bench: .venv/bench-ready
	env -u OMP_WAIT_POLICY PYTHONPATH=tests .venv/bench/bin/python -m bench
	$(BIN)/uncertain-affect bench

# The peers have an environment of their own, which sees the first and never changes it. What cannot be installed is
# reported as missing. Constraints are the lock without its hashes, or pip would want one for each peer.
.venv/bench-ready: requirements-bench.txt .venv/ready
	rm -rf .venv/bench
	$(BIN)/python -m venv .venv/bench
	$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' \
		> "$$(.venv/bench/bin/python -c 'import site; print(site.getsitepackages()[0])')/first.pth"
	sed -n 's/^\([a-z].*\) \\$$/\1/p' requirements.txt | cat - requirements-torch.txt > .venv/bench/constraints.txt
	sed 's/#.*//' requirements-bench.txt | xargs -n 1 \
		.venv/bench/bin/pip install --quiet --disable-pip-version-check -c .venv/bench/constraints.txt || true
	@touch $@

# make fuzz [FUZZ_SECONDS=60] [PARSERS="recola iemocap"]: each parser of a corpus for so long
FUZZ_SECONDS ?= 60
fuzz: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt || true
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS) $(PARSERS)

# make lock [UPGRADE=--upgrade]: the locks anew from pyproject.toml, for all systems and Pythons, with hashes of all files
COMPILE = build/supply/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	--no-emit-package torch --annotation-style line --custom-compile-command "make lock"
lock: build/supply/ready
	$(COMPILE) pyproject.toml --extra test --constraints requirements-torch.txt --output-file requirements.txt
	$(COMPILE) --group site --constraints requirements.txt --output-file requirements-site.txt

# the bill of materials, with licences: results/supply; what is for other systems is looked up, which needs a network
sbom: setup
	$(BIN)/python tests/supply/bill.py

# known vulnerabilities of what the lock pins; needs a network
audit-packages: build/supply/ready
	build/supply/bin/python tests/supply/vulnerabilities.py

build/%/ready: requirements-%.txt
	$(PYTHON) -m venv build/$*
	build/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:
	rm -rf .venv build results/local .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
