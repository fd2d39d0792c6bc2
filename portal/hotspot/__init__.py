"""Internet that is paid for: packages, purchases by a device, and the access they open.

Decided: one live payment per tenant, package, phone and device, kept by a unique key, so two tabs meet in one prompt.
Decided: the user name is the receipt, since every payer holds it in an SMS already; the password is random, because a
receipt is seen by others. It is shown on the paid page and sent by SMS, and asked on a device that did not pay.
Decided: a MAC address is no secret. By it alone a device is told that a payment waits or access runs, and is let in by
a sign-in for itself, once; all else asks for the browser's cookie or for the number that paid.
Decided: a grant's password is kept readable, not sealed: FreeRADIUS has to know it to answer CHAP, and what opens it
in SQL would open a seal for whoever reads the table. It is random, short, and worth one package.
Decided: what was sold refers to its package's row, and a row that was sold never changes: new terms are a new row.
The clock of a package starts when the money arrives, not at the click; or when what runs on the device is over. Where
bought time goes (it extends, waits, begins at once with the rest kept, adds data) is said in one place, `places`, to
the page that offers it and to who grants it. `access` writes it, `openings` the ordinary ones in sets, `vouchers` sells
codes for it, `live` is what staff change of it, and `upkeep` what time does.
Nothing that the router's redirect tells (MAC, identity, login address) is trusted for money or tenancy; a login address
is used only if it is private or registered, or it would be an open door for codes.
"""
