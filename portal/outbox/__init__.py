"""Effects outside the database, written down in the transaction that causes them and carried out by a job.

An item is claimed by moving its next_at past the carrier's timeouts, carried out outside any transaction, and recorded.
A worker killed in between leaves an item that comes up again: at least once, so the carriers make doubles visible
(the same Message-ID). What fails for good is dead, in sight of staff; what came too late is skipped.
"""
