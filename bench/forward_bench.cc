// SPDX-License-Identifier: Apache-2.0
// Scoring of token windows, for bench/vs_torch.py, which runs it beside transformers.
//
//   forward_bench MODEL WINDOWS.json f32|bf16 THREADS
// WINDOWS.json: {"sequences": [[ids], …]}. Prints one line of JSON with the log-probabilities, then does what
// each line of stdin says and prints the seconds it took:
//   forward   score all windows, weights in memory
//   products  the matrix products of that pass alone: same shapes, same rows, prepared weights, nothing else
#include <fmt/format.h>

#include <iostream>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "lowbit/base/memory.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/model/decoder.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

// Every linear of every layer once, and the head, all windows' rows at a time. Each shape's weights are
// prepared once and reused: the most favourable conditions a product can have.
class Products {
 public:
  Products(const LayerSource& source, const Backend& backend, size_t rows)
      : backend_(backend), layers_(source.config().num_hidden_layers) {
    const LayerWeights weights = source.Layer(0);
    for (const LinearSpec& linear : source.layout().layers[0].linears) {
      const Weight& weight = weights.linears.find(linear.name)->second;
      items_.push_back({backend.Prepare(weight), RandomMatrix(rows, linear.in), Matrix(rows, linear.out)});
      flop_ += 2.0 * static_cast<double>(layers_ * rows * linear.in * linear.out);
    }
    head_ = {backend.Prepare(source.Head()),
             RandomMatrix(std::min(rows, kHeadRows), source.config().hidden_size),
             Matrix(std::min(rows, kHeadRows), source.config().vocab_size)};
    head_runs_ = (rows + kHeadRows - 1) / kHeadRows;
    flop_ += 2.0 * static_cast<double>(head_runs_ * head_.x.rows() * head_.x.cols() * head_.y.cols());
  }

  void Run() {
    for (size_t l = 0; l < layers_; ++l) {
      for (Item& item : items_) backend_.Gemm(item.x.view(), *item.weight, {}, item.y.view());
    }
    for (size_t i = 0; i < head_runs_; ++i) backend_.Gemm(head_.x.view(), *head_.weight, {}, head_.y.view());
  }
  double flop() const { return flop_; }

 private:
  static constexpr size_t kHeadRows = 256;  // logits of all rows would be too large
  struct Item {
    std::unique_ptr<Prepared> weight;
    Matrix x, y;
  };
  const Backend& backend_;
  size_t layers_, head_runs_ = 0;
  std::vector<Item> items_;
  Item head_;
  double flop_ = 0;
};

int Run(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: forward_bench MODEL WINDOWS.json f32|bf16 THREADS\n");
    return 2;
  }
  UseOneHeap();
  const std::unique_ptr<LayerSource> source = OpenModel(argv[1]);
  const Threads threads(std::stoi(argv[4]));
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", argv[3], threads);
  const auto windows = ReadJsonFile(argv[2]).at("sequences").get<std::vector<TokenIds>>();
  std::vector<ScoreRequest> requests;
  size_t rows = 0;
  for (const TokenIds& window : windows) {
    requests.push_back({window, 1});
    rows += window.size() - 1;
  }
  const Decoder decoder(*source, *backend);
  Json log_probs = Json::array();
  for (const auto& window : decoder.Score(requests, {}, true)) {
    Json row = Json::array();
    for (const TokenScore& score : window) row.push_back(score.log_prob);
    log_probs.push_back(row);
  }
  const ForwardJob job = Decoder::JobOf(requests);
  Products products(*source, *backend, rows);
  std::cout << Json{{"isa", backend->Isa()},
                    {"flop", PlanForward(*source, *backend, job, {}).flop},
                    {"product_flop", products.flop()},
                    {"log_probs", log_probs}}
            << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const double seconds = line == "products" ? SecondsOf([&] { products.Run(); })
                                              : SecondsOf([&] { decoder.Score(requests, {}, true); });
    std::cout << seconds << std::endl;
  }
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
