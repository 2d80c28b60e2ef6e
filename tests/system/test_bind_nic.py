"""scripts/bind-nic, on a /sys of the test's own: files, and a thread that does what the kernel does with them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import Lab, Namespace
from router import PROJECT

NIC = "0000:3b:00.0"
NEIGHBOR = "0000:3b:00.1"
KERNEL_DRIVER = "ixgbe"


class Machine:
    """One network card with two ports, `up0` and `up1`, and a namespace that has an interface up0 for ip(8)."""

    def __init__(self, namespace: Namespace, root: Path):
        self.namespace = namespace
        self.root = root
        self.pci = root / "bus" / "pci"
        self.takes = {"vfio-pci": True, KERNEL_DRIVER: True}  # which drivers take a device
        for driver in (KERNEL_DRIVER, "vfio-pci"):
            (self.pci / "drivers" / driver).mkdir(parents=True)
        (self.pci / "drivers_probe").touch()
        for address, interface in ((NIC, "up0"), (NEIGHBOR, "up1")):
            self.add(address, interface)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def add(self, address: str, interface: str, network: bool = True) -> None:
        device = self.pci / "devices" / address
        device.mkdir(parents=True)
        for name, text in (("class", "0x020000" if network else "0x010802"), ("vendor", "0x8086"),
                           ("device", "0x10fb"), ("driver_override", "(null)")):
            (device / name).write_text(f"{text}\n")
        self.attach(address, KERNEL_DRIVER)
        if network:
            (device / "net" / interface).mkdir(parents=True)
        group = self.root / "kernel" / "iommu_groups" / address[-1]
        (group / "devices" / address).mkdir(parents=True)
        (device / "iommu_group").symlink_to(group)

    def attach(self, address: str, driver: str) -> None:
        (self.pci / "drivers" / driver / "unbind").touch()
        (self.pci / "devices" / address / "driver").symlink_to(self.pci / "drivers" / driver)

    def driver(self, address: str = NIC) -> str:
        link = self.pci / "devices" / address / "driver"
        return link.resolve().name if link.exists() else ""

    def run(self) -> None:
        while not self.stop.wait(0.005):
            for driver in (self.pci / "drivers").iterdir():
                for address in self.taken(driver / "unbind"):
                    (self.pci / "devices" / address / "driver").unlink()
            for address in self.taken(self.pci / "drivers_probe"):
                override = (self.pci / "devices" / address / "driver_override").read_text().strip()
                driver = KERNEL_DRIVER if override in ("", "(null)") else override
                if self.takes[driver]:
                    self.attach(address, driver)

    @staticmethod
    def taken(path: Path) -> list[str]:
        if not path.exists() or not path.read_text().strip():
            return []
        text = path.read_text().strip()
        path.write_text("")
        return [text]

    def bind_nic(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.namespace.entered():
            return subprocess.run([str(PROJECT / "scripts" / "bind-nic"), *words], capture_output=True, text=True,
                                  timeout=60, env={"PATH": os.environ["PATH"], "SLUICE_SYSFS": str(self.root),
                                                   **environment})


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Iterator[Machine]:
    namespace = lab.namespace("machine")
    namespace.ip("link add up0 type veth peer name wire", "link set wire up", "link set up0 up mtu 9000", "addr add 192.0.2.2/24 dev up0")
    made = Machine(namespace, tmp_path)
    yield made
    made.stop.set()
    made.thread.join(5)


def test_there_and_back(machine: Machine) -> None:
    done = machine.bind_nic("3b:00.0")
    assert done.returncode == 0, done.stderr
    assert machine.driver() == "vfio-pci"
    assert machine.driver(NEIGHBOR) == KERNEL_DRIVER
    assert json.loads(done.stdout) == {"name": "up0", "device": NIC, "role": "uplink", "addresses": ["192.0.2.2/24"],
                                       "mtu": 9000, "hostInterface": "up0-host"}
    again = machine.bind_nic(NIC)
    assert again.returncode == 0 and "nothing to do" in again.stderr
    back = machine.bind_nic("--back", NIC)
    assert back.returncode == 0, back.stderr
    assert machine.driver() == KERNEL_DRIVER and f"driven by {KERNEL_DRIVER}, as up0" in back.stderr
    assert "nothing to do" in machine.bind_nic("--back", "up0").stderr


def test_the_entry_is_one_that_the_router_takes(machine: Machine, tmp_path: Path) -> None:
    from router import SLUICED
    machine.namespace.ip("route add 198.51.100.0/24 via 192.0.2.1")
    entry = json.loads(machine.bind_nic("--dry-run", "up0").stdout)
    document = tmp_path / "document.json"
    document.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "sluice.dev/v1", "kind": "GatewayConfiguration", "metadata": {"name": "gateway"},
         "spec": {"nodeName": "gw", "interfaces": [entry]}}]}))
    checked = subprocess.run([str(SLUICED), "--check", str(document)], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 0, checked.stderr
    assert machine.driver() == KERNEL_DRIVER


def test_what_the_machine_itself_needs_stays(machine: Machine) -> None:
    machine.namespace.ip("route add default via 192.0.2.1")
    refused = machine.bind_nic("up0")
    assert refused.returncode == 1 and "default route" in refused.stderr
    assert machine.driver() == KERNEL_DRIVER
    prepared = machine.bind_nic("--dry-run", "up0")
    assert prepared.returncode == 1
    assert json.loads(prepared.stdout)["gateway"] == {"v4": "192.0.2.1"}
    machine.namespace.ip("route del default")
    login = machine.bind_nic("up0", SSH_CONNECTION="192.0.2.77 50000 192.0.2.2 22")
    assert login.returncode == 1 and "this login comes in by up0" in login.stderr
    assert machine.bind_nic("--force", "up0", SSH_CONNECTION="192.0.2.77 50000 192.0.2.2 22").returncode == 0
    assert machine.driver() == "vfio-pci"


def test_part_of_a_bridge_stays(machine: Machine) -> None:
    machine.namespace.ip("link add br0 type bridge", "link set up0 master br0")
    refused = machine.bind_nic("up0")
    assert refused.returncode == 1 and "part of br0" in refused.stderr


def test_a_shared_iommu_group_is_told(machine: Machine) -> None:
    machine.add("0000:3b:00.2", "", network=False)
    groups = machine.root / "kernel" / "iommu_groups"
    (groups / "0" / "devices" / "0000:3b:00.2").mkdir()
    refused = machine.bind_nic(NIC)
    assert refused.returncode == 1 and "0000:3b:00.2 is in the same IOMMU group (0)" in refused.stderr
    (machine.pci / "devices" / "0000:3b:00.2" / "driver").unlink()  # nobody drives it: it does no harm
    assert machine.bind_nic(NIC).returncode == 0


def test_without_an_iommu_it_says_what_to_do(machine: Machine) -> None:
    (machine.pci / "devices" / NIC / "iommu_group").unlink()
    refused = machine.bind_nic(NIC)
    assert refused.returncode == 1 and "iommu=pt" in refused.stderr
    parameters = machine.root / "module" / "vfio" / "parameters"
    parameters.mkdir(parents=True)
    (parameters / "enable_unsafe_noiommu_mode").write_text("Y\n")
    assert machine.bind_nic(NIC).returncode == 0


def test_a_driver_that_does_not_take_it_leaves_things_as_they_were(machine: Machine) -> None:
    machine.takes["vfio-pci"] = False
    failed = machine.bind_nic(NIC)
    assert failed.returncode == 1 and "vfio-pci did not take" in failed.stderr
    assert machine.driver() == KERNEL_DRIVER


def test_a_driver_that_works_beside_dpdk_stays(machine: Machine) -> None:
    (machine.pci / "drivers" / "mlx5_core").mkdir()
    (machine.pci / "devices" / NIC / "driver").unlink()
    machine.attach(NIC, "mlx5_core")
    done = machine.bind_nic(NIC)
    assert done.returncode == 0 and "stays with mlx5_core" in done.stderr
    assert json.loads(done.stdout)["device"] == NIC
    assert machine.driver() == "mlx5_core"


def test_names_that_mean_nothing(machine: Machine) -> None:
    machine.add("0000:05:00.0", "", network=False)
    for words, said in ((("0000:99:00.0",), "there is no network device"), (("up7",), "there is no network device"),
                        (("05:00.0",), "is no network device (class 0x010802)")):
        refused = machine.bind_nic(*words)
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr
    assert machine.bind_nic().returncode == 2
    listed = machine.bind_nic("--list")
    assert listed.stdout.splitlines()[1].split() == [NIC, "8086:10fb", KERNEL_DRIVER, "up0", "0"]
