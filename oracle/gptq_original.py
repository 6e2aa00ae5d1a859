#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPTQ as it was published, in PyTorch and f32, to compare lowbit's with and to time it beside.

  python3 oracle/gptq_original.py capture MODEL TEXTS.jsonl WINDOWS OUT   weights and Gram matrices of four layers
  python3 oracle/gptq_original.py compare BENCH OUT                       codes and losses against gptq_bench
  python3 oracle/gptq_original.py layer TOKENS BITS GROUP THREADS         seconds for a layer like Qwen3-0.6B's

Written from the formulas of docs/methods.md: Hessian, its inverse and the factor of that in f32, by
torch.linalg.cholesky, cholesky_inverse and cholesky(upper=True); columns one by one within blocks of 128;
ranges of groups read from weights that the block's own errors have not reached. needs torch, numpy and, for
`capture`, transformers. BENCH is the program gptq_bench, OUT a folder.
"""
import json
import subprocess
import sys
import time

import numpy as np
import torch

LAYERS = {
    "model.layers.0.self_attn.q_proj": "q0",
    "model.layers.5.mlp.down_proj": "down5",
    "model.layers.15.mlp.gate_proj": "gate15",
    "model.layers.29.self_attn.o_proj": "o29",
}
WINDOW = 2048
BLOCK = 128


def find_params(w, maxq):
    lo = torch.minimum(w.min(1).values, torch.zeros(()))
    hi = torch.maximum(w.max(1).values, torch.zeros(()))
    flat = (lo == 0) & (hi == 0)
    lo[flat], hi[flat] = -1, 1
    scale = (hi - lo) / maxq
    return scale.unsqueeze(1), torch.round(-lo / scale).unsqueeze(1)


def inverse_factor(h, damp=0.01):
    h = h.clone()
    diagonal = torch.arange(h.shape[0])
    h[diagonal, diagonal] += damp * torch.mean(torch.diag(h))
    h = torch.cholesky_inverse(torch.linalg.cholesky(h))
    return torch.linalg.cholesky(h, upper=True)


def hessian(x, length):
    """Of the rows of sequences of `length` tokens: 2 / sequences times the sum of x x^T, in f32, one by one."""
    h, seen = torch.zeros(x.shape[1], x.shape[1]), 0
    for sequence in x.split(length):
        h *= seen / (seen + 1)
        seen += 1
        part = (2 / seen) ** 0.5 * sequence.t()
        h += part.matmul(part.t())
    return h


def gptq(weight, h, bits, group, act_order):
    """weight [out, in] and h [in, in], f32. Returns codes, weights (columns in their own order) and the sum of e^2."""
    w, h, maxq = weight.clone(), h.clone(), 2**bits - 1
    n = w.shape[1]
    scale, zero = find_params(w, maxq)
    dead = torch.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    order = torch.arange(n)
    if act_order:
        order = torch.argsort(torch.diag(h), descending=True)
        w, h = w[:, order], h[order][:, order]
    u = inverse_factor(h)
    codes, values, loss = torch.zeros_like(w), torch.zeros_like(w), 0.0
    for i1 in range(0, n, BLOCK):
        i2 = min(i1 + BLOCK, n)
        block, errors, ub = w[:, i1:i2].clone(), torch.zeros(w.shape[0], i2 - i1), u[i1:i2, i1:i2]
        for i in range(i2 - i1):
            if group and (i1 + i) % group == 0:
                scale, zero = find_params(w[:, i1 + i : i1 + i + group], maxq)
            column = block[:, i].unsqueeze(1)
            code = torch.clamp(torch.round(column / scale) + zero, 0, maxq)
            value = scale * (code - zero)
            error = (column - value).flatten() / ub[i, i]
            block[:, i:] -= error.unsqueeze(1).matmul(ub[i, i:].unsqueeze(0))
            codes[:, i1 + i], values[:, i1 + i], errors[:, i] = code.flatten(), value.flatten(), error
        loss += float((errors.double() ** 2).sum())
        w[:, i2:] -= errors.matmul(u[i1:i2, i2:])
    back = torch.argsort(order)
    return codes[:, back], values[:, back], loss


def capture(model, texts, windows, out):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    grams = {}

    def watch(name):
        def hook(_, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1])
            for part in x.split(512):
                grams[name] = grams.get(name, 0) + (part.T @ part).double()

        return hook

    for name, module in net.named_modules():
        if name in LAYERS:
            module.weight.detach().numpy().tofile(f"{out}/{LAYERS[name]}.weights")
            module.register_forward_pre_hook(watch(LAYERS[name]))
    ids = []
    for line in open(texts):  # one after the other, cut into windows
        ids += tokenizer(json.loads(line)["text"]).input_ids
        if len(ids) >= windows * WINDOW:
            break
    assert len(ids) >= windows * WINDOW, f"{texts} has {len(ids)} tokens, expected {windows * WINDOW}"
    with torch.no_grad():
        for window in torch.tensor(ids[: windows * WINDOW]).reshape(windows, 1, WINDOW):
            net.model(window, use_cache=False)
    shapes = {}
    for name, gram in grams.items():
        gram.numpy().tofile(f"{out}/{name}.gram")
        count = np.fromfile(f"{out}/{name}.weights", np.float32).size
        shapes[name] = [count // gram.shape[0], gram.shape[0]]
    json.dump({"shapes": shapes, "tokens": windows * WINDOW}, open(f"{out}/layers.json", "w"))


def gram_error(w, values, gram):
    e = w.double() - values.double()
    return float((e @ gram * e).sum())


def compare(bench, out):
    info, worst_codes, worst_loss = json.load(open(f"{out}/layers.json")), 1.0, 0.0
    for name, (rows, cols) in info["shapes"].items():
        w = torch.from_numpy(np.fromfile(f"{out}/{name}.weights", np.float32).reshape(rows, cols))
        gram = torch.from_numpy(np.fromfile(f"{out}/{name}.gram").reshape(cols, cols))
        h = (gram * (2 / (info["tokens"] / WINDOW))).float()
        for bits in (4, 3):
            for group in (64, 0):
                for act in (0, 1):
                    codes, values, _ = gptq(w, h, bits, group, act)
                    arguments = [f"{out}/{name}.weights", rows, f"{out}/{name}.gram", cols, bits, group, act, 1, f"{out}/r"]
                    said = json.loads(subprocess.check_output([bench, "round", *map(str, arguments)]))
                    ours = np.fromfile(f"{out}/r.codes", np.uint8).reshape(rows, cols)
                    our_values = torch.from_numpy(np.fromfile(f"{out}/r.weights", np.float32).reshape(rows, cols))
                    equal = float((codes.numpy().astype(np.uint8) == ours).mean())
                    want, got = gram_error(w, values, gram), gram_error(w, our_values, gram)
                    worst_codes, worst_loss = min(worst_codes, equal), max(worst_loss, abs(got / want - 1))
                    print(f"{name} w{bits} group {group} act_order {act}: codes equal {equal:.5%}, error {got:.6g} "
                          f"against {want:.6g} ({got / want - 1:+.3%}), damp {said['damp']}", flush=True)
    print(f"worst: codes {worst_codes:.5%}, error {worst_loss:.3%}")


def layer(tokens, bits, group, threads):
    torch.set_num_threads(threads)
    seconds = {"gram": 0.0, "matrices": 0.0}
    for cols, outs in ((1024, (2048, 1024, 1024)), (2048, (1024,)), (1024, (3072, 3072)), (3072, (1024,))):
        x = torch.randn(tokens, cols)
        for rows in outs:  # the original keeps a Hessian for every linear
            begin = time.time()
            h = hessian(x, WINDOW)
            seconds["gram"] += time.time() - begin
            w, begin = 0.02 * torch.randn(rows, cols), time.time()
            gptq(w, h, bits, group, False)
            seconds["matrices"] += time.time() - begin
    print({k: round(v, 3) for k, v in seconds.items()}, "together", round(sum(seconds.values()), 3))


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "capture":
        capture(rest[0], rest[1], int(rest[2]), rest[3])
    elif mode == "compare":
        compare(*rest)
    elif mode == "layer":
        layer(*map(int, rest))
    else:
        sys.exit(__doc__)
