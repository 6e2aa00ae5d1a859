// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "lowbit/base/files.h"
#include "lowbit/base/human.h"
#include "lowbit/base/log.h"
#include "lowbit/cli/commands.h"
#include "lowbit/report/page.h"
#include "lowbit/report/report.h"
#include "lowbit/report/tables.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::string database, output = "report.html", format, title;
};

struct Format {
  std::string_view name;
  std::string (*render)(const Report&);
};

constexpr std::array kFormats = {
    Format{"html", &RenderPage},
    Format{"csv", &RenderCsv},
    Format{"md", &RenderMarkdown},
    Format{"tex", &RenderLatex},
};

// --format, else the extension of the output; Markdown for stdout, which is what a terminal can show.
const Format& ChooseFormat(const ReportOptions& options) {
  std::string name = options.format;
  if (name.empty() && options.output == "-") name = "md";
  if (name.empty()) {
    name = fs::path(options.output).extension().string();
    if (name.starts_with('.')) name.erase(0, 1);
  }
  for (const Format& format : kFormats) {
    if (format.name == name) return format;
  }
  throw Error(
      ErrorKind::kUsage, Place(options.output),
      fmt::format("no format is called '{}', expected a name that ends in .html, .csv, .md or .tex", name))
      .Hint("or say --format html|csv|md|tex");
}

void WriteToStdout(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(ErrorKind::kResource, Place("standard output"), "cannot write");
  }
}

void RunReport(const ReportOptions& options) {
  const Format& format = ChooseFormat(options);
  std::error_code ignored;
  if (options.output != "-" && fs::equivalent(options.output, options.database, ignored)) {
    throw Error(ErrorKind::kUsage, Place(options.output),
                "is the results database, expected another file to write");
  }
  const ResultsDb db = ResultsDb::Open(options.database, ResultsDb::Mode::kRead);
  const Report report = BuildReport(db.All(), options.title, options.database);
  const std::string text = format.render(report);
  if (options.output == "-") return WriteToStdout(text);
  WriteFileAtomic(options.output, text);
  LogInfo(fmt::format("wrote {} ({}, {} cells{})", options.output, HumanBytes(text.size()),
                      report.done + report.failed,
                      report.failed == 0 ? "" : fmt::format(", {} of them failed", report.failed)));
}

}  // namespace

void AddReportCommand(CLI::App& app) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "Make a page or a table of a study's results.db");
  command->add_option("database", options->database, "the results.db that `lowbit study` wrote")->required();
  command->add_option("-o,--output", options->output, "file to write; - for stdout")->capture_default_str();
  command->add_option("-f,--format", options->format,
                      "html (one self-contained page), csv (every number, all digits), md, tex (booktabs); "
                      "default: by the extension of the output, md for stdout");
  command->add_option("--title", options->title, "heading; default: the names of the models");
  command->footer(
      "Examples:\n"
      "  lowbit report demo/results.db -o demo/report.html\n"
      "  lowbit report demo/results.db -o -                     # a table in the terminal\n"
      "  lowbit report demo/results.db -o table.tex --title 'RTN on Qwen3'\n"
      "  lowbit report demo/results.db --format csv -o - > numbers.csv");
  command->callback([options] { RunReport(*options); });
}

}  // namespace lowbit
