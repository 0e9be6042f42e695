# `make run` and `make test` are all a user needs; `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
GEN := protos/gen/python
PROTOS := $(shell cd protos && find workspace third_party/buf -name '*.proto' | sed 's,^third_party/,,' | sort)
GENERATED := $(GEN) docs/api docs/data-identity-model.md docs/operations/configuration.md docs/operations/access-matrix.md services/http/openapi/comments.json
PACKAGES := services identity_svc project_svc storage_svc sync_svc
ON_ANY_STORE := tests/integration tests/security tests/worlds tests/contract tests/unit/events

.PHONY: help run test test-postgres test-aws test-azure test-security test-docker servers images fixture simulate check lint types contracts generate clients generated imports secrets audit sbom bench lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

run: $(VENV)/.runtime ## Start the whole workspace on this machine (creates the environment first)
	@$(VENV)/bin/wm serve

test: $(VENV)/.dev servers ## Run every test; ends with pytest's summary
	WM_CASES=check $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/docker

test-postgres: $(VENV)/.dev ## Run the tests of the whole workspace with the records on PostgreSQL
	WM_TEST_RECORDS=postgresql $(PY) -m pytest -n 2 --dist loadfile $(ON_ANY_STORE)

test-aws: $(VENV)/.dev servers ## Run them on DynamoDB and S3 (DynamoDB Local and versitygw; needs Java, Maven and Go)
	WM_TEST_RECORDS=dynamodb WM_FAULT_SCHEDULES=1000 $(PY) -m pytest -n 2 --dist loadfile $(ON_ANY_STORE) tests/durability/aws

test-azure: $(VENV)/.dev servers ## Run them on Cosmos DB and Blob Storage (a fake of ours and Azurite; needs npm)
	WM_TEST_RECORDS=cosmos WM_FAULT_SCHEDULES=1000 $(PY) -m pytest -n 2 --dist loadfile $(ON_ANY_STORE) tests/durability/azure

test-security: $(VENV)/.dev servers ## Run every test of security and write docs/operations/security-cases.md
	WM_CASES=write $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/docker

test-docker: $(VENV)/.dev servers ## Build the images and test the composed stack (needs Docker, or root on Debian)
	$(PY) -m tests.docker.compose && $(PY) -m pytest -n 0 tests/docker

images: ## Build the container image and its bill of materials (needs Docker)
	deploy/docker/build.sh

servers: $(VENV)/.dev ## Make the servers that tests of clouds talk to, as far as this machine can
	@$(PY) -m tests.servers.tools

fixture: $(VENV)/.dev ## Data of a release for the upgrade tests (NAME=azure COMMIT=cdb99fe)
	$(PY) -m tests.upgrade.make_fixture $(NAME) $(COMMIT)

simulate: $(VENV)/.dev servers ## 10,000 random schedules of sync, and a fiftieth of them on each cloud (WM_SIM_SEEDS, WM_SIM_FIRST)
	WM_SIM_SEEDS=$${WM_SIM_SEEDS:-10000} $(PY) -m pytest -n 2 --dist loadfile tests/simulation/test_schedules_*.py

check: lint types contracts generated imports secrets audit ## Everything of CI but the tests

lint: $(VENV)/.dev ## Style
	$(VENV)/bin/ruff check .

types: $(VENV)/.dev ## Static types
	$(VENV)/bin/mypy $(PACKAGES)

contracts: $(VENV)/.dev ## buf lint, and buf breaking against the main branch
	cd protos && ../$(VENV)/bin/buf lint
	@if git rev-parse -q --verify origin/main >/dev/null; then base=origin/main; else base=main; fi; \
	if git cat-file -e $$base:protos/buf.yaml 2>/dev/null; then \
	  cd protos && ../$(VENV)/bin/buf breaking --against "../.git#ref=$$base,subdir=protos"; \
	fi

generate: $(VENV)/.dev ## Python stubs and the API reference from protos/
	rm -rf protos/gen/.next && mkdir -p protos/gen/.next $(GEN)
	@cd protos && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(CURDIR)/$(PY) -m grpc_tools.protoc -I. -Ithird_party \
	  --python_out=gen/.next --grpc_python_out=gen/.next \
	  --mypy_out=quiet:gen/.next --mypy_grpc_out=quiet:gen/.next \
	  --include_imports --include_source_info --descriptor_set_out=gen/.descriptors $(PROTOS)
	@cd protos && find workspace -name '*_service_config.json' | while read -r f; do cp "$$f" "gen/.next/$$f"; done
	@find protos/gen/.next -name '*_pb2_grpc.py' | xargs grep -L 'class .*Stub' | sed 'p;s/$$/i/' | xargs rm -f
	@cd protos/gen && cp -R .next/. python/ && (cd python && find . -type f '(' -name '*_pb2*' -o -name '*_service_config.json' ')') | \
	  while read -r f; do [ -e ".next/$$f" ] || rm -f "python/$$f"; done; rm -rf .next
	@$(PY) protos/reference.py protos/gen/.descriptors docs/api
	@$(PY) protos/comments.py protos/gen/.descriptors services/http/openapi/comments.json
	@rm -f protos/gen/.descriptors
	@$(PY) -m services.model.reference > docs/data-identity-model.md
	@$(PY) -m services.config_reference > docs/operations/configuration.md
	@$(PY) -m tests.security.matrix_page > docs/operations/access-matrix.md

clients: $(VENV)/.dev ## Go, TypeScript and Java clients from protos/ (needs Go, npm, Maven)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash protos/clients/go.sh
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash protos/clients/ts.sh
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash protos/clients/java.sh

generated: generate ## Fails when the committed generated code is not what protos/ say
	git diff --exit-code --stat -- $(GENERATED)
	@test -z "$$(git status --porcelain -- $(GENERATED))" || (git status --porcelain -- $(GENERATED); exit 1)

secrets: $(VENV)/.dev ## Search the repository for secrets
	$(PY) -m tests.hygiene.secrets

audit: $(VENV)/.dev ## Known vulnerabilities of the locked packages (WM_AUDIT=strict fails where nobody can be asked)
	$(PY) -m tests.hygiene.dependencies

sbom: $(VENV)/.dev ## Bill of materials of the Python tree
	$(PY) -m tests.hygiene.bill build/sbom.python.cdx.json

imports: $(VENV)/.dev ## Who may import whom
	$(VENV)/bin/lint-imports

bench: $(VENV)/.dev ## Benchmarks as ratios; results in tests/bench/results
	$(PY) -m tests.bench

lock: $(VENV)/.dev ## Renew the lock files
	$(VENV)/bin/uv pip compile -q pyproject.toml --extra postgres --extra aws --extra azure --extra build --generate-hashes --no-emit-index-url --no-header -o requirements.lock
	$(VENV)/bin/uv pip compile -q pyproject.toml --extra postgres --extra aws --extra azure --extra build --extra dev --generate-hashes --no-emit-index-url --no-header -o requirements-dev.lock

clean: ## Remove the environment and caches, never the data
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "Installing the locked dependencies (once) ..."
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
