# SPDX-License-Identifier: Apache-2.0
"""What bench/quant.py runs beside lowbit: the original GPTQ class and llm-awq's searches in torch, f32.

Written from the formulas of docs/methods.md; GPTQ's and most of AWQ's arithmetic is that of oracle/.
"""
import os
import sys

import numpy as np
import torch
import transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import awq_reference  # noqa: E402
import gptq_original  # noqa: E402


def read_array(path, columns):
    return torch.from_numpy(np.fromfile(path, np.float32).reshape(-1, columns))


class Gptq:
    """The original class for every linear of a layer: a Hessian of its own, sequence by sequence, then its columns."""

    def __init__(self, folder, steps, length, bits, group):
        self.length, self.bits, self.group = length, bits, group
        self.inputs = {s["tap"]: read_array(f"{folder}/{s['tap']}.f32", s["width"]) for s in steps}
        self.linears = [(s["tap"], r["name"], read_array(f"{folder}/{r['name']}.f32", s["width"]))
                        for s in steps for r in s["readers"]]

    def run(self, clock):
        """Codes and losses by linear; `clock(part)` says what has been done since it was called last."""
        codes, losses = {}, {}
        for tap, name, weight in self.linears:
            h = gptq_original.hessian(self.inputs[tap], self.length)
            clock(f"gram {tap}")
            codes[name], _, losses[name] = gptq_original.gptq(weight, h, self.bits, self.group, False)
            clock("matrices")
        return codes, losses


class Awq:
    """llm-awq's searches in one layer. Modules see all rows at once, as there, or some sequences at a time where that
    is faster here."""

    READERS = {"attn_in": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
               "attn_out": ("self_attn.o_proj",),
               "mlp_in": ("mlp.gate_proj", "mlp.up_proj"),
               "mlp_mid": ("mlp.down_proj",)}

    @torch.inference_mode()
    def __init__(self, model, layer, rows, length, bits, group):
        net = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.layer, self.bits, self.group = net.model.layers[layer], bits, group
        x = rows.reshape(-1, length, rows.shape[-1])
        self.positions = net.model.rotary_emb(x[:1], torch.arange(length)[None])
        seen = {tap: [] for tap in self.READERS}
        hooks = [self.module(names[0]).register_forward_pre_hook(
            lambda _, inputs, tap=tap: seen[tap].append(inputs[0])) for tap, names in self.READERS.items()]
        for part in x.split(8):
            self.layer(part, position_embeddings=self.positions, attention_mask=None)
        for hook in hooks:
            hook.remove()
        self.inputs = {tap: torch.cat(parts) for tap, parts in seen.items()}  # [sequences, length, width]
        self.sequences = len(x)
        self.batch = {}

    def module(self, name):
        return self.layer.get_submodule(name)

    def forward(self, tap, x):
        if tap == "attn_in":
            return self.layer.self_attn(x, position_embeddings=self.positions, attention_mask=None)[0]
        return self.layer.mlp(x) if tap == "mlp_in" else self.module(self.READERS[tap][0])(x)

    @torch.inference_mode()
    def choose_batch(self, tap, seconds_of):
        """The faster of all sequences at once and 8 at a time."""
        sizes = {self.sequences, min(8, self.sequences)}
        self.forward(tap, self.inputs[tap][: min(sizes)])  # the first run of a shape is slower
        self.batch[tap] = min(sizes, key=lambda size: seconds_of(lambda: self.outputs(tap, size)))

    def outputs(self, tap, batch=None):
        return [self.forward(tap, part) for part in self.inputs[tap].split(batch or self.batch[tap])]

    @torch.inference_mode()
    def search(self, tap):
        """The first best ratio and the losses of all."""
        linears = [self.module(name) for name in self.READERS[tap]]
        originals = [linear.weight.detach().clone() for linear in linears]
        mean_abs = self.inputs[tap].abs().view(-1, self.inputs[tap].shape[-1]).mean(0)
        want, losses = self.outputs(tap), []
        for k in range(awq_reference.RATIOS):
            s = awq_reference.ratio_scales(mean_abs, k / awq_reference.RATIOS)
            for linear, w in zip(linears, originals):
                linear.weight.copy_(awq_reference.fake_round(w * s, self.bits, self.group) / s)
            total = 0.0
            for piece, x in zip(want, self.inputs[tap].split(self.batch[tap])):
                total += float((piece - self.forward(tap, x)).pow(2).mean()) * len(x)
            losses.append(total / self.sequences)
            for linear, w in zip(linears, originals):
                linear.weight.copy_(w)
        return losses.index(min(losses)), losses

    def sampled(self, tap):
        x = self.inputs[tap].reshape(-1, self.inputs[tap].shape[-1])
        return x[:: max(1, len(x) // 512)]

    def scaled(self, reader, tap, scales):
        """Its weight and the sampled tokens with scales in, [columns]; None: all 1."""
        w, x = self.module(reader).weight, self.sampled(tap)
        return (w, x) if scales is None else (w * scales, x / scales)

    @torch.inference_mode()
    def clip(self, reader, tap, scales, way):
        """Steps of 1/20 below the largest weight, [rows, groups]. `way` "sum": products of all rows, tokens and
        weights, then their sums, as llm-awq has it. "einsum": the same by matrix products."""
        w, x = self.scaled(reader, tap, scales)
        if way == "einsum":
            return awq_reference.search_clip(w, x, self.bits, self.group)
        return torch.cat([self.clip_rows(part, x) for part in w.split(256 if len(w) % 256 == 0 else 64)])

    def clip_rows(self, w, x):
        x = x.reshape(1, len(x), -1, self.group)  # [1, tokens, groups, group]
        w = w.reshape(len(w), 1, -1, self.group)
        want, best = (x * w).sum(-1), None
        for i, rounded in enumerate(self.clipped(w)):
            error = ((x * rounded).sum(-1) - want).pow(2).mean(1)  # [rows, groups]
            if best is None:
                best, step = error, torch.zeros_like(error, dtype=torch.int)
            step[error < best] = i
            best = torch.minimum(best, error)
        return step

    def clipped(self, w):
        largest = w.abs().amax(-1, keepdim=True)
        for i in range(awq_reference.CLIP_STEPS):
            bound = largest * (1 - i / awq_reference.CLIP_GRID)
            yield awq_reference.fake_round(torch.clamp(w, -bound, bound), self.bits, self.group)

    @torch.inference_mode()
    def clip_errors(self, reader, tap, scales, rows):
        """Of every bound, for the first `rows` rows, in f64: [steps, rows, groups]."""
        w, x = self.scaled(reader, tap, scales)
        w = w[:rows].reshape(-1, w.shape[1] // self.group, self.group)
        x = x.double().reshape(len(x), -1, self.group)
        return torch.stack([torch.einsum("tgj,rgj->trg", x, (rounded - w).double()).pow(2).mean(0)
                            for rounded in self.clipped(w)])
