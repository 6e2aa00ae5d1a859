# SPDX-License-Identifier: Apache-2.0
"""Perplexity of C4's documents by lowbit's tasks c4-new and c4 beside transformers (float32), on windows that Python's own
generator draws and the reference tokenizer encodes.

    python oracle/c4_perplexity.py LOWBIT MODEL DATA [--task c4] [--window 2048] [--windows 4]

Ends with 1 when a mean loss differs by more than --bound of itself.
"""
import argparse
import json
import math
import pathlib
import random
import subprocess
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

WINDOWS = 256
JOINED_TEXTS = 1100


def ids_of_joined(texts, encode, window):
    return encode(" ".join(texts[:JOINED_TEXTS]))[:WINDOWS * window]


def ids_of_drawn(texts, encode, window, windows):
    random.seed(0)
    ids = []
    for _ in range(windows):
        while True:
            document = encode(texts[random.randint(0, len(texts) - 1)])
            if len(document) > window:
                break
        begin = random.randint(0, len(document) - window - 1)
        ids += document[begin:begin + window]
    return ids


def mean_loss(model, ids, window, windows):
    losses = []
    with torch.no_grad():
        for w in range(min(windows, len(ids) // window)):
            x = torch.tensor(ids[w * window:(w + 1) * window])[None]
            losses.append(torch.nn.functional.cross_entropy(model(x).logits[0, :-1], x[0, 1:]).double())
    return torch.stack(losses).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowbit")
    parser.add_argument("model")
    parser.add_argument("data", type=pathlib.Path, help="folder with c4/validation.jsonl")
    parser.add_argument("--task", action="append")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--bound", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    texts = [json.loads(line)["text"] for line in (args.data / "c4/validation.jsonl").open(encoding="utf-8")]
    tokenizer = Tokenizer.from_file(args.model + "/tokenizer.json")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    encode = lambda text: tokenizer.encode(text).ids
    well = True
    for task in args.task or ["c4-new", "c4"]:
        ids = (ids_of_joined(texts, encode, args.window) if task == "c4-new"
               else ids_of_drawn(texts, encode, args.window, args.windows))
        wanted = mean_loss(model, ids, args.window, args.windows)
        command = [args.lowbit, "eval", args.model, "--tasks", task, "--window", str(args.window), "--windows",
                   str(args.windows), "--data", str(args.data), "--compute", "f32", "--json", "-q"]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["results"][0]
        loss = math.log(result["metrics"]["perplexity"]["value"])
        differ = abs(loss - wanted) / wanted
        well &= differ <= args.bound
        print(result["protocol"])
        print(f"{task}: perplexity {math.exp(loss):.6f} and {math.exp(wanted):.6f}; mean losses differ by {differ:.1e}")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
