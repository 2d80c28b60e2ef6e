"""The router under test, behind a pipe: the protocol of drive.cpp."""

import json
import struct
import subprocess

from by_hand import DRAINS
from wire import Seen


class RouterFailed(Exception):
    """The program ended, or refused a configuration."""


class Router:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.reasons = []

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def ask(self, request):
        try:
            self.process.stdin.write(struct.pack("<I", len(request)) + request)
            self.process.stdin.flush()
            (length,) = struct.unpack("<I", self.read(4))
            return self.read(length)
        except (OSError, struct.error) as error:
            raise RouterFailed(f"the router ended with exit code {self.process.wait(timeout=30)}") from error

    def read(self, length):
        return self.process.stdout.read(length) if length else b""

    def start(self, workers, seed):
        self.reasons = self.ask(struct.pack("<cHQ", b"R", workers, seed)).decode().split()

    def load(self, objects):
        items = [o for key, o in objects.items() if key != DRAINS]
        self.refused(self.ask(b"C" + json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()))
        if DRAINS in objects:
            self.drain(objects[DRAINS])

    def change(self, upsert, delete):
        for o in upsert:
            if o["kind"] == "Drains":
                self.drain(o)
        upsert = [o for o in upsert if o["kind"] != "Drains"]
        if not upsert and not delete:
            return
        names = [{"kind": kind, "name": name, **({"namespace": ns} if ns else {})} for kind, ns, name in delete]
        self.refused(self.ask(b"D" + json.dumps({"kind": "Delta", "upsert": upsert, "delete": names}).encode()))

    def drain(self, o):
        self.refused(self.ask(b"E" + json.dumps({"drains": o["drains"]}).encode()))

    @staticmethod
    def refused(answer):
        if answer:
            raise RouterFailed("the configuration was refused: " + answer.decode())

    def advance(self, milliseconds, tunnels):
        answer = self.ask(struct.pack("<cI", b"T", milliseconds))
        return self.came_out(answer, 0, tunnels)[1]

    def send(self, bursts, tunnels):
        """Bursts of (port, bytes), one after the other. For each what came out, as Seen, and what was dropped, by
        reason; a generator, since a frame that is no packet at all raises Malformed."""
        request = [struct.pack("<cH", b"P", len(bursts))]
        for frames in bursts:
            request.append(struct.pack("<H", len(frames)))
            for port, frame in frames:
                request.append(struct.pack("<BH", port, len(frame)))
                request.append(frame)
        answer, at = self.ask(b"".join(request)), 0
        for _ in bursts:
            at, out = self.came_out(answer, at, tunnels)
            yield out

    def came_out(self, answer, at, tunnels):
        """Reads what stands at `at` in an answer; where it ends, and what it is."""
        (count,) = struct.unpack_from("<H", answer, at)
        at += 2
        seen, drops = [], {}
        for _ in range(count):
            port, length = struct.unpack_from("<BH", answer, at)
            at += 3
            frame = self.received(answer[at : at + length])
            if frame:
                seen.append(Seen(port, frame, tunnels))
            at += length
        reasons = answer[at]
        for i in range(reasons):
            reason, packets = struct.unpack_from("<BH", answer, at + 1 + 3 * i)
            drops[self.reasons[reason]] = packets
        return at + 1 + 3 * reasons, (seen, drops)

    def received(self, frame):
        """Every frame that came out; tests damage some."""
        return frame
