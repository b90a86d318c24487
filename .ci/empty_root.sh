#!/usr/bin/env bash
# Runs the demo from a release archive in a root folder that has nothing but its programs, the demo's three
# files and an empty /tmp: no shell, no libraries, no /proc.
#
#   .ci/empty_root.sh ARCHIVE       wants root, or user namespaces
set -euo pipefail
archive=$(realpath "$1")
cd "$(dirname "$0")/.."
if [ -f "$(dirname "$archive")/SHA256SUMS" ]; then
    (cd "$(dirname "$archive")" && sha256sum --check --quiet --ignore-missing SHA256SUMS)
fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
tar -xzf "$archive" -C "$root" --strip-components 2 --wildcards '*/bin/*'
mkdir "$root/tmp" # l0-index puts there what does not fit into --memory
cp testdata/demo/corpus.jsonl testdata/demo/queries.jsonl testdata/demo/qrels/test.tsv "$root"
inside() {
    if [ "$(id -u)" = 0 ]; then chroot "$root" "$@"; else unshare -r chroot "$root" "$@"; fi
}
for program in "$root"/l0-*; do
    inside "/$(basename "$program")" --version
done
inside /l0-encode /corpus.jsonl --keep-text -o /demo.parquet
inside /l0-index /demo.parquet --order bp -o /demo.l0x
inside /l0-index verify /demo.l0x
inside /l0-query /demo.l0x /queries.jsonl -k 100 -o /demo.run
inside /l0-eval /test.tsv /demo.run -m nDCG@10 -m R@100 --min nDCG@10=0.42
# and as pipes
inside /l0-encode /corpus.jsonl --quiet | inside /l0-index --quiet -o /piped.l0x
echo 'how do ocean tides work' | inside /l0-query /piped.l0x -k 1 | grep -o '"id":"[a-z]*'
