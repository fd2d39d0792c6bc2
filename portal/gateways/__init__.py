"""How a tenant reaches M-Pesa: paybill, till or bank; its sealed credentials; a typed Daraja client.

Nothing here knows what a payment is for. The client is given plain values, never a row, and its errors are named for
what the caller must do next: not sent (safe to say so, or to send again) or outcome unknown (ask, never send again).
Decided: only a closed list of answers counts as not sent, because a page of HTML may hide a prompt that rang.
Decided: one OAuth token per gateway is shared by all processes in Redis, sealed, since a new token ends the old one.
"""
