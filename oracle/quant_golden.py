#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the quantizers, for lowbit/quant/golden_test.cc.

  python3 oracle/quant_golden.py --ref PATH/ref.py --out testdata/quant

`ref.py` is the numpy reference of the methods (float64 there); its functions run here on float32 arrays.
What it does not know is written out below from the formulas of docs/methods.md: scales rounded to fp16
before codes are chosen, the range search with errors summed in double, the grids absmax and full, and the
binary quantizer in float32.

rounding.safetensors holds all cases one behind the other. Row i of `cases` is
  rows, cols, group size, bits, rule (order of lowbit/quant/uniform.h; 7 = binary), 1 for the range search
and the other tensors hold the cases' weights, and per scale type f32 and f16 their codes (one byte each),
scales, and zero points or (binary) means.
"""
import argparse
import importlib.util
import json
import os

import numpy as np
from safetensors.numpy import save_file

SEED = 20260101
CASES = 200
RULES = ["gptq_asym", "gptq_sym", "awq_asym", "awq_sym", "absmax", "rot_sym", "full_sym", "binary"]
F32 = np.float32


def load_ref(path):
    spec = importlib.util.spec_from_file_location("ref", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to_f16(s):
    """What a file with fp16 scales holds, as float32; a scale never vanishes."""
    r = s.astype(np.float16).astype(F32)
    assert np.isfinite(r).all()
    return np.where((r == 0) & (s != 0), np.copysign(F32(2.0**-24), s), r)


def keep(s):
    return s


def range_gptq(w, sym):
    lo, hi = np.minimum(w.min(1, keepdims=True), F32(0)), np.maximum(w.max(1, keepdims=True), F32(0))
    if sym:
        hi = np.maximum(np.abs(lo), hi)
        lo = np.where(lo < 0, -hi, lo)
    flat = (lo == 0) & (hi == 0)
    return np.where(flat, F32(-1), lo), np.where(flat, F32(1), hi)


def search(ref, w, bits, sym, rounded):
    """Range search, errors in double. Every candidate's scale is rounded before its codes are chosen."""
    maxq = 2**bits - 1
    lo, hi = range_gptq(w, sym)
    best = np.full((w.shape[0], 1), np.inf)
    s0, z0 = np.zeros_like(lo), np.zeros_like(lo)
    for i in range(80):
        p = F32(1 - i / 100)
        s = rounded((p * hi - p * lo) / maxq)
        z = np.full_like(lo, 2 ** (bits - 1)) if sym else np.clip(ref.rne(-(p * lo) / s), 0, maxq)
        d = ref.qdq(w, s, z, 0, maxq).astype(np.float64) - w.astype(np.float64)
        e = (np.abs(d) ** 2.4).sum(1, keepdims=True)
        t = e < best
        best, s0, z0 = np.where(t, e, best), np.where(t, s, s0), np.where(t, z, z0)
    return s0, z0, best


def check_search(ref, w, bits, sym, s, best):
    """Where ref.py, summing in float32, prefers another range, the two must be as good as equal."""
    s1, z1 = ref.params_gptq(w, bits, sym=sym, mse=True)
    d = ref.qdq(w, s1, z1, 0, 2**bits - 1).astype(np.float64) - w.astype(np.float64)
    e = (np.abs(d) ** 2.4).sum(1, keepdims=True)
    assert ((s1 == s) | (e <= best * (1 + 1e-5))).all()


def uniform(ref, rule, w, bits, mse, rounded):
    """Codes, scales and zero points of one group per row of w, as they are stored."""
    name, half, maxq = RULES[rule], 2 ** (bits - 1), 2**bits - 1
    first = 0
    if name.startswith("gptq"):
        sym = name == "gptq_sym"
        if mse:
            s, z, best = search(ref, w, bits, sym, rounded)
            if rounded is keep:
                check_search(ref, w, bits, sym, s, best)
        else:
            s, z = ref.params_gptq(w, bits, sym=sym)
            if rounded is not keep:
                s = rounded(s)
                z = z if sym else np.clip(ref.rne(-range_gptq(w, sym)[0] / s), 0, maxq)
    elif name == "awq_asym":
        s, z, _, _ = ref.params_awq(w, bits)
        if rounded is not keep:
            s = rounded(s)
            z = np.clip(-ref.rne(w.min(1, keepdims=True) / s), 0, maxq)
    elif name in ("awq_sym", "absmax", "rot_sym"):
        s, _, _, _ = ref.params_awq(w, bits, sym=True)
        s, z = rounded(s), np.full_like(s, half)
        first = 1 if name == "absmax" else 0
        if name == "absmax" and rounded is keep:  # the reference of absmax multiplies codes without clamping
            assert (ref.q_absmax(w, bits) == ref.qdq(w, s, z, first, maxq)).all()
    else:  # full_sym: the extreme of largest magnitude, the positive one of two equal ones
        lo, hi = w.min(1, keepdims=True), w.max(1, keepdims=True)
        m = np.where(-lo > hi, lo, hi)
        s = np.where(m == 0, F32(1), rounded(-m / F32(half)))
        z = np.full_like(s, half)
    q = ref.codes(w, s, z, first, maxq)
    assert s.dtype == z.dtype == q.dtype == F32
    assert (z == z.astype(np.uint8)).all() and (q == q.astype(np.uint8)).all()
    return q, s, z


def binary(w, rounded_scale, rounded_mean):
    d = w.astype(np.float64)
    mean = rounded_mean(d.mean(1, keepdims=True).astype(F32))
    s = rounded_scale(np.abs(d - mean).mean(1, keepdims=True).astype(F32))
    return (w >= mean).astype(F32), s, mean


def weights(rng, rows, cols, bits):
    kind = rng.integers(10)
    w = rng.normal(size=(rows, cols)) * 0.02
    if kind == 1:
        w = rng.standard_t(2, size=(rows, cols)) * 0.01
    elif kind == 2:
        w = np.abs(w) + 0.001
    elif kind == 3:
        w = -np.abs(w) - 0.001
    elif kind == 4:
        w[:] = rng.normal(size=(rows, 1))  # constant rows
    elif kind == 5:
        w[rng.random(size=w.shape) < 0.9] = 0  # groups of zeros only
    elif kind == 6:  # ties: the range 0 .. 2^bits - 1 makes the scale 1, then every second weight is a tie
        w = rng.integers(0, 2 ** (bits + 1) - 1, size=w.shape) / 2
        w[:, 0], w[:, -1] = 0, 2**bits - 1
        w -= rng.integers(0, 2)
    elif kind == 7:
        w *= 10.0 ** rng.integers(-8, -4)  # scales near the end of fp16
    elif kind == 8:
        w *= 1e4
    elif kind == 9:
        w = (w.astype(F32).view(np.uint32) & 0xFFFF0000).view(F32)  # as bf16
    return w.astype(F32)


def by_group(f, w, group):
    """Applies f to the groups of w, the last of which may be short; returns codes, scales, extras."""
    parts = [f(w[:, i:i + group]) for i in range(0, w.shape[1], group)]
    return [np.concatenate([p[k] for p in parts], axis=1) for k in range(3)]


def make_cases(ref):
    rng = np.random.default_rng(SEED)
    cases = []
    kinds = [f"{t}.{k}" for t in ("f32", "f16") for k in ("codes", "scales", "extras")]
    out = {k: [] for k in ["weights"] + kinds}
    for i in range(CASES + 40):
        rule = i % 3 if i % 5 == 0 else int(rng.integers(len(RULES) - 1))
        mse = rule < 2 and i % 4 == 1
        least = 2 if RULES[rule] in ("awq_sym", "absmax", "rot_sym") or mse else 1
        bits = int(rng.integers(least, 9))
        if i >= CASES:
            rule, bits, mse = RULES.index("binary"), 1, False
        rows, cols = int(rng.integers(1, 8)), int(rng.integers(1, 161))
        group = int(rng.choice([1, 3, 8, 16, 31, 32, 64, 128, 160]))
        w = weights(rng, rows, cols, bits)
        cases.append([rows, cols, group, bits, rule, int(mse)])
        out["weights"].append(w)
        for name, rounded in (("f32", keep), ("f16", to_f16)):
            if RULES[rule] == "binary":
                to_mean = keep if rounded is keep else lambda m: m.astype(np.float16).astype(F32)
                f = lambda g: binary(g, rounded, to_mean)
            else:
                f = lambda g: uniform(ref, rule, g, bits, mse, rounded)
            with np.errstate(over="ignore"):
                q, s, extra = by_group(f, w, group)
            out[name + ".codes"].append(q.astype(np.uint8))
            out[name + ".scales"].append(s)
            out[name + ".extras"].append(extra)
    tensors = {k: np.concatenate([a.ravel() for a in v]) for k, v in out.items()}
    tensors["cases"] = np.array(cases, np.int32)
    return tensors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ref", required=True, help="the reference's ref.py")
    parser.add_argument("--out", required=True, help="folder for the golden files")
    args = parser.parse_args()
    ref = load_ref(args.ref)
    tensors = make_cases(ref)
    path = os.path.join(args.out, "rounding.safetensors")
    save_file(tensors, path, {"made_by": "oracle/quant_golden.py", "numpy": np.__version__, "seed": str(SEED)})
    os.chmod(path, 0o644)
    examples = ref.examples()["quantizers"]
    with open(os.path.join(args.out, "worked_examples.json"), "w") as f:
        json.dump({"weights": ref.W0[0].tolist(), "cases": examples}, f, separators=(",", ":"))
        f.write("\n")
    with open(os.path.join(args.out, "awq_examples.json"), "w") as f:
        awq = {"worked": ref.examples()["awq"], "formula": ref.formula_example()["awq"]}
        json.dump(awq, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
