#!/usr/bin/env bash
# Merges TREC runs of several shards, one behind the other on standard input, into the best K of each
# query, equal scores in the order of the shards; queries in the order of their ids.
#
#   for shard in a b; do ssh $shard l0-query corpus.l0x queries.jsonl -k 10 --format trec; done | merge_runs.sh 10
set -euo pipefail
LC_ALL=C sort -s -k1,1 -k5,5gr |
    awk -v k="${1:?expected K}" '$1 != qid { qid = $1; rank = 0 } ++rank <= k { $4 = rank; print }'
