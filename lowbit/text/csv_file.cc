// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/csv_file.h"

#include <algorithm>

#include "lowbit/text/text_file.h"

namespace lowbit {
namespace {

// A cursor over one text. Errors name the line that the cursor is in, unless another one says more.
class CsvReader {
 public:
  CsvReader(std::string_view text, const Place& file, size_t columns, CsvLimits limits)
      : text_(text), file_(file), columns_(columns), limits_(limits) {}

  // False at the end of the text.
  bool Next(std::vector<std::string>& fields) {
    while (TakeLineEnd()) {
    }
    if (at_ == text_.size()) return false;
    begin_ = at_;
    first_line_ = line_;
    fields.clear();
    do {
      if (fields.size() == columns_) FailColumns("more");
      fields.push_back(Peek() == '"' ? Quoted() : Plain());
    } while (Take(','));
    if (at_ < text_.size() && !TakeLineEnd()) Fail(line_, "a lone CR, expected LF or CR LF at a line's end");
    if (fields.size() < columns_) FailColumns(fmt::format("{}", fields.size()));
    return true;
  }

  size_t first_line() const { return first_line_; }

 private:
  [[noreturn]] void Fail(size_t line, std::string message) const {
    throw Error(ErrorKind::kContent, file_.Line(line), std::move(message));
  }
  [[noreturn]] void FailColumns(const std::string& found) const {
    Fail(first_line_, fmt::format("has {} fields, expected {} fields between commas", found, columns_));
  }

  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool Take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool TakeLineEnd() {
    const std::string_view rest = text_.substr(at_, 2);
    const size_t length = rest.starts_with('\n') ? 1 : rest == "\r\n" ? 2 : 0;
    at_ += length;
    line_ += length > 0 ? 1 : 0;
    return length > 0;
  }

  // So far as the record goes; before what lies behind the limit is looked at.
  void RequireShort() const {
    if (at_ - begin_ <= limits_.max_record_bytes) return;
    Fail(first_line_,
         fmt::format("is longer than {} bytes, the limit of a record", limits_.max_record_bytes));
  }

  std::string Plain() {
    const size_t begin = at_;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == ',' || c == '\n' || c == '\r') break;
      if (c == '"') Fail(line_, "a quote inside a field without quotes, expected the whole field in quotes");
      if (c == '\0') Fail(line_, "holds a NUL byte, expected text");
      RequireShort();
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string Quoted() {
    const size_t opened = line_;
    ++at_;
    std::string field;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        if (Peek() != '"' || at_ == text_.size()) {
          RequireEndOfField();
          return field;
        }
      }
      if (c == '\0') Fail(line_, "holds a NUL byte, expected text");
      if (c == '\n') ++line_;
      RequireShort();
      field += c;
    }
    Fail(opened, "a quote is opened and never closed");
  }

  void RequireEndOfField() const {
    if (at_ == text_.size() || text_[at_] == ',' || text_[at_] == '\n' || text_[at_] == '\r') return;
    Fail(line_, fmt::format("'{}' behind a closing quote, expected a comma or the line's end",
                            Printable(text_.substr(at_, 1))));
  }

  std::string_view text_;
  const Place& file_;
  size_t columns_;
  CsvLimits limits_;
  size_t at_ = 0, line_ = 1, begin_ = 0, first_line_ = 1;
};

}  // namespace

void ForEachCsvRecordIn(std::string_view text, const Place& file, size_t columns, const CsvCallback& callback,
                        CsvLimits limits) {
  CsvReader reader(text, file, columns, limits);
  std::vector<std::string> fields;
  while (reader.Next(fields)) callback(reader.first_line(), fields);
}

void ForEachCsvRecord(const std::string& path, size_t columns, const CsvCallback& callback,
                      CsvLimits limits) {
  ForEachCsvRecordIn(ReadTextFile(path), Place(path), columns, callback, limits);
}

}  // namespace lowbit
