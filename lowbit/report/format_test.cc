// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

namespace lowbit {
namespace {

TEST(Format, ValuesHaveFourSignificantDigits) {
  EXPECT_EQ(FormatValue(83.7203), "83.72");
  EXPECT_EQ(FormatValue(264.61), "264.6");
  EXPECT_EQ(FormatValue(0.0123456), "0.01235");
  EXPECT_EQ(FormatValue(6120.5), "6120");
  EXPECT_EQ(FormatValue(21034.7), "21035");
  EXPECT_EQ(FormatValue(100000), "100000");
  EXPECT_EQ(FormatValue(213400), "2.134e5");
  EXPECT_EQ(FormatValue(2.1e6), "2.100e6");
  EXPECT_EQ(FormatValue(0.0000123456), "1.235e-5");
  EXPECT_EQ(FormatValue(0), "0");
  EXPECT_EQ(FormatValue(-83.7203), "-83.72");
}

TEST(Format, RoundingMayCarryIntoAnotherDigit) {
  EXPECT_EQ(FormatValue(9.99996), "10.00");
  EXPECT_EQ(FormatValue(99.996), "100.0");
  EXPECT_EQ(FormatValue(999999), "1.000e6");
  EXPECT_EQ(FormatPercent(0.09996), "+10.0 %");
  EXPECT_EQ(FormatPercent(0.99996), "+100 %");
}

TEST(Format, ExtremesStayReadable) {
  EXPECT_EQ(FormatValue(std::numeric_limits<double>::max()), "1.798e308");
  EXPECT_EQ(FormatValue(std::numeric_limits<double>::denorm_min()), "4.941e-324");
}

TEST(Format, ChangesCarryTheirSign) {
  EXPECT_EQ(FormatDelta(2.3109), "+2.31");
  EXPECT_EQ(FormatDelta(-0.010625), "-0.0106");
  EXPECT_EQ(FormatDelta(0), "+0");
  EXPECT_EQ(FormatPercent(0.0276), "+2.76 %");
  EXPECT_EQ(FormatPercent(-0.252), "-25.2 %");
  EXPECT_EQ(FormatPercent(2.16), "+216 %");
  EXPECT_EQ(FormatPercent(25082.4), "+2.51e6 %");
}

TEST(Format, ErrorsHaveTwoSignificantDigits) {
  EXPECT_EQ(FormatError(1.0297), "1.0");
  EXPECT_EQ(FormatError(0.0109), "0.011");
  EXPECT_EQ(FormatError(258.7), "259");
  EXPECT_EQ(FormatError(25830), "2.6e4");
}

TEST(Format, ExactNumbersReadBackToTheSameBits) {
  for (const double value :
       {0.1, 1.0 / 3, 83.720312345678901, std::nextafter(1.0, 2.0), 5e-324, 1.7976931348623157e308}) {
    EXPECT_EQ(std::strtod(FormatExact(value).c_str(), nullptr), value);
  }
}

TEST(Format, NumbersAreSetAsInPrint) {
  EXPECT_EQ(HtmlNumber("-2.100e6"), "−2.100\u2009×\u200910⁶");
  EXPECT_EQ(HtmlNumber("1.235e-15"), "1.235\u2009×\u200910⁻¹⁵");
  EXPECT_EQ(HtmlNumber("+2.76 %"), "+2.76\u00A0%");
  EXPECT_EQ(LatexNumber("-2.100e6"), "$-2.100\\times10^{6}$");
  EXPECT_EQ(LatexNumber("+2.76 %"), "$+2.76$\\,\\%");
}

TEST(Format, TextIsHarmlessInEveryLanguage) {
  const std::string hostile = "</script><a b=\"c\" d='e'>&|`*_[x](y)\\ $#%{}~^\n";
  EXPECT_EQ(HtmlText(hostile),
            "&lt;/script&gt;&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;|`*_[x](y)\\ $#%{}~^\n");
  EXPECT_EQ(HtmlText(std::string_view("a\0b", 3)), "a\uFFFDb");
  EXPECT_EQ(MarkdownText(hostile),
            "&lt;/script&gt;&lt;a b=\"c\" d='e'&gt;&amp;\\|\\`\\*\\_\\[x\\](y)\\\\ $#%{}~^ ");
  EXPECT_EQ(
      LatexText(hostile),
      "\\textless{}/script\\textgreater{}\\textless{}a b=''c'' d='e'\\textgreater{}\\&\\textbar{}`*\\_[x](y)"
      "\\textbackslash{} \\$\\#\\%\\{\\}\\textasciitilde{}\\textasciicircum{} ");
}

TEST(Format, CsvFieldsAreQuotedWhereTheyMustBe) {
  EXPECT_EQ(CsvField("plain text"), "plain text");
  EXPECT_EQ(CsvField("a,b"), "\"a,b\"");
  EXPECT_EQ(CsvField("say \"no\""), "\"say \"\"no\"\"\"");
  EXPECT_EQ(CsvField("two\nlines"), "\"two\nlines\"");
  EXPECT_EQ(CsvField(""), "");
}

}  // namespace
}  // namespace lowbit
