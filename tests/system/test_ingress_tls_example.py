"""The example of docs/ingress-tls.md, run as it stands there: nginx ends TLS behind the router."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from cluster import listens
from netns import Lab, execute, wait_until
from nginx import Nginx
from objects import with_items
from pods import UNDERLAY_MTU, PodNode
from router import PROJECT, Json
from tls_programs import Authority

HOST = "shop.example.com"
CLIENT = "192.168.0.100"
EXAMPLE = PROJECT / "docs" / "examples" / "ingress-tls"
TOOL = PROJECT / "tools" / "ingress-nginx-conf"
APPLICATIONS = """
  access_log off;
  server {
    listen 8080;
    location / { return 200 "$server_addr $http_x_forwarded_for $http_x_forwarded_proto $request_uri\\n"; }
  }
"""


def commands(beginning: str) -> list[str]:
    """Lines of the blocks of shell commands in the document that begin so."""
    text = (PROJECT / "docs" / "ingress-tls.md").read_text()
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).splitlines()
    found = [line for line in lines if line.startswith(beginning)]
    assert found, f"no command {beginning} in the document"
    return found


def listening() -> Json:
    """The document's spec.ingress."""
    text = (PROJECT / "docs" / "ingress-tls.md").read_text()
    return json.loads(re.search(r"```json\n(.*?)```", text, re.S)[1])


def endpoints(objects: Json) -> set[str]:
    return {address for item in objects["items"] for endpoint in item.get("endpoints", [])
            for address in endpoint["addresses"]}


def secret(authority: Authority, name: str, host: str) -> Json:
    files = zip(("tls.crt", "tls.key"), authority.issue(host))
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"namespace": "shop", "name": name},
            "data": {key: base64.b64encode(file.read_bytes()).decode() for key, file in files}}


def shell(command: str, folder: Path) -> str:
    """With the document's paths led into the folder."""
    command = command.replace("/etc/edge", str(folder / "edge")).replace("ingress-nginx-conf", str(TOOL))
    return f"cd {folder} && {command}"


def test_ING11_ING14_SPL9_the_documented_example(lab: Lab) -> None:
    authority = Authority(lab.directory)
    objects = json.loads((EXAMPLE / "objects.json").read_text())
    for name in ("objects.json", "haproxy.cfg"):
        text = (EXAMPLE / name).read_text()
        (lab.directory / name).write_text(text.replace("/etc/edge", str(lab.directory / "edge")))
    (lab.directory / "secret.json").write_text(json.dumps(secret(authority, "shop-tls", HOST)))

    node = PodNode(lab, 1)
    world = lab.namespace("world")
    lab.router_link(node.namespace, "underlay", world, "eth0", UNDERLAY_MTU)
    world.ip(f"addr add {CLIENT}/24 dev eth0")
    document = with_items(node.document(1), *objects["items"])
    document["items"][0]["spec"]["ingress"] = listening()
    node.router.start(document)
    nginx, web, api = (node.pod(name) for name in ("edge", "web", "api"))
    assert {pod.address for pod in (nginx, web, api)} == endpoints(objects)
    for pod in (web, api):
        Nginx(pod.namespace, pod.name, APPLICATIONS, 8080)
    for command in commands("ingress-nginx-conf") + commands("nginx -t"):
        execute("bash", "-c", shell(command, lab.directory))
    edge = nginx.namespace.start("nginx", "-c", str(lab.directory / "edge" / "nginx.conf"), name="edge")
    wait_until(lambda: listens(nginx.namespace, 8443), 10, lambda: f"nginx: {edge.stderr()}")

    def answers() -> list[str]:
        return [world.run("bash", "-c", shell(command, lab.directory)).stdout for command in commands("curl")]
    wanted = [f"{web.address} {CLIENT} https /cart\n", *[f"{api.address} {CLIENT} https /api/orders\n"] * 2]
    assert answers() == wanted
    wait_until(lambda: len(edge.stdout().splitlines()) == 3, 5, lambda: f"three lines of a log: {edge.stdout()}")
    assert all(line.startswith(f"{CLIENT} - - ") for line in edge.stdout().splitlines()), edge.stdout()

    edge.stop()
    (lab.directory / "edge" / "haproxy").mkdir()
    execute("bash", "-c", shell(commands("cat ")[0], lab.directory))
    other = nginx.namespace.start("bash", "-c", shell("exec " + commands("haproxy")[0], lab.directory), name="haproxy")
    wait_until(lambda: listens(nginx.namespace, 8443), 10, lambda: f"haproxy: {other.stdout()}{other.stderr()}")
    assert answers() == wanted
    wait_until(lambda: other.stdout().count(f"{CLIENT}:") == 3, 5, lambda: f"three lines of a log: {other.stdout()}")
    alert = world.run("openssl", "s_client", "-connect", f"{listening()['addresses'][0]}:443", "-servername", "other.example.com",
                           check=False).stderr
    assert "unrecognized name" in alert, alert

    # The router's own list of objects says the same.
    router = lab.directory / "router.json"
    router.write_text(json.dumps(node.router.get("/v1/config")))
    again = commands("ingress-nginx-conf")[0].replace("objects.json", "router.json")
    done = execute("bash", "-c", shell(again, lab.directory), check=False)
    assert done.returncode == 3, f"unchanged; {done.stdout}{done.stderr}"


# ---- the program that makes nginx's configuration ----

def ingress(name: str, host: str, paths: list[tuple[str, str, str]], **spec: Json) -> Json:
    """`paths`: type, path and service."""
    return {"kind": "Ingress", "metadata": {"namespace": "shop", "name": name}, "spec": {
        "ingressClassName": "sluice", "tls": [{"hosts": [host], "secretName": "shop-tls"}],
        "rules": [{"host": host, "http": {"paths": [
            {"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}}
            for kind, path, service in paths]}}], **spec}}


def service(name: str, address: str) -> Json:
    return {"kind": "Service", "metadata": {"namespace": "shop", "name": name},
            "spec": {"clusterIP": address, "ports": [{"port": 80}]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def convert(folder: Path, *items: Json) -> tuple[str, str]:
    """nginx's configuration, which nginx takes, and what was warned of."""
    (folder / "all.json").write_text(json.dumps({"kind": "List", "items": items}))
    done = execute(str(TOOL), str(folder / "all.json"), "--output", str(folder / "edge"))
    execute("nginx", "-t", "-q", "-c", str(folder / "edge" / "nginx.conf"))
    return (folder / "edge" / "nginx.conf").read_text(), done.stderr


def test_ING2_ING3_hosts_and_paths_for_nginx(folder: Path) -> None:
    authority = Authority(folder)
    services = [service("a", "10.96.0.1"), service("b", "fd00::1"), service("headless", "None")]
    paths = [("Prefix", "/foo/", "a"), ("Exact", "/foo", "b"), ("Prefix", '/q"; } $x', "a"),
             ("Prefix", "/none", "headless"), ("Prefix", "/missing", "missing")]
    text, warnings = convert(folder, secret(authority, "shop-tls", HOST), *services, ingress("one", HOST, paths),
                             ingress("two", "*.example.com", [("Prefix", "/", "a")]),
                             ingress("younger", HOST, [("Prefix", "/foo", "b")]),
                             ingress("foreign", "foreign.com", [("Prefix", "/", "a")], ingressClassName="other"),
                             ingress("clear", "clear.example.com", [("Prefix", "/", "a")], tls=[]))
    assert 'location = "/foo" { proxy_pass http://[fd00::1]:80; }' in text
    assert 'location "/foo/" { proxy_pass http://10.96.0.1:80; }' in text
    assert 'location "/q\\"; } $x/" { proxy_pass http://10.96.0.1:80; }' in text
    assert 'location "/none/" { return 503; }' in text and 'location "/missing/" { return 503; }' in text
    assert 'server_name "~^[^.]+\\\\.example\\\\.com$";' in text
    assert "foreign" not in text and "clear" not in text
    assert "Service headless" in warnings and "Service missing" in warnings


def test_ING14_a_bad_secret_takes_its_own_host_alone(folder: Path) -> None:
    authority = Authority(folder)
    good, bad = secret(authority, "shop-tls", HOST), secret(authority, "bad", "bad.example.com")
    bad["data"]["tls.key"] = good["data"]["tls.key"]
    broken = ingress("broken", "bad.example.com", [("Prefix", "/", "a")],
                     tls=[{"hosts": ["bad.example.com"], "secretName": "bad"}])
    lost = ingress("lost", "lost.example.com", [("Prefix", "/", "a")],
                   tls=[{"hosts": ["lost.example.com"], "secretName": "lost"}])
    text, warnings = convert(folder, good, bad, service("a", "10.96.0.1"), ingress("one", HOST, [("Prefix", "/", "a")]),
                             broken, lost)
    assert f"server_name {HOST};" in text
    assert "bad.example.com" not in text and "lost.example.com" not in text
    assert "Secret shop/bad: tls.crt and tls.key are no certificate and its key" in warnings
    assert "Secret shop/lost of type kubernetes.io/tls is not there" in warnings
