"""What pipelines/gpu_check.sh asks of PyTorch: models to measure with, comparisons, and the rival's figures.

    python benches/gpu.py make DIR                            # models with random weights, below DIR
    python benches/gpu.py same A.jsonl B.jsonl TOLERANCE      # vectors of the same documents
    python benches/gpu.py curves A/train.jsonl B/train.jsonl TOLERANCE
    python benches/gpu.py against MODEL VECTORS.jsonl CORPUS TOLERANCE   # vectors against PyTorch in f32
    python benches/gpu.py encode MODEL --tokens 256 --batch 64
    python benches/gpu.py train RECIPE                        # the recipe's steps: ms a step, losses
    python benches/gpu.py data DIR MODEL --batch 16 --tokens 256 --steps 40    # a recipe and its data

The models have the sizes of MiniLM-L6 and of BERT-base and 30,522 terms; the bias of their heads is such that a
document has about 200 terms. PyTorch runs in bf16 with scaled_dot_product_attention: for encoding the model is cast,
for training autocast is on and weights are f32. Encoding ends with the terms and weights of every document on the
host, as ours does; token ids are given.
"""

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TERMS = 30522
SIZES = {"minilm": (6, 384, 12, 1536), "base": (12, 768, 12, 3072)}


def passages():
    lines = (ROOT / "testdata/demo/corpus.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def write_tokenizer(folder):
    words = sorted(set(re.findall(r"[a-z0-9]+", " ".join(passages()).lower())))
    letters = sorted({letter for word in words for letter in word})
    vocabulary = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary += [word for word in words if word not in letters]
    vocabulary += [f"[unused{at}]" for at in range(TERMS - len(vocabulary))]
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [(token, at) for at, token in enumerate(SPECIAL) if token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def make(args):
    import torch
    from transformers import BertConfig, BertForMaskedLM

    for name, (layers, hidden, heads, wide) in SIZES.items():
        folder = args.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        sizes = dict(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=wide)
        model = BertForMaskedLM(BertConfig(vocab_size=TERMS, **sizes)).eval().to(device())
        tokenizer = write_tokenizer(folder)
        tokenizer.enable_truncation(256)
        with torch.no_grad():
            ids = [tokenizer.encode(text).ids for text in passages()[:32]]
            pooled = torch.cat([model(torch.tensor([one], device=device())).logits.max(1).values for one in ids])
            cut = pooled.flatten().float().sort().values[-200 * len(ids)]
            model.cls.predictions.bias -= cut
        model.cpu().save_pretrained(folder)
        print(f"{folder}: {sum(part.numel() for part in model.parameters()) / 1e6:.0f} M weights")


# --- comparisons


def vectors(path):
    return {row["_id"]: dict(zip(row["indices"], row["values"])) for row in map(json.loads, open(path))}


def report(pairs, tolerance, what):
    """Pairs of vectors: the norm of their difference by that of the second, at most the tolerance for each."""
    largest = relative = weights = missing = 0
    for ours, theirs in pairs:
        off = whole = 0.0
        for term in ours.keys() | theirs.keys():
            a, b = ours.get(term, 0.0), theirs.get(term, 0.0)
            weights += 1
            missing += (a == 0.0) != (b == 0.0)
            largest = max(largest, abs(a - b))
            off, whole = off + (a - b) ** 2, whole + b**2
        relative = max(relative, (off / max(whole, 1e-30)) ** 0.5)
    print(f"{what}: {weights} weights, off by {relative:.1e} of a vector's norm and {largest:.1e} at most, in one only: {missing}")
    if not weights or not relative <= tolerance:
        sys.exit(f"{what}: vectors differ by more than {tolerance:g}")


def same(args):
    ours, theirs = vectors(args.a), vectors(args.b)
    if ours.keys() != theirs.keys():
        sys.exit("not the same documents")
    report([(ours[at], theirs[at]) for at in ours], args.tolerance, f"{args.a.name} and {args.b.name}")


def against(args):
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForMaskedLM

    ours = vectors(args.vectors)
    model = AutoModelForMaskedLM.from_pretrained(args.model).eval().to(device())
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    pairs = []
    with torch.no_grad():
        for row in map(json.loads, open(args.corpus)):
            text = f"{row.get('title', '')} {row['text']}".strip()
            ids = torch.tensor([tokenizer.encode(text).ids], device=device())
            weights = model(ids).logits[0].max(0).values.relu().log1p()
            kept = weights.nonzero().flatten()
            pairs.append((ours[row["_id"]], dict(zip(kept.tolist(), weights[kept].tolist()))))
    report(pairs, args.tolerance, f"{args.vectors.name} and PyTorch f32")


def losses(path):
    return [row["loss"] for row in map(json.loads, open(path)) if "loss" in row]


def curves(args):
    ours, theirs = losses(args.a), losses(args.b)
    if len(ours) != len(theirs):
        sys.exit("not the same steps")
    tenth = max(len(ours) // 10, 1)
    means = [[statistics.mean(part[at : at + tenth]) for at in range(0, len(part), tenth)] for part in (ours, theirs)]
    worst = max(abs(a - b) / abs(b) for a, b in zip(*means))
    print(f"{args.a.parent.name} and {args.b.parent.name}: {len(ours)} steps, loss {ours[0]:.4f} to {means[0][-1]:.4f} and {means[1][-1]:.4f}, "
          f"means of tenths differ by {worst:.1e} at most")
    if not worst <= args.tolerance:
        sys.exit("loss curves differ")


# --- the rival


def encode(args):
    import torch
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(args.model, attn_implementation="sdpa").eval()
    model = model.to(device(), torch.bfloat16)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randint(1000, TERMS, (args.batch, args.tokens), generator=generator) for _ in range(8)]

    def finish(weights):
        found = weights.nonzero()
        return found.cpu(), weights[found[:, 0], found[:, 1]].cpu()

    def run(count):
        since, last = time.perf_counter(), None
        with torch.no_grad():
            for at in range(count):
                logits = model(batches[at % 8].to(device(), non_blocking=True)).logits
                weights = logits.max(1).values.float().relu().log1p()
                if last is not None:
                    finish(last)
                last = weights
            finish(last)
        torch.cuda.synchronize()
        return count * args.batch / (time.perf_counter() - since)

    run(10)
    rounds = [run(args.batches) for _ in range(3)]
    print(f"PyTorch bf16 SDPA, {args.model}, {args.batch} x {args.tokens}: {statistics.median(rounds):.0f} docs/s")


def data(args):
    sys.path.insert(0, str(ROOT / "benches"))
    import train as bench
    from tokenizers import Tokenizer

    args.folder.mkdir(parents=True, exist_ok=True)
    file, table = args.folder / "data.jsonl", args.folder / "idf.json"
    queries = args.batch // bench.DOCUMENTS
    bench.write_data(file, queries * args.steps, False)
    bench.write_table(table, Tokenizer.from_file(str(args.model / "tokenizer.json")))
    recipe = bench.RECIPE.format(
        base=args.model.resolve(), tokens=args.tokens, table=table.resolve(), data=file.resolve(), steps=args.steps, queries=queries
    )
    (args.folder / "recipe.toml").write_text(recipe)


def train(args):
    sys.path.insert(0, str(ROOT / "benches"))
    import tomllib

    import torch
    import train as bench
    from tokenizers import Tokenizer
    from transformers import AutoModelForMaskedLM

    recipe = tomllib.loads(args.recipe.read_text())
    stage, peak, base = recipe["stage"][0], recipe["optimizer"]["lr"], recipe["model"]["base"]
    tokenizer = Tokenizer.from_file(f"{base}/tokenizer.json")
    tokenizer.enable_truncation(recipe["model"]["max_tokens"])
    tokenizer.enable_padding()
    model = AutoModelForMaskedLM.from_pretrained(base, attn_implementation="sdpa").eval().to(device())
    adamw = torch.optim.AdamW(bench.groups(model, 0.01), lr=peak, eps=1e-8, fused=True)
    table = bench.query_table(tokenizer, recipe["query"]["table"])
    out = args.recipe.parent / "torch"
    out.mkdir(exist_ok=True)
    times, since = [], time.perf_counter()
    with (out / "train.jsonl").open("w") as log:
        for step, batch in enumerate(bench.batches(recipe, tokenizer, table)):
            batch = [None if part is None else part.to(device()) for part in batch]
            with torch.autocast(device(), torch.bfloat16):
                loss = bench.loss_of(model, batch, stage["regularizer"], step)
            adamw.zero_grad(set_to_none=True)
            loss.backward()
            for group in adamw.param_groups:
                group["lr"] = bench.rate(stage, peak, step)
            adamw.step()
            log.write(json.dumps({"loss": loss.item()}) + "\n")
            times.append(time.perf_counter() - since)
            since = time.perf_counter()
    documents = stage["batch"] * bench.DOCUMENTS
    middle = statistics.median(times[bench.WARM :])
    print(f"PyTorch bf16 SDPA, {base}: {1e3 * middle:.1f} ms a step of {documents} documents")


def steps(args):
    """What l0-train's log says of its steps."""
    rows = [row for row in map(json.loads, open(args.log)) if "docs_per_second" in row]
    rates = [row["docs_per_second"] for row in rows[5:]]
    print(f"{args.log.parent.name}: {statistics.median(rates):.0f} docs/s, {1e3 * args.batch / statistics.median(rates):.1f} ms a step of {args.batch} documents")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(function, *paths, **options):
        own = commands.add_parser(function.__name__)
        for name in paths:
            own.add_argument(name, type=Path)
        for name, value in options.items():
            if value is float:
                own.add_argument(name, type=float)
            else:
                own.add_argument(f"--{name}", type=int, default=value)
        own.set_defaults(call=function)

    command(make, "folder")
    command(same, "a", "b", tolerance=float)
    command(curves, "a", "b", tolerance=float)
    command(against, "model", "vectors", "corpus", tolerance=float)
    command(encode, "model", tokens=256, batch=64, batches=60)
    command(data, "folder", "model", batch=16, tokens=256, steps=40)
    command(train, "recipe")
    command(steps, "log", batch=16)
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()
