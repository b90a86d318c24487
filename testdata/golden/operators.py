"""The operators as plain formulas: what the dumps in ops.safetensors and step.safetensors are made with.

B documents, T tokens, V vocabulary, Q queries, N documents (a query's, or all). A mask is 1 on tokens.
"""

import math

import torch


def max_pool(logits, mask):
    """[B,T,V], [B,T] -> [B,V]: the largest logit over tokens; padding is left out."""
    return logits.masked_fill(mask[..., None] == 0, -math.inf).amax(1)


def activation(pooled, depth):
    weights = torch.relu(pooled)
    for _ in range(depth):
        weights = torch.log1p(weights)
    return weights


def flops(weights, idf=None):
    """[N,V] -> scalar: sum over terms of the squared mean weight."""
    mean = weights.mean(0) if idf is None else weights.mean(0) * idf
    return mean.square().sum()


def flops_rank_groups(weights, documents_per_query):
    """Rows are query-major (query * N + rank); one FLOPS for each rank, summed."""
    groups = weights.view(-1, documents_per_query, weights.shape[1])
    return sum(flops(groups[:, rank]) for rank in range(documents_per_query))


def l0_mask(weights, threshold):
    """[N,1]: 1 where a document has more than `threshold` terms; no gradient."""
    return ((weights > 0).sum(1, keepdim=True) > threshold).to(weights.dtype)


def l0_mask_flops(weights, threshold, denominator, idf=None):
    mask = l0_mask(weights, threshold)
    count = len(weights) if denominator == "all" else mask.sum().clamp(min=1)
    mean = (weights * mask).sum(0) / count
    return (mean if idf is None else mean * idf).square().sum()


def kl(student, teacher):
    """[Q,N]: KL(softmax teacher || softmax student), summed over documents, mean over queries."""
    target = torch.log_softmax(teacher, 1)
    return (target.exp() * (target - torch.log_softmax(student, 1))).sum(1).mean()


def margin_mse(student, teacher):
    """[Q,N], column 0 positive: mean squared difference of the margins positive - negative."""
    difference = student - teacher
    return (difference[:, :1] - difference[:, 1:]).square().mean()


def info_nce(scores, positives):
    """[Q,M]: cross entropy of each query's positive column, mean over queries."""
    return torch.nn.functional.cross_entropy(scores, positives)


class HardThreshold(torch.autograd.Function):
    """y = w 1[w > theta]. Backward: dy/dw = 1[w > theta]; dy/dtheta = -(theta / eps) K((w - theta) / eps),
    K = 1 on (-1/2, 1/2), summed over the entries that share a theta."""

    @staticmethod
    def forward(context, w, theta, eps):
        context.save_for_backward(w, theta)
        context.eps = eps
        return w * (w > theta)

    @staticmethod
    def backward(context, upstream):
        w, theta = context.saved_tensors
        band = ((w - theta).abs() < context.eps / 2).to(w.dtype)
        gradient = -(theta / context.eps) * band * upstream
        return upstream * (w > theta), gradient.sum_to_size(theta.shape), None


class Count(torch.autograd.Function):
    """The number of entries above theta: d/dtheta = -(1 / eps) K((w - theta) / eps), no gradient for w."""

    @staticmethod
    def forward(context, w, theta, eps):
        context.save_for_backward(w, theta)
        context.eps = eps
        return (w > theta).sum().to(w.dtype)

    @staticmethod
    def backward(context, upstream):
        w, theta = context.saved_tensors
        band = ((w - theta).abs() < context.eps / 2).to(w.dtype)
        return None, (-upstream / context.eps * band).sum_to_size(theta.shape), None
