// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/finding.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lowbit/report/format.h"

namespace lowbit {
namespace {

constexpr double kSmall = 0.01;  // a cost below this is called "less than 1 %"

struct Evidence {
  const ReportColumn* column = nullptr;
  double full = 0;
  std::map<uint32_t, double> change;       // bits -> relative change of the best recipe
  std::map<uint32_t, bool> within_chance;  // of that recipe, where it was compared pair by pair
};

// How much worse: positive when quality was lost, whichever direction is better.
double Loss(const ReportColumn& column, double relative) {
  return column.higher_is_better ? -relative : relative;
}

Evidence Gather(const ReportModel& model, size_t c) {
  Evidence evidence{&model.columns[c], 0, {}, {}};
  for (const ReportRow& row : model.rows) {
    const std::optional<ReportValue>& value = row.cells[c].value;
    if (!value) continue;
    if (row.IsFull()) evidence.full = value->value;
    if (!value->relative) continue;
    const auto [it, fresh] = evidence.change.try_emplace(row.bits, *value->relative);
    const bool is_best =
        fresh || Loss(*evidence.column, *value->relative) < Loss(*evidence.column, it->second);
    if (!is_best) continue;
    it->second = *value->relative;
    evidence.within_chance[row.bits] = value->paired && value->paired->Verdict() == 0;
  }
  return evidence;
}

std::string Bits(uint32_t bits) {
  return fmt::format("{} bit{}", bits, bits == 1 ? "" : "s");
}

// Up to three of `bits`: those that people ask about first, in descending order.
std::vector<uint32_t> Telling(const std::vector<uint32_t>& bits) {
  std::vector<uint32_t> chosen;
  for (const uint32_t wanted : {4, 2, 3, 1, 5, 6, 7, 8}) {
    if (chosen.size() < 3 && std::find(bits.begin(), bits.end(), wanted) != bits.end())
      chosen.push_back(wanted);
  }
  std::sort(chosen.rbegin(), chosen.rend());
  return chosen;
}

// "4 bits cost +2.76 %, 2 bits +216 %, 1 bit multiplies it by 251"
std::string Costs(const Evidence& evidence, const std::vector<uint32_t>& bits) {
  std::vector<std::string> parts;
  for (const uint32_t b : bits) {
    const double change = evidence.change.at(b);
    const bool one = b == 1;
    if (change >= 10) {  // past +1000 % a factor says more
      parts.push_back(
          fmt::format("{} {} it by {:.0f}", Bits(b), one ? "multiplies" : "multiply", 1 + change));
    } else {
      const char* verb = !parts.empty() ? "" : one ? " costs" : " cost";
      parts.push_back(fmt::format("{}{} {}{}", Bits(b), verb, FormatPercent(change),
                                  evidence.within_chance.at(b) ? " (within chance)" : ""));
    }
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string Sentence(const Evidence& evidence) {
  // `free` is the lowest number of bits down to which every measured one costs next to nothing.
  std::optional<uint32_t> free;
  std::vector<uint32_t> costly;
  for (auto it = evidence.change.rbegin(); it != evidence.change.rend(); ++it) {
    const bool small = Loss(*evidence.column, it->second) < kSmall;
    if (small && costly.empty()) free = it->first;
    if (!small || !costly.empty()) costly.push_back(it->first);
  }
  const std::string what =
      fmt::format("{} ({} in full precision)", evidence.column->label, FormatValue(evidence.full));
  const std::string costs = Costs(evidence, Telling(costly));
  if (!free) return fmt::format("On {}, {}, at the best recipe for each.", what, costs);
  const std::string head = fmt::format("Down to {}, quantized weights cost less than {:.0f} % of {}",
                                       Bits(*free), 100 * kSmall, what);
  return costly.empty() ? head + "." : fmt::format("{}; {}, at the best recipe for each.", head, costs);
}

}  // namespace

std::string Finding(const ReportModel& model) {
  for (size_t c = 0; c < model.columns.size(); ++c) {
    const Evidence evidence = Gather(model, c);
    if (!evidence.change.empty()) return Sentence(evidence);
  }
  return "";
}

}  // namespace lowbit
