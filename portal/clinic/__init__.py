"""Appointments that are paid for: patients, clinicians, approval, invoices, meeting links.

Decided: the invoice's number is reserved at booking and issued at approval, so that the number can be told early and
still nothing unapproved can be paid. Decided: whether an invoice is paid is its payment's to say; the invoice keeps no
state of its own but void. Decided: a visit keeps the terms of its service as they were when it was booked (`policies`):
what a deposit is, until when it is cancelled freely, what the clinic keeps later, and which way the rest goes back. No
text that others may see (references, SMS, e-mail subjects) says what a visit is for.
"""
