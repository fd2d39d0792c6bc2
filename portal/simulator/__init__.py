"""A stand-in for Safaricom's Daraja with a telephone that people can press, and for the routers that let it online.

What it is: one Flask application that answers Daraja's own paths with Daraja's own checks and errors, moves
pretended money between pretended customers and organisations, and calls back as M-Pesa does. Its handset
pages show the prompt, the keypad and the SMS inbox beside a log of every message. Beside it stand pretended routers
(`router`), whose Wi-Fi a phone can join.

Invariants
- Any Daraja client works against it: change the base URL, nothing else.
- Every transaction is one row with one receipt; a row and the callbacks it owes are written in the same
  transaction, so a restart neither invents nor forgets one.
- Nothing waits on a network while a transaction is open.
- All instants come from `Store.now()`: the machine's clock plus an offset that `/control` moves and a
  restart keeps.

Decided
- It shares only plain values (errors, clock, money, phone) with the product, because a stand-in that
  borrowed the product's own reading of Daraja would agree with the product's mistakes.
- SQLite through the standard library instead of the product's database: it must run beside any client, and
  one process with one locked connection needs no more.
- Callbacks are not retried, because Safaricom documents no retry: a listener that is down has lost the
  message. After a crash a callback that was on its way is sent again.
- A wrong Password or a Timestamp other than the one inside it is "Wrong credentials", as captured by
  integrators; a Timestamp that is no time at all is "Invalid Timestamp".
- A paybill number that nobody opened may receive a push (an account is opened for it), because any bank's
  paybill can be PartyB and no list of them is complete; a till must be known.
- The final part of the phone number chooses what happens (`behaviours`), so that a client's automatic tests
  need no control door; `/control` overrides it per phone.
- Its words are English only: it is read by developers. What a customer would read is M-Pesa's own wording.
"""

from portal.simulator.app import create_simulator, from_environment
from portal.simulator.engine.organisations import OrganisationSpec

__all__ = ["OrganisationSpec", "create_simulator", "from_environment"]
