# make help lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
PLAYGROUND := bin/playground
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# The race detector needs a C compiler.
RACE ?= $(if $(shell command -v $${CC:-gcc} || command -v cc),-race)
export DEMO_SECONDS SEED
# Apache Kafka needs Maven to be fetched and Java to run; without them tests of the
# Kafka sink use an in-process broker, and say so.
KAFKA := bin/kafka
export TIDBCDC_KAFKA_LIB ?= $(abspath $(KAFKA))
REGISTRY := bin/registry
export TIDBCDC_REGISTRY_LIB ?= $(abspath $(REGISTRY))

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

.PHONY: demo
demo: $(PLAYGROUND) ## show changes flowing from a TiDB that this starts itself; DEMO_SECONDS=n ends it after n seconds
	@CGO_ENABLED=0 $(GO) build -o bin/ ./examples/demo ./cmd/cdc
	@exec bin/demo -playground $(PLAYGROUND) -cdc bin/cdc

.PHONY: test
test: servers ## run all tests, with the real servers that there are; SEED=n repeats a workload
	@echo "race detector: $(if $(RACE),on,off, for want of a C compiler)"
	TIDBCDC_PLAYGROUND=$(abspath $(PLAYGROUND)) $(GO) test $(RACE) -count=1 -timeout 40m ./...
	cd examples/playground && $(GO) test -count=1 -timeout 20m ./...

# Which of them are there is only known when the first have been installed.
.PHONY: servers
servers: $(PLAYGROUND) ## get the servers that tests use: TiDB, MariaDB, Kafka; as root on Debian, install what is missing
	@.ci/servers
	@if command -v mvn >/dev/null && command -v java >/dev/null; then $(MAKE) --no-print-directory $(KAFKA) $(REGISTRY); fi

.PHONY: soak
soak: $(PLAYGROUND) ## random workloads and faults for SECONDS=n (60) in all; SEED=s repeats one
	SOAK_SECONDS=$$(($(or $(SECONDS),60) / 3)) $(GO) test $(RACE) -count=1 -timeout 0 -v -run TestNemesis ./cdc/cdctest
	SOAK_SECONDS=$$(($(or $(SECONDS),60) / 3)) $(GO) test -count=1 -timeout 0 -v -run 'TestBigTransaction$$' ./cdc/cdctest
	TIDBCDC_PLAYGROUND=$(abspath $(PLAYGROUND)) SOAK_SECONDS=$$(($(or $(SECONDS),60) / 3)) \
		$(GO) test $(RACE) -count=1 -timeout 0 -v -run 'TestEveryChangeArrives|TestKilledConsumer|TestReplica' ./internal/e2e

.PHONY: check
check: ## format, vet, lint, import rules, tidy
	$(GO) run $(GOLANGCI) fmt --diff
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run
	$(GO) test -count=1 ./internal/lint
	$(GO) mod tidy -diff
	cd examples/playground && $(GO) vet ./...
	@! $(GO) list -m all | grep -E '^github.com/pingcap/tidb ' || { echo "the root module must not depend on TiDB itself"; exit 1; }

# The table's figures are of one core; those of a real TiDB follow it.
BENCHMARKS := ./cdc ./filter ./dispatcher ./internal/sorter ./internal/puller ./internal/perf ./sink/codec/...
.PHONY: bench
bench: $(PLAYGROUND) ## ns and allocations per row of every stage on one core, next to TiCDC's; then with real servers
	TIDBCDC_PLAYGROUND=$(abspath $(PLAYGROUND)) && export TIDBCDC_PLAYGROUND && { \
		$(GO) test -run '^$$' -bench . -benchmem -cpu 1 -timeout 60m $(BENCHMARKS); \
		$(GO) test -run '^$$' -bench . -benchtime 3x -timeout 30m ./internal/e2e; } | $(GO) run ./internal/perf/table
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./internal/pipeline
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./sink/mysql ./sink/kafka

.PHONY: playground
playground: $(PLAYGROUND) ## build the playground: TiDB, PD and TiKV's protocol in one process

$(KAFKA): internal/kafkabroker/pom.xml
	@echo "fetching Apache Kafka from Maven Central: about 90 MB"
	@mvn -B -q -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(abspath $@)
	@test -d $@ && touch $@

$(REGISTRY): internal/kafkabroker/registry/pom.xml
	@echo "fetching the schema registry Apicurio from Maven Central: about 140 MB"
	@mvn -B -q -f $< dependency:unpack-dependencies -DincludeScope=runtime -DoutputDirectory=$(abspath $@) -DmarkersDirectory=$(abspath $@)/markers
	@test -d $@ && touch $@

# The binary is built anew when a source file of the playground has changed.
PLAYGROUND_SOURCES := $(shell find examples/playground -name '*.go' -not -name '*_test.go') examples/playground/go.mod examples/playground/go.sum
$(PLAYGROUND): $(PLAYGROUND_SOURCES)
	@echo "building the playground: the first time this compiles TiDB, about 2000 packages, which takes several minutes"
	@mkdir -p bin
	@cd examples/playground && $(GO) build -v -o ../../$@ ./cmd/playground 2>&1 \
		| awk '/^go: downloading/ { if (++d % 50 == 0) { printf "  %d modules downloaded\n", d; fflush() } next } \
		       /^[a-z0-9.-]+[a-zA-Z0-9_.\/-]*$$/ { if (++n % 100 == 0) { printf "  %d packages compiled\n", n; fflush() } next } { print }'
	@touch $@
