#include "tools/cni/delegate.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::cni {
namespace {

namespace json = boost::json;

std::string find_plugin(const std::string& type, std::string_view path) {
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(std::min(folder.size() + 1, path.size()));
    std::string file = fmt::format("{}/{}", folder, type);
    if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

struct Ended {
  int status = 0;  // of waitpid
  std::string output;
};

// Standard error stays ours.
net::Result<Ended> run(const std::string& file, const std::string& input, const std::string& command) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (::pipe(in.data()) != 0 || ::pipe(out.data()) != 0) return net::Error{std::strerror(errno)};
  const pid_t child = ::fork();
  if (child < 0) return net::Error{std::strerror(errno)};
  if (child == 0) {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    for (const int fd : {in[0], in[1], out[0], out[1]}) ::close(fd);
    ::setenv("CNI_COMMAND", command.c_str(), 1);
    ::execl(file.c_str(), file.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  // A plugin reads all of its configuration before it says anything; one that ends early is told by its exit code.
  std::signal(SIGPIPE, SIG_IGN);
  std::string_view rest = input;
  while (!rest.empty()) {
    const ssize_t written = ::write(in[1], rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    rest.remove_prefix(static_cast<size_t>(written));
  }
  ::close(in[1]);
  Ended ended;
  std::array<char, 4096> piece;
  while (true) {
    const ssize_t got = ::read(out[0], piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    ended.output.append(piece.data(), static_cast<size_t>(got));
  }
  ::close(out[0]);
  while (::waitpid(child, &ended.status, 0) < 0 && errno == EINTR) {
  }
  return ended;
}

}  // namespace

Result<json::object> delegate(const NetConf& conf, const Environment& environment, const std::string& command) {
  const std::string file = find_plugin(conf.ipam_type, environment.path);
  if (file.empty()) {
    return Error{Code::InvalidConfig, fmt::format("there is no plugin {} for addresses", conf.ipam_type),
                 fmt::format("CNI_PATH is \"{}\"", environment.path)};
  }
  const auto ended = run(file, conf.text, command);
  if (!ended) return Error{Code::Io, fmt::format("cannot run {}: {}", file, ended.error().message)};
  json::error_code error;
  const json::value answer = json::parse(ended->output, error);
  const json::object* object = error ? nullptr : answer.if_object();
  if (WIFEXITED(ended->status) && WEXITSTATUS(ended->status) == 0) {
    return object == nullptr ? json::object() : *object;
  }
  Error out{Code::Refused, fmt::format("{} {} failed", conf.ipam_type, command), ended->output};
  if (object == nullptr) return out;
  const json::value* code = object->if_contains("code");
  const json::value* message = object->if_contains("msg");
  if (code != nullptr) {
    const auto number = code->to_number<unsigned>(error);
    if (!error && number != 0) out.code = static_cast<Code>(number);
  }
  if (message != nullptr && message->is_string()) {
    out.message = fmt::format("{}: {}", conf.ipam_type, std::string_view(message->get_string()));
    out.details.clear();
  }
  return out;
}

}  // namespace sluice::cni
