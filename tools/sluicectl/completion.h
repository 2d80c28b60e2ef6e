// Shell completion from the command line's own description, so that it cannot be out of date: the shell's script asks
// `sluicectl __complete WORDS…` for what may come next.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace sluice::ctl {

struct Candidate {
  std::string word;
  std::string description;  // may be empty
};
// As a word: the shell completes names of files.
inline constexpr std::string_view complete_files = ":files";

// `words`: what stands behind the program's name up to the cursor; the last one, maybe empty, is being typed.
[[nodiscard]] std::vector<Candidate> candidates(const CLI::App& app, const std::vector<std::string>& words);

// A line for each: the word, and behind a tab what it is.
[[nodiscard]] std::string candidate_lines(const std::vector<Candidate>& candidates);

// For the shell's start-up file; `shell`: bash, zsh or fish.
[[nodiscard]] std::string_view completion_script(std::string_view shell);

}  // namespace sluice::ctl
