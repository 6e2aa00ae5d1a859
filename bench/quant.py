#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPTQ and AWQ of one layer: lowbit beside the originals' arithmetic in torch (bench/peers.py), taking turns.

    cmake --preset release -DLOWBIT_BUILD_BENCH=ON && cmake --build --preset release
    python bench/random_checkpoint.py qwen3-0.6b QWEN3 --tokenizer TOKENIZER.json
    python bench/quant.py build/release/bench --texts C4.jsonl --gptq-model QWEN3 --awq-model SMOLLM2

  gptq   w4 g128, 16 x 2048 tokens, first layer: Hessians, factors and rounding, both from the same inputs
  pass   the same layer as `lowbit quantize` takes it (Gram, factor, rounding, one forward) against a plain forward
  search w4 g64, 128 x 512 tokens, one layer: AWQ's scales, judged by the block's output or by the Gram matrix
  clip   the same layer's bounds: llm-awq's from 512 tokens, lowbit's from all, and from the same 512 as a check

Answers are checked in every round: a difference ends the run before that part's times are shown. Each line has the
median and the range of the rounds, and of pairs of neighbours their ratio; CPU seconds are of all threads and tell
even where others use the machine. Takes some 3 GB here and 1 GB in lowbit. Needs torch and transformers; lowbit itself does not.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import peers

PAUSE = 0.3  # seconds, so that the other side's threads have gone to sleep


class Cost:
    def __init__(self, seconds=0.0, cpu=0.0):
        self.seconds, self.cpu = seconds, cpu

    def __add__(self, other):
        return Cost(self.seconds + other.seconds, self.cpu + other.cpu)


class Clock:
    """Costs of this process by part."""

    def __init__(self):
        self.parts, self.last = {}, (time.perf_counter(), time.process_time())

    def __call__(self, part):
        now = time.perf_counter(), time.process_time()
        spent = Cost(now[0] - self.last[0], now[1] - self.last[1])
        self.parts[part], self.last = self.parts.get(part, Cost()) + spent, now

    def total(self):
        return sum(self.parts.values(), Cost())


def cost_of(body):
    time.sleep(PAUSE)
    clock = Clock()
    answer = body()
    clock("all")
    return clock.total(), answer


class Program:
    """One of ours: a command in, a line of JSON out."""

    def __init__(self, path, *arguments):
        self.name = os.path.basename(path)
        self.process = subprocess.Popen([path, *map(str, arguments)], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.facts = self.answer("its first line")

    def answer(self, command):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with {self.process.wait()} at {command}")
        return json.loads(line)

    def ask(self, *words):
        time.sleep(PAUSE)
        command = " ".join(map(str, words))
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: answer() says so
        return self.answer(command)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def cost_in(answer):
    return Cost(answer["seconds"], answer["cpu_seconds"])


class Report:
    def __init__(self, has_targets, facts):
        self.checks, self.lines, self.has_targets, self.facts = [], [], has_targets, facts

    def check(self, what, value, text, holds):
        if what not in [c["what"] for c in self.checks]:
            print(f"  {what}: {text}", flush=True)
        self.checks.append({"what": what, "value": value})
        if not holds:
            sys.exit(f"the answers differ, nothing is timed: {what}: {text}")

    def compare(self, name, first, second, names, target=None):
        """Ratio first / second, over pairs of neighbours. `target`: ">= 1.8" or "<= 2.6"."""
        ratios = [a.seconds / b.seconds for a, b in zip(first, second)]
        cpu = [a.cpu / b.cpu for a, b in zip(first, second)]
        line = {"name": name, "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
                "cpu_ratio": statistics.median(cpu), "target": target}
        for side, costs in zip(names, (first, second)):
            line[side] = {"seconds": [c.seconds for c in costs], "cpu_seconds": [c.cpu for c in costs]}
        met = ""
        if target and self.has_targets:
            sign, bound = target.split()
            line["met"] = line["ratio"] >= float(bound) if sign == ">=" else line["ratio"] <= float(bound)
            met = f", wanted {target}: {'met' if line['met'] else 'MISSED'}"
        self.lines.append(line)
        print(f"\n{name}")
        for side, costs in zip(names, (first, second)):
            self.print_cost(side, costs)
        print(f"  ratio {line['ratio']:.2f} (pairs {line['least']:.2f}..{line['most']:.2f}; "
              f"CPU {line['cpu_ratio']:.2f}){met}", flush=True)

    def part(self, name, costs):
        self.lines.append({"name": name, "seconds": [c.seconds for c in costs],
                           "cpu_seconds": [c.cpu for c in costs]})
        self.print_cost("  " + name, costs)

    @staticmethod
    def print_cost(name, costs):
        seconds = [c.seconds for c in costs]
        print(f"  {name:<52}{statistics.median(seconds):9.3f} s ({min(seconds):.3f}..{max(seconds):.3f})"
              f"{statistics.median(c.cpu for c in costs):10.3f} CPU s", flush=True)


def run_gptq(args, report, folder):
    samples, length = args.gptq_tokens
    ours = Program(os.path.join(args.programs, "gptq_serve"), args.gptq_model, args.texts, samples, length, args.bits,
                   128, args.threads)
    report.facts["gptq_isa"], report.facts["gptq_isa_bf16"] = ours.facts["isa"], ours.facts["isa_bf16"]
    print(f"\nGPTQ w{args.bits} g128, first layer of {args.gptq_model}, {samples} x {length} tokens, "
          f"{ours.facts['isa']}")
    if "gptq" in args.parts:
        run_class(args, report, folder, ours)
    if "pass" in args.parts:
        run_passes(args, report, ours)
    ours.end()


def run_class(args, report, folder, ours):
    samples, length = args.gptq_tokens
    ours.ask("arrays", folder)
    peer = peers.Gptq(folder, ours.facts["steps"], length, args.bits, 128)
    theirs, mine, shared, parts = [], [], [], {"gram": [], "factor": [], "rounding": []}
    for _ in range(args.repeats):
        time.sleep(PAUSE)
        clock = Clock()
        codes, losses = peer.run(clock)
        answer = ours.ask("class")
        ours.ask("codes", folder)
        check_codes(report, folder, codes, losses, answer["losses"], samples)
        theirs.append(clock.total())
        mine.append(cost_in(answer))
        shared.append(with_shared_hessians(clock, ours.facts["steps"]))
        for part, costs in parts.items():
            costs.append(cost_in(answer[part]))
    report.compare("GPTQ of a layer: Hessians, factors, rounding", theirs, mine,
                   ("original class, torch f32", "lowbit f32"), ">= 1.8")
    for part, costs in parts.items():
        report.part(f"lowbit: {part}", costs)
    report.compare("the same, if the original kept one Hessian for the linears of an input", shared, mine,
                   ("original class, shared Hessians", "lowbit f32"))


def check_codes(report, folder, codes, losses, our_losses, sequences):
    equal = total = 0
    for name, theirs in codes.items():
        mine = torch.from_numpy(np.fromfile(f"{folder}/{name}.codes", np.uint8)).reshape(theirs.shape)
        equal += int((mine == theirs).sum())
        total += mine.numel()
    apart = max(abs(our_losses[name] / (losses[name] * sequences / 2) - 1) for name in losses)
    report.check("equal codes", equal / total, f"{equal / total:.4%} of {total}", equal / total > 0.99)
    report.check("largest difference of a linear's loss", apart, f"{apart:.2%}", apart < 0.01)


def with_shared_hessians(clock, steps):
    spent = clock.parts["matrices"]
    for step in steps:
        gram, readers = clock.parts[f"gram {step['tap']}"], len(step["readers"])
        spent += Cost(gram.seconds / readers, gram.cpu / readers)
    return spent


def run_passes(args, report, ours):
    for kind in ("f32", "bf16"):
        layer, forward, factor, rounding = [], [], [], []
        ours.ask("forward", kind)  # the first of a type builds its kernels
        for _ in range(args.repeats):
            forward.append(cost_in(ours.ask("forward", kind)))
            answer = ours.ask("layer", kind)
            layer.append(cost_in(answer))
            factor.append(cost_in(answer["factor"]))
            rounding.append(cost_in(answer["rounding"]))
        report.compare(f"a layer of GPTQ against its plain forward, {kind}", layer, forward,
                       ("Gram + factor + rounding + forward", "forward"), "<= 2.6")
        report.part("of it factor", factor)
        report.part("of it rounding", rounding)


def run_awq(args, report, folder):
    samples, length = args.awq_tokens
    ours = Program(os.path.join(args.programs, "awq_serve"), args.awq_model, args.texts, samples, length,
                   args.awq_layer, args.bits, 64, args.threads)
    report.facts["awq_isa"] = ours.facts["isa"]
    print(f"\nAWQ w{args.bits} g64, layer {args.awq_layer} of {args.awq_model}, {samples} x {length} tokens, "
          f"{ours.facts['isa']}")
    rows = os.path.join(folder, "rows.f32")
    ours.ask("rows", rows)
    width = ours.facts["steps"][0]["width"]
    peer = peers.Awq(args.awq_model, args.awq_layer, peers.read_array(rows, width), length, args.bits, 64)
    os.unlink(rows)
    taps = ["attn_in", "mlp_in", "mlp_mid"]
    for tap in taps:
        peer.choose_batch(tap, lambda body: cost_of(body)[0].seconds)
    print(f"  torch takes sequences at a time: {peer.batch}")
    costs = {(side, tap): [] for side in ("torch", "block", "hessian") for tap in taps}
    scales = {}
    for _ in range(args.awq_repeats):
        for tap in taps:
            cost, (step, losses) = cost_of(lambda: peer.search(tap))
            costs["torch", tap].append(cost)
            for loss in ("block", "hessian"):
                answer = ours.ask("search", tap, loss)
                costs[loss, tap].append(cost_in(answer))
                if loss == "block":
                    check_search(report, tap, step, losses, answer)
                    scales[tap] = torch.tensor(answer["scales"])
                else:
                    report.check(f"{tap}: ratio by the Gram matrix's loss", answer["step"], f"{answer['step']}/20",
                                 True)

    def total(side):
        return [sum(round_, Cost()) for round_ in zip(*(costs[side, tap] for tap in taps))]

    names = ("llm-awq's, torch f32", "lowbit f32")
    report.compare("AWQ's search, block loss", total("torch"), total("block"), names, ">= 1.5")
    for tap in taps:
        report.compare(f"of it {tap}", costs["torch", tap], costs["block", tap], names)
    report.compare("AWQ's search, Gram-based loss (awq_loss=hessian: a method of its own)", total("torch"),
                   total("hessian"), names)
    if "clip" in args.parts:
        run_clip(args, report, ours, peer, scales)
    ours.end()


def check_search(report, tap, step, losses, answer):
    """lowbit leaves a ratio as soon as it has lost: its loss is then too small, yet no smaller than the best."""
    mine = answer["losses"]
    apart = [abs(a / b - 1) for a, b in zip(mine, losses)]
    whole = [d for d in apart if d < 2e-3]
    left = [(a, b) for a, b, d in zip(mine, losses, apart) if d >= 2e-3]
    well = len(whole) >= 3 and apart[answer["step"]] < 2e-3 and all(min(mine) <= a <= b for a, b in left)
    most = max(whole, default=1)
    report.check(f"{tap}: losses of {len(whole)} ratios, {len(left)} more left early: largest difference", most,
                 f"{most:.1e}", well)
    regret = losses[answer["step"]] / losses[step] - 1
    report.check(f"{tap}: ratio", answer["step"], f"{answer['step']}/20, torch {step}/20", regret < 2e-3)


# Both take lowbit's scales: a range from -b to b has its zero at 7.5 levels exactly, so that the last bit of a scale
# decides how such a group is rounded.
def run_clip(args, report, ours, peer, scales):
    readers = [(s["tap"], r["name"]) for s in ours.facts["steps"] for r in s["readers"] if r["clips"]]
    taps = list(dict.fromkeys(tap for tap, _ in readers))
    every = max(1, ours.facts["tokens"] // 512)
    few, full = ours.ask("clip", every, *taps)["bounds"], ours.ask("clip", 1, *taps)["bounds"]
    costs = {"sum": [], "einsum": [], "ours": [], "gram": []}
    for _ in range(args.awq_repeats):
        for way in ("sum", "einsum"):
            cost, theirs = cost_of(lambda: {name: peer.clip(name, tap, scales.get(tap), way) for tap, name in readers})
            costs[way].append(cost)
            check_bounds(report, f"bounds, 512 tokens both, torch by {way}", theirs, few, 0.999)
            check_errors(report, f"their errors in f64, torch by {way}", peer, readers, scales, theirs, few)
        costs["ours"].append(cost_in(ours.ask("clip", 1, *taps)))
        costs["gram"].append(cost_in(ours.ask("gram")))
    check_bounds(report, "bounds, torch 512 tokens, lowbit all", theirs, full, 0)
    names = ("llm-awq's, products and sums, 512 tokens", "lowbit, all tokens")
    report.compare("AWQ's clipping, Gram matrices at hand", costs["sum"], costs["ours"], names, ">= 50")
    together = [a + b for a, b in zip(costs["ours"], costs["gram"])]
    report.compare("the same with the Gram matrices of all steps, which the searches use too", costs["sum"], together,
                   (names[0], "lowbit, all tokens, Gram included"))
    report.compare("the same against torch by matrix products", costs["einsum"], costs["ours"],
                   ("llm-awq's as matrix products, 512 tokens", names[1]))


def check_bounds(report, what, theirs, mine, least):
    equal = near = total = 0
    for name, steps in theirs.items():
        apart = (torch.tensor(mine[name]).reshape(steps.shape) - steps).abs()
        equal, near, total = equal + int((apart == 0).sum()), near + int((apart == 1).sum()), total + apart.numel()
    report.check(what, equal / total, f"{equal / total:.2%} equal, {near / total:.2%} one step apart, of {total}",
                 equal / total >= least)


def check_errors(report, what, peer, readers, scales, theirs, mine, rows=64):
    """Where errors of two bounds are nearly equal f32 decides by chance: what counts is how large they are."""
    sums = [0.0, 0.0]
    for name, tap in ((name, tap) for tap, name in readers):
        errors = peer.clip_errors(name, tap, scales.get(tap), rows)
        chosen = theirs[name], torch.tensor(mine[name], dtype=torch.int).reshape(theirs[name].shape)
        for side, step in enumerate(chosen):
            sums[side] += float(errors.gather(0, step[:rows][None].long()).sum())
    ratio = sums[1] / sums[0]
    report.check(what, ratio, f"lowbit's {ratio - 1:+.4%} of torch's, {rows} rows of each linear", ratio < 1.001)


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def pair(text):
    samples, length = map(int, text.split("x"))
    return samples, length


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", help="folder of gptq_serve and awq_serve")
    parser.add_argument("--texts", required=True, help="JSON lines with documents under \"text\"")
    parser.add_argument("--parts", default="gptq,pass,search,clip", type=lambda text: text.split(","),
                        help="of gptq,pass,search,clip; clip needs search")
    parser.add_argument("--gptq-model", help="folder; without it no gptq and pass")
    parser.add_argument("--gptq-tokens", type=pair, default=(16, 2048), metavar="SxL", help="default 16x2048")
    parser.add_argument("--awq-model", help="folder; without it no search and clip")
    parser.add_argument("--awq-tokens", type=pair, default=(128, 512), metavar="SxL", help="default 128x512")
    parser.add_argument("--awq-layer", type=int, default=3)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--awq-repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", help="folder for arrays between the two sides, 1 GB")
    parser.add_argument("--json", help="file to write")
    parser.add_argument("--quick", action="store_true", help="few tokens, one round: only whether it runs")
    args = parser.parse_args()
    wrong = set(args.parts) - {"gptq", "pass", "search", "clip"}
    if wrong or ("clip" in args.parts and "search" not in args.parts):
        parser.error(f"--parts {','.join(args.parts)}, expected some of gptq,pass,search,clip; clip needs search")
    if args.quick:
        args.gptq_tokens, args.awq_tokens, args.repeats, args.awq_repeats = (4, 1024), (8, 256), 1, 1
    torch.set_num_threads(args.threads)
    transformers_logging()
    begin = time.time()
    report = Report(not args.quick, {
        "cpu": cpu_name(), "torch": torch.__version__, "torch_isa": torch.backends.cpu.get_cpu_capability(),
        "arguments": {name: value for name, value in vars(args).items() if name != "json"},
        "load_before": os.getloadavg()[0]})
    print(f"{report.facts['cpu']}, {args.threads} threads each, torch {torch.__version__} "
          f"({report.facts['torch_isa']}), load {report.facts['load_before']:.1f} before")
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        if args.gptq_model and {"gptq", "pass"} & set(args.parts):
            run_gptq(args, report, folder)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        if args.awq_model and "search" in args.parts:
            run_awq(args, report, folder)
    print(f"\n{time.time() - begin:.0f} s in all, load {os.getloadavg()[0]:.1f} after")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"facts": report.facts, "checks": report.checks, "lines": report.lines}, file, indent=1)


def transformers_logging():
    peers.transformers.logging.set_verbosity_error()
    peers.transformers.logging.disable_progress_bar()


if __name__ == "__main__":
    main()
