# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
# Everything that they need is installed into .venv; tests on booted hosts install Debian packages.

SHELL := /bin/sh
PYTHON ?= python3
UV := .venv/bin/uv
RUN := $(UV) run --no-sync
VENV := .venv/.made
# As pip does: without bytecode, every command would compile its modules again at each start.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# uv comes from PyPI like everything else; then it installs what uv.lock pins.
$(UV):
	@echo "installing uv into .venv"
	@$(PYTHON) -m venv --clear .venv >/dev/null 2>&1 || { \
	  echo "python3 cannot make virtual environments; installing python3-venv" >&2; \
	  ./scripts/debian.sh python3-venv && $(PYTHON) -m venv --clear .venv; }
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check uv

# uv shows what it does the first time, when it takes long.
SYNC = $(UV) sync --frozen --inexact $(if $(wildcard $(VENV)),--quiet)

$(VENV): $(UV) pyproject.toml uv.lock
	@$(SYNC)
	@touch $@

.PHONY: demo
demo: demo-says $(VENV) ## bring a Dask cluster up on this machine and make a real data cube on it
	@.venv/bin/dask-fleet demo

.PHONY: demo-says
demo-says:
	@echo "The first run downloads about 400 MB (this tool and xcube's environment) and takes a few minutes; later runs take half a minute."

.PHONY: develop
develop: $(UV) ## install what tests, lint and benchmarks need
	@$(SYNC) --group test --group lint
	@touch $(VENV)

SUITES := .venv/bin/python -m tests.suites

.PHONY: test
test: test-says develop ## show that it works, in about 20 minutes; or some tests, TESTS="..." (root)
	@$(SUITES) test $(if $(TESTS),--only "$(TESTS)")

.PHONY: test-says
test-says:
	@echo "The first run downloads about 1.2 GB (wheels, Debian packages and hosts of the lab) and takes about 20 minutes on 2 CPUs; later runs take less."

.PHONY: test-all
test-all: develop ## run every suite of tests, in well over an hour (root)
	@$(SUITES) all

test-%: develop ## run some suites: test-unit, test-vms ...; tests/README.md lists them
	@$(SUITES) $*

.PHONY: lab
lab: develop ## boot a scheduler host and worker hosts to play with, HOSTS=5 in all (root)
	@.venv/bin/python -m tests.vms.wheels
	@.venv/bin/python -m lab up --hosts $(or $(HOSTS),5)
	@echo "a shell that reaches them: .venv/bin/python -m lab exec -- bash; what to type: docs/vms.md"

.PHONY: lab-down
lab-down: ## take the lab's hosts down, also after a crash
	@$(PYTHON) -m lab down

.PHONY: lint
lint: develop ## ruff, types and the floors of the design
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/basedpyright
	@.venv/bin/lint-imports

.PHONY: format
format: develop ## let ruff mend what it can
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

.PHONY: bench
bench: develop ## measure against LocalCluster, a script by hand and one process
	@.venv/bin/python -m benchmarks
	@.venv/bin/python scripts/figures.py

.PHONY: bench-vms
bench-vms: develop ## measure a fleet of VMs against SSHCluster and Ansible, and 1,000 hosts (root)
	@XDG_CACHE_HOME=$(CURDIR)/.cache/tests/cache .venv/bin/python -m tests.vms.wheels
	@.venv/bin/python -m benchmarks.peers
	@XDG_CACHE_HOME=$(CURDIR)/.cache/tests/cache .venv/bin/python -m lab --name bench run -- \
	  .venv/bin/python -m benchmarks.vms
	@.venv/bin/python scripts/figures.py

.PHONY: bench-containers
bench-containers: develop ## measure how images come to hosts against docker save and a build on each (root)
	@.venv/bin/python -m benchmarks.peers
	@.venv/bin/python -m lab --name bench --engine run -- .venv/bin/python -m benchmarks.containers
	@.venv/bin/python scripts/figures.py

.PHONY: bench-door
bench-door: develop ## measure the door against no door and against jupyter-server-proxy
	@./scripts/debian.sh nginx-light wrk
	@.venv/bin/python -m benchmarks.door
	@.venv/bin/python scripts/figures.py

.PHONY: lock
lock: develop ## find the newest versions again: uv.lock and the xcube environment
	@$(UV) lock --upgrade
	@cd src/dask_fleet/environments && ../../../$(UV) pip compile --quiet --upgrade xcube.in \
	  --override xcube.overrides --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-package gdal --custom-compile-command 'make lock' \
	  --output-file xcube.lock

.PHONY: docs
docs: develop ## write the reference again from the models and the commands
	@.venv/bin/python scripts/reference.py

.PHONY: clean
clean: ## remove what was made here
	rm -rf .venv .cache artifacts dist .pytest_cache .ruff_cache .hypothesis
