#include "tools/sluicectl/completion.h"

#include <algorithm>

namespace sluice::ctl {
namespace {

constexpr std::string_view bash_script = R"sh(# bash: eval "$(sluicectl completion bash)"
_sluicectl() {
  local word rest current="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  while IFS=$'\t' read -r word rest; do
    if [[ $word == :files ]]; then
      compopt -o filenames 2>/dev/null
      mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
    else
      COMPREPLY+=("$word")
    fi
  done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _sluicectl sluicectl
)sh";

constexpr std::string_view zsh_script = R"sh(#compdef sluicectl
# zsh: source <(sluicectl completion zsh), behind compinit; or this file as _sluicectl in $fpath
_sluicectl() {
  local line
  local -a candidates
  for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    if [[ $line == :files ]]; then
      _files
    elif [[ -n $line ]]; then
      candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    fi
  done
  (( ${#candidates} )) && _describe sluicectl candidates
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _sluicectl "$@"
else
  compdef _sluicectl sluicectl
fi
)sh";

constexpr std::string_view fish_script = R"sh(# fish: sluicectl completion fish | source
function __sluicectl_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test "$line" = :files
      __fish_complete_path (commandline -ct)
    else
      echo $line
    end
  end
end
complete -c sluicectl -f -a '(__sluicectl_complete)'
)sh";

bool is_option(std::string_view word) { return word.size() > 1 && word.front() == '-'; }
bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// Options of a command and, as they may stand behind it too, of those above.
const CLI::Option* find_option(const CLI::App* app, const std::string& word) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(word)) return option;
  }
  return nullptr;
}

const CLI::App* find_command(const CLI::App& app, const std::string& word) {
  const auto found =
      app.get_subcommands([&](const CLI::App* sub) { return !sub->get_name().empty() && sub->check_name(word); });
  return found.empty() ? nullptr : found.front();
}

class Collector {
 public:
  explicit Collector(std::string_view typed) : typed_(typed) {}

  void add(const std::string& word, const std::string& description = "") {
    const bool known = std::any_of(found_.begin(), found_.end(), [&](const auto& one) { return one.word == word; });
    if (!known && word.starts_with(typed_)) found_.push_back({word, description});
  }
  void add_files() { found_.push_back({std::string(complete_files), ""}); }

  // "{json,table}" in how the type is described, or "{NEW->new}"; "FILE" and "PATH".
  void add_values(const CLI::Option& option) {
    const std::string type = option.get_type_name();
    if (type.find("FILE") != std::string::npos || type.find("PATH") != std::string::npos) add_files();
    const size_t begin = type.find('{');
    const size_t end = type.find('}', begin);
    if (begin == std::string::npos || end == std::string::npos) return;
    std::string_view rest = std::string_view(type).substr(begin + 1, end - begin - 1);
    while (!rest.empty()) {
      const std::string_view item = rest.substr(0, rest.find(','));
      add(std::string(item.substr(0, item.find("->"))));
      rest.remove_prefix(std::min(item.size() + 1, rest.size()));
    }
  }

  void add_options(const CLI::App& app) {
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_group().empty()) continue;
      for (const std::string& name : option->get_lnames()) add("--" + name, option->get_description());
      for (const std::string& name : option->get_snames()) add("-" + name, option->get_description());
    }
    // Option groups are nameless commands inside.
    for (const CLI::App* group : app.get_subcommands([](const CLI::App* sub) { return sub->get_name().empty(); })) {
      add_options(*group);
    }
  }

  void add_commands(const CLI::App& app) {
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
      if (!command->get_name().empty() && !command->get_group().empty()) {
        add(command->get_name(), command->get_description());
      }
    }
  }

  [[nodiscard]] std::vector<Candidate> take() {
    std::sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) { return a.word < b.word; });
    return std::move(found_);
  }

 private:
  std::string_view typed_;
  std::vector<Candidate> found_;
};

}  // namespace

std::vector<Candidate> candidates(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return {};
  const CLI::App* command = &app;
  const CLI::Option* wants_value = nullptr;
  size_t positionals = 0;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (wants_value != nullptr) {
      wants_value = nullptr;
    } else if (is_option(word)) {
      const CLI::Option* option = find_option(command, word.substr(0, word.find('=')));
      if (option != nullptr && takes_value(*option) && word.find('=') == std::string::npos) wants_value = option;
    } else if (const CLI::App* sub = find_command(*command, word); sub != nullptr) {
      command = sub;
      positionals = 0;
    } else {
      ++positionals;
    }
  }
  Collector out(words.back());
  if (wants_value != nullptr) {
    out.add_values(*wants_value);
  } else if (!words.back().empty() && words.back().front() == '-') {
    for (const CLI::App* from = command; from != nullptr; from = from->get_parent()) out.add_options(*from);
  } else {
    if (positionals == 0) out.add_commands(*command);
    size_t at = 0;
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_positional() && at++ == positionals) out.add_values(*option);
    }
  }
  return out.take();
}

std::string candidate_lines(const std::vector<Candidate>& candidates) {
  std::string out;
  for (const Candidate& candidate : candidates) {
    out += candidate.word;
    if (!candidate.description.empty()) out += '\t' + candidate.description;
    out += '\n';
  }
  return out;
}

std::string_view completion_script(std::string_view shell) {
  return shell == "zsh" ? zsh_script : shell == "fish" ? fish_script : bash_script;
}

}  // namespace sluice::ctl
