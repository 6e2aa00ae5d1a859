// SPDX-License-Identifier: Apache-2.0
// Row operations written once with Highway and dispatched at run time to the best instruction set.
// All work on f32, need no alignment and accept any n ≥ 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lowbit::vector {

std::string IsaName();  // Highway's name of the target in use: "AVX3"

// For tests: the compiled targets that this CPU has, best first, and a switch to one of them. "" switches
// back to the best. Not while other threads compute.
std::vector<std::string> IsaNamesForTest();
void ForceIsaForTest(const std::string& name);

// y = w ⊙ (x / sqrt(mean(x²) + eps)), n values.
void RmsNormRow(const float* x, const float* w, float eps, float* y, size_t n);

// Rotates one head of 2 * half values in place.
void RopeHead(float* head, const float* cos, const float* sin, size_t half);

// y = silu(gate) ⊙ up. y may be gate.
void SiluMultiply(const float* gate, const float* up, float* y, size_t n);

void AddRow(float* x, const float* y, size_t n);                        // x += y
void AddWeightedRow(float* x, float weight, const float* y, size_t n);  // x += weight · y

// x = exp(x - max(x)) in place; returns the sum of the results.
float SoftmaxNumerators(float* x, size_t n);

void Scale(float* x, float factor, size_t n);

// Largest value, the lowest index that has it, and Σ exp(x - max).
struct RowSummary {
  float max;
  uint32_t argmax;
  float sum_exp;
};
RowSummary Summarize(const float* x, size_t n);

// Of two rows of logits, with a = p - max p and b = q - max q: what Summarize says of each, and what makes the
// difference between them, so that it is exact where it is small.
struct PairSummary {
  RowSummary p, q;
  float growth;  // Σ (exp b - exp a)
  float cross;   // Σ exp a (a - b); not finite when a logit is NaN or infinite
};
PairSummary SummarizePair(const float* p, const float* q, size_t n);

void ToBF16Row(const float* x, uint16_t* y, size_t n);  // rounds to nearest even, keeps NaN

}  // namespace lowbit::vector
