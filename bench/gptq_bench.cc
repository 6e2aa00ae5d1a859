// SPDX-License-Identifier: Apache-2.0
// GPTQ on its own, to be timed and to be compared with the original (oracle/gptq_original.py):
//   gptq_bench gram ROWS WIDTH THREADS [f32|bf16]     AddGram against a plain product of the same size
//   gptq_bench layer TOKENS BITS GROUP THREADS        all linears of a layer shaped like Qwen3-0.6B's
//   gptq_bench round WEIGHTS OUT GRAM IN BITS GROUP ACT_ORDER THREADS RESULT
// `round` reads W [OUT, IN] as raw f32 and Σ x xᵀ [IN, IN] as raw f64, and writes RESULT.codes (one byte a
// weight, columns in their own order) and RESULT.weights (raw f32). GROUP 0 is per channel.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "bench/gptq_rounded.h"
#include "bench/raw_file.h"
#include "lowbit/base/files.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/calib/statistics.h"
#include "lowbit/tensor/dense_view.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

size_t Number(const char* text) {
  return std::strtoull(text, nullptr, 10);
}

int TimeGram(size_t rows, size_t width, int thread_count, const char* compute) {
  const Threads threads(thread_count);
  const auto backend = MakeBackend("cpu", compute, threads);
  const Matrix x = RandomMatrix(rows, width), w = RandomMatrix(width, rows),
               w2 = RandomMatrix(width, rows, 2);
  InputStatistics statistics(width);
  Matrix y(width, width);
  const auto prepared = backend->Prepare(DenseView(w));
  const auto gram = [&] { backend->AddGram(x.view(), statistics.Gram()); };
  const auto product = [&] { backend->Gemm(w2.view(), *prepared, {}, y.view()); };
  gram();
  product();
  double gram_seconds = 1e9, product_seconds = 1e9;
  for (int i = 0; i < 5; ++i) {
    gram_seconds = std::min(gram_seconds, SecondsOf(gram));
    product_seconds = std::min(product_seconds, SecondsOf(product));
  }
  const double r = static_cast<double>(rows), n = static_cast<double>(width);
  fmt::print("gram {:.4f} s, {:.1f} GFLOP/s of n(n+1) a row; plain product {:.4f} s, {:.1f} GFLOP/s\n",
             gram_seconds, r * n * (n + 1) / gram_seconds * 1e-9, product_seconds,
             2 * r * n * n / product_seconds * 1e-9);
  return 0;
}

int TimeLayer(size_t tokens, int bits, size_t group, int thread_count) {
  struct Stage {
    size_t in;
    std::vector<size_t> outs;
  };
  const Threads threads(thread_count);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const WeightSpec spec{.bits = bits, .group_size = group};
  double gram = 0, factor_time = 0, rounding = 0;
  for (const Stage& stage : {Stage{1024, {2048, 1024, 1024}}, Stage{2048, {1024}}, Stage{1024, {3072, 3072}},
                             Stage{3072, {1024}}}) {
    const Matrix x = RandomMatrix(tokens, stage.in);
    InputStatistics statistics(stage.in);
    gram += SecondsOf([&] { backend->AddGram(x.view(), statistics.Gram()); });
    GptqFactor factor;
    factor_time += SecondsOf([&] { factor = FactorGram(statistics.Gram(), {}, Place("gram"), threads); });
    for (const size_t out : stage.outs) {
      const Matrix w = RandomMatrix(out, stage.in, 2, 0.02f);
      rounding += SecondsOf([&] { RoundAll(w.view(), factor, spec, {}, threads); });
    }
  }
  fmt::print("gram {:.3f} s, factor {:.3f} s, rounding {:.3f} s, together {:.3f} s\n", gram, factor_time,
             rounding, gram + factor_time + rounding);
  return 0;
}

void WriteRaw(const std::string& path, const void* data, size_t bytes) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

int RoundFiles(char** argv) {
  const size_t out = Number(argv[1]), in = Number(argv[3]);
  const Buffer<float> weights = ReadRaw<float>(argv[0], out * in);
  Buffer<double> gram = ReadRaw<double>(argv[2], in * in);
  const WeightSpec spec{.bits = std::atoi(argv[4]), .group_size = Number(argv[5]), .scale_type = DType::kF32};
  const GptqOptions options{.act_order = std::atoi(argv[6]) != 0, .fresh_range = false};
  const Threads threads(std::atoi(argv[7]));
  GptqFactor factor;
  const double factor_seconds = SecondsOf(
      [&] { factor = FactorGram(MatView<double>(gram.data(), in, in), options, Place(argv[2]), threads); });
  Rounded rounded;
  const double seconds = SecondsOf([&] {
    rounded = RoundAll(MatView<const float>(weights.data(), out, in), factor, spec, options, threads);
  });
  fmt::print("{{\"state\": \"{}\", \"damp\": {}, \"loss\": {}, \"factor_s\": {:.4f}, \"round_s\": {:.4f}}}\n",
             Name(factor.state), factor.damp, rounded.loss, factor_seconds, seconds);
  const std::vector<uint8_t> codes = Codes(rounded.packed);
  Matrix values(out, in);
  Dequantize(rounded.packed, 0, values.view());
  WriteRaw(std::string(argv[8]) + ".codes", codes.data(), codes.size());
  WriteRaw(std::string(argv[8]) + ".weights", values.data(), out * in * sizeof(float));
  return 0;
}

int Run(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "gram" && argc >= 5)
    return TimeGram(Number(argv[2]), Number(argv[3]), std::atoi(argv[4]), argc > 5 ? argv[5] : "f32");
  if (mode == "layer" && argc == 6)
    return TimeLayer(Number(argv[2]), std::atoi(argv[3]), Number(argv[4]), std::atoi(argv[5]));
  if (mode == "round" && argc == 11) return RoundFiles(argv + 2);
  throw Error(ErrorKind::kUsage, "expected gram, layer or round and their arguments (gptq_bench.cc)");
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  try {
    return lowbit::Run(argc, argv);
  } catch (const lowbit::Error& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return lowbit::ExitCode(e.kind());
  }
}
