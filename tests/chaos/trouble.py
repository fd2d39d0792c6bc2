"""What goes wrong, and when: a list that is made beforehand from a seed, so a failure can be played again."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.world import TEAM, World

FAULTS = {
    "duplicateCallback": {"times": 3, "copies": 2},
    "outOfOrder": {"times": 4},
    "lateCallback": {"times": 2, "seconds": 5},
}


@dataclass(frozen=True, order=True)
class Trouble:
    """at_s: seconds after the first payment."""

    at_s: float
    what: str
    name: str = ""


@dataclass(frozen=True)
class Plan:
    """How often things go wrong. outages: (begin, kind) with kind `take_away` or `freeze`; times in seconds.

    Everybody of the team is killed once before anybody is killed twice.
    """

    lasts_s: float
    outages: tuple[tuple[float, str], ...]
    outage_s: float
    kill_every_s: float
    flush_every_s: float
    kill_redis_every_s: float
    faults_every_s: float
    seed: int = 1

    def troubles(self) -> list[Trouble]:
        """Everything, in order."""
        dice = random.Random(self.seed)
        order = [name for _turn in range(1 + int(self.lasts_s)) for name in dice.sample(TEAM, len(TEAM))]
        found = [Trouble(at_s, kind) for at_s, kind in self.outages]
        found += [Trouble(at_s + self.outage_s, "give_back") for at_s, _kind in self.outages]
        kills = zip(_every(self.kill_every_s, self.lasts_s), order, strict=False)
        found += [Trouble(at_s, "kill", name) for at_s, name in kills]
        found += [Trouble(at_s, "flush") for at_s in _every(self.flush_every_s, self.lasts_s)]
        found += [Trouble(at_s, "kill", "redis") for at_s in _every(self.kill_redis_every_s, self.lasts_s)]
        found += [Trouble(at_s, "faults") for at_s in _every(self.faults_every_s, self.lasts_s)]
        return sorted(found)


def make(trouble: Trouble, made: World) -> str:
    """Let it happen; what happened, for people."""
    deeds: dict[str, Callable[[], object]] = {
        "take_away": made.database.take_away,
        "freeze": made.database.freeze,
        "give_back": made.database.give_back,
        "kill": lambda: made.kill(trouble.name),
        "flush": made.flush_redis,
        "faults": lambda: made.control(faults=FAULTS),
    }
    said = deeds[trouble.what]()
    return said if isinstance(said, str) else {"give_back": "database back"}.get(trouble.what, "callbacks disturbed")


def _every(step_s: float, lasts_s: float) -> list[float]:
    return [step_s * number for number in range(1, int(lasts_s / step_s) + 1)]
