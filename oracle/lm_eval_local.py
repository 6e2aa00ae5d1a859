# SPDX-License-Identifier: Apache-2.0
"""lm-evaluation-harness's own tasks over local data files in their official layouts, without its downloads.

Development only; needs lm-eval (0.4.13 when this was written). Texts, choices and answers come from the task files
and functions of the installed package; only the rows are read here, by Python's json and csv.
"""
import csv
import json
import pathlib

import datasets
import lm_eval.api.task
from lm_eval.tasks import TaskManager

TASKS = ["piqa", "arc_easy", "arc_challenge", "hellaswag", "winogrande", "boolq"]


def _lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _piqa(data):
    labels = (data / "piqa/valid-labels.lst").read_text().split()
    rows = _lines(data / "piqa/valid.jsonl")
    assert len(labels) == len(rows)
    return [dict(row, label=int(label)) for row, label in zip(rows, labels)]


def _arc(path):
    rows = []
    for row in _lines(path):
        choices = row["question"]["choices"]
        rows.append({
            "id": row["id"], "question": row["question"]["stem"], "answerKey": row["answerKey"],
            "choices": {"text": [c["text"] for c in choices], "label": [c["label"] for c in choices]},
        })
    return rows


def _hellaswag(data):
    keys = ["activity_label", "ctx_a", "ctx_b", "endings"]
    return [dict({key: row[key] for key in keys}, label=str(row["label"]))
            for row in _lines(data / "hellaswag/hellaswag_val.jsonl")]


def _boolq(data):
    return [{"passage": row["passage"], "question": row["question"], "label": int(row["answer"])}
            for row in _lines(data / "boolq/dev.jsonl")]


def _mmlu(data, split, subject):
    with open(data / f"mmlu/{split}/{subject}_{split}.csv", newline="", encoding="utf-8") as file:
        return [{"question": row[0], "choices": row[1:5], "answer": "ABCD".index(row[5]), "subject": subject}
                for row in csv.reader(file, strict=True)]


def _splits(data, path, name):
    """What datasets.load_dataset(path, name) would give; None for a data set that is not of ours."""
    if path == "cais/mmlu":
        return {"test": _mmlu(data, "test", name), "dev": _mmlu(data, "dev", name)}
    rows = {
        ("baber/piqa", None): lambda: _piqa(data),
        ("allenai/ai2_arc", "ARC-Easy"): lambda: _arc(data / "arc_easy/ARC-Easy-Test.jsonl"),
        ("allenai/ai2_arc", "ARC-Challenge"): lambda: _arc(data / "arc_challenge/ARC-Challenge-Test.jsonl"),
        ("Rowan/hellaswag", None): lambda: _hellaswag(data),
        ("allenai/winogrande", "winogrande_xl"): lambda: _lines(data / "winogrande/dev.jsonl"),
        ("aps/super_glue", "boolq"): lambda: _boolq(data),
    }[path, name]()
    # Examples would be drawn from "train"; none are asked for.
    return {"train": rows[:1], "validation": rows, "test": rows}


def install(data):
    """Makes the harness read `data`, a folder in the layout of data/README.md."""
    data = pathlib.Path(data)

    def load_dataset(path, name=None, **_):
        splits = _splits(data, path, name)
        return datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in splits.items()})

    lm_eval.api.task.datasets.load_dataset = load_dataset


def subjects(data):
    return sorted(path.name.removesuffix("_test.csv") for path in (pathlib.Path(data) / "mmlu/test").glob("*.csv"))


def load(names):
    """{name: task object} of the harness; install() first."""
    loaded = TaskManager().load(list(names))
    return loaded["tasks"] if "tasks" in loaded else loaded
