// SPDX-License-Identifier: Apache-2.0
// What integer products are worth: the layers of a model in f32, in bf16, and of an artefact whose linears read
// integers, one after the other in every round; and what rounding the inputs costs beside the products.
//
//   integer_bench MODEL ARTEFACT TOKENS ROUNDS THREADS
// First checks the artefact's hidden states on the cpu backend against ref's, for a few tokens: sums that differ in the last bit
// round some inputs to the next integer, so that they agree to some percent.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowbit/base/memory.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/kernels/cpu/tiled_rows.h"
#include "lowbit/model/decoder.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::vector<TokenIds> Tokens(size_t count, size_t vocabulary) {
  std::vector<TokenIds> sequences(1);
  for (size_t t = 0; t < count; ++t)
    sequences[0].push_back(static_cast<int32_t>((t * 7919 + 13) % vocabulary));
  return sequences;
}

// ‖a - b‖ / ‖b‖ of a few tokens' hidden states.
double DifferenceFromRef(const LayerSource& artefact, const Threads& threads) {
  const auto cpu = MakeBackend("cpu", "f32", threads), ref = MakeBackend("ref", "f32", threads);
  const std::vector<TokenIds> few = Tokens(3, artefact.config().vocab_size);
  const Matrix a = Decoder(artefact, *cpu).Forward(few), b = Decoder(artefact, *ref).Forward(few);
  double error = 0, whole = 0;
  for (size_t i = 0; i < a.rows() * a.cols(); ++i) {
    error += std::pow(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]), 2);
    whole += std::pow(static_cast<double>(b.data()[i]), 2);
  }
  return std::sqrt(error / whole);
}

// Seconds of one layer's products, and of rounding what they read, each input once for its readers.
std::pair<double, double> ProductsAndRounding(const LayerSource& artefact, const Backend& backend,
                                              size_t rows, size_t rounds) {
  const LayerWeights weights = artefact.Layer(0);
  std::vector<double> products, rounding;
  for (size_t round = 0; round < rounds; ++round) {
    double multiply = 0, round_inputs = 0;
    for (const Stage& stage : artefact.layout().layers[0].stages) {
      std::vector<std::unique_ptr<Prepared>> prepared;
      std::vector<Matrix> outputs;
      for (const std::string& reader : stage.readers) {
        const Weight& weight = weights.linears.find(reader)->second;
        prepared.push_back(backend.Prepare(weight));
        outputs.emplace_back(rows, Rows(weight));
      }
      const Matrix x = RandomMatrix(rows, prepared[0]->in());
      std::vector<Product> all;
      for (size_t i = 0; i < prepared.size(); ++i) all.push_back({{*prepared[i]}, outputs[i].view()});
      backend.Multiply(x.view(), all);  // compiles kernels
      multiply += SecondsOf([&] { backend.Multiply(x.view(), all); });
      const RowLayout layout{Compute::kF32, InputFormOf(weights.linears.find(stage.readers[0])->second)};
      round_inputs += SecondsOf([&] { const TiledRows tiled(x.view(), layout, backend.threads()); });
    }
    products.push_back(multiply);
    rounding.push_back(round_inputs);
  }
  return {Median(products), Median(rounding)};
}

int Run(int argc, char** argv) {
  if (argc != 6) {
    fmt::print(stderr, "usage: integer_bench MODEL ARTEFACT TOKENS ROUNDS THREADS\n");
    return 2;
  }
  UseOneHeap();
  const auto model = OpenModel(argv[1]), artefact = OpenModel(argv[2]);
  const size_t count = std::stoul(argv[3]), rounds = std::stoul(argv[4]);
  const Threads threads(std::stoi(argv[5]));
  const auto f32 = MakeBackend("cpu", "f32", threads), bf16 = MakeBackend("cpu", "bf16", threads);
  const double difference = DifferenceFromRef(*artefact, threads);
  fmt::print("{}; cpu against ref: {:.2g} of the hidden states' norm\n", f32->Isa(), difference);
  if (!(difference < 5e-2)) {
    fmt::print(stderr, "error: expected less than 0.05\n");
    return 1;
  }
  const std::vector<TokenIds> tokens = Tokens(count, model->config().vocab_size);
  struct Way {
    const char* name;
    const LayerSource& source;
    const Backend& backend;
    std::vector<double> seconds;
  };
  Way ways[] = {{"f32", *model, *f32, {}}, {"bf16", *model, *bf16, {}}, {"integers", *artefact, *f32, {}}};
  for (size_t round = 0; round <= rounds; ++round) {  // the first one warms up
    for (Way& way : ways) {
      const double seconds = SecondsOf([&] { Decoder(way.source, way.backend).Forward(tokens); });
      if (round > 0) way.seconds.push_back(seconds);
    }
  }
  const double base = Median(ways[2].seconds);
  for (const Way& way : ways) {
    fmt::print("{:9} {:7.3f} s median of {}, {:.2f}x the integers'\n", way.name, Median(way.seconds), rounds,
               Median(way.seconds) / base);
  }
  const auto [products, rounding] = ProductsAndRounding(*artefact, *f32, count, rounds);
  fmt::print("one layer's products {:.4f} s, of which rounding inputs {:.4f} s, {:.1f} %\n", products,
             rounding, 100 * rounding / products);
  return 0;
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  try {
    return lowbit::Run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
}
