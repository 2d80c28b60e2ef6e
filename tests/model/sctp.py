"""SCTP: packets as bytes (RFC 9260 section 3), and what an association is known by (docs/config.md, conntrack)."""

import struct

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = range(7)
SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK = range(7, 12)
SHUTDOWN_COMPLETE = 14
REFLECTED = 1  # the T bit of an ABORT and a SHUTDOWN COMPLETE
HEADER, CHECKSUM_AT = 12, 8
NAMES = {
    DATA: "data", INIT: "init", INIT_ACK: "init-ack", SACK: "sack", HEARTBEAT: "heartbeat",
    HEARTBEAT_ACK: "heartbeat-ack", ABORT: "abort", SHUTDOWN: "shutdown", SHUTDOWN_ACK: "shutdown-ack", ERROR: "error",
    COOKIE_ECHO: "cookie-echo", COOKIE_ACK: "cookie-ack", SHUTDOWN_COMPLETE: "shutdown-complete",
}  # fmt: skip

# --- bytes ------------------------------------------------------------------------------------------------------------


def table_of(polynomial):
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        yield value


TABLE = tuple(table_of(0x82F63B78))  # Castagnoli's, reflected


def remainder(data, register):
    for byte in data:
        register = TABLE[(register ^ byte) & 255] ^ register >> 8
    return register


def crc32c(data):
    return remainder(data, 0xFFFFFFFF) ^ 0xFFFFFFFF


def with_checksum(message):
    zeroed = message[:CHECKSUM_AT] + b"\0\0\0\0" + message[HEADER:]
    return message[:CHECKSUM_AT] + struct.pack("<I", crc32c(zeroed)) + message[HEADER:]


def checksum_right(message):
    return with_checksum(message) == message


def with_ports(beginning, sport, dport, length):
    """The message of `length` bytes with other ports, of which `beginning` is there. A right checksum is right
    afterwards and a wrong one as wrong as before: sums are linear."""
    new = struct.pack(">HH", sport, dport)
    if new == beginning[:4] or len(beginning) < HEADER:
        return new + beginning[4:]
    difference = bytes(a ^ b for a, b in zip(beginning, new)) + bytes(length - 4)
    (old,) = struct.unpack_from("<I", beginning, CHECKSUM_AT)
    return new + beginning[4:CHECKSUM_AT] + struct.pack("<I", old ^ remainder(difference, 0)) + beginning[HEADER:]


def chunk(kind, value=b"", flags=0):
    return struct.pack(">BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)


def message(sport, dport, tag, *chunks):
    return with_checksum(struct.pack(">HHII", sport, dport, tag, 0) + b"".join(chunks))


def kinds_of(message):
    """Of its chunks, in order."""
    kinds, at = [], HEADER
    while at + 4 <= len(message):
        kind, _, length = struct.unpack_from(">BBH", message, at)
        if length < 4:
            break
        kinds.append(kind)
        at += length + 3 & ~3
    return kinds


def describe(message):
    ports = "%d > %d tag %#x" % struct.unpack_from(">HHI", message)
    return f"sctp {'+'.join(NAMES.get(kind, str(kind)) for kind in kinds_of(message)) or '-'} {ports}"


# --- associations -----------------------------------------------------------------------------------------------------

# For how long each is kept after what came last.
TIMES = {
    "none": 10_000, "cookie-wait": 3_000, "cookie-echoed": 3_000, "EST": 5 * 86_400_000, "shutdown": 300,
    "shutdown-ack": 3_000, "closed": 10_000, "picked-up": 30_000,
}  # fmt: skip
ENDING = ("shutdown", "shutdown-ack", "closed")
BEGINNING = ("none", "picked-up", "closed")


def next_state(state, kind, heard):
    """By one chunk; `heard`: it is the server's, or nobody can hear the server."""
    if kind in (ABORT, SHUTDOWN_COMPLETE):
        return "closed"
    if kind in (INIT, INIT_ACK):
        return "cookie-wait" if state in BEGINNING else state
    if kind == COOKIE_ECHO:
        return "cookie-echoed" if state in (*BEGINNING, "cookie-wait") else state
    if kind == COOKIE_ACK:
        return state if state in ("shutdown", "shutdown-ack") else "EST"
    if kind == SHUTDOWN:
        return state if state in ENDING else "shutdown"
    if kind == SHUTDOWN_ACK:
        return state if state == "closed" else "shutdown-ack"
    if state in ("none", "closed"):
        return "picked-up"  # behind an end as well: it is not known whose that was
    return "EST" if heard and state in ("picked-up", "cookie-echoed") else state


def track(flow, direction, kinds):
    """pass or new-flow; states refuse nothing."""
    if kinds and kinds[0] == INIT and direction == 0 and flow.state in ENDING:
        return "new-flow"
    for kind in kinds:
        flow.state = next_state(flow.state, kind, direction == 1 or flow.one_way)
        if flow.one_way and flow.state == "cookie-echoed":
            flow.state = "EST"
    flow.replied = flow.replied or direction == 1
    return "pass"
