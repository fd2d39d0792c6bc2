"""What a clinic bills: numbers, price list, discounts, credit notes, receipts, statements, reports.

Decided: an issued invoice is never changed. What it asks too much is taken off by a discount (before it is paid, with
a reason and an approver) or by a credit note (at any time, with a number of its own); both stand beside it for ever.
Decided: its number ends in Damm's check digit, as customers' accounts do: a slip of one digit, or of two that changed
places, names no invoice, so its money waits to be placed, with what was probably meant shown first.
Decided: what need not be paid any more makes the payment's amount smaller (`payments.reductions`) instead of being
booked as money: no shilling is ever in the books that nobody paid. What goes back of paid money goes through the same
doors as every refund and every credit, under their locks: never more than came.
"""
