// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/gram.h"

#include <algorithm>
#include <type_traits>

#include "lowbit/kernels/cpu/onednn.h"

namespace lowbit {
namespace {

// Columns of a tile. Wider ones waste more below the diagonal, and behind the last column of a matrix;
// packed factors are multiplied as fast as ever already at this width.
constexpr size_t kTile = 128;

// Packed factors held at once: few enough to bound memory, enough that a tile is worth fetching.
constexpr size_t kMostChunks = 8, kFactorBytes = size_t{64} << 20;

size_t Blocks(size_t cols) {
  return (cols + kTile - 1) / kTile;
}

struct TilePlace {
  size_t row, column;  // in tiles
};

// Of the upper triangle, the diagonal included.
std::vector<TilePlace> UpperTiles(size_t cols) {
  std::vector<TilePlace> places;
  for (size_t i = 0; i < Blocks(cols); ++i) {
    for (size_t j = i; j < Blocks(cols); ++j) places.push_back({i, j});
  }
  return places;
}

// Adds a chunk's product [kTile, kTile] to its place in `gram`; of a tile on the diagonal the upper part.
void AddTile(const float* product, TilePlace place, MatView<double> gram) {
  const size_t first = place.column * kTile, end = std::min(gram.cols, first + kTile);
  for (size_t i = place.row * kTile; i < std::min(gram.rows, (place.row + 1) * kTile); ++i) {
    const float* from = product + (i - place.row * kTile) * kTile;
    double* to = gram.Row(i);
    for (size_t j = std::max(i, first); j < end; ++j) to[j] += static_cast<double>(from[j - first]);
  }
}

// Some chunks of x as oneDNN multiplies them: each chunk's columns cut into blocks, a block transposed to
// [kTile, kGramRows] as left factor, and packed as right factor. Missing rows and columns are zero.
// Stored is float, or uint16_t for bf16.
template <class Stored>
class FactorBlocks {
 public:
  FactorBlocks(size_t cols, size_t chunks)
      : blocks_(Blocks(cols)), left_(chunks * blocks_ * kLeftSize), right_(chunks * blocks_ * panel_bytes_) {}

  // Chunks of x, which has at most as many as there is room for.
  void Fill(const Threads& threads, MatView<const float> x) {
    threads.For((x.rows + kGramRows - 1) / kGramRows * blocks_, [&](size_t index) {
      const size_t t = index / blocks_ * kGramRows, column = index % blocks_ * kTile;
      Stored* left = left_.data() + index * kLeftSize;
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
  static constexpr bool kIsFloat = std::is_same_v<Stored, float>;
  static constexpr size_t kLeftSize = kTile * kGramRows;
  static constexpr size_t kSide = 16;  // of a square: one cache line of floats

  static Stored Store(float value) {
    if constexpr (kIsFloat) {
      return value;
    } else {
      return ToBF16(value).bits;
    }
  }

  static void Transpose(MatView<const float> chunk, size_t first, Stored* left) {
    const size_t width = std::min(kTile, chunk.cols - first);
    if (width < kTile || chunk.rows < kGramRows) std::fill(left, left + kLeftSize, Stored{0});
    for (size_t t = 0; t < chunk.rows; t += kSide) {
      const size_t rows = std::min(kSide, chunk.rows - t);
      for (size_t c = 0; c < width; c += kSide) {
        const size_t cols = std::min(kSide, width - c);
        Stored square[kSide][kSide];  // transposed here, so that each line of `left` is written once, whole
        for (size_t r = 0; r < rows; ++r) {
          const float* row = chunk.Row(t + r) + first + c;
          for (size_t k = 0; k < cols; ++k) square[k][r] = Store(row[k]);
        }
        for (size_t k = 0; k < cols; ++k) std::copy_n(square[k], rows, left + (c + k) * kGramRows + t);
      }
    }
  }

  const onednn::MatMul& product_ =
      onednn::MatMul::Get(kIsFloat ? onednn::Element::kF32 : onednn::Element::kBF16, kTile, kGramRows, kTile);
  size_t panel_bytes_ = (product_.PanelBytes() + kAlignment - 1) / kAlignment * kAlignment;
  size_t blocks_;
  Buffer<Stored> left_;
  Buffer<std::byte> right_;
};

// Tile by tile, so that a tile of `gram` stays in a core's cache while chunks are added to it.
template <class Stored>
void AddAs(const Threads& threads, MatView<const float> x, MatView<double> gram) {
  const std::vector<TilePlace> tiles = UpperTiles(x.cols);
  std::vector<Buffer<float>> products(static_cast<size_t>(threads.count()));
  const size_t chunk_bytes = 2 * sizeof(Stored) * kGramRows * x.cols,
               chunks = std::min(
                   {kMostChunks, kFactorBytes / chunk_bytes + 1, (x.rows + kGramRows - 1) / kGramRows});
  FactorBlocks<Stored> factors(x.cols, chunks);
  for (size_t first = 0; first < x.rows; first += chunks * kGramRows) {
    const MatView<const float> rows = x.Rows(first, std::min(chunks * kGramRows, x.rows - first));
    factors.Fill(threads, rows);
    threads.ForSlots(tiles.size(), [&](size_t index, size_t slot) {
      if (products[slot].size() == 0) products[slot] = Buffer<float>(kTile * kTile);
      for (size_t chunk = 0; chunk * kGramRows < rows.rows; ++chunk) {
        factors.Multiply(chunk, tiles[index], products[slot].data());
        AddTile(products[slot].data(), tiles[index], gram);
      }
    });
  }
}

}  // namespace

void AddGramTiles(const Threads& threads, Compute compute, MatView<const float> x, MatView<double> gram) {
  LOWBIT_ASSERT(gram.rows == x.cols && gram.cols == x.cols);
  if (x.rows == 0) return;
  static const bool has_bf16 = onednn::SupportsBF16();
  if (compute == Compute::kBF16 && has_bf16) {
    AddAs<uint16_t>(threads, x, gram);
  } else {
    AddAs<float>(threads, x, gram);
  }
}

}  // namespace lowbit
