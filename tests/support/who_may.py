"""Who may use which address behind a sign-in, as the requirements have it: written by hand, read from no other code.

Whoever adds an address adds its line, and whoever changes a line changes who may do what: that is the point.
A administrator, R receptionist, C clinician, B accountant (who keeps the books), P patient, K API key.
"""

LETTERS = {
    "tenant_admin": "A", "receptionist": "R", "clinician": "C", "accountant": "B", "patient": "P", "api_key": "K",
}  # fmt: skip

WHO_MAY = """
ARC       GET    /api/appointments
ARC       POST   /api/appointments
ARC       GET    /api/appointments/<uid>
ARC       POST   /api/appointments/<uid>/approve
ARC       POST   /api/appointments/<uid>/cancel
ARC       POST   /api/appointments/<uid>/decline
AB        GET    /api/audit
ARC       GET    /api/clinicians
ARCBK     GET    /api/customers
ARCK      POST   /api/customers
ARCBK     GET    /api/customers/<uid>
AR        POST   /api/customers/<uid>/pay
AR        POST   /api/customers/<uid>/put-back
ARC       GET    /api/invoices
ARC       POST   /api/invoices
ARC       GET    /api/invoices/<number>
A         POST   /api/mpesa/<checkout_request_id>/refund
ARCK      POST   /api/mpesa/initiate
ARCBPK    GET    /api/mpesa/order/<path:order_id>
ARCBPK    GET    /api/mpesa/query/<checkout_request_id>
ARCBPK    GET    /api/mpesa/status/<appointment_id>
A         POST   /api/mpesa/test-connection
A         GET    /api/packages
A         POST   /api/packages
ARC       GET    /api/patients
ARC       POST   /api/patients
A         GET    /api/payment-gateways
A         POST   /api/payment-gateways
A         DELETE /api/payment-gateways/<uid>
A         GET    /api/payment-gateways/<uid>
A         PUT    /api/payment-gateways/<uid>
A         POST   /api/payment-gateways/<uid>/balance
A         POST   /api/payment-gateways/<uid>/default
A         POST   /api/payment-gateways/<uid>/pull
A         POST   /api/payment-gateways/<uid>/register-pull
A         POST   /api/payment-gateways/<uid>/register-urls
A         POST   /api/payment-gateways/<uid>/release-initiator
A         POST   /api/payment-gateways/<uid>/rotate-hooks
A         POST   /api/payment-gateways/<uid>/test
ARCBK     GET    /api/payments/electronic
A         DELETE /api/payments/manual
ARCBK     GET    /api/payments/manual
AR        POST   /api/payments/manual
A         DELETE /api/payments/manual/<uid>
ARCBK     GET    /api/payments/mpesa/stats
A         GET    /api/refunds
A         GET    /api/refunds/<uid>
A         POST   /api/refunds/<uid>/approve
ARCBK     GET    /api/transactions
ARCBK     GET    /api/transactions.csv
ARCBK     GET    /api/transactions/<uid>
ARCB      GET    /staff/
ARC       GET    /staff/appointments
ARC       POST   /staff/appointments/<uid>/approve
ARC       POST   /staff/appointments/<uid>/decline
ARCB      GET    /staff/attempts/<token>
AR        POST   /staff/attempts/<token>/close
AR        POST   /staff/attempts/<token>/put-back
ARCB      GET    /staff/attempts/<token>/qr.png
ARCB      GET    /staff/claims
AR        POST   /staff/claims/<uid>/accept
AR        POST   /staff/claims/<uid>/refuse
ARCB      GET    /staff/customers
ARC       POST   /staff/customers
AR        POST   /staff/customers/<uid>/pay
A         GET    /staff/gateways
A         GET    /staff/gateways/<uid>
A         POST   /staff/gateways/<uid>
A         GET    /staff/gateways/<uid>/balance
A         POST   /staff/gateways/<uid>/balance
A         POST   /staff/gateways/<uid>/default
A         GET    /staff/gateways/<uid>/money
A         POST   /staff/gateways/<uid>/money
A         POST   /staff/gateways/<uid>/pull
A         POST   /staff/gateways/<uid>/register
A         POST   /staff/gateways/<uid>/register-pull
A         POST   /staff/gateways/<uid>/remove
A         POST   /staff/gateways/<uid>/release
A         POST   /staff/gateways/<uid>/rotate
A         POST   /staff/gateways/<uid>/test
A         GET    /staff/gateways/new
A         POST   /staff/gateways/new
AR        POST   /staff/hearsay/<uid>/agree
AR        POST   /staff/hearsay/<uid>/refuse
ARC       GET    /staff/invoices
ARC       GET    /staff/invoices/new
ARC       POST   /staff/invoices/new
ARCB      GET    /staff/live
ARCB      GET    /staff/manual
A         POST   /staff/manual/<uid>/void
AR        GET    /staff/manual/new
AR        POST   /staff/manual/new
ARCB      POST   /staff/notices
ARCB      GET    /staff/payments
ARCB      GET    /staff/payments.csv
ARCB      GET    /staff/payments/<uid>
A         GET    /staff/people
A         POST   /staff/people
A         POST   /staff/people/<int:member_id>/deactivate
A         POST   /staff/people/<int:member_id>/link
A         POST   /staff/people/<int:member_id>/role
A         POST   /staff/people/keys
A         POST   /staff/people/keys/<int:key_id>/revoke
AB        GET    /staff/reconcile
AB        POST   /staff/reconcile
AB        GET    /staff/reconcile/<uid>
AB        GET    /staff/reconcile/<uid>.csv
A         POST   /staff/reconcile/<uid>/accept
AB        POST   /staff/reconcile/<uid>/<int:row_id>/owner
AB        POST   /staff/reconcile/<uid>/<int:row_id>/resolve
AB        POST   /staff/reconcile/list
A         GET    /staff/refunds
A         POST   /staff/refunds/<uid>/approve
A         POST   /staff/refunds/<uid>/refuse
A         POST   /staff/refunds/<uid>/resolve
A         GET    /staff/refunds/of/<token>
A         POST   /staff/refunds/of/<token>
A         GET    /staff/refunds/unplaced/<uid>
A         POST   /staff/refunds/unplaced/<uid>
ARCB      GET    /staff/stuck
A         POST   /staff/stuck/callbacks/<int:item_id>
A         POST   /staff/stuck/messages/<int:item_id>
ARCB      GET    /staff/unmatched
AR        POST   /staff/unmatched/<uid>
AR        POST   /staff/unmatched/<uid>/keep
AR        POST   /staff/unmatched/provisional/<uid>
AR        POST   /staff/unmatched/undecided/<int:item_id>
"""

# "POST /staff/manual/new" -> "AR"
TABLE = {
    f"{method} {path}": letters for letters, method, path in (line.split() for line in WHO_MAY.split("\n") if line)
}
