// IPAM-7: which tunnel addresses the router gives itself, from which pools, and when they are given back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/tunnel_addresses.h"
#include "tests/unit/ipam_memory.h"

namespace sluice::control {
namespace {

using config::TunnelMode;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class TunnelAddresses : public testing::Test {
 protected:
  TunnelAddresses() {
    config_.gateway.node_name = "gw";
    config_.ipam.auto_tunnel_addresses = true;
    config_.nodes["gw"] = {.name = "gw"};
    EXPECT_TRUE(ipam_.load());
  }
  config::IpPool& pool(const std::string& name, const char* cidr, TunnelMode vxlan, TunnelMode ipip) {
    config::IpPool& pool = config_.pools[name];
    pool.name = name;
    pool.cidr = *net::parse_prefix(cidr);
    pool.block_size = pool.cidr.addr.is_v6() ? 122 : 26;
    pool.vxlan_mode = vxlan;
    pool.ipip_mode = ipip;
    return pool;
  }
  // As the router does it.
  void follow() {
    const TunnelAddressSteps steps = tunnel_address_steps(config_, ipam_.state());
    for (const std::string& handle : steps.release) EXPECT_TRUE(ipam_.release(handle, 1000));
    for (const ipam::Request& request : steps.assign) EXPECT_TRUE(ipam_.assign(config_, request, 1000));
    const TunnelAddressSteps again = tunnel_address_steps(config_, ipam_.state());
    EXPECT_THAT(again.release, IsEmpty());
    EXPECT_THAT(again.assign, IsEmpty());
  }
  // "vxlan-tunnel-addr-gw 10.0.0.0"
  [[nodiscard]] std::vector<std::string> addresses() const {
    std::vector<std::string> out;
    for (const auto& [name, handle] : ipam_.state().handles()) {
      out.push_back(name + " " + net::to_string(handle.addresses.front()));
    }
    return out;
  }

  config::Config config_;
  ipam::MemoryStorage storage_;
  ipam::Ipam ipam_{storage_};
};

TEST_F(TunnelAddresses, IPAM7_FromThePoolsWhoseEncapsulationAsksForOne) {
  pool("plain", "10.0.0.0/16", TunnelMode::Never, TunnelMode::Never);
  follow();
  EXPECT_THAT(addresses(), IsEmpty());
  pool("vx", "10.1.0.0/16", TunnelMode::CrossSubnet, TunnelMode::Never);
  pool("ip", "10.2.0.0/16", TunnelMode::Never, TunnelMode::Always);
  pool("six", "fd00::/64", TunnelMode::Always, TunnelMode::Never);
  follow();
  EXPECT_THAT(addresses(), ElementsAre("ipip-tunnel-addr-gw 10.2.0.0", "vxlan-tunnel-addr-gw 10.1.0.0",
                                       "vxlan-v6-tunnel-addr-gw fd00::"));
}

TEST_F(TunnelAddresses, IPAM7_OnlyIfItIsAskedFor) {
  config_.ipam.auto_tunnel_addresses = false;
  pool("vx", "10.1.0.0/16", TunnelMode::Always, TunnelMode::Never);
  EXPECT_THAT(wanted_tunnel_addresses(config_), IsEmpty());
  config_.ipam.auto_tunnel_addresses = true;
  EXPECT_THAT(wanted_tunnel_addresses(config_), SizeIs(1));
  config_.gateway.node_name.clear();
  EXPECT_THAT(wanted_tunnel_addresses(config_), IsEmpty()) << "of no node";
}

TEST_F(TunnelAddresses, IPAM7_PoolsThatAreNotForTunnelsHere) {
  pool("a", "10.1.0.0/16", TunnelMode::Always, TunnelMode::Never).for_tunnels = false;
  pool("b", "10.2.0.0/16", TunnelMode::Always, TunnelMode::Never).disabled = true;
  pool("c", "10.3.0.0/16", TunnelMode::Always, TunnelMode::Never).node_selector =
      *config::Selector::parse("rack == 'left'");
  pool("d", "10.4.0.0/16", TunnelMode::Always, TunnelMode::Never).manual = true;
  EXPECT_THAT(wanted_tunnel_addresses(config_), IsEmpty());
  config_.nodes["gw"].labels = {{"rack", "left"}};
  follow();
  EXPECT_THAT(addresses(), ElementsAre("vxlan-tunnel-addr-gw 10.3.0.0"));
}

TEST_F(TunnelAddresses, IPAM7_TheNodesAnnotationComesFirst) {
  pool("vx", "10.1.0.0/16", TunnelMode::Always, TunnelMode::Never);
  follow();
  EXPECT_THAT(addresses(), SizeIs(1));
  config_.nodes["gw"].vxlan_tunnel_ipv4 = net::parse_ipv4("10.9.0.0");
  follow();
  EXPECT_THAT(addresses(), IsEmpty()) << "given back";
}

TEST_F(TunnelAddresses, IPAM7_KeptAndReallocatedWhenThePoolGoes) {
  pool("vx", "10.1.0.0/16", TunnelMode::Always, TunnelMode::Never);
  follow();
  pool("earlier", "10.0.0.0/16", TunnelMode::Always, TunnelMode::Never);
  follow();
  EXPECT_THAT(addresses(), ElementsAre("vxlan-tunnel-addr-gw 10.1.0.0")) << "it has one";
  ipam::Ipam next(storage_);
  ASSERT_TRUE(next.load());
  EXPECT_THAT(tunnel_address_steps(config_, next.state()).assign, IsEmpty()) << "after a restart, too";
  config_.pools.erase("vx");
  follow();
  EXPECT_THAT(addresses(), ElementsAre("vxlan-tunnel-addr-gw 10.0.0.0"));
  config_.pools.at("earlier").vxlan_mode = TunnelMode::Never;
  follow();
  EXPECT_THAT(addresses(), IsEmpty());
}

TEST_F(TunnelAddresses, IPAM7_WhatSomebodyAskedForIsLeftAlone) {
  pool("plain", "10.0.0.0/16", TunnelMode::Never, TunnelMode::Never);
  ASSERT_TRUE(ipam_.assign(
      config_,
      {.handle = "vxlan-tunnel-addr-gw", .node = "gw", .use = ipam::Use::Tunnel, .families = {net::Family::V4}}, 1000));
  follow();
  EXPECT_THAT(addresses(), ElementsAre("vxlan-tunnel-addr-gw 10.0.0.0"));
  pool("vx", "10.1.0.0/16", TunnelMode::Always, TunnelMode::Never);
  follow();
  EXPECT_THAT(addresses(), ElementsAre("vxlan-tunnel-addr-gw 10.0.0.0"));
}

}  // namespace
}  // namespace sluice::control
