# SPDX-License-Identifier: Apache-2.0
"""Counts what scoring multiple-choice items takes at least: tokens asked, and nodes of the tree of their prefixes.

    lowbit eval MODEL --tasks mmlu --num-fewshot 5 --show all --json | python oracle/prefix_tree_size.py

A model is fed context and continuation but for the last token. Compare with "tokens asked" and "computed" of `lowbit eval`.
"""
import json
import sys


def main():
    asked, tree = 0, set()
    for line in sys.stdin:
        item = json.loads(line)
        for context, continuation in zip(item["context_ids"], item["continuation_ids"], strict=True):
            fed = (context + continuation)[:-1]
            asked += len(fed)
            node = 0
            for token in fed:  # a node is known by its parent and its token
                node = hash((node, token))
                tree.add(node)
    print(f"{asked} tokens asked, {len(tree)} nodes in the tree of prefixes, {asked / len(tree):.2f} times as many asked")


if __name__ == "__main__":
    main()
