// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/tasks/wikitext_page.h"

#include <array>

#include "lowbit/text/python_text.h"

namespace lowbit {
namespace {

struct Replacement {
  std::string_view from, to;
};

// In the order in which the harness makes them.
constexpr std::array<Replacement, 10> kBeforeBrackets = {{{"s '", "s'"},
                                                          {" @-@ ", "-"},
                                                          {" @,@ ", ","},
                                                          {" @.@ ", "."},
                                                          {" : ", ": "},
                                                          {" ; ", "; "},
                                                          {" . ", ". "},
                                                          {" ! ", "! "},
                                                          {" ? ", "? "},
                                                          {" , ", ", "}}};
constexpr std::array<Replacement, 8> kAfterBrackets = {{{"= = = =", "===="},
                                                        {"= = =", "==="},
                                                        {"= =", "=="},
                                                        {" ° ", "°"},
                                                        {" \n", "\n"},
                                                        {"\n ", "\n"},
                                                        {" N ", " 1 "},
                                                        {" 's", "'s"}}};

// Its pattern for a digit behind an apostrophe has slashes around it, and its replacement is not one: kept as it is.
std::string ReplaceSlashedDigits(std::string_view text) {
  constexpr std::string_view kBegin = "/' ";
  std::string out;
  for (size_t at = text.find(kBegin); at != text.npos; at = text.find(kBegin)) {
    const std::string_view rest = text.substr(at + kBegin.size(), 2);
    const bool matches = rest.size() == 2 && rest[0] >= '0' && rest[0] <= '9' && rest[1] == '/';
    out += text.substr(0, at);
    out += matches ? "/'[0-9]/" : "/";
    text.remove_prefix(at + (matches ? kBegin.size() + 2 : 1));
  }
  return out += text;
}

// Without white space on the inner side of `open` and the first `close` behind it.
std::string TrimInside(std::string_view text, char open, char close) {
  std::string out;
  while (true) {
    const size_t begin = text.find(open);
    const size_t end = begin == text.npos ? begin : text.find(close, begin + 1);
    if (end == text.npos) return out += text;
    out += text.substr(0, begin + 1);
    out += Strip(text.substr(begin + 1, end - begin - 1));
    out += close;
    text.remove_prefix(end + 1);
  }
}

bool IsTitle(std::string_view line) {
  const std::string joined = ReplaceAll(ReplaceAll(line, "= = =", "==="), "= =", "==");
  const std::string_view text = Strip(joined);
  return text.starts_with("= ") && text.ends_with(" =");
}

}  // namespace

std::vector<std::string_view> CutPages(std::string_view raw) {
  std::vector<std::string_view> pages;
  size_t page = 0;
  for (size_t line = 0; line <= raw.size();) {
    const size_t end = std::min(raw.find('\n', line), raw.size());
    if (IsTitle(raw.substr(line, end - line)) && line > 0) {
      const std::string_view before = raw.substr(page, line - 1 - page);
      if (!Strip(before).empty()) pages.push_back(before);
      page = line;
    }
    line = end + 1;
  }
  pages.push_back(raw.substr(page));
  return pages;
}

std::string DetokenizePage(std::string_view page) {
  std::string text(page);
  for (const Replacement& r : kBeforeBrackets) {
    text = ReplaceAll(text, r.from, r.to);
    if (r.from == kBeforeBrackets[0].from) text = ReplaceSlashedDigits(text);
  }
  text = TrimInside(text, '(', ')');
  text = TrimInside(text, '[', ']');
  text = TrimInside(text, '{', '}');
  text = TrimInside(text, '"', '"');
  text = TrimInside(text, '\'', '\'');
  for (const Replacement& r : kAfterBrackets) text = ReplaceAll(text, r.from, r.to);
  return text;
}

}  // namespace lowbit
