// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/gram.h"

#include <algorithm>

#include "lowbit/kernels/cpu/onednn.h"

namespace lowbit {
namespace {

// Columns of a tile. An f64 tile (288 KiB) stays in the core's cache while all chunks are added to it; wider
// tiles waste more below the diagonal, narrower ones are multiplied more slowly (docs/performance.md).
constexpr size_t kTile = 192;

// Chunks of bf16 factors held at once: few enough to bound memory, enough that a tile is worth fetching.
constexpr size_t kChunksAtOnce = 8;

struct TilePlace {
  size_t row, column;  // in tiles
};

// Of the upper triangle, the diagonal included.
std::vector<TilePlace> UpperTiles(size_t n) {
  const size_t across = (n + kTile - 1) / kTile;
  std::vector<TilePlace> places;
  for (size_t i = 0; i < across; ++i) {
    for (size_t j = i; j < across; ++j) places.push_back({i, j});
  }
  return places;
}

// Adds a chunk's product [kTile, stride] to its place in `gram`; of a tile on the diagonal the upper part.
void AddTile(const float* product, size_t stride, TilePlace place, MatView<double> gram) {
  const size_t first = place.column * kTile, end = std::min(gram.cols, first + kTile);
  for (size_t i = place.row * kTile; i < std::min(gram.rows, (place.row + 1) * kTile); ++i) {
    const float* from = product + (i - place.row * kTile) * stride;
    double* to = gram.Row(i);
    for (size_t j = std::max(i, first); j < end; ++j) to[j] += static_cast<double>(from[j - first]);
  }
}

void AddInF32(const Threads& threads, MatView<const float> x, MatView<double> gram) {
  const std::vector<TilePlace> tiles = UpperTiles(x.cols);
  std::vector<Buffer<float>> products(static_cast<size_t>(threads.count()));
  threads.ForSlots(tiles.size(), [&](size_t index, size_t slot) {
    if (products[slot].size() == 0) products[slot] = Buffer<float>(kTile * kTile);
    const TilePlace tile = tiles[index];
    const size_t i = tile.row * kTile, j = tile.column * kTile;
    const size_t height = std::min(kTile, x.cols - i), width = std::min(kTile, x.cols - j);
    for (size_t t = 0; t < x.rows; t += kGramRows) {
      const float* chunk = x.Row(t);
      onednn::SgemmOfTransposed(height, width, std::min(kGramRows, x.rows - t), chunk + i, x.stride,
                                chunk + j, x.stride, products[slot].data(), kTile);
      AddTile(products[slot].data(), kTile, tile, gram);
    }
  });
}

// Some chunks of x as oneDNN multiplies bf16: each chunk's columns cut into blocks, a block transposed to
// [kTile, kGramRows] as left factor, and packed as right factor. Missing rows and columns are zero.
class BF16Blocks {
 public:
  BF16Blocks(size_t cols, size_t chunks)
      : blocks_((cols + kTile - 1) / kTile),
        panel_bytes_((product_.PanelBytes() + kAlignment - 1) / kAlignment * kAlignment),
        left_(chunks * blocks_ * kLeftSize),
        right_(chunks * blocks_ * panel_bytes_) {}

  // Chunks of x, which has at most as many as there is room for.
  void Fill(const Threads& threads, MatView<const float> x) {
    threads.For((x.rows + kGramRows - 1) / kGramRows * blocks_, [&](size_t index) {
      const size_t t = index / blocks_ * kGramRows, column = index % blocks_ * kTile;
      uint16_t* left = left_.data() + index * kLeftSize;
      Transpose(x.Rows(t, std::min(kGramRows, x.rows - t)), column, left);
      product_.Pack(left, right_.data() + index * panel_bytes_);
    });
  }

  // product[kTile, kTile] of two blocks of one chunk.
  void Multiply(size_t chunk, TilePlace tile, float* product) const {
    product_.Run(left_.data() + (chunk * blocks_ + tile.row) * kLeftSize,
                 right_.data() + (chunk * blocks_ + tile.column) * panel_bytes_, product);
  }

 private:
  static constexpr size_t kLeftSize = kTile * kGramRows;

  static void Transpose(MatView<const float> chunk, size_t first, uint16_t* left) {
    constexpr size_t kStrip = 16;  // columns, one cache line of a row
    std::fill(left, left + kLeftSize, uint16_t{0});
    const size_t width = std::min(kTile, chunk.cols - first);
    for (size_t begin = 0; begin < width; begin += kStrip) {
      for (size_t t = 0; t < chunk.rows; ++t) {
        const float* row = chunk.Row(t) + first;
        for (size_t c = begin; c < std::min(width, begin + kStrip); ++c)
          left[c * kGramRows + t] = ToBF16(row[c]).bits;
      }
    }
  }

  const onednn::MatMul& product_ = onednn::MatMul::Get(onednn::Element::kBF16, kTile, kGramRows, kTile);
  size_t blocks_, panel_bytes_;
  Buffer<uint16_t> left_;
  Buffer<std::byte> right_;
};

void AddInBF16(const Threads& threads, MatView<const float> x, MatView<double> gram) {
  const std::vector<TilePlace> tiles = UpperTiles(x.cols);
  std::vector<Buffer<float>> products(static_cast<size_t>(threads.count()));
  constexpr size_t kRowsAtOnce = kChunksAtOnce * kGramRows;
  BF16Blocks blocks(x.cols, std::min(kChunksAtOnce, (x.rows + kGramRows - 1) / kGramRows));
  for (size_t first = 0; first < x.rows; first += kRowsAtOnce) {
    const MatView<const float> rows = x.Rows(first, std::min(kRowsAtOnce, x.rows - first));
    blocks.Fill(threads, rows);
    threads.ForSlots(tiles.size(), [&](size_t index, size_t slot) {
      if (products[slot].size() == 0) products[slot] = Buffer<float>(kTile * kTile);
      for (size_t chunk = 0; chunk * kGramRows < rows.rows; ++chunk) {
        blocks.Multiply(chunk, tiles[index], products[slot].data());
        AddTile(products[slot].data(), kTile, tiles[index], gram);
      }
    });
  }
}

}  // namespace

void AddGramTiles(const Threads& threads, Compute compute, MatView<const float> x, MatView<double> gram) {
  LOWBIT_ASSERT(gram.rows == x.cols && gram.cols == x.cols);
  static const bool has_bf16 = onednn::SupportsBF16();
  if (compute == Compute::kBF16 && has_bf16) {
    AddInBF16(threads, x, gram);
  } else {
    AddInF32(threads, x, gram);
  }
}

}  // namespace lowbit
