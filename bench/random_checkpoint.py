# SPDX-License-Identifier: Apache-2.0
"""Writes a Hugging Face folder of a published model's shape with random bf16 weights, for measurements of speed
and memory (numbers say nothing: the weights are noise).

    python bench/random_checkpoint.py qwen3-4b /tmp/qwen3-4b --tokenizer TOKENIZER.json
    python bench/random_checkpoint.py qwen3-30b-a3b /tmp/pair --layers 2
"""
import argparse
import json
import os
import shutil
import struct

import numpy as np

QWEN3 = dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], vocab_size=151936, head_dim=128, rope_theta=1e6,
             rms_norm_eps=1e-6, max_position_embeddings=40960, attention_bias=False, hidden_act="silu",
             rope_scaling=None, torch_dtype="bfloat16", tie_word_embeddings=True, bos_token_id=151643,
             eos_token_id=151645)
SHAPES = {
    "qwen3-0.6b": dict(QWEN3, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
                       num_key_value_heads=8),
    "qwen3-4b": dict(QWEN3, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
                     num_key_value_heads=8),
    "qwen3-30b-a3b": dict(QWEN3, model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], hidden_size=2048,
                          intermediate_size=6144, num_hidden_layers=48, num_attention_heads=32, num_key_value_heads=4,
                          num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, norm_topk_prob=True,
                          decoder_sparse_step=1, mlp_only_layers=[], tie_word_embeddings=False),
}
SHARD_BYTES = 2_000_000_000


def tensors(c):
    h, d, v = c["hidden_size"], c["head_dim"], c["vocab_size"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    yield "model.embed_tokens.weight", (v, h)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        yield p + "input_layernorm.weight", (h,)
        for name, shape in (("q", (q, h)), ("k", (kv, h)), ("v", (kv, h)), ("o", (h, q))):
            yield f"{p}self_attn.{name}_proj.weight", shape
        yield p + "self_attn.q_norm.weight", (d,)
        yield p + "self_attn.k_norm.weight", (d,)
        yield p + "post_attention_layernorm.weight", (h,)
        if "num_experts" not in c:
            mlps, inner = [p + "mlp."], c["intermediate_size"]
        else:
            yield p + "mlp.gate.weight", (c["num_experts"], h)
            mlps, inner = [f"{p}mlp.experts.{e}." for e in range(c["num_experts"])], c["moe_intermediate_size"]
        for mlp in mlps:
            yield mlp + "gate_proj.weight", (inner, h)
            yield mlp + "up_proj.weight", (inner, h)
            yield mlp + "down_proj.weight", (h, inner)
    yield "model.norm.weight", (h,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (v, h)


class Noise:
    """Bytes of bf16 numbers, normal with deviation 0.02: one block of them, begun anywhere."""

    def __init__(self):
        values = np.random.default_rng(1).normal(0, 0.02, 1 << 24).astype(np.float32)
        self.block = (values.view(np.uint32) >> 16).astype(np.uint16)
        self.at = 0

    def write(self, file, count):
        while count > 0:
            self.at = (self.at + 7919) % (len(self.block) // 2)
            part = self.block[self.at:self.at + count]
            file.write(part.tobytes())
            count -= len(part)


def write_shard(path, shard, noise):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shard:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shard:
            if len(shape) == 1:
                file.write(np.full(shape, 0x3F80, np.uint16).tobytes())  # norms are 1
            else:
                noise.write(file, int(np.prod(shape)))
    return at


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, help="fewer layers than the published model")
    parser.add_argument("--tokenizer", help="tokenizer.json to put beside the weights")
    args = parser.parse_args()
    config = dict(SHAPES[args.shape])
    config["num_hidden_layers"] = args.layers or config["num_hidden_layers"]
    os.makedirs(args.folder, exist_ok=True)
    with open(os.path.join(args.folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    if args.tokenizer:
        shutil.copyfile(args.tokenizer, os.path.join(args.folder, "tokenizer.json"))

    shards, size = [[]], 0
    for name, shape in tensors(config):
        bytes_ = 2 * int(np.prod(shape))
        if size > 0 and size + bytes_ > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += bytes_
    noise, weight_map, total = Noise(), {}, 0
    for i, shard in enumerate(shards):
        name = "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        total += write_shard(os.path.join(args.folder, name), shard, noise)
        weight_map.update({tensor: name for tensor, _ in shard})
    if len(shards) > 1:
        with open(os.path.join(args.folder, "model.safetensors.index.json"), "w") as file:
            json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)
    print(f"{total / 1e9:.2f} GB in {len(shards)} files")


if __name__ == "__main__":
    main()
