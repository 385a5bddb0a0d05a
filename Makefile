# The verbs of the project. `make run` and `make test` need nothing but Python 3.11+, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROTOS := $(wildcard proto/ragline/v1/*.proto)
GENERATED := ragline/v1/__init__.py
PASSAGES ?= 100000
KILLS ?= 20
STORE_KILLS ?= 200

.PHONY: run test servers clients check format proto lock env-example bench bench-retrieval eval chaos clean help

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: $(VENV)/.default $(GENERATED)  ## set up and start everything on http://127.0.0.1:8000
	$(BIN)/ragline models pull
	$(BIN)/ragline up

test: $(VENV)/.dev $(GENERATED) servers clients  ## every test that needs no extra
	$(BIN)/ragline models pull
	$(BIN)/pytest --numprocesses auto --dist loadfile

servers:  ## install Redis, RabbitMQ, NGINX, Chromium and kustomize for the tests, where that may be done
	tests/servers/install
	tests/deploy/install $(BIN)

clients: .venv-clients/.done  ## install LangChain and LlamaIndex, whose clients tests/stack holds the dialects to

.venv-clients/.done: tests/clients/requirements.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	touch $@

check: $(VENV)/.dev $(GENERATED)  ## secrets, lint, format, types, import rules
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(GENERATED)  ## build the gRPC code from proto/

bench: $(VENV)/.dev $(GENERATED)  ## load measurements, as ratios against named limits
	$(BIN)/ragline models pull
	$(BIN)/python -m bench

bench-retrieval: $(VENV)/.dev $(GENERATED)  ## search at size (PASSAGES) beside the bare engines and other projects
	$(BIN)/ragline models pull
	$(BIN)/python -m bench retrieval --passages $(PASSAGES)

eval: $(VENV)/.dev $(GENERATED)  ## quality measurements; EVAL_DATA names a folder of BEIR-layout sets
	$(BIN)/ragline models pull
	$(BIN)/python -m eval $(EVAL_DATA)

chaos: $(VENV)/.dev $(GENERATED)  ## kill -9 the suite (KILLS) and a retriever (STORE_KILLS) at random moments
	$(BIN)/ragline models pull
	$(BIN)/python -m tests.chaos --kills $(KILLS)
	$(BIN)/python -m tests.retriever.chaos --kills $(STORE_KILLS)

env-example: $(VENV)/.dev $(GENERATED)  ## write .env.example from the Settings classes
	$(BIN)/python -m tests.env_example > .env.example

lock: $(VENV)/.dev  ## write constraints.txt from what is installed now
	$(PIP) install --quiet --editable ".[torch,s3]"
	$(PIP) freeze --all --exclude-editable | sed -E 's/\+cpu$$//' | grep -v -e ' @ ' -e '^-e' > constraints.txt

clean:  ## remove the environment, what was generated and caches; documents in .ragline stay
	rm -rf $(VENV) .venv-clients ragline/v1 *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Ragline needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --upgrade pip

$(VENV)/.default: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable . --group all --group build
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]" --group all --group build
	touch $@ $(VENV)/.default

$(GENERATED): $(PROTOS) | $(BIN)/python
	@test -e $(VENV)/.default || $(MAKE) $(VENV)/.default
	mkdir -p $(@D)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. \
	  --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)
	printf '"""Built from proto/ by make proto; never edited."""\n' > $@
