"""The same training steps in l0-train and in PyTorch, in turn: losses, time, memory.

    cargo build --release
    L0_MODELS=DIR python benches/train.py [--program target/release/l0-train] [--rounds 3] [CASE...]

DIR holds splade-tiny and minilm-l6 (which gets a random vocabulary head here). A case is MODEL:BATCHxTOKENS, or
MODEL:BATCHxmixed for texts of 16 to 256 tokens as they come. Texts are passages of testdata/demo, teacher scores are
random with a fixed seed; everything is written below --scratch, and is the same in every run. A step is: forward, KL
against the teacher and the l0 mask loss, backward, AdamW, no dropout, f32. PyTorch pads; it uses fused AdamW and the
attention named by --attention.

A round runs both programs one after the other. Per step: `wall` is the median of a round's steps, `cpu` the processor
time of the process (user and system, all threads) between the steps; `peak` is the largest resident memory of the
whole process, from start to saved model. Medians over rounds are printed, and their ratios l0-train / PyTorch. Exits
1 if the losses of any step differ by more than 1e-3 of the loss.

    pip install torch transformers
"""

import argparse
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASES = [f"{model}:{shape}" for model in ("splade-tiny", "minilm-l6") for shape in ("8x128", "16x256", "16xmixed")]
DOCUMENTS = 2  # a query
WARM = 5  # steps that are not timed
LARGEST_DIFFERENCE = 1e-3

RECIPE = """log_every = 1
[model]
base = "{base}"
max_tokens = {tokens}
[query]
table = "{table}"
[optimizer]
lr = 1e-4
[[data]]
path = "{data}"
buffer = 1
[[stage]]
steps = {steps}
batch = {queries}
documents = 2
warmup = 5
loss = [{{ kind = "kl" }}]
regularizer = {{ kind = "l0_mask", lambda = 0.04, ramp = 20, threshold = 150 }}
"""


# --- what both are given


def passages():
    lines = (ROOT / "testdata/demo/corpus.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def write_data(path, queries, mixed):
    """Enough passages one after the other to be cut to any length, or few enough to have many lengths."""
    texts, draw = passages(), random.Random(1)
    with path.open("w") as out:
        for _ in range(queries):
            docs = []
            for _ in range(DOCUMENTS):
                text = " ".join(draw.sample(texts, draw.randint(1, 3) if mixed else 8))
                docs.append(text[: draw.randint(60, 1200)] if mixed else text)
            query = " ".join(draw.choice(docs).split()[3:9])
            out.write(json.dumps({"query": query, "docs": docs, "scores": [draw.random() for _ in docs]}) + "\n")


def write_table(path, tokenizer):
    texts = passages()
    found = {}
    for text in texts:
        for term in set(tokenizer.encode(text, add_special_tokens=False).ids):
            found[term] = found.get(term, 0) + 1
    idf = lambda count: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5))
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = tokenizer.get_vocab().items()
    named = {token: idf(found.get(term, 0)) for token, term in vocabulary if token not in special}
    path.write_text(json.dumps(named))


def base_of(model, models, scratch):
    """The model's directory; one with a random head if it has none."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    directory = models / model
    if "MaskedLM" in AutoConfig.from_pretrained(directory).architectures[0]:
        return directory
    made = scratch / f"{model}-with-head"
    if not made.exists():
        torch.manual_seed(0)
        AutoModelForMaskedLM.from_pretrained(directory).save_pretrained(made)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(directory / name, made / name)
    return made


def folder_of(case, args):
    return args.scratch / case.replace(":", "-")


def write_case(case, args):
    from tokenizers import Tokenizer

    model, shape = case.split(":")
    batch, length = shape.split("x", 1)
    base = base_of(model, args.models, args.scratch)
    folder = folder_of(case, args)
    folder.mkdir(parents=True, exist_ok=True)
    data, table = folder / "data.jsonl", folder / "idf.json"
    queries = int(batch) // DOCUMENTS
    write_data(data, queries * args.steps, length == "mixed")
    write_table(table, Tokenizer.from_file(str(base / "tokenizer.json")))
    tokens = 256 if length == "mixed" else int(length)
    recipe = RECIPE.format(base=base, tokens=tokens, table=table, data=data, steps=args.steps, queries=queries)
    (folder / "recipe.toml").write_text(recipe)


# --- the steps in PyTorch


def batches(recipe, tokenizer, table):
    import torch

    stage = recipe["stage"][0]
    lines = Path(recipe["data"][0]["path"]).read_text().splitlines()
    size = stage["batch"]
    for step in range(stage["steps"]):
        rows = [json.loads(line) for line in lines[step * size : (step + 1) * size]]
        texts, queries, teacher = [], torch.zeros(size, len(table)), []
        for at, row in enumerate(rows):
            order = sorted(range(DOCUMENTS), key=lambda doc: -row["scores"][doc])
            texts += [row["docs"][doc] for doc in order]
            teacher.append([row["scores"][doc] for doc in order])
            ids = tokenizer.encode(row["query"], add_special_tokens=False).ids
            queries[at, ids] = table[ids]
        encoded = tokenizer.encode_batch(texts)
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        yield ids, None if mask.all() else mask, queries, torch.tensor(teacher)


def query_table(tokenizer, path):
    import torch

    table = torch.zeros(tokenizer.get_vocab_size())
    for token, weight in json.loads(Path(path).read_text()).items():
        table[tokenizer.token_to_id(token)] = weight
    return table


def loss_of(model, batch, penalty, step, depth=2):
    import torch

    ids, mask, queries, teacher = batch
    logits = model(input_ids=ids, attention_mask=mask).logits
    if mask is not None:
        logits = logits * mask[..., None]
    weights = logits.max(1).values.relu()
    for _ in range(depth):
        weights = weights.log1p()
    scores = torch.einsum("qv,qnv->qn", queries, weights.view(len(queries), DOCUMENTS, -1))
    target = teacher.log_softmax(1)
    ranking = (target.exp() * (target - scores.log_softmax(1))).sum(1).mean()
    paying = ((weights > 0).sum(1, keepdim=True) > penalty["threshold"]).float()
    factor = penalty["lambda"] * min((step + 1) / penalty["ramp"], 1.0) ** 2
    return ranking + factor * (weights * paying).mean(0).square().sum()


def groups(model, decay):
    """Biases and norms do not decay."""
    plain = lambda name: "bias" in name or "LayerNorm" in name
    named = list(model.named_parameters())
    return [
        {"params": [value for name, value in named if not plain(name)], "weight_decay": decay},
        {"params": [value for name, value in named if plain(name)], "weight_decay": 0.0},
    ]


def rate(stage, peak, step):
    warmup = stage["warmup"]
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 - (step - warmup) / (stage["steps"] - warmup))


def run_torch(recipe, args):
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForMaskedLM

    torch.set_num_threads(args.threads)
    log, recipe = recipe.parent / "torch" / "train.jsonl", tomllib.loads(recipe.read_text())
    stage, peak = recipe["stage"][0], recipe["optimizer"]["lr"]
    base = recipe["model"]["base"]
    tokenizer = Tokenizer.from_file(f"{base}/tokenizer.json")
    tokenizer.enable_truncation(recipe["model"]["max_tokens"])
    tokenizer.enable_padding()
    model = AutoModelForMaskedLM.from_pretrained(base, attn_implementation=args.attention).eval()
    adamw = torch.optim.AdamW(groups(model, 0.01), lr=peak, eps=1e-8, fused=True)
    table = query_table(tokenizer, recipe["query"]["table"])
    since = time.perf_counter()
    with log.open("w", buffering=1) as log:
        for step, batch in enumerate(batches(recipe, tokenizer, table)):
            loss = loss_of(model, batch, stage["regularizer"], step)
            adamw.zero_grad(set_to_none=True)
            loss.backward()
            for group in adamw.param_groups:
                group["lr"] = rate(stage, peak, step)
            adamw.step()
            now = time.perf_counter()
            documents = stage["batch"] * DOCUMENTS
            log.write(json.dumps({"loss": loss.item(), "docs_per_second": documents / (now - since)}) + "\n")
            since = time.perf_counter()


# --- what is measured


def lines_in(path):
    return path.read_text().count("\n") if path.exists() else 0


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(command, out, steps, documents):
    """Runs a program that writes out/train.jsonl: losses, and wall and cpu seconds a step, peak in MB."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    log = out / "train.jsonl"
    seen = []
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while child.poll() is None:
        done = lines_in(log)
        if done >= WARM and (not seen or done > seen[-1][0]):
            try:
                seen.append((done, processor_seconds(child.pid)))
            except (FileNotFoundError, ProcessLookupError, IndexError):
                pass  # it ended between the two looks
        if done >= steps:
            break
        time.sleep(0.005)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed: {child.stderr.read().decode()}")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    (first, before), (last, after) = seen[0], seen[-1]
    return {
        "losses": [record["loss"] for record in records],
        "wall": statistics.median(documents / record["docs_per_second"] for record in records[WARM:]),
        "cpu": (after - before) / (last - first),
        "peak": usage.ru_maxrss / 1024,
    }


def shared(args):
    """What a child is told of the arguments."""
    names = ("models", "scratch", "steps", "threads", "attention")
    return [word for name in names for word in (f"--{name}", str(getattr(args, name)))]


def measure(case, args):
    # in a process of its own: a child begins with the peak of the process it was forked from
    subprocess.run([sys.executable, __file__, "--write", case, *shared(args)], check=True)
    recipe = folder_of(case, args) / "recipe.toml"
    documents = int(case.split(":")[1].split("x", 1)[0])
    ours = [args.program, recipe, "-o", recipe.parent / "l0", "--threads", str(args.threads), "--quiet"]
    theirs = [sys.executable, __file__, "--torch", recipe, *shared(args)]
    rounds = []
    for _ in range(args.rounds):
        pair = [(ours, recipe.parent / "l0"), (theirs, recipe.parent / "torch")]
        rounds.append([watched(command, out, args.steps, documents) for command, out in pair])
    losses = zip(rounds[0][0]["losses"], rounds[0][1]["losses"], strict=True)
    worst = max(abs(a - b) / abs(b) for a, b in losses)
    middle = lambda which, name: statistics.median(pair[which][name] for pair in rounds)
    ratio = lambda name: statistics.median(pair[0][name] / pair[1][name] for pair in rounds)
    print(
        f"{case:21}"
        + "".join(f"{middle(which, 'wall'):9.3f}{middle(which, 'cpu'):8.3f}{middle(which, 'peak'):7.0f}" for which in (0, 1))
        + "".join(f"{ratio(name):7.2f}" for name in ("wall", "cpu", "peak"))
        + f"{worst:10.1e}",
        flush=True,
    )
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--models", type=Path, default=Path(os.environ.get("L0_MODELS", "models")).resolve())
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/l0-train")
    parser.add_argument("--scratch", type=Path, default=ROOT / "target/bench-train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--torch", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.scratch = args.scratch.resolve()
    if args.write:
        return write_case(args.write, args)
    if args.torch:
        return run_torch(args.torch, args)
    print(f"{'':21}{'l0-train: s':>9}{'cpu s':>8}{'MB':>5}{'PyTorch: s':>11}{'cpu s':>7}{'MB':>6}   ratios{'loss off':>22}")
    sys.exit(max(measure(case, args) for case in args.cases) > LARGEST_DIFFERENCE)


if __name__ == "__main__":
    main()
