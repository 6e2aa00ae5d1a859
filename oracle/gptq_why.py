#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where a quantized model's error arises, and what a window's first token (an attention sink) has to do with it.

  python3 oracle/gptq_why.py MODEL TEXT WINDOWS SKIP ARTEFACT …

MODEL is a Hugging Face folder, TEXT a JSON lines file with "text" or a plain text, of which WINDOWS windows of 2048 tokens behind
the first SKIP are used: rows that no calibration has seen. For every linear, with what it reads in the full-precision model:
the relative squared output error ||X E'||^2 / ||X W'||^2 over all tokens, over first tokens and over the others, and the first tokens' share
in ||X||^2. Printed: medians and sums over layers, by tap. needs torch, numpy, safetensors and transformers.
"""
import glob
import json
import struct
import sys

import numpy as np
import torch

WINDOW = 2048


def read_packed(folder):
    """Dense f32 weights of an artefact by lowbit (docs/recipes.md), by tensor name, and vectors it replaces."""
    dense = {}
    for path in sorted(glob.glob(folder + "/layer-*.safetensors")):
        raw = open(path, "rb").read()
        size = struct.unpack("<Q", raw[:8])[0]
        header, data = json.loads(raw[8:8 + size]), raw[8 + size:]

        def get(name):
            entry = header[name]
            begin, end = entry["data_offsets"]
            kind = {"U8": np.uint8, "F16": np.float16, "F32": np.float32, "I32": np.int32}[entry["dtype"]]
            return np.frombuffer(data[begin:end], kind).reshape(entry["shape"])

        for key, text in header["__metadata__"].items():
            if not key.startswith("packed:"):
                continue
            name, about = key[len("packed:"):], json.loads(text)
            bits = np.unpackbits(get(name + ".codes"), axis=1, bitorder="little")
            bits = bits[:, :about["cols"] * about["bits"]].reshape(about["rows"], about["cols"], about["bits"])
            codes = (bits * (1 << np.arange(about["bits"]))).sum(2).astype(np.float32)
            group = np.arange(about["cols"]) // about["group_size"]
            scales, zeros = get(name + ".scales").astype(np.float32), get(name + ".zeros").astype(np.float32)
            values = (codes - zeros[:, group]) * scales[:, group]
            if about.get("ordered"):
                ordered = np.empty_like(values)
                ordered[:, get(name + ".order")] = values
                values = ordered
            dense[name] = torch.from_numpy(values)
        for name in header:
            if name != "__metadata__" and name.endswith("norm.weight"):
                dense[name] = torch.from_numpy(get(name).copy())
    return dense


def read_windows(tokenizer, path, windows, skip):
    text = open(path, encoding="utf-8").read()
    ids, need = [], (windows + skip) * WINDOW
    if path.endswith(".jsonl"):
        for line in text.splitlines():
            ids += tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]
            if len(ids) >= need:
                break
    else:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return torch.tensor(ids[skip * WINDOW:need]).reshape(windows, WINDOW)


def main():
    folder, path, windows, skip, artefacts = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
    from transformers import AutoModelForCausalLM, AutoTokenizer
    torch.set_grad_enabled(False)
    tokens = read_windows(AutoTokenizer.from_pretrained(folder), path, windows, skip)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    weights = {name: read_packed(name) for name in artefacts}
    rows = {}  # (tap, layer, artefact) -> [error all, first, signal all, first]

    def watch(name):
        layer, linear = int(name.split(".")[2]), name.split(".")[-1]

        def hook(module, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1])
            first = torch.arange(x.shape[0]) % inputs[0].shape[1] == 0
            y = (x @ module.weight.T).double().square().sum(1)
            total = x.double().square().sum(1)
            for artefact, dense in weights.items():
                e = (x @ (module.weight - dense[name + ".weight"]).T).double().square().sum(1)
                row = rows.setdefault((linear, layer, artefact), np.zeros(6))
                row += [float(v) for v in (e.sum(), e[first].sum(), y.sum(), y[first].sum(), total.sum(), total[first].sum())]

        return hook

    for name, module in model.named_modules():
        if name.startswith("model.layers.") and isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(watch(name))
    for window in tokens:
        model.model(window[None])

    layers = 1 + max(layer for _, layer, _ in rows)
    for linear in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        for artefact in artefacts:
            r = np.array([rows[linear, layer, artefact] for layer in range(layers)])
            everything, first = r[:, 0] / r[:, 2], r[:, 1] / r[:, 3]
            rest = (r[:, 0] - r[:, 1]) / (r[:, 2] - r[:, 3])
            print(f"{linear:10} {artefact.split('/')[-1]:34} median rel. error: all {np.median(everything):.4f} first "
                  f"{np.median(first):.4f} others {np.median(rest):.4f} | first token's share of ||x||^2 median "
                  f"{np.median(r[:, 5] / r[:, 4]):.3f} max {np.max(r[:, 5] / r[:, 4]):.3f}, of the error median "
                  f"{np.median(r[:, 1] / r[:, 0]):.3f} max {np.max(r[:, 1] / r[:, 0]):.3f}", flush=True)
    for linear in ("down_proj", "o_proj", "q_proj"):
        print(linear, "share of first token in ||x||^2 by layer:",
              " ".join(f"{rows[linear, l, artefacts[0]][5] / rows[linear, l, artefacts[0]][4]:.2f}" for l in range(layers)))


if __name__ == "__main__":
    main()
