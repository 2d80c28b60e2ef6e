"""Host ports of Pods: like a node port that leads to this one pod (docs/config.md, Pod)."""

from wire import addr


def host_ports(objects, local_nodes, own):
    """Each as protocol, addresses and port of the machine, and what it leads to: name of the pod, address and port."""
    for (kind, ns, name), o in sorted(objects.items()):
        if kind != "Pod" or o["spec"].get("hostNetwork") or o["spec"].get("nodeName") not in local_nodes:
            continue
        if o.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        for pod_ip in o["status"]["podIPs"]:
            address = addr(pod_ip["ip"])
            for port in (port for container in o["spec"]["containers"] for port in container["ports"]):
                if "hostPort" not in port:
                    continue
                here = [each for each in own if len(each) == len(address)]
                if port.get("hostIP", "0.0.0.0") != "0.0.0.0":
                    here = [each for each in here if each == addr(port["hostIP"])]
                if not here:
                    continue
                yield port.get("protocol", "TCP"), here, port["hostPort"], (ns, name), address, port["containerPort"]
