#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole command against whole command: `lowbit eval` beside lm-evaluation-harness on the same items.

    python bench/vs_lm_eval.py LOWBIT MODEL DATA [--task hellaswag=40 ...] [--mmlu anatomy=10 ...] [--batches 1 8 auto]

Both start anew for each task, read the model, use as many threads and f32; the harness (backend hf) is taken at its best
batch size. MMLU's subjects are asked with five examples. Answers are checked first: counts of acc and acc_norm must be
equal. Printed: seconds of each, their ratio, and lowbit's tokens asked and computed. Needs lm-eval, torch, transformers.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ORACLE = pathlib.Path(__file__).resolve().parent.parent / "oracle"
sys.path.insert(0, str(ORACLE))
import data_folder  # noqa: E402

SHOTS = 5

# What the harness's own command does, with the local data in place of its downloads.
HARNESS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(int(sys.argv[7]))
import lm_eval, lm_eval_local
lm_eval_local.install(sys.argv[2])
batch = sys.argv[5] if sys.argv[5] == "auto" else int(sys.argv[5])
result = lm_eval.simple_evaluate(model="hf", model_args=f"pretrained={sys.argv[3]},dtype=float32" + sys.argv[9], device="cpu",
                                 tasks=[sys.argv[4]], batch_size=batch, limit=int(sys.argv[6]), bootstrap_iters=0,
                                 num_fewshot=int(sys.argv[8]) or None)
found = result["results"][sys.argv[4]]
print(json.dumps({m: found[m + ",none"] for m in ("acc", "acc_norm") if m + ",none" in found}))
"""


def timed(command, env):
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return time.perf_counter() - start, done.stdout


def run_lowbit(args, task, data, limit, shots, env):
    command = [args.lowbit, "eval", args.model, "--tasks", task, "--limit", str(limit), "--data", str(data), "-q",
               "--compute", "f32", "--threads", str(args.threads), "--json"]
    seconds, out = timed(command + (["--num-fewshot", str(shots)] if shots else []), env)
    result = json.loads(out)["results"][0]
    metrics = {name: m["value"] for name, m in result["metrics"].items() if name in ("acc", "acc_norm")}
    return seconds, metrics, result["tokens"]


def run_harness(args, task, batch, limit, shots, env):
    seconds, out = timed([sys.executable, "-c", HARNESS, str(ORACLE), args.data, args.model, task, batch, str(limit),
                          str(args.threads), str(shots),
                          "" if args.prefix_token is None else f",prefix_token_id={args.prefix_token}"], env)
    return seconds, json.loads(out.strip().splitlines()[-1])


def compare(args, name, task, harness_task, data, limit, shots, env):
    ours, metrics, tokens = run_lowbit(args, task, data, limit, shots, env)
    theirs = {}
    for batch in args.batches:
        theirs[batch], found = run_harness(args, harness_task, batch, limit, shots, env)
        for metric, value in found.items():
            if abs(metrics[metric] - value) > 1e-12:
                sys.exit(f"{name}: {metric} is {metrics[metric]}, the harness has {value}: not timed")
    best = min(theirs, key=theirs.get)
    listed = ", ".join(f"batch {batch} {seconds:.1f} s" for batch, seconds in theirs.items())
    print(f"{name}, {limit} items: lowbit {ours:.1f} s, lm-eval {listed}: {theirs[best] / ours:.1f}x its best; "
          f"{tokens['asked']} tokens asked, {tokens['computed']} computed", flush=True)


def pairs(texts):
    return [(text.split("=")[0], int(text.split("=")[1])) for text in texts]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowbit")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--task", nargs="*", default=["hellaswag=40", "arc_easy=60", "arc_challenge=60"])
    parser.add_argument("--mmlu", nargs="*", default=["anatomy=10", "global_facts=10"])
    parser.add_argument("--batches", nargs="*", default=["1", "8", "auto"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefix-token", type=int,
                        help="id that stands for an empty context, where no tokenizer_config.json names bos or eos")
    args = parser.parse_args()
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    for task, limit in pairs(args.task):
        compare(args, task, task, task, args.data, limit, 0, env)
    for subject, limit in pairs(args.mmlu):
        with tempfile.TemporaryDirectory() as folder:
            data = data_folder.only_subject(args.data, subject, pathlib.Path(folder))
            compare(args, f"mmlu {subject}, {SHOTS}-shot", "mmlu", f"mmlu_{subject}", data, limit, SHOTS, env)


if __name__ == "__main__":
    main()
