"""One comparison: random packets and changes of one seed, until router and model have agreed for long enough."""

import json
import random
import time
from collections import Counter, deque

import cluster
import play
import strays
import traffic
import world as places
from associations import SctpConversation

TIME_STEP = 10_500  # all timeouts (cluster.py, sctp.py) end between two, at least half a second from either
KINDS = {
    traffic.TcpConversation: 36, traffic.UdpConversation: 27, SctpConversation: 10, traffic.EchoConversation: 5,
    strays.ErrorMessage: 15, strays.Stray: 7,
}  # fmt: skip
CONVERSATIONS = 60
REMEMBERED = 3000  # steps that a report can go back


class Failure(Exception):
    """text for people."""


def compare(router, seed, workers, packets, changes, shrink=True, tell=print):
    """One run; what happened how often. Raises Failure."""
    chance = random.Random(seed)
    world = places.World(chance, cluster.Cluster(chance), workers)
    game = play.Play(router, world.cluster.objects, workers, seed + 1)
    world.game = game
    before = dict(game.objects)  # configuration before the steps in `history`
    history = deque()
    number = 0

    def remember(what):
        nonlocal number
        number += 1
        history.append(what)
        if len(history) > REMEMBERED:
            old = history.popleft()
            if old[0] == "change":
                before.update({cluster.key_of(o): o for o in old[1]})
                for key in old[2]:
                    before.pop(key, None)

    def step(what):
        remember(what)
        try:
            return game.step(what)
        except play.Disagreement as disagreement:
            raise Failure(explain(disagreement)) from disagreement

    def several(bursts):
        """Bursts of different conversations, in one go: what is delivered in one does not matter to the others."""
        answers = game.bursts(bursts)
        for frames in bursts:
            remember(("burst", frames))
            try:
                yield next(answers)
            except play.Disagreement as disagreement:
                raise Failure(explain(disagreement)) from disagreement

    def explain(disagreement):
        lines = [f"seed {seed}, workers {workers}, step {number}, packet {game.counts['packets']}: {disagreement.kind}",
                 disagreement.report]  # fmt: skip
        if shrink:
            last = history[-1]
            involved = {entry[0] for entry in last[1]} if last[0] == "burst" else set()
            small = play.shrink(router, before, workers, seed + 1, list(history), disagreement.kind, involved)
            if small is None:
                lines.append(f"the last {len(history)} steps alone do not lead there")
            else:
                lines.append(f"{len(small)} steps lead there:")
                lines.extend(show(small))
                again = play.disagrees(router, before, workers, seed + 1, small)
                lines += ["and then", again.report if again else "(not again)"]
        return "\n".join(lines)

    next_change, told = packets / (changes + 1), time.monotonic()
    names = 0
    while game.counts["packets"] < packets:
        while len(world.live) < CONVERSATIONS:
            conversation = chance.choices(list(KINDS), list(KINDS.values()))[0](world)
            names += 1
            conversation.name = names
            world.live.append(conversation)
        chosen = chance.sample(world.live, CONVERSATIONS // 2)
        # What may have to do with each other is not in one burst: the router would be free to take either first.
        ports = Counter(getattr(each, "port", None) for each in chosen)
        errors = [each for each in chosen if isinstance(each, strays.ErrorMessage)]
        alone = [each for each in chosen if ports[getattr(each, "port", None)] > 1 and each not in errors]
        others = [each for each in chosen if each not in errors and each not in alone]
        rounds = []
        for rest, sizes in ((others, [1, 1, 2, 4, 8]), (errors, [1, 2, 4]), (alone, [1])):
            while rest:
                size = chance.choice(sizes)
                rounds.append([(each, each.next()) for each in rest[:size]])
                rest = rest[size:]
        bursts = [[(each.name, port, frame) for each, own in sent for port, frame in own] for sent in rounds]
        for sent, deliveries in zip(rounds, several(bursts), strict=True):
            at = 0
            for each, own in sent:
                delivered = deliveries[at : at + len(own)]
                at += len(own)
                world.delivered = game.tracked + [p for some in delivered for p in some]
                each.learn(delivered)
        ports = {port for key in game.unsure for port in (key[2], key[4])}
        game.unsure.clear()
        for each in world.live:
            each.done = each.done or getattr(each, "port", None) in ports
        world.live = [each for each in world.live if not each.done]
        if chance.random() < 1 / 4:
            step(("time", TIME_STEP * chance.choice([1, 1, 1, 1, 2, 3, 7])))
        if game.counts["packets"] >= next_change:
            next_change += packets / (changes + 1)
            step(("change", *world.cluster.change()))
        if time.monotonic() - told > 30:
            told = time.monotonic()
            counts, flows = game.counts, len(game.model.flows) // 2
            tell(f"  {counts['packets']} packets, {counts['changes']} changes, {flows} flows")
    return game.counts


def show(steps):
    for step in steps:
        if step[0] == "change":
            yield f"change: {json.dumps(step[1])} delete {step[2]}"
        elif step[0] == "time":
            yield f"time: {step[1]} ms"
        else:
            for _, port, frame in step[1]:
                yield f"packet: {play.Play.describe(port, frame)}"
