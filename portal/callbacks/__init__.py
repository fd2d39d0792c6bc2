"""Safaricom's doors: what M-Pesa posts is kept, acknowledged, and settled later by a worker.

Decided: nothing here parses money. A callback that cannot be kept is not acknowledged, so that M-Pesa sends it again.
"""
