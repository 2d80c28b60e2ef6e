// DNS of tests: what was asked waits until the test answers.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/name_lookup.h"

namespace sluice::control {

class FakeLookup final : public NameLookup {
 public:
  struct Question {
    std::string name;
    net::Family family = net::Family::V4;
    Done done;
  };
  // Of both a test and the object that owns the lookup.
  using Questions = std::shared_ptr<std::vector<Question>>;

  explicit FakeLookup(Questions questions) : questions_(std::move(questions)) {}
  void ask(const std::string& name, net::Family family, Done done) override {
    questions_->push_back({name, family, std::move(done)});
  }

 private:
  Questions questions_;
};

// As the host's resolver answers; without an address: there is none.
inline LookupAnswer answer_of(const std::vector<std::string>& addresses) {
  LookupAnswer answer;
  for (const std::string& address : addresses) answer.addresses.push_back(*net::parse_ip(address));
  std::sort(answer.addresses.begin(), answer.addresses.end());
  answer.kind = addresses.empty() ? LookupAnswer::Kind::None : LookupAnswer::Kind::Addresses;
  return answer;
}

inline LookupAnswer failure(const std::string& problem) {
  LookupAnswer answer;
  answer.problem = problem;
  return answer;
}

}  // namespace sluice::control
