// SPDX-License-Identifier: Apache-2.0
// Rows of data sets, through every reader of lowbit eval: the first byte says which, the rest is its file. What is
// accepted has items that can be asked: UTF-8, a right answer among the choices, nothing divided by nothing.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fuzz/target.h"
#include "lowbit/base/utf8.h"
#include "lowbit/eval/document_windows.h"
#include "lowbit/eval/tasks/c4.h"
#include "lowbit/eval/tasks/readers.h"
#include "lowbit/eval/tasks/wikitext.h"

namespace lowbit::fuzz {
namespace {

namespace fs = std::filesystem;

// A folder of data sets that holds one file, the input.
class DataFolder {
 public:
  DataFolder() {
    std::string pattern = (fs::temp_directory_path() / "lowbit-fuzz-XXXXXX").string();
    Require(::mkdtemp(pattern.data()) != nullptr, "no folder for data");
    path_ = pattern;
  }
  ~DataFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  void Hold(const std::string& name, std::string_view content) {
    const fs::path held = fs::path(path_) / name;
    if (held != held_) {  // an empty folder may stand for a layout too
      fs::remove_all(path_);
      fs::create_directories(held.parent_path());
      held_ = held;
    }
    std::ofstream(held_, std::ios::binary) << content;
  }
  TaskOptions Options() const {
    TaskOptions options;
    options.data_folder = path_;
    return options;
  }

 private:
  std::string path_;
  fs::path held_;
};

void RequireText(std::string_view text) {
  Require(FirstInvalidUtf8(text) == std::string::npos, "a text that is not UTF-8");
}

void RequireItems(const MultipleChoiceSet& set) {
  Require(!set.items.empty(), "a set without items");
  for (const MultipleChoiceItem& item : set.items) {
    Require(item.lengths.size() >= 2 && item.gold < item.lengths.size(), "a right answer that is no choice");
    Require(set.subsets.empty() || item.subset < set.subsets.size(), "an item of no subset");
    for (size_t choice = 0; choice < item.lengths.size(); ++choice) {
      RequireText(ContextOf(set, item, choice));
      RequireText(ContinuationOf(item, choice));
      Require(item.lengths[choice].characters > 0 && item.lengths[choice].bytes > 0,
              "a choice without length");
    }
  }
}

struct Reader {
  std::string file;
  std::function<void(const TaskOptions&)> read;
};

template <MultipleChoiceSet (*Read)(const TaskOptions&)>
void ReadItems(const TaskOptions& options) {
  RequireItems(Read(options));
}

void ReadPages(const TaskOptions& options) {
  const RollingSet set = ReadWikiTextPages(options);
  Require(!set.texts.empty(), "a set without pages");
  for (const RollingText& text : set.texts) {
    RequireText(text.text);
    Require(text.words > 0 && text.bytes > 0, "a page to be divided by nothing");
  }
}

void ReadList(const TaskOptions& options) {
  for (const ListedWindow& window : ReadWindowList(options.data_folder + "/c4/study-windows.csv"))
    Require(window.at.offset < window.fewest && window.fewest <= window.most,
            "a window outside its document");
}

const std::vector<Reader>& Readers() {
  static const std::vector<Reader> readers = {
      {"piqa/valid.jsonl", &ReadItems<&ReadPiqa>},
      {"arc_easy/test.jsonl", &ReadItems<&ReadArcEasy>},
      {"hellaswag/validation.jsonl", &ReadItems<&ReadHellaSwag>},
      {"winogrande/validation.jsonl", &ReadItems<&ReadWinoGrande>},
      {"boolq/validation.jsonl", &ReadItems<&ReadBoolQ>},
      {"mmlu/test/anatomy_test.csv", &ReadItems<&ReadMmlu>},
      {"c4/validation.jsonl", [](const TaskOptions& options) { ReadC4New(options), ReadC4(options); }},
      {"c4/study-windows.csv", &ReadList},
      {"wikitext2/wiki.test.pages.jsonl", &ReadPages},
      {"wikitext2/wiki.test.raw", &ReadPages},
      {"mmlu/test/anatomy_test.jsonl", &ReadItems<&ReadMmlu>},
      {"mmlu/test.jsonl", &ReadItems<&ReadMmluStudy>},
  };
  return readers;
}

}  // namespace

LOWBIT_FUZZ_TARGET(data_rows) {
  static DataFolder folder;
  if (input.empty()) return;
  const Reader& reader = Readers()[static_cast<uint8_t>(input[0]) % Readers().size()];
  folder.Hold(reader.file, input.substr(1));
  Accepts(input, [&] { reader.read(folder.Options()); });
}

}  // namespace lowbit::fuzz
