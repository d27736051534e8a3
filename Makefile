# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Everything is made inside .venv and .build; a second run makes only what changed.
# Variables: PYTHON=/path/to/python  ARGS='-k chain -x' (for pytest, or for bench and soak: ARGS=--help)

# The first of these that is there; the newest ansible-core is the newest that runs on it.
PYTHON ?= 3.13 3.12 3.11
ARGS ?=
# More than there are processors: most tests wait for a server most of their time.
PYTEST := pytest --numprocesses 4

PYTHON_oldest := 3.11
PYTHON_core-2_18 := 3.12
PYTHON_core-2_19 := 3.11
PYTHON_core-2_20 := 3.12
NEEDS := ssh:openssh-client nc:netcat-openbsd ip:iproute2
# On Debian, Python's venv is in a package of its own, which brings Python, too.
NEED_python := python-with-venv:python3-venv
NEEDS_python = $(shell .ci/python $(PYTHON) >/dev/null 2>&1 || echo $(NEED_python))
NEEDS_tests := sshd:openssh-server oathtool:oathtool,libpam-oath sudo:sudo doas:opendoas shellcheck:shellcheck dropbear:dropbear-bin
CHECKS := ruff mypy reuse changelog ansible-lint docs importer sanity
ROWS := oldest core-2_18 core-2_19 core-2_20

TREE := .build/tree
COLLECTION := ansible_collections/bastion/ssh
export PIP_CACHE_DIR ?= $(CURDIR)/.build/pip
RUN := $(CURDIR)/.ci/in .venv .build
MOLECULE := .ci/in .build/molecule/venv .build/molecule
SCENARIOS := .ci/engine $(MOLECULE) molecule test
BENCH := .ci/in .build/bench/venv .build/bench

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install test tests test-matrix lint unit integration sanity format demo molecule bench soak clean needs packages setup venv tree containers scenarios \
	$(CHECKS) $(addprefix test-,$(ROWS))

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '%-14s %s\n' $(foreach row,$(ROWS),test-$(row) "Run only this row of the matrix")

needs:
	@.ci/needs $(NEEDS) $(NEEDS_tests) $(NEEDS_python)

# What is installed before anything runs side by side.
packages: needs
	@.ci/engine

venv: needs
	@.ci/venv .venv dev $(PYTHON)

tree:
	@.ci/tree $(TREE)

containers: tree
	@rm -rf .build/home/.ansible/collections # where molecule leaves a copy of this collection, and ansible-lint finds an older one
	@.ci/needs $(NEEDS) $(NEEDS_python)
	@.ci/venv .build/molecule/venv molecule $(PYTHON)
	@$(MOLECULE) .ci/install $(TREE) .build/molecule/venv .build/molecule

setup: packages install containers ## Make all that the tests need, and run nothing

install: venv tree ## Make .venv, and install the collection to .build/collections
	@$(RUN) .ci/install $(TREE) .venv .build

test: packages ## Run the checks, the scenarios, and all tests, side by side, on the newest ansible-core and paramiko
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target tests scenarios lint

tests: install ## Run all tests
	$(RUN) $(PYTEST) $(ARGS)

test-matrix: $(addprefix test-,$(ROWS)) ## Run all tests on each older row of the matrix

$(addprefix test-,$(ROWS)): test-%: needs tree
	@.ci/venv .build/$*/venv $* $(PYTHON_$*)
	@.ci/in .build/$*/venv .build/$* .ci/install $(TREE) .build/$*/venv .build/$*
	.ci/in .build/$*/venv .build/$* $(PYTEST) --with-broker-only $(ARGS)

unit: install ## Run the unit tests
	$(RUN) $(PYTEST) tests/unit $(ARGS)

integration: install ## Run the tests against real SSH servers
	$(RUN) $(PYTEST) tests/integration $(ARGS)

lint: $(CHECKS) ## Run all checks; each is a target, too

ruff: venv
	$(RUN) ruff check .
	$(RUN) ruff format --check .

mypy: install
	cd $(TREE) && $(RUN) mypy --cache-dir $(CURDIR)/.build/mypy --config-file $(COLLECTION)/pyproject.toml \
		$(COLLECTION)/plugins $(COLLECTION)/tests $(COLLECTION)/bench $(COLLECTION)/soak

reuse: venv
	$(RUN) reuse lint --lines

changelog: venv
	$(RUN) antsibull-changelog lint

ansible-lint: containers
	$(MOLECULE) ansible-lint

docs: install
	$(RUN) antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all \
		--disallow-unknown-collection-refs .

importer: install
	$(RUN) .ci/importer .build/artifact

sanity: install ## Run ansible-test sanity
	$(RUN) .ci/sanity $(TREE)

format: venv ## Format the code
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

demo: ## Show what the collection does, in a lab on this machine
	@.ci/python python3 3.14 $(PYTHON) >/dev/null 2>&1 || .ci/needs $(NEED_python)
	@demo/run

scenarios: containers
	$(SCENARIOS) --all

molecule: containers ## Run the scenarios with containers; ARGS='-s chain' runs one
	$(SCENARIOS) $(or $(ARGS),--all)

bench: needs tree ## Measure it beside other connection plugins; ARGS=--help says what can be chosen
	@.ci/venv .build/bench/venv bench $(PYTHON)
	@bench/others .build/bench
	@$(BENCH) .ci/install $(TREE) .build/bench/venv .build/bench
	@$(BENCH) python -m bench $(ARGS)

soak: install ## Play at random among faults for 30 minutes, and account for every command; ARGS='--minutes 5 --seed 42'
	@$(RUN) python -m soak $(ARGS)

clean: ## Remove all that was made
	rm -rf .build .venv .ansible .hypothesis
