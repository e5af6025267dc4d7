# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each sets up .venv by itself when it is missing or older than the lock.

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EYES := data/synthetic/truth.csv
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-slurm test-all check lock docs bench clean

demo: $(READY) $(EYES)
	snakemake --cores $(CORES)

$(EYES): | $(READY)
	visionfm synth --task pretrain --modalities Fundus OCT FFA --number 50 --size 112 --out data/synthetic_unlabelled
	visionfm synth --task multi_cls --modalities Fundus OCT FFA --number 150 --size 224 --out data/synthetic
	visionfm synth --task metric_reg --modalities Fundus OCT FFA --number 90 --size 224 --out data/synthetic_values

# One thread for each of the two workers: on two cores, threads of both would wait for each other.
test test-all: export OMP_NUM_THREADS := 1

test: $(READY)
	pytest -n 2 --dist loadgroup -m "not slow" --ignore tests/slurm

# The test cluster has the machine to itself: its jobs have time limits.
test-slurm: $(READY)
	pytest -m "not slow" tests/slurm

test-all: $(READY)
	pytest -n 2 --dist loadgroup --ignore tests/slurm
	pytest tests/slurm

check: $(READY)
	ruff check visionfm tests bench
	ruff format --check visionfm tests bench
	snakefmt --check workflow
	mypy
	codespell visionfm tests bench workflow docs config README.md CONTRIBUTING.md
	snakemake --lint

lock: $(READY)
	pip-compile --quiet --extra dev --extra lora --extra tensorboard --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --no-header --no-annotate --upgrade --output-file requirements.lock pyproject.toml

docs: $(READY)
	python -m visionfm.project.document

bench: $(READY)
	for name in decode extract cached decoder_epoch dense_training dense_heads plan pretrain_loader submissions; do python -m bench.$$name; done
	for name in published_single finetune_step coverage comparison; do python -m bench.$$name; done

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements.lock # Python compiles what it imports
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $(READY)

clean:
	rm -rf $(VENV) results data/synthetic data/synthetic_values data/synthetic_unlabelled
