"""The front desk: who has arrived, whose turn it is, and the cash drawer from its opening to its count.

`board` reads the day as one list, `arrivals` writes down who came, `queue_tickets` gives and calls numbers, `shifts`
counts the cash. How a visit goes on is `clinic.appointments`' to say, and how it is paid `payments`'.

Decided: what is done at the desk by a slip is undone there, by who works there, within ten minutes; later it takes an
administrator. Money is never erased: cash is voided out of the shift that is still open, a claim is money without a
home again, and what went back to a payer is not undone at all.
"""
