"""Making routers let in who paid, and nobody else: what is wanted is rows, a reconciler makes each router so.

Decided: desired state, never commands. `Provisioning` says what one router has to know of one grant; a try that is
repeated, late or out of order changes nothing, since each carries the whole wanted state and its version.
Decided: what counts is what was read back from the router, not its answer to our order: routers say yes and do
otherwise (wishes 8 and 10).
Decided: a kind of router is a folder here that registers itself (`interface.register`); nothing else names it.
Decided: no try waits for another router's: rows are worked off a router at a time, in its own thread, and a router that
does not answer has a circuit of its own (`RouterState`), which holds all its rows back at once.
"""

from portal.hotspot.routers.interface import Adapter, Outcome, adapter_of

__all__ = ["Adapter", "Outcome", "adapter_of"]
