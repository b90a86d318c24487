# The two commands of a newcomer: make demo, make test.

.PHONY: all cuda demo test test-all check bench install help

all: ## build the five programs, optimised
	cargo build --release

cuda: ## the same for CUDA devices, without a toolkit too, and an archive to carry (target/l0-cuda.tar.xz)
	.ci/cuda/build.sh

demo: ## encode, index, query and judge the demo collection
	cargo build --bin l0-encode --bin l0-index --bin l0-query --bin l0-eval
	pipelines/demo.sh

test: ## the fast tests: units, examples, fast = slow, golden and broken files, pages
	@echo "== fast tests"
	cargo test --quiet

test-all: test ## the slow tests too: kill and resume, whole programs, training, engines, clusters
	@echo "== slow tests"
	cargo test --quiet --lib --test main -- --ignored

check: ## format, lints, tests, documentation
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	cargo test --quiet && RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib --quiet

bench: ## measure queries, lists, tokens and the encoder on generated data
	cargo bench --bench query --bench engine --bench encode

install: ## put the programs into cargo's bin folder
	cargo install --locked --path .

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
