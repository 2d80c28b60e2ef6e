"""Containers of a real runtime, podman with runc, attached by sluice-cni."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from containers import Podman
from netns import Lab, wait_until
from objects import service_with_endpoints
from pods import POD_MTU, PodNode, two_nodes
from probes import listening

SERVICE = "10.96.0.10"


class Site:
    """Containers on node1, the pod `web` with a web server on node2, and a service in front of it."""

    def __init__(self, lab: Lab):
        self.near, self.far = two_nodes(lab)
        self.web = self.far.pod("web")
        self.server = self.web.namespace.start("/usr/bin/python3", "-m", "http.server", "8080", "--bind",
                                               "0.0.0.0", "--directory", str(self.page(lab)), name="web")
        wait_until(lambda: listening(self.web.namespace, 8080), 10, "the web server")
        for node in (self.near, self.far):
            self.apply(node)
        self.podman = Podman(self.near.router, POD_MTU)

    @staticmethod
    def page(lab: Lab):
        folder = lab.directory / "site"
        folder.mkdir()
        (folder / "index.html").write_text("the page of the far node\n")
        return folder

    def apply(self, node: PodNode) -> None:
        for item in service_with_endpoints("web", SERVICE, 80, 8080, [(self.web.address, "node2")]):
            kind, name = item["kind"], item["metadata"]["name"]
            reply = node.router.request("PUT", f"/v1/{kind}/default/{name}", json.dumps(item))
            assert reply.status == 200, reply.text


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    made = Site(lab)
    yield made
    made.podman.close()


def test_a_container_fetches_a_page_from_another_node(site: Site) -> None:
    site.podman.start("client", "sleep", "300")
    address = site.podman.inspect("client")["NetworkSettings"]["Networks"]["sluice-test"]["IPAddress"]
    assert address.startswith("10.244.1.")
    fetch = ("curl", "-sS", "--max-time", "5", f"http://{SERVICE}/")
    assert site.podman.inside("client", *fetch) == "the page of the far node\n"
    assert f"{address} - " in site.server.stderr(), "the server sees the container itself"

    # The router goes and comes: what is attached is attached.
    assert site.near.router.stop() == 0
    site.near.router.start()
    checked = site.podman.check("client")
    assert checked.returncode == 0, checked.stdout
    assert site.podman.inside("client", *fetch) == "the page of the far node\n"

    site.podman.remove("client")
    assert site.near.router.get("/v1/ipam/handles")["handles"] == []
    assert site.near.router.get("/v1/config?kind=WorkloadEndpoint")["items"] == []


def test_containers_see_each_other(site: Site) -> None:
    for name in ("one", "two"):
        site.podman.start(name, "sleep", "300")
    address = site.podman.inspect("two")["NetworkSettings"]["Networks"]["sluice-test"]["IPAddress"]
    assert "2 received" in site.podman.inside("one", "ping", "-c", "2", "-i", "0.1", "-W", "2", address)
    for name in ("one", "two"):
        site.podman.remove(name)
