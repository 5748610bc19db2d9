# `make` alone prints what there is. Tools of our own are built from the pinned
# modules in tools/*/ into .tools; nothing else is installed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X github.com/baktainer/baktainer/internal/version.Version=$(VERSION)
FUZZTIME ?= 30s
TOOLS := protobuf buf gotestsum golangci-lint grpcurl
stamp = .tools/.$(1).built

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

.PHONY: build
build: ## build the static binary ./baktainer
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o baktainer .

# The same program for Linux, whatever this machine runs.
.PHONY: image
image: export GOOS := linux
image: build ## build the image baktainer:latest
	docker build -q -f deploy/Dockerfile -t baktainer:latest .

.PHONY: demo demo-down
demo: build ## back up, destroy and restore sample databases, with proof
	deploy/demo/demo.sh
demo-down: ## leave nothing of the demo behind
	deploy/demo/down.sh

.PHONY: test test-unit test-e2e
test: build $(call stamp,gotestsum) $(call stamp,grpcurl) ## every test: unit, race, fuzz seeds, real containers, end to end
	deploy/setup/docker.sh
	deploy/setup/python.sh
	deploy/setup/restic.sh
	tools/test.sh unit e2e
test-unit: $(call stamp,gotestsum) ## the tests that need no container, with the race detector
	deploy/setup/restic.sh
	tools/test.sh unit
test-e2e: build $(call stamp,gotestsum) $(call stamp,grpcurl) ## the tests against real containers, and the end-to-end suite
	deploy/setup/docker.sh
	deploy/setup/images.sh
	deploy/setup/python.sh
	tools/test.sh e2e

.PHONY: fuzz cover
fuzz: ## run every fuzz target for FUZZTIME (30s), from the corpus that is kept; KEEP=1 keeps what it finds
	tools/fuzz.sh $(FUZZTIME)
cover: ## coverage of the unit tests, by package
	@mkdir -p .test
	go test -coverprofile=.test/cover.out $$(go list ./... | grep -v /internal/e2e)
	@go tool cover -func=.test/cover.out | tail -n 1

BENCH_ROUNDS ?= 3
BENCH_SCALE ?= 1
BENCH_BIG ?= 1
BENCH_DOCS ?= docs
.PHONY: bench bench-micro
bench: build ## measure beside restic and borg, and write docs/benchmarks.md (BENCH_ROUNDS, BENCH_SCALE, BENCH_BIG)
	internal/bench/peers.sh
	deploy/setup/docker.sh
	deploy/setup/images.sh postgres
	go run ./internal/bench/cmd -rounds $(BENCH_ROUNDS) -scale $(BENCH_SCALE) -big $(BENCH_BIG) -docs $(BENCH_DOCS)
bench-micro: ## measure the parts of the data plane: chunker, hash, frame, pack, known set, inspectors
	go test -run '^$$' -bench . -benchtime 1s ./internal/repo ./internal/engine/...

# The rig needs root. CHAOS takes flags of the rig: see go run ./internal/chaos/cmd -help.
CHAOS ?= -each 1
SCALE ?=
.PHONY: chaos chaos-short chaos-clean scale
chaos: build ## break a cluster on purpose and check what it keeps, for hours (CHAOS='-seed 7 -each 50 -only kill-*')
	deploy/setup/docker.sh
	deploy/setup/images.sh postgres mariadb
	go run ./internal/chaos/cmd $(CHAOS)
chaos-short: build ## a part of it, in three minutes
	deploy/setup/docker.sh
	deploy/setup/images.sh postgres mariadb
	go run ./internal/chaos/cmd -short -for 2m -dump 40000000 $(CHAOS_SHORT)
chaos-clean: ## remove what a fault rig has left behind that was killed itself
	go run ./internal/chaos/cmd clean
scale: build ## measure one leader with a thousand simulated agents and a large ledger (SCALE='-agents 100')
	go run ./internal/scale/cmd $(SCALE)

.PHONY: lint
lint: proto-check docs-check $(call stamp,golangci-lint) ## formatting, vet, golangci-lint, protos, docs, shell scripts
	tools/lint.sh

.PHONY: proto proto-check
proto: $(call stamp,protobuf) $(call stamp,buf) ## generate Go from the protos
	.tools/buf format -w
	.tools/buf generate
proto-check: $(call stamp,protobuf) $(call stamp,buf) ## lint the protos, look for breaking changes and stale Go
	tools/proto-check.sh

.PHONY: docs docs-check
docs: ## regenerate docs/configuration.md
	go run . config docs > docs/configuration.md
docs-check: ## fail when docs/configuration.md is stale
	go run . config docs | diff -u docs/configuration.md - || { echo 'docs/configuration.md is stale: run make docs' >&2; exit 1; }

.PHONY: tools
tools: $(foreach t,$(TOOLS),$(call stamp,$t)) ## build the developer tools into .tools
# One at a time: two of them at once want all the memory of a small machine.
.NOTPARALLEL:
.tools/.%.built: tools/%/go.mod tools/%/go.sum
	cd tools/$* && GOBIN=$(CURDIR)/.tools CGO_ENABLED=0 go install -trimpath tool
	@touch $@

.PHONY: clean
clean: ## remove what make built
	rm -rf baktainer .tools .test
