#include "control/host_interface.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>

#include "control/descriptor.h"

namespace sluice::control {
namespace {

ifreq request_for(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  return request;
}

net::Error failed(const std::string& name, std::string_view what) {
  return net::Error{fmt::format("hostInterface \"{}\": {}: {}", name, what, std::strerror(errno))};
}

}  // namespace

net::Result<std::unique_ptr<HostInterface>> HostInterface::open(const HostInterfaceSpec& spec) {
  std::unique_ptr<HostInterface> interface(new HostInterface(spec));
  if (auto attached = interface->attach(); !attached) return attached.error();
  if (auto applied = interface->apply(); !applied) return applied.error();
  return interface;
}

net::Status<> HostInterface::attach() {
  descriptor_ = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (descriptor_ < 0) return failed(spec_.name, "/dev/net/tun cannot be opened (modprobe tun)");
  new_ = if_nametoindex(spec_.name.c_str()) == 0;
  ifreq request = request_for(spec_.name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(descriptor_, TUNSETIFF, &request) != 0) {
    return failed(spec_.name, errno == EINVAL
                                  ? "there is an interface of this name that is no TAP device; choose another"
                              : errno == EBUSY ? "another program holds this TAP device"
                                               : "cannot be made (CAP_NET_ADMIN is needed)");
  }
  if (ioctl(descriptor_, TUNSETPERSIST, 1) != 0) return failed(spec_.name, "cannot be kept");
  index_ = static_cast<int>(if_nametoindex(spec_.name.c_str()));
  return net::Done{};
}

net::Status<> HostInterface::apply() {
  const Descriptor control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (control.number() < 0) return failed(spec_.name, "socket");
  ifreq request = request_for(spec_.name);
  // Setting the one that it has makes the kernel forget all its neighbours, permanent ones too.
  const bool same = ioctl(control.number(), SIOCGIFHWADDR, &request) == 0 &&
                    std::memcmp(request.ifr_hwaddr.sa_data, spec_.mac.bytes.data(), spec_.mac.bytes.size()) == 0;
  request = request_for(spec_.name);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, spec_.mac.bytes.data(), spec_.mac.bytes.size());
  if (!same && ioctl(control.number(), SIOCSIFHWADDR, &request) != 0) {
    return failed(spec_.name, "its MAC address cannot be set");
  }
  request = request_for(spec_.name);
  request.ifr_mtu = spec_.mtu;
  if (ioctl(control.number(), SIOCSIFMTU, &request) != 0) return failed(spec_.name, "its MTU cannot be set");
  request = request_for(spec_.name);
  if (ioctl(control.number(), SIOCGIFFLAGS, &request) != 0) return failed(spec_.name, "its flags cannot be read");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(control.number(), SIOCSIFFLAGS, &request) != 0) return failed(spec_.name, "it cannot be set up");
  return net::Done{};
}

net::Status<> HostInterface::change(const HostInterfaceSpec& spec) {
  const HostInterfaceSpec before = spec_;
  spec_.mac = spec.mac;
  spec_.mtu = spec.mtu;
  auto applied = apply();
  if (!applied) spec_ = before;
  return applied;
}

void HostInterface::remove() { (void)ioctl(descriptor_, TUNSETPERSIST, 0); }

HostInterface::~HostInterface() {
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace sluice::control
