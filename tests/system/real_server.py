#!/usr/bin/python3
"""Takes IPIP off as the kernel's tunnel device would where there is one: what it carried enters by a TUN device.

Usage: real_server.py DEVICE

Makes the TUN device and prints "ready". Protocol 4 (RFC 2003) and 41 (RFC 4213) are taken over IPv4 and IPv6.
"""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def open_tun(name: str) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as setting:
        setting.write("0")
    subprocess.run(["ip", "link", "set", "dev", name, "up"], check=True)
    return tun


def main() -> None:
    tun = open_tun(sys.argv[1])
    sockets = [socket.socket(family, socket.SOCK_RAW, protocol)
               for family in (socket.AF_INET, socket.AF_INET6) for protocol in (4, 41)]
    print("ready", flush=True)
    while True:
        for ready in select.select(sockets, [], [])[0]:
            packet = ready.recv(65535)
            # A raw socket of IPv4 shows the outer header, one of IPv6 does not.
            os.write(tun, packet[(packet[0] & 0xF) * 4:] if ready.family == socket.AF_INET else packet)


if __name__ == "__main__":
    main()
