"""The same rules for all systems: 100 hosts of five paths, 20 services of two endpoints, and how each system is told.

Every endpoint is an address of one web server, which answers with that address and with what it was asked for, so that
whoever reads an answer knows whether it came from a right place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from objects import endpoint_slice, service, service_port
from router import Json

HOSTS, PATHS = 100, ("/", "/api/", "/app/", "/img/", "/static/")
SERVICES, ENDPOINTS = 20, 2  # services; endpoints of each
ENDPOINT_RANGE = "10.2.1.0/24"
PORT = 8080  # of endpoints
BULK = "bulk"  # last element of the path of the large body
BULK_BYTES = 10_000_000
CLASS = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "bench"},
         "spec": {"controller": "sluice.dev/ingress"}}


@dataclass(frozen=True)
class Rule:
    host: str
    path: str
    service: int


def rules() -> list[Rule]:
    return [Rule(f"host-{host}.example.com", path, (host * len(PATHS) + place) % SERVICES)
            for host in range(HOSTS) for place, path in enumerate(PATHS)]


def endpoints(number: int) -> list[str]:
    return [f"10.2.1.{number * ENDPOINTS + place + 1}" for place in range(ENDPOINTS)]


def by_host() -> dict[str, list[Rule]]:
    made: dict[str, list[Rule]] = {}
    for rule in rules():
        made.setdefault(rule.host, []).append(rule)
    return made


# ---- Kubernetes objects, for sluice ----

def objects() -> list[Json]:
    ports = [service_port(80, PORT)]
    made: list[Json] = [CLASS]
    for number in range(SERVICES):
        made.append(service(f"service-{number}", f"10.96.0.{number + 1}", ports))
        made.append(endpoint_slice(f"service-{number}", ports, [(each, "far") for each in endpoints(number)]))
    return made + [ingress(host, its) for host, its in by_host().items()]


def ingress(host: str, its: list[Rule]) -> Json:
    paths = [{"path": rule.path, "pathType": "Prefix",
              "backend": {"service": {"name": f"service-{rule.service}", "port": {"number": 80}}}} for rule in its]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": "default", "name": host.split(".")[0]},
            "spec": {"ingressClassName": "bench", "rules": [{"host": host, "http": {"paths": paths}}]}}


# ---- configurations ----

NGINX = """\
daemon off; pid {directory}/{name}.pid; error_log stderr crit; worker_processes 1; worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; server_names_hash_bucket_size 128;
  client_body_temp_path {directory}/{name}-body; proxy_temp_path {directory}/{name}-proxy;
  fastcgi_temp_path {directory}/{name}-fastcgi; uwsgi_temp_path {directory}/{name}-uwsgi;
  scgi_temp_path {directory}/{name}-scgi;
{content}
}}
"""


def nginx_proxy(directory: Path, listen: str) -> str:
    """One process, a server for each host, connections to endpoints kept; nothing is written to disk."""
    parts = ["  proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;",
             "  proxy_max_temp_file_size 0;"]
    for number in range(SERVICES):
        servers = " ".join(f"server {each}:{PORT};" for each in endpoints(number))
        parts.append(f"  upstream service-{number} {{ {servers} keepalive 128; keepalive_requests 1000000000; }}")
    parts.append(f"  server {{ listen {listen}:80 default_server backlog=4096; return 404; }}")
    for host, its in by_host().items():
        locations = " ".join(f"location {rule.path} {{ proxy_pass http://service-{rule.service}; }}" for rule in its)
        parts.append(f"  server {{ listen {listen}:80; server_name {host}; {locations} }}")
    return NGINX.format(directory=directory, name="proxy", content="\n".join(parts))


def nginx_backend(directory: Path) -> str:
    content = (f"  server {{ listen {PORT} backlog=4096; default_type text/plain; root {directory};\n"
               f"    location / {{ return 200 \"$server_addr $host $uri\\n\"; }}\n"
               f"    location ~ /{BULK}$ {{ rewrite ^ /{BULK} break; }} }}")
    return NGINX.format(directory=directory, name="backend", content=content)


def haproxy(listen: str, map_file: Path) -> str:
    """One thread; host and path are looked up in a tree of prefixes, connections to endpoints are shared."""
    parts = ["global", "  nbthread 1", "  maxconn 8192", "defaults", "  mode http", "  option http-keep-alive",
             "  http-reuse always", "  timeout connect 5s", "  timeout client 60s", "  timeout server 60s",
             "frontend web", f"  bind {listen}:80 backlog 4096",
             f"  use_backend %[base,map_beg({map_file})]"]
    for number in range(SERVICES):
        parts.append(f"backend service-{number}")
        parts += [f"  server s{place} {each}:{PORT}" for place, each in enumerate(endpoints(number))]
    return "\n".join(parts) + "\n"


def haproxy_map() -> str:
    return "".join(f"{rule.host}{rule.path} service-{rule.service}\n" for rule in rules())
