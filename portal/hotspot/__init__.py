"""Internet that is paid for: packages, purchases by a device, and the access they open.

Decided: one live payment per tenant, package, phone and device, kept by a unique key, so two tabs meet in one prompt.
Decided: username and password are the receipt, since every payer holds it in an SMS already; where it is not known yet
they are random and never change. The clock of a package starts when the money arrives, not at the click.
Nothing that the router's redirect tells (MAC, identity, login address) is trusted for money or tenancy; a login address
is used only if it is private or registered, or it would be an open door for codes.
"""
