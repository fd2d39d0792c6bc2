"""People who pay, whatever happens: they try again while the page says "one moment", and pay once."""

import queue
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.world import PRICE_KES, Shop, World

PIN = "1234"
TRY_AGAIN_S = 1.0
BY_HAND = "by hand"


@dataclass
class Crowd:
    """What the payers met. answers: status codes of `initiate`; gave_up: who never got through."""

    answers: Counter[str] = field(default_factory=Counter)
    gave_up: list[str] = field(default_factory=list)
    longest_s: float = 0.0  # until a request to pay was taken, over all its tries
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, answer: str) -> None:
        with self._guard:
            self.answers[answer] += 1

    def took(self, seconds: float) -> None:
        with self._guard:
            self.longest_s = max(self.longest_s, seconds)

    def lost_patience(self, phone: str) -> None:
        with self._guard:
            self.gave_up.append(phone)


class Payers:
    """`count` payments, spread over `within_s` seconds, made by `people` at once."""

    def __init__(
        self, made: World, *, count: int, within_s: float, people: int, endings: tuple[str, ...], patience_s: float
    ) -> None:
        self.crowd = Crowd()
        self._world, self._patience_s = made, patience_s
        self._waiting: queue.SimpleQueue[tuple[float, int, str]] = queue.SimpleQueue()
        begins = time.monotonic()
        for number in range(count):
            at = begins + within_s * number / count
            self._waiting.put((at, number, endings[number % len(endings)]))
        self._pool = ThreadPoolExecutor(people, thread_name_prefix="payer")
        self._people: list[Future[None]] = [self._pool.submit(self._pay_in_turn) for _person in range(people)]

    def are_done(self) -> bool:
        """Whether everybody has paid or given up. Raises what went wrong among them."""
        for person in self._people:
            if person.done():
                person.result()
        return all(person.done() for person in self._people)

    def send_home(self) -> None:
        """Nobody begins another payment; returns when all are gone."""
        while not self._waiting.empty():
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                break
        self._pool.shutdown()

    def _pay_in_turn(self) -> None:
        with requests.Session() as http:
            http.trust_env = False
            while True:
                try:
                    at, number, ending = self._waiting.get_nowait()
                except queue.Empty:
                    return
                time.sleep(max(0.0, at - time.monotonic()))
                shop = self._world.shops[number % len(self._world.shops)]
                if ending == BY_HAND:
                    self._pay_by_hand(http, shop, f"2547{number:06d}00")
                    continue
                phone = f"2547{number:06d}{ending}"
                if self._buy(http, shop, phone) and ending == "00":
                    self._enter_pin(http, phone)

    def _buy(self, http: requests.Session, shop: Shop, phone: str) -> bool:
        """Ask until the request is taken: the same form each time."""
        form = {"tenant": shop.slug, "packageId": shop.package, "phone": phone, "idempotencyKey": f"form-{phone}"}
        began = time.monotonic()
        while time.monotonic() - began < self._patience_s:
            answer = self._ask(http, form)
            if answer in ("200", "201"):
                self.crowd.took(time.monotonic() - began)
                return True
            time.sleep(TRY_AGAIN_S)
        self.crowd.lost_patience(phone)
        return False

    def _ask(self, http: requests.Session, form: dict[str, str]) -> str:
        try:
            response = http.post(f"{self._world.web}/api/portal/mpesa/initiate", json=form, timeout=30)
            answer = str(response.status_code)
        except requests.RequestException as error:
            answer = type(error).__name__
        self.crowd.saw(answer)
        return answer

    def _enter_pin(self, http: requests.Session, phone: str) -> None:
        handset = f"{self._world.simulator}/handset/{phone}"
        until = time.monotonic() + self._patience_s
        while time.monotonic() < until:
            if self._prompts(http, handset):
                http.post(f"{handset}/pin", json={"pin": PIN}, timeout=10)
                return
            time.sleep(0.4)

    def _prompts(self, http: requests.Session, handset: str) -> list[Any]:
        answer = http.get(handset, headers={"Accept": "application/json"}, timeout=10)
        prompts: list[Any] = answer.json()["prompts"]
        return prompts

    def _pay_by_hand(self, http: requests.Session, shop: Shop, phone: str) -> None:
        given = {"shortcode": shop.shortcode, "account": "WIFI", "amount": PRICE_KES}
        answer = http.post(f"{self._world.simulator}/handset/{phone}/pay", json=given, timeout=30)
        self.crowd.saw("by hand" if answer.json()["accepted"] else "by hand refused")
