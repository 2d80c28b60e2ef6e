// sluice-cni: the plugin by which container runtimes attach pods to sluiced (docs/cni.md). A run is one command: the
// environment and standard input in, one JSON object out.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>

#include <boost/json.hpp>

#include "tools/cni/cni.h"
#include "tools/cni/plugin.h"

namespace sluice::cni {
namespace {

namespace json = boost::json;

const char* environment_variable(const char* name) { return std::getenv(name); }

void print(const json::object& object) { std::cout << json::serialize(object) << '\n'; }

int fail(const std::string& version, const Error& error) {
  print(error_of(version, error));
  return 1;
}

int run() {
  const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
  const std::string version = version_of(input);
  const auto environment = read_environment(environment_variable);
  if (!environment) return fail(version, environment.error());
  if (environment->command == Command::Version) {
    print(version_answer(version));
    return 0;
  }
  const auto conf = read_conf(input, *environment);
  if (!conf) return fail(version, conf.error());
  if (environment->command == Command::Add) {
    const auto result = add(*conf, *environment);
    if (!result) return fail(version, result.error());
    print(*result);
    return 0;
  }
  const Status done = environment->command == Command::Del ? del(*conf, *environment) : check(*conf, *environment);
  return done ? 0 : fail(version, done.error());
}

}  // namespace
}  // namespace sluice::cni

int main() {
  try {
    return sluice::cni::run();
  } catch (const std::exception& error) {
    const sluice::cni::Error unexpected{sluice::cni::Code::Failed, error.what()};
    std::cout << boost::json::serialize(sluice::cni::error_of("1.0.0", unexpected)) << '\n';
    return 1;
  }
}
