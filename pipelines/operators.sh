#!/usr/bin/env bash
# Each operator of the method switched on alone against one baseline (recipes/baseline.toml): same
# start, examples, steps and seed; effectiveness and cost on collections that no run saw.
#
#   pipelines/operators.sh [--set KEY=VALUE ...]     changes go to every run
#
# Takes its examples from target/tiny: run pipelines/tiny.sh first. Runs that are there are not made
# again.   SETS="cranfield med nfcorpus-stripped"   MAX_TOKENS=256
set -euo pipefail
. "$(dirname "$0")/common.sh"
work=$here/target/tiny
[ -f "$work/medquad.parquet" ] || { echo "skipped: want the examples of pipelines/tiny.sh" >&2; exit 0; }
cd "$work"
. "$here/pipelines/zero_shot.sh"

# row NAME CHANGE...: trains the baseline with these changes.
row() {
    local folder=operators/$1$suffix change changes=(); shift
    for change in "$@"; do changes+=(--set "$change"); done
    train baseline.toml "$folder" --quiet "${changes[@]}" "${given[@]}"
    zero_shot "$folder" ${SETS:-cranfield med nfcorpus-stripped} | tail -n +"$header"
    header=2
}
given=("$@") header=1 suffix=
[ $# -eq 0 ] || suffix=-$(printf '%s ' "$@" | cksum | cut -d' ' -f1)
mkdir -p operators
loss='loss = [{ kind = "kl", teacher_scale = 30.0 }], batch = 16, documents = 2, warmup = 40'
flops='regularizer = { kind = "flops", lambda = 0.05, ramp = 200 }'
row flops
row l0-activation model.activation=2
row l0-mask 'stage.0.regularizer={ kind = "l0_mask", lambda = 0.05, ramp = 200, threshold = 120 }'
row hard-threshold 'stage.0.threshold={ width = 0.1, init = 0.05, lr = 1e-3, count = 1e-3 }'
row two-stages "stage=[{ name = \"dense\", steps = 150, schedule = \"constant\", $loss },
    { name = \"sparse\", steps = 150, $loss, $flops }]"
row learned-table query.kind=learned query.lr=1e-2
