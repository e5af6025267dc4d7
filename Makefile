# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each sets up .venv by itself when it is missing or older than its lock: a user's packages, and for tests some more.

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
# Where Python may not keep what it compiles, every process would compile all of torch again: 45 seconds in place of 11.
COMPILED := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
INSTALL := $(BIN)/uv pip install --quiet $(COMPILED) --python $(BIN)/python
COMPILE := uv pip compile --quiet --no-header --no-annotate --python-version 3.11
EYES := data/synthetic/truth.csv
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-slurm test-all test-faults fuzz check lock docs gallery bench clean

demo: $(READY) $(EYES)
	snakemake --cores $(CORES)

$(EYES): | $(READY)
	visionfm synth --task pretrain --modalities Fundus OCT FFA --number 50 --size 112 --out data/synthetic_unlabelled
	visionfm synth --task multi_cls --modalities Fundus OCT FFA --number 150 --size 224 --out data/synthetic
	visionfm synth --task metric_reg --modalities Fundus OCT FFA --number 90 --size 224 --out data/synthetic_values

# One thread per worker: on two cores, threads of several would wait for each other. The third worker mostly waits, for
# the test cluster's queue (tests/slurm; skipped without SLURM).
test test-all: export OMP_NUM_THREADS := 1

test: $(DEV_READY)
	pytest -n 3 --dist loadgroup -m "not slow"

test-slurm: $(DEV_READY)
	pytest -m "not slow" tests/slurm

test-all: $(DEV_READY)
	pytest -n 3 --dist loadgroup

# How often each fault is tried: 1 is as often as the matrix of faults says, which takes days of one core.
FAULTS ?= 0.05
SECONDS ?= 600

test-faults: $(DEV_READY)
	FAULTS=$(FAULTS) OMP_NUM_THREADS=1 python tests/faults/matrix.py

fuzz: $(DEV_READY)
	OMP_NUM_THREADS=1 python tests/faults/fuzz.py $(SECONDS)

check: $(DEV_READY)
	ruff check visionfm tests bench
	ruff format --check visionfm tests bench
	snakefmt --check workflow
	mypy
	codespell visionfm tests bench workflow docs config README.md CONTRIBUTING.md
	snakemake --lint

lock: $(DEV_READY)
	$(COMPILE) --upgrade --extra lora --output-file requirements.lock pyproject.toml
	$(COMPILE) --upgrade --extra lora --extra tensorboard --extra dev --constraint requirements.lock \
	    --output-file requirements-dev.lock pyproject.toml

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DEV_READY)
	python -m visionfm.project.document
	mkdocs build --strict --quiet

# The tutorial's report page and those of how-to's, for the site's gallery.
gallery: $(READY)
	bash docs/gallery.sh

bench: $(DEV_READY)
	for name in decode extract cached decoder_epoch dense_training dense_heads plan pretrain_loader submissions; do python -m bench.$$name; done
	for name in published_single finetune_step coverage comparison tables training many_runs bookkeeping; do python -m bench.$$name; done

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "uv>=0.9,<1" # a quarter of pip's minutes
	$(INSTALL) --requirement requirements.lock
	$(INSTALL) --no-deps --editable .
	touch $(READY)

$(DEV_READY): requirements-dev.lock $(READY)
	$(INSTALL) --requirement requirements-dev.lock
	touch $(DEV_READY)

clean:
	rm -rf $(VENV) results site docs/gallery data/synthetic data/synthetic_values data/synthetic_unlabelled
