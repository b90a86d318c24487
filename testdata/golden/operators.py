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


def ratio_flops(weights, threshold, idf=None):
    """FLOPS of every row times its terms over `threshold`; the factor has no gradient."""
    factor = (weights > 0).sum(1, keepdim=True).to(weights.dtype) / threshold
    return flops(weights * factor, idf)


def l1(weights, idf=None):
    """[N,V] -> scalar: mean over rows of the sum of weights."""
    return (weights if idf is None else weights * idf).sum(1).mean()


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


def kernel(name, u):
    """K(u), the slope of the smoothed step; its integral is 1, but for the one passed straight through."""
    if name == "rectangle":
        return (u.abs() < 0.5).to(u.dtype)
    if name == "sigmoid":
        return torch.sigmoid(u) * torch.sigmoid(-u)
    if name == "erf":
        return torch.exp(-u.square()) / math.sqrt(math.pi)
    raise ValueError(name)


def slope(name, w, theta, eps):
    """(1 / eps) K((w - theta) / eps); straight through: 1 where w > 0."""
    return (w > 0).to(w.dtype) if name == "straight_through" else kernel(name, (w - theta) / eps) / eps


class HardThreshold(torch.autograd.Function):
    """y = w 1[w > theta]. Backward: dy/dw = 1[w > theta]; dy/dtheta = -theta * slope, summed over the
    entries that share a theta. Straight through: dy/dw = 1[w > 0]."""

    @staticmethod
    def forward(context, w, theta, eps, name="rectangle"):
        context.save_for_backward(w, theta)
        context.eps, context.name = eps, name
        return w * (w > theta)

    @staticmethod
    def backward(context, upstream):
        w, theta = context.saved_tensors
        gradient = -theta * slope(context.name, w, theta, context.eps) * upstream
        kept = w > 0 if context.name == "straight_through" else w > theta
        return upstream * kept, gradient.sum_to_size(theta.shape), None, None


class Count(torch.autograd.Function):
    """[N]: entries above theta in each row: d/dtheta = -slope, no gradient for w."""

    @staticmethod
    def forward(context, w, theta, eps, name="rectangle"):
        context.save_for_backward(w, theta)
        context.eps, context.name = eps, name
        return (w > theta).sum(1).to(w.dtype)

    @staticmethod
    def backward(context, upstream):
        w, theta = context.saved_tensors
        gradient = -upstream[:, None] * slope(context.name, w, theta, context.eps)
        return None, gradient.sum_to_size(theta.shape), None, None


def share_of_largest(w, share):
    """[N,1]: theta as a share of each row's largest weight, which counts as a constant."""
    return share * w.detach().amax(1, keepdim=True)


def embedding_table(words, weight, bias):
    """[V,H], [H], [] -> [V]: ln(1 + relu(E w + b)), the query weights of Li-LSR."""
    return torch.log1p(torch.relu(words @ weight + bias))
