# Two commands for a newcomer: `make demo` and `make test`. Both do all set-up themselves.
.PHONY: demo test build lint doc deny crds bench clean

CARGO ?= cargo
SENTEI = target/release/sentei

demo: build ## Prune, prove, canary and promote a real model; then four planted failures, each rolled back.
	examples/demo.sh $(SENTEI)

build:
	$(CARGO) build --release --locked
	$(SENTEI) runtime

test: lint doc deny ## Everything that must hold, on the real ONNX Runtime and over real HTTP.
	$(CARGO) run --locked --quiet -- runtime
	$(CARGO) test --workspace --locked

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

deny: ## Licences, bans and sources of every dependency. Advisories need the network and are not part of the gate.
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check bans licenses sources; \
	elif [ "$$CI" = true ]; then echo "cargo-deny is missing: .ci/run installs it" >&2; exit 1; \
	else echo "SKIPPED: cargo-deny is not installed (cargo install cargo-deny --locked)" >&2; fi

crds: ## Write crds/ and docs/manifest.md again after a change of the types.
	SENTEI_UPDATE=1 $(CARGO) test -p sentei-api --locked

bench: ## Figures that depend on the machine; run on demand, ratios side by side in one run.
	$(CARGO) bench --workspace --locked

clean:
	$(CARGO) clean
