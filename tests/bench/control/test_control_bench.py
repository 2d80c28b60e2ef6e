"""The bench of the control plane itself: its tables, and that it starts what it measures. Nothing here measures anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import control_tables  # noqa: E402


def test_every_measurement_has_its_table() -> None:
    text = control_tables.document({
        "push": [{"what": "full document, first", "seconds": 1.7, "note": "55.0 MB"}],
        "traffic": [{"what": "10 changes", "note": "p50 1.00 ms", "packetsPerSecond": 50_000.0, "flows": 4000,
                     "streams": [{"stream": "udp", "sent": 5000, "answered": 5000, "faults": {}},
                                 {"stream": "tcp", "sent": 5000, "answered": 4999, "faults": {"answers lost": 1}}]}],
        "peers": [{"system": "sluice", "services": 1000, "install": 0.43, "changes": [0.001, 0.002, 0.009],
                   "connects": [0.003]}],
        "idle": [{"poll": "adaptive", "device": "packet", "cpu": 0.064, "connects": [0.0009]}],
        "restart": [{"device": "packet", "ready": ready, "connected": connected}
                    for ready, connected in ((0.5, 0.7), (0.4, 0.6), (0.9, 1.0))],
    })
    for line in ("| full document, first | 1,700 ms | 55.0 MB |",
                 "| 10 changes beside 50,000 packets a second in 4,000 flows | p50 1.00 ms |",
                 "| udp: 5,000 packets, 5,000 answers | none lost, none misrouted |",
                 "| tcp: 5,000 packets, 4,999 answers | {'answers lost': 1} |",
                 "| 1,000 | sluice | 430 ms | 2.00 ms | 3.00 ms |",
                 "| adaptive | packet | 6.4 % | 0.90 ms |",
                 "| ready | `packet` | 500 ms | 900 ms |",
                 "| a connection to a service opens | `packet` | 700 ms | 1,000 ms |"):
        assert line in text.splitlines(), text


def test_restart_measures_until_a_connection_opens(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run([sys.executable, "-P", str(HERE / "main.py"), "restart", "--services", "20", "--endpoints", "2",
                           "--changes", "10", "--repeat", "2", "--json", str(figures)],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(figures.read_text())
    assert [row["device"] for row in rows] == ["packet", "packet", "net_af_packet", "net_af_packet"]
    assert all(0 < row["ready"] < 60 and 0 < row["connected"] < 60 for row in rows)
    for device in ("packet", "net_af_packet"):
        assert f"with 20 services of 2 endpoints and 10 changes, devices {device}, median of 2: ready" in done.stdout
