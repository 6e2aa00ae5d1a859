# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of token windows: lowbit beside transformers, one process each, taking turns.

    python bench/vs_torch.py build/release/bench/forward_bench MODEL [--dtype f32] [--windows 2] [--repeats 5]

Checks that both give the same numbers before it times. Needs torch and transformers; lowbit itself does not.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import torch
import transformers


class Torch:
    """transformers, weights in memory; the faster of one window at a time and all at once."""

    def __init__(self, model, windows, dtype):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self.model.eval()
        self.ids = torch.tensor(windows)
        sizes = (1, len(windows))
        for size in sizes:  # the first run of a shape is slower
            self.seconds(size)
        self.batch = min(sizes, key=lambda size: min(self.seconds(size), self.seconds(size)))

    @torch.inference_mode()
    def score(self, batch):
        rows = []
        for ids in self.ids.split(batch):
            logits = self.model(ids[:, :-1]).logits.float()
            rows.append(torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0])
        return torch.cat(rows)

    def seconds(self, batch=None):
        start = time.perf_counter()
        self.score(batch or self.batch)
        return time.perf_counter() - start

    @torch.inference_mode()
    def product_seconds(self):
        """The same products by torch alone."""
        layer, rows, total = self.model.model.layers[0], self.ids[:, 1:].numel(), 0.0
        linears = [m for m in layer.modules() if isinstance(m, torch.nn.Linear)]
        for linear, times in [(m, len(self.model.model.layers)) for m in linears] + [(self.model.lm_head, 1)]:
            x = torch.randn(min(rows, 1024), linear.in_features, dtype=linear.weight.dtype)
            torch.nn.functional.linear(x, linear.weight)
            start = time.perf_counter()
            torch.nn.functional.linear(x, linear.weight)
            total += (time.perf_counter() - start) * times * rows / len(x)
        return total


class Lowbit:
    def __init__(self, program, model, windows, dtype, threads):
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump({"sequences": windows}, file)
        self.process = subprocess.Popen([program, model, file.name, dtype, str(threads)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.facts = json.loads(self.process.stdout.readline())
        os.unlink(file.name)

    def seconds(self, what="forward"):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = json.load(open(os.path.join(args.model, "config.json")))
    generator = torch.Generator().manual_seed(1)
    windows = torch.randint(0, min(config["vocab_size"], 40000), (args.windows, args.window), generator=generator).tolist()

    peer = Torch(args.model, windows, {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype])
    ours = Lowbit(args.program, args.model, windows, args.dtype, args.threads)
    want, got = peer.score(peer.batch).double(), torch.tensor(ours.facts["log_probs"], dtype=torch.float64)
    difference = (want - got).abs()
    bound = 2e-3 if args.dtype == "f32" else 0.5
    print(f"largest difference of a log-probability {difference.max():.2g}, mean {difference.mean():.2g}")
    assert difference.max() < bound, "the answers differ: not timed"

    rounds = {"torch": [], "lowbit": [], "lowbit products": [], "torch products": []}
    ours.seconds("products")
    for _ in range(args.repeats):
        rounds["torch"].append(peer.seconds())
        rounds["lowbit"].append(ours.seconds())
        rounds["lowbit products"].append(ours.seconds("products"))
        rounds["torch products"].append(peer.product_seconds())
    tokens = args.windows * (args.window - 1)
    print(f"{args.model} {args.dtype}, {args.windows} windows of {args.window}, {args.threads} threads, "
          f"{ours.facts['isa']}, torch {torch.__version__} batch {peer.batch}")
    middle = {name: statistics.median(seconds) for name, seconds in rounds.items()}
    for name, seconds in rounds.items():
        print(f"  {name:<16} {middle[name]:7.3f} s ({min(seconds):.3f}..{max(seconds):.3f})"
              f"  {tokens / middle[name]:7.1f} tokens/s")
    rate, alone = ours.facts["flop"] / middle["lowbit"], ours.facts["product_flop"] / middle["lowbit products"]
    peer_alone = ours.facts["product_flop"] / middle["torch products"]
    ratios = sorted(t / l for t, l in zip(rounds["torch"], rounds["lowbit"]))
    print(f"  lowbit {middle['torch'] / middle['lowbit']:.2f}x torch (pairs {ratios[0]:.2f}..{ratios[-1]:.2f}); "
          f"{rate / 1e9:.0f} GFLOP/s = {100 * rate / alone:.0f} % of its products alone ({alone / 1e9:.0f}), "
          f"{100 * rate / peer_alone:.0f} % of torch's ({peer_alone / 1e9:.0f}); products take "
          f"{100 * middle['lowbit products'] / middle['lowbit']:.0f} % of the pass")


if __name__ == "__main__":
    main()
