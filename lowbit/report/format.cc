// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace lowbit {
namespace {

// `digits` significant ones; scientific above `large`.
std::string Significant(double value, int digits, double large) {
  if (value == 0) return "0";
  const std::string scientific = fmt::format("{:.{}e}", value, digits - 1);  // "-2.123e+05", rounded
  const size_t e = scientific.find('e');
  const int power = std::atoi(scientific.c_str() + e + 1);
  const double size = std::abs(value);
  if (size > large || size < 1e-4) return fmt::format("{}e{}", scientific.substr(0, e), power);
  return fmt::format("{:.{}f}", value, std::max(0, digits - 1 - power));
}

// Replaces each character that `replacement` maps; keeps the others.
template <class Replacement>
std::string Escape(std::string_view text, Replacement replacement) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (const std::string_view other = replacement(c); !other.empty()) {
      out += other;
    } else {
      out += c;
    }
  }
  return out;
}

struct NumberParts {
  bool negative = false;
  std::string_view mantissa, exponent;  // "2.123", "5"; exponent empty when there is none
  bool percent = false;
};

NumberParts Split(std::string_view number) {
  NumberParts parts;
  if (number.starts_with('-')) {
    parts.negative = true;
    number.remove_prefix(1);
  }
  if (number.ends_with(" %")) {
    parts.percent = true;
    number.remove_suffix(2);
  }
  const size_t e = number.find('e');
  parts.mantissa = number.substr(0, e);
  if (e != std::string_view::npos) parts.exponent = number.substr(e + 1);
  return parts;
}

std::string Superscript(std::string_view digits) {
  static constexpr std::array<std::string_view, 10> kDigits = {"⁰", "¹", "²", "³", "⁴",
                                                               "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out;
  for (const char c : digits) out += c == '-' ? "⁻" : kDigits.at(static_cast<size_t>(c - '0'));
  return out;
}

}  // namespace

std::string FormatValue(double value) {
  return Significant(value, 4, 1e5);
}

std::string FormatError(double standard_error) {
  return Significant(standard_error, 2, 1e4);
}

std::string FormatDelta(double delta) {
  return (delta < 0 ? "" : "+") + Significant(delta, 3, 1e5);
}

std::string FormatProbability(double p) {
  return p < 0.0001 ? "<0.0001" : fmt::format("{:.2g}", p);
}

std::string FormatPercent(double fraction) {
  const double percent = 100 * fraction;
  const double size = std::abs(percent);
  if (size > 1e5) return FormatDelta(percent) + " %";
  const int decimals = size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
  return fmt::format("{:+.{}f} %", percent, decimals);
}

std::string FormatExact(double value) {
  return fmt::format("{}", value);
}

std::string HtmlNumber(std::string_view number) {
  const NumberParts parts = Split(number);
  std::string out = (parts.negative ? "−" : "") + std::string(parts.mantissa);
  if (!parts.exponent.empty()) out += "\u2009×\u200910" + Superscript(parts.exponent);
  if (parts.percent) out += "\u00A0%";
  return out;
}

std::string LatexNumber(std::string_view number) {
  const NumberParts parts = Split(number);
  std::string out = std::string(parts.negative ? "-" : "") + std::string(parts.mantissa);
  if (!parts.exponent.empty()) out += fmt::format("\\times10^{{{}}}", parts.exponent);
  return "$" + out + "$" + (parts.percent ? "\\,\\%" : "");
}

std::string HtmlText(std::string_view text) {
  return Escape(text, [](char c) -> std::string_view {
    switch (c) {
      case '&':
        return "&amp;";
      case '<':
        return "&lt;";
      case '>':
        return "&gt;";
      case '"':
        return "&quot;";
      case '\'':
        return "&#39;";
      case '\0':
        return "\uFFFD";  // HTML has no way to say it
      default:
        return {};
    }
  });
}

std::string MarkdownText(std::string_view text) {
  return Escape(text, [](char c) -> std::string_view {
    switch (c) {
      case '&':
        return "&amp;";
      case '<':
        return "&lt;";
      case '>':
        return "&gt;";
      case '|':
        return "\\|";
      case '\\':
        return "\\\\";
      case '`':
        return "\\`";
      case '*':
        return "\\*";
      case '_':
        return "\\_";
      case '[':
        return "\\[";
      case ']':
        return "\\]";
      case '\n':
      case '\r':
        return " ";
      case '\0':
        return "\uFFFD";
      default:
        return {};
    }
  });
}

std::string LatexText(std::string_view text) {
  return Escape(text, [](char c) -> std::string_view {
    switch (c) {
      case '\\':
        return "\\textbackslash{}";
      case '{':
        return "\\{";
      case '}':
        return "\\}";
      case '$':
        return "\\$";
      case '&':
        return "\\&";
      case '#':
        return "\\#";
      case '%':
        return "\\%";
      case '_':
        return "\\_";
      case '^':
        return "\\textasciicircum{}";
      case '~':
        return "\\textasciitilde{}";
      case '<':
        return "\\textless{}";
      case '>':
        return "\\textgreater{}";
      case '|':
        return "\\textbar{}";
      case '"':
        return "''";
      case '\n':
      case '\r':
      case '\0':
        return " ";
      default:
        return {};
    }
  });
}

std::string CsvField(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  return '"' + Escape(text, [](char c) -> std::string_view { return c == '"' ? "\"\"" : ""; }) + '"';
}

}  // namespace lowbit
