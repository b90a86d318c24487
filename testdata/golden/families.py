"""Makes testdata/golden/families: a tiny checkpoint of each architecture, and PyTorch's values of it.

    pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6
    python testdata/golden/families.py

Takes seconds on one core. A folder is what transformers saves (numbers that F16 holds exactly, random, scaled
so that a text makes some terms positive and most negative), but for these:

    bert   pytorch_model.bin with a decoder of its own and eps 1e-6
    new    the layout of Alibaba's remote code (`NewForMaskedLM`): transformers' own class for these models, Gte,
           computes it, under the names and with the packed projections of that layout, and with the frequencies
           that its config asks for (rope_scaling of type ntk)

FOLDER/golden.safetensors beside the model, float64 inside, stored as float32; texts one at a time:

    logits        [text, V]  the largest logit over all tokens, specials included, before relu
    coefficients  [text, V]
    grad.NAME     gradient of sum(coefficients * ln(1 + ln(1 + relu(logits)))), by the names of the checkpoint;
                  that of the padding token's embedding too

families.json has the texts, and each family's token ids of them.
"""

import base64
import json
import math
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from toy import make_tokenizer as bert_tokenizer
from toy import write_json

FOLDER = Path(__file__).resolve().parent / "families"
MAX_TOKENS = 160
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "tie_word_embeddings": True,
}
TABLE = {"max_position_embeddings": MAX_TOKENS, "type_vocab_size": 2}
OFFSET = {"max_position_embeddings": MAX_TOKENS + 2, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}

LONG = "the storm came across the sea and the rain turned every river into light while we thought of home "
TEXTS = [
    "the weather in the city is good today",
    "",
    LONG * 2,
    LONG * 7,
    "water water <pad> and Sparse retrieval: an inverted index, naïve café (3.14%) [PAD]",
    "日本語 😀 words",
    "ﬁne \uff21  e\u0301te\u0301, \u2028Ａ",
]
CORPUS = TEXTS + [
    "how does a search engine use an inverted index, term by term",
    "the heart moves blood through the body; a cell takes what it needs",
    "The river is high, and the wind is hard in the morning.",
]


# --- tokenizers


def special(tokenizer, names, behind=()):
    """Some special tokens; mask tokens take the space before them."""
    for name in names:
        tokenizer.add_special_tokens([AddedToken(name, special=True, lstrip=name == "<mask>", normalized=False)])
    for name in behind:
        tokenizer.add_tokens([AddedToken(name, normalized=False)])
    return tokenizer


def byte_level(tokens, size):
    """Byte-level BPE: `tokens` first, then 256 bytes and what is merged of them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]


def roberta_tokenizer():
    tokenizer = special(byte_level(FAIRSEQ, 320), [*FAIRSEQ, "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


# What sentencepiece 0.2.3 compiles of four rules (normalization_rule_tsv): U+FB01 to fi, U+FF21 to A, e and U+0301
# to U+00E9, U+2028 to a space. Its own table of NFKC has 240 kB.
RULES = """
eNod02WwFkQUBuDlCsMfuofulEZCOqVT6ZYOUVoEvOTAgHR3C3LpDqWkpBukLDoFlRR4PnbmmXdmz87+2HM2xA4hTIgV2pf6IBwN
UWFIuhDihhAdHRMVlscJkRUdE9mPH4Kj0QvVo2Q8hYQkIDGJSEoSkpOMlKRg56GokEqmITWuCGnJQHoykZEsZCYbWclBdnKRkzzk
Ji8fkp98FKQAhSnERxShGEUpQXFK8jGlKUVZylCeclSkApWpxCdUoRpVqUF1alGTOtSmHnVpQH0+41Ma0ZAmNKYZTWlBc1rRkja0
5nPa0p52dKQDnelEV7rQnW704Au+4kt60ZM+9KYfffma/nzDAAYxkG8ZzJBIkxnGUEYwnD80eaQczSjG8GhnCN/JsYxnHBMjI8Rk
JjGVKUxnGjOZwWxmMZc5zGceC1nAYhaxlCV8zzJWsJyV/MAqYljDataxlg2sZxMb2cJmtrGVHWznx8hMsouf2MNu9rGX/fzMQQ5w
mEMc4ReOcZQTHOcUJznDac5xlguc5xIXucyvXOUK17nG7/zGn5E35wZ/cYub3OE297jLA+5HesFD/uYxT3nCv/zDM/7jBc95xUv+
5zVvefP+75UPHTqHfSvCO01wjUo=
"""


def unigram_tokenizer():
    """Words and their halves by how often they come, and letters; made by hand: the trainer follows a hash order."""
    counts = {}
    for word in " ".join(CORPUS).replace(",", " ,").split():
        middle = (len(word) + 1) // 2
        for piece, share in ((f"▁{word}", 4), (f"▁{word[:middle]}", 2), (word[middle:], 2)):
            counts[piece] = counts.get(piece, 0) + share
    letters = {letter: 1 for letter in ["▁", *map(chr, range(33, 127)), "é"]}
    counts = {**letters, **{piece: count for piece, count in counts.items() if len(piece) > 1 and count > 2}}
    total = sum(counts.values())
    scores = [(piece, math.log(count / total)) for piece, count in sorted(counts.items())]
    vocabulary = [*((name, 0.0) for name in FAIRSEQ), *scores]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(zlib.decompress(base64.b64decode("".join(RULES.split())))),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer = special(tokenizer, [*FAIRSEQ, "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def modernbert_tokenizer():
    """Special tokens behind the others, and one added token that is none."""
    tokenizer = special(
        byte_level([], 300), ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], ["|||IP_ADDRESS|||"]
    )
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ids
    )
    return tokenizer


def mpnet_tokenizer():
    """BERT's word pieces between <s> and </s>."""
    described = json.loads(bert_tokenizer().to_str())
    pieces = [piece for piece in described["model"]["vocab"] if not piece.startswith("[") or len(piece) == 1]
    vocabulary = [*FAIRSEQ, *pieces[:60], "[UNK]", *pieces[60:]]
    described["model"]["vocab"] = {piece: at for at, piece in enumerate(vocabulary)}
    described["added_tokens"] = []
    described["post_processor"] = None
    tokenizer = special(Tokenizer.from_str(json.dumps(described)), [*FAIRSEQ, "[UNK]", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


# --- models


def random_weights(model, seed):
    """Lively values for every parameter, so that a wrong wire anywhere shows in the output."""
    random = np.random.RandomState(seed)
    vocabulary = model.config.vocab_size
    for name, parameter in sorted(model.named_parameters()):
        noise = random.standard_normal(tuple(parameter.shape))
        if parameter.shape == (vocabulary,):
            value = 2.0 * noise - 4.5
        elif "embeddings" in name and parameter.dim() == 2:
            value = (0.6 if parameter.shape[0] == vocabulary else 0.3) * noise
        elif "relative_attention_bias" in name:
            value = noise
        elif parameter.dim() == 1:
            value = (1.0 if name.endswith("weight") else 0.0) + 0.2 * noise
        else:
            value = 1.3 / math.sqrt(parameter.shape[1]) * noise
        parameter.data = torch.tensor(value, dtype=torch.float16).to(torch.float32)
    return model.eval()


def ntk(model, theta, factor):
    """The frequencies of NTK scaling, fixed: base times the factor, all over factor^(2/d)."""
    d = model.config.hidden_size // model.config.num_attention_heads
    frequencies = 1.0 / (theta * factor) ** (torch.arange(0, d, 2, dtype=torch.float32) / d)
    model.gte.rotary_emb.inv_freq = frequencies / factor ** (2 / d)
    return model


def new_names(tensors, prefix="new"):
    """Gte's tensors under the names of the remote code, projections packed: those that transformers saves."""
    out, parts = {}, {}
    for name, tensor in tensors.items():
        name = name.replace("gte.layers", "gte.encoder.layer").replace("gte.", f"{prefix}.")
        name = name.replace("post_attention_layernorm", "attn_ln").replace("post_mlp_layernorm", "mlp_ln")
        name = name.replace("lm_head.layer_norm", "lm_head.norm").replace("self_attn.", "attention.")
        for packed, pieces in (("qkv_proj", ["q_proj", "k_proj", "v_proj"]), ("up_gate_proj", ["up_proj", "gate_proj"])):
            for at, piece in enumerate(pieces):
                if f".{piece}." in name:
                    whole = name.replace(f".{piece}.", f".{packed}.")
                    parts.setdefault(whole, [None] * len(pieces))[at] = tensor
                    name = None
                    break
            if name is None:
                break
        if name is not None:
            out[name] = tensor
    return {**out, **{name: torch.cat(pieces) for name, pieces in parts.items()}}


def values(model, ids):
    """Pooled logits, coefficients and gradients, in float64."""
    model.double().zero_grad()
    # PyTorch keeps the gradient from the embedding of the padding token, though a text may hold the token
    for table in (part for part in model.modules() if isinstance(part, torch.nn.Embedding)):
        table.padding_idx = None
    pooled = torch.stack([model(input_ids=torch.tensor([row])).logits[0].max(0).values for row in ids])
    assert pooled.abs().min() > 1e-5, "a logit so near 0 that its term comes and goes with rounding"
    positive = (pooled > 0).float().mean().item()
    assert 0.02 < positive < 0.6, positive
    coefficients = torch.tensor(np.random.RandomState(9).standard_normal(tuple(pooled.shape)))
    coefficients = coefficients.half().double()
    (coefficients * torch.log1p(torch.log1p(torch.relu(pooled)))).sum().backward()
    # padding must change nothing in PyTorch either, or its values would be no measure
    width, pad = max(map(len, ids)), model.config.pad_token_id
    padded = torch.tensor([row + [pad] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    with torch.no_grad():
        logits = model(input_ids=padded, attention_mask=mask).logits
    together = logits.masked_fill(mask[:, :, None] == 0, -torch.inf).max(1).values
    # padding far from any token has nothing to see in a window, and its states are no numbers
    windows = model.config.model_type == "modernbert"
    assert windows or (together - pooled).abs().max() < 1e-9, (together - pooled).abs().max()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    if model.config.model_type == "xlm-roberta":  # which names its tied table by the decoder
        gradients["roberta.embeddings.word_embeddings.weight"] = gradients.pop("lm_head.decoder.weight")
    model.float()
    return {"logits": pooled.detach(), "coefficients": coefficients}, gradients


def make(name, model, tokenizer, names, save=None, rename=lambda tensors: tensors):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    truncated = Tokenizer.from_str(tokenizer.to_str())
    truncated.enable_truncation(MAX_TOKENS)
    ids = [truncated.encode(text).ids for text in TEXTS]
    tensors, gradients = values(model, ids)
    (save or (lambda folder: model.half().save_pretrained(folder)))(folder)
    if save is None:
        config = json.loads((folder / "config.json").read_text())
        config.pop("transformers_version", None)
        write_json(folder / "config.json", config)
        (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    write_json(folder / "tokenizer_config.json", {"model_max_length": MAX_TOKENS, **names})
    tensors |= {f"grad.{key}": gradient for key, gradient in rename(gradients).items()}
    tensors = {key: tensor.float().contiguous() for key, tensor in tensors.items()}
    save_file(tensors, folder / "golden.safetensors")
    return ids


def save_bert(model):
    def save(folder):
        torch.save({name: tensor.half() for name, tensor in model.state_dict().items()}, folder / "pytorch_model.bin")
        config = {key: value for key, value in model.config.to_dict().items() if key in BERT_KEYS}
        write_json(folder / "config.json", {"architectures": ["BertForMaskedLM"], **config})

    return save


BERT_KEYS = {*SIZES, *TABLE, "model_type", "vocab_size", "hidden_act", "layer_norm_eps", "pad_token_id"}


def save_new(model, config):
    def save(folder):
        tensors = model.state_dict()
        del tensors["lm_head.decoder.weight"]
        tensors = {name: tensor.half().contiguous() for name, tensor in new_names(tensors).items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        write_json(folder / "config.json", config)

    return save


def main():
    torch.manual_seed(0)
    bert_names = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("unk", "sep", "pad", "cls", "mask")}
    fairseq = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "mask_token": "<mask>"}
    plain, bpe, unigram = bert_tokenizer(), roberta_tokenizer(), unigram_tokenizer()
    modern, mpnet = modernbert_tokenizer(), mpnet_tokenizer()
    eager = {"attn_implementation": "eager"}
    ids = {}

    def sized(tokenizer, **more):
        return {"vocab_size": tokenizer.get_vocab_size(), **SIZES, **more, **eager}

    config = transformers.BertConfig(**sized(plain, **TABLE, layer_norm_eps=1e-6, tie_word_embeddings=False))
    bert = random_weights(transformers.BertForMaskedLM(config), 1)
    bert.cls.predictions.decoder.bias = bert.cls.predictions.bias
    ids["bert"] = make("bert", bert, plain, bert_names, save_bert(bert))

    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": MAX_TOKENS}
    config = transformers.DistilBertConfig(vocab_size=plain.get_vocab_size(), **sizes, **eager)
    model = random_weights(transformers.DistilBertForMaskedLM(config), 2)
    ids["distilbert"] = make("distilbert", model, plain, bert_names)

    config = transformers.RobertaConfig(**sized(bpe, **OFFSET, type_vocab_size=1, layer_norm_eps=1e-5))
    model = random_weights(transformers.RobertaForMaskedLM(config), 3)
    ids["roberta"] = make("roberta", model, bpe, {**fairseq, "unk_token": "<unk>"})

    config = transformers.XLMRobertaConfig(**sized(unigram, **OFFSET, type_vocab_size=1, layer_norm_eps=1e-5))
    model = random_weights(transformers.XLMRobertaForMaskedLM(config), 4)
    ids["xlm-roberta"] = make("xlm-roberta", model, unigram, {**fairseq, "unk_token": "<unk>"})

    config = transformers.MPNetConfig(**sized(mpnet, **OFFSET, layer_norm_eps=1e-5))
    model = random_weights(transformers.MPNetForMaskedLM(config), 5)
    ids["mpnet"] = make("mpnet", model, mpnet, {**fairseq, "unk_token": "[UNK]"})

    tokens = {f"{kind}_token_id": modern.token_to_id(f"[{kind.upper()}]") for kind in ("pad", "cls", "sep")}
    config = transformers.ModernBertConfig(
        **{**sized(modern, **tokens), "num_hidden_layers": 4},
        bos_token_id=tokens["cls_token_id"],
        eos_token_id=tokens["sep_token_id"],
        max_position_embeddings=MAX_TOKENS,
        local_attention=24,
        global_attn_every_n_layers=3,
    )
    model = random_weights(transformers.ModernBertForMaskedLM(config), 6)
    ids["modernbert"] = make("modernbert", model, modern, bert_names)

    theta, factor = 500.0, 2.0
    rotary = {"max_position_embeddings": MAX_TOKENS, "pad_token_id": 0, "layer_norm_eps": 1e-12}
    config = transformers.GteConfig(**sized(plain, **rotary, type_vocab_size=0))
    model = ntk(random_weights(transformers.GteForMaskedLM(config), 7), theta, factor)
    written = {
        "architectures": ["NewForMaskedLM"],
        "model_type": "new",
        "vocab_size": plain.get_vocab_size(),
        **SIZES,
        **rotary,
        "type_vocab_size": 0,
        "hidden_act": "gelu",
        "layer_norm_type": "layer_norm",
        "position_embedding_type": "rope",
        "rope_theta": theta,
        "rope_scaling": {"factor": factor, "type": "ntk"},
        "pack_qkv": True,
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
        "logn_attention_clip1": False,
        "logn_attention_scale": False,
    }
    ids["new"] = make("new", model, plain, bert_names, save_new(model, written), new_names)

    config = transformers.GteConfig(**sized(plain, **rotary, type_vocab_size=1))
    model = random_weights(transformers.GteForMaskedLM(config), 8)
    ids["gte"] = make("gte", model, plain, bert_names, rename=lambda tensors: new_names(tensors, "gte"))

    buckets = transformers.models.mpnet.modeling_mpnet.MPNetEncoder.relative_position_bucket
    numbers = buckets(torch.arange(-600, 601)).tolist()
    about = "made by families.py; ids: each family's tokens of the texts; buckets: of mpnet, for j - i = -600 to 600"
    write_json(FOLDER / "families.json", {"about": about, "texts": TEXTS, "ids": ids, "buckets": numbers})


if __name__ == "__main__":
    main()
