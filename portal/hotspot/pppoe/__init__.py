"""Subscriptions: lines that dial in by PPPoE, paid month after month by an account number.

A *line* belongs to a customer, whose account number is typed at the paybill and whose wallet takes what is typed there.
A *period* is one stretch of a line's time and the payment that buys it: from the wallet, or by a prompt.

Decided: money that arrives for the account renews at once, one period after the other for as long as the wallet holds
one's price; of several lines the one whose time ends first comes first. What is less stays in the wallet, and the
customer is told what is missing. So the end of a line depends on the sums that came, never on the order they came in.
Decided: a period is a payment like any other: its prompt, its refund, its reversal and its books are those of payments;
what it was paid with, however, may be the wallet. One payment of a line is open at a time, by a unique key.
Decided: a period begins when the last one ended as long as the line is on, days of grace and promises included; once it
is walled, it begins when it is paid. Nobody pays for days behind the wall, nobody gets the days before it for nothing.
Decided: one grant a line, whose end moves: RADIUS accepts an ended one into the walled pool, so that who forgot to pay
sees where to pay, instead of a line that seems dead. The grant's end is that of time, grace, promise or hold, whichever
is last; a line is walled only by `keeping`, which looks for money that may be theirs first.
Decided: at routers without RADIUS a line is a secret, which stays there in a walled profile when its time is over; its
router is made to dial anew whenever its profile changes, and never while it is paid in time.
Left out: bills in arrears (postpaid). What is used before it is paid is a debt to collect; a promise covers days.

Locks are taken in the order payment, line, customer.
"""
