"""Mlango's measurements: `make bench ARGS="all"` measures, prints tables and keeps them in `results.md`.

What is measured:
    ingest   callbacks a second through the real door, against a bare Flask view with one durable insert
    poll     unchanged status polls a second, against a bare Flask view with one indexed select
    captive  the captive portal's first page a second and in bytes, against a bare page of what is on sale
    telling  from a visit's payment to the patient's mail and the clinician's bell, while pulls and statements run
    latency  from the callback to the payer's page that shows it, in the real `portal demo`
    burst    a minute of callbacks at full speed, until every one is settled and delivered; then the books
    settle   one worker settling and delivering what was kept, against bare inserts of the rows that it writes
    memory   what each process of the demonstration holds
    reconcile  a month's statement against books that know it, and against empty ones
    flat     what is done all day, with a thousand payments behind it and with a million
    clinic   a day at the desk of a clinic with 200 visits a day, with a week behind it and with three years
    radius   FreeRADIUS' sign-ins and accounting over 50,000 passes, against its stock queries on a stock schema
    chaos    2,000 payments while workers are killed, Redis and the database go away: the worst delay, and the books
and, by name only, because they ask the package registry:
    peer     a burst taken, settled and delivered, in turns with a plain Django package that settles what it answers
    first-run  from a fresh copy of the tree to the demonstration's first page, against pip installing everything

Decided: throughput is judged by its ratio to a baseline and never by a number a second, because the same
case varied almost twofold between two runs on one machine. Baseline and product run in the same minute, on
the same server program with the same processes and threads, against the same database; the ratio is taken
in pairs that follow each other, and the median of at least three pairs counts.

Decided: PostgreSQL and SQLite flush to disk as in production (fsync on, synchronous FULL). Without that the
insert, which is most of the work, would be free and the ratio a tale.

Decided: everything is the product's own programs in processes of their own (`portal web`, `portal worker`,
...), started here and ended here. Only what a payer or M-Pesa would have done beforehand is written
straight into the database: payments and pushes that wait for a PIN.

Decided: load comes from `wrk` where it is installed, because a Python client on the same cores would take
more of them than the server under test; without it, from Python threads, and the table says so.
"""
