"""Appointments that are paid for: patients, clinicians, approval, invoices, meeting links.

Decided: the invoice's number is reserved at booking and issued at approval, so that the number can be told early and
still nothing unapproved can be paid. Decided: whether an invoice is paid is its payment's to say; the invoice keeps no
state of its own but void. No text that others may see (references, SMS, e-mail subjects) says what a visit is for.
"""
