# SPDX-License-Identifier: Apache-2.0
"""Holds the prompts of lowbit's task mmlu@study against those that the study's script makes of the same files: rows read
by pandas, tokens counted by transformers.

    python oracle/study_prompts.py LOWBIT MODEL DATA [--subject anatomy ...]

Ends with 1 for a prompt, an answer or a token that differs, where pandas reads what the file says.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import pandas
from transformers import AutoTokenizer

LETTERS = "ABCD"
MOST_TOKENS = 2048
SHOTS = 5


def block(row):
    return str(row[0]) + "".join(f"\n{letter}. {row[i + 1]}" for i, letter in enumerate(LETTERS)) + "\nAnswer:"


def rows_of(path):
    """As the script reads them, and as the file has them."""
    read = pandas.read_csv(path, header=None).values.tolist()
    raw = pandas.read_csv(path, header=None, dtype=str, keep_default_na=False).values.tolist()
    return list(zip(read, raw, strict=True))


def prompts_of(data, subject, tokenizer):
    dev = rows_of(data / f"mmlu/dev/{subject}_dev.csv")
    header = ("The following are multiple choice questions (with answers) about " +
              "".join(" " + word for word in subject.split("_")) + ".\n\n")
    for read, raw in rows_of(data / f"mmlu/test/{subject}_test.csv"):
        for shots in range(SHOTS, -1, -1):
            examples = "".join(f"{block(row)} {row[5]}\n\n" for row, _ in dev[:shots])
            prompt = header + examples + block(read)
            ids = tokenizer(prompt).input_ids
            if len(ids) <= MOST_TOKENS:
                break
        yield {"prompt": prompt, "ids": ids, "gold": LETTERS.index(read[5]), "shots": shots,
               "as_in_file": block(read) == block(raw)}


def lowbit_items(args, folder):
    command = [args.lowbit, "eval", args.model, "--tasks", "mmlu@study", "--data", str(folder), "--show", "all", "--json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def only(data, subject, folder):
    for split in ("test", "dev"):
        name = f"mmlu/{split}/{subject}_{split}.csv"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes((data / name).read_bytes())
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowbit")
    parser.add_argument("model")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--subject", action="append")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    letters = [tokenizer(letter).input_ids[-1:] for letter in LETTERS]
    names = sorted(path.name.removesuffix("_test.csv") for path in (args.data / "mmlu/test").glob("*_test.csv"))
    items = differ = by_pandas = fewer = 0
    for subject in args.subject or names:
        with tempfile.TemporaryDirectory() as folder:
            ours = lowbit_items(args, only(args.data, subject, pathlib.Path(folder)))
        theirs = list(prompts_of(args.data, subject, tokenizer))
        assert len(ours) == len(theirs), (subject, len(ours), len(theirs))
        for mine, wanted in zip(ours, theirs):
            items += 1
            fewer += wanted["shots"] < SHOTS
            same = (mine["requests"] == [[wanted["prompt"], letter] for letter in LETTERS] and
                    mine["context_ids"] == [wanted["ids"]] * 4 and mine["continuation_ids"] == letters and
                    mine["gold"] == wanted["gold"])
            if not wanted["as_in_file"]:
                by_pandas += 1
            elif not same:
                differ += 1
                print("differs:", subject, mine["index"], "of", wanted["shots"], "examples")
    print(f"{items} prompts, {fewer} with fewer than {SHOTS} examples, {differ} differ; {by_pandas} more that pandas "
          f"{pandas.__version__} reads differently from the file")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
