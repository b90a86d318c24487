"""The toy vocabulary, tokenizer, models and query table; `make.py` describes the directories."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM

TESTDATA = Path(__file__).resolve().parents[1]

HIDDEN, HEADS, INTERMEDIATE, LAYERS, MAX_TOKENS = 32, 2, 64, 2, 64
ST_MAX_TOKENS = 24

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]_{|}")  # without ^ ` ~, which are thus unknown
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
DIGITS = list("0123456789")
PIECES = """
    ##ing ##ed ##er ##ly ##tion ##al ##ment ##ness ##able ##ous ##ic ##ive ##en ##es ##est ##ful ##less
    ##ity ##or ##an ##on ##in ##at ##re ##th ##ate ##ize ##ology ##graph
""".split()
WORDS = """
    the of and to in is that it for was on are as with be at by from this have or had not but what all were
    when we there can an your which their said if do will each about how up out them then she many some so
    these would other into has more her two like him see time could no make than first been its who now
    people my made over did down only way find use may water long little very after word called just where
    most know get through back much before go good new write our used me man too any day same right look
    think also around another came come work three must because does part even place well such here take why
    help put different away again off went old number great tell men say small every found still between
    name should home big give air line set own under read last never us left end along while might next
    sound below saw something thought both few those always show large often together asked house world
    going want school important until form food keep children feet land side without boy once animal life
    enough took four head above kind began almost live page got earth need far hand high year mother light
    country father let night picture being study second soon story since white ever paper hard near sentence
    better best across during today however sure knew try told young sun thing whole hear example heard
    several change answer room sea against top turned learn point city play toward five himself usually
    money seen car morning weather search query document term weight sparse retrieval engine index model
    language rain wind storm river heart blood cell patient
""".split()
VOCABULARY = SPECIALS + PUNCTUATION + DIGITS + LETTERS + [f"##{c}" for c in DIGITS + LETTERS] + PIECES + WORDS
TERM = {token: i for i, token in enumerate(VOCABULARY)}
V = len(VOCABULARY)


# --- tokenizer


def make_tokenizer():
    tokenizer = Tokenizer(models.WordPiece(TERM, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, TERM[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def write_tokenizer(directory, tokenizer):
    names = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    write_json(directory / "special_tokens_map.json", names)
    write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "do_basic_tokenize": True,
            "tokenize_chinese_chars": True,
            "strip_accents": None,
            "never_split": None,
            "model_max_length": MAX_TOKENS,
            **names,
        },
    )
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY), encoding="utf-8")


# --- models

BERT_CONFIG = {
    "architectures": ["BertForMaskedLM"],
    "model_type": "bert",
    "vocab_size": V,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INTERMEDIATE,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": MAX_TOKENS,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
    "dtype": "float32",
}

DISTILBERT_CONFIG = {
    "architectures": ["DistilBertForMaskedLM"],
    "model_type": "distilbert",
    "vocab_size": V,
    "dim": HIDDEN,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "hidden_dim": INTERMEDIATE,
    "activation": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "max_position_embeddings": MAX_TOKENS,
    "initializer_range": 0.02,
    "pad_token_id": 0,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "tie_word_embeddings": True,
    "dtype": "float32",
}


def random_weights(model, seed):
    """Lively values for every parameter, so that a wrong wire anywhere shows in the output."""
    random = np.random.RandomState(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = random.standard_normal(tuple(parameter.shape))
        low = name.lower()
        if name in ("cls.predictions.bias", "vocab_projector.bias"):
            value = 2.0 * noise - 8.5
        elif "embeddings.weight" in low:
            value = (0.6 if "word" in low else 0.3) * noise
        elif "layernorm" in low or "layer_norm" in low:
            value = (1.0 if low.endswith("weight") else 0.0) + 0.2 * noise
        elif low.endswith("bias"):
            value = 0.2 * noise
        else:
            value = 1.3 / math.sqrt(parameter.shape[1]) * noise
        parameter.data = torch.tensor(value, dtype=torch.float16).to(torch.float32)
    return model.eval()


def stored(model, decoder):
    """The state dict as checkpoints hold it: without the decoder, which is tied to the word embeddings."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(decoder)}


def old_state_dict(model):
    """Old names, and the tensors old checkpoints have besides; the decoder shares its storage, as there."""
    random = np.random.RandomState(4)

    def extra(*shape):
        return torch.tensor(random.standard_normal(shape), dtype=torch.float32)

    state = {"bert.embeddings.position_ids": torch.arange(MAX_TOKENS)[None]}
    for name, tensor in stored(model, "cls.predictions.decoder").items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        state[name] = tensor
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"]
    state["bert.pooler.dense.weight"] = extra(HIDDEN, HIDDEN)
    state["bert.pooler.dense.bias"] = extra(HIDDEN)
    state["cls.seq_relationship.weight"] = extra(2, HIDDEN)
    state["cls.seq_relationship.bias"] = extra(2)
    return state


def make_models(tokenizer):
    bert = random_weights(BertForMaskedLM(BertConfig(**BERT_CONFIG, attn_implementation="eager")), seed=1)
    distilbert = random_weights(
        DistilBertForMaskedLM(DistilBertConfig(**DISTILBERT_CONFIG, attn_implementation="eager")), seed=2
    )
    toy, distil, old, st = (fresh(TESTDATA / name) for name in ("toy", "toy-distilbert", "toy-old", "toy-st"))

    half = {name: tensor.half() for name, tensor in stored(bert, "cls.predictions.decoder").items()}
    for directory in (toy, st):
        write_json(directory / "config.json", BERT_CONFIG)
        save_file(half, directory / "model.safetensors", metadata={"format": "pt"})
        write_tokenizer(directory, tokenizer)

    write_json(distil / "config.json", DISTILBERT_CONFIG)
    # transformers ties vocab_projector.weight; the bias of the projector is a tensor of its own and stays
    save_file(
        stored(distilbert, "vocab_projector.weight"), distil / "model.safetensors", metadata={"format": "pt"}
    )
    write_tokenizer(distil, tokenizer)

    write_json(old / "config.json", BERT_CONFIG)
    torch.save(old_state_dict(bert), old / "pytorch_model.bin")
    settled = Tokenizer.from_str(tokenizer.to_str())
    settled.enable_truncation(MAX_TOKENS)
    settled.enable_padding(pad_id=TERM["[PAD]"], pad_token="[PAD]")
    write_tokenizer(old, settled)

    write_sentence_transformers(st, tokenizer)
    check_loads(bert, distilbert)
    return bert, distilbert


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def check_loads(bert, distilbert):
    """transformers itself reads each directory and finds the same weights."""
    for name, model in (("toy", bert), ("toy-old", bert), ("toy-st", bert), ("toy-distilbert", distilbert)):
        loaded, info = type(model).from_pretrained(TESTDATA / name, output_loading_info=True)
        assert not info["missing_keys"], (name, info)
        for key, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], tensor), (name, key)


# --- the query table


def idf(documents, df):
    return math.log(1 + (documents - df + 0.5) / (df + 0.5))


def idf_table():
    """idf.json as published tables have it: specials 1.0, some tokens absent; and two values below zero."""
    random = np.random.RandomState(3)
    documents = 1000
    table = {}
    for token in VOCABULARY:
        share = random.uniform(0.0, 1.0) ** 4  # skewed: few common tokens, many rare
        df = round(share * documents)
        table[token] = 1.0 if token in SPECIALS else round(idf(documents, df), 5)
    table.update({"the": -0.25, ".": -0.01, ",": 0.17637})
    for token in ("country", "mother", "father", "##ize", "zero", "9", "{"):
        table.pop(token, None)
    return table


def query_weights(table):
    """One weight a term: relu of the table, 1 where it has no entry, 0 for specials."""
    weights = torch.tensor([max(table.get(token, 1.0), 0.0) for token in VOCABULARY], dtype=torch.float32)
    weights[[TERM[token] for token in SPECIALS]] = 0.0
    return weights


def write_sentence_transformers(directory, tokenizer):
    part = "sentence_transformers.sparse_encoder.models"
    query, document = "query_0_SparseStaticEmbedding", "document_1_SpladePooling"
    table = idf_table()
    weights = query_weights(table)

    write_json(
        directory / "modules.json",
        [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}],
    )
    write_json(
        directory / "router_config.json",
        {
            "types": {
                query: f"{part}.SparseStaticEmbedding",
                "": f"{part}.MLMTransformer",
                document: f"{part}.SpladePooling",
            },
            "structure": {"query": [query], "document": ["", document]},
            "parameters": {"default_route": "document", "allow_empty_key": True},
        },
    )
    write_json(
        directory / "config_sentence_transformers.json",
        {
            "model_type": "SparseEncoder",
            "__version__": {"sentence_transformers": "5.1.2", "transformers": "4.56.2", "pytorch": "2.8.0"},
            "prompts": {"query": "", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "dot",
        },
    )
    write_json(
        directory / "sentence_bert_config.json", {"max_seq_length": ST_MAX_TOKENS, "do_lower_case": False}
    )
    write_json(directory / "idf.json", table)
    (directory / "query_token_weights.txt").write_text(
        "".join(f"{token}\t{decimal(weight)}\n" for token, weight in zip(VOCABULARY, weights, strict=True)),
        encoding="utf-8",
    )

    (directory / query).mkdir()
    write_json(directory / query / "config.json", {"frozen": True})
    save_file({"weight": weights}, directory / query / "model.safetensors")
    write_tokenizer(directory / query, tokenizer)

    (directory / document).mkdir()
    write_json(
        directory / document / "config.json",
        {"pooling_strategy": "max", "activation_function": "log1p_relu", "word_embedding_dimension": V},
    )


def decimal(weight):
    """The shortest decimal that reads back as the same float32."""
    return str(np.float32(weight))


# --- writing


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tensors(path, tensors):
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
