# SPDX-License-Identifier: Apache-2.0
"""Folders of data sets for runs beside lm-evaluation-harness."""
import pathlib


def only_subject(data, subject, folder):
    """A data folder with one MMLU subject, so that lowbit computes no other."""
    for split in ("test", "dev"):
        name = f"mmlu/{split}/{subject}_{split}.csv"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes((pathlib.Path(data) / name).read_bytes())
    return folder
