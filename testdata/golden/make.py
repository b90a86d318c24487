"""Makes testdata/toy*, and the PyTorch values in testdata/golden that the Rust code is tested against.

    pip install torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6
    python testdata/golden/make.py

Takes seconds on one core and writes the same bytes each time. The last digits of the dumps may move with
another version of PyTorch; the toy weights, vocabulary and idf table do not (numpy's frozen RandomState).
`toy.py` has the models, `operators.py` the formulas, `ops.py` their dump; what is written here transformers
must read back equal.

Models (random weights, scaled so that a text makes some terms positive and most negative):

    toy             BertForMaskedLM, F16 tensors, decoder tied and absent
    toy-distilbert  DistilBertForMaskedLM, F32 tensors, the same tokenizer
    toy-old         toy's weights as a pytorch_model.bin (F32) under the names of old checkpoints, with
                    tensors that a loader must ignore; its tokenizer.json sets truncation and padding
    toy-st          toy as a Sentence Transformers directory with a query table in three spellings

All weights are numbers that F16 holds exactly: toy, toy-old and toy-st are one model.

Dumps (a .json beside each .safetensors says what the tensors are): encoder, query, paper, ops, step,
step_distilbert, masked.
A mask is 1 on tokens and 0 on padding. "Depth d" is ln(1 + .) applied d times to relu of the logit.
"""

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from operators import activation, embedding_table, flops, kl, l0_mask, l0_mask_flops, max_pool
from ops import make_ops
from toy import (
    HIDDEN,
    MAX_TOKENS,
    ST_MAX_TOKENS,
    TERM,
    TESTDATA,
    VOCABULARY,
    V,
    decimal,
    idf,
    idf_table,
    make_models,
    make_tokenizer,
    query_weights,
    write_json,
    write_tensors,
)

GOLDEN = TESTDATA / "golden"
DEPTHS = (1, 2, 3, 4)

LONG = """the storm came across the sea and the rain turned every river into a light of water
while we thought about home """
TEXTS = [
    "the weather in the city is good today",
    "Sparse retrieval: how a search engine uses an inverted index, term by term.",
    LONG * 5,  # beyond MAX_TOKENS
    " ".join(["water"] * (MAX_TOKENS - 2)),  # exactly MAX_TOKENS
    " ".join(["wind", "rain"] * 31 + ["sun"]),  # one more, and its last word is cut
    'Hello, world! (what\'s up?) -- 3.14% of $2,500; a/b_c\\d {e|f} "g" ^`~',
    "Café naïve résumé, Über Zürich; e\u0301te\u0301, İstanbul Straße ŁÓDŹ",
    "日本語の文書 и русский текст",
    "",
    " \t\n\u0000\ufffd\u200b",
    "good morning 😀👍🏽 people",
    "THE RIVER Blood CELL",
    "water water water",
    "x" * 101 + " " + "y" * 100,  # WordPiece gives up past 100 characters
    "[CLS] the [MASK] of [SEP] [UNK] [PAD] [cls]",
    "co\u00adoperate zero\u200bwidth ﬁne ½ ² Ⅳ",
]

QUERIES = [
    "what is the weather today",
    "water water water and the rain",
    "THE WEATHER in The City",
    "Sparse Retrieval engines",
    "日本語 weather 😀",
    "naïve café",
    "[MASK] the [SEP] heart",
    "patient, blood & cell.",
    "country mother",  # both absent from the table
    "the , .",  # nothing positive is left but ","
    "",
    "   ",
    "日本",
]


def make_queries(tokenizer):
    weights = query_weights(idf_table())
    rows = []
    for text in QUERIES:
        encoding = tokenizer.encode(text)
        terms = sorted(set(encoding.ids))
        rows.append(
            {
                "text": text,
                "tokens": encoding.tokens,
                "weights": {VOCABULARY[j]: float(decimal(weights[j])) for j in terms if weights[j] > 0},
            }
        )
    about = (
        "queries of toy-st: the set of tokens, each with relu(idf); specials and [UNK] out; a token without "
        "entry in idf.json has 1; only weights above 0 are listed, by ascending term id; weights are float32"
    )
    write_json(GOLDEN / "query.json", {"about": about, "model": "toy-st", "queries": rows})


def encoded(tokenizer, max_tokens):
    truncated = Tokenizer.from_str(tokenizer.to_str())
    truncated.enable_truncation(max_tokens)
    return [truncated.encode(text) for text in TEXTS]


def forward(model, encodings):
    """One text at a time, in float64: pooled logits [text, V] and the last hidden states, [T, H] each."""
    model.double()
    pooled, hidden = [], []
    for encoding in encodings:
        ids = torch.tensor([encoding.ids])
        mask = torch.ones_like(ids)
        with torch.no_grad():
            output = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        pooled.append(max_pool(output.logits, mask)[0])
        hidden.append(output.hidden_states[-1][0])
    model.float()
    pooled = torch.stack(pooled)
    assert pooled.abs().min() > 1e-4, "a logit so near 0 that its term comes and goes with rounding"
    return pooled, hidden


def make_encoder(tokenizer, bert, distilbert):
    """For each text and model: ids, pooled logits, weights by depth; float64 inside, stored as float32."""
    encodings = encoded(tokenizer, MAX_TOKENS)
    tensors = {}
    for name, model in (("bert", bert), ("distilbert", distilbert)):
        pooled, hidden = forward(model, encodings)
        tensors[f"{name}.logits"] = pooled.float()
        tensors[f"{name}.hidden"] = hidden[1].float()
        for depth in DEPTHS:
            tensors[f"{name}.weights.{depth}"] = activation(pooled, depth).float()
    short, _ = forward(bert, encoded(tokenizer, ST_MAX_TOKENS))
    tensors["st.weights.2"] = activation(short, 2).float()
    write_tensors(GOLDEN / "encoder.safetensors", tensors)

    about = {
        "{bert,distilbert}.logits": "[text, V] largest logit over all tokens, specials included, before relu",
        "{bert,distilbert}.weights.{1,2,3,4}": "[text, V] ln(1 + .) applied 1..4 times to relu of the logit",
        "{bert,distilbert}.hidden": "[T, H] last hidden state of text 1, before the masked-LM head",
        "st.weights.2": f"[text, V] toy-st as its files say: depth 2, {ST_MAX_TOKENS} tokens",
    }
    texts = [{"text": t, "ids": e.ids, "tokens": e.tokens} for t, e in zip(TEXTS, encodings, strict=True)]
    models = {"bert": "toy", "distilbert": "toy-distilbert", "st": "toy-st"}
    write_json(
        GOLDEN / "encoder.json",
        {"tensors": about, "models": models, "max_tokens": MAX_TOKENS, "texts": texts},
    )


def lambda_ramp(peak, steps, step):
    return peak * min((step + 1) / steps, 1.0) ** 2


def make_paper():
    """Values printed in the literature or worked out by hand; recomputed here."""
    two = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    double_log = activation(torch.tensor([1.0, 5.0, 20.0], dtype=torch.float64), 2)
    cases = [
        ("l0_mask_all", {"weights": two.tolist(), "threshold": 2}, 0.75, l0_mask_flops(two, 2, "all").item()),
        ("flops", {"weights": two.tolist()}, 1.5, flops(two).item()),
        (
            "l0_mask_kept",
            {"weights": two.tolist(), "threshold": 2},
            3.0,
            l0_mask_flops(two, 2, "kept").item(),
        ),
        ("lambda_ramp", {"lambda": 0.04, "steps": 10000, "step": 4999}, 0.01, lambda_ramp(0.04, 10000, 4999)),
        (
            "lambda_ramp",
            {"lambda": 0.04, "steps": 10000, "step": 20000},
            0.04,
            lambda_ramp(0.04, 10000, 20000),
        ),
        ("idf", {"documents": 8841823, "df": 1}, 15.58954, idf(8841823, 1)),
        ("activation", {"logit": 5.0, "depth": 2}, 1.02667, double_log[1].item()),
        ("count_flops", {"queries": [1.0, 0.5], "documents": [0.5, 0.5]}, 0.75, 1.0 * 0.5 + 0.5 * 0.5),
    ]
    for logit, row in (
        (1.0, (0.693, 0.527, 0.423, 0.353)),
        (5.0, (1.792, 1.027, 0.706, 0.534)),
        (20.0, (3.045, 1.397, 0.874, 0.628)),
    ):
        for depth, printed in zip(DEPTHS, row, strict=True):
            value = activation(torch.tensor(logit, dtype=torch.float64), depth).item()
            cases.append(("activation", {"logit": logit, "depth": depth}, printed, value))
    for logit, row in ((1.0, (0.5, 0.295)), (5.0, (0.167, 0.060)), (20.0, (0.048, 0.012))):
        for depth, printed in zip((1, 2), row, strict=True):
            z = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
            activation(z, depth).backward()
            cases.append(("activation_gradient", {"logit": logit, "depth": depth}, printed, z.grad.item()))
    for name, given, printed, value in cases:
        assert abs(printed - value) < 10.0 ** -decimals(printed) * 0.5001, (name, given, printed, value)
    write_json(
        GOLDEN / "paper.json",
        {
            "about": "printed: as given in the literature, rounded; value: the formula in float64",
            "cases": [{"check": n, "given": g, "printed": p, "value": v} for n, g, p, v in cases],
        },
    )


def decimals(number):
    return len(repr(number).partition(".")[2])


STEP_QUERIES = ["weather and rain in the city", "how does a search engine find a document"]
STEP_DOCUMENTS = [
    "the storm came from the sea today and the wind was hard",
    "people live in a house",
    "a sparse model gives each term of the document a weight, and the index answers the query",
    "Water.",
]
STEP = {"depth": 2, "lambda": 0.01, "documents_per_query": 2}
TEACHER = [[2.0, 0.5], [1.25, 1.0]]


def padded(row, width):
    return row + [0] * (width - len(row))


def step_documents(tokenizer):
    """[4,T] ids and mask, padded with 0."""
    encodings = [tokenizer.encode(text) for text in STEP_DOCUMENTS]
    width = max(len(e.ids) for e in encodings)
    ids = torch.tensor([padded(e.ids, width) for e in encodings])
    return ids, torch.tensor([padded(e.attention_mask, width) for e in encodings])


def worst_error(single, gradients):
    """Of float32 against float64, relative to the length of each gradient."""
    error = [
        ((single[name] - gradient).norm() / gradient.norm()).item()
        for name, gradient in gradients.items()
        if ".key.bias" not in name and "k_lin.bias" not in name
    ]
    return float(f"{max(error):.1e}")


def make_step(name, tokenizer, model, threshold, learned):
    """One training step's loss and all gradients; float64 inside, stored as float32, without dropout.

    `learned` names what the query weights are made of besides `model`'s word embeddings, and how.
    """
    ids, mask = step_documents(tokenizer)
    present = torch.zeros(len(STEP_QUERIES), V)
    for row, text in enumerate(STEP_QUERIES):
        present[row, sorted(set(tokenizer.encode(text).ids))] = 1.0
    teacher = torch.tensor(TEACHER)
    leaves, table_of = learned

    def run(dtype):
        model.to(dtype).zero_grad()
        own = {key: leaf.to(dtype).clone().requires_grad_() for key, leaf in leaves.items()}
        table = table_of(model.get_input_embeddings().weight, own)
        weights = activation(max_pool(model(input_ids=ids, attention_mask=mask).logits, mask), STEP["depth"])
        documents = weights.view(len(STEP_QUERIES), STEP["documents_per_query"], V)
        scores = torch.einsum("qv,qnv->qn", present.to(dtype) * table, documents)
        ranking = kl(scores, teacher.to(dtype))
        penalty = l0_mask_flops(weights, threshold, "all")
        loss = ranking + STEP["lambda"] * penalty
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        gradients.update({f"query.{key}": leaf.grad for key, leaf in own.items()})
        values = {"loss": loss.item(), "kl": ranking.item(), "flops": penalty.item()}
        return weights, scores, values, gradients, table

    weights, scores, values, gradients, table = run(torch.float64)
    single = run(torch.float32)[3]
    kept = l0_mask(weights, threshold)[:, 0].int().tolist()
    assert 0 < sum(kept) < len(kept), (weights > 0).sum(1)
    tensors = {
        "ids": ids,
        "mask": mask,
        "present": present,
        "table": table.float(),
        "teacher": teacher,
        "weights": weights.float(),
        "scores": scores.float(),
        **{f"query.{key}": leaf for key, leaf in leaves.items()},
        **{f"grad.{key}": gradient.float() for key, gradient in gradients.items()},
    }
    write_tensors(GOLDEN / f"{name}.safetensors", tensors)
    write_json(
        GOLDEN / f"{name}.json",
        {
            "about": {
                "loss": "kl(teacher, scores) + lambda * flops; scores = queries . their own documents",
                "flops": "l0 mask loss, pooled over the 4 documents, denominator all",
                "ids, mask": "[4, T] documents, query-major; padded with 0; mask 1 = token",
                "present, table": "[2, V] 1 = a term of the query; [V] query weights; queries = present * table",
                "weights, scores": "[4, V] document weights; [2, 2]",
                "query.NAME": "what the table is made of: itself, or weight [H] and bias [] of ln(1 + relu(E w + b))",
                "grad.NAME": "gradient of the loss for each parameter; word embeddings = decoder",
                "zero": "key.bias has gradient 0 up to rounding (softmax does not see it)",
            },
            **STEP,
            "threshold": threshold,
            "query_texts": STEP_QUERIES,
            "document_texts": STEP_DOCUMENTS,
            "terms_per_document": (weights > 0).sum(1).tolist(),
            "kept": kept,
            "values": values,
            "float32_worst_relative_error": worst_error(single, gradients),
        },
    )


def learned_table():
    """A table of its own: the weights themselves are the parameter."""
    return {"table": query_weights(idf_table())}, lambda words, own: own["table"]


def learned_embedding():
    """A function of the word embeddings, which get a gradient by it too."""
    random = np.random.RandomState(6)
    weight = torch.tensor(0.3 * random.standard_normal(HIDDEN), dtype=torch.float32)
    leaves = {"weight": weight, "bias": torch.tensor(0.5)}
    return leaves, lambda words, own: embedding_table(words, own["weight"], own["bias"])


def make_masked(tokenizer, bert):
    """Masked-language modelling: the loss at hidden places and all gradients, as `make_step`."""
    ids, mask = step_documents(tokenizer)
    places = [[2, 5, 9], [1], [3, 4, 8, 15], [1]]  # the last of each stays as it is
    targets = torch.full_like(ids, -100)
    read = ids.clone()
    for row, own in enumerate(places):
        targets[row, own] = ids[row, own]
        read[row, own[:-1]] = TERM["[MASK]"]
    assert (mask.gather(1, torch.tensor([own[-1:] for own in places])) == 1).all()

    def run(dtype):
        model = bert.to(dtype)
        model.zero_grad()
        logits = model(input_ids=read, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits.view(-1, V), targets.view(-1), ignore_index=-100)
        loss.backward()
        return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}

    loss, gradients = run(torch.float64)
    tensors = {"ids": read, "mask": mask, "targets": targets}
    tensors.update({f"grad.{name}": gradient.float() for name, gradient in gradients.items()})
    write_tensors(GOLDEN / "masked.safetensors", tensors)
    about = {
        "loss": "mean cross entropy over the places with a target",
        "ids, mask, targets": "[4, T]; mask 1 = token; a target is what is to be guessed, -100 = nothing",
        "grad.NAME": "gradient of the loss for each parameter of toy; word embeddings = decoder",
    }
    error = worst_error(run(torch.float32)[1], gradients)
    write_json(
        GOLDEN / "masked.json", {"about": about, "loss": loss, "float32_worst_relative_error": error}
    )


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    torch.use_deterministic_algorithms(True)
    assert len(TERM) == V, sorted(t for t in TERM if VOCABULARY.count(t) > 1)
    tokenizer = make_tokenizer()
    bert, distilbert = make_models(tokenizer)
    make_encoder(tokenizer, bert, distilbert)
    make_queries(tokenizer)
    make_paper()
    make_ops(GOLDEN)
    make_step("step", tokenizer, bert, 45, learned_table())
    make_step("step_distilbert", tokenizer, distilbert, 33, learned_embedding())
    make_masked(tokenizer, bert)


if __name__ == "__main__":
    main()
