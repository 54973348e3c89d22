# `make demo` and `make test` each do everything on a fresh machine with Python 3.11 and a C++
# compiler: virtual environment, locked install, then the job.
PYTHON ?= python3.11
VENV   ?= .venv
BIN     = $(VENV)/bin
LOCK    = requirements/cpu.lock
STAMP   = $(VENV)/.installed
GPU_BIN = $(VENV)-gpu/bin
UV      = uv==0.13.9

# The CPU build of torch: from a local folder of wheels where pip is configured with one, else from
# PyTorch's own index, which uv knows by name. Never a CUDA build.
FIND_LINKS = $(or $(UV_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
export UV_FIND_LINKS := $(FIND_LINKS)
TORCH_WHEEL = $(wildcard $(addsuffix /torch-*+cpu-*.whl,$(FIND_LINKS)))
TORCH_INDEX = $(if $(TORCH_WHEEL),,--torch-backend cpu)

# What the tests of Slurm, Kubernetes and the viewer stand on, besides kubectl; where something is
# missing, they are skipped and say so.
SYSTEM = slurm-wlm slurmdbd munge mariadb-server iproute2 util-linux curl postgresql chromium

.PHONY: demo sandbox test test-all unit check-gpu bench docs lint format lock install system clean help

help:
	@echo "make install  the virtual environment in .venv, with the mpo command"
	@echo "make demo     the whole loop on this machine, seven minutes; report in runs/demo/report"
	@echo "make sandbox  its models anew, from nothing, twenty minutes; in runs/sandbox-models"
	@echo "make test     the tests, some twenty minutes on two cores, install and lint with them"
	@echo "make test-all those too that take longest: a whole loop, a server and sweeps on Slurm, Ray Serve by k8s/"
	@echo "make system   Debian packages that the tests of Slurm, PostgreSQL and the viewer need (as root)"
	@echo "make unit     the unit tests, half a minute; PROCESSES=8 where there are more cores"
	@echo "make bench    benchmarks; results in runs/bench"
	@echo "make docs     the documentation's site, by Sphinx of .venv; a broken link fails it; in site/"
	@echo "make lint     ruff, of code and format, and mypy, of types; make test does it first"
	@echo "make format   mends what ruff can mend"
	@echo "make lock     resolve requirements/*.lock anew"
	@echo "make check-gpu  whether the suite fits the versions for GPUs; in .venv-gpu, 9 GB, without a GPU"

sandbox: install
	$(BIN)/mpo sandbox build --out runs/sandbox-models

demo: install
	$(BIN)/mpo run demo

# What a test starts often waits for something: two at a time keep two cores busy.
PROCESSES ?= 2
PYTEST = $(BIN)/pytest --numprocesses $(PROCESSES)
test: lint
	$(PYTEST) --durations=20

test-all: lint
	$(PYTEST) --durations=20 -m "long or not long"

# Compiled tests are kept, also where PYTHONDONTWRITEBYTECODE is set: half of their start is that.
# What is raised in destructors, make test looks for: it takes several seconds of collecting garbage.
unit test test-all: export PYTHONDONTWRITEBYTECODE :=
unit: install
	$(PYTEST) tests/unit -m "not long and not slow" --hypothesis-profile quick -p no:unraisableexception

bench: install
	$(BIN)/python benchmarks/scienceworld_host.py
	$(BIN)/python benchmarks/alfworld_host.py
	$(BIN)/python benchmarks/served_rollouts.py
	$(BIN)/python benchmarks/cpu_adapters.py
	$(BIN)/python benchmarks/ledger.py
	$(BIN)/python benchmarks/viewer.py
	$(BIN)/python benchmarks/proxy.py

# Whole each time: every page has the navigation. Warnings are errors, but all are shown first.
docs: install
	$(BIN)/python -m sphinx --fail-on-warning --quiet --fresh-env --write-all --conf-dir docs . site
	@echo "site/index.html opens in a browser"

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(STAMP)

# Compiled here and once, since a run starts dozens of processes that import torch and vLLM: where
# PYTHONDONTWRITEBYTECODE is set, or the environment cannot be written, each would compile them anew.
$(STAMP): $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python $(TORCH_INDEX) $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $(STAMP)

check-gpu: $(VENV)-gpu/.installed
	$(GPU_BIN)/pytest tests/unit tests/integration/sandbox tests/versions

# Without the CPU build of torch, which fits the lock's version too. The tools of the tests are in no
# lock for GPUs, as its image does without them.
$(VENV)-gpu/.installed: export UV_FIND_LINKS :=
$(VENV)-gpu/.installed: requirements/gpu.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)-gpu
	$(GPU_BIN)/python -m pip install --quiet $(UV)
	$(GPU_BIN)/uv pip sync --quiet --compile-bytecode --python $(GPU_BIN)/python $<
	$(GPU_BIN)/uv pip install --quiet --python $(GPU_BIN)/python --constraint $< --editable ".[dev]"
	touch $@

system:
	dpkg --status $(SYSTEM) >/dev/null 2>&1 \
		|| { apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends $(SYSTEM); }

COMPILE = $(BIN)/uv pip compile --quiet --upgrade pyproject.toml --python-version 3.11
lock:
	$(COMPILE) --extra cpu --extra dev --extra docs --extra tracking-server $(TORCH_INDEX) --output-file requirements/cpu.lock
	UV_FIND_LINKS= $(COMPILE) --extra gpu --python-platform x86_64-manylinux_2_28 \
		--output-file requirements/gpu.lock

clean:
	rm -rf $(VENV) $(VENV)-gpu
