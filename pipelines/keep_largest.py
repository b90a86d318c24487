#!/usr/bin/env python3
"""Keeps the K largest weights of each vector: JSON lines of l0-encode in and out; of equal weights the lower term stays.

    keep_largest.py K <vectors.jsonl >kept.jsonl
"""
import json
import sys

if len(sys.argv) != 2:
    sys.exit(__doc__)
count = int(sys.argv[1])
for line in sys.stdin:
    row = json.loads(line)
    pairs = sorted(zip(row["indices"], row["values"]), key=lambda pair: (-pair[1], pair[0]))[:count]
    pairs.sort()
    row["indices"], row["values"] = [term for term, _ in pairs], [weight for _, weight in pairs]
    print(json.dumps(row))
