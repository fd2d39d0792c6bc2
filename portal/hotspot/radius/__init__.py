"""FreeRADIUS, which asks our database who may go online: its configuration, its server, and orders to routers.

What FreeRADIUS decides it decides by SQL over what was sold, so a payment, a refund, a suspension acts on the next
packet and nothing has to be carried anywhere. `templates/` is its whole configuration; the views it reads (`radius_*`)
are made by the migration.

Invariants: tenant and site of a packet come from the address that it was sent from (`radius_sites`), and every
statement names them; a Reject carries a sentence and nothing else; every reply is signed (Message-Authenticator), and
every accounting packet is answered that the database has taken, once, however often it comes.

Decided: FreeRADIUS' own SQL drivers, on SQLite too, instead of HTTP to a door of ours. A web server that is restarted
would refuse paying customers (an error of rlm_rest is a Reject), while a database that is away is no answer, which
routers repeat; and in the write-ahead log its readers never wait for our writer, its writers for milliseconds. Measured
with 50,000 passes on a busy machine while somebody else committed fifty times a second: 139 sign-ins and 400 to 560
accounting packets a second, none lost (`python -m bench radius`); a site of a thousand people needs four. Not a spool
for accounting either: there is nothing to wait for. Its connections commit with synchronous NORMAL: a power cut may
cost the last interim, which the next one repeats.
Decided: one statement a sign-in says everything about a user name; what is refused, and in which words, stands in the
policy. On PostgreSQL it is prepared when the connection is made.
Decided: a device that is let in holds a place of its pass for ten seconds, until its router tells of the stay: one row,
which a trigger refuses where the pass has as many other devices. To count stays alone let in whoever came before the
first of them was told of. The trigger counts one device of a pass at a time, by a lock on PostgreSQL and by its one
writer on SQLite.
Decided: a voucher typed at a router goes where the portal would put it, behind what has time left on that device.
Decided: each name of a pass opens the whole of it, but one whose money was taken back opens nothing: its receipt is
with who has the money again. The others go on.
Decided: why somebody is refused is told only to who has the right password; else it is a wrong name or password.
Decided: a MAC address opens what its owner added it to from another device (a TV has no other name), to that device
itself, and nothing else: whoever copies a phone's would have what its owner paid for. A known device comes back by the
router's own MAC cookie, which holds the password, or by a one-time sign-in of the portal's, which RADIUS binds to its
MAC and uses up in one UPDATE.
Decided: wrong names and passwords are counted per device, per user name and per site, in windows of ten minutes. The
device and the name are the guesser's to choose, the site is not: above its limit only devices that the pass knows come
in by password, everybody else by the portal, so a busy hotspot goes on selling while it is attacked.
Decided: a PPPoE line whose time is over is accepted into the router's pool and address list for such lines (the site's
`expired_pool`), where only the portal answers: a rejected line would redial for ever and show its owner nothing.
Decided: other makes than MikroTik, which are those that send none of its attributes, are told speed and end by WISPr's
too. MikroTik is not: it would take the end by its own clock, which is 1970 after a power cut.
Decided: the server is a program of its own (`portal radius run`), not a child of `portal serve`: it listens where the
routers are, restarts of the portal do not touch it, and a site without RADIUS does not carry it.
"""
