"""Ingress objects over the API: what is listened for, what rules lead to, and what a change of one of very many costs."""

from __future__ import annotations

import json

import pytest

from netns import Lab, wait_until
from objects import service_with_endpoints, with_items
from router import Json
from two_hosts import ROUTER_LEFT, TwoHosts

CLASS = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "gw"},
         "spec": {"controller": "sluice.dev/ingress"}}
LISTENS = {"enabled": True, "addresses": [ROUTER_LEFT], "http": [80], "https": [443]}


@pytest.fixture
def hosts(lab: Lab) -> TwoHosts:
    return TwoHosts(lab, ipv6=False)


def ingress(name: str, host: str, paths: dict[str, str], **spec: Json) -> Json:
    """`paths`: path to service."""
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "default", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"ingressClassName": "gw", **spec,
                     "rules": [{"host": host, "http": {"paths": [
                         {"path": path, "pathType": "Prefix",
                          "backend": {"service": {"name": service, "port": {"number": 80}}}}
                         for path, service in paths.items()]}}]}}


def documents(hosts: TwoHosts, *items: Json) -> Json:
    document = with_items(hosts.document(ingress=LISTENS), CLASS, *items)
    document["items"] += service_with_endpoints("web", "10.96.0.1", 80, 8080,
                                                [("10.2.0.11", "far"), ("10.2.0.12", "far")])
    return document


def patch(hosts: TwoHosts, *upsert: Json) -> Json:
    reply = hosts.router.request("PATCH", "/v1/config", json.dumps({"kind": "Delta", "upsert": list(upsert)}))
    assert reply.status == 200, reply.text
    return reply.json


def test_ING16_rules_and_their_endpoints_over_the_api(hosts: TwoHosts) -> None:
    router = hosts.start().router
    router.apply(documents(hosts, ingress("a", "www.example.com", {"/": "web", "/late": "late"}),
                           ingress("foreign", "other.com", {"/": "web"}, ingressClassName="nginx")))
    entries = router.get("/v1/ingress")["ingresses"]
    assert entries == [{"name": "default/a", "addresses": [ROUTER_LEFT], "tlsPassthrough": False, "rules": [
        {"host": "www.example.com", "path": "/", "pathType": "Prefix", "target": "default/web:80", "endpoints": 2},
        {"host": "www.example.com", "path": "/late", "pathType": "Prefix", "target": "default/late:80",
         "endpoints": 0}]}]
    listening = {entry["name"]: entry["frontends"] for entry in router.get("/v1/services")["services"]}
    assert listening["ingress:80"] == [{"kind": "LoadBalancer", "address": ROUTER_LEFT, "port": 80}]
    assert [frontend["port"] for frontend in listening["default/web:main"]] == [80], "hidden frontends are not shown"

    patch(hosts, *service_with_endpoints("late", "10.96.0.2", 80, 8080, [("10.2.0.13", "far")]))
    assert router.get("/v1/ingress")["ingresses"][0]["rules"][1]["endpoints"] == 1
    lines = router.control("get", "ingress").stdout.splitlines()
    assert lines[0].split() == ["INGRESS", "HOST", "PATH", "TYPE", "TARGET", "ENDPOINTS", "ADDRESSES"]
    assert lines[1].split() == ["default/a", "www.example.com", "/", "Prefix", "default/web:80", "2", ROUTER_LEFT]


def test_ING16_an_address_of_a_service_is_refused(hosts: TwoHosts) -> None:
    router = hosts.start().router
    router.apply(documents(hosts))
    taken = service_with_endpoints("taken", "10.96.0.3", 443, 8443, [("10.2.0.11", "far")], externalIPs=[ROUTER_LEFT])
    reply = router.request("PATCH", "/v1/config", json.dumps({"kind": "Delta", "upsert": taken}))
    assert reply.status == 422
    assert any("spec.ingress" in fault["message"] for fault in reply.faults()), reply.text


def test_ING16_answers_arp_for_addresses_of_its_subnets(hosts: TwoHosts) -> None:
    router = hosts.start().router
    listens = {**LISTENS, "addresses": ["10.1.0.77", "203.0.113.7"]}
    router.apply(with_items(hosts.document(ingress=listens), CLASS))

    def neighbor() -> str:
        hosts.left.run("ping", "-c", "1", "-W", "1", "10.1.0.77", check=False)
        return hosts.left.run("ip", "neigh", "show", "10.1.0.77").stdout
    wait_until(lambda: hosts.mac("left0") in neighbor(), 10, "the router to answer for 10.1.0.77")
    assert {"10.1.0.77/32", "203.0.113.7/32"} <= {route["destination"] for route in router.routes()
                                                  if route["type"] == "service"}
    router.apply(with_items(hosts.document(), CLASS))
    hosts.left.ip("neigh flush all")
    wait_until(lambda: "FAILED" in neighbor(), 15, "nobody to answer for 10.1.0.77")


def test_SCALE5_a_change_of_one_of_many_ingresses(hosts: TwoHosts) -> None:
    """50 000 rules: what is planned, compiled and published for one of them is that one's."""
    router = hosts.start().router
    many = [ingress(f"i{number}", f"host-{number}.example.com", {f"/path/{path}": "web" for path in range(5)})
            for number in range(10000)]
    router.apply(documents(hosts, *many))
    took = []
    for turn in range(20):
        answer = patch(hosts, ingress(f"i{turn * 97}", f"host-{turn * 97}.example.com", {"/": "web", f"/new{turn}": "web"}))
        took.append(answer["applyMillis"])
    print(f"a change of one of 10 000 Ingresses: median {sorted(took)[10]:.1f} ms, worst {max(took):.1f} ms")
    assert sorted(took)[10] <= 50, took
