"""Pretended routers: RouterOS' API, a hotspot with its pages, RADIUS, and phones that join its Wi-Fi.

What it is: a `Hotspot` for each `RouterSpec`, whose memory are rows of the simulator's store; a server of RouterOS' API
on a port of its own; pages under `/wifi/<router>/`. Any client of that API works against it, and any portal that a
real router could send a phone to.

Invariants
- Who may pass is decided here, by what the router was told (its own users) or is told when it asks (RADIUS), and every
  limit ends by the simulator's clock, which `/control` and the phone's buttons move.
- `.id` is another after each reboot and one that named another entry before: a client that keeps ids is found out.
- Nothing waits on the RADIUS server while a transaction is open.

Decided
- There is no wire between a phone and this router, so a phone is known by the address of its pages:
  `/wifi/<router>/<its MAC address>/`. What it opens there is "any address"; everything behind the router is a page of
  ours that says so.
- What a customer would read on the router's own pages is in both languages at once, as on many a real one; the drawn
  phone around it speaks English, as the whole simulator does.
- The words of refusals are RouterOS' own (errors.txt); a portal is shown them as `error`.
- Lines that dial in by PPPoE are set up by `/control` (`plugIn`) and dial again whenever they are not online, as
  routers at people's homes do.
- A session that is removed counts what it used, as in RouterOS; changing a user changes no session that runs, so
  whoever wants a change now has to end the session.
"""
