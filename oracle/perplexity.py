#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""WikiText-2 perplexity of a folder with transformers, as docs/evaluation.md defines it, on the ids that lowbit or
the reference tokenizer gives.

usage: perplexity.py MODEL wiki.test.raw [--window 2048] [--windows 12] [--dtype float32] [--join-rows]
needs: torch transformers tokenizers
"""
import argparse

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("model")
    ap.add_argument("text")
    ap.add_argument("--window", type=int, default=2048)
    ap.add_argument("--windows", type=int, default=12)
    ap.add_argument("--dtype", default="float32")
    ap.add_argument("--join-rows", action="store_true", help="rows joined by two newlines, as the GPTQ scripts do")
    a = ap.parse_args()
    text = open(a.text, encoding="utf-8", newline="").read()
    if a.join_rows:
        rows = [line if line.strip() else "" for line in text.splitlines(keepends=True)]
        text = "\n\n".join(rows)
    ids = Tokenizer.from_file(a.model + "/tokenizer.json").encode(text).ids
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=getattr(torch, a.dtype), attn_implementation="eager").eval()
    losses = []
    with torch.no_grad():
        for w in range(min(a.windows, len(ids) // a.window)):
            x = torch.tensor(ids[w * a.window:(w + 1) * a.window])[None]
            logits = model(x).logits[0, :-1].float()
            losses.append(torch.nn.functional.cross_entropy(logits, x[0, 1:]).double())
    mean = torch.stack(losses).mean()
    print(f"{len(ids)} tokens, {len(losses)} windows of {a.window}, {a.dtype}: perplexity {mean.exp().item():.6f}, loss {mean.item():.9f}")


main()
