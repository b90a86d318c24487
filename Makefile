# The two commands of a newcomer: make demo, make test.

.PHONY: all cuda demo test check bench install help

all: ## build the five programs, optimised
	cargo build --release

cuda: ## the same for CUDA devices, without a toolkit too, and an archive to carry (target/l0-cuda.tar.xz)
	.ci/cuda/build.sh

demo: ## encode, index, query and judge the demo collection
	cargo build
	pipelines/demo.sh

test: ## run all tests
	cargo test --quiet

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
