"""Safaricom's doors: what M-Pesa posts is kept, acknowledged, and settled later by a worker.

Decided: nothing here parses money. A callback that cannot be kept is not acknowledged, so that M-Pesa sends it again.
Decided: two ways in, one result. `routes` are the doors, for whatever comes; `quick` takes what is ordinary before they
see it, which is nearly all and costs a fifth. It says yes or nothing: every refusal, doubt and outage is the views'.
"""
