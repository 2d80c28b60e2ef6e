// The pods whose connections are looked into (ContentPolicy), by address.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/l7/content_rules.h"
#include "dataplane/net/flow_key.h"

namespace sluice::dataplane {

using ContentRuleList = std::vector<std::shared_ptr<const l7::ContentRules>>;

template <class F>
class ContentPods {
 public:
  using Addr = typename F::Addr;
  struct Pod {
    Addr addr;
    ContentRuleList rules;
  };

  ContentPods() = default;
  explicit ContentPods(std::vector<Pod> pods) : pods_(std::move(pods)) {
    std::sort(pods_.begin(), pods_.end(), [](const Pod& a, const Pod& b) { return a.addr < b.addr; });
  }

  [[nodiscard]] bool empty() const { return pods_.empty(); }
  // nullptr: nobody looks.
  [[nodiscard]] const ContentRuleList* find(const Addr& addr) const {
    const auto at =
        std::lower_bound(pods_.begin(), pods_.end(), addr, [](const Pod& pod, const Addr& a) { return pod.addr < a; });
    return at == pods_.end() || !(at->addr == addr) ? nullptr : &at->rules;
  }

 private:
  std::vector<Pod> pods_;
};

}  // namespace sluice::dataplane
