"""Mlango ("door"): a portal that opens when an M-Pesa payment lands.

Folders are business nouns, and imports only point down:

    worker . schedule . cli . demo
    app
    api     staff     payer     hooks     operations     home     doors and pages that look across the business
    fulfilment                                            where paid money meets what it bought
    clinic     hotspot                                    never import each other
    payments                                              money and only money; knows a reference, never an invoice
    ledger
    gateways     notifications                            the outside world
    outbox     accounts     audit     tenants             who, and what they did
    db web queue config clock money phone vault …         the kernel
    simulator                                             beside the house; shares only the plain values

Two habits over the floors. Rooms are plain functions over `db.session` that take tenant, actor and money as
arguments and never commit; doors (views, hooks, jobs, commands) open `transaction()`, and none is open while we wait
on a network. And every piece of waiting work can be found by a query: Redis only rings the bell.
"""
