#include "tools/sluicectl/ipam_commands.h"

#include <memory>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "tools/sluicectl/calls.h"
#include "tools/sluicectl/fields.h"
#include "tools/sluicectl/tables.h"

namespace sluice::ctl {
namespace {

namespace json = boost::json;

struct IpamWords {
  std::string handle, node, output = "table";
  std::vector<std::string> families, addresses, pools;
};

json::object request_of(const IpamWords& words) {
  json::object request{{"handle", words.handle}};
  const auto add = [&](std::string_view name, const std::vector<std::string>& values) {
    if (!values.empty()) request[name] = json::array(values.begin(), values.end());
  };
  add("families", words.families);
  add("addresses", words.addresses);
  add("pools", words.pools);
  if (!words.node.empty()) request["node"] = words.node;
  return request;
}

ExitCode assign(const Server& server, const IpamWords& words) {
  if (words.families.empty() && words.addresses.empty()) {
    return usage_error("say which addresses: --family IPv4, or --address 10.244.0.7");
  }
  const Call call{"POST", "/v1/ipam/addresses", "application/json", json::serialize(request_of(words))};
  return with_answer(server, call, [&](const Answer& answer) {
    const json::value body = parsed(answer.body);
    if (words.output == "json") return print(pretty(body));
    for (const json::value& address : list(body, "addresses")) {
      if (address.is_string()) print(std::string(address.get_string()) + "\n");
    }
  });
}

ExitCode release(const Server& server, const IpamWords& words) {
  return with_answer(server, {"DELETE", "/v1/ipam/handles/" + words.handle}, [&](const Answer& answer) {
    const json::value body = parsed(answer.body);
    if (words.output == "json") return print(pretty(body));
    const auto released = number<uint64_t>(body, "released");
    print(fmt::format("released {} address{}\n", released, released == 1 ? "" : "es"));
  });
}

}  // namespace

void add_ipam_commands(CLI::App& app, const Server& server, std::function<ExitCode()>& run) {
  CLI::App* ipam = app.add_subcommand("ipam", "Take addresses of pools by hand, and give them back");
  ipam->require_subcommand(1);
  const auto words = std::make_shared<IpamWords>();
  const auto add_handle = [&](CLI::App* command) {
    command->add_option("HANDLE", words->handle, "by which they are given back, like net.0123")->required();
    command->add_option("-o,--output", words->output, "table or json")->check(CLI::IsMember({"table", "json"}));
  };
  CLI::App* take = ipam->add_subcommand("assign", "Assign addresses to a handle, all or none, and print them");
  add_handle(take);
  take->add_option("--family", words->families, "one of each: IPv4 or IPv6; may be given twice")
      ->check(CLI::IsMember({"IPv4", "IPv6"}));
  take->add_option("--address", words->addresses, "just these")->type_name("ADDRESS");
  take->add_option("--pool", words->pools, "only of these IPPools")->type_name("NAME");
  take->add_option("--node", words->node, "for this node (default: the router's)")->type_name("NAME");
  take->callback([&server, &run, words] { run = [&server, words] { return assign(server, *words); }; });
  CLI::App* back =
      ipam->add_subcommand("release", "Give the addresses of a handle back; that there are none is no error");
  add_handle(back);
  back->callback([&server, &run, words] { run = [&server, words] { return release(server, *words); }; });
}

}  // namespace sluice::ctl
