# The door to everything: `make help` lists it. Targets are thin; what is longer than a line lives in scripts/.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# The steps of `check` share cargo's lock and two cores: one after the other, also under -j.
.NOTPARALLEL:
.PHONY: help run demo test e2e check bench mutants tools clean fmt fmt-check lint proto proto-lint proto-breaking deny advisories typos docs \
	machine chart shell model simulate dashboards image

export PATH := $(CURDIR)/.tools/bin:$(PATH)
TOOLS := scripts/tools.sh

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build breakerd and start it on SQLite, with breakerd.toml
	cargo run --profile quick -- serve --config breakerd.toml --log-format text

demo: ## watch circuits open and close: breakerd, two incident managers, services that fail; PAUSE=1 waits between the acts
	@PAUSE='$(PAUSE)' scripts/demo.sh

test: ## run every test, on SQLite and on a throw-away Postgres; ends with the total
	@$(TOOLS) promtool grpcurl jq sqlite3
	@scripts/test.sh

e2e: ## run the heavy suites: the demo, clients in Go, Node, Java, Python, Rust, versions of Postgres, the chart in Kubernetes; ends with the total
	@scripts/e2e.sh

check: fmt-check typos shell proto-lint chart deny machine lint docs ## everything that must hold before a change goes in, but the tests

bench: ## run the benchmarks, the service under h2load among them
	@$(TOOLS) h2load
	scripts/with-postgres.sh cargo bench --workspace

mutants: ## does a test fail when the code is changed? OF=breaker (default), judge, journal or engine; takes long
	@$(TOOLS) cargo-mutants
	@scripts/mutants.sh $(OF)

tools: ## install the tools that check and test use into .tools/ (they do so themselves)
	@$(TOOLS)

clean: ## remove what was built; tools and data stay
	cargo clean

fmt: ## format the Rust code
	cargo fmt --all

fmt-check: ## is the Rust code formatted?
	cargo fmt --all --check

lint: ## clippy, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings

proto: ## write the Rust code for proto/, which is checked in (make test compares it)
	BREAKERD_WRITE_GENERATED=1 cargo test -q -p breakerd-api --test generated

proto-lint: ## buf's STANDARD and COMMENTS rules on proto/
	@$(TOOLS) buf
	buf lint

proto-breaking: ## does proto/ break clients of the main branch?
	@$(TOOLS) buf
	buf breaking --against '.git#branch=main'

deny: ## licences, banned crates, sources
	@$(TOOLS) cargo-deny
	cargo deny --log-level error check bans licenses sources

advisories: ## known vulnerabilities in the dependencies; apart from check, as it needs the network
	@$(TOOLS) cargo-deny
	cargo deny check advisories

typos: ## spelling
	@$(TOOLS) typos
	typos

docs: ## the documentation of the code, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace

machine: ## the breaker crate builds alone and depends on nothing
	cargo build -p breakerd-machine
	@scripts/machine-alone.sh

simulate: ## run replicas on a bad network from seeds: SEEDS=10000 of them for each TEST, from FIRST=0 on, of REPLICAS if that is set, in JOBS=1 processes
	$(if $(REPLICAS),BREAKERD_REPLICAS=$(REPLICAS)) scripts/simulate.sh $(or $(FIRST),0) $(or $(SEEDS),10000) $(or $(JOBS),1) $(TEST)

model: ## explore the model of the replication protocol whole, and print the tables of docs/replication.md; takes minutes and gigabytes
	cargo run --release -p breakerd-protocol-model

chart: ## lint and render the Helm chart
	@$(TOOLS) helm
	scripts/chart.sh

dashboards: ## write the Grafana dashboards of the chart from dashboards/src; needs Node.js
	scripts/dashboards.sh

image: ## build the image with podman, buildah or docker; PLATFORMS=linux/amd64,linux/arm64 for both
	@scripts/image.sh

shell: ## shellcheck on the scripts
	@$(TOOLS) shellcheck
	shellcheck scripts/*.sh tests/e2e/*/*.sh examples/*/*.sh .ci/run
