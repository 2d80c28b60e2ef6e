"""What people say of single endpoints: weights (the annotation sluice.dev/weights) and drains (docs/api.md). In the
objects of a comparison the drains are one more object, of kind Drains, which the router gets by another way."""

import json

from wire import addr, text

DRAINS = ("Drains", "", "by-hand")


def drains_object(drains):
    """`drains`: pairs of an endpoint's name and whether hard."""
    entries = [{"endpoint": endpoint, "hard": hard} for endpoint, hard in drains]
    return {"kind": "Drains", "metadata": {"name": "by-hand"}, "drains": entries}


class Drains:
    def __init__(self, objects):
        self.entries = [(e["endpoint"], e["hard"]) for e in objects.get(DRAINS, {"drains": []})["drains"]]

    def of(self, namespace, pod, address, port):
        """None, graceful or hard: the hardest of what covers the endpoint."""
        names = {text(address), f"{text(address)}:{port}" if len(address) == 4 else f"[{text(address)}]:{port}"}
        names |= {f"{namespace}/{pod}"} | ({pod} if namespace == "default" else set()) if pod else set()
        covering = [hard for name, hard in self.entries if name in names]
        return ("hard" if any(covering) else "graceful") if covering else None


class Weights:
    def __init__(self, service):
        given = service["metadata"].get("annotations", {}).get("sluice.dev/weights")
        self.of_address, self.of_pod, self.of_label = {}, {}, {}
        for name, weight in json.loads(given).items() if given else ():
            if "=" in name:
                self.of_label[name] = weight
                continue
            try:
                self.of_address[addr(name)] = weight
            except ValueError:
                self.of_pod[name] = weight

    def of(self, address, pod, labels):
        """The address says more than the pod, the pod more than a label."""
        for table, name in ((self.of_address, address), (self.of_pod, pod)):
            if name in table:
                return table[name]
        return min([self.of_label[f"{k}={v}"] for k, v in labels.items() if f"{k}={v}" in self.of_label], default=100)
