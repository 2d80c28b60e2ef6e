"""The documents about the API say what it does: every real answer fits its schema, and the schema of
GatewayConfiguration has the same opinion of a document as the router."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import cluster as lab
from cluster import Cluster
from probes import curl
from router import PROJECT, SLUICECTL, Json

METHODS = ("get", "put", "patch", "post", "delete")


def strict(schema: Any) -> Any:
    """The schema as it is said, but nothing may be there that it does not name."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        if schema.get("type") == "object" and "properties" in schema:
            made.setdefault("additionalProperties", False)
        return made
    return [strict(item) for item in schema] if isinstance(schema, list) else schema


def check(document: Json, name: str, answer: Json) -> None:
    components = strict(document["components"])
    jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components}).validate(answer)


def schema_name(operation: Json, status: str = "200", media_type: str = "application/json") -> str:
    return operation["responses"][status]["content"][media_type]["schema"]["$ref"].rpartition("/")[2]


@pytest.fixture
def openapi(cluster: Cluster) -> Json:
    return cluster.gateway.get("/v1/openapi.json")


def test_API_the_document_is_sound(openapi: Json) -> None:
    assert openapi["openapi"] == "3.1.0"
    for name, schema in openapi["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema.get("type") == "object", name
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(openapi)))
    assert references <= set(openapi["components"]["schemas"])
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS and operation["summary"] and operation["x-access"] in ("read", "write")
            names = [parameter["name"] for parameter in operation["parameters"]]
            assert len(set(names)) == len(names)
            in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))


def test_API_every_answer_fits_its_schema(cluster: Cluster, openapi: Json) -> None:
    router = cluster.gateway
    curl(cluster.client, f"http://{lab.LOAD_BALANCER}/")
    router.request("PUT", "/v1/drains?endpoint=10.244.99.99")
    router.request("POST", "/v1/ipam/addresses", json.dumps({"handle": "schema", "families": ["IPv4"]}))
    checked = []
    for path, methods in openapi["paths"].items():
        if "get" not in methods:
            continue
        content = methods["get"]["responses"]["200"]["content"]
        real = path.format(kind="services", namespace="default", name="web", handle="schema")
        query = {"/v1/events": "?follow=false"}.get(path, "")
        if list(content) == ["text/event-stream"] or "application/x-pcapng" in content:
            continue  # test_tracing.py and test_events.py read them
        reply = router.request("GET", real + query)
        assert reply.status == 200, f"{path}: {reply.text}"
        if "$ref" in content.get("application/json", {}).get("schema", {}):
            check(openapi, schema_name(methods["get"]), reply.json)
            checked.append(path)
    assert len(checked) >= 15
    flows = router.get("/v1/conntrack")["flows"]
    assert flows, "a list without items says nothing about them"
    router.request("DELETE", "/v1/drains?endpoint=10.244.99.99")
    router.request("DELETE", "/v1/ipam/handles/schema")


@pytest.mark.changes_config
def test_API_answers_to_changes_fit_their_schemas(cluster: Cluster, openapi: Json) -> None:
    router = cluster.gateway
    paths = openapi["paths"]
    document = json.dumps(cluster.gateway_document)
    one = "/v1/{kind}/{namespace}/{name}"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "schema"},
               "spec": {"clusterIP": "10.96.250.1", "ports": [{"port": 80}]}}
    calls = [("put", "/v1/config", "?dryRun=true", document), ("post", "/v1/config:validate", "", document),
             ("patch", "/v1/config", "", json.dumps({"kind": "Delta", "upsert": [service]})),
             ("put", one, "?dryRun=true", json.dumps(service)), ("delete", one, "", None),
             ("delete", "/v1/conntrack", "?src=198.51.100.9", None),
             ("put", "/v1/drains", "?endpoint=10.244.99.99&hard=true", None),
             ("delete", "/v1/drains", "?endpoint=10.244.99.99", None),
             ("post", "/v1/ipam/addresses", "", json.dumps({"handle": "schema", "families": ["IPv4"]})),
             ("delete", "/v1/ipam/handles/{handle}", "", None),
             ("post", "/v1/explain", "", json.dumps({"from": lab.CLIENT, "to": f"{lab.LOAD_BALANCER}:80"}))]
    done = set()
    for method, path, query, body in calls:
        real = path.format(kind="services", namespace="default", name="schema", handle="schema")
        reply = router.request(method.upper(), real + query, body)
        assert reply.status == 200, f"{method} {real}: {reply.text}"
        check(openapi, schema_name(paths[path][method]), reply.json)
        done.add((method, path))
    written = {(method, path) for path, methods in paths.items() for method in methods if method != "get"}
    assert done == written, "a call without a test"


@pytest.mark.parametrize("method, path, body, status", [
    ("GET", "/v1/nothing", None, 404), ("POST", "/v1/config", "{}", 405), ("GET", "/v1/status?x=1", None, 400),
    ("PUT", "/v1/config", "{", 400), ("PUT", "/v1/config", '{"kind": "List", "items": [{"kind": "Teapot"}]}', 422),
    ("PATCH", "/v1/config", '{"kind": "Delta", "baseGeneration": 1000000}', 409)])
def test_API_errors_fit_their_schema(cluster: Cluster, openapi: Json, method, path, body, status) -> None:
    reply = cluster.gateway.request(method, path, body)
    assert reply.status == status, reply.text
    check(openapi, "Error", reply.json)


# ---- GatewayConfiguration ----------------------------------------------------------------------------

SCHEMA_FILE = PROJECT / "config" / "gatewayconfiguration.schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_text())
DIFFERENT = {"string": 7, "integer": "seven", "boolean": "yes", "array": 7, "object": 7}


def examples() -> list[Json]:
    """Those of docs/config.md and config/examples, and one that has every field."""
    texts = re.findall(r"^```json\n(.*?)^```", (PROJECT / "docs" / "config.md").read_text(), re.M | re.S)
    documents = [json.loads(text) for text in texts]
    documents += [json.loads(path.read_text()) for path in sorted((PROJECT / "config/examples").rglob("*.json"))]
    found = []
    for document in documents:
        items = document["items"] if document.get("kind") == "List" else [document]
        found += [item for item in items if item.get("kind") == "GatewayConfiguration"]
    return [without_nulls(item) for item in found]


def without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


FULL = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "full"}, "spec": {
    "nodeName": "gw", "localNodeNames": ["gw"],
    "interfaces": [
        {"name": "up", "device": "net_null0", "vlan": 5, "role": "uplink", "addresses": ["192.0.2.1/24"],
         "mac": "02:00:00:00:00:01", "mtu": 1500, "gateway": {"v4": "192.0.2.254"}, "rpf": "loose",
         "promiscuous": True, "tcpMssClamp": True, "hostInterface": "up0"},
        {"name": "pod", "device": "net_null1", "role": "workload", "podAddresses": ["10.244.0.5"],
         "podMAC": "02:00:00:00:02:05"}],
    "routes": [{"destination": "198.51.100.0/24", "type": "unicast", "nextHops": [{"via": "192.0.2.7",
                                                                                   "interface": "up"}]},
               {"destination": "203.0.113.0/24", "via": "192.0.2.8", "interface": "up"},
               {"destination": "10.9.0.0/16", "tunnel": "t"}],
    "neighbors": [{"interface": "up", "address": "192.0.2.7", "mac": "02:00:00:00:00:07"}],
    "tunnels": [{"name": "t", "type": "vxlan", "remote": "192.0.2.9", "local": "192.0.2.1", "vni": 9,
                 "remoteMAC": "02:00:00:00:00:09", "mtu": 1400}],
    "cluster": {"clusterCIDRs": ["10.244.0.0/16"], "serviceCIDRs": ["10.96.0.0/16"], "nodePortRange": "30000-32767",
                "unknownPods": "Drop", "detectLocalMode": "InterfaceNamePrefix",
                "detectLocal": {"mode": "NodeCIDR", "bridgeInterface": "", "interfaceNamePrefix": "cali"}},
    "proxy": {"nodePortAddresses": ["primary"], "masqueradeAll": False, "allowExternalClusterIP": False,
              "allowedExternalCIDRs": ["198.51.100.0/24"], "serviceLoopPrevention": "Drop",
              "loadBalancerAlgorithm": "maglev", "maglevTableSize": 251, "sourceRangesForInCluster": True,
              "noEndpoints": "Reject", "vipEchoReply": False, "onBackendRemoved": "Keep",
              "externalPolicyLocalScope": "Node", "healthzPort": 10256, "healthAddresses": ["127.0.0.1"]},
    "snat": {"portRange": "40000-50000", "natOutgoingAddress": {"v4": "192.0.2.1"}, "natPortRange": "50001-60000",
             "mapping": "Symmetric", "filtering": "AddressDependent", "natOutgoingExclusions": "IPPoolsOnly"},
    "overlay": {"vxlanVNI": 4096, "vxlanPort": 4789, "vxlanSrcPortRange": "49152-65535", "strictVxlanFlags": False,
                "mtu": "auto", "outerDF": "Inherit", "dscp": "Copy", "ecn": "Normal",
                "externalNodesCIDRs": ["198.51.100.0/24"], "vtepMac": "02:00:00:00:00:02", "tcpMssClamp": False,
                "vxlanZeroChecksumV6": False, "reassembleOuter": True},
    "conntrack": {"max": 65536, "tcpBeLiberal": False, "tcpLoose": True, "profile": "rfc", "timeouts": {name: "60s" for name in (
        "tcpSynSent", "tcpSynSent2", "tcpSynRecv", "tcpEstablished", "tcpFinWait", "tcpCloseWait", "tcpLastAck", "tcpTimeWait",
        "tcpClose", "tcpUnreplied", "tcpUnacknowledged", "udp", "udpStream", "icmp", "gre", "greStream", "generic",
        "sctpCookieWait", "sctpCookieEchoed", "sctpEstablished", "sctpShutdownSent", "sctpShutdownRecd",
        "sctpShutdownAckSent", "sctpClosed", "sctpUnreplied")}},
    "fragments": {"mode": "Shallow", "timeout": "30s", "maxPerDatagram": 16, "maxMemoryMiB": 64},
    "icmp": {"errorRatePerSecond": 100, "errorSource": "vip"},
    "content": {"collector": "198.51.100.77"},
    "host": {"rateLimits": {"neighbor": 1, "icmp": 2, "routing": 3, "management": 4, "multicast": 5, "other": 6},
             "routes": {"tables": [254], "protocols": ["bird"]}},
    "bgp": {"engine": "none", "maxPrefixes": 5,
            "allowDefaultRoute": True, "routerID": "192.0.2.1",
            "bfd": {"receiveInterval": 300, "transmitInterval": 300, "detectMultiplier": 3}}}}


POLICY_SCHEMA = json.loads((PROJECT / "config" / "contentpolicy.schema.json").read_text())
FULL_POLICY = {"apiVersion": "sluice.dev/v1", "kind": "ContentPolicy", "metadata": {"name": "full", "namespace": "a"},
               "spec": {
    **{name: {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x"]}]}
       for name in ("serviceSelector", "podSelector")},
    "depth": 4096, "overload": "Drop", "action": "Reset", "direction": "Egress",
    "patterns": [{"name": "a", "regex": "x+", "flags": ["caseless", "dotAll"], "action": "Count", "direction": "Both"},
                 {"name": "b", "literal": "cmd.exe"}],
    "suricataRules": ['alert tcp any any -> any any (msg:"key"; content:"BEGIN RSA PRIVATE KEY"; sid:1;)']}}
GATEWAY = {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "g"},
           "spec": {"interfaces": [{"name": "up", "device": "net_null0"}]}}


def properties(schema: Json, path: tuple = ()) -> Iterator[tuple[tuple, Json, bool]]:
    """Every field: its way (True: some item of a list), its schema, whether it must be there."""
    for name, inner in schema.get("properties", {}).items():
        yield (*path, name), inner, name in schema.get("required", [])
        yield from properties(inner, (*path, name))
        if "items" in inner:
            yield (*path, name, True), inner["items"], False
            yield from properties(inner["items"], (*path, name, True))


POLICY_FIELDS = list(properties(POLICY_SCHEMA["properties"]["spec"], ("spec",)))
FIELDS = [(path, schema, required) for path, schema, required in properties(SCHEMA["properties"]["spec"], ("spec",))
          if path[1] not in ("dns", "ingress", "policy")]


def places(value: Json, path: tuple) -> Iterator[tuple[Json, Any]]:
    """Container and key of every place that the way leads to."""
    if path[0] is True:
        for index, item in enumerate(value):
            if len(path) == 1:
                yield value, index
            else:
                yield from places(item, path[1:])
    elif path[0] in value:
        if len(path) == 1:
            yield value, path[0]
        else:
            yield from places(value[path[0]], path[1:])


def mutants(fields: list[tuple] = FIELDS, full: Json = FULL) -> Iterator[tuple[str, Json]]:
    """Of the full document: each with one field of a wrong type, out of its range, none of its words, or missing."""
    for path, schema, required in fields:
        found = list(places(full, path))
        if not found:
            continue
        name = ".".join("[]" if part is True else part for part in path[1:])
        values = []
        if "type" in schema:
            values.append(("type", DIFFERENT[schema["type"]]))
        if schema.get("x-kubernetes-int-or-string"):
            values.append(("type", True))
        if "enum" in schema:
            values.append(("word", "weather" if schema["type"] == "string" else 252))
        if "minimum" in schema:
            values.append(("minimum", schema["minimum"] - 1))
            values.append(("maximum", schema["maximum"] + 1))
        if schema.get("type") == "integer":
            values.append(("fraction", 1.5))
        if "pattern" in schema:
            values.append(("pattern", "nonsense"))
        if "minLength" in schema:
            values.append(("length", ""))
        for what, value in values:
            document = copy.deepcopy(full)
            container, key = next(places(document, path))
            container[key] = value
            yield f"{name} {what}", document
        if required:
            document = copy.deepcopy(full)
            container, key = next(places(document, path))
            del container[key]
            yield f"{name} missing", document


def verdict_of_router(document: Json, tmp_path: Path) -> tuple[bool, str]:
    file = tmp_path / "document.json"
    if document.get("kind") == "ContentPolicy":
        document = {"apiVersion": "v1", "kind": "List", "items": [GATEWAY, document]}
    file.write_text(json.dumps(document))
    done = subprocess.run([str(SLUICECTL), "check", "--offline", "-f", str(file)], capture_output=True, text=True,
                          timeout=10)
    return done.returncode == 0, done.stdout + done.stderr


def verdict_of_schema(document: Json) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_schema_takes_what_the_router_takes(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    good = [*examples(), FULL]
    assert len(good) > 6
    for document in good:
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
    accepted, said = verdict_of_router(FULL, tmp_path)
    assert accepted and "warning" not in said, said
    unknown = copy.deepcopy(FULL)
    unknown["spec"]["proxy"]["colour"] = "green"
    accepted, said = verdict_of_router(unknown, tmp_path)
    assert accepted and "unknown field" in said and verdict_of_schema(unknown)


def test_schema_refuses_what_the_router_refuses(tmp_path: Path) -> None:
    disagreements = []
    count = 0
    for what, document in mutants():
        count += 1
        accepted, said = verdict_of_router(document, tmp_path)
        if accepted or verdict_of_schema(document):
            disagreements.append(f"{what}: router {'takes' if accepted else 'refuses'} it, schema "
                                 f"{'takes' if verdict_of_schema(document) else 'refuses'} it: {said.strip()}")
    assert count > 150
    assert not disagreements, "\n".join(disagreements)


def test_schema_has_the_fields_that_the_router_reads() -> None:
    known = {path[-1] for path, _, _ in FIELDS if path[-1] is not True}
    call = re.compile(r'(?:\b\w+\.\w+\(|read_port_range\(\w+, |read_single_choice\(\w+, |Named\w*Timeout\{)"(\w+)"')
    read = {name for file in ("gateway.cpp", "gateway_bgp.cpp", "gateway_network.cpp", "timeouts.h")
            for name in call.findall((PROJECT / "config" / file).read_text())} - {"spec"}
    assert len(read) > 80
    assert read == known
    used = {path[-1] for path, _, _ in FIELDS if path[-1] is not True and any(True for _ in places(FULL, path))}
    assert known - used <= {"v6"}, "the full document has every field"


# ---- ContentPolicy -----------------------------------------------------------------------------------

def test_schema_of_content_policies_and_the_router_agree(tmp_path: Path) -> None:
    schema = jsonschema.Draft202012Validator(POLICY_SCHEMA)
    schema.check_schema(POLICY_SCHEMA)
    texts = re.findall(r"^```json\n(.*?)^```", (PROJECT / "docs" / "config.md").read_text(), re.M | re.S)
    examples = [item for item in map(json.loads, texts) if item.get("kind") == "ContentPolicy"]
    as_text = copy.deepcopy(FULL_POLICY)
    as_text["spec"]["suricataRules"] = FULL_POLICY["spec"]["suricataRules"][0]
    assert examples
    for document in (*examples, FULL_POLICY, as_text):
        schema.validate(document)
        accepted, said = verdict_of_router(document, tmp_path)
        assert accepted and "warning" not in said, said
    disagreements = []
    count = 0
    for what, document in mutants(POLICY_FIELDS, FULL_POLICY):
        count += 1
        accepted, said = verdict_of_router(document, tmp_path)
        if accepted or schema.is_valid(document):
            disagreements.append(f"{what}: router takes it: {accepted}, schema takes it: {schema.is_valid(document)}: {said}")
    assert count > 30
    assert not disagreements, "\n".join(disagreements)


def test_schema_of_content_policies_has_the_fields_that_the_router_reads() -> None:
    known = {path[-1] for path, _, _ in POLICY_FIELDS if path[-1] is not True}
    call = re.compile(r'(?:\b\w+\.\w+\(|read_label_selector\(spec, |key = )"(\w+)"')
    read = {name for file in ("content_policy.cpp", "label_selector.cpp")
            for name in call.findall((PROJECT / "config" / file).read_text())} - {"spec"}
    assert read == known
    used = {path[-1] for path, _, _ in POLICY_FIELDS
            if path[-1] is not True and any(True for _ in places(FULL_POLICY, path))}
    assert known == used, "the full policy has every field"


def test_API_the_schemas_are_served(cluster: Cluster) -> None:
    for name, schema in (("gatewayconfiguration", SCHEMA), ("contentpolicy", POLICY_SCHEMA)):
        assert cluster.gateway.get(f"/v1/schemas/{name}.json") == schema
