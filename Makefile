# Needs git, make, bash and a Python from 3.11 to 3.13; everything else comes from PyPI into .venv-<version>/.
# `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check test-browser test-dify test-live bench faults crashes table examples package release-check troubleshooting pictures
.PHONY: service-pictures clean

# The prompt goes to the demo as it was typed: unexpanded by make, and through the environment, never through the shell's text.
override PROMPT := $(value PROMPT)
export PROMPT
export PYTHON

demo: ## Generate a picture as Dify would: make demo PROMPT="a lighthouse in a storm" (COMFYUI_URL=… uses a real ComfyUI)
	@python="$$(scripts/venv.sh plugin plugin,simulator)" && exec "$$python" -m comfybridge.demo "$$PROMPT"

# Half as many processes again as there are cores, since most tests wait for other processes.
test: ## All tests but those inside Dify's engine; ARGS="-k name" goes to pytest
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m pytest --ignore=tests/dify --ignore=tests/browser $(if $(COMFYUI_URL),,-n $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )) --dist worksteal) $(ARGS)

check: ## Lint, formatting, types, import rules
	@python="$$(scripts/venv.sh plugin test,check)" && scripts/check.sh "$$python"

test-dify: ## The tool inside Dify's workflow engine (graphon; about 900 MB; Python 3.12 or later)
	@plugin="$$(scripts/venv.sh plugin plugin)" && engine="$$(scripts/venv.sh dify dify 3.12 3.13)" && \
	COMFYBRIDGE_PLUGIN_PYTHON="$$plugin" exec "$$engine" -m pytest tests/dify $(ARGS)

test-browser: ## The page of the service in Chromium; COMFYBRIDGE_BROWSER=/path/to/chromium where none is found
	@python="$$(scripts/venv.sh plugin test,browser)" && exec "$$python" -m pytest tests/browser $(ARGS)

test-live: ## The contract tests against a real ComfyUI: make test-live COMFYUI_URL=http://127.0.0.1:8188
	@if [ -z "$$COMFYUI_URL" ]; then echo "Say which server: make test-live COMFYUI_URL=http://127.0.0.1:8188" >&2; exit 2; fi
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m pytest -m contract --ignore=tests/dify --ignore=tests/browser $(ARGS)

bench: ## Measure
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m bench $(ARGS)

table: ## Write the table of templates into docs/templates.md
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" scripts/library_table.py

examples: ## Write the example apps into examples/*.yml
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m scripts.examples

faults: ## Every fault at every stage of a job; ARGS="-k reset", "--repeat 5", "--write" (the table in README.md)
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m tests.faults $(ARGS)

crashes: ## Processes of the service killed under load, nothing lost: ARGS="--kills 100 --jobs 1000 --seed 1", "--s3"
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m tests.service.crashes $(ARGS)

package: ## dist/comfybridge-<version>.difypkg, ready to upload to Dify
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m scripts.package

release-check: ## What Dify's marketplace does: install the package alone on Python 3.12, start it serverless, call it
	@python="$$(scripts/venv.sh plugin test 3.12)" && exec "$$python" -m scripts.release_check

troubleshooting: ## Write docs/troubleshooting.md and its Chinese page from the sentences in the code
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m scripts.troubleshooting

pictures: ## Make the pictures of the documentation, by calls of the plugin's process on the simulator
	@python="$$(scripts/venv.sh plugin test)" && exec "$$python" -m scripts.pictures

service-pictures: ## Make the pictures of the service's page; needs a Chromium as `make test-browser` does
	@python="$$(scripts/venv.sh plugin test,browser)" && exec "$$python" -m scripts.service_pictures

clean: ## Remove what the targets above made, the environments included
	rm -rf .venv-* build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
