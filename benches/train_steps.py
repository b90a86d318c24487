"""The steps of a recipe in PyTorch, against the log that l0-train wrote: losses, time and memory.

    l0-train RECIPE.toml -o OUT --set data.0.buffer=1 --set log_every=1
    python benches/train_steps.py RECIPE.toml OUT

Reads the same recipe (one data file of {"query", "docs", "scores"}, taken in the order of its lines, as
`buffer = 1` makes l0-train do), starts from the same directory and prints, for every step, both losses.
Exits 1 if they differ by more than 1e-3 of the loss anywhere. Dropout must be 0.

    pip install torch transformers
"""

import json
import resource
import sys
import time
import tomllib
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM


def activation(pooled, depth):
    weights = torch.relu(pooled)
    for _ in range(depth):
        weights = torch.log1p(weights)
    return weights


def kl(student, teacher):
    target = torch.log_softmax(teacher, 1)
    return (target.exp() * (target - torch.log_softmax(student, 1))).sum(1).mean()


def regularizer(weights, recipe):
    if recipe["kind"] == "l0_mask":
        weights = weights * ((weights > 0).sum(1, keepdim=True) > recipe["threshold"]).float()
    return weights.mean(0).square().sum()


def rate(stage, peak, step):
    warmup = stage.get("warmup", 0)
    if step < warmup:
        return peak * (step + 1) / warmup
    left = max(stage["steps"], warmup + 1) - warmup
    return peak * (1 - (step - warmup) / left)


def query_table(tokenizer, path):
    named = json.loads(Path(path).read_text())
    table = torch.ones(tokenizer.get_vocab_size())
    for token, weight in named.items():
        table[tokenizer.token_to_id(token)] = weight
    for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
        table[tokenizer.token_to_id(token)] = 0.0
    return table.relu()


def groups(model, decay):
    """Biases and norms do not decay."""
    plain = ("bias", "LayerNorm", "layer_norm")
    named = list(model.named_parameters())
    return [
        {"params": [p for n, p in named if not any(part in n for part in plain)], "weight_decay": decay},
        {"params": [p for n, p in named if any(part in n for part in plain)], "weight_decay": 0.0},
    ]


def batches(recipe, tokenizer, table):
    stage = recipe["stage"][0]
    lines = Path(recipe["data"][0]["path"]).read_text().splitlines()
    size = stage["batch"]
    for step in range(stage["steps"]):
        rows = [json.loads(lines[(step * size + at) % len(lines)]) for at in range(size)]
        texts, queries, teacher = [], torch.zeros(size, len(table)), []
        for at, row in enumerate(rows):
            order = sorted(range(len(row["docs"])), key=lambda doc: -row["scores"][doc])
            texts += [row["docs"][doc] for doc in order]
            teacher.append([row["scores"][doc] for doc in order])
            ids = tokenizer.encode(row["query"], add_special_tokens=False).ids
            queries[at, ids] = table[ids]
        encoded = tokenizer.encode_batch(texts)
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        yield ids, mask, queries, torch.tensor(teacher, dtype=torch.float32)


def main():
    recipe = tomllib.loads(Path(sys.argv[1]).read_text())
    log = [json.loads(line) for line in (Path(sys.argv[2]) / "train.jsonl").read_text().splitlines()]
    stage, optimizer = recipe["stage"][0], recipe["optimizer"]
    base = Path(recipe["model"]["base"])
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.enable_truncation(recipe["model"]["max_tokens"])
    tokenizer.enable_padding()
    table = query_table(tokenizer, recipe["query"]["table"])
    model = AutoModelForMaskedLM.from_pretrained(base, attn_implementation="eager").eval()
    adamw = torch.optim.AdamW(groups(model, optimizer.get("weight_decay", 0.01)), lr=1.0, eps=1e-8)
    worst, seconds = 0.0, []
    for step, (ids, mask, queries, teacher) in enumerate(batches(recipe, tokenizer, table)):
        started = time.perf_counter()
        logits = model(input_ids=ids, attention_mask=mask).logits
        pooled = (logits * mask[..., None]).amax(1)
        weights = activation(pooled, recipe["model"].get("activation", 2))
        documents = weights.view(len(queries), -1, len(table))
        ranking = kl(torch.einsum("qv,qnv->qn", queries, documents), teacher)
        penalty = stage["regularizer"]
        factor = penalty["lambda"] * min((step + 1) / penalty["ramp"], 1.0) ** 2
        loss = ranking + factor * regularizer(weights, penalty)
        adamw.zero_grad()
        loss.backward()
        for group in adamw.param_groups:
            group["lr"] = rate(stage, optimizer["lr"], step)
        adamw.step()
        seconds.append(time.perf_counter() - started)
        ours = log[step]
        off = abs(ours["loss"] - loss.item()) / abs(loss.item())
        worst = max(worst, off)
        terms = (weights > 0).sum(1).float().mean().item()
        print(f"{step + 1:4} {loss.item():.7f} {ours['loss']:.7f} {off:.1e}  {terms:.1f} {ours['nnz']:.1f} terms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    documents = stage["batch"] * stage.get("documents", 2)
    middle = sorted(seconds)[len(seconds) // 2]
    rates = sorted(record["docs_per_second"] for record in log)
    print(f"worst relative difference of the loss: {worst:.1e}")
    print(f"PyTorch: {middle:.3f} s a step in the middle, peak {peak} MB")
    print(f"l0-train: {documents / rates[len(rates) // 2]:.3f} s, {max(r['memory_mb'] for r in log)} MB")
    sys.exit(worst > 1e-3)


if __name__ == "__main__":
    main()
