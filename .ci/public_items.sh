#!/usr/bin/env bash
# Counts what a user of the library can name: items, methods, variants and fields, as rustdoc lists them.
# `internal` is hidden and does not count. More than the limit fails: a small surface stays small.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=150
target=${CARGO_TARGET_DIR:-target}
rm -rf "$target/doc/l0"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib --quiet
# all.html lists every item once, under its public path
pages=$(grep -oE 'href="[^"#]*(struct|enum|union|fn|trait|type|constant|static|macro)\.[^"]*\.html"' \
    "$target/doc/l0/all.html" | cut -d'"' -f2 | sed "s,^,$target/doc/l0/,")
items=$(wc -l <<<"$pages")
# methods of the type itself, not of traits it implements; variants; fields of structs and variants
member='id="(method|associatedconstant)\.[^"]*" class="(method|associatedconstant)"|id="(structfield|variant)\.[^"]*"'
members=$(xargs grep -ohE "<section [^>]*($member)|<span id=\"structfield\.|id=\"variant\.[A-Za-z0-9]*\.field\." <<<"$pages" | wc -l)
echo "public items: $((items + members)) of at most $limit ($items pages, $members members)"
[ $((items + members)) -le $limit ]
