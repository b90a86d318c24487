"""The vocabulary head of l0 as modules of Sentence Transformers (5.1 and later).

    model = SparseEncoder(DIR, trust_remote_code=True)
    model.encode_document(texts)    # the vectors of l0-encode
    model.encode_query(texts)       # a table look-up, as SparseStaticEmbedding does it

A directory that l0 wrote describes the head in `config.json` (key `l0_head`) and `l0.json`, and has its tensors in
`model.safetensors`. Saved again by Sentence Transformers, the head has a folder of its own with all three in it.

weights = prune(threshold(activation(D m(n(f(pool(states)))) + b) + lexical)): f are dense maps, n brings a vector to
length 1, m is a linear map in front of the decoder D, and lexical is a share of BM25's term frequency.
"""

import functools
import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional

try:
    from sentence_transformers.base import modules
except ImportError:  # before release 5.4
    from sentence_transformers import models as modules

WORDS = ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight")
QUERY_TABLE = "query_0_SparseStaticEmbedding"


def linear(weight, bias=None):
    """x -> x W^T + b, in f32."""
    layer = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0], bias is not None)
    layer.weight = torch.nn.Parameter(weight.float())
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias.float())
    return layer


def lexical_scale(tokenizer, asked, tensors):
    """`[V]`: what each term's lexical part is multiplied by; 0 for special tokens and for those no query asks for."""
    added = tokenizer.get_added_tokens_decoder().items()
    special = [term for term, token in added if token.special] + tokenizer.encode("").ids
    counted = (asked > 0.0).float()
    counted[special] = 0.0
    counted = functional.pad(counted, (0, len(tensors["decoder.bias"]) - len(counted)))
    return counted * tensors["lexical.scale"].float().clamp(min=0.0) if "lexical.scale" in tensors else counted


def padded(features):
    """Hidden states, ids and mask of texts that Sentence Transformers has packed one after the other."""
    lengths = features["cu_seq_lens_q"].diff().tolist()
    states, ids = features["token_embeddings"].squeeze(0), features["input_ids"].squeeze(0)
    parts = [states.split(lengths), ids.split(lengths), torch.ones_like(ids).split(lengths)]
    return [torch.nn.utils.rnn.pad_sequence(part, batch_first=True) for part in parts]


class Router(modules.Router):
    """Sends queries to the table and documents to the network; it knows the head, which is in this file."""

    @classmethod
    def load(cls, *args, **kwargs):
        # before release 5.4 a router imports its modules by their plain names
        sys.modules["l0_head"] = sys.modules[__name__]
        return super().load(*args, **kwargs)

    def save(self, output_path, *args, **kwargs):
        super().save(output_path, *args, **kwargs)
        # this file has a longer name where transformers has imported it
        file = Path(output_path, self.config_file_name)
        file.write_text(file.read_text("utf-8").replace(f'"{__name__}.', '"l0_head.'), "utf-8")


class VocabularyHead(modules.Module):
    """Hidden states and token ids to weights, `[B, terms]`."""

    forward_kwargs = {"task"}

    def __init__(self, config, tensors):
        """`config` as `load` makes it; `tensors` are named as in l0's `model.safetensors`."""
        super().__init__()
        self.settings = config
        pooled = config["l0_head"]["pooled"]
        names = [f"head.dense.{at}" for at in range(len(pooled.get("dense", [])))]
        maps = [linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names]
        self.head = torch.nn.ModuleDict({"dense": torch.nn.ModuleList(maps)})
        if "head.map.weight" in tensors:
            self.head["map"] = linear(tensors["head.map.weight"])
        self.decoder = linear(tensors["decoder.weight"], tensors["decoder.bias"])
        self.lexical = torch.nn.Module()
        # 0 for terms that do not count; not trained
        self.lexical.register_buffer("scale", tensors["lexical.scale"].float())

    def forward(self, features, task=None):
        whole = [features.get(name) for name in ("token_embeddings", "input_ids", "attention_mask")]
        states, ids, mask = padded(features) if "cu_seq_lens_q" in features else whole
        mask = mask.bool()
        x = self.pooled(states.to(self.decoder.weight.dtype), mask)
        x = self.head["map"](x) if "map" in self.head else x
        weights = self.decoder(x).float().relu()
        for _ in range(self.settings["activation"]):
            weights = weights.log1p()
        length = mask.sum(1, keepdim=True)
        if task != "query":  # a model without a query table; the lexical part is of documents
            weights = weights + self.lexical_part(ids, mask, length)
        # a text without word pieces is not shown to the network
        weights = weights * (length > self.settings["special_tokens"])
        weights = self.pruned(self.passing(weights))
        # rows behind the tokenizer's vocabulary are padding
        features["sentence_embedding"] = weights[:, : self.settings["terms"]]
        return features

    def pooled(self, states, mask):
        """`[B, width]` from the hidden states `[B, T, H]`."""
        config = self.settings["l0_head"]["pooled"]
        outside = ~mask.unsqueeze(2)
        if config["pooling"] == "cls":
            x = states[torch.arange(len(states), device=states.device), mask.int().argmax(1)]
        elif config["pooling"] == "max":
            x = states.masked_fill(outside, float("-inf")).max(1).values
        else:
            x = states.masked_fill(outside, 0.0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        for layer, size in zip(self.head["dense"], config.get("dense", [])):
            x = layer(x).tanh() if size["squash"] == "tanh" else layer(x)
        return functional.normalize(x, dim=1) if config["length"] == "one" else x

    def lexical_part(self, ids, mask, length):
        """c tf (k1 + 1) / (tf + k1 (1 - b + b n / length)) for the terms a text has, times their scales."""
        lexical = self.settings["lexical"]
        if not lexical or not lexical["weight"]:
            return 0.0
        scale = self.lexical.scale.float()
        tf = torch.zeros(len(ids), len(scale), device=ids.device).scatter_add_(1, ids, mask.float())
        k1, b = lexical.get("k1", 1.2), lexical.get("b", 0.75)
        norm = k1 * (1.0 - b + b * length / lexical.get("length", 150.0))
        impact = lexical["weight"] * tf * (k1 + 1.0) / (tf + norm)
        return impact.where(tf > 0.0, 0.0) * scale

    def passing(self, weights):
        """The weights above the threshold, which is one for all, a share of the largest, or one for each term."""
        kind, level = next(iter((self.settings["threshold"] or {"all": 0.0}).items()))
        if kind == "largest":
            level = level * weights.amax(1, keepdim=True)
        elif kind == "term":
            level = functional.pad(torch.tensor(level, device=weights.device), (0, weights.shape[1] - len(level)))
        return weights * (weights > level)

    def pruned(self, weights):
        """What OpenSearch's rule of that name leaves; of equal weights the lower term stays."""
        rule, _, number = (self.settings["prune"] or "none").partition(":")
        if rule == "none":
            return weights
        if rule == "abs_value":
            return weights * (weights >= float(number))
        if rule == "max_ratio":
            return weights * (weights >= float(number) * weights.amax(1, keepdim=True))
        largest, terms = weights.detach().sort(dim=1, descending=True, stable=True)
        if rule == "top_k":
            kept = torch.arange(largest.shape[1], device=weights.device).expand_as(terms) < int(number)
        else:  # alpha_mass: as few as hold the share
            sums = largest.double().cumsum(1)
            kept = functional.pad(sums[:, :-1], (1, 0)) < float(number) * sums[:, -1:]
        return weights * torch.zeros_like(kept).scatter(1, terms, kept)

    def get_sentence_embedding_dimension(self):
        return self.settings["terms"]

    get_embedding_dimension = get_sentence_embedding_dimension

    def save(self, output_path, *args, safe_serialization=True, **kwargs):
        Path(output_path, self.config_file_name).write_text(json.dumps(self.settings, indent=2), "utf-8")
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)
        # both releases look for this file next to modules.json
        Path(output_path).with_name("l0_head.py").write_bytes(Path(__file__).read_bytes())

    @classmethod
    def load(cls, model_name_or_path, subfolder="", **kwargs):
        hub = {key: kwargs[key] for key in ("token", "cache_folder", "revision", "local_files_only") if key in kwargs}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **hub)
        if "l0_head" in config:  # saved by `save`
            return cls(config, cls.load_torch_weights(model_name_or_path, subfolder=subfolder, **hub))
        path = functools.partial(cls.load_file_path, model_name_or_path, **hub)
        description, own = (json.loads(Path(path(name)).read_text("utf-8")) for name in ("config.json", "l0.json"))
        tokenizer = Tokenizer.from_file(path("tokenizer.json"))
        tensors = cls.load_torch_weights(model_name_or_path, **hub)
        if description["l0_head"]["decoder"] == "tied":
            tensors["decoder.weight"] = next(tensors[name] for name in tensors if name.endswith(WORDS))
        asked = torch.ones(tokenizer.get_vocab_size())
        if Path(subfolder).name.startswith("document_"):  # in a router, next to a query table
            asked = cls.load_torch_weights(model_name_or_path, subfolder=QUERY_TABLE, **hub)["weight"]
        tensors["lexical.scale"] = lexical_scale(tokenizer, asked, tensors)
        config = {
            "l0_head": description["l0_head"],
            "activation": own.get("activation", 1),
            **{key: own.get(key) for key in ("lexical", "threshold", "prune")},
            "special_tokens": len(tokenizer.encode("").ids),
            "terms": tokenizer.get_vocab_size(),
        }
        return cls(config, tensors)
