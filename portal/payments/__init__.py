"""Money and only money: what is to be paid, the prompts that ask for it, the money that came, and where it went.

Five nouns. A *payment* is one thing to be paid. An *STK push* is one request to one phone; a payment has any number.
A *transaction* is money that M-Pesa says has moved, known by its receipt, whoever told us first. An *allocation* says
how much of it paid which payment. A *refund* is its own entity.

What holds, whatever crashes when:
- a receipt is booked once per tenant and environment; money known by query alone is booked once per push;
- a push is committed before M-Pesa hears of it, and what may have rung is asked about, never sent again;
- a callback is kept on disk before it is acknowledged; settling it twice changes nothing;
- a payment is never over-allocated; what is too much, too late or unknown stays visible until staff give it a home;
- nothing of value opens on a callback that does not fit a push by token, gateway, id and amount;
- what was acknowledged is never dropped: what nobody may believe yet is asked about until M-Pesa answers, and shown;
- money is M-Pesa's per tenant, environment and number, not per gateway row: one paybill may be entered twice;
- a payment, its money and its refund are of one environment, test or real; what fits none of it waits to be placed;
- money known by a query alone is provisional: told apart, asked about again, and sent back only by two persons' word.

Decided: states move by one compare-and-set UPDATE over a graph that is data (`states`), instead of reading, thinking
and writing.
Decided: locks are taken in one order, so that two workers wait for each other, never on each other: the row that told
us (an inbox row, another system's report), the request to M-Pesa, payments, transactions, refunds; of one kind in the
order of their ids. A push is written under its payment's lock, or alone.
Decided: what fits exactly is settled and delivered in sets (`processing.sets`), the rest row by row
(`processing.callbacks`). Both decide by the same functions and leave the same rows behind.
Decided: money that goes straight to its home is one journal and one line of the history (`booking.told_of_straight`,
which pages read as the steps it tells of). Who told of it first stands in the transaction; later ones are witnesses.
Decided: what need not be paid any more makes the amount smaller (`reductions`); no money is booked for it.
Decided: money that pays more than is due stays in suspense with a reason, instead of becoming credit by itself: a
person decides whether it is credit, a refund, or another invoice.
"""
