"""Who may do what: every permission, and which role has it, as data. A test walks every route against it."""

from portal.kernel.errors import Refused

SEE_MONEY, PLACE_MONEY, REQUEST_PAYMENT = "money:see", "money:place", "payment:request"
REFUND = "refund:create"
RECORD_MANUAL, VOID_MANUAL = "money:record", "money:void"
MANAGE_GATEWAYS, MANAGE_PACKAGES = "gateways:manage", "packages:manage"
MANAGE_PEOPLE = "people:manage"
SEE_CLINIC, WORK_CLINIC, APPROVE_APPOINTMENTS = "clinic:see", "clinic:work", "appointments:approve"
MANAGE_SITES, WORK_HOTSPOT, SELL_VOUCHERS = "sites:manage", "hotspot:work", "vouchers:sell"
MANAGE_CLINIC = "clinic:manage"
SEE_AUDIT, RECONCILE = "audit:see", "money:reconcile"
ACCEPT_STATEMENT = "statements:accept"

ALL = frozenset(
    {
        SEE_MONEY,
        PLACE_MONEY,
        REQUEST_PAYMENT,
        REFUND,
        RECORD_MANUAL,
        VOID_MANUAL,
        MANAGE_GATEWAYS,
        MANAGE_PACKAGES,
        MANAGE_PEOPLE,
        MANAGE_SITES,
        WORK_HOTSPOT,
        SELL_VOUCHERS,
        SEE_CLINIC,
        WORK_CLINIC,
        APPROVE_APPOINTMENTS,
        MANAGE_CLINIC,
        SEE_AUDIT,
        RECONCILE,
        ACCEPT_STATEMENT,
    }
)
OF_ROLE: dict[str, frozenset[str]] = {
    "tenant_admin": ALL,
    "receptionist": frozenset(
        {
            SEE_MONEY,
            PLACE_MONEY,
            RECORD_MANUAL,
            REQUEST_PAYMENT,
            SEE_CLINIC,
            WORK_CLINIC,
            APPROVE_APPOINTMENTS,
            WORK_HOTSPOT,
            SELL_VOUCHERS,
        }
    ),
    "seller": frozenset({SELL_VOUCHERS}),  # codes for cash, and nothing else
    "clinician": frozenset({SEE_MONEY, REQUEST_PAYMENT, SEE_CLINIC, WORK_CLINIC, APPROVE_APPOINTMENTS}),
    "accountant": frozenset({SEE_MONEY, SEE_AUDIT, RECONCILE}),
    "api_key": frozenset({SEE_MONEY, REQUEST_PAYMENT}),  # it may stand in an address: no patients
    "patient": frozenset(),
}
STAFF_ROLES = frozenset(OF_ROLE) - {"patient", "api_key"}


class Forbidden(Refused):
    """Signed in, but this role may not."""

    status = 403
    code = "forbidden"


class SignInNeeded(Refused):
    """Nobody is signed in."""

    status = 401
    code = "unauthorized"


def allows(role: str | None, permission: str) -> bool:
    """Whether a role has a permission; nobody has none."""
    return permission in OF_ROLE.get(role or "", frozenset())
