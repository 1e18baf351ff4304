# make demo | test | lint | bench | lock | clean
#
# make test JOBS=2                          in two processes
# make test PYTEST_ARGS='-m "not real"'     what needs no server
# make bench BENCH_ARGS=bombs               what hostile mails cost
# make demo DEMO_ARGS=--web                 stays open, to look at in mitmweb

PYTHON := .venv/bin/python
JOBS ?= 0
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

.PHONY: demo test lint bench lock clean setup packages
.DEFAULT_GOAL := test

demo: setup
	.venv/bin/smtpguard demo $(DEMO_ARGS)

test: setup packages
	$(PYTHON) -m pytest -q -n $(JOBS) $(PYTEST_ARGS)

# mypy twice: the entry script and the package have the same name.
lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/mypy addons/smtpguard.py
	.venv/bin/lint-imports --no-logo --cache-dir .cache/import-linter

bench: setup packages
	$(PYTHON) -m benchmarks $(BENCH_ARGS)

# New versions of everything that pyproject.toml allows. Hashes, no hosts: whoever
# installs takes them from where they take packages. One lock for Python 3.12 to 3.14.
COMPILE = .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.12 \
	--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links
lock: setup
	$(COMPILE) pyproject.toml --group dev -o requirements-dev.lock
	$(COMPILE) pyproject.toml -c requirements-dev.lock -o requirements.lock
	$(COMPILE) --group build -c requirements-dev.lock -o requirements-build.lock

clean:
	rm -rf .venv .cache dist htmlcov .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find addons tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@.ci/setup

packages:
	@.ci/packages
