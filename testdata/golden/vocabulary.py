"""Makes vocabulary.safetensors and vocabulary.json: PyTorch's values of tiny models with a vocabulary head.

    pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6
    python testdata/golden/vocabulary.py

Takes seconds on one core. All cases share one random BERT over the vocabulary of testdata/toy; tests/model/vocabulary.rs puts
its tensors and those of a case's head into a directory. Weights are numbers that F16 holds exactly. Values are computed
in float64, one text at a time, and stored as float32:

    encoder.NAME       tensors of the encoder
    coefficients       [text, V]
    CASE.NAME          tensors of the head
    CASE.logits        [text, V], before relu
    CASE.grad.NAME     gradient of sum(coefficients * ln(1 + relu(logits))), by the names of the checkpoint

vocabulary.json has config.json of the encoder, each case's `l0_head`, the texts and their token ids.
"""

import math

import numpy as np
import torch
from transformers import BertConfig, BertModel

from toy import TESTDATA, V, make_tokenizer, write_json, write_tensors

GOLDEN = TESTDATA / "golden"
HIDDEN, MAX_TOKENS = 8, 32
CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": V,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_act": "gelu",
    "max_position_embeddings": MAX_TOKENS,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
TEXTS = [
    "the weather in the city is good today",
    "Sparse retrieval: how a search engine uses an inverted index",
    "the storm came across the sea and the rain turned every river into a light of water " * 2,
    "",
]


def head(pooling, length, dense=(), rank=None, decoder="own"):
    """`l0_head` as l0 writes it."""
    dense = [{"outputs": outputs, "squash": squash} for outputs, squash in dense]
    pooled = {"pooling": pooling, **({"dense": dense} if dense else {}), "length": length}
    return {"pooled": pooled, **({"rank": rank} if rank else {}), "decoder": decoder}


CASES = {
    "mean_one": head("mean", "one"),
    "cls_free": head("cls", "free"),
    "dense": head("mean", "one", dense=[(6, "tanh"), (5, "identity")]),
    "rank": head("cls", "one", rank=3),
    "tied": head("max", "one", decoder="tied"),
    "mapped_tied": head("mean", "free", dense=[(6, "tanh")], rank=HIDDEN, decoder="tied"),
}


def exact(numbers):
    return torch.tensor(numbers, dtype=torch.float16).to(torch.float32)


def random_encoder():
    """Lively values for every parameter, so that a wrong wire anywhere shows in the output."""
    random = np.random.RandomState(1)
    model = BertModel(BertConfig(**CONFIG, attn_implementation="eager"), add_pooling_layer=False)
    for name, parameter in sorted(model.named_parameters()):
        noise = random.standard_normal(tuple(parameter.shape))
        if "embeddings" in name and parameter.dim() == 2:
            value = (0.6 if "word" in name else 0.3) * noise
        elif parameter.dim() == 1:
            value = (1.0 if name.endswith("weight") else 0.0) + 0.2 * noise
        else:
            value = 1.3 / math.sqrt(parameter.shape[1]) * noise
        parameter.data = exact(value)
    # PyTorch keeps the gradient from the embedding of the padding token, though a text may hold the token
    model.embeddings.word_embeddings.padding_idx = None
    return model.eval()


def random_head(case, seed):
    """A case's tensors, by name."""
    random = np.random.RandomState(seed)
    shapes, width = {}, HIDDEN
    for at, size in enumerate(case["pooled"].get("dense", [])):
        shapes[f"head.dense.{at}.weight"] = (size["outputs"], width)
        shapes[f"head.dense.{at}.bias"] = (size["outputs"],)
        width = size["outputs"]
    if "rank" in case:
        shapes["head.map.weight"] = (case["rank"], width)
        width = case["rank"]
    if case["decoder"] == "own":
        shapes["decoder.weight"] = (V, width)
    shapes["decoder.bias"] = (V,)
    scale = {name: 1.3 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.3 for name, shape in shapes.items()}
    return {name: exact(scale[name] * random.standard_normal(shape)) for name, shape in shapes.items()}


def logits_of(case, states, tensors):
    """`[V]` from the hidden states `[T, H]` of a text."""
    pooled = case["pooled"]
    x = {"mean": states.mean(0), "cls": states[0], "max": states.max(0).values}[pooled["pooling"]]
    for at, size in enumerate(pooled.get("dense", [])):
        x = tensors[f"head.dense.{at}.weight"] @ x + tensors[f"head.dense.{at}.bias"]
        x = torch.tanh(x) if size["squash"] == "tanh" else x
    if pooled["length"] == "one":
        x = x / x.norm()
    if "rank" in case:
        x = tensors["head.map.weight"] @ x
    return tensors["decoder.weight"] @ x + tensors["decoder.bias"]


def values(case, encoder, tensors, ids, coefficients):
    """Logits, and gradients by the names of the checkpoint."""
    encoder.double().zero_grad()
    own = {name: tensor.double().requires_grad_() for name, tensor in tensors.items()}
    words = encoder.embeddings.word_embeddings.weight
    used = own if case["decoder"] == "own" else {**own, "decoder.weight": words}
    states = [encoder(input_ids=torch.tensor([row])).last_hidden_state[0] for row in ids]
    logits = torch.stack([logits_of(case, rows, used) for rows in states])
    assert logits.abs().min() > 1e-5, "a logit so near 0 that its term comes and goes with rounding"
    assert 0.2 < (logits > 0).double().mean() < 0.8
    (coefficients.double() * torch.log1p(torch.relu(logits))).sum().backward()
    gradients = {f"bert.{name}": p.grad.clone() for name, p in encoder.named_parameters()}
    gradients |= {name: tensor.grad for name, tensor in own.items()}
    encoder.float()
    return logits, gradients


def main():
    torch.set_num_threads(1)
    tokenizer = make_tokenizer()
    tokenizer.enable_truncation(MAX_TOKENS)
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    encoder = random_encoder()
    coefficients = exact(np.random.RandomState(9).standard_normal((len(TEXTS), V)))
    out = {f"encoder.bert.{name}": tensor.half() for name, tensor in encoder.named_parameters()}
    out["coefficients"] = coefficients.half()
    for seed, (name, case) in enumerate(CASES.items(), 2):
        tensors = random_head(case, seed)
        logits, gradients = values(case, encoder, tensors, ids, coefficients)
        out |= {f"{name}.{key}": tensor.half() for key, tensor in tensors.items()}
        out[f"{name}.logits"] = logits.float()
        out |= {f"{name}.grad.{key}": gradient.float() for key, gradient in gradients.items()}
    write_tensors(GOLDEN / "vocabulary.safetensors", out)
    about = "made by vocabulary.py, which says what is in vocabulary.safetensors"
    json = {"about": about, "config": CONFIG, "cases": CASES, "texts": TEXTS, "ids": ids}
    write_json(GOLDEN / "vocabulary.json", json)


if __name__ == "__main__":
    main()
