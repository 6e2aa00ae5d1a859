// SPDX-License-Identifier: Apache-2.0
// Numbers with the digits a reader can use, and text made harmless for the language it is put into.
#pragma once

#include <string>
#include <string_view>

namespace lowbit {

// Four significant digits, at least all before the point: "0.01234", "83.72", "264.6", "21234".
// Above 1e5 and below 1e-4: "2.123e5". ASCII; see HtmlNumber and LatexNumber.
std::string FormatValue(double value);

std::string FormatError(double standard_error);  // two significant digits: "0.25", "1.3", "153", "2.6e4"
std::string FormatDelta(double delta);           // signed, three significant digits: "+2.31", "-0.0106"
std::string FormatProbability(double p);         // "0.034", "<0.0001"
std::string FormatPercent(double fraction);      // signed: "+2.76 %", "-20.0 %", "+216 %"
std::string FormatExact(double value);           // shortest text that reads back to the same bits

// A text of the functions above with a true minus, "×10⁵" and no-break spaces.
std::string HtmlNumber(std::string_view number);
std::string LatexNumber(std::string_view number);  // "$-$2.31", "$2.123\times10^{5}$"

// `text` is anybody's; the result can stand between tags and in quoted attributes / in a table cell.
std::string HtmlText(std::string_view text);
std::string MarkdownText(std::string_view text);
std::string LatexText(std::string_view text);
std::string CsvField(std::string_view text);  // RFC 4180: quoted where it must be

}  // namespace lowbit
