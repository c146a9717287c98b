# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
# Everything that they need is installed into .venv; Debian packages only where a test needs them.

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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# uv comes from PyPI like everything else; then it installs what uv.lock pins.
$(UV):
	@$(PYTHON) -m venv --clear .venv >/dev/null 2>&1 || { \
	  echo "python3 cannot make virtual environments; installing python3-venv" >&2; \
	  ./scripts/debian.sh python3-venv && $(PYTHON) -m venv --clear .venv; }
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check uv

$(VENV): $(UV) pyproject.toml uv.lock
	@$(UV) sync --quiet --frozen --inexact
	@touch $@

.PHONY: demo
demo: $(VENV) ## bring a Dask cluster up on this machine and make a real data cube on it
	@.venv/bin/dask-fleet demo

.PHONY: develop
develop: $(UV) ## install what tests, lint and benchmarks need
	@$(UV) sync --quiet --frozen --inexact --group test --group lint
	@touch $(VENV)

.PHONY: test
test: develop ## run every test: real processes, a real browser, real data, booted hosts; or some, TESTS="..."
	@./scripts/debian.sh chromium nginx-light prometheus openssh-server openssh-client nftables ufw iproute2 pebble
	@./scripts/axe.sh
# Tests on booted hosts run in the lab's network, and all others outside of it. One part after the
# other: tests wait for what real programs do, and two parts at once on two CPUs gain little.
ifeq ($(TESTS),)
	@$(MAKE) --no-print-directory test-here
	@$(MAKE) --no-print-directory test-vms
	@$(MAKE) --no-print-directory test-containers
	@$(MAKE) --no-print-directory test-podman
	@$(MAKE) --no-print-directory test-guests
else ifneq ($(findstring tests/guests,$(TESTS)),)
	@$(MAKE) --no-print-directory test-guests
else ifneq ($(findstring tests/podman,$(TESTS)),)
	@$(MAKE) --no-print-directory test-podman
else ifneq ($(findstring tests/containers,$(TESTS)),)
	@$(MAKE) --no-print-directory test-containers
else ifeq ($(findstring tests/vms,$(TESTS)),)
	@.venv/bin/python -m pytest $(TESTS)
else
	@$(MAKE) --no-print-directory test-vms
endif

.PHONY: test-here
test-here: develop ## run the tests that need no booted hosts
	@.venv/bin/python -m pytest --ignore=tests/vms --ignore=tests/containers --ignore=tests/podman --ignore=tests/guests

.PHONY: test-door
test-door: develop ## run every test of the door: nginx, login, browser, booted hosts (root)
	@./scripts/debian.sh chromium nginx-light
	@.venv/bin/python -m pytest tests/unit/test_door*.py tests/unit/spec/test_spec_door.py \
	  tests/integration/test_door*.py
	@$(MAKE) --no-print-directory test-vms TESTS="$(wildcard tests/vms/test_door*.py)"

.PHONY: test-vms
test-vms: develop ## run the tests on booted hosts (root)
	@./scripts/debian.sh pebble chromium
	@./scripts/axe.sh
	@XDG_CACHE_HOME=$(CURDIR)/.cache/tests/cache .venv/bin/python -m tests.vms.wheels
	@.venv/bin/python -m lab --name test run -- .venv/bin/python -m pytest $(or $(TESTS),tests/vms)

.PHONY: test-containers
test-containers: develop ## run the tests of containers, on booted hosts with a Docker engine (root)
	@./scripts/debian.sh chromium
	@XDG_CACHE_HOME=$(CURDIR)/.cache/tests/cache .venv/bin/python -m tests.vms.wheels
	@.venv/bin/python -m lab --name boxes --engine run -- \
	  .venv/bin/python -m pytest $(or $(TESTS),tests/containers)

.PHONY: test-podman
test-podman: develop ## run the tests of containers on booted hosts with Podman in Docker's place (root)
	@XDG_CACHE_HOME=$(CURDIR)/.cache/tests/cache .venv/bin/python -m tests.vms.wheels
	@.venv/bin/python -m lab --name pods --podman run -- \
	  .venv/bin/python -m pytest $(or $(TESTS),tests/podman)

.PHONY: test-guests
test-guests: develop ## run the tests that need a kernel, on hosts under QEMU (root)
	@./scripts/debian.sh qemu-system-x86
	@XDG_CACHE_HOME=$(CURDIR)/.cache/tests/cache .venv/bin/python -m tests.vms.wheels
	@.venv/bin/python -m lab --name guests --guests run -- \
	  .venv/bin/python -m pytest $(or $(TESTS),tests/guests)

.PHONY: lab
lab: develop ## boot a scheduler host and worker hosts to play with, HOSTS=5 in all (root)
	@.venv/bin/python -m tests.vms.wheels
	@.venv/bin/python -m lab up --hosts $(or $(HOSTS),5)
	@echo "a shell that reaches them: .venv/bin/python -m lab exec -- bash; what to type: docs/vms.md"

.PHONY: lab-down
lab-down: ## take the lab's hosts down, also after a crash
	@$(PYTHON) -m lab down

.PHONY: test-unit
test-unit: develop ## run the tests that need nothing but Python
	@.venv/bin/python -m pytest tests/unit

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
