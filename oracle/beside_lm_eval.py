# SPDX-License-Identifier: Apache-2.0
"""Runs lowbit and lm-evaluation-harness (backend hf, float32, CPU) on the same items and compares every score.

    python oracle/beside_lm_eval.py LOWBIT MODEL DATA [--limit 20] [--task piqa ...] [--mmlu anatomy ...]

MMLU is asked with five examples, and takes --limit items of each subject named; DATA then needs no more than those.
Ends with 1 when a log-likelihood differs by more than --bound, an item's acc or acc_norm differs, or a mean or its standard
error does (the latter to four digits).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import data_folder
import lm_eval
import lm_eval_local
import torch

SHOTS = 5


def run_lowbit(args, task, data, shots):
    command = [args.lowbit, "eval", args.model, "--tasks", task, "--limit", str(args.limit), "--data", str(data),
               "--compute", "f32", "--json", "--log-samples", "-q"]
    if shots:
        command += ["--num-fewshot", str(shots)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["results"][0]


def run_harness(args, model, task, shots):
    result = lm_eval.simple_evaluate(model=model, tasks=[task], limit=args.limit, num_fewshot=shots or None,
                                     bootstrap_iters=100, log_samples=True)  # 0: no standard errors
    return sorted(result["samples"][task], key=lambda s: s["doc_id"]), result["results"][task]


def compare(name, ours, theirs, bound):
    """Largest difference of a log-likelihood, and whether all is well."""
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    most, flips = 0.0, 0
    for mine, sample in zip(ours, theirs):
        scores = [response[0] for response in sample["filtered_resps"]]
        most = max([most] + [abs(a - b) for a, b in zip(mine["log_likelihoods"], scores, strict=True)])
        flips += any(mine[metric] != sample[metric] for metric in ("acc", "acc_norm") if metric in sample)
    hits = {metric: (sum(m[metric] for m in ours), int(sum(s[metric] for s in theirs)))
            for metric in ("acc", "acc_norm") if metric in theirs[0]}
    text = ", ".join(f"{metric} {a} and {b}" for metric, (a, b) in hits.items())
    print(f"{name}: {len(ours)} items, {text}; largest difference of a score {most:.2e}, {flips} items differ",
          flush=True)
    return most <= bound and flips == 0


def same_means(ours, theirs):
    """Means, and their standard errors to the four digits that are printed."""
    well = True
    for metric, mine in ours["metrics"].items():
        if f"{metric},none" not in theirs:  # categories of subjects
            continue
        errors = mine["std_error"], theirs[f"{metric}_stderr,none"]
        well &= abs(mine["value"] - theirs[f"{metric},none"]) < 1e-12 and f"{errors[0]:.4f}" == f"{errors[1]:.4f}"
        print(f"  {metric} {mine['value']:.4f}, standard errors {errors[0]:.6f} and {errors[1]:.6f}", flush=True)
    return well


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowbit")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--task", action="append")
    parser.add_argument("--mmlu", action="append", default=[])
    parser.add_argument("--bound", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefix-token", type=int,
                        help="id that stands for an empty context, where no tokenizer_config.json names bos or eos")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lm_eval_local.install(args.data)
    model = lm_eval.api.registry.get_model("hf")(pretrained=args.model, dtype="float32", device="cpu", batch_size=1,
                                                      prefix_token_id=args.prefix_token)
    well = True
    for task in args.task if args.task is not None else lm_eval_local.TASKS:
        ours = run_lowbit(args, task, args.data, 0)
        theirs, means = run_harness(args, model, task, 0)
        well &= compare(task, ours["samples"], theirs, args.bound)
        well &= same_means(ours, means)
    for subject in args.mmlu:
        with tempfile.TemporaryDirectory() as folder:
            ours = run_lowbit(args, "mmlu", data_folder.only_subject(args.data, subject, pathlib.Path(folder)), SHOTS)
        theirs, means = run_harness(args, model, f"mmlu_{subject}", SHOTS)
        well &= compare(f"mmlu {subject}, {SHOTS}-shot", ours["samples"], theirs, args.bound)
        well &= same_means(ours, means)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
