# What the pipelines share; sourced, not run.

# The programs: those of a release build if there is one, else of the last build, else on PATH.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for folder in "$here/target/release" "$here/target/debug"; do
    if [ -x "$folder/l0-encode" ]; then PATH="$folder:$PATH"; break; fi
done
command -v l0-encode >/dev/null || { echo "expected the l0 programs: run make first" >&2; exit 1; }

# search NAME QUERIES QRELS INDEX-OPTIONS... < VECTORS: index, query, measure; a line of the table.
search() {
    local name=$1 queries=$2 qrels=$3; shift 3
    l0-index - -o "$work/$name.l0x" --quiet "$@"
    l0-query "$work/$name.l0x" "$queries" -k 1000 --format trec --run-name "$name" -o "$work/$name.run" --quiet
    measure "$name" "$qrels"
}

# measure NAME QRELS: one line of the table from NAME's run.
measure() {
    l0-eval "$2" "$work/$1.run" -m nDCG@10 -m RR@10 -m R@100 --format jsonl --quiet |
        awk -v name="$1" -F'"value":' '{ sub(/}.*/, "", $2); value[NR] = $2 }
            END { printf "%-28s %8.4f %8.4f %8.4f\n", name, value[1], value[2], value[3] }'
}

header() { printf '%-28s %8s %8s %8s\n' "$1" nDCG@10 RR@10 R@100; }
