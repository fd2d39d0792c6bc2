"""Places where internet is sold: their settings, the files that their routers take, and how their routers fare.

Decided: a RADIUS router is known by the address that its packets come from, so no two of them share one, whoever's they
are: the tenant of a packet must never depend on what the router says of itself.
Decided: the secrets of a site come out in the files that its router is given and nowhere else; who takes such a file is
recorded. They are made by us where nobody gives one, because people choose short ones.
Decided: a site is closed, never deleted: its sessions and what was sold there stay.
"""
