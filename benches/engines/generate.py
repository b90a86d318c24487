"""Generates a learned-sparse collection with topics, as large as wanted, in bounded memory.

    python generate.py OUT [--docs 1000000] [--queries 1000] [--seed 7] [--no-csr]

32 domains > 400 topics > docs/150 subjects. A document has one subject (some are more popular) and, one time in
three, a second; it draws terms from the lists of subject, topic and domain and from the background, each a power law
over its own terms, so that terms are correlated and documents cluster, as in text. Weights are ln(1 + relu x) of a
normal x whose mean falls with the rank in the list: a few strong terms, many weak ones. The 64 commonest terms are in
half to a seventh of the documents with small weights, as inference-free encoders leave them.

Queries have no network: 2-6 strong terms of some document, at times one of them swapped for another of the topic, and
1-3 of the commonest; the weight is the term's idf. A quarter as many long queries have 24-60 terms.
"""

import argparse
import os
from collections import deque
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from collection import KINDS, TERMS, Writer, write_queries

UNUSED, HEAD, COMMON = 999, 150, 64
DOMAINS, TOPICS, DOMAIN_TERMS, TOPIC_TERMS, SUBJECT_TERMS = 32, 400, 4096, 768, 48
POSTINGS = 150  # a document, about
PART = 40_000  # documents drawn at a time; the draw depends on it
SHARES = (0.27, 0.08, 0.33, 0.17, 0.15)  # first subject, second subject, topic, domain, background
COMMON_SHARE = (0.65 / (1 + np.arange(COMMON) / 12.0) ** 0.8).astype(np.float32)
WORLD = {}  # the term lists, made before the workers are forked


def power_law(rng, size, ranks, exponent, shift):
    """Ranks below `ranks`, r with a probability like (r + shift) ** -exponent."""
    u = rng.random(size, dtype=np.float32)
    if exponent == 1:
        x = shift * np.exp(u * np.log((ranks + shift) / shift)) - shift
    else:
        low, high = shift ** (1 - exponent), (ranks + shift) ** (1 - exponent)
        x = (u * (high - low) + low) ** (1 / (1 - exponent)) - shift
    return np.minimum(x.astype(np.int32), ranks - 1)


def domain_lists(rng, used):
    """Terms of each domain, likelier ones first: drawn without replacement by Gumbel noise."""
    likely = -np.log(np.arange(used) + 3.0)[HEAD:]
    lists = np.empty((DOMAINS, DOMAIN_TERMS), np.int32)
    for row in range(DOMAINS):
        noisy = likely + rng.gumbel(size=used - HEAD)
        top = np.argpartition(-noisy, DOMAIN_TERMS)[:DOMAIN_TERMS]
        lists[row] = HEAD + top[np.argsort(-noisy[top])]
    return lists


def topic_lists(rng, used, domains, domain_of):
    lists = np.empty((TOPICS, TOPIC_TERMS), np.int32)
    for row in range(TOPICS):
        ranks = rng.permutation(np.unique(power_law(rng, 1400, DOMAIN_TERMS, 0.5, 8.0)))[:560]
        others = HEAD + power_law(rng, TOPIC_TERMS - len(ranks), used - HEAD, 0.7, 50.0)
        lists[row] = rng.permutation(np.concatenate([domains[domain_of[row]][ranks], others]))
    return lists


def make_world(docs, seed):
    rng = np.random.default_rng(seed)
    used, subjects = TERMS - UNUSED, max(2000, docs // 150)
    ids = (UNUSED + rng.permutation(used)).astype(np.int32)  # of each rank
    domains = domain_lists(rng, used)
    domain_of = rng.integers(0, DOMAINS, TOPICS)
    topics = topic_lists(rng, used, domains, domain_of)
    topic_of = power_law(rng, subjects, TOPICS, 0.35, 5.0)
    shape = (subjects, SUBJECT_TERMS)
    own = topics[topic_of[:, None], power_law(rng, shape, TOPIC_TERMS, 0.9, 4.0)]
    rare = HEAD + power_law(rng, shape, used - HEAD, 0.6, 50.0)
    own = np.where(rng.random(shape) < 0.35, rare, own)
    WORLD.update(seed=seed, used=used, ids=ids, domains=domains, domain_of=domain_of, topics=topics)
    WORLD.update(topic_of=topic_of, subjects=own, popular=rng.permutation(subjects))


def draw_terms(rng, doc, first, second):
    """A rank and the x of its weight for every draw of every document."""
    u, x = rng.random(len(doc), dtype=np.float32), rng.standard_normal(len(doc), dtype=np.float32)
    rank = np.empty(len(doc), np.int32)
    topic = WORLD["topic_of"][first]
    role = np.searchsorted(np.cumsum(SHARES)[:-1], u)
    for which, (subject, top) in enumerate(((first, 3.6), (second, 2.2))):
        at = np.flatnonzero(role == which)
        place = power_law(rng, len(at), SUBJECT_TERMS, 0.45, 4.0)
        rank[at] = WORLD["subjects"][subject[doc[at]], place]
        x[at] = 1.3 * x[at] + (top - 2.4 * np.sqrt(place / SUBJECT_TERMS))
    at = np.flatnonzero(role == 2)
    place = power_law(rng, len(at), TOPIC_TERMS, 0.7, 8.0)
    rank[at] = WORLD["topics"][topic[doc[at]], place]
    x[at] = 0.75 * x[at] + (0.95 - 0.9 * np.sqrt(place / TOPIC_TERMS))
    at = np.flatnonzero(role == 3)
    rank[at] = WORLD["domains"][WORLD["domain_of"][topic[doc[at]]], power_law(rng, len(at), DOMAIN_TERMS, 0.6, 20.0)]
    x[at] = 0.5 * x[at] + 0.42
    at = np.flatnonzero(role == 4)
    rank[at] = COMMON + power_law(rng, len(at), WORLD["used"] - COMMON, 1, 12.0)
    x[at] = 0.5 * x[at] + 0.40
    return rank, x


def draw_part(part, docs):
    """(counts, terms, weights, subjects) of the documents of one part."""
    rng = np.random.default_rng([WORLD["seed"], 1000 + part])
    popular = WORLD["popular"]
    first = popular[power_law(rng, docs, len(popular), 0.6, 20.0)]
    second = popular[power_law(rng, docs, len(popular), 0.3, 20.0)]
    second = np.where(rng.random(docs) < 0.35, second, first)
    length = np.clip(rng.lognormal(np.log(POSTINGS) - 0.06, 0.36, docs), POSTINGS * 0.2, POSTINGS * 3)
    doc = np.repeat(np.arange(docs), (np.maximum(length - COMMON_SHARE.sum(), 10) * 1.6).astype(np.int64))
    rank, x = draw_terms(rng, doc, first, second)
    share = COMMON_SHARE * np.clip(length / POSTINGS, 0.5, 1.4)[:, None]
    common_doc, common = np.nonzero(rng.random((docs, COMMON), dtype=np.float32) < share)
    common_x = 0.45 * rng.standard_normal(len(common), dtype=np.float32) + 0.55
    doc, rank, x = (np.concatenate(both) for both in ((doc, common_doc), (rank, common), (x, common_x)))
    scale = rng.normal(1.25, 0.12, docs).astype(np.float32)
    return *largest(doc, rank, np.log1p(np.maximum(x, 0)) * scale[doc], docs), first


def largest(doc, rank, weight, docs):
    """The largest weight of each term of each document, sorted: doc, term and the bits of the weight are one number."""
    kept = weight > 0.04
    term, bits = WORLD["ids"][rank[kept]].astype(np.uint64), weight[kept].astype(np.float32).view(np.uint32)
    key = (doc[kept].astype(np.uint64) << 47) | (term << 32) | bits
    key.sort()
    key = key[np.append(key[1:] >> 32 != key[:-1] >> 32, True)]
    counts = np.bincount((key >> 47).astype(np.int64), minlength=docs)
    return counts, ((key >> 32) & 0x7FFF).astype(np.uint16), (key & 0xFFFFFFFF).astype(np.uint32).view(np.float32)


def parts(docs, procs):
    """The parts in order, drawn by `procs` processes that are never more than a few parts ahead."""
    pending = deque()
    with Pool(procs) as pool:
        for part, first in enumerate(range(0, docs, PART)):
            pending.append(pool.apply_async(draw_part, (part, min(PART, docs - first))))
            if len(pending) > 2 * procs:
                yield pending.popleft().get()
        while pending:
            yield pending.popleft().get()


def write_documents(writer, docs, procs, wanted):
    """Writes all documents; gives (terms, weights, subject) of the wanted ones."""
    kept, first = {}, 0
    for counts, terms, weights, subjects in parts(docs, procs):
        writer.write(counts, terms, weights)
        ends = np.cumsum(counts)
        for doc in wanted[(wanted >= first) & (wanted < first + len(counts))]:
            row = doc - first
            span = slice(ends[row] - counts[row], ends[row])
            kept[doc] = terms[span].copy(), weights[span].copy(), subjects[row]
        first += len(counts)
    return kept


def draw_query(rng, source, idf, long):
    """Terms and weights of one query about the document `source`."""
    terms, weights, subject = source
    likely = weights * np.sqrt(idf[terms])
    count = min(len(terms), int(rng.integers(16, 41) if long else rng.integers(2, 7)))
    chosen = rng.choice(terms.astype(int), size=count, replace=False, p=likely / likely.sum())
    topic = WORLD["topics"][WORLD["topic_of"][subject]]
    for _ in range(count // 3 if long else rng.random() < 0.3):  # the words of others
        chosen[rng.integers(count)] = WORLD["ids"][topic[rng.integers(256 if long else 64)]]
    more = int(rng.integers(8, 21) if long else rng.integers(max(1, 4 - count), 4))
    likely = COMMON_SHARE.astype(float) ** 2
    common = rng.choice(WORLD["ids"][:COMMON], size=more, replace=False, p=likely / likely.sum())
    terms = sorted({int(term) for term in (*chosen, *common) if idf[term] > 0})
    return terms, [round(float(idf[term]), 4) for term in terms]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--docs", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--procs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-csr", action="store_true", help="only what l0 reads, without the arrays for the others")
    args = parser.parse_args()
    make_world(args.docs, args.seed)
    rng = np.random.default_rng([args.seed, 5])
    numbers = {"short": args.queries, "long": args.queries // 4}
    sources = {kind: rng.integers(args.docs, size=number) for kind, number in numbers.items()}
    writer = Writer(args.out, not args.no_csr)
    kept = write_documents(writer, args.docs, args.procs, np.unique(np.concatenate(list(sources.values()))))
    idf = writer.close()
    for kind, docs in sources.items():
        rows = (draw_query(rng, kept[doc], idf, kind == "long") for doc in docs)
        write_queries(args.out / KINDS[kind], ((f"q{at}", *row) for at, row in enumerate(rows)))


if __name__ == "__main__":
    main()
