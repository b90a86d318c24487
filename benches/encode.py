"""The same documents through l0-encode, PyTorch and onnxruntime, in turn: speed, processor time, memory, weights.

    cargo build --release
    L0_MODELS=DIR L0_DATA=DIR python benches/encode.py [--program target/release/l0-encode] [--rounds 3] [CASE...]
    L0_MODELS=DIR L0_DATA=DIR python benches/encode.py --flat splade-tiny [--documents 100000] [--max-tokens 64]

L0_MODELS holds splade-tiny and minilm-l6, which gets a random vocabulary head here (a fixed seed, the bias lowered
until a passage keeps about 200 terms; without that every document would keep all 30,522). A case is MODEL:BATCHxTOKENS,
documents of exactly so many tokens made of passages of testdata/demo; or MODEL:mixed, 512 passages of
L0_DATA/train/stackexchange-small cut at 256 tokens, the lengths as they are (printed); or MODEL:mixed/NAME, the same of
another corpus there. Fewer cases, --rounds and --seconds make a quick run. All is written below --scratch.

l0-encode reads a file as it comes and writes Parquet; its time has tokenising and writing in it. It runs twice, on one
document and on all, and the difference of the two is taken, wall and processor: start and loading fall out. A rival
is given token ids, which favours it, and is timed from within over all batches but not its start, loading and first
two batches: forward, max over tokens and log1p inside (onnxruntime: inside the graph), and making (document, term,
weight) of what is not zero. Fixed shapes have no padding and no mask. Mixed lengths go in batches of 32 padded to the
longest, as they come and `sorted` by length. l0-encode takes its default batches. Every run is a process of its own
and goes over the distinct documents as often as makes --seconds at the speed of a plain product. Rivals: torch (eager),
compile (torch.compile), ort, and torch-bf16, which is compared with `l0-encode --dtype bf16` alone (`-` where that is
refused) and left out of the best.

A round is all of them one after the other. Printed are medians over rounds, `MB` the largest resident memory of the
whole process; `l0/it` is how many times more documents a second, and a processor second, l0 makes than that rival, the
median of the ratios of each round; the last lines give it against the best f32 rival of each round. The roofline
is the arithmetic of a document (products of the layers, the attention and the head) times documents a second, over the
rate of f32 products of 1024x384 by 384x1536 on the same threads in the same round, of torch.matmul or of onnxruntime,
whichever is faster (torch's library is slow on processors that are not Intel's); by wall and by processor time.
Exits 1 if a weight of the first documents differs from PyTorch f32, one document at a time, by more than 1e-4 (bf16:
0.1); a term that one side lacks counts as weight 0.

--flat encodes a tenth of the documents ten times over, with other ids and another first word, in one process,
so every decile has the same lengths; prints speed and memory of each, and exits 1 unless the last is within 5 % of the
first, by wall or by processor time, and memory grows by less than 5 % after the first.

    pip install torch transformers onnx onnxscript onnxruntime
"""

import argparse
import json
import math
import os
import random
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from train import base_of, passages, processor_seconds

ROOT = Path(__file__).resolve().parents[1]
CASES = [f"{model}:{shape}" for model in ("splade-tiny", "minilm-l6") for shape in ("8x128", "8x256", "32x256", "mixed")]
RIVALS = "torch,ort,torch-bf16"
MIX, MIX_CORPUS, MIX_TOKENS, MIX_BATCH = 512, "stackexchange-small", 256, 32
DISTINCT = 64  # documents of a fixed length
COMPARED = 16  # documents whose weights are compared
WARM = 2  # batches that are not timed
KEPT_TERMS = 200  # of a passage under a random head
LARGEST_ERROR = {"f32": 1e-4, "bf16": 0.1}  # bf16 keeps 8 bits: PyTorch's own is off by some 0.05
LARGEST_DRIFT = 0.05
PRODUCT = (1024, 384, 1536)
PAUSE = 0.02  # seconds without a row that end a burst
MB = 1024 * 1024


# --- what all are given


def checkpoint(model, args):
    """The model's directory; of one without a head, a copy with a random one that leaves documents sparse."""
    base, made = base_of(model, args.models, args.scratch), args.scratch / f"{model}-sparse"
    if base == args.models / model:
        return base
    if made.exists():
        return made
    import torch
    from transformers import AutoModelForMaskedLM

    network = AutoModelForMaskedLM.from_pretrained(base).eval()
    tokenizer = tokenizer_of(base, 128)
    with torch.inference_mode():
        largest = [network(torch.tensor([tokenizer.encode(text).ids])).logits.amax(1) for text in passages()[:64]]
    with torch.no_grad():
        network.cls.predictions.bias -= torch.cat(largest).quantile(1 - KEPT_TERMS / network.config.vocab_size, dim=1).mean()
    network.save_pretrained(made)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, made / name)
    return made


def tokenizer_of(base, max_tokens):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def corpus(name, args):
    rows = map(json.loads, (args.data / "train" / name / "corpus.jsonl").open())
    return [" ".join((row.get("title", ""), row["text"])).strip() for row in rows]


def texts_of(shape, args):
    """Distinct texts and how many tokens of each are read."""
    if shape.startswith("mixed"):
        found = corpus(shape.partition("/")[2] or MIX_CORPUS, args)
        return found[:: max(1, len(found) // MIX)][:MIX], MIX_TOKENS
    texts, draw = passages(), random.Random(1)
    return [" ".join(draw.sample(texts, 8)) for _ in range(DISTINCT)], int(shape.split("x")[1])


def write_corpus(path, texts, count):
    with path.open("w") as out:
        for at in range(count):
            out.write(json.dumps({"_id": str(at), "title": "", "text": texts[at % len(texts)]}) + "\n")


def arithmetic(config, tokens):
    """Floating-point operations of a document: linear layers, attention, vocabulary head."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    linears = config["num_hidden_layers"] * (4 * hidden**2 + 2 * hidden * inner)
    attention = config["num_hidden_layers"] * 2 * hidden * tokens
    head = hidden**2 + hidden * config["vocab_size"]
    return 2 * tokens * (linears + attention + head)


def folder_of(case, args):
    return args.scratch / case.replace(":", "-").replace("/", "-")


def plan_of(case, args):
    return json.loads((folder_of(case, args) / "plan.json").read_text())


def write_case(case, args):
    model, shape = case.split(":")
    base = checkpoint(model, args)
    texts, max_tokens = texts_of(shape, args)
    ids = [one.ids for one in tokenizer_of(base, max_tokens).encode_batch(texts)]
    mixed, shortest = shape.startswith("mixed"), min(map(len, ids))
    if not mixed and shortest < max_tokens:
        sys.exit(f"{case}: a text of {shortest} tokens, want {max_tokens}")
    config = json.loads((base / "config.json").read_text())
    flops = statistics.mean(arithmetic(config, len(one)) for one in ids)
    passes = math.ceil(args.seconds * matmul_rate(args)["wall"] / flops / len(ids))
    folder = folder_of(case, args)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("one", 1), ("first", COMPARED), ("all", passes * len(ids))):
        write_corpus(folder / f"{name}.jsonl", texts, count)
    plan = {"base": str(base), "max_tokens": max_tokens, "ids": ids, "passes": passes, "flops": flops, "mixed": mixed}
    batch = MIX_BATCH if mixed else int(shape.split("x")[0])
    (folder / "plan.json").write_text(json.dumps(plan | {"batch": batch}))


# --- the rivals, each in a process of its own


def batches(plan, sort):
    """Arrays of ids, and masks where there is padding."""
    import numpy as np

    ids = sorted(plan["ids"], key=len) if sort else plan["ids"]
    for at in range(0, len(ids), plan["batch"]):
        rows = ids[at : at + plan["batch"]]
        shape = (len(rows), max(map(len, rows)))
        padded, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, tokens in enumerate(rows):
            padded[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        yield padded, mask if plan["mixed"] else None


def pooled(base, dtype):
    """ids and mask to [documents, vocabulary] in PyTorch."""
    import torch
    from transformers import AutoModelForMaskedLM

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = AutoModelForMaskedLM.from_pretrained(base, dtype=dtype, attn_implementation="sdpa")

        def forward(self, ids, mask=None):
            logits = self.network(input_ids=ids, attention_mask=mask).logits
            if mask is not None:
                logits = logits * mask[..., None].to(logits.dtype)
            return logits.amax(1).float().relu().log1p()

    return Pooled().eval()


def torch_encoder(plan, kind, args):
    import torch

    torch.set_num_threads(args.threads)
    model = pooled(plan["base"], torch.bfloat16 if kind == "torch-bf16" else torch.float32)
    forward = torch.compile(model, dynamic=plan["mixed"]) if kind == "compile" else model

    @torch.inference_mode()
    def encode(ids, mask):
        weights = forward(torch.from_numpy(ids), None if mask is None else torch.from_numpy(mask))
        found = weights.nonzero()
        return found, weights[found[:, 0], found[:, 1]]

    return encode


def graph_of(plan, args):
    return args.scratch / f"{Path(plan['base']).name}{'-masked' if plan['mixed'] else ''}.onnx"


def export(plan, path):
    import torch

    model = pooled(plan["base"], torch.float32)
    ids = torch.ones(3, 40, dtype=torch.long)
    given = (ids, torch.ones_like(ids)) if plan["mixed"] else (ids,)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    names = ["ids", "mask"][: len(given)]
    shapes = (sizes,) * len(given)
    torch.onnx.export(model, given, path, input_names=names, dynamic_shapes=shapes, external_data=False)


def ort_session(graph, args):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def ort_encoder(plan, args):
    import numpy as np

    session = ort_session(graph_of(plan, args), args)

    def encode(ids, mask):
        weights = session.run(None, {"ids": ids} if mask is None else {"ids": ids, "mask": mask})[0]
        found = np.nonzero(weights)
        return found, weights[found]

    return encode


def run_rival(kind, case, args):
    kind, _, order = kind.partition(" ")
    plan = plan_of(case, args)
    given = list(batches(plan, order == "sorted"))
    encode = ort_encoder(plan, args) if kind == "ort" else torch_encoder(plan, kind, args)
    for ids, mask in given[-WARM:]:
        encode(ids, mask)
    since, used = time.perf_counter(), time.process_time()
    for _ in range(plan["passes"]):
        for ids, mask in given:
            encode(ids, mask)
    documents = plan["passes"] * len(plan["ids"])
    wall, cpu = time.perf_counter() - since, time.process_time() - used
    print(json.dumps({"wall": documents / wall, "cpu": documents / cpu}))


def run_reference(case, args):
    """The weights of the first documents, one at a time, and whatever the rivals need made."""
    plan = plan_of(case, args)
    if not graph_of(plan, args).exists() and "ort" in args.rivals:
        export(plan, graph_of(plan, args))
    first = plan | {"ids": plan["ids"][:COMPARED], "batch": 1, "mixed": False}
    encode = torch_encoder(first, "torch", args)
    for ids, mask in batches(first, False):
        found, weights = encode(ids, mask)
        print(json.dumps(dict(zip(found[:, 1].tolist(), weights.tolist()))))


def matmul_rate(args):
    """Operations a second of f32 products by wall and by processor time, of the faster of two libraries."""
    import torch

    torch.set_num_threads(args.threads)
    rows, inner, columns = PRODUCT
    a, b, product = torch.rand(rows, inner), torch.rand(inner, columns), torch.empty(rows, columns)
    ways = [lambda: torch.matmul(a, b, out=product)]
    if "ort" in args.rivals:
        session, given = ort_product(a.numpy(), b.numpy(), args)
        ways.append(lambda: session.run(None, given))
    return max((rate_of(way) for way in ways), key=lambda rate: rate["wall"])


def ort_product(a, b, args):
    import onnx
    from onnx import helper

    value = lambda name, shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    node, fixed = helper.make_node("MatMul", ["a", "b"], ["product"]), onnx.numpy_helper.from_array(b, "b")
    shape = (a.shape[0], b.shape[1])
    graph = helper.make_graph([node], "product", [value("a", a.shape)], [value("product", shape)], [fixed])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ort_session(model.SerializeToString(), args), {"a": a}


def rate_of(multiply):
    for _ in range(50):
        multiply()
    since, used, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - since < 2:
        multiply()
        count += 1
    done = count * 2 * math.prod(PRODUCT)
    return {"wall": done / (time.perf_counter() - since), "cpu": done / (time.process_time() - used)}


def run_matmul(args):
    print(json.dumps(matmul_rate(args)))


# --- what is measured


def run(command, may=(0,)):
    """Runs a program: status, what it said, seconds by wall and processor, peak in MB."""
    since, errors, words = time.perf_counter(), tempfile.TemporaryFile(), list(map(str, command))
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors)
    said = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    wall, child.returncode = time.perf_counter() - since, os.waitstatus_to_exitcode(status)
    if child.returncode not in may:
        errors.seek(0)
        sys.exit(f"{' '.join(words)} failed:\n{errors.read().decode()}")
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    return {"status": child.returncode, "said": said, "wall": wall, "cpu": cpu, "peak": peak}


def step(args, *what):
    """A step of this script in a process of its own: a child begins with the peak of the process it was forked from."""
    names = ("models", "data", "scratch", "seconds", "threads", "documents")
    told = [word for name in names for word in (f"--{name}", getattr(args, name))]
    return run([sys.executable, __file__, *told, "--rivals", ",".join(args.rivals), "--step", *what])


def ours(case, dtype, name, args, *more):
    plan = plan_of(case, args)
    limits = ["--model", plan["base"], "--max-tokens", plan["max_tokens"], "--threads", args.threads, "--dtype", dtype]
    return [args.program, folder_of(case, args) / f"{name}.jsonl", *limits, "--quiet", *more]


def measured_ours(case, dtype, args):
    """Documents a second and a processor second."""
    plan, out = plan_of(case, args), folder_of(case, args) / "vectors.parquet"
    one, every = (run(ours(case, dtype, name, args, "-o", out)) for name in ("one", "all"))
    documents = plan["passes"] * len(plan["ids"]) - 1
    speeds = {by: documents / (every[by] - one[by]) for by in ("wall", "cpu")}
    return speeds | {"peak": every["peak"]}


def measured_rival(kind, case, args):
    child = step(args, "rival", kind, case)
    return json.loads(child["said"].splitlines()[-1]) | {"peak": child["peak"]}


def largest_error(case, dtype, reference, args):
    said = run(ours(case, dtype, "first", args, "--format", "jsonl", "-o", "-"))["said"]
    worst = 0.0
    for line, theirs in zip(said.splitlines(), reference, strict=True):
        row = json.loads(line)
        mine = dict(zip(map(str, row["indices"]), row["values"], strict=True))
        worst = max([worst, *(abs(mine.get(term, 0) - theirs.get(term, 0)) for term in mine | theirs)])
    return worst


def measure(case, args):
    step(args, "write", case)
    orders = ["", " sorted"] if plan_of(case, args)["mixed"] else [""]
    reference = [json.loads(line) for line in step(args, "reference", case)["said"].splitlines() if line.startswith("{")]
    probe = run(ours(case, "bf16", "one", args, "-o", "/dev/null", "--format", "jsonl"), may=(0, 2))
    dtypes = ["f32", "bf16"] if probe["status"] == 0 else ["f32"]
    errors = {dtype: largest_error(case, dtype, reference, args) for dtype in dtypes}
    rounds = []
    for _ in range(args.rounds):
        found = {f"l0 {dtype}": measured_ours(case, dtype, args) for dtype in dtypes}
        for kind in (rival + order for rival in args.rivals for order in orders):
            found[kind] = measured_rival(kind, case, args)
        found["matmul"] = json.loads(step(args, "matmul")["said"])
        rounds.append(found)
    report(case, plan_of(case, args), rounds, errors)
    return all(error <= LARGEST_ERROR[dtype] for dtype, error in errors.items())


def lengths(plan):
    ordered = sorted(map(len, plan["ids"]))
    at = [ordered[round(share * (len(ordered) - 1))] for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]
    return f"{at[0]} tokens" if at[0] == at[-1] else f"{' '.join(map(str, at))} tokens (0 10 25 50 75 90 100 %)"


def report(case, plan, rounds, errors):
    middle = lambda each: statistics.median(map(each, rounds))
    over = lambda mine, them, by: middle(lambda r: r[mine][by] / max(r[name][by] for name in them))
    gflop = plan["flops"] / 1e9
    print(f"\n{case}: {plan['passes']} x {len(plan['ids'])} documents, {lengths(plan)}, {gflop:.2f} GFLOP each")
    print(f"{'':20}{'docs/s':>9}{'cpu s/1000':>12}{'MB':>7}{'l0/it: wall':>13}{'cpu':>7}{'weights off':>13}")
    rivals = [name for name in rounds[0] if name != "matmul" and not name.startswith("l0")]
    for name in ("l0 f32", "l0 bf16", *rivals):
        if name not in rounds[0]:
            print(f"  {name:18}{'-':>9}{'-':>12}{'-':>7}")
            continue
        speed, cpu, peak = (middle(lambda r: r[name][what]) for what in ("wall", "cpu", "peak"))
        line, mine = f"  {name:18}{speed:9.1f}{1000 / cpu:12.2f}{peak:7.0f}", "l0 bf16" if "bf16" in name else "l0 f32"
        if name == mine:
            line += f"{errors[name.split()[1]]:33.1e}"
        elif mine in rounds[0]:
            line += f"{over(mine, [name], 'wall'):13.2f}{over(mine, [name], 'cpu'):7.2f}"
        print(line)
    for order in ("", " sorted"):
        group = [name + order for name in ("torch", "compile", "ort") if name + order in rivals]
        if group:
            wall, cpu = (over("l0 f32", group, by) for by in ("wall", "cpu"))
            print(f"  l0 f32 over the best{order}: {wall:.2f} by wall, {cpu:.2f} by cpu")
    for name in (f"l0 {dtype}" for dtype in errors):
        wall, cpu = (100 * middle(lambda r: plan["flops"] * r[name][by] / r["matmul"][by]) for by in ("wall", "cpu"))
        reached, rate = middle(lambda r: gflop * r[name]["wall"]), middle(lambda r: r["matmul"]["wall"] / 1e9)
        share = f"{wall:.0f} % by wall, {cpu:.0f} % by cpu"
        print(f"  roofline {name}: {reached:.0f} of {rate:.0f} GFLOP/s of f32 products, {share}", flush=True)


# --- a long run


def write_flat(model, args):
    base = checkpoint(model, args)
    found = [text for name in ("medquad", "squadshifts") for text in corpus(name, args)]
    block = args.documents // 10
    with (args.scratch / "flat.jsonl").open("w") as out:
        for number in range(10):
            for at in range(block):
                row = {"_id": f"{number}-{at}", "title": str(number), "text": found[at % len(found)]}
                out.write(json.dumps(row) + "\n")
    print(base)


def watch(process):
    """(rows, seconds, processor seconds, MB) after each burst of rows, until the last."""
    seen, rows, since, came = [], 0, time.perf_counter(), 0.0
    while True:
        if select.select([process.stdout], [], [], PAUSE)[0]:
            text = os.read(process.stdout.fileno(), MB)
            if not text:
                return seen, (rows, came)
            rows, came = rows + text.count(b"\n"), time.perf_counter() - since
        elif rows > (seen[-1][0] if seen else 0):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            seen.append((rows, came, processor_seconds(process.pid), pages * os.sysconf("SC_PAGE_SIZE") / MB))


def flat(args):
    base = step(args, "flat", args.flat)["said"].splitlines()[-1]
    limits = ["--max-tokens", args.max_tokens, "--threads", args.threads, "--dtype", args.dtype]
    command = [args.program, args.scratch / "flat.jsonl", "--model", base, *limits, "--format", "jsonl", "--quiet"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
    seen, (rows, came) = watch(process)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0 or rows != args.documents:
        sys.exit(f"{rows} rows of {args.documents}, status {os.waitstatus_to_exitcode(status)}")
    seen.append((rows, came, usage.ru_utime + usage.ru_stime, seen[-1][3]))
    marks = [0] + [next(at for at, one in enumerate(seen) if one[0] >= rows * decile // 10) for decile in range(1, 11)]
    print(f"{args.flat}: {rows} documents of up to {args.max_tokens} tokens, peak {usage.ru_maxrss / 1024:.0f} MB")
    print(f"{'decile':>8}{'docs/s':>9}{'cpu s/1000':>12}{'MB':>8}")
    deciles = []
    for number, (first, last) in enumerate(zip(marks, marks[1:]), 1):
        done, wall, cpu = (seen[last][which] - seen[first][which] for which in range(3))
        deciles.append((wall / done, cpu / done, max(one[3] for one in seen[first : last + 1])))
        print(f"{number:8}{done / wall:9.1f}{1000 * cpu / done:12.2f}{deciles[-1][2]:8.1f}")
    wall, cpu, memory = (deciles[-1][which] / deciles[0][which] - 1 for which in range(3))
    print(f"last over first: {100 * wall:+.1f} % wall, {100 * cpu:+.1f} % cpu, {100 * memory:+.1f} % memory")
    return min(abs(wall), abs(cpu)) <= LARGEST_DRIFT and memory <= LARGEST_DRIFT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = lambda name, default: Path(os.environ.get(name, default)).resolve()
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--models", type=Path, default=folder("L0_MODELS", "models"))
    parser.add_argument("--data", type=Path, default=folder("L0_DATA", "data"))
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/l0-encode")
    parser.add_argument("--scratch", type=Path, default=ROOT / "target/bench-encode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of plain products in each measured run")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rivals", default=RIVALS, help="of torch,compile,ort,torch-bf16")
    parser.add_argument("--flat", metavar="MODEL", help="a long run in place of cases")
    parser.add_argument("--documents", type=int, default=100_000, help="of --flat")
    parser.add_argument("--max-tokens", type=int, default=64, help="of --flat")
    parser.add_argument("--dtype", default="f32", help="of --flat")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)  # what a child does
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    args.scratch, args.rivals = args.scratch.resolve(), [name for name in args.rivals.split(",") if name]
    if args.step:
        name, *what = args.step
        steps = {"write": write_case, "reference": run_reference, "rival": run_rival, "matmul": run_matmul}
        return (steps | {"flat": write_flat})[name](*what, args)
    sys.exit(not (flat(args) if args.flat else all([measure(case, args) for case in args.cases])))


if __name__ == "__main__":
    main()
