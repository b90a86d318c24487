#!/usr/bin/env bash
# Holds two methods against each other at equal FLOPS: for each seed each method's points are joined by lines over
# FLOPS, and read at the budgets.
#
#   pipelines/equal_cost.sh RESULTS METHOD BASELINE BUDGET...
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -ge 4 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
results=$1 method=$2 baseline=$3; shift 3
for seed in $(sed -nE 's/.*"study":"headline".*"seed":([0-9]+).*/\1/p' "$results" | sort -nu); do
    for name in "$method" "$baseline"; do
        l0-eval tradeoff "$results" --where study=headline --where seed="$seed" --where method="$name" |
            awk -F'\t' -v seed="$seed" -v which="$([ "$name" = "$method" ] && echo a || echo b)" \
                'NR > 1 { print seed, which, $4, $5 }'
    done
done | awk -v budgets="$*" '
    { count[$1, $2]++; at = count[$1, $2]; cost[$1, $2, at] = $3; worth[$1, $2, at] = $4; seeds[$1] = 1 }
    function value_at(seed, which, budget,   at, share) {   # points ascend by cost; "" outside of them
        for (at = 2; at <= count[seed, which]; at++)
            if (cost[seed, which, at - 1] <= budget && budget <= cost[seed, which, at]) {
                share = (budget - cost[seed, which, at - 1]) / (cost[seed, which, at] - cost[seed, which, at - 1])
                return worth[seed, which, at - 1] * (1 - share) + worth[seed, which, at] * share
            }
        return ""
    }
    END {
        print "FLOPS\tmethod\tbaseline\tdifference\tleast\tmost\tseeds"
        split(budgets, list, " ")
        for (b = 1; b in list; b++) {
            n = a = c = 0; least = 9; most = -9
            for (seed in seeds) {
                x = value_at(seed, "a", list[b]); y = value_at(seed, "b", list[b])
                if (x == "" || y == "") continue
                n++; a += x; c += y
                if (x - y < least) least = x - y
                if (x - y > most) most = x - y
            }
            if (n) printf "%s\t%.4f\t%.4f\t%+.4f\t%+.4f\t%+.4f\t%d\n", list[b], a / n, c / n, (a - c) / n, least, most, n
            else printf "%s\t-\t-\t-\t-\t-\t0\n", list[b]
        }
    }'
