// SPDX-License-Identifier: Apache-2.0
// A low-bit weight matrix as it is stored and evaluated.
//
// Rows are output channels, columns input channels. Each row is cut into groups of `group_size` columns;
// the last group of a row may be shorter. A weight of group k of row r is
//   uniform   s[r,k] * (code - z[r,k])            code in 0 .. 2^bits - 1
//   binary    m[r,k] + s[r,k] * (code ? +1 : -1)  bits = 1
//   planes    two bit planes, bit 0 and bit 1 of a code, and seven scalars per row and group (PlaneScalar):
//             in a salient column  m + s1 * (bit 0 ? +1 : -1) + s2 * (bit 1 ? +1 : -1)
//             in any other         m + s  * (bit 0 ? +1 : -1), m and s those of the tail if bit 1, else the centre's
// Columns may be stored in another order (`column_order`), the same in every row: position p of a row holds
// column column_order[p], and group k covers positions [k g, (k + 1) g). A product then permutes its input
// once, and groups stay contiguous.
// Codes of one row form a little-endian bit stream that begins at a byte border: the code at
// position p occupies bits [p*bits, (p+1)*bits) of the row, lowest first. Symmetric formats store no zero points: z is 2^(bits-1).
// Source of the formulas: docs/methods.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lowbit/tensor/buffer.h"
#include "lowbit/tensor/input_form.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

enum class PackFormat : uint8_t { kUniform, kBinary, kPlanes };
std::string_view Name(PackFormat format);  // "uniform", "binary", "planes"

// Scalars of a group of planes, in the order in which they are stored.
enum PlaneScalar : uint8_t {
  kCentreMean,
  kCentreScale,
  kTailMean,
  kTailScale,
  kSalientMean,
  kSalientScale,
  kResidualScale,  // of what the salient mean and scale leave
  kPlaneScalars,   // how many
};

// What codes mean in a group of planes: [is salient][code].
struct PlaneLevels {
  float of[2][4];
};
PlaneLevels LevelsOfPlanes(std::span<const float, kPlaneScalars> scalars);

// What a packed matrix is, without its data.
struct PackedSettings {
  PackFormat format = PackFormat::kUniform;
  int bits = 4;                    // 1..8
  bool symmetric = false;          // uniform only: no stored zero points
  DType scale_type = DType::kF16;  // what the scales occupy in a file: F16 or F32
  size_t rows = 0, cols = 0;
  size_t group_size = 0;  // columns per group; == cols for per channel
  InputForm input = {};   // of the rows that meet these weights in a product

  size_t Groups() const { return group_size == 0 ? 0 : (cols + group_size - 1) / group_size; }
  size_t RowBytes() const { return (cols * static_cast<size_t>(bits) + 7) / 8; }
  size_t ScalesPerGroup() const { return format == PackFormat::kPlanes ? size_t{kPlaneScalars} : 1; }
  // Of all data but a column order, with scales and means of that type: in memory F32, in a file scale_type.
  uint64_t Bytes(DType scales) const;
  bool operator==(const PackedSettings&) const = default;
};

struct PackedTensor : PackedSettings {
  std::vector<uint8_t> codes;    // rows * RowBytes()
  std::vector<float> scales;     // [rows, Groups(), ScalesPerGroup()]; exactly representable in scale_type
  std::vector<uint8_t> zeros;    // uniform, asymmetric: [rows, Groups()]
  std::vector<float> means;      // binary: [rows, Groups()]; exactly representable in scale_type
  std::vector<uint8_t> salient;  // planes: a bit per column, lowest first, whole bytes

  std::vector<uint32_t> column_order;  // [cols], a permutation of 0 .. cols - 1; empty = natural

  bool IsSalient(size_t column) const { return (salient[column / 8] >> (column % 8) & 1) != 0; }  // of planes

  // Bits the tensor needs, counted honestly: codes, scales, zero points (bits wide each), means, 32 a column when
  // there is a column order, 1 a column of planes, and 32 for a scale of the inputs.
  // Padding of rows to whole bytes is not counted: it is below 8 bits a row.
  uint64_t StoredBits() const;
  double BitsPerWeight() const;

  // Bits of the codes alone, as papers count them. Of planes a weight has 1, in a salient column 2: BiLLM's count,
  // without the map of centre and tail.
  uint64_t CodeBits() const;
};

// Throws Error{kContent} at `place` unless sizes and settings fit together and every scale is finite.
void Validate(const PackedTensor& packed, const Place& place);

// Codes of one row, one byte each, below 2^bits, to and from their bit stream. Unused bits of the last
// byte are written as 0 and ignored when read.
void PackRow(std::span<const uint8_t> codes, int bits, uint8_t* out);
void UnpackRow(const uint8_t* packed, int bits, std::span<uint8_t> codes);

// Weights of rows [first, first + out.rows) as f32. The specification of every faster path.
void Dequantize(const PackedTensor& packed, size_t first, MatView<float> out);

}  // namespace lowbit
