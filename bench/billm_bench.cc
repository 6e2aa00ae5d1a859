// SPDX-License-Identifier: Apache-2.0
// BiLLM on its own, to be timed and to be compared with the original (oracle/billm_reference.py):
//   billm_bench round WEIGHTS OUT GRAM IN EXACT THREADS RESULT
// reads W [OUT, IN] as raw f32 and Σ x xᵀ [IN, IN] as raw f64, and writes RESULT.planes (one byte a weight: 0
// centre, 1 tail, 2 salient) and RESULT.weights (raw f32, scalars in f32).
#include <fmt/format.h>

#include "bench/raw_file.h"
#include "bench/serve.h"
#include "lowbit/quant/billm.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

std::vector<uint8_t> PlanesOf(const PackedTensor& packed) {
  std::vector<uint8_t> planes(packed.rows * packed.cols);
  for (size_t r = 0; r < packed.rows; ++r) {
    const std::span<uint8_t> row = std::span(planes).subspan(r * packed.cols, packed.cols);
    UnpackRow(packed.codes.data() + r * packed.RowBytes(), packed.bits, row);
    for (size_t c = 0; c < packed.cols; ++c) row[c] = packed.IsSalient(c) ? 2 : row[c] >> 1;
  }
  return planes;
}

int Round(const std::vector<std::string>& args) {
  const size_t out = Count(args[1]), in = Count(args[3]);
  const Buffer<float> weights = ReadRaw<float>(args[0], out * in);
  Buffer<double> gram = ReadRaw<double>(args[2], in * in);
  const WeightSpec spec{.bits = 1, .group_size = kBillmBlock, .scale_type = DType::kF32, .planes = true};
  const BillmOptions options{.exact = Count(args[4]) != 0};
  const Threads threads(static_cast<int>(Count(args[5])));
  const Place place(args[0]);
  GptqFactor factor;
  const double factor_seconds = SecondsOf([&] {
    factor = FactorGram(MatView<double>(gram.data(), in, in), {.damp = options.damp}, place, threads);
  });
  PackedTensor packed = MakePacked(out, in, spec);
  BillmLoss loss;
  const double seconds = SecondsOf([&] {
    loss = RoundBillm({MatView<const float>(weights.data(), out, in), factor, spec, options, place, threads},
                      packed);
  });
  fmt::print(
      "{{\"state\": \"{}\", \"damp\": {}, \"passed_on\": {}, \"output\": {}, \"factor_s\": {:.4f}, "
      "\"round_s\": {:.4f}}}\n",
      Name(factor.state), factor.damp, loss.passed_on, loss.output, factor_seconds, seconds);
  const std::vector<uint8_t> planes = PlanesOf(packed);
  Matrix values(out, in);
  Dequantize(packed, 0, values.view());
  WriteRaw(args[6] + ".planes", planes.data(), planes.size());
  WriteRaw(args[6] + ".weights", values.data(), out * in * sizeof(float));
  return 0;
}

int Run(const std::vector<std::string>& args) {
  if (args.size() == 8 && args[0] == "round") return Round({args.begin() + 1, args.end()});
  throw Error(ErrorKind::kUsage, "expected round and its arguments (billm_bench.cc)");
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  try {
    return lowbit::Run({argv + 1, argv + argc});
  } catch (const lowbit::Error& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return lowbit::ExitCode(e.kind());
  }
}
