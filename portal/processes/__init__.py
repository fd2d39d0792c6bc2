"""The programs that run: web process, workers, scheduler, the supervisor that keeps them alive, an embedded Redis.

Decided: a program finds its work by query and may be killed between any two lines. The supervisor imports nothing of
the product, so that a broken installation can still be stopped and explained.
"""
