"""Dumps each operator on small float64 tensors: value, and gradient for its inputs; called by `make.py`."""

import numpy as np
import torch

from operators import (
    Count,
    HardThreshold,
    activation,
    embedding_table,
    flops,
    flops_rank_groups,
    info_nce,
    kl,
    l0_mask,
    l0_mask_flops,
    l1,
    margin_mse,
    max_pool,
    ratio_flops,
    share_of_largest,
)
from toy import write_json, write_tensors

ABOUT = {
    "NAME.grad.INPUT": "gradient of values[NAME] with respect to INPUT; tensors are float64, masks int64",
    "pool": "logits [B,T,V], mask [B,T] 1 = token; depthD = activation of depth D of the max over tokens; "
    "value = sum(upstream * depthD)",
    "regularizer": "weights [N,V], rows query-major with 2 documents a query; idf [V] multiplies the mean",
    "flops.pooled": "sum over terms of (mean over all rows)^2",
    "flops.rank_groups": "sum over ranks of flops of the rows of that rank; threshold3: rows with at most 3 "
    "terms are zeroed before",
    "l0_mask.D.thresholdT": "flops of rows with more than T terms; D = denominator: all rows, or the rows "
    "kept (at least 1)",
    "ratio.threshold3": "flops of every row times its terms / 3; rank_groups: summed over ranks",
    "l1": "mean over rows of the sum of weights, each times idf where it is named",
    "decouple.X": "X of ln(1 + weights)",
    "kl": "mean over queries of sum p_teacher ln (p_teacher / p_student), softmax over documents",
    "margin_mse": "column 0 positive; mean over queries and negatives",
    "info_nce.own": "rank.student, positive in column 0; mean over queries",
    "info_nce.in_batch": "rank.in_batch [Q, Q*N], N = 4, the positive of query q in column q * N",
    "threshold": "y = w 1[w > theta]; dy/dw = 1[w > theta]; dy/dtheta = -(theta/eps) K((w-theta)/eps), "
    "K = 1 on (-1/2, 1/2); value = sum(upstream * y)",
    "threshold.X.count": "number of w > theta; d/dtheta = -(1/eps) K((w - theta)/eps)",
    "threshold.X.target": "mean over rows of (count / 3 - 1)^2",
    "threshold.X": "X: one theta for all, one for each term, or a share of the row's largest weight; with "
    "another kernel than the rectangle, its name",
    "embedding": "words [V,H], weight [H], bias []; value = sum(upstream * ln(1 + relu(words weight + bias)))",
}
EPS = 0.2  # wide enough for a filled band


class Dump:
    """Draws inputs; collects tensors, values and gradients."""

    def __init__(self, seed):
        self.random = np.random.RandomState(seed)
        self.tensors, self.values = {}, {}

    def draw(self, *shape):
        return torch.tensor(self.random.standard_normal(shape), dtype=torch.float64)

    def input(self, name, tensor):
        """Stores `tensor` and returns a leaf that takes gradients."""
        self.tensors[name] = tensor
        return tensor.clone().requires_grad_()

    def record(self, name, value, **inputs):
        """Stores a scalar and its gradient for each of `inputs`."""
        gradients = torch.autograd.grad(value, list(inputs.values()), retain_graph=True)
        self.values[name] = value.item()
        for key, gradient in zip(inputs, gradients, strict=True):
            self.tensors[f"{name}.grad.{key}"] = gradient


def pool(dump):
    """[3,5,7]: padding holds the largest logits; document 2 has no positive one."""
    logits = 2.0 * dump.draw(3, 5, 7) - 0.5
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    logits[2] = -logits[2].abs() - 0.1
    logits[mask == 0] = 9.0 + dump.draw(5, 7)
    upstream = dump.draw(3, 7)
    dump.tensors.update({"pool.mask": mask, "pool.upstream": upstream})
    logits = dump.input("pool.logits", logits)
    for depth in (1, 2, 3, 4):
        weights = activation(max_pool(logits, mask), depth)
        dump.tensors[f"pool.depth{depth}"] = weights
        dump.record(f"pool.depth{depth}", (upstream * weights).sum(), logits=logits)


def regularizers(dump):
    """3 queries x 2 documents, 7 terms; the documents have 7 4 3 2 5 0 terms."""
    weights = dump.draw(6, 7).abs() + 0.05
    for row, terms in enumerate((7, 4, 3, 2, 5, 0)):
        weights[row, dump.random.permutation(7)[terms:]] = 0.0
    idf = dump.draw(7).abs() + 0.5
    dump.tensors["regularizer.idf"] = idf
    weights = dump.input("regularizer.weights", weights)
    dump.record("flops.pooled", flops(weights), weights=weights)
    dump.record("flops.pooled.idf", flops(weights, idf), weights=weights)
    dump.record("flops.rank_groups", flops_rank_groups(weights, 2), weights=weights)
    masked = weights * l0_mask(weights, 3)
    dump.record("flops.rank_groups.threshold3", flops_rank_groups(masked, 2), weights=weights)
    for threshold in (0, 3, 7):  # a document of exactly 3 terms is free at 3; at 7 nobody pays
        for denominator in ("all", "kept"):
            value = l0_mask_flops(weights, threshold, denominator)
            dump.record(f"l0_mask.{denominator}.threshold{threshold}", value, weights=weights)
    dump.record("l0_mask.all.threshold3.idf", l0_mask_flops(weights, 3, "all", idf), weights=weights)


def ranking(dump):
    """3 queries x 4 documents, and 3 x (3 * 4) in batch."""
    student = dump.input("rank.student", 3.0 * dump.draw(3, 4))
    teacher = 2.0 * dump.draw(3, 4)
    scores = dump.input("rank.in_batch", 3.0 * dump.draw(3, 12))
    dump.tensors["rank.teacher"] = teacher
    dump.record("kl", kl(student, teacher), student=student)
    dump.record("margin_mse", margin_mse(student, teacher), student=student)
    dump.record("info_nce.own", info_nce(student, torch.tensor([0, 0, 0])), student=student)
    dump.record("info_nce.in_batch", info_nce(scores, torch.tensor([0, 4, 8])), scores=scores)


def thresholds(dump):
    """[4,7] weights; one theta, then one a term."""
    w = torch.relu(0.6 * dump.draw(4, 7) + 0.3)
    w[0, 0] = 0.4  # exactly the one theta: out, and in the middle of its band
    w = dump.input("threshold.w", w)
    one = dump.input("threshold.theta.one", torch.tensor(0.4, dtype=torch.float64))
    each = dump.input("threshold.theta.each", (0.35 + 0.1 * dump.draw(7)).clamp(min=0.05))
    upstream = dump.draw(4, 7)
    dump.tensors["threshold.upstream"] = upstream
    for name, theta in (("threshold.one", one), ("threshold.each", each)):
        y = HardThreshold.apply(w, theta, EPS)
        dump.tensors[name] = y
        dump.record(name, (upstream * y).sum(), w=w, theta=theta)
        dump.record(f"{name}.count", Count.apply(w, theta, EPS).sum(), theta=theta)


def payments(dump):
    """The other forms of what documents pay, on the weights of `regularizers`."""
    weights = dump.tensors["regularizer.weights"].clone().requires_grad_()
    idf = dump.tensors["regularizer.idf"]
    ranks = [weights.view(-1, 2, weights.shape[1])[:, rank] for rank in (0, 1)]
    more = torch.log1p(weights)
    for name, value in (
        ("ratio.threshold3", ratio_flops(weights, 3)),
        ("ratio.threshold3.idf", ratio_flops(weights, 3, idf)),
        ("ratio.rank_groups.threshold3", sum(ratio_flops(rank, 3) for rank in ranks)),
        ("l1", l1(weights)),
        ("l1.idf", l1(weights, idf)),
        ("l0_mask.kept.threshold3.idf", l0_mask_flops(weights, 3, "kept", idf)),
        ("l0_mask.kept.rank_groups.threshold3", sum(l0_mask_flops(rank, 3, "kept") for rank in ranks)),
        ("l0_mask.all.rank_groups.threshold3.idf", sum(l0_mask_flops(r, 3, "all", idf) for r in ranks)),
        ("decouple.flops", flops(more)),
        ("decouple.l0_mask.all.threshold3", l0_mask_flops(more, 3, "all")),
    ):
        dump.record(name, value, weights=weights)


def kernels(dump):
    """The other kernels, and the other share, on the weights of `thresholds`."""
    w = dump.tensors["threshold.w"].clone().requires_grad_()
    one = dump.tensors["threshold.theta.one"].clone().requires_grad_()
    share = dump.input("threshold.theta.largest", torch.tensor(0.3, dtype=torch.float64))
    level = share_of_largest(w, share)
    upstream = dump.tensors["threshold.upstream"]
    for name, kernel, theta, level in (
        ("sigmoid", "sigmoid", one, one),
        ("erf", "erf", one, one),
        ("straight_through", "straight_through", one, one),
        ("largest", "rectangle", share, level),
    ):
        y = HardThreshold.apply(w, level, EPS, kernel)
        counts = Count.apply(w, level, EPS, kernel)
        dump.record(f"threshold.{name}", (upstream * y).sum(), w=w, theta=theta)
        dump.record(f"threshold.{name}.count", counts.sum(), theta=theta)
        dump.record(f"threshold.{name}.target", (counts / 3 - 1).square().mean(), theta=theta)


def embeddings(dump):
    """7 terms, 3 wide."""
    words = dump.input("embedding.words", dump.draw(7, 3))
    weight = dump.input("embedding.weight", dump.draw(3))
    bias = dump.input("embedding.bias", torch.tensor(0.2, dtype=torch.float64))
    upstream = dump.draw(7)
    dump.tensors["embedding.upstream"] = upstream
    table = embedding_table(words, weight, bias)
    assert 0 < (table > 0).sum() < 7, table
    dump.record("embedding", (upstream * table).sum(), words=words, weight=weight, bias=bias)


def make_ops(directory):
    dump = Dump(seed=5)
    pool(dump)
    regularizers(dump)
    ranking(dump)
    thresholds(dump)
    payments(dump)
    kernels(dump)
    embeddings(dump)
    write_tensors(directory / "ops.safetensors", dump.tensors)
    write_json(directory / "ops.json", {"about": ABOUT, "threshold.eps": EPS, "values": dump.values})
