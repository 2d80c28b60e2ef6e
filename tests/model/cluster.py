"""A small cluster and its life: the objects that are configured, and random changes to them.

    clients ── 192.0.2.0/24 ── a [router] b ── 192.168.0.0/24 ── node1 (VXLAN)   pods 10.244.34.0/26
               2001:db8:2::/64     │ c         2001:db8:a::/64   node2 (IPIP)    pods 10.245.40.0/26
                                   │                             node3 (direct)  pods 10.246.1.0/26, fd00:10:246::/122
                                 a pod                           node4 (behind .254, VXLAN) pods 10.244.99.0/26
                                                                 .21 and .22: ends of static tunnels

Every neighbour is static: address resolution is no part of the model.
"""

import copy
import json

import direct_return
from by_hand import DRAINS, drains_object
from tables import vtep_mac
from wire import addr

GATEWAY = ("GatewayConfiguration", "", "default")
OUTSIDE = ["192.0.2.10"] + [f"{net}.{i}" for net in ("203.0.113", "198.51.100") for i in (1, 2, 3, 5, 70, 90, 130, 200)]
OUTSIDE6 = ["2001:db8:2::10"] + [f"2001:db8:ff::{i:x}" for i in range(1, 9)] + ["2001:db8:ff:1::1"]
PODS = {
    "node1": [f"10.244.34.{i}" for i in range(1, 10)],
    "node2": [f"10.245.40.{i}" for i in range(1, 8)],
    "node3": [f"10.246.1.{i}" for i in range(1, 8)],
    "node4": [f"10.244.99.{i}" for i in range(1, 5)],
    "gw": ["10.246.0.5"],
}
PODS6 = {"node3": [f"fd00:10:246::{i:x}" for i in range(1, 8)], "gw": ["fd00:10:246:1::5"]}
UNDERLAY = {"node1": "192.168.0.11", "node2": "192.168.0.12", "node3": "192.168.0.13", "node4": "198.18.0.14"}
BEHIND_STATIC = ["10.10.0.1", "10.10.3.7", "10.20.0.1", "10.20.9.9"]
OWN = ["192.0.2.1", "192.168.0.1"]
IN_HOST_NETWORK = {"node1": ["192.168.0.11"], "node3": ["192.168.0.13"], "gw": ["192.168.0.1"]}
IN_HOST_NETWORK6 = {"node3": ["2001:db8:a::13"]}

DIRECT_NODES = ("gw", "node1", "node3")  # of services with direct server return
HOST_PORTS = [9000, 9001, 30010]

TIMEOUTS = {  # all of them lie between two time steps, see run.py
    "tcpSynSent": "25s", "tcpSynRecv": "15s", "tcpEstablished": "65s", "tcpFinWait": "25s", "tcpCloseWait": "35s",
    "tcpLastAck": "15s", "tcpTimeWait": "25s", "tcpClose": "15s", "udp": "15s", "udpStream": "45s", "icmp": "15s",
    "generic": "55s",
}  # fmt: skip

ROUTES = [
    {"destination": "203.0.113.64/28", "type": "blackhole"},
    {"destination": "198.51.100.128/26", "type": "unreachable"},
    {"destination": "203.0.113.192/26", "type": "prohibit"},
    {"destination": "2001:db8:ff:1::/64", "type": "prohibit"},
    {"destination": "2001:db8:ff::8/128", "type": "unreachable"},
    {"destination": "10.10.0.0/16", "tunnel": "one"},
    {"destination": "10.20.0.0/16", "tunnel": "two"},
    {"destination": "198.51.100.0/29", "nextHops": [{"via": "192.0.2.10"}, {"via": "192.0.2.254"}]},
]
TUNNELS = [
    {"name": "one", "type": "vxlan", "remote": "192.168.0.21", "local": "192.168.0.1",
     "remoteMAC": "02:00:00:00:0a:01"},
    {"name": "two", "type": "ipip", "remote": "192.168.0.22", "local": "192.168.0.1", "mtu": 1400},
]  # fmt: skip


# Modes with the names that they look at; no Node of this cluster has podCIDRs.
DETECT_LOCAL = [
    ("ClusterCIDR", "", ""), ("ClusterCIDR", "", ""), ("NodeCIDR", "", ""), ("BridgeInterface", "bridgeInterface", "un"),
    ("BridgeInterface", "bridgeInterface", "pod"), ("InterfaceNamePrefix", "interfaceNamePrefix", "u"),
]  # fmt: skip


def neighbor(interface, address, last):
    return {"interface": interface, "address": address, "mac": f"02:00:00:00:00:{last}"}


def gateway():
    interfaces = [
        {"name": "up", "device": "net_ring_a", "mac": "02:00:00:00:00:0a", "role": "uplink", "mtu": 1500,
         "addresses": ["192.0.2.1/24", "2001:db8:2::1/64"], "gateway": {"v4": "192.0.2.254", "v6": "2001:db8:2::fe"}},
        {"name": "un", "device": "net_ring_b", "mac": "02:00:00:00:00:0b", "role": "uplink", "mtu": 1500,
         "addresses": ["192.168.0.1/24", "2001:db8:a::1/64"]},
        {"name": "pod", "device": "net_ring_c", "mac": "02:00:00:00:00:0c", "role": "workload",
         "podAddresses": PODS["gw"] + PODS6["gw"], "podMAC": "02:00:00:00:02:05"},
    ]  # fmt: skip
    neighbors = [neighbor("up", "192.0.2.10", "10"), neighbor("up", "192.0.2.254", "fe"),
                 neighbor("up", "2001:db8:2::10", "10"), neighbor("up", "2001:db8:2::fe", "fe"),
                 neighbor("un", "2001:db8:a::13", "13")]  # fmt: skip
    neighbors += [neighbor("un", f"192.168.0.{last}", last) for last in ("11", "12", "13", "21", "22")]
    neighbors.append(neighbor("un", "192.168.0.254", "fd"))
    spec = {
        "nodeName": "gw", "localNodeNames": ["gw", "node3"], "interfaces": interfaces, "neighbors": neighbors,
        "cluster": {"clusterCIDRs": ["10.244.0.0/14", "fd00:10:246::/48"],
                    "serviceCIDRs": ["10.96.0.0/16", "fd00:10:96::/112"]},
        "routes": [{"destination": "198.18.0.0/24", "via": "192.168.0.254"}, *ROUTES[5:7]],
        "tunnels": TUNNELS, "proxy": {}, "overlay": {"reassembleOuter": False}, "snat": {},
        "icmp": {"errorRatePerSecond": 1000000},
        # Windows are not the model's business.
        "conntrack": {"max": 65536, "timeouts": TIMEOUTS},
    }  # fmt: skip
    head = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "default"}}
    return {**head, "spec": spec}


def node(name, addresses, **annotations):
    notes = {f"projectcalico.org/{key}": value for key, value in annotations.items()}
    labels = {"topology.kubernetes.io/zone": "a"} if name == "gw" else {}
    entries = [{"type": "InternalIP", "address": address} for address in addresses]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels, "annotations": notes},
            "status": {"addresses": entries}}  # fmt: skip


def pool(name, cidr, **spec):
    return {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name},
            "spec": {"cidr": cidr, **spec}}  # fmt: skip


def block(owner, cidr):
    name = f"{owner}-{cidr}".replace(".", "-").replace("/", "-").replace(":", "-")
    return {"apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity", "metadata": {"name": name},
            "spec": {"node": owner, "cidr": cidr, "state": "confirmed"}}  # fmt: skip


def pod_name(address):
    return "p" + address.replace(".", "-").replace(":", "-").strip("-")


def key_of(o):
    return o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]


class Cluster:
    most_services = 10

    def __init__(self, random):
        self.random = random
        objects = [
            gateway(),
            node("gw", ["192.168.0.1"], IPv4Address="192.168.0.1/24", IPv4VXLANTunnelAddr="10.244.0.0",
                 IPv4IPIPTunnelAddr="10.245.0.0"),
            node("node1", ["192.168.0.11"]), node("node2", ["192.168.0.12"]),
            node("node3", ["192.168.0.13", "2001:db8:a::13"]), node("node4", ["198.18.0.14"]),
            pool("vxlan", "10.244.0.0/16", vxlanMode="Always"), pool("ipip", "10.245.0.0/16", ipipMode="Always"),
            pool("direct", "10.246.0.0/16"), pool("direct-v6", "fd00:10:246::/48"),
            block("gw", "10.244.0.0/26"), block("gw", "10.245.0.0/26"), block("gw", "10.246.0.0/26"),
            block("gw", "fd00:10:246:1::/122"), block("node1", "10.244.34.0/26"), block("node2", "10.245.40.0/26"),
            block("node3", "10.246.1.0/26"), block("node3", "fd00:10:246::/122"), block("node4", "10.244.99.0/26"),
        ]  # fmt: skip
        self.objects = {key_of(o): o for o in objects}
        for i in range(self.most_services - 2):
            for o in self.new_service(f"svc{i}"):
                self.objects[key_of(o)] = o

        for number in range(len(HOST_PORTS)):
            for o in self.host_port(number):
                self.objects[key_of(o)] = o

    # --- changes ------------------------------------------------------------------------------------------

    def change(self):
        """A random delta: objects to set, keys to delete. It is applied to `objects` as well."""
        kinds = [
            (30, self.change_endpoints), (14, self.change_service), (6, self.replace_service), (5, self.delete_service),
            (8, self.add_service), (16, self.change_gateway), (8, self.change_pool), (4, self.toggle_block),
            (3, self.toggle_node), (6, self.change_routes), (20, self.change_drains), (6, self.change_host_port),
        ]  # fmt: skip
        change = self.random.choices([each for _, each in kinds], [weight for weight, _ in kinds])[0]
        upsert, delete = change()
        for o in upsert:
            self.objects[key_of(o)] = o
        for key in delete:
            self.objects.pop(key, None)
        return upsert, delete

    def services(self):
        return sorted(key for key in self.objects if key[0] == "Service")

    def slices_of(self, name):
        return [key for key in sorted(self.objects) if key[0] == "EndpointSlice" and key[2].startswith(name + "-")]

    def change_endpoints(self):
        if not self.services():
            return [], []
        name = self.random.choice(self.services())[2]
        service = self.objects["Service", "default", name]
        slices = self.slices(name, service)
        gone = set(self.slices_of(name)) - {key_of(o) for o in slices}
        return slices, sorted(gone)

    def add_service(self):
        free = [f"svc{i}" for i in range(self.most_services) if ("Service", "default", f"svc{i}") not in self.objects]
        return (self.new_service(self.random.choice(free)), []) if free else ([], [])

    def delete_service(self):
        if len(self.services()) < 3:
            return [], []
        key = self.random.choice(self.services())
        # Sometimes its slices outlive it.
        return [], [key] + (self.slices_of(key[2]) if self.random.random() < 0.7 else [])

    def replace_service(self):
        if not self.services():
            return [], []
        name = self.random.choice(self.services())[2]
        new = self.new_service(name)
        return new, sorted(set(self.slices_of(name)) - {key_of(o) for o in new})

    def change_service(self):
        """One field of a service; its slices stay."""
        if not self.services():
            return [], []
        o = copy.deepcopy(self.objects[self.random.choice(self.services())])
        spec = o["spec"]
        what = self.random.randrange(6)
        if what == 0:
            spec["externalTrafficPolicy"] = self.random.choice(["Cluster", "Local"])
        elif what == 1:
            spec["internalTrafficPolicy"] = self.random.choice(["Cluster", "Local"])
        elif what == 2:
            self.set_affinity(spec)
        elif what == 3:
            self.set_ranges(spec)
        elif what == 4:
            self.set_weights(o)
        else:
            number = int(o["metadata"]["name"][3:])
            spec["externalIPs"] = [] if spec.get("externalIPs") else self.external_ips(number, spec)
        if spec["type"] == "ClusterIP" and not spec.get("externalIPs"):
            spec.pop("externalTrafficPolicy", None)
        return [o], []

    def change_gateway(self):
        o = copy.deepcopy(self.objects[GATEWAY])
        spec, pick = o["spec"], self.random.choice
        choices = {
            "proxy": {
                "masqueradeAll": [False, True], "allowExternalClusterIP": [False, True],
                "serviceLoopPrevention": ["Drop", "Reject", "Disabled"], "sourceRangesForInCluster": [True, False],
                "noEndpoints": ["Reject", "Drop"], "vipEchoReply": [False, True], "onBackendRemoved": ["Keep", "Reset"],
                "externalPolicyLocalScope": ["Node", "Cluster"],
                "nodePortAddresses": [["primary"], ["192.168.0.0/16"], ["0.0.0.0/0", "::/0"], []],
            },
            "overlay": {
                "outerDF": ["Inherit", "Set", "Clear"], "dscp": ["Copy", 46], "ecn": ["Normal", "Compatibility"],
                "strictVxlanFlags": [False, True], "mtu": ["auto", 1400],
                "externalNodesCIDRs": [[], ["192.168.0.32/28"]],
            },
            "snat": {
                "portRange": ["32768-65535", "40000-49999"],
                "natOutgoingExclusions": ["IPPoolsOnly", "IPPoolsAndHostIPs"],
                "mapping": ["Symmetric", "EndpointIndependent"],
            },
            "icmp": {"errorSource": ["vip", "original"]},
            "conntrack": {"tcpLoose": [True, False], "tcpBeLiberal": [False, True]},
            "": {"localNodeNames": [["gw"], ["gw", "node3"], ["gw", "node1"]]},
        }  # fmt: skip
        if self.random.random() < 0.1:
            mode, field, name = pick(DETECT_LOCAL)
            spec["cluster"]["detectLocalMode"] = mode
            spec["cluster"]["detectLocal"] = {field: name} if field else {}
            return [o], []
        section = self.random.choices(list(choices), [10, 6, 2, 1, 1, 3])[0]
        field = pick(sorted(choices[section]))
        (spec[section] if section else spec)[field] = pick(choices[section][field])
        if self.random.random() < 0.1:
            pick(spec["interfaces"][:2])["mtu"] = pick([1500, 1500, 1400])
        return [o], []

    def change_routes(self):
        o = copy.deepcopy(self.objects[GATEWAY])
        spec = o["spec"]
        if self.random.random() < 0.15:
            gateways = spec["interfaces"][0]
            gateways["gateway"] = {} if gateways["gateway"] else {"v4": "192.0.2.254", "v6": "2001:db8:2::fe"}
            return [o], []
        route = self.random.choice(ROUTES)
        if route in spec["routes"]:
            spec["routes"].remove(route)
        else:
            spec["routes"].append(route)
        return [o], []

    def change_pool(self):
        key = self.random.choice(sorted(key for key in self.objects if key[0] == "IPPool"))
        o = copy.deepcopy(self.objects[key])
        spec = o["spec"]
        mode = {"vxlan": "vxlanMode", "ipip": "ipipMode", "direct-v6": "vxlanMode"}.get(key[2])
        if mode is None or self.random.random() < 0.5:
            spec["natOutgoing"] = not spec.get("natOutgoing", False)
        else:
            spec[mode] = self.random.choice(["Always", "Always", "CrossSubnet", "Never"])
        return [o], []

    def toggle_block(self):
        o = self.random.choice([block("node3", "10.244.34.9/32"), block("node2", "10.245.40.0/26"),
                                block("node3", "10.246.1.0/26"), block("node1", "10.246.1.7/32")])  # fmt: skip
        return ([], [key_of(o)]) if key_of(o) in self.objects else ([o], [])

    def toggle_node(self):
        o = self.random.choice([node("node4", ["198.18.0.14"]), node("node2", ["192.168.0.12"])])
        return ([], [key_of(o)]) if key_of(o) in self.objects else ([o], [])

    def change_drains(self):
        drains = {e["endpoint"]: e["hard"] for e in self.objects.get(DRAINS, {"drains": []})["drains"]}
        if self.random.random() < 0.1:
            drains.clear()
        for _ in range(2):
            if len(drains) > 3 or (drains and self.random.random() < 0.5):
                del drains[self.random.choice(sorted(drains))]
        for _ in range(self.random.choice([1, 1, 2, 3])):
            drains[self.any_endpoint()] = self.random.random() < 0.5
        return [drains_object(drains.items())], []

    def any_endpoint(self):
        """By one of its names."""
        hosts = PODS if self.random.random() < 0.7 else PODS6
        address = self.random.choice([a for addresses in hosts.values() for a in addresses])
        slices = [o for key, o in sorted(self.objects.items()) if key[0] == "EndpointSlice" and o["endpoints"]]
        port = 9000
        if slices and self.random.random() < 0.9:
            chosen = self.random.choice(slices)
            address = self.random.choice(chosen["endpoints"])["addresses"][0]
            port = self.random.choice(chosen["ports"])["port"]
        with_port = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        pod = pod_name(address) if ":" in address else "default/" + pod_name(address)  # either, but one for each pod
        return self.random.choice([address, with_port, pod])

    def change_host_port(self):
        """Of one of three pods; each has a port of its own at the machine, one of them that of a node port."""
        pods = sorted(key for key in self.objects if key[0] == "Pod")
        if pods and self.random.random() < 0.2:
            return [], [self.random.choice(pods)]
        return self.host_port(self.random.randrange(len(HOST_PORTS))), []

    def host_port(self, number):
        owner, v4 = [("gw", "10.246.0.5"), ("node3", "10.246.1.3"), ("node1", "10.244.34.2")][number]
        ips = [v4] + {"gw": PODS6["gw"], "node3": PODS6["node3"][2:3]}.get(owner, [])
        entry = {"containerPort": self.random.choice([8080, 9090]), "hostPort": HOST_PORTS[number],
                 "protocol": self.random.choice(["TCP", "UDP", "SCTP"])}  # fmt: skip
        if self.random.random() < 0.3:
            entry["hostIP"] = self.random.choice(["0.0.0.0", *OWN])
        spec = {"nodeName": owner, "containers": [{"name": "c", "ports": [entry, {"containerPort": 1}]}]}
        if self.random.random() < 0.1:
            spec["hostNetwork"] = True
        status = {"phase": self.random.choice(["Running"] * 6 + ["Failed"]), "podIPs": [{"ip": ip} for ip in ips]}
        return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": pod_name(v4)},
                 "spec": spec, "status": status}]  # fmt: skip

    # --- services -----------------------------------------------------------------------------------------

    def set_affinity(self, spec):
        spec.pop("sessionAffinityConfig", None)
        if self.random.random() < 0.5:
            spec["sessionAffinity"] = "None"
            return
        # An eighth of each ends between two time steps as well: what another worker may forget too early.
        spec["sessionAffinity"] = "ClientIP"
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": self.random.choice([15, 25, 40])}}

    def set_weights(self, o):
        notes = o["metadata"].setdefault("annotations", {})
        notes.pop("sluice.dev/weights", None)
        if self.random.random() < 0.5:
            return
        addresses = [a for pods in (PODS, PODS6) for each in pods.values() for a in each]
        chosen = self.random.sample(addresses, self.random.randrange(12))
        names = [a if self.random.random() < 0.5 else pod_name(a) for a in chosen] + ["track=canary"]
        notes["sluice.dev/weights"] = json.dumps({name: self.random.choice([0, 0, 5, 100]) for name in names})

    def set_ranges(self, spec):
        sets = [[], [], ["203.0.113.0/26"], [" 198.51.100.0/24", "10.244.0.0/14"], ["2001:db8:ff::/125"],
                ["192.0.2.0/24", "2001:db8:2::/64"]]  # fmt: skip
        spec["loadBalancerSourceRanges"] = self.random.choice(sets) if spec["type"] == "LoadBalancer" else []

    @staticmethod
    def external_ips(number, spec):
        out = []
        for address in spec["clusterIPs"]:
            out.append(f"198.18.2.{number + 1}" if "." in address else f"2001:db8:e::{number + 1:x}")
        return out

    def new_service(self, name):
        random, number = self.random, int(name[3:])
        kind = random.choice(["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"])
        families = random.choice([[4], [4], [4], [6], [4, 6], [6, 4]])
        ips = [f"10.96.0.{number + 1}" if family == 4 else f"fd00:10:96::{number + 1:x}" for family in families]
        all_ports = [("http", "TCP", 80), ("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("syslog", "UDP", 514),
                     ("sigtran", "SCTP", 2905)]  # fmt: skip
        ports = []
        for i, (port_name, protocol, port) in enumerate(all_ports):
            if random.random() < 0.5 or (i == 1 and not ports):
                entry = {"name": port_name, "protocol": protocol, "port": port, "targetPort": port + 8000}
                if kind != "ClusterIP" and random.random() < 0.8:
                    entry["nodePort"] = 30000 + 10 * number + i
                ports.append(entry)
        spec = {"type": kind, "clusterIP": ips[0], "clusterIPs": ips, "ports": ports,
                "ipFamilies": [f"IPv{family}" for family in families]}  # fmt: skip
        self.set_affinity(spec)
        self.set_ranges(spec)
        if random.random() < 0.3:
            spec["externalIPs"] = self.external_ips(number, spec)
        if random.random() < 0.3:
            spec["internalTrafficPolicy"] = "Local"
        if random.random() < 0.4 and (kind != "ClusterIP" or spec.get("externalIPs")):
            spec["externalTrafficPolicy"] = "Local"
        metadata = {"namespace": "default", "name": name, "labels": {}}
        o = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
        if random.random() < 0.03:
            o["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "other"
        if random.random() < 0.5:
            self.set_weights(o)
        if (kind == "LoadBalancer" or spec.get("externalIPs")) and random.random() < 0.4:
            metadata.setdefault("annotations", {})["sluice.dev/forwarding"] = "dsr"
        if kind == "LoadBalancer":
            ingress = []
            for family in families:
                ip = f"198.18.1.{number + 1}" if family == 4 else f"2001:db8:1b::{number + 1:x}"
                ingress.append({"ip": ip, "ipMode": "Proxy"} if random.random() < 0.05 else {"ip": ip})
            o["status"] = {"loadBalancer": {"ingress": ingress}}
        return [o, *self.slices(name, o)]

    def slices(self, name, service):
        out = []
        for family in service["spec"]["ipFamilies"]:
            pods, nodes = (PODS, IN_HOST_NETWORK) if family == "IPv4" else (PODS6, IN_HOST_NETWORK6)
            hosts = [(owner, a) for each in (pods, nodes) for owner, addresses in each.items() for a in addresses]
            labels = {"track": "canary"} if self.random.random() < 0.2 else {}
            direct = direct_return.wants(service)
            for part in range(1 if direct else self.random.choice([1, 1, 1, 2])):
                chosen = self.random.sample(hosts, min(len(hosts), self.random.choice([0, 1, 2, 2, 3, 3, 5, 7])))
                if direct:  # a node shows which endpoint was chosen, if it has one; and it stays
                    chosen = [(owner, self.random.choice(pods[owner])) for owner in DIRECT_NODES
                              if owner in pods and self.random.random() < 0.6]  # fmt: skip
                out.append(self.slice(name, service, family, part, chosen, labels))
        return out

    def slice(self, name, service, family, part, chosen, labels):
        random = self.random
        hints = random.random() < 0.15
        shift = 100 * random.randrange(2)  # of a rollout that changes target ports
        endpoints = []
        for owner, address in chosen:
            state = random.choices(["ready", "absent", "unready", "terminating", "gone"], [70, 10, 7, 9, 4])[0]
            conditions = {
                "ready": {"ready": True}, "absent": {}, "unready": {"ready": False},
                "terminating": {"ready": False, "serving": True, "terminating": True},
                "gone": {"ready": False, "serving": False, "terminating": True},
            }[state]  # fmt: skip
            e = {"addresses": [address], "nodeName": owner, "conditions": conditions,
                 "targetRef": {"kind": "Pod", "namespace": "default", "name": pod_name(address)}}  # fmt: skip
            if hints:
                e["hints"] = random.choice([{"forZones": [{"name": "a"}]}, {"forZones": [{"name": "b"}]},
                                            {"forNodes": [{"name": "gw"}], "forZones": [{"name": "a"}]}])  # fmt: skip
            endpoints.append(e)
        ports = [
            {"name": p["name"], "protocol": p["protocol"], "port": p["targetPort"] + shift}
            for p in service["spec"]["ports"]
        ]  # fmt: skip
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
                "metadata": {"namespace": "default", "name": f"{name}-{family.lower()}-{part}",
                             "labels": {"kubernetes.io/service-name": name, **labels}},
                "ports": ports, "endpoints": endpoints}  # fmt: skip


HOME = {addr(address): owner for pods in (PODS, PODS6) for owner, addresses in pods.items() for address in addresses}
OWN_VTEP = vtep_mac("gw")
