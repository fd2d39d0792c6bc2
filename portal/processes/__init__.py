"""The programs that run: web process, workers, scheduler, the supervisor that keeps them alive, an embedded Redis.

`serve` puts them together on one machine; `portal web`, `portal worker` and `portal scheduler` are one of them each,
for many machines.

Decided: a program finds its work by query and may be killed between any two lines. The supervisor itself imports
nothing of the product: its caller decides what its copies share.
"""
