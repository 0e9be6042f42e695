.PHONY: generate
PY := .venv/bin/python
PROTOS := $(shell cd protos && find workspace third_party/buf -name '*.proto' | sed 's,^third_party/,,' | sort)
GEN := protos/gen/python

generate: ## Generate the Python stubs from protos/ into protos/gen/python
	rm -rf protos/gen/.next && mkdir -p protos/gen/.next $(GEN)
	cd protos && PATH=$(CURDIR)/.venv/bin:$$PATH $(CURDIR)/$(PY) -m grpc_tools.protoc -I. -Ithird_party \
	  --python_out=gen/.next --grpc_python_out=gen/.next \
	  --mypy_out=quiet:gen/.next --mypy_grpc_out=quiet:gen/.next $(PROTOS)
	find protos/gen/.next -name '*_pb2_grpc.py' | xargs grep -L 'class .*Stub' | sed 'p;s/$$/i/' | xargs rm -f
	cd protos/gen && cp -R .next/. python/ && (cd python && find . -type f -name '*_pb2*' ) | while read f; do [ -e .next/$$f ] || rm -f python/$$f; done; rm -rf .next
