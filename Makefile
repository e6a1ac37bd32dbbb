# The two commands a newcomer needs are in the README: `go run ./cmd/gatehouse dev`
# and `make test`. The others here are for those who change the project.

TOOL := go tool -modfile=tools/go.mod
BUF  := $(TOOL) buf

.PHONY: generate lint-proto

# Prints the imported .proto files, generates gen/ and nothing by hand.
generate:
	cd tools && go run ./printproto ../third_party/proto
	$(BUF) generate

lint-proto:
	$(BUF) lint
