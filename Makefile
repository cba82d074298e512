# Everything a developer does here has one name below; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The first Python on PATH that all dependencies have wheels for; `make PYTHON=/path/to/python3.12 …` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$python && exit; done; echo python3)
VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.installed
CHECKERS := .checkers/.installed
WRITERS := .docs/.installed

# The laptop and the CI machine that this is tuned on have two cores.
TEST_WORKERS ?= 2
# A file stays with one worker: what a module sets up once (a server, the story of the demo) is then set up once.
DISTRIBUTE := -n $(TEST_WORKERS) --dist=loadfile
# More arguments for pytest: make test TESTS="tests/marketplace -x"
TESTS ?=

# uv must neither download an interpreter nor look for one elsewhere: "Python, make and git" is all that we ask for.
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := $(VENV)

##@ Use
.PHONY: demo
demo: install ## Tell the whole story on the embedded defaults; ends by itself
	$(RUN) demo

.PHONY: demo-cluster
demo-cluster: install ## The same story with its jobs in pods of a real Kubernetes (needs root and Go; see tests/cluster)
	@$(RUN) tests.cluster demo

.PHONY: serve
serve: install ## Serve the same data folder to be explored; Ctrl-C ends it
	$(RUN) guildhall all

##@ Develop
.PHONY: cluster
cluster: install ## Start a real Kubernetes for tests (builds it once); prints its kubeconfig
	@$(RUN) tests.cluster up

.PHONY: cluster-down
cluster-down: install ## Take it down
	@$(RUN) tests.cluster down

.PHONY: install
install: $(INSTALLED) ## Install what uv.lock pins into .venv (the other targets do it by themselves)

$(INSTALLED): uv.lock pyproject.toml client/pyproject.toml tools/uv-requirements.txt
	uv=$$($(PYTHON) tools/get_uv.py); $$uv sync --frozen --quiet --python "$(PYTHON)"
	touch $@

.PHONY: lock
lock: ## Resolve the dependencies again after a change to a pyproject.toml
	uv=$$($(PYTHON) tools/get_uv.py); $$uv lock --python "$(PYTHON)"

.PHONY: format-fix
format-fix: install ## Format the code and apply the safe fixes of the linter
	$(RUN) ruff check --fix --exit-zero --quiet .
	$(RUN) ruff format .

.PHONY: schema
schema: install ## Write guildhall/schema.graphql from the code
	$(RUN) tools.schema_file write

# What the tests run that other people wrote: clients in JavaScript, and fuzzers in an environment of their own.
PROGRAMS := tests/clients/node_modules/.installed
FUZZERS := .fuzzers/.installed

$(PROGRAMS): tests/clients/package-lock.json
	@if command -v npm >/dev/null; then \
		npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "npm is missing: the tests with JavaScript clients will be skipped"; fi

$(FUZZERS): tests/fuzzing/requirements.txt $(INSTALLED)
	uv=$$($(PYTHON) tools/get_uv.py); $$uv venv --quiet --clear --python $(VENV)/bin/python .fuzzers && \
		$$uv pip install --quiet --require-hashes --python .fuzzers/bin/python -r tests/fuzzing/requirements.txt
	touch $@

.PHONY: client-programs
client-programs: $(PROGRAMS) ## Install the JavaScript clients that the tests run (needs npm)

.PHONY: fuzzers
fuzzers: $(FUZZERS) ## Install Schemathesis and clairvoyance, which the tests run, into .fuzzers

.PHONY: permissions
permissions: install ## Write docs/permissions.md from the code
	$(RUN) tools.permissions_page write

.PHONY: trusted-documents
trusted-documents: install ## Write guildhall/trusted_documents.json from what our clients send
	$(RUN) tools.trusted_documents write

.PHONY: command-reference
command-reference: install ## Write the reference of the command `guildhall` into client/README.md
	$(RUN) tools.command_reference write

.PHONY: clean
clean: ## Remove what the checks and tests leave behind (not .venv, not your data folder)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* coverage.json htmlcov docs/_build docs/reference
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

##@ Check (make check is exactly what CI runs)
.PHONY: check
check: static test coverage-floor ## All of the checks below and the tests

.PHONY: static
static: format lint types contracts sizes shape dead-code schema-check permissions-check trusted-check manifests chart docs ## The checks that run no product code

.PHONY: format
format: install ## Is everything formatted?
	$(RUN) ruff format --check .

.PHONY: lint
lint: install ## ruff, nearly all rules
	$(RUN) ruff check .

.PHONY: types
types: install ## mypy, strict
	$(RUN) mypy

.PHONY: contracts
contracts: install ## Do imports point down only?
	$(VENV)/bin/lint-imports --no-logo

.PHONY: sizes
sizes: install ## Modules under 400 lines, functions under 70
	$(RUN) tools.sizes

.PHONY: shape
shape: install ## Names of modules, empty package files, no business time from the database's clock
	$(RUN) tools.shape

.PHONY: dead-code
dead-code: install ## vulture: code that nothing reaches
	$(RUN) tools.dead_code

.PHONY: schema-check
schema-check: install ## Is guildhall/schema.graphql what the code says?
	$(RUN) tools.schema_file check

.PHONY: permissions-check
permissions-check: install ## Is docs/permissions.md what the code says?
	$(RUN) tools.permissions_page check

.PHONY: trusted-check
trusted-check: install ## Is guildhall/trusted_documents.json what our clients send?
	$(RUN) tools.trusted_documents check

.PHONY: manifests
manifests: install $(CHECKERS) ## Is what we send to Kubernetes valid for 1.33 to 1.37, and what does checkov say?
	$(RUN) tools.manifest_checks .checkers/bin

.PHONY: docs
docs: install $(WRITERS) ## Build the site into docs/_build; a warning is an error
	$(RUN) tools.reference_pages
	.docs/bin/sphinx-build -q -W --keep-going -n -j auto docs docs/_build

$(WRITERS): tools/docs-requirements.txt
	uv=$$($(PYTHON) tools/get_uv.py); $$uv venv --quiet --clear --python $(VENV)/bin/python .docs; \
	$$uv pip sync --quiet --python .docs/bin/python --require-hashes tools/docs-requirements.txt
	touch $@

.PHONY: chart
chart: install $(CHECKERS) ## helm lint and template, and what Kubernetes 1.33 to 1.37 and checkov say of the chart
	$(RUN) tools.chart_checks .checkers/bin

# Their dependencies are not ours, so they have an environment of their own.
$(CHECKERS): tools/manifest-checkers.txt
	uv=$$($(PYTHON) tools/get_uv.py); $$uv venv --quiet --clear --python "$(PYTHON)" .checkers; \
	$$uv pip sync --quiet --python .checkers/bin/python --require-hashes tools/manifest-checkers.txt
	touch $@

.PHONY: test
test: install client-programs fuzzers $(CHECKERS) ## The tests, with branch coverage
	$(RUN) pytest $(DISTRIBUTE) --cov --cov-report= $(TESTS)

.PHONY: coverage-floor
coverage-floor: install ## Does each package reach its floor? (reads what `make test` measured)
	$(RUN) coverage json --quiet -o coverage.json
	$(RUN) tools.coverage_floor coverage.json

.PHONY: test-long
test-long: install client-programs fuzzers $(CHECKERS) ## The long lane of the property tests, and the tests marked long
	$(RUN) pytest $(DISTRIBUTE) -m "" --hypothesis-profile=long $(TESTS)

##@ Measure (ratios against a peer or a limit in the same run; the figures go to benchmarks/out)
# More arguments: make bench-graphql BENCH="--models 1000000"
BENCH ?=

.PHONY: bench
bench: bench-graphql bench-abuse bench-jobs bench-ledger bench-artifacts bench-access bench-audit ## All of the benchmarks below

.PHONY: bench-graphql
bench-graphql: install ## Pages and documents against one hand-written statement, Strawberry and PostGraphile 5
	uv=$$($(PYTHON) tools/get_uv.py); $$uv sync --frozen --quiet --inexact --group bench --python "$(PYTHON)" || true
	$(RUN) benchmarks.graphql.main $(BENCH)

.PHONY: bench-abuse
bench-abuse: install ## What a request that asks for trouble costs, here and at a Strawberry server as it comes
	$(RUN) benchmarks.graphql.abuse

.PHONY: bench-ledger
bench-ledger: install ## Hold, capture and release, against a function without checks and clients with four statements
	$(RUN) benchmarks.ledger.main $(BENCH)

.PHONY: bench-access
bench-access: install ## Decisions at up to a million lines beside pycasbin, and changes until they are in force
	$(RUN) benchmarks.access.main $(BENCH)

.PHONY: bench-audit
bench-audit: install ## What the record costs: a server without it, a chain of hashes, a verifier of others
	$(RUN) benchmarks.audit.main $(BENCH)

.PHONY: bench-artifacts
bench-artifacts: install ## A large file and many small ones through the client, against a bare copy with hashing
	$(RUN) benchmarks.artifacts.main $(BENCH)

.PHONY: bench-jobs
bench-jobs: install ## Jobs through a real API server, against bare POSTs of the same objects to it
	$(RUN) benchmarks.jobs.main $(BENCH)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
