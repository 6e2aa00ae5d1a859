// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq_fold.h"

namespace lowbit {

void ScaleColumns(MatView<float> reader, std::span<const float> scales) {
  LOWBIT_ASSERT(reader.cols == scales.size());
  for (size_t r = 0; r < reader.rows; ++r) {
    float* row = reader.Row(r);
    for (size_t j = 0; j < scales.size(); ++j) row[j] *= scales[j];
  }
}

void DivideElements(std::span<float> values, std::span<const float> scales) {
  LOWBIT_ASSERT(values.size() == scales.size());
  for (size_t j = 0; j < scales.size(); ++j) values[j] /= scales[j];
}

void DivideRows(MatView<float> producer, std::span<const float> scales) {
  LOWBIT_ASSERT(producer.rows == scales.size());
  for (size_t r = 0; r < producer.rows; ++r) {
    for (float& w : producer.RowSpan(r)) w /= scales[r];
  }
}

void DivideValueRows(MatView<float> v_proj, std::span<const float> scales, size_t heads, size_t kv_heads) {
  LOWBIT_ASSERT(kv_heads > 0 && heads % kv_heads == 0 && v_proj.rows % kv_heads == 0);
  const size_t head_dim = v_proj.rows / kv_heads, shared = heads / kv_heads;
  LOWBIT_ASSERT(scales.size() == heads * head_dim);
  for (size_t r = 0; r < v_proj.rows; ++r) {
    const size_t column = r / head_dim * shared * head_dim + r % head_dim;
    for (size_t h = 1; h < shared; ++h) LOWBIT_ASSERT(scales[column + h * head_dim] == scales[column]);
    for (float& w : v_proj.RowSpan(r)) w /= scales[column];
  }
}

}  // namespace lowbit
