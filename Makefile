# The README's two commands are `go run ./cmd/gatehouse dev` and `make test`; `make help` lists the
# targets that contributors need beside them.

TOOL := go tool -modfile=tools/go.mod
BUF  := $(TOOL) buf

# What the contract must stay compatible with: itself before its last change.
BREAKING_AGAINST ?= .git\#ref=$(shell git log --format=%H -2 -- proto | tail -n 1)

FUZZTIME ?= 10s

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The directories of the Go modules with tests. All but the first are apart, so that what they depend
# on is not required of programs that import the library.
MODULES := $(dir $(wildcard go.mod bench/go.mod deploy/go.mod e2e/go.mod))

.PHONY: help test unit check lint api tidy generate generated contract lint-proto setup release bench bench-cpu fuzz proof faults

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | sort | awk -F'|' '{printf "%-10s %s\n", $$1, $$2}'

test: setup check ## what CI runs: set-up, check, and all tests with the race detector
	GOTESTFLAGS=-race tools/gotest $(MODULES)

unit: ## tests without browser and foreign providers, without the race detector
	tools/gotest $(filter-out e2e/,$(MODULES))

setup: ## installs what the tests need, or names what is missing
	tools/setup

check: lint-proto generated ## formatting, vet, rules of the .proto files, stale generated files, the API
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	for module in $(MODULES); do go vet -C $$module ./... && go vet -C $$module -tags proof ./... || exit 1; done
	go vet -C tools ./...
	@if [ -e examples/starter/go.mod ]; then go vet -C examples/starter ./...; fi
	tools/api --check

lint: ## golangci-lint in every module; builds it first, which takes minutes
	for module in $(MODULES); do go run -C $$module $(GOLANGCI) run --config $(CURDIR)/.golangci.yaml || exit 1; done

api: ## compares the Go API with the last release; writes docs/api-changes.md
	tools/api

tidy: ## updates the go.mod and go.sum of every module
	for module in $(MODULES) tools; do go mod tidy -C $$module || exit 1; done

lint-proto:
	$(BUF) lint
	$(BUF) breaking --against '$(BREAKING_AGAINST)'

generate: contract ## prints imported .proto files; generates gen/, clients, docs/configuration.md
	go run ./cmd/gatehouse reference >docs/configuration.md
	go run ./cmd/gatehouse metrics >docs/metrics.md

# What is made of the .proto files. buf empties gen/ first, so that the OpenAPI
# document, which the linked code describes, comes last.
contract:
	cd tools && go run ./printproto ../third_party/proto
	$(BUF) generate
	$(BUF) build proto --exclude-imports --as-file-descriptor-set -o cmd/gatehouse/comments.binpb
	mkdir -p gen/openapi && go run ./cmd/gatehouse openapi >gen/openapi/openapi.json
	@if [ ! -e client/typescript/package.json ]; then exit; fi; \
	if command -v npm >/dev/null; then go run ./cmd/gatehouse typescript --only connect,rest --out client/typescript/gen; \
	else echo "Note: client/typescript/gen was not generated. To generate it, install Node.js 20 or newer with npm." >&2; fi
	tools/browser
	@if command -v npm >/dev/null; then for out in examples/spa/src/gen examples/nextjs/gen; do \
		if [ -e $$out ]; then go run ./cmd/gatehouse typescript --only browser --out $$out || exit 1; fi; done; fi
	@if [ -e examples/starter/Makefile ] && command -v npm >/dev/null; then $(MAKE) --no-print-directory -C examples/starter generate; fi

# Generates into the tree and fails if that changed anything.
generated: contract
	@stale=$$(git status --porcelain -- gen third_party cmd/gatehouse/comments.binpb client/typescript client/browser examples); \
	if [ -n "$$stale" ]; then echo "stale; run make generate and commit:"; echo "$$stale"; exit 1; fi

release: ## the archives of VERSION=v1.2.3 in dist/, the same bytes on any machine (docs/install.md)
	tools/release '$(VERSION)'

bench: ## the benchmarks
	for module in $(MODULES); do go test -C $$module -run '^$$' -bench . -benchmem ./... || exit 1; done

bench-cpu: ## what a request costs beside a bare handler and other products (docs/benchmarks.md)
	go run -C bench .

fuzz: ## each fuzz target for FUZZTIME (10s)
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

proof: setup ## the long tests (faults, matrices, frameworks); writes docs/proof.md
	tools/proof

faults: setup ## an installation under load through faults; writes the table of docs/operations.md
	tools/faults
