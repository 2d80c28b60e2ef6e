// The judgement of a real BIRD about a configuration.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice::control {

// What `bird -p` says; empty: nothing is wrong.
inline std::string complaint_of_bird(const std::string& text) {
  char path[] = "/tmp/sluice-bird-XXXXXX";
  const int fd = ::mkstemp(path);
  if (fd < 0) return "mkstemp";
  ::close(fd);
  std::ofstream(path) << text;
  std::string said;
  FILE* pipe = ::popen((std::string("/usr/sbin/bird -p -c ") + path + " 2>&1").c_str(), "r");
  char buffer[256];
  while (pipe != nullptr && std::fgets(buffer, sizeof buffer, pipe) != nullptr) said += buffer;
  const int status = pipe == nullptr ? -1 : ::pclose(pipe);
  ::unlink(path);
  return status == 0 ? "" : said + " (exit status " + std::to_string(WEXITSTATUS(status)) + ") in\n" + text;
}

}  // namespace sluice::control
