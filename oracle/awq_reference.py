#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""AWQ's searches in torch, f32, beside lowbit's on the layers of a real model.

  python3 oracle/awq_reference.py --model MODEL --texts C4.jsonl --bench BUILD/bench/awq_bench [--layers 3,10]
  python3 oracle/awq_reference.py --shape 1024,3072 --tokens 65536 --bench …      (random layer, for times)

The torch side follows llm-awq step by step on the rows themselves: scales from mean |x| to the power of 20
ratios, judged by the mean square of the module's output, and bounds of every group, judged by its part of the
output on 512 tokens taken by stride. lowbit gets the Gram matrix and mean |x| only. Reported: whether the same
ratio is chosen, how far the losses differ, and how many bounds are equal, within one step, or further apart,
where both see the sampled tokens, where lowbit sees all, and with --all-tokens where both do. For gate and up the torch loss is taken after the whole MLP, which a
Gram matrix cannot give: there the ratios are shown, not compared.
"""
import argparse
import json
import os
import subprocess
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

RATIOS, CLIP_GRID, CLIP_STEPS = 20, 20, 10


def fake_round(w, bits, group):
    """Asymmetric levels between the smallest and largest weight of each group of a row."""
    rows = w.reshape(-1, group)
    top = 2**bits - 1
    lo, hi = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    step = (hi - lo).clamp(min=1e-5) / top
    zero = (-torch.round(lo / step)).clamp(0, top)
    return ((torch.round(rows / step) + zero).clamp(0, top) - zero).mul(step).reshape(w.shape)


def ratio_scales(mean_abs, ratio):
    s = mean_abs.pow(ratio).clamp(min=1e-4)
    return s / (s.max() * s.min()).sqrt()


def search_scales(weights, forward, mean_abs, bits, group):
    """`forward(weights)` is the module's output on all tokens. Returns the first best step and all losses."""
    want = forward(weights)
    losses = []
    for k in range(RATIOS):
        s = ratio_scales(mean_abs, k / RATIOS)
        got = forward([fake_round(w * s, bits, group) / s for w in weights])
        losses.append(float((want - got).pow(2).mean()))
    return losses.index(min(losses)), losses


def search_clip(w, x, bits, group, rows_at_once=64):
    """Steps of 1/20 below the largest weight, [rows, groups]. `w` and `x` with the scales in them."""
    x = x.reshape(x.shape[0], -1, group)
    steps = []
    for part in w.split(rows_at_once):
        part = part.reshape(part.shape[0], -1, group)
        largest = part.abs().amax(2, keepdim=True)
        want = torch.einsum("tgj,rgj->rtg", x, part)
        errors = []
        for i in range(CLIP_STEPS):
            bound = largest * (1 - i / CLIP_GRID)
            rounded = fake_round(torch.minimum(torch.maximum(part, -bound), bound), bits, group)
            errors.append((torch.einsum("tgj,rgj->rtg", x, rounded) - want).pow(2).mean(1))
        best, step = torch.full_like(errors[0], float("inf")), torch.zeros_like(errors[0], dtype=torch.int)
        for i, e in enumerate(errors):
            better = e < best
            best, step = torch.where(better, e, best), torch.where(better, i, step)
        steps.append(step)
    return torch.cat(steps)


def sampled(x):
    return x[:: max(1, x.shape[0] // 512)]


def run_lowbit(args, weights, x, bits, group, scales=None):
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for part in x.split(4096):
        gram += part.double().T @ part.double()
    tensors = {f"weight.{i}": w.contiguous() for i, w in enumerate(weights)}
    tensors["mean_abs"] = x.abs().double().mean(0).float()
    if scales is not None:
        tensors["scales"] = scales
    tensors["gram"] = gram.triu().contiguous().view(torch.uint8)
    with tempfile.NamedTemporaryFile(suffix=".safetensors", dir=args.scratch) as f:
        save_file(tensors, f.name, metadata={"tokens": str(x.shape[0])})
        out = subprocess.run([args.bench, "stage", f.name, str(bits), str(group), str(args.threads)],
                             check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def clip_report(name, ours, theirs):
    d = (ours - theirs).abs()
    n = d.numel()
    return f"{name}: {int((d == 0).sum())} equal, {int((d == 1).sum())} one step apart, {int((d > 1).sum())} further, of {n}"


def compare(args, name, weights, x, forward, is_linear, bits, group):
    mean_abs = x.abs().double().mean(0).float()
    ours = run_lowbit(args, weights, x, bits, group)
    begin = time.time()
    step, losses = search_scales(weights, forward, mean_abs, bits, group)
    search_seconds = time.time() - begin
    print(f"{name} w{bits} g{group}: ratio {step}/20 in torch, {ours['ratio_step']}/20 in lowbit"
          + (f", losses differ by {max(abs(a / b - 1) for a, b in zip(ours['losses'], losses)):.1e}"
             if is_linear else " (another loss)"))
    s = torch.tensor(ours["scales"])
    few = run_lowbit(args, weights, sampled(x), bits, group, s)
    clip_seconds = 0
    for i, w in enumerate(weights):
        mine, mine_of_few = (torch.tensor(o["clip_steps"][i]).reshape(w.shape[0], -1) for o in (ours, few))
        begin = time.time()
        theirs = search_clip(w * s, sampled(x / s), bits, group)
        clip_seconds += time.time() - begin
        n = len(sampled(x))
        print("  " + clip_report(f"bounds of reader {i}, both from {n} tokens", mine_of_few, theirs))
        print("  " + clip_report(f"bounds of reader {i}, torch {n}, lowbit {len(x)}", mine, theirs))
        if args.all_tokens:
            full = search_clip(w * s, x / s, bits, group, 16)
            print("  " + clip_report(f"bounds of reader {i}, both from {len(x)}", mine, full))
            print("  " + clip_report(f"bounds of reader {i}, torch {n}, torch {len(x)}", full, theirs))
    print(f"  seconds, torch {torch.get_num_threads()} threads: search {search_seconds:.2f}, clip {clip_seconds:.2f};"
          f" lowbit {args.threads}: search {ours['search_seconds']:.2f}, clip {ours['clip_seconds']:.2f}", flush=True)
    return step == ours["ratio_step"]


def capture(args, layers):
    """Weights of the MLPs of some layers and the inputs of gate_proj and down_proj, [tokens, columns], from windows
    of joined texts; kept in --capture if that is given."""
    if args.capture and os.path.exists(args.capture):
        return load_file(args.capture)
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    ids = []
    with open(args.texts) as f:
        for line in f:
            ids += tokenizer(json.loads(line)["text"])["input_ids"]
            if len(ids) >= args.sequences * 512:
                break
    ids = torch.tensor(ids[: args.sequences * 512]).reshape(args.sequences, 512)
    seen = {}

    def hook(key):
        return lambda _, inputs: seen.setdefault(key, []).append(inputs[0].detach().reshape(-1, inputs[0].shape[-1]))

    for l in layers:
        mlp = model.model.layers[l].mlp
        mlp.gate_proj.register_forward_pre_hook(hook(f"{l}.gate.x"))
        mlp.down_proj.register_forward_pre_hook(hook(f"{l}.down.x"))
    with torch.no_grad():
        for row in ids:
            model(row[None])
    seen = {key: torch.cat(rows) for key, rows in seen.items()}
    for l in layers:
        for name in ("gate", "up", "down"):
            seen[f"{l}.{name}.weight"] = getattr(model.model.layers[l].mlp, name + "_proj").weight.detach().clone()
    if args.capture:
        save_file(seen, args.capture)
    return seen


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bench", required=True)
    p.add_argument("--model")
    p.add_argument("--texts")
    p.add_argument("--layers", default="3,10,17,24")
    p.add_argument("--capture", help="file that keeps weights and inputs from one run to the next")
    p.add_argument("--mlp", action="store_true", help="search gate and up too")
    p.add_argument("--sequences", type=int, default=16)
    p.add_argument("--shape", help="OUT,IN of a random layer")
    p.add_argument("--tokens", type=int, default=65536)
    p.add_argument("--bits", default="3,4")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--all-tokens", action="store_true", help="compare bounds with those of all tokens too")
    p.add_argument("--scratch", help="folder for the files between the two programs")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    bits = [int(b) for b in args.bits.split(",")]
    if args.shape:
        rows, cols = map(int, args.shape.split(","))
        w = torch.randn(rows, cols) * 0.02
        x = torch.randn(args.tokens, cols) * torch.randn(cols).exp()
        compare(args, f"random {rows} x {cols}, {args.tokens} tokens", [w], x, lambda v: x @ v[0].T, True, bits[0], 128)
        return
    layers = [int(l) for l in args.layers.split(",")]
    seen = capture(args, layers)
    same, total = 0, 0
    with torch.no_grad():
        for b in bits:
            for l in layers:
                x, down = seen[f"{l}.down.x"], seen[f"{l}.down.weight"]
                same += compare(args, f"layer {l} down_proj", [down], x, lambda v: x @ v[0].T, True, b, 128)
                total += 1
            print(f"down_proj w{b}: the same ratio in {same} of {total} searches")
            for l in layers if args.mlp else []:
                gate, up, down = (seen[f"{l}.{name}.weight"] for name in ("gate", "up", "down"))
                x = seen[f"{l}.gate.x"]
                mlp_forward = lambda v: (torch.nn.functional.silu(x @ v[0].T) * (x @ v[1].T)) @ down.T
                compare(args, f"layer {l} gate, up", [gate, up], x, mlp_forward, False, b, 64)
    raise SystemExit(0 if same == total else 1)


if __name__ == "__main__":
    main()
