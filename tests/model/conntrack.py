"""Connections as the specification of connection tracking tells them: the state tables as text, timeouts by state."""

import itertools

import sctp
from window import INVALID, OUTSIDE, Windows
from wire import ACK, FIN, RST, SCTP, SYN, TCP, UDP, URG

ORIGINAL, REPLY = 0, 1
STATES = "none SYN_SENT SYN_RECV EST FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2".split()

# Linux nf_conntrack: a cell is the next state, same, ignore (passes, nothing changes), invalid (is dropped), or
# new-flow (the connection is over and the segment is the first of another one).
ORIGINAL_TABLE = """
SYN    SYN_SENT same     ignore   ignore   ignore     ignore   ignore    new-flow new-flow same
SYNACK invalid  invalid  same     invalid  invalid    invalid  invalid   invalid  invalid  SYN_RECV
FIN    invalid  invalid  FIN_WAIT FIN_WAIT LAST_ACK   LAST_ACK same      same     same     invalid
ACK    EST      invalid  EST      same     CLOSE_WAIT same     TIME_WAIT same     same     invalid
RST    invalid  CLOSE    CLOSE    CLOSE    CLOSE      CLOSE    CLOSE     CLOSE    CLOSE    CLOSE
"""
REPLY_TABLE = """
SYN    invalid SYN_SENT2 invalid  invalid  invalid    invalid  invalid   new-flow invalid  same
SYNACK invalid SYN_RECV  ignore   ignore   ignore     ignore   ignore    ignore   ignore   SYN_RECV
FIN    invalid invalid   FIN_WAIT FIN_WAIT LAST_ACK   LAST_ACK same      same     same     invalid
ACK    invalid ignore    same     same     CLOSE_WAIT same     TIME_WAIT same     same     ignore
RST    invalid CLOSE     CLOSE    CLOSE    CLOSE      CLOSE    CLOSE     CLOSE    CLOSE    CLOSE
"""


def read_table(text):
    return {
        (row[0], state): cell
        for row in (line.split() for line in text.split("\n") if line)
        for state, cell in zip(STATES, row[1:])
    }


TABLES = {ORIGINAL: read_table(ORIGINAL_TABLE), REPLY: read_table(REPLY_TABLE)}

# CT-3, by the flags that count.
EVENTS = {
    SYN: "SYN", SYN | URG: "SYN", SYN | ACK: "SYNACK", FIN | ACK: "FIN", FIN | ACK | URG: "FIN",
    ACK: "ACK", ACK | URG: "ACK", RST: "RST", RST | ACK: "RST",
}  # fmt: skip

TIMEOUT_NAMES = {
    "none": "tcpSynSent", "SYN_SENT": "tcpSynSent", "SYN_RECV": "tcpSynRecv", "EST": "tcpEstablished",
    "FIN_WAIT": "tcpFinWait", "CLOSE_WAIT": "tcpCloseWait", "LAST_ACK": "tcpLastAck", "TIME_WAIT": "tcpTimeWait",
    "CLOSE": "tcpClose", "SYN_SENT2": "tcpSynSent",
}  # fmt: skip
UNREPLIED = 300_000  # CT-7
UNACKNOWLEDGED = 300_000
OPENING = ("none", "SYN_SENT", "SYN_RECV", "SYN_SENT2")
STREAM_AGE = 2_000  # CT-9


def tcp_event(flags):
    """None: a combination that no stack sends."""
    return EVENTS.get(flags & (FIN | SYN | RST | ACK | URG))


serials = itertools.count(1)


class Flow:
    """A connection. Keys are (protocol, source, port, destination, port), `original` as its first packet came and
    `reply` as the answer comes; between the two lies the translation."""

    __slots__ = (
        "original", "reply", "frontend", "state", "created", "last", "replied", "assured", "ignored_syn", "challenge",
        "serial", "windows", "liberal", "doubtful", "ignored_ack", "mapping", "simultaneous",
    )  # fmt: skip

    def __init__(self, original, reply, frontend, now):
        self.original, self.reply, self.frontend = original, reply, frontend
        self.state, self.created, self.last = "none", now, now
        self.replied = self.assured = self.challenge = False
        self.serial = next(serials)
        self.mapping = None
        self.ignored_syn = None  # the acknowledgement that would answer it
        self.ignored_ack = None  # of another segment that was ignored
        self.windows = Windows()
        self.liberal = self.doubtful = False
        self.simultaneous = False  # both ends sent a SYN (CT-6)

    one_way = False  # its answers do not come by

    @property
    def endpoint(self):
        return self.reply[1:3]

    def rewrite(self, direction):
        """What a packet of this direction carries afterwards: source, port, destination, port."""
        _, src, sport, dst, dport = self.reply if direction == ORIGINAL else self.original
        return dst, dport, src, sport

    def timeout(self, timeouts):
        proto = self.original[0]
        if proto == TCP:
            by_state = timeouts[TIMEOUT_NAMES[self.state]]
            if self.doubtful:
                by_state = min(by_state, timeouts["tcpClose"])
            elif self.state == "EST" and not self.replied:
                by_state = min(by_state, UNREPLIED)
            return min(by_state, UNACKNOWLEDGED) if self.state == "EST" and self.windows.unacknowledged() else by_state
        if proto == SCTP:
            return sctp.TIMES[self.state]
        if proto == UDP:
            return timeouts["udpStream" if self.assured else "udp"]
        return timeouts["icmp" if proto in (1, 58) else "generic"]

    def fits(self, direction, event, segment, liberal):
        """CT-10 to CT-16. Otherwise: what becomes of the segment, whose connection stays as it is."""
        if event == "RST" and segment.seq == self.ignored_ack:
            return None  # CT-5: the answer to a challenge
        opening = self.state in OPENING
        ends = event == "RST" and self.state != "CLOSE"
        if ends and not (opening and segment.seq == 0) and self.windows.stale_reset(direction, segment.seq):
            return "invalid"
        exact = self.windows.exact_reset(direction, segment.seq)
        verdict = self.windows.check(direction, segment, opening)
        if verdict == INVALID and (event == "RST" or not liberal):
            return "invalid"
        if verdict == OUTSIDE and not liberal:
            return "pass"
        if ends and self.state == "EST" and not exact:
            self.doubtful = True  # CT-14
            return "pass"
        return None

    def track(self, direction, segment, now, liberal):
        """pass, invalid, new-flow or close (after this packet). `segment`: of SCTP the kinds of its chunks; None: of
        neither, or a later fragment."""
        if segment is not None and self.original[0] == SCTP:
            return sctp.track(self, direction, segment)
        if segment is None:
            if direction == REPLY:
                self.replied = True
            self.assured = self.assured or (self.replied and now - self.created > STREAM_AGE)
            return "pass"
        seq, ack, length = segment.seq, segment.ack, segment.length
        event = tcp_event(segment.flags)
        self.liberal = self.liberal or segment.cut
        if event is None:
            return "invalid"
        old = self.state
        cell = TABLES[direction][event, old]
        if cell in ("invalid", "new-flow"):
            return cell
        if cell != "ignore":
            otherwise = self.fits(direction, event, segment, liberal or self.liberal)
            if otherwise:
                return otherwise
        self.doubtful = False
        if cell == "ignore":
            if direction == REPLY:
                self.replied = True
            if direction == REPLY and event == "SYNACK" and self.ignored_syn == ack:
                cell, self.simultaneous = "SYN_RECV", False  # CT-5: both ends agree on a younger connection
                if [end.end for end in self.windows.ends] != [ack, segment.end()]:  # not the one it has, sent again
                    self.windows, self.liberal = Windows(), True
                    self.windows.ends[REPLY].acked = ack  # CT-14: resets of the former connection are older
            else:
                self.ignored_syn = (seq + length + 1) & 0xFFFFFFFF if event == "SYN" else None
                self.ignored_ack = ack if event != "SYN" else None
                self.challenge = event == "SYN" and old == "LAST_ACK"
                return "pass"
        if old == "LAST_ACK" and direction == REPLY and event == "ACK" and self.challenge:
            self.ignored_syn, self.ignored_ack, self.challenge = None, None, False
            return "pass"
        self.ignored_syn, self.ignored_ack, self.challenge = None, None, False
        if old == "none" and cell == "EST":
            self.liberal = True  # picked up in the middle: nobody told its scale
        if cell != "same":
            self.state = cell
        self.simultaneous = self.simultaneous or cell == "SYN_SENT2"
        if self.simultaneous and old == "SYN_RECV" and event == "ACK":
            self.state = "EST"  # either end's
        if direction == REPLY and not self.replied:
            if event == "RST":
                return "close"  # CT-8
            self.replied = True
        if self.state == "EST" and old in ("SYN_RECV", "EST") and self.replied:
            self.assured = True
        return "pass"
