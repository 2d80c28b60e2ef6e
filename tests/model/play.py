"""Plays steps to the router and the model at once, and compares. A step is ("change", objects to set, keys to delete),
("time", milliseconds) or ("burst", [(conversation, port, frame), ...])."""

import time
from collections import Counter

from expected import Forward
from reference import Model
from tables import Tables
from wire import Malformed, is_icmp_error, read_ip

MLD_ROUTERS = bytes.fromhex("ff02" + "00" * 13 + "16")


def is_report(packet):
    """Of listeners to groups, by the router itself (RFC 3810 section 5.2.14)."""
    return packet.dst == MLD_ROUTERS


class Disagreement(Exception):
    """kind: what sort, the same in every shrunk repetition; `report`: for people."""

    def __init__(self, kind, report):
        super().__init__(kind)
        self.kind, self.report = kind, report


class Play:
    def __init__(self, router, objects, workers, seed):
        self.router, self.objects, self.workers = router, dict(objects), workers
        router.start(workers, seed)
        router.load(self.objects)
        self.tables = Tables(self.objects)
        self.model = Model(self.tables, workers)
        self.ports_seen = {}
        self.counts = Counter()
        self.unsure = set()
        self.tracked = []  # packets of flows that were delivered last

    def step(self, step):
        """What was delivered, for each frame of a burst."""
        if step[0] == "burst":
            return next(self.bursts([step[1]]))
        self.ports_seen.clear()
        if step[0] == "change":
            return self.change(step[1], step[2])
        return self.time(step[1])

    def change(self, upsert, delete):
        self.router.change(upsert, delete)
        for o in upsert:
            self.objects[o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]] = o
        for key in delete:
            self.objects.pop(key, None)
        self.tables = Tables(self.objects)
        self.model.change(self.tables)
        self.counts["changes"] += 1

    def time(self, milliseconds):
        try:
            seen, drops = self.router.advance(milliseconds, self.tables.tunnel_pairs)
        except Malformed as error:
            raise Disagreement("malformed", f"while {milliseconds} ms passed: {error}") from error
        self.model.begin(seen, drops)
        self.model.advance(milliseconds)
        self.finish(seen, drops, [(f"that {milliseconds} ms pass", None)])

    def bursts(self, bursts):
        """One after the other; what was delivered, for each burst and frame."""
        answers = self.router.send([[entry[1:] for entry in frames] for frames in bursts], self.tables.tunnel_pairs)
        for frames in bursts:
            try:
                seen, drops = next(answers)
            except Malformed as error:
                sent = "\n".join(self.describe(port, frame) for _, port, frame in frames)
                raise Disagreement("malformed", f"{error} came out for\n{sent}") from error
            yield self.compare(frames, seen, drops)

    def compare(self, frames, seen, drops):
        model = self.model
        model.begin(seen, drops)
        deliveries, log = [], []
        for _, port, frame in frames:
            first = len(model.out)
            model.story = []
            model.receive(port, frame)
            delivered = []
            log.append((port, frame, model.story))
            for expected in model.out[first:]:
                fault = expected.claim(seen, self.ports_seen)
                log.append((expected, fault))
                if fault is None:
                    self.counts[type(expected).__name__] += 1
                    if isinstance(expected, Forward):
                        delivered.append(expected.packet)
                        if expected.flow is not None:
                            self.tracked = [expected.packet, *self.tracked[:30]]
                elif not expected.optional:
                    sort = fault if not any(map(str.isdigit, fault)) else fault.split()[0]
                    raise Disagreement(f"{type(expected).__name__}: {sort}", self.report(log, seen, drops))
            deliveries.append(delivered)
        self.counts["packets"] += len(frames)
        self.unsure |= model.unsure
        self.finish(seen, drops, log)
        return deliveries

    def finish(self, seen, drops, log):
        for frame in seen:
            p = frame.packet
            if frame.used or p is None or (p.proto == 58 and 133 <= p.l4[0] <= 137) or is_report(p):
                continue  # its own address resolution is no part of the model
            kind = "not expected" + (": ICMP error" if is_icmp_error(p) else "")
            raise Disagreement(kind, self.report(log, seen, drops))
        if any(self.model.chosen[key] <= times for key, times in self.model.borrowed.items()):
            raise Disagreement("affinity", self.report(log, seen, drops))
        dropped = list(Counter(drops).elements())
        taken = [None] * len(dropped)
        for names in sorted(self.model.drops, key=lambda names: "none" in names):
            if not take(names, dropped, taken, set()) and "none" not in names:
                raise Disagreement(f"drop {' or '.join(sorted(names))}", self.report(log, seen, drops))
        for name, names in zip(dropped, taken):
            if names is None:
                raise Disagreement(f"drop {name}", self.report(log, seen, drops))
            self.counts["drop " + name] += 1

    def report(self, log, seen, drops):
        lines = []
        for entry in log:  # written out only now: nearly all of them never are
            if len(entry) == 3:
                port, frame, story = entry
                lines.append("in:  " + self.describe(port, frame))
                lines.extend("     " + sentence for sentence in story)
            else:
                lines.append(f"     expected {entry[0]}" + (f"  ({entry[1]})" if entry[1] else ""))
        for frame in seen:
            lines.append(f"out: {'' if frame.used else '(unexpected) '}{frame}")
        lines.append(f"drops: {drops or 'none'}")
        return "\n".join(lines)

    @staticmethod
    def describe(port, frame):
        try:
            return f"port {'abc'[port]}: {read_ip(frame[14:])} {wrapped(frame)}"
        except (Malformed, IndexError):
            return f"port {'abc'[port]}: {frame.hex()}"


def take(names, dropped, taken, tried):
    """Takes one of what was dropped for one of these reasons; whoever has it takes another (an augmenting path)."""
    for at, name in enumerate(dropped):
        if name in names and at not in tried:
            tried.add(at)
            if taken[at] is None or take(taken[at], dropped, taken, tried):
                taken[at] = names
                return True
    return False


def wrapped(frame):
    """What a tunnel carries, for people."""
    outer = read_ip(frame[14:])
    if outer.proto in (4, 41):
        return f"[ {read_ip(outer.l4)} ]"
    if outer.proto == 17 and outer.l4[2:4] == b"\x12\xb5":
        return f"[ {read_ip(outer.l4[30:])} ]"
    return ""


def disagrees(router, objects, workers, seed, steps):
    """The disagreement these steps lead to; None if they lead to none."""
    try:
        play = Play(router, objects, workers, seed)
        for step in steps:
            play.step(step)
    except Disagreement as disagreement:
        return disagreement
    return None


def shrink(router, objects, workers, seed, steps, kind, conversations, seconds=40):
    """Fewer steps that lead to a disagreement of this kind, or None if these do not. First only what the packets at the
    end have to do with, then pieces are left out, large ones first."""
    deadline = time.monotonic() + seconds

    def fails(candidate):
        found = disagrees(router, objects, workers, seed, candidate)
        return found is not None and found.kind == kind

    if not fails(steps):
        return None
    own = [
        step if step[0] != "burst" else ("burst", [entry for entry in step[1] if entry[0] in conversations])
        for step in steps
    ]  # fmt: skip
    own = [step for step in own if step[0] != "burst" or step[1]]
    best = own if fails(own) else steps
    size = max(len(best) // 2, 1)
    while time.monotonic() < deadline:
        at, shorter = 0, False
        while at < len(best) and time.monotonic() < deadline:
            candidate = best[:at] + best[at + size :]
            if fails(candidate):
                best, shorter = candidate, True
            else:
                at += size
        if size > 1:
            size //= 2
        elif not shorter:
            single = apart(best)
            if len(single) == len(best) or not fails(single):
                break
            best, size = single, max(len(single) // 2, 1)
    return best


def apart(steps):
    """The same with each packet in a burst of its own."""
    return [
        one for step in steps for one in ([("burst", [entry]) for entry in step[1]] if step[0] == "burst" else [step])
    ]  # fmt: skip
