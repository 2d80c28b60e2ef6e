#include "control/host_stack.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace sluice::control {
namespace {

// IFA_PROTO of what the configuration put there; Linux itself uses 1 to 3.
constexpr uint8_t our_mark = 0x73;
constexpr unsigned buffers_per_turn = 16;
constexpr auto retry_pause = std::chrono::seconds(5);

}  // namespace

HostStack::HostStack(boost::asio::io_context& io, dataplane::PuntRings& rings, std::function<void()> on_change)
    : io_(io), on_change_(std::move(on_change)), retry_(io), link_(rings) {}

HostStack::~HostStack() {
  // The descriptor is netlink_'s.
  if (readable_) readable_->release();
}

net::Status<> HostStack::open(const Plan& plan, const Deployment& deployment) {
  opened_.clear();
  changed_.clear();
  for (const PlannedInterface& planned : plan.interfaces) {
    if (planned.host_interface.empty()) continue;
    const net::MacAddr mac = deployment.mac_of(planned);
    const HostInterfaceSpec spec{planned.host_interface, mac, planned.mtu};
    const auto fail = [&](const net::Error& error) {
      abandon();
      return error;
    };
    // The same device may stand for another interface now.
    std::shared_ptr<HostInterface> device;
    for (const auto& [name, twin] : twins_) {
      if (twin.device->spec().name == spec.name) device = twin.device;
    }
    if (device == nullptr) {
      auto made = HostInterface::open(spec);
      if (!made) return fail(made.error());
      device = std::move(*made);
    } else if (!(device->spec() == spec)) {
      changed_.emplace_back(device, device->spec());
      if (auto done = device->change(spec); !done) return fail(done.error());
    }
    opened_[planned.name] = std::move(device);
  }
  return net::Done{};
}

void HostStack::abandon() {
  for (const auto& [device, before] : changed_) (void)device->change(before);
  changed_.clear();
  for (const auto& opened : opened_) {
    const auto& device = opened.second;
    const bool in_use =
        std::any_of(twins_.begin(), twins_.end(), [&](const auto& twin) { return twin.second.device == device; });
    if (!in_use && device->is_new()) device->remove();
  }
  opened_.clear();
}

void HostStack::commit(const config::Config& config, const Deployment& deployment) {
  const config::Gateway& gateway = config.gateway;
  std::map<std::string, Twin> twins;
  for (auto& [name, device] : opened_) {
    Twin& twin = twins[name];
    for (auto& [other, before] : twins_) {
      if (before.device == device) twin.addresses = before.addresses;
    }
    twin.device = device;
    for (const config::Interface& interface : gateway.interfaces) {
      if (interface.name == name) twin.wanted.insert(interface.addresses.begin(), interface.addresses.end());
    }
  }
  for (const auto& before : twins_) {
    const auto& device = before.second.device;
    const bool kept =
        std::any_of(opened_.begin(), opened_.end(), [&](const auto& one) { return one.second == device; });
    if (!kept) device->remove();
  }
  const bool other_devices =
      !std::equal(twins.begin(), twins.end(), twins_.begin(), twins_.end(),
                  [](const auto& a, const auto& b) { return a.second.device == b.second.device; });
  twins_ = std::move(twins);
  opened_.clear();
  changed_.clear();

  HostLink::Twins by_index;
  HostRouteTable::Links links;
  for (const auto& [name, twin] : twins_) {
    const auto index = deployment.index_of_interface(name);
    if (!index) continue;
    if (by_index.size() <= *index) by_index.resize(*index + 1U);
    by_index[*index] = twin.device;
    links[twin.device->index()] = name;
  }
  link_.set(std::move(by_index));
  routes_.set_neighbors(deployment.plan().neighbors);
  routes_.set_tunnels(host_tunnels(config, deployment.plan()));
  neighbors_.set_links(links);
  neighbors_.set_network(deployment.plan().interfaces, gateway.neighbors);
  const bool other_routes = routes_.set_wanted(gateway.host.routes, std::move(links));
  if (!twins_.empty() && netlink_ == nullptr) start_netlink();
  if (netlink_ != nullptr && (other_devices || other_routes)) ask_all();
  for (auto& [name, twin] : twins_) settle_addresses(twin);
  if (routes_.changed() || neighbors_.changed()) on_change_();
}

void HostStack::follow_plan(const config::Config& config, const Deployment& deployment, const PlanDelta& delta) {
  routes_.follow(config, deployment.plan(), delta);
  if (routes_.changed()) on_change_();
}

HostAddresses HostStack::addresses() const {
  HostAddresses out;
  for (const auto& [name, twin] : twins_) {
    for (const auto& [address, mark] : twin.addresses) {
      const bool own_link = address.addr.is_v6() && address.addr.is_link_local();
      if (mark != our_mark && !own_link && !twin.wanted.contains(address)) out[name].push_back(address);
    }
  }
  return out;
}

HostStack::Twin* HostStack::twin_of(int link) {
  for (auto& [name, twin] : twins_) {
    if (twin.device->index() == link) return &twin;
  }
  return nullptr;
}

// Our addresses on the twin, and nothing of ours that is not wanted any more.
void HostStack::settle_addresses(Twin& twin) {
  if (netlink_ == nullptr || asking_ != Asking::Nothing) return;
  // First what goes: with the first address of a subnet the kernel takes the others of it off.
  for (const auto& [address, mark] : twin.addresses) {
    if (mark == our_mark && !twin.wanted.contains(address)) netlink_->remove_address(twin.device->index(), address);
  }
  for (const net::Prefix& address : twin.wanted) {
    if (address.addr.is_v6() && address.addr.is_link_local()) continue;
    if (!twin.addresses.contains(address)) netlink_->add_address(twin.device->index(), address, our_mark);
  }
}

void HostStack::start_netlink() {
  auto opened = netlink::Socket::open();
  if (!opened) {
    problem_ = "the host's addresses, routes and neighbours are not followed: " + opened.error().message;
    return;
  }
  problem_.clear();
  netlink_ = std::move(*opened);
  readable_ = std::make_unique<boost::asio::posix::stream_descriptor>(io_, netlink_->descriptor());
  read_later();
}

void HostStack::read_later() {
  readable_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                        [this](const boost::system::error_code& error) {
                          if (error) return;
                          read_some();
                          read_later();
                        });
}

// Not all there may be: the API has its turn in between.
void HostStack::read_some() {
  for (unsigned count = 0; count < buffers_per_turn; ++count) {
    switch (netlink_->receive([this](const netlink::Message& message) { take(message); })) {
      case netlink::Socket::Status::Empty:
        return;
      case netlink::Socket::Status::More:
        break;
      case netlink::Socket::Status::DumpDone:
        ask_next();
        break;
      case netlink::Socket::Status::DumpInterrupted:
        asking_ = Asking::Nothing;
        ask_all();
        break;
      case netlink::Socket::Status::DumpFailed:
        ask_later();
        break;
      case netlink::Socket::Status::Overrun:
        ask_all();
        break;
    }
  }
}

void HostStack::ask_all() {
  // One at a time; a dump that is under way comes to its end first.
  if (asking_ != Asking::Nothing) {
    ask_again_ = true;
    return;
  }
  all_missing_ = false;
  asking_ = Asking::Links;
  const net::Status<> asked = netlink_->ask(netlink::Socket::Dump::Links);
  if (asked) return;
  problem_ = asked.error().message;
  ask_later();
}

void HostStack::ask_next() {
  net::Status<> asked = net::Done{};
  switch (asking_) {
    case Asking::Nothing:
      return;
    case Asking::Links:
      for (auto& [name, twin] : twins_) twin.dumped.clear();
      asking_ = Asking::Addresses;
      asked = netlink_->ask(netlink::Socket::Dump::Addresses);
      break;
    case Asking::Addresses:
      for (auto& [name, twin] : twins_) twin.addresses = std::move(twin.dumped);
      routes_.begin_all();
      asking_ = Asking::Routes;
      asked = netlink_->ask(netlink::Socket::Dump::Routes);
      break;
    case Asking::Routes:
      routes_.end_all();
      on_change_();
      ask_neighbors();
      return;
    case Asking::Neighbors:
      neighbors_.end_all();
      asking_ = Asking::Nothing;
      if (!all_missing_) problem_.clear();  // what addresses are refused for is said again
      for (auto& [name, twin] : twins_) settle_addresses(twin);
      on_change_();
      if (ask_again_) {
        ask_again_ = false;
        ask_all();
      } else if (neighbors_.has_gaps()) {
        ask_neighbors();
      }
      return;
  }
  if (!asked) {
    problem_ = asked.error().message;
    ask_later();
  }
}

void HostStack::ask_neighbors() {
  neighbors_.begin_all();
  asking_ = Asking::Neighbors;
  const net::Status<> asked = netlink_->ask(netlink::Socket::Dump::Neighbors);
  if (asked) return;
  problem_ = asked.error().message;
  ask_later();
}

void HostStack::ask_later() {
  // The others have come by then.
  const bool neighbors = std::exchange(asking_, Asking::Nothing) == Asking::Neighbors && !ask_again_;
  ask_again_ = false;
  all_missing_ = all_missing_ || !neighbors;
  for (auto& [name, twin] : twins_) settle_addresses(twin);
  on_change_();
  retry_.expires_after(retry_pause);
  retry_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    if (all_missing_) {
      ask_all();
    } else if (asking_ == Asking::Nothing) {
      ask_neighbors();
    }
  });
}

void HostStack::take(const netlink::Message& message) {
  if (const auto* route = std::get_if<netlink::Route>(&message); route != nullptr) {
    routes_.learn(*route);
    if (asking_ == Asking::Nothing && routes_.changed()) on_change_();
  } else if (const auto* address = std::get_if<netlink::Address>(&message); address != nullptr) {
    take(*address);
  } else if (const auto* neighbor = std::get_if<netlink::Neighbor>(&message); neighbor != nullptr) {
    take(*neighbor);
  } else if (const auto* link = std::get_if<netlink::Link>(&message); link != nullptr) {
    take(*link);
  } else if (const auto* refusal = std::get_if<netlink::Refusal>(&message); refusal != nullptr) {
    // An address that is there already, or gone, or whose device is.
    const bool settled = refusal->error == EEXIST || refusal->error == EADDRNOTAVAIL || refusal->error == ENODEV;
    if (!settled)
      problem_ = fmt::format("the kernel refuses what the host's twins need: {}", std::strerror(refusal->error));
  }
}

void HostStack::take(const netlink::Link& link) {
  if (twin_of(link.index) == nullptr) return;
  const bool up = link.up && !link.gone;
  const auto [at, fresh] = up_.try_emplace(link.index, up);
  // What becomes of routes and next hops with their link the kernel does not tell.
  if (!fresh && at->second != up) ask_all();
  at->second = up;
}

void HostStack::take(const netlink::Neighbor& neighbor) {
  neighbors_.learn(neighbor);
  if (asking_ != Asking::Nothing) return;
  if (neighbors_.changed()) on_change_();
  if (neighbors_.has_gaps()) ask_neighbors();
}

void HostStack::take(const netlink::Address& address) {
  Twin* const twin = twin_of(address.link);
  if (twin == nullptr) return;
  if (address.gone) {
    // Routes that had it as their source go silently as well.
    twin->dumped.erase(address.address);
    if (twin->addresses.erase(address.address) != 0) ask_all();
  } else {
    twin->addresses[address.address] = twin->dumped[address.address] = address.protocol;
  }
  if (asking_ == Asking::Nothing) on_change_();
  settle_addresses(*twin);
}

}  // namespace sluice::control
