"""Mlango ("door"): a portal that opens when an M-Pesa payment lands.

Folders are business nouns, and each of them has its floor: the plan stands once, in README.md ("How it is built"), the
contract in pyproject.toml, and a test holds them against each other. Who knows M-Pesa and Flask finds

    a payment, opened, found and locked    payments/payment.py
    STK push: asked for, sent, queried     payments/stk/, sent by payments/processing/jobs.py
    STK callback, its door                 callbacks/routes.py, then payments/inbox/, payments/processing/callbacks.py
    C2B validation, pull                   payments/c2b/
    which payment money was meant for      payments/matching.py
    money booked, allocated, taken back    payments/booking.py
    a refund: asked for, sent, tried anew  payments/refunds/
    a pasted M-Pesa message                payments/sms/, bought with it: hotspot/sms_purchases.py
    Daraja, its errors and result codes    gateways/daraja/, gateways/result_codes.py
    a gateway's settings and test          gateways/settings.py, gateways/connection_test.py
    what a paid package or invoice opens   fulfilment.py, hotspot/access.py, clinic/appointments.py
    who may see this                       users/permissions.py, asked by api/guard.py and staff/guard.py
    headers, CSRF, error pages, sign-in    web/
    what `portal ...` does                 cli/, one file a subject
    a page for payers, for staff           payer/, staff/; its templates under the same name in templates/
    a setting, a log line, a job           kernel/config.py, kernel/logs.py, kernel/queue.py

Two habits over the floors. Rooms are plain functions over `db.session` that take tenant, actor and money as arguments
and never commit; doors (views, callbacks, jobs, commands) open `transaction()`, and none is open while we wait on a
network: a room that asks one opens its own around it, and says so. And every piece of waiting work can be found by a
query: Redis only says that there is some.

Decided: four doors (`staff`, `api`, `payer`, `callbacks`) on one floor, each only finding, asking and showing, over
rooms that do the work for all of them; instead of doors that call each other's views, as they had begun to.
Decided: what doors share stands in `web` above fulfilment, not in the kernel below everything, because it shows
payments together with what they bought. `payments` is one room with a room for each channel in it, instead of a room
for each step of a payment: who looks for C2B looks for C2B, and what all channels share (`payment`, `booking`,
`matching`) is named for the noun. Operations of several doors lie with their noun, not in a layer of "services".
"""
