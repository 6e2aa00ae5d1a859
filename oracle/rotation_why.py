# SPDX-License-Identifier: Apache-2.0
"""Why rotating the weights can make rounding to nearest worse: which columns meet which inputs.

    python oracle/rotation_why.py MODEL TEXTS.jsonl [--bits 3] [--group 64] [--tokens 2048]

Development only; needs torch and transformers. For each kind of linear, medians over the layers of: the error of the
weights, ||E||² / ||W||², and of the outputs, ||X Eᵀ||² / ||X Wᵀ||², as they are and rotated in blocks; the share of
the input's Σ x² that its largest channel has; and of that channel's column the norm and the error of rounding, squared,
as multiples of the mean column's.
"""
import argparse
import collections
import json
import statistics

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def hadamard(n):
    h = torch.ones(1, 1)
    while h.shape[0] < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)], 0)
    return h / n**0.5


def block_of(width):
    """Largest power of two that divides the width, at most 128."""
    return min(128, width & -width)


def rotate(x):
    h = hadamard(block_of(x.shape[1]))
    return (x.reshape(x.shape[0], -1, h.shape[0]) @ h).reshape(x.shape)


def round_to_nearest(w, bits, group):
    levels = 2**bits - 1
    blocks = w.reshape(w.shape[0], -1, group)
    low, high = blocks.amin(-1, keepdim=True).clamp(max=0), blocks.amax(-1, keepdim=True).clamp(min=0)
    scale = (high - low) / levels
    scale[scale == 0] = 1
    zero = torch.round(-low / scale)
    codes = torch.clamp(torch.round(blocks / scale) + zero, 0, levels)
    return ((codes - zero) * scale).reshape(w.shape)


def look(x, w, bits, group):
    error = round_to_nearest(w, bits, group) - w
    rotated_w = rotate(w)
    rotated_error = round_to_nearest(rotated_w, bits, group) - rotated_w
    outputs, energy = (x @ w.T).square().sum(), x.square().sum(0)
    top = int(energy.argmax())
    norms, errors = w.square().sum(0), error.square().sum(0)
    return {
        "weights": error.square().sum() / w.square().sum(),
        "weights rotated": rotated_error.square().sum() / w.square().sum(),
        "outputs": (x @ error.T).square().sum() / outputs,
        "outputs rotated": (rotate(x) @ rotated_error.T).square().sum() / outputs,
        "share": energy[top] / energy.sum(),
        "column norm": norms[top] / norms.mean(),
        "column error": errors[top] / errors.mean(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layer", type=int, help="also print this layer's")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    ids = []
    with open(args.texts, encoding="utf-8") as lines:
        for line in lines:
            ids += tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]
            if len(ids) >= args.tokens:
                break
    found = collections.defaultdict(list)

    def watch(kind):
        def hook(module, inputs):
            found[kind].append(look(inputs[0][0], module.weight.detach(), args.bits, args.group))
        return hook

    for name, module in model.named_modules():
        if name.split(".")[-1] in KINDS:
            module.register_forward_pre_hook(watch(name.split(".")[-1]))
    with torch.no_grad():
        model(torch.tensor([ids[: args.tokens]]))
    for kind in KINDS:
        for label, rows in [("median", found[kind])] + ([(f"layer {args.layer}", [found[kind][args.layer]])]
                                                        if args.layer is not None else []):
            middle = {key: statistics.median(float(row[key]) for row in rows) for key in rows[0]}
            print(f"{kind:10} {label:9}", "  ".join(f"{key} {value:.4f}" for key, value in middle.items()))


if __name__ == "__main__":
    main()
