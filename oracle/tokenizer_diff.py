#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `lowbit tokenize` with the Hugging Face `tokenizers` library on generated strings.

    tokenizer_diff.py --program build/release/lowbit [--count 3000] [--seed 1] [--code-points] tokenizer.json...

Compared for every string: ids with and without special tokens, and both decodings of them; then decodings of
random ids. With --code-points every Unicode code point is encoded in a few surroundings, and those that differ are
listed: they show where the two programs use different Unicode versions. Exit code 1 when anything else differs.
"""
import argparse
import collections
import json
import random
import subprocess
import sys
import unicodedata

import tokenizers

# Characters that both programs' Unicode tables know: assigned since Unicode 12 at the latest (2019).
SCRIPTS = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x45F), (0x5D0, 0x5EA),
    (0x591, 0x5C7), (0x620, 0x669), (0x905, 0x94D), (0x981, 0x9CD), (0xE01, 0xE3A), (0x1100, 0x11FF), (0x1E00, 0x1EFF),
    (0x1F00, 0x1FFE), (0x2000, 0x206F), (0x2150, 0x218B), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x3000, 0x30FF),
    (0x4E00, 0x9FEF), (0xAC00, 0xD7A3), (0xF900, 0xFA6D), (0xFB00, 0xFB4F), (0xFE00, 0xFE0F), (0xFF01, 0xFF5E),
    (0x1D100, 0x1D1FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6D2), (0x1F900, 0x1F971), (0x20000, 0x2A6D6),
    (0x2F800, 0x2FA1D), (0xE0100, 0xE01EF), (0xF0000, 0xF00FF), (0x0, 0x1F),
]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u0085", "\x0b",
          "\x0c", "\u2028", "\u200b", "\x1c", "\u180e", "\ufeff"]
PIECES = ["'s", "'S", "'\u017f", "'re", "'LL", "'t", "'d", "'", "''", "don't", "I'VE", "1", "12", "123", "1234567", "3.14",
          "½", "²", "Ⅳ", "一二", "cafe\u0301", "\u0301", "\u0323\u0301", "\u0301\u0323", "\u1100\u1161\u11a8", "\uac00\u11a8",
          "\u212b", "\u2126", "\u037e", "\ufb01", "\u09c7\u09be", "क्षि", "👩\u200d👩\u200d👧", "🇩🇪", "!!!", "...", "?!\n",
          "://", "/*", "*/", "{\n", "};\n\n", "def f(x):\n", "    return x", "\tif", "http://example.org/?q=1&r=2",
          "The", " the", " of", " and", " is", "ing", "tion", " Hello", "world", " 2024", "中文字", "日本語の", "한국어",
          "Привет", "мир", "שלום", "مرحبا"]


def make_text(rng, specials):
    """One string: a random mixture of words, spaces, digits, scripts, special tokens and runs."""
    parts = []
    for _ in range(rng.choice([1, 2, 4, 8, 16, 40])):
        kind = rng.random()
        if kind < 0.30:
            parts.append(rng.choice(PIECES))
        elif kind < 0.50:
            parts.append(rng.choice(SPACES))
        elif kind < 0.60:
            parts.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFG") for _ in range(rng.randint(1, 12))))
        elif kind < 0.65 and specials:
            token = rng.choice(specials)
            parts.append(token if rng.random() < 0.7 else token[: rng.randint(1, len(token))])
        elif kind < 0.70:
            parts.append(rng.choice([" ", "\n", "a", "=", "\u0301", "é", "1", "中", "\t", "-"]) * rng.randint(2, 70))
        else:
            low, high = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))))
    return "".join(parts)


def run(program, tokenizer, arguments, lines):
    command = program + ["tokenize", "--model", tokenizer] + arguments
    result = subprocess.run(command, input="\n".join(json.dumps(line) for line in lines) + "\n", text=True,
                            stdout=subprocess.PIPE, encoding="utf-8", check=True)
    answers = [json.loads(line) for line in result.stdout.split("\n")[:-1]]
    assert len(answers) == len(lines), (len(answers), len(lines))
    return answers


def compare(name, inputs, expected, got, report=3):
    bad = [i for i in range(len(inputs)) if expected[i] != got[i]]
    print(f"  {name}: {len(inputs) - len(bad)} of {len(inputs)} agree")
    for i in bad[:report]:
        print(f"    {ascii(inputs[i])}\n      expected {ascii(expected[i])}\n      got      {ascii(got[i])}")
    return len(bad)


def compare_strings(program, path, reference, count, rng):
    specials = [token.content for token in reference.get_added_tokens_decoder().values()]
    texts = [make_text(rng, specials) for _ in range(count)]
    bad = 0
    for arguments, special in (([], True), (["--no-special"], False)):
        expected = [reference.encode(text, add_special_tokens=special).ids for text in texts]
        got = [answer["ids"] for answer in run(program, path, arguments, [{"text": text} for text in texts])]
        bad += compare(f"encode, special tokens {'added' if special else 'not added'}", texts, expected, got)
    limit = max(reference.get_vocab(with_added_tokens=True).values()) + 1
    some = [[rng.randrange(limit + 100) for _ in range(rng.randint(0, 20))] for _ in range(count)]
    for ids in some:
        if ids and specials and rng.random() < 0.5:
            ids[rng.randrange(len(ids))] = reference.token_to_id(rng.choice(specials))
    for source, ids in (("own ids", expected), ("random ids", some)):
        for arguments, skip in (([], False), (["--skip-special"], True)):
            texts_back = [reference.decode(one, skip_special_tokens=skip) for one in ids]
            answers = run(program, path, ["--decode"] + arguments, [{"ids": one} for one in ids])
            bad += compare(f"decode of {source}{', special tokens skipped' if skip else ''}", ids, texts_back,
                           [answer["text"] for answer in answers])
    return bad


def list_code_points(program, path, reference):
    points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    texts = ["a{0}b {0} 1{0}{0}2\u0301 {0}\n{0}!".format(chr(c)) for c in points]
    expected = [encoding.ids for encoding in reference.encode_batch(texts)]
    got = [answer["ids"] for answer in run(program, path, [], [{"text": text} for text in texts])]
    bad = [c for c, e, g in zip(points, expected, got) if e != g]
    counts = collections.Counter(unicodedata.category(chr(c)) for c in bad)
    print(f"  code points: {len(points) - len(bad)} of {len(points)} agree; the rest are, in Unicode "
          f"{unicodedata.unidata_version}, {dict(counts)}")
    start = None
    for c, following in zip(bad, bad[1:] + [None]):
        start = c if start is None else start
        if following != c + 1:
            print(f"    U+{start:04X}" + (f"–U+{c:04X}" if c != start else ""))
            start = None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the lowbit program")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--code-points", action="store_true")
    parser.add_argument("tokenizer", nargs="+")
    arguments = parser.parse_args()
    bad = 0
    for path in arguments.tokenizer:
        print(f"{path} (tokenizers {tokenizers.__version__}, {arguments.count} strings, seed {arguments.seed})")
        reference = tokenizers.Tokenizer.from_file(path)
        bad += compare_strings([arguments.program], path, reference, arguments.count, random.Random(arguments.seed))
        if arguments.code_points:
            list_code_points([arguments.program], path, reference)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
