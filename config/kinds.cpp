#include "config/kinds.h"

#include <algorithm>
#include <array>

namespace sluice::config {
namespace {

constexpr std::array kinds{
    Kind{"GatewayConfiguration", "sluice.dev/v1", false, KindUse::Gateway},
    Kind{"ContentPolicy", "sluice.dev/v1", true, KindUse::ContentPolicy},
    Kind{"Node", "v1", false, KindUse::Node},
    Kind{"Service", "v1", true, KindUse::Service},
    Kind{"EndpointSlice", "discovery.k8s.io/v1", true, KindUse::EndpointSlice},
    Kind{"Pod", "v1", true, KindUse::Pod},
    // Calico's objects have the second form where its API server is not installed.
    Kind{"IPPool", "projectcalico.org/v3", false, KindUse::IpPool},
    Kind{"IPPool", "crd.projectcalico.org/v1", false, KindUse::IpPool},
    Kind{"IPAMConfiguration", "projectcalico.org/v3", false, KindUse::Ipam},
    Kind{"BlockAffinity", "projectcalico.org/v3", false, KindUse::BlockAffinity},
    Kind{"BlockAffinity", "crd.projectcalico.org/v1", false, KindUse::BlockAffinity},
    Kind{"WorkloadEndpoint", "projectcalico.org/v3", true, KindUse::WorkloadEndpoint},
    Kind{"ServiceCIDR", "networking.k8s.io/v1", false, KindUse::ServiceCidr},
    Kind{"ServiceCIDR", "networking.k8s.io/v1beta1", false, KindUse::ServiceCidr},
    Kind{"Namespace", "v1", false, KindUse::Namespace},
    Kind{"IPAddressPool", "metallb.io/v1beta1", true, KindUse::AddressPool},
    Kind{"L2Advertisement", "metallb.io/v1beta1", true, KindUse::L2Advertisement},

    Kind{"Secret", "v1", true, KindUse::Secret},
    Kind{"NetworkPolicy", "networking.k8s.io/v1", true, KindUse::Kept},
    Kind{"Ingress", "networking.k8s.io/v1", true, KindUse::Ingress},
    Kind{"IngressClass", "networking.k8s.io/v1", false, KindUse::IngressClass},
    Kind{"BGPConfiguration", "projectcalico.org/v3", false, KindUse::BgpConfiguration},
    Kind{"BGPConfiguration", "crd.projectcalico.org/v1", false, KindUse::BgpConfiguration},
    Kind{"BGPPeer", "projectcalico.org/v3", false, KindUse::BgpPeer},
    Kind{"BGPPeer", "crd.projectcalico.org/v1", false, KindUse::BgpPeer},
    Kind{"BGPFilter", "projectcalico.org/v3", false, KindUse::BgpFilter},
    Kind{"BGPFilter", "crd.projectcalico.org/v1", false, KindUse::BgpFilter},
    Kind{"IPAMBlock", "projectcalico.org/v3", false, KindUse::IpamBlock},
    Kind{"IPAMBlock", "crd.projectcalico.org/v1", false, KindUse::IpamBlock},
    Kind{"FelixConfiguration", "projectcalico.org/v3", false, KindUse::Felix},
    Kind{"FelixConfiguration", "crd.projectcalico.org/v1", false, KindUse::Felix},
    Kind{"BGPAdvertisement", "metallb.io/v1beta1", true, KindUse::BgpAdvertisement},
    Kind{"Community", "metallb.io/v1beta1", true, KindUse::CommunityList},
    Kind{"BFDProfile", "metallb.io/v1beta1", true, KindUse::BfdProfile},
    Kind{"BGPPeer", "metallb.io/v1beta1", true, KindUse::MetallbPeer},
    Kind{"BGPPeer", "metallb.io/v1beta2", true, KindUse::MetallbPeer},
};

bool is_letter(char c) { return c >= 'a' && c <= 'z'; }
bool is_letter_or_digit(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

// A label of any length.
bool is_label(std::string_view label) {
  return !label.empty() && is_letter_or_digit(label.front()) && is_letter_or_digit(label.back()) &&
         std::all_of(label.begin(), label.end(), [](char c) { return is_letter_or_digit(c) || c == '-'; });
}

}  // namespace

std::span<const Kind> all_kinds() { return kinds; }

const Kind* find_kind(std::string_view name, std::string_view api_version) {
  const auto* found = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) {
    return kind.name == name && kind.api_version == api_version;
  });
  return found == kinds.end() ? nullptr : found;
}

const Kind* find_kind_by_name(std::string_view name, bool prefer_namespaced) {
  const Kind* best = nullptr;
  for (const Kind& kind : kinds) {
    if (kind.name == name && (best == nullptr || kind.namespaced == prefer_namespaced)) best = &kind;
  }
  return best;
}

bool is_dns_subdomain(std::string_view name) {
  if (name.size() > 253) return false;
  while (true) {
    const size_t dot = name.find('.');
    if (!is_label(name.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    name.remove_prefix(dot + 1);
  }
}

bool is_dns_label(std::string_view name) { return name.size() <= 63 && is_label(name); }

bool is_dns_1035_label(std::string_view name) { return is_dns_label(name) && is_letter(name.front()); }

}  // namespace sluice::config
