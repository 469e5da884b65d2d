# butler-sos: what can be done here. `make` prints this list.

SHELL := /bin/bash
CARGO ?= cargo
CONFIG ?= conf/default.yaml
SECONDS ?= 60
# Where cargo puts what it builds.
TARGET = $(shell CARGO='$(CARGO)' scripts/target-directory 2>/dev/null)

.PHONY: help run build test check fmt deny bench bench-steps instructions fake-qlik package package-test sbom outages torture soak fuzz clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: build ## install what the build needs, build, and run with CONFIG (conf/default.yaml)
	$(TARGET)/release/butler-sos run -c $(CONFIG)

build: ## install what the build needs and build the server
	scripts/install build
	$(CARGO) build --release --locked --bin butler-sos

test: ## install what the tests need and run every test
	scripts/install build test package
	$(CARGO) build --workspace --bins --locked --features test-panics
	$(CARGO) test --workspace --locked --features test-panics
	scripts/instructions
	scripts/package-test

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

torture: ## kill the server 200 times under load and compare ids at every destination (TORTURE="--rounds 20 --seed 1")
	scripts/install build test
	$(CARGO) build --workspace --bins --locked --features test-panics
	$(TARGET)/debug/torture $(TORTURE)

soak: MINUTES ?= 60
soak: ## run for MINUTES (60) with every destination; does anything grow? (SOAK="--rate 500 --audits 5")
	scripts/install build test
	$(CARGO) build --release --locked --bin butler-sos
	$(CARGO) build --release --locked --package butler-sos-integration-tests --bin soak
	$(TARGET)/release/soak --minutes $(MINUTES) $(SOAK)

fuzz: ## try random input on whatever reads from outside, a minute each (SECONDS=10: for as long)
	scripts/install build
	SECONDS_EACH=$(SECONDS) scripts/fuzz

fake-qlik: ## a stand-in for Qlik Sense (QPS, proxy, images) to try screenshots with
	scripts/install build
	$(CARGO) run --package butler-sos-integration-tests --bin fake-qlik -- --dir ./data/fake-qlik

package: ## the Debian package, into <target>/debian
	scripts/install build package
	scripts/package

package-test: ## a package of what tests run: installed, run, upgraded, removed and purged in a Debian of its own
	scripts/install build package
	scripts/package-test

sbom: ## every crate in the program with its licence, as CycloneDX, into <target>/sbom
	scripts/sbom

# How long everything is away, and how many user events come each second meanwhile.
RATE ?= 200
outages: MINUTES ?= 10
outages: ## everything that the server speaks to is away for MINUTES (10), RATE (200) events a second; figures at the end
	scripts/install build test
	$(CARGO) build --workspace --bins --locked --features test-panics
	BUTLER_SOS_OUTAGE_SECONDS=$$(( $(MINUTES) * 60 )) BUTLER_SOS_OUTAGE_RATE=$(RATE) \
	  $(CARGO) test --workspace --locked --features test-panics --test it outages::all_at_once -- --nocapture

clean: ## remove what was built
	$(CARGO) clean
