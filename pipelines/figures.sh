#!/usr/bin/env bash
# Draws the figures of docs/results.md from results as JSON lines.
#
#   pipelines/figures.sh [FOLDER]      FOLDER has tradeoff.jsonl and steps.jsonl (default: pipelines/results)
set -euo pipefail
. "$(dirname "$0")/common.sh"
results=${1:-$here/pipelines/results}
has() { grep -q "\"study\":\"$1\"" "$results/tradeoff.jsonl"; }
draw() { l0-eval tradeoff "$@" >/dev/null; }

draw "$results/tradeoff.jsonl" --where study=lambda --lines --svg "$results/tradeoff.svg" \
    --x-label "FLOPS: expected terms a query and a document share" --y-label "nDCG@10, mean of the collections"
if has headline; then
    draw "$results/tradeoff.jsonl" --where study=headline --lines --svg "$results/headline.svg" \
        --x-label "FLOPS: expected terms a query and a document share" --y-label "nDCG@10, mean of the collections"
fi
draw "$results/tradeoff.jsonl" --where study=lambda --x lambda --y terms --log --lines --svg "$results/lambda.svg" \
    --x-label "λ" --y-label "terms of a document"
if has threshold; then
    draw "$results/tradeoff.jsonl" --where study=threshold --x threshold --y terms --lines --svg "$results/threshold.svg" \
        --x-label "t, the terms a document may have without paying" --y-label "terms of a document"
fi
if [ -s "$results/steps.jsonl" ]; then
    draw "$results/steps.jsonl" --x step --y terms --lines --svg "$results/steps.svg" \
        --x-label "step" --y-label "terms of a document of the batch"
fi
