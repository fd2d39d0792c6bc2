"""The desk's pages: the day as one board, the queue, the shift; and the clinician's own day and week.

Decided: a page of rows asks what changed with what it has seen (`rows.Seen`), and only rows that are different now are
exchanged: what somebody types in another one stays where it is.
"""
