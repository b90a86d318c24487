#!/usr/bin/env bash
# As parallel.sh, with nothing but xargs: xargs.sh N FOLDER INPUT... [-- OPTION...]
#
# L0_JOBS parts run at a time (2); with L0_GPUS each of these sees one device.
set -euo pipefail
[ $# -ge 3 ] || { echo "xargs.sh: expected N FOLDER INPUT... [-- OPTION...]" >&2; exit 2; }
export L0_SHARDS=$1; shift
L0_PART=$(cd "$(dirname "$0")" && pwd)/part.sh
export L0_PART
seq 0 $((L0_SHARDS - 1)) |
    xargs -P "${L0_JOBS:-2}" --process-slot-var=SLOT -I @@ sh -c '
        [ -z "${L0_GPUS:-}" ] || export CUDA_VISIBLE_DEVICES=$((SLOT % L0_GPUS))
        export L0_SHARD_INDEX=$1; shift
        exec "$L0_PART" "$@"' sh @@ "$@"
