"""Staff pages, across the whole business: today, money, money to place, appointments, invoices, gateways.

Decided: every page is behind the sign-in by the blueprint itself, and each names the permission it needs; a test
walks them all with another tenant's identifiers.
Decided: the tenant comes from the session's choice among the person's memberships, never from the address.
"""

from flask import Blueprint
from flask_wtf.csrf import CSRFError

from portal.staff import (  # fmt: skip
    appointments,
    business,
    clinic_reports,
    desk_booking,
    gateways,
    guard,
    invoices,
    kept_forms,
    lines,
    manual,
    meetings,
    messages,
    notices,
    packages,
    passes,
    patients,
    payments,
    people,
    places,
    prices,
    provisioning,
    receipts,
    reconciliation,
    refunds,
    seller,
    sessions,
    sites,
    sms_submissions,
    statements,
    stuck,
    timetable,
    today,
    unmatched,
    usage,
    vouchers,
)
from portal.staff.reception import board, desk, own, shift, tickets

bp = Blueprint("staff", __name__, url_prefix="/staff")
bp.before_request(guard.let_in)
bp.register_error_handler(CSRFError, kept_forms.not_forged)
bp.context_processor(guard.context)
for _module in (
    today,
    payments,
    unmatched,
    stuck,
    provisioning,
    sms_submissions,
    lines,
    packages,
    vouchers,
    passes,
    seller,
    manual,
    appointments,
    desk_booking,
    patients,
    meetings,
    board,
    desk,
    own,
    tickets,
    shift,
    messages,
    notices,
    timetable,
    places,
    invoices,
    prices,
    receipts,
    statements,
    clinic_reports,
    refunds,
    reconciliation,
    gateways,
    business,
    people,
    sites,
    sessions,
    usage,
):
    _module.register_routes(bp)
