# The verbs of daily work. Each sets up what it needs; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help demo test test-browser screenshots test-compat dev check fix bench lock
PY := .venv/bin/python
# Processes and tests start several times faster with bytecode on disk, which some images switch off.
unexport PYTHONDONTWRITEBYTECODE

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: ## run the invoice export, kill its worker, watch it go on (ROWS=50000, ONCE=1)
	@tools/venv run && $(PY) examples/saas/demo.py

test: ## run every test, each with what it needs (ARGS="tests/unit -x")
	@tools/venv all && $(PY) -m pytest -n 4 --dist loadscope --no-loadscope-reorder $(ARGS)

test-browser: ## look at the dashboard in headless Chromium; needs chromium and npm
	@tools/venv all && $(PY) -m pytest $(or $(ARGS),tests/browser)

screenshots: ## make the pictures of the docs; needs what test-browser needs
	@tools/venv all && $(PY) tests/showroom.py docs/images && $(PY) tests/inspector_picture.py docs/images

test-compat: ## drive a server with the official npm clients; needs Node, Chromium for pages (ARGS="4.8.3 runs")
	@tools/venv all && npm ci --ignore-scripts --no-audit --no-fund --prefix tests/compat \
		&& $(PY) tests/compat/prove.py $(ARGS)

dev: ## start platform, worker and an app here (ARGS="--port 4000", DIR=my/project: yours instead)
	@tools/venv run && $(PY) $(if $(DIR),-m outlast dev --dir $(DIR),examples/saas/dev.py) $(ARGS)

check: ## lint, format, types and layers (the public face under pyright is a test)
	@tools/venv all && .venv/bin/ruff check . && .venv/bin/ruff format --check . \
		&& .venv/bin/mypy && .venv/bin/lint-imports

fix: ## format, and repair what the linter can
	@tools/venv all && .venv/bin/ruff check --fix . ; .venv/bin/ruff format .

bench: ## measure throughput and latency (ARGS="--help")
	@tools/venv run && $(PY) -m benchmarks $(ARGS)

lock: ## resolve dependencies anew; needs uv
	@tools/lock
