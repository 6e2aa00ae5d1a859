# SPDX-License-Identifier: Apache-2.0
"""Runs lowbit and lm-evaluation-harness (backend hf, float32, CPU) on the first pages of its task wikitext and compares
word_perplexity, byte_perplexity and bits_per_byte.

    python oracle/rolling_perplexity.py LOWBIT MODEL wiki.test.raw [--pages 2] [--max-length 2048]

Pages are cut from the raw file as EleutherAI/wikitext_document_level cuts them. Ends with 1 when a logarithm of a
perplexity differs by more than --bound of itself.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import datasets
import lm_eval
import lm_eval.api.task
import torch

METRICS = ["word_perplexity", "byte_perplexity", "bits_per_byte"]


def pages_of(raw):
    pages, lines = [], []
    for line in raw.split("\n"):
        title = line.replace("= = =", "===").replace("= =", "==").strip()
        if title.startswith("= ") and title.endswith(" ="):
            if "".join(lines).strip():
                pages.append("\n".join(lines))
            lines = []
        lines.append(line)
    return pages + ["\n".join(lines)]


def run_lowbit(args, pages):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "wikitext2/wiki.test.pages.jsonl"
        path.parent.mkdir()
        path.write_text("".join(json.dumps({"page": page}) + "\n" for page in pages))
        from_pages = ask_lowbit(args, folder)
    from_raw = ask_lowbit(args, pathlib.Path(args.raw).parent.parent)
    for metric in METRICS:
        assert from_pages[metric]["value"] == from_raw[metric]["value"], "pages and raw file differ"
    return from_raw


def ask_lowbit(args, data):
    command = [args.lowbit, "eval", args.model, "--tasks", "wikitext", "--limit", str(args.pages), "--window",
               str(args.max_length), "--data", str(data), "--compute", "f32", "--json", "-q"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["results"][0]
    print(result["protocol"])
    return result["metrics"]


def run_harness(args, pages):
    rows = datasets.DatasetDict({split: datasets.Dataset.from_list([{"page": p} for p in pages])
                                 for split in ("train", "validation", "test")})
    lm_eval.api.task.datasets.load_dataset = lambda *_, **__: rows
    model = lm_eval.api.registry.get_model("hf")(pretrained=args.model, dtype="float32", device="cpu", batch_size=1,
                                                      max_length=args.max_length)
    result = lm_eval.simple_evaluate(model=model, tasks=["wikitext"], limit=args.pages, bootstrap_iters=0)
    return result["results"]["wikitext"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowbit")
    parser.add_argument("model")
    parser.add_argument("raw", help="DATA/wikitext2/wiki.test.raw")
    parser.add_argument("--pages", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--bound", type=float, default=1e-5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pages = pages_of(pathlib.Path(args.raw).read_text(encoding="utf-8"))
    ours, theirs = run_lowbit(args, pages), run_harness(args, pages)
    well = True
    for metric in METRICS:
        a, b = ours[metric]["value"], theirs[f"{metric},none"]
        logs = (a, b) if metric == "bits_per_byte" else (math.log(a), math.log(b))
        differ = abs(logs[0] - logs[1]) / abs(logs[1])
        well &= differ <= args.bound
        print(f"{metric}: lowbit {a:.10g}, harness {b:.10g}, relative difference of the loss {differ:.1e}")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
