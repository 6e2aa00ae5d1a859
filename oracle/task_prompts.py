# SPDX-License-Identifier: Apache-2.0
"""Holds what `lowbit eval --show all --json` renders against lm-evaluation-harness, item by item, byte for byte.

    python oracle/task_prompts.py LOWBIT MODEL DATA [--task piqa ...] [--mmlu-shots 5]

MODEL is needed for its tokenizer only. The right answer is asked of the harness by giving it scores: the choice
that it calls right when it scores best.
"""
import argparse
import json
import subprocess
import sys

import lm_eval_local


def rendered_by_lowbit(args, task, shots):
    command = [args.lowbit, "eval", args.model, "--tasks", task, "--show", "all", "--json", "--data", args.data]
    if shots:
        command += ["--num-fewshot", str(shots)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")


def rendered_by_harness(task, shots):
    if shots:
        task.set_config(key="num_fewshot", value=shots)
    task.build_all_requests()
    items = {}
    for instance in task.instances:
        items.setdefault(instance.doc_id, []).append(instance)
    for doc_id in sorted(items):
        instances = sorted(items[doc_id], key=lambda i: i.idx)
        requests = [list(i.arguments) for i in instances]
        best = []
        for choice in range(len(requests)):
            scores = [(0.0 if i == choice else -1.0, False) for i in range(len(requests))]
            if task.process_results(instances[0].doc, scores)["acc"] == 1.0:
                best.append(choice)
        yield requests, best


def compare(name, ours, harness):
    """Counts items and differences; both sides must end together."""
    items = differ = 0
    for (requests, best), mine in zip(harness, ours, strict=True):
        items += 1
        blank = len({k for k, _ in requests}) > 1  # the choice is the context: nothing in front of it
        if blank:
            lengths = [len(k) for k, _ in requests]
        else:
            lengths = [len(c[1:]) for _, c in requests]
        if mine["requests"] != requests or [mine["gold"]] != best or mine["characters"] != lengths:
            differ += 1
            if differ <= 3:
                print(f"{name} item {items - 1}:\n  ours    {mine['requests']} {mine['gold']}\n  harness {requests} {best}")
    return items, differ


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowbit")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--task", action="append")
    parser.add_argument("--mmlu-shots", type=int, default=5)
    args = parser.parse_args()
    lm_eval_local.install(args.data)
    failed = 0
    for name in args.task or lm_eval_local.TASKS + ["mmlu"]:
        if name != "mmlu":
            task = lm_eval_local.load([name])[name]
            items, differ = compare(name, rendered_by_lowbit(args, name, 0), rendered_by_harness(task, 0))
        else:
            by_subject = {}
            for row in rendered_by_lowbit(args, "mmlu", args.mmlu_shots):
                by_subject.setdefault(row["subject"], []).append(row)
            names = lm_eval_local.subjects(args.data)
            assert sorted(by_subject) == names
            tasks = lm_eval_local.load([f"mmlu_{subject}" for subject in names])
            items = differ = 0
            for subject in names:
                task = tasks[f"mmlu_{subject}"]
                counts = compare(subject, by_subject[subject], rendered_by_harness(task, args.mmlu_shots))
                items, differ = items + counts[0], differ + counts[1]
        print(f"{name}: {items} items, {differ} differ", flush=True)
        failed += differ
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
