PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard proto/ragline/v1/*.proto)

.PHONY: proto
proto: ragline/v1/__init__.py

ragline/v1/__init__.py: $(PROTOS)
	mkdir -p ragline/v1
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. \
	  --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)
	printf '"""Built from proto/ by make proto; never edited."""\n' > $@
