#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""BiLLM as it was published, in PyTorch and f32, to compare lowbit's with.

  python3 oracle/billm_reference.py capture MODEL TEXTS.jsonl WINDOWS OUT   weights and Gram matrices of two layers
  python3 oracle/billm_reference.py compare BENCH OUT [f64] [plus] [forced] planes, values and losses against billm_bench

Written from the formulas of docs/methods.md: every binarization over the whole block with a mask, 49 numbers of salient
columns and 81 thresholds tried one after the other, Hessian and its factor in f32 by torch.linalg.cholesky,
cholesky_inverse and cholesky(upper=True), blocks of 128 columns. `f64`: everything in f64,
which says how much of the difference is the original's own rounding. `plus`: the sign of 0 is +, as a bit must have it; the
original's is 0, so that a weight may stay at the mean: that happens in salient columns, where two of four weights of a row
are the same. `forced`: every block begins with the weights that lowbit's earlier blocks left, so that a choice between two that
are nearly as good is seen in its own block and not in all behind it. needs torch, numpy and, for `capture`, transformers. BENCH is the program billm_bench, OUT a folder.
"""
import json
import subprocess
import sys

import numpy as np
import torch

LAYERS = (3, 17)
LINEARS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
WINDOW, BLOCK, MOST, DAMP = 2048, 128, 50, 0.01


def sign(x):
    return torch.where(x < 0, -1, 1) if "plus" in sys.argv else torch.sign(x)


def binarize(x, mask, order):
    """Row by row over the mask: mean and mean distance from it, `order` times on what is left. 0 outside."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    total = torch.zeros_like(x)
    for _ in range(order):
        left = (x - total) * mask
        mean = left.sum(1, keepdim=True) / count
        centred = (left - mean) * mask
        scale = centred.abs().sum(1, keepdim=True) / count
        total = total + (mean + scale * sign(centred)) * mask
    return total


def split(s):
    """Masks of centre, tail and salient columns of a block's saliencies."""
    width = s.shape[1]
    order = torch.argsort(s.abs().sum(0), descending=True, stable=True)
    least, count = float("inf"), 1
    for k in range(1, min(MOST, width)):
        salient = torch.zeros_like(s, dtype=torch.bool)
        salient[:, order[:k]] = True
        error = ((s - binarize(s, salient, 2) - binarize(s, ~salient, 2)) ** 2).mean()
        if error < least:
            least, count = error, k
    salient = torch.zeros_like(s, dtype=torch.bool)
    salient[:, order[:count]] = True
    twice = binarize(s, salient, 2)
    rest = (s * ~salient).abs()
    least, best = float("inf"), None
    for threshold in torch.quantile(rest.flatten(), torch.linspace(0.1, 0.9, 81, dtype=rest.dtype)):
        centre, tail = (rest < threshold) & ~salient, (rest >= threshold) & ~salient
        error = ((s - binarize(s, centre, 1) - binarize(s, tail, 1) - twice) ** 2).mean()
        if error < least:
            least, best = error, threshold
    return (rest < best) & ~salient, (rest >= best) & ~salient, salient


def inverse_factor(h, dtype):
    h = h.to(dtype).clone()
    diagonal = torch.arange(h.shape[0])
    h[diagonal, diagonal] += DAMP * torch.mean(torch.diag(h))
    h = torch.cholesky_inverse(torch.linalg.cholesky(h))
    return torch.linalg.cholesky(h, upper=True)


def billm(weight, h, exact, dtype, forced=None):
    """weight [out, in] and h [in, in]. Returns planes (0 centre, 1 tail, 2 salient), values and the printed error.

    forced [out, in]: values of somebody else, which the blocks behind each block make up for instead of these.
    """
    w, h = weight.to(dtype, copy=True), h.clone()
    values = torch.zeros_like(w)
    dead = torch.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    u = inverse_factor(h, dtype)
    planes, loss = torch.zeros_like(w, dtype=torch.uint8), 0.0
    for begin in range(0, w.shape[1], BLOCK):
        end = min(begin + BLOCK, w.shape[1])
        block, ub = w[:, begin:end].clone(), u[begin:end, begin:end]
        pivots = torch.diag(ub)
        masks = split(block**2 / pivots**2)
        value = sum(binarize(block, mask, order) for mask, order in zip(masks, (1, 1, 2)))
        planes[:, begin:end] = masks[1].to(torch.uint8) + 2 * masks[2].to(torch.uint8)
        values[:, begin:end] = value
        if forced is not None:
            value = forced[:, begin:end].to(dtype)
        errors = torch.linalg.solve_triangular(ub, block - value, upper=True, left=False) if exact else (block - value) / pivots
        loss += float((errors.double() ** 2).sum()) / 2
        w[:, end:] -= errors.matmul(u[begin:end, end:])
    return planes, values, loss


def capture(model, texts, windows, out):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    grams, shapes = {}, {}

    def watch(name):
        def hook(_, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1])
            for part in x.split(512):
                grams[name] = grams.get(name, 0) + (part.T @ part).double()

        return hook

    for layer in LAYERS:
        for linear in LINEARS:
            module = net.get_submodule(f"model.layers.{layer}.{linear}")
            name = f"{layer}.{linear}"
            module.weight.detach().numpy().tofile(f"{out}/{name}.weights")
            shapes[name] = list(module.weight.shape)
            module.register_forward_pre_hook(watch(name))
    ids = []
    for line in open(texts):  # one after the other, cut into windows
        ids += tokenizer(json.loads(line)["text"]).input_ids
        if len(ids) >= windows * WINDOW:
            break
    assert len(ids) >= windows * WINDOW, f"{texts} has {len(ids)} tokens, expected {windows * WINDOW}"
    with torch.no_grad():
        for window in torch.tensor(ids[: windows * WINDOW]).reshape(windows, 1, WINDOW):
            net.model(window, use_cache=False)
    for name, gram in grams.items():
        gram.numpy().tofile(f"{out}/{name}.gram")
    json.dump({"shapes": shapes, "tokens": windows * WINDOW}, open(f"{out}/layers.json", "w"))


def gram_error(w, values, gram):
    e = w.double() - values.double()
    return float((e @ gram * e).sum())


def compare(bench, out, dtype=torch.float32):
    info = json.load(open(f"{out}/layers.json"))
    for exact in (0, 1):
        equal, near, count, worst_loss = 0, 0, 0, 0.0
        for name, (rows, cols) in info["shapes"].items():
            w = torch.from_numpy(np.fromfile(f"{out}/{name}.weights", np.float32).reshape(rows, cols))
            gram = torch.from_numpy(np.fromfile(f"{out}/{name}.gram").reshape(cols, cols))
            h = (gram * (2 / (info["tokens"] / WINDOW))).to(dtype)
            arguments = [f"{out}/{name}.weights", rows, f"{out}/{name}.gram", cols, exact, 1, f"{out}/r"]
            said = json.loads(subprocess.check_output([bench, "round", *map(str, arguments)]))
            ours = np.fromfile(f"{out}/r.planes", np.uint8).reshape(rows, cols)
            our_values = torch.from_numpy(np.fromfile(f"{out}/r.weights", np.float32).reshape(rows, cols))
            planes, values, printed = billm(w, h, exact, dtype, our_values if "forced" in sys.argv else None)
            same = planes.numpy() == ours
            away = (values - our_values).abs()
            want, got = gram_error(w, values, gram), gram_error(w, our_values, gram)
            equal, count = equal + same.sum(), count + same.size
            near += int((away <= 1e-5).sum())
            worst_loss = max(worst_loss, abs(got / want - 1))
            print(f"{name} exact {exact}: planes equal {same.mean():.4%}, values within 1e-5 {float((away <= 1e-5).float().mean()):.4%}, "
                  f"median {float(away.median()):.1e}, largest {float(away.max()):.1e} of {float(w.abs().max()):.2f}, error {got:.6g} against {want:.6g} "
                  f"({got / want - 1:+.3%}), said {said['output']:.6g}, salient {(ours[0] == 2).mean():.3f} and "
                  f"{(planes[0] == 2).float().mean():.3f}, {said['round_s']:.2f} s", flush=True)
        print(f"exact {exact}: planes equal {equal / count:.4%}, values within 1e-5 {near / count:.4%}, worst error {worst_loss:.3%}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, *rest = sys.argv[1:]
    if mode == "capture":
        capture(rest[0], rest[1], int(rest[2]), rest[3])
    elif mode == "compare":
        compare(rest[0], rest[1], torch.float64 if "f64" in rest[2:] else torch.float32)
    else:
        sys.exit(__doc__)
