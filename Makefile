# butler-sos: what can be done here. `make` prints this list.

SHELL := /bin/bash
CARGO ?= cargo
CONFIG ?= conf/default.yaml
SECONDS ?= 60
# Where cargo puts what it builds, also when the environment or cargo's own settings say elsewhere.
TARGET = $(shell $(CARGO) metadata --format-version 1 --no-deps 2>/dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

.PHONY: help run build test check fmt deny bench bench-steps instructions fuzz fake-qlik clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: build ## install what the build needs, build, and run with CONFIG (conf/default.yaml)
	$(TARGET)/release/butler-sos run -c $(CONFIG)

build: ## install what the build needs and build the server
	scripts/install build
	$(CARGO) build --release --locked --bin butler-sos

test: ## install what the tests need and run every test
	scripts/install build test
	$(CARGO) build --workspace --bins --locked --features test-panics
	$(CARGO) test --workspace --locked --features test-panics
	scripts/instructions

check: ## formatting, lints, licences and advisories
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	scripts/deny

fmt: ## format the code
	$(CARGO) fmt --all

deny: ## licences, advisories, duplicate versions, sources
	scripts/deny

bench: ## measure the server beside a bare receiver, write docs/performance.md (BENCH="--repeat 1 --seconds 10": quickly)
	scripts/install build
	scripts/bench $(BENCH)

bench-steps: ## what each step of an event costs: parse, encode, journal, outlet
	$(CARGO) bench --package butler-sos-benches --bench events --bench pipeline

instructions: ## the same in processor instructions, held against what is known
	scripts/instructions

fuzz: ## try random input on whatever reads from outside, a minute each (SECONDS=10: for as long)
	scripts/install build
	SECONDS_EACH=$(SECONDS) scripts/fuzz

fake-qlik: ## a stand-in for Qlik Sense (QPS, proxy, images) to try screenshots with
	scripts/install build
	$(CARGO) run --package butler-sos-integration-tests --bin fake-qlik -- --dir ./data/fake-qlik

clean: ## remove what was built
	$(CARGO) clean
