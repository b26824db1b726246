# make help lists what there is.

GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.9.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := $(CURDIR)/.bin

# Narrow a run down with: make test PKGS=./routes/...
PKGS ?= ./...

# Tests run against a Postgres of their own, which ends with them.
WITH_POSTGRES := $(BIN)/withpostgres

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## install what the tests need: Postgres, Chromium, Node, Python, a C compiler
	@scripts/setup.sh

.PHONY: build
build: ## build ./relay, static
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o relay ./cmd/relay

# The two proofs are modules of their own; what only they need stays out of relay's.
PROOFS := chaos bench

.PHONY: test
test: setup withpostgres ## run all tests, with the race detector
	$(WITH_POSTGRES) go test -race -shuffle=on -timeout 20m $(PKGS)
ifeq ($(PKGS),./...)
	for m in $(PROOFS); do (cd $$m && $(WITH_POSTGRES) go test -shuffle=on -timeout 10m ./...) || exit; done
endif

.PHONY: lint
lint: tools ## vet, lint, and look for known vulnerabilities
	for m in . $(PROOFS); do (cd $$m && go vet ./... && $(BIN)/golangci-lint run ./...) || exit; done
	scripts/govulncheck.sh $(BIN)/govulncheck ./...

.PHONY: bench
bench: setup withpostgres ## race relay against bare loops and Watermill, then run all benchmarks
ifeq ($(PKGS),./...)
	cd bench && $(WITH_POSTGRES) go run .
endif
	$(WITH_POSTGRES) go test -run '^$$' -bench . -timeout 60m $(PKGS)

# How much of make chaos: RUN=name[,name] for some scenarios, SEEDS for runs of each,
# SEED for the first seed, SOAK for how long the soak goes on, RECORD=1 to write what
# came of it into docs/reliability.md.
RUN   ?= all
SEEDS ?= 1
SOAK  ?= 30m

.PHONY: chaos
chaos: setup withpostgres ## break relay and all around it, and count what became of each message
	cd chaos && CHAOS_RUN=$(RUN) CHAOS_SEEDS=$(SEEDS) CHAOS_SEED=$(SEED) CHAOS_SOAK=$(SOAK) CHAOS_RECORD=$(RECORD) \
		$(WITH_POSTGRES) go test -v -count=1 -timeout 0 -run TestChaos .

.PHONY: run
run: ## start relay with a sample routes file, receiver and traffic
	go run ./cmd/relay dev

.PHONY: clean
clean: ## remove what was built
	rm -rf relay $(BIN)

.PHONY: withpostgres
withpostgres:
	@go build -buildvcs=false -o $(WITH_POSTGRES) ./internal/testkit/withpostgres

.PHONY: tools
tools:
	@$(call install,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION))
	@$(call install,govulncheck,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK_VERSION))

# install PROGRAM,PACKAGE,VERSION installs a tool unless it is there in that version.
define install
go version -m $(BIN)/$(1) 2>/dev/null | grep -qw '$(3)' || \
	{ echo 'installing $(1) $(3)'; GOBIN=$(BIN) GOFLAGS= go install $(2)@$(3); }
endef
