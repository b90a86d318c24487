#!/usr/bin/env bash
# Builds the five programs static, packs them with manual pages and completions, and runs the demo from
# the archive in an empty root:
#
#   .ci/release.sh [TARGET]       default x86_64-unknown-linux-musl; leaves target/dist/*.tar.gz, SHA256SUMS
#
# Wants what `rustup target add x86_64-unknown-linux-musl` installs, and musl-gcc (Debian's musl-tools) or another
# C compiler for musl, named by CC_x86_64_unknown_linux_musl.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-x86_64-unknown-linux-musl}
programs=(l0-encode l0-eval l0-index l0-query l0-train)
if ! rustc --print target-libdir --target "$target" | xargs test -d; then
    echo "release.sh: expected the standard library of $target: rustup target add $target" >&2
    exit 1
fi
cargo build --release --locked --bins --target "$target"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
name=l0-$version-$target
dist=target/dist # of this script alone
rm -rf target/dist
mkdir -p "$dist/$name/bin"
.ci/pages.sh "target/$target/release" "$dist/share"
cp -r "$dist/share" "$dist/$name/share"
mkdir -p "$dist/$name/share/doc/l0"
cp README.md LICENSE-APACHE LICENSE-MIT "$dist/$name/share/doc/l0"
for program in "${programs[@]}"; do cp "target/$target/release/$program" "$dist/$name/bin"; done
# the same bytes for the same commit
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -C "$dist" -cf - "$name" | gzip -9n >"$dist/$name.tar.gz"
(cd "$dist" && sha256sum ./*.tar.gz >SHA256SUMS)
.ci/empty_root.sh "$dist/$name.tar.gz"
ls -l "$dist"/*.tar.gz "$dist/SHA256SUMS"
