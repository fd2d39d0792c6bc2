"""What the API's requests and answers look like, as JSON Schema: the written half of the contract.

Decided: schemas describe and never validate. A request is checked by the room that understands it, because only the
room can say what would be right; tests hold the answers against these schemas, so that the two cannot drift apart.
Decided: objects are open. A program that is told of a new field must not break.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from portal.kernel.errors import PortalError

View = TypeVar("View", bound=Callable[..., Any])
Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
KES: Schema = {"type": "number", "description": "Kenyan shillings, at most 2 decimals."}
TIME: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339."}
ADDRESS: Schema = {"type": "string", "format": "uri"}
PHONE: Schema = {"type": "string", "description": "Kenyan, in any usual form.", "examples": ["0712345678"]}
MASKED: Schema = {"type": "string", "description": "A phone number of which some digits are hidden."}
ENVIRONMENT: Schema = {"enum": ["sandbox", "production"]}
STATUS: Schema = {
    "enum": [
        "pending", "processing", "timed_out", "failed", "cancelled", "paid", "partially_refunded", "refunded",
    ],
    "description": "timed_out is not final: M-Pesa is asked on.",
}  # fmt: skip


def words(*allowed: str) -> Schema:
    """One of these words."""
    return {"enum": list(allowed)}


_VISIT_STATES = words("pending_approval", "approved", "confirmed", "completed", "no_show", "cancelled", "declined")


def maybe(schema: Schema) -> Schema:
    """That, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(item: Schema) -> Schema:
    """A list of it."""
    return {"type": "array", "items": item}


def thing(base: dict[str, Schema] | None = None, /, *, optional: tuple[str, ...] = (), **more: Schema) -> Schema:
    """An object with these properties, all of them required but those that `optional` names."""
    properties = (base or {}) | more
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def ref(name: str) -> Schema:
    """The component of this name."""
    if name not in COMPONENTS:
        raise KeyError(f"{name} is described nowhere.")
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(name: str) -> Schema:
    """A page of a list, newest first. nextCursor: the `cursor` of the next page, null on the last one."""
    return thing(items=many(ref(name)), nextCursor=maybe(TEXT))


def found(name: str) -> Schema:
    """`{success, data}`."""
    return thing(success=FLAG, data=ref(name))


def answered(**data: Schema) -> Schema:
    """`{success, message, ...}`."""
    return thing({"success": FLAG, "message": TEXT} | data)


_GATEWAY_SETTINGS: dict[str, Schema] = {
    "type": words("MPESA_API", "MPESA_NO_API"),
    "subType": words("PAYBILL", "BUYGOODS", "BANK"),
    "name": TEXT,
    "displayName": TEXT,
    "shortcode": TEXT | {"description": "The paybill or till; of a bank its paybill."},
    "storeNumber": TEXT | {"description": "BUYGOODS: the head office. BANK: the shortcode that owns the passkey."},
    "accountNumber": TEXT | {"description": "BANK: the account."},
    "initiatorName": TEXT,
    "certificate": TEXT | {"description": "Safaricom's, as PEM; seals the initiator's password."},
    "b2cShortcode": TEXT | {"description": "Where refunds are paid from; empty: the shortcode."},
    "env": ENVIRONMENT,
    "baseUrl": TEXT | {"description": "Of another Daraja than Safaricom's; usually empty."},
    "isDefault": FLAG,
    "forClinic": FLAG,
    "forHotspot": FLAG,
    "forPppoe": FLAG,
}
_SECRET: Schema = {"type": "string", "writeOnly": True, "minLength": 1}
_SECRETS: dict[str, Schema] = dict.fromkeys(
    ("consumerKey", "consumerSecret", "passkey", "initiatorPassword", "securityCredential"), _SECRET
)
_PACKAGE: dict[str, Schema] = {
    "id": TEXT,
    "name": TEXT,
    "price": KES,
    "duration": {"type": "integer", "description": "Seconds."},
    "speed": TEXT,
    "dataCap": maybe({"type": "integer", "description": "Bytes."}),
    "devices": {"type": "integer"},
}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65_535}
_SITE_SETTINGS: dict[str, Schema] = {
    "name": TEXT,
    "kind": words("radius", "routeros", "opennds", "voucher"),
    "address": TEXT | {"description": "In the management network: an IP address; for routeros a host name too."},
    "loginHosts": many(TEXT) | {"description": "The only hosts that codes are sent to, besides private addresses."},
    "identity": TEXT,
    "coaPort": PORT | {"description": "Where the router takes orders to end or change a session."},
    "apiPort": PORT,
    "apiTls": FLAG,
    "apiUsername": TEXT,
}
_BYTES: Schema = maybe({"type": "integer", "minimum": 1, "description": "Bytes."})
_PACKAGE_TERMS: dict[str, Schema] = {
    "kind": words("time", "online", "data", "mixed", "hotspot", "pppoe")
    | {"description": "What is used up; hotspot and pppoe are taken for whom it is, in the place of forPppoe."},
    "validity": {"type": "integer", "minimum": 60, "description": "Seconds after its opening at which it ends."},
    "dataCap": _BYTES,
    "dailyCap": _BYTES | {"description": "Bytes of a day in East Africa Time."},
    "atCap": words("stop", "throttle"),
    "throttledRate": TEXT,
    "rate": TEXT | {"description": "MikroTik's form, upload/download, perhaps with burst, such as 2M/4M."},
    "speed": TEXT | {"description": "In the place of rate, such as 5 Mbps."},
    "devices": {"type": "integer", "minimum": 1, "maximum": 50},
    "sites": many(TEXT) | {"description": "Ids of the sites that it is limited to; none: valid at all."},
    "group": TEXT,
    "hidden": FLAG,
    "trial": FLAG | {"description": "Free, once a verified phone."},
    "addon": FLAG | {"description": "Data that is added to the pass that runs."},
    "forPppoe": FLAG,
}
_CREDENTIALS = thing(username=TEXT, password=TEXT, expiresAt=TIME, loginUrl=maybe(TEXT))
_TRANSACTION: dict[str, Schema] = {
    "id": TEXT,
    "receipt": maybe(TEXT),
    "amount": KES,
    "channel": TEXT,
    "payer": TEXT | {"description": "Masked."},
    "reference": TEXT,
    "occurredAt": TIME,
    "state": words("allocated", "partly_allocated", "unallocated", "merged", "reversed", "void"),
    "environment": ENVIRONMENT,
    "provisional": FLAG | {"description": "Known by our query alone: M-Pesa has told no receipt of it yet."},
}
_LINE_TERMS: dict[str, Schema] = {
    "packageId": TEXT | {"description": "A package for PPPoE."},
    "graceDays": {"type": "integer", "minimum": 0, "maximum": 31},
    "autoRenew": FLAG | {"description": "Renewed from the wallet without asking, as soon as it holds enough."},
    "promptsBeforeEnd": FLAG | {"description": "The customer agreed: their phone is asked the day before the end."},
    "language": words("en", "sw"),
}
_PPPOE_LINE: dict[str, Schema] = {
    "id": TEXT,
    "customerId": TEXT,
    "accountNumber": TEXT,
    "username": TEXT | {"description": "What the customer's router dials in with."},
    "package": TEXT,
    "price": KES,
    "state": words("active", "walled", "suspended", "closed"),
    "paidUntil": maybe(TIME),
    "onUntil": maybe(TIME) | {"description": "With grace, a promise to pay, or money that may be theirs."},
    "amountDue": KES | {"description": "What is missing to renew it, beyond what the wallet holds."},
    "createdAt": TIME,
    **_LINE_TERMS,
}
_CUSTOMER: dict[str, Schema] = {
    "id": TEXT,
    "accountNumber": TEXT,
    "name": maybe(TEXT),
    "phone": maybe(MASKED),
    "balance": KES,
    "environment": ENVIRONMENT,
    "createdAt": TIME,
}
_PIECES: Schema = {"type": "integer", "minimum": 1, "maximum": 1000}
_LINE = thing(
    kind=TEXT,
    description=TEXT,
    quantity=_PIECES,
    amount=KES | {"description": "Of all its pieces together."},
    priceItemId=maybe(TEXT),
)
_NEW_LINE = thing(
    kind=TEXT,
    description=TEXT,
    quantity=_PIECES,
    amount=KES
    | {"description": "Of all its pieces together; of a line of the price list what that says, or left out."},
    priceItemId=maybe(TEXT | {"description": "A line of the clinic's price list: it gives the rest."}),
    optional=("kind", "description", "quantity", "amount", "priceItemId"),
)
_FIGURE = thing(amount=KES, count=COUNT)

COMPONENTS: dict[str, Schema] = {
    "Error": thing(
        error=TEXT | {"description": "A short name that stays."},
        message=TEXT | {"description": "A sentence: what is wrong, and what would be right."},
        fields={"type": "object", "additionalProperties": TEXT},
        optional=("fields",),
    ),
    "Credentials": thing(
        email=TEXT,
        password=TEXT,
        tenant=TEXT | {"description": "Where somebody works for several."},
        optional=("tenant",),
    ),
    "Token": thing(accessToken=TEXT, tokenType=words("Bearer"), expiresIn=COUNT | {"description": "Seconds."}),
    "Done": answered(),
    "NewGateway": thing(
        _GATEWAY_SETTINGS | _SECRETS,
        optional=tuple((_GATEWAY_SETTINGS | _SECRETS).keys() - {"type", "subType", "name", "shortcode", "env"}),
    ),
    "GatewayChange": thing(_GATEWAY_SETTINGS | _SECRETS, optional=tuple(_GATEWAY_SETTINGS | _SECRETS)),
    "Gateway": thing(
        {"id": TEXT} | _GATEWAY_SETTINGS,
        secretsKept=many(words(*_SECRETS)),
        testedAt=maybe(TIME),
        testPassed=maybe(FLAG),
        refusedAt=maybe(TIME) | {"description": "Since when M-Pesa refuses its prompts for its settings."},
        urlsRegisteredAt=maybe(TIME),
        certificateFingerprint=maybe(TEXT),
        initiatorHalted=maybe(TEXT),
        balances=many(thing(account=TEXT, available=maybe(KES))),
        balancesAt=maybe(TIME),
        pullRegisteredAt=maybe(TIME),
        pulledUntil=maybe(TIME),
        switched=thing(
            closed=many(TEXT), askedAnew=many(TEXT), waitingForRealMoney=many(TEXT), refundsStopped=many(TEXT)
        )
        | {"description": "Only after a switch between test and real money: what was open, by name."},
        optional=("switched",),
    ),
    "GatewayTest": answered(steps=many(thing(label=TEXT, ok=maybe(FLAG), detail=TEXT))),
    "GatewayRemoved": answered(deleted=FLAG, archived=FLAG),
    "Registration": thing(
        version=words("v2", "v1"),
        responseType=words("Completed", "Cancelled") | {"description": "What M-Pesa does where we do not answer."},
        optional=("version", "responseType"),
    ),
    "PullRegistration": thing(nominatedNumber=PHONE),
    "WhichGateway": thing(gatewayId=TEXT, optional=("gatewayId",)),
    "Pulled": answered(rows=COUNT, new=COUNT),
    "NewPackage": thing(
        name=TEXT,
        price=KES,
        duration={"type": "integer", "description": "Seconds that are sold.", "minimum": 60},
        **_PACKAGE_TERMS,
        optional=tuple(_PACKAGE_TERMS),
    ),
    "PackageChange": thing(
        name=TEXT,
        price=KES,
        duration={"type": "integer", "description": "Seconds that are sold.", "minimum": 60},
        **_PACKAGE_TERMS,
        optional=("name", "price", "duration", *_PACKAGE_TERMS),
    ),
    "NewVouchers": thing(
        packageId=TEXT,
        count={"type": "integer", "minimum": 1, "maximum": 1_000},
        note=TEXT | {"description": "For whom they are."},
        optional=("count", "note"),
    ),
    "Voucher": thing(
        id=TEXT,
        code=TEXT | {"description": "User name and password in one."},
        state=words("made", "sold", "redeemed", "void", "expired"),
        packageId=TEXT,
        batchId=maybe(TEXT),
        createdAt=TIME,
        expiresAt=TIME | {"description": "Until when it may be redeemed."},
        redeemedAt=maybe(TIME),
    ),
    "VoucherBatch": thing(id=TEXT, batchId=TEXT, items=many(thing(code=TEXT))),
    "NewSite": thing(
        _SITE_SETTINGS,
        secret=_SECRET | {"description": "Of RADIUS or openNDS (its faskey); made where none is given."},
        apiPassword=_SECRET,
        optional=tuple(name for name in (*_SITE_SETTINGS, "secret", "apiPassword") if name != "name"),
    ),
    "SiteChange": thing(
        _SITE_SETTINGS, secret=_SECRET, apiPassword=_SECRET, optional=(*_SITE_SETTINGS, "secret", "apiPassword")
    ),
    "Site": thing(
        {"id": TEXT} | _SITE_SETTINGS,
        secretsKept=many(words("secret", "apiPassword")),
        files=many(TEXT) | {"description": "Names of what its router takes, under /files/."},
        routerVersion=TEXT,
        lastSeenAt=maybe(TIME) | {"description": "Its last heartbeat."},
        createdAt=TIME,
    ),
    "SiteFile": TEXT | {"description": "The file itself, as plain text."},
    "SiteCheck": answered(
        findings=many(thing(name=TEXT, state=words("ok", "warn", "bad"), sentence=TEXT, whatToDo=TEXT))
    ),
    "Session": thing(
        id=TEXT,
        username=TEXT,
        mac=TEXT,
        site=TEXT | {"description": "The site's id."},
        startedAt=TIME,
        endedAt=maybe(TIME),
        bytesIn=COUNT | {"description": "What the customer sent."},
        bytesOut=COUNT | {"description": "What the customer got."},
        expiresAt=maybe(TIME) | {"description": "Of the pass that it is on; null where it is on none."},
        ip=TEXT,
        endCause=TEXT,
    ),
    "Disconnected": answered(state=words("gone", "asked", "failed")),
    "PackageOnSale": thing(_PACKAGE),
    "Package": thing(
        _PACKAGE | {name: one for name, one in _PACKAGE_TERMS.items() if name not in ("speed", "dataCap", "devices")},
        kind=words("time", "online", "data", "mixed"),
    ),
    "Configured": thing(configured=FLAG, env=maybe(ENVIRONMENT)),
    "Validity": thing(valid=FLAG, errors=many(TEXT)),
    "Purchase": thing(
        tenant=TEXT,
        packageId=TEXT,
        phone=PHONE,
        macAddress=TEXT,
        nasIp=TEXT,
        idempotencyKey=TEXT,
        optional=("macAddress", "nasIp", "idempotencyKey"),
    ),
    "PurchaseBegun": thing(paymentId=maybe(TEXT), checkoutRequestId=maybe(TEXT), status=STATUS, message=TEXT),
    "PurchaseStatus": thing(
        status=STATUS,
        amountDue=KES,
        resultCode=maybe(TEXT),
        message=TEXT,
        receipt=maybe(TEXT),
        testMode=FLAG,
        credentials=_CREDENTIALS,
        optional=("credentials",),
    ),
    "PastedMessage": thing(
        tenant=TEXT,
        packageId=TEXT,
        smsText=TEXT,
        phone=PHONE,
        macAddress=TEXT,
        optional=("phone", "macAddress"),
    ),
    "PastedAnswer": thing(
        status=words("verified", "queued", "rejected"),
        reason=TEXT,
        message=TEXT,
        paymentId=TEXT,
        credentials=_CREDENTIALS,
        optional=("paymentId", "credentials"),
    ),
    "Order": thing(
        orderId=TEXT | {"description": "An invoice number, an appointment's id, or an order of your own."},
        amount=KES,
        phoneNumber=PHONE,
        description=TEXT,
        metadata={"type": "object"},
        optional=("description", "metadata"),
    ),
    "Payment": thing(
        id=TEXT,
        provider=words("mpesa"),
        orderId=TEXT,
        mpesaCheckoutRequestId=maybe(TEXT),
        mpesaReceiptNumber=maybe(TEXT),
        status=STATUS,
        amount=KES,
        amountDue=KES,
        currency=words("kes"),
        phoneNumber=maybe(MASKED),
        resultCode=maybe(TEXT),
        description=TEXT,
        metadata=maybe({"type": "object"}),
        testMode=FLAG,
    ),
    "OrderBegun": thing(
        paymentId=TEXT,
        checkoutRequestId=maybe(TEXT),
        merchantRequestId=maybe(TEXT),
        responseCode=maybe(TEXT),
        payment={"$ref": "#/components/schemas/Payment"},
    ),
    "NewRefund": thing(
        amount=KES | {"description": "Without it: all that may still go back."},
        method=words("b2c", "reversal"),
        reason=TEXT,
        idempotencyKey=TEXT | {"description": "Or as the header Idempotency-Key: sent twice, it is one refund."},
        optional=("amount", "method", "reason", "idempotencyKey"),
    ),
    "Refund": thing(
        refundId=TEXT,
        status=words("pending", "refunded", "failed"),
        state=words("requested", "approved", "sending", "sent", "unknown", "done", "failed"),
        refundAmount=KES,
        method=words("b2c", "reversal"),
        receipt=maybe(TEXT),
        originalReceipt=maybe(TEXT),
        reason=maybe(TEXT),
        needsApproval=FLAG,
        requestedAt=TIME,
        endedAt=maybe(TIME),
        refundIds=many(TEXT) | {"description": "One for each receipt that goes back."},
        optional=("refundIds",),
    ),
    "Taken": thing(
        amount=KES | {"description": "All of it is booked. What is more than due waits under Money to place."},
        channel=TEXT | {"description": "How it came, such as cash."},
        reference=TEXT | {"description": "What it pays: an invoice number or a paymentId; or give customerId."},
        customerId=TEXT,
        note=TEXT,
        idempotencyKey=TEXT,
        optional=("reference", "customerId", "note", "idempotencyKey"),
    ),
    "ManualPayment": thing(
        id=TEXT,
        receipt=TEXT,
        amount=KES,
        unallocated=KES,
        channel=TEXT,
        reference=TEXT,
        customerId=maybe(TEXT),
        note=TEXT,
        recordedBy=maybe(TEXT),
        occurredAt=TIME,
        state=TEXT,
        voidReason=maybe(TEXT),
        voidedAt=maybe(TIME),
        environment=ENVIRONMENT,
    ),
    "Reason": thing(reason=TEXT, optional=("reason",)),
    "Cancellation": thing(
        reason=TEXT,
        by=words("clinic", "patient") | {"description": "By whose doing: the terms of a late one hold for patients."},
        optional=("reason", "by"),
    ),
    "NewCustomer": thing(name=TEXT, phone=PHONE),
    "Customer": thing(_CUSTOMER),
    "Line": thing(_PPPOE_LINE),
    "LineWithPassword": thing(_PPPOE_LINE, password=TEXT),
    "NewLine": thing(
        _LINE_TERMS,
        customerId=TEXT | {"description": "Or the account number."},
        username=TEXT,
        optional=("graceDays", "autoRenew", "promptsBeforeEnd", "language", "username"),
    ),
    "LineChange": thing(_LINE_TERMS, optional=tuple(_LINE_TERMS)),
    "LineSuspension": thing(reason=TEXT),
    "CustomerWithEntries": thing(_CUSTOMER, entries=many(thing(kind=TEXT, at=TIME, amount=KES))),
    "WalletPayment": thing(reference=TEXT),
    "PaidFromWallet": thing(
        paymentId=TEXT, reference=TEXT, paid=KES, amountDue=KES, status=words("paid", "pending"), balance=KES
    ),
    "PutBack": thing(paymentId=TEXT, reference=TEXT, putBack=KES, amountDue=KES, balance=KES),
    "NewPatient": thing(name=TEXT, phone=PHONE, email={"type": "string", "format": "email"}, optional=("email",)),
    "Patient": thing(id=TEXT, name=TEXT, phone=maybe(TEXT), email=maybe(TEXT)),
    "Clinician": thing(id=TEXT, name=TEXT, title=TEXT, fee=KES),
    "NewAppointment": thing(
        patientId=TEXT,
        clinicianId=TEXT,
        kind=words("virtual", "onsite"),
        startsAt=TIME,
        durationMinutes={"type": "integer", "minimum": 1},
        price=KES,
        overlapReason=TEXT | {"description": "Why it is booked beside another one; else a taken time is refused."},
        optional=("overlapReason",),
    ),
    "Notification": thing(
        id=TEXT,
        channel=words("sms", "email"),
        to=MASKED,
        kind=TEXT | {"description": "What it tells, such as appointment_approved."},
        state=words("waiting", "sent", "skipped", "failed"),
        sentAt=maybe(TIME),
        delivery=maybe(words("delivered", "failed", "settled")),
        cost=maybe(KES),
    ),
    "NewTime": thing(startsAt=TIME),
    "Service": thing(
        id=TEXT,
        name=TEXT,
        durationMinutes={"type": "integer", "minimum": 1},
        price=KES,
        kinds=many(words("onsite", "virtual")),
        deposit=maybe(KES),
        version=TEXT | {"description": "Another one whenever its name, length, kinds or terms are changed."},
        terms=many(TEXT) | {"description": "What is paid when, and what comes back of a cancelled or missed visit."},
    ),
    "Slot": thing(
        startsAt=TIME,
        endsAt=TIME,
        clinicianId=TEXT,
        clinicianName=TEXT,
        kinds=many(words("onsite", "virtual")),
        price=KES,
        branchId=maybe(TEXT),
        branchName=maybe(TEXT),
    ),
    "NewBooking": thing(
        tenant=TEXT,
        serviceId=TEXT,
        startsAt=TIME,
        kind=words("onsite", "virtual"),
        name=TEXT,
        phone=PHONE,
        clinicianId=TEXT,
        branchId=TEXT,
        price=KES | {"description": "As it was shown: where it costs something else now, 409 `price_changed` says so."},
        version=TEXT | {"description": "Of the service as it was shown: 409 `service_changed` where it is another."},
        optional=("clinicianId", "branchId", "price", "version"),
    ),
    "BookingBegun": thing(bookingId=TEXT, expiresAt=TIME, price=KES),
    "BookingCode": thing(
        code=TEXT | {"description": "The six digits of the message."},
        price=KES | {"description": "What it costs now, to agree to it after 409 `price_changed`."},
        version=TEXT | {"description": "The service's now, to agree to it after 409 `service_changed`."},
        optional=("price", "version"),
    ),
    "Booked": thing(
        appointmentId=TEXT,
        status=_VISIT_STATES,
        token=TEXT | {"description": "Opens the visit's page."},
    ),
    "Appointment": thing(
        id=TEXT,
        status=_VISIT_STATES,
        startedAt=maybe(TIME) | {"description": "When it began; a visit that is under way is still `confirmed`."},
        kind=words("virtual", "onsite"),
        startsAt=TIME,
        durationMinutes={"type": "integer"},
        price=KES,
        patientId=TEXT,
        clinicianId=TEXT,
        invoiceNumber=maybe(TEXT),
        amountDue=KES,
        paymentId=maybe(TEXT),
        payUrl=maybe(ADDRESS) | {"description": "Null until it is approved."},
        meetingUrl=maybe(ADDRESS) | {"description": "Once a virtual one is confirmed."},
        place=maybe(TEXT),
        deposit=maybe(KES) | {"description": "Paying this much confirms it; the rest is due at the visit."},
    ),
    "NewInvoice": thing(
        patientId=TEXT,
        payer=thing(name=TEXT, phone=PHONE),
        appointmentId=TEXT,
        lines=many(_NEW_LINE) | {"minItems": 1},
        optional=("patientId", "payer", "appointmentId"),
    )
    | {"anyOf": [{"required": ["patientId"]}, {"required": ["payer"]}]},
    "Invoice": thing(
        id=TEXT,
        number=TEXT,
        amount=KES,
        amountDue=KES,
        status=words("unpaid", "part_paid", "paid", "partially_refunded", "refunded", "waived", "credited", "void"),
        paymentStatus=STATUS,
        paymentId=TEXT,
        payUrl=ADDRESS,
        lines=many(_LINE),
    ),
    "Transaction": thing(_TRANSACTION),
    "TransactionWithAllocations": thing(
        _TRANSACTION,
        unallocated=KES,
        allocations=many(thing(reference=TEXT, paymentId=TEXT, amount=KES)),
    ),
    "Figures": thing(
        today=_FIGURE,
        month=_FIGURE,
        successRate=maybe({"type": "number", "minimum": 0, "maximum": 1}),
        provisional=_FIGURE | {"description": "Known by our query alone, without a receipt; in neither sum."},
        pending=COUNT,
        lastCallbackAt=maybe(TIME),
        environment=ENVIRONMENT,
    ),
    "AuditRow": thing(
        id={"type": "integer"},
        at=TIME,
        actor=TEXT,
        action=TEXT,
        subject=TEXT,
        old=maybe(TEXT),
        new=maybe(TEXT),
        why=maybe(TEXT),
        details=maybe({"type": "object"}),
        requestId=maybe(TEXT),
        seq=maybe({"type": "integer"}),
        hash=maybe(TEXT),
    ),
    "TransactionsCsv": TEXT | {"description": "The same list for a spreadsheet, with a line of headings."},
    "Callback": {"type": "object", "description": "The body of Safaricom's STK callback, as it came."},
    "Accepted": thing(ResultCode={"type": "integer"}, ResultDesc=TEXT),
}

FILTERS = ("receipt", "q", "phone", "from", "to", "state")
PARAMETERS: dict[str, Schema] = {
    "customerId": TEXT | {"description": "Or the account number."},
    "serviceId": TEXT,
    "clinicianId": TEXT | {"description": "One clinician; else whoever is free."},
    "branchId": TEXT | {"description": "One place of the clinic; else all of them."},
    "kind": words("onsite", "virtual"),
    "cursor": TEXT | {"description": "The `nextCursor` of the page before."},
    "tenant": TEXT | {"description": "The business's short name."},
    "paymentId": TEXT | {"description": "The whole answer is for who holds it."},
    "checkoutRequestId": TEXT | {"description": "In place of paymentId; answers without credentials."},
    "receipt": TEXT | {"description": "A receipt number."},
    "q": TEXT | {"description": "A receipt, an account, a phone number or a reference."},
    "phone": PHONE,
    "from": TEXT | {"description": "A day such as 2026-11-21, or a time."},
    "to": TEXT | {"description": "A day, included, or a time, excluded."},
    "state": _TRANSACTION["state"],
    "online": words("true", "false") | {"description": "true: those that last."},
    "ids": TEXT | {"description": "Several, separated by commas."},
    "reason": TEXT | {"description": "Why; or in the body."},
    "key": TEXT | {"description": "The webhook's key, where no header can be sent; not taken in production."},
}


@dataclass(frozen=True)
class Contract:
    """What one door takes and gives. query: names of PARAMETERS. answers: status codes of a success."""

    gives: Schema
    takes: Schema | None
    query: tuple[str, ...]
    answers: tuple[int, ...]


def contract(
    gives: str | Schema, *, takes: str = "", query: tuple[str, ...] = (), answers: tuple[int, ...] = (200,)
) -> Callable[[View], View]:
    """Write down what a view takes and gives. gives: a component's name, or a schema. takes: a component's name."""
    written = Contract(
        gives=ref(gives) if isinstance(gives, str) else gives,
        takes=ref(takes) if takes else None,
        query=query,
        answers=answers,
    )

    def under(view: View) -> View:
        view.contract = written  # type: ignore[attr-defined]
        return view

    return under


def contract_of(view: Callable[..., Any]) -> Contract:
    """What a view says of itself. Raises PortalError where it says nothing: such a door does not open."""
    written = getattr(view, "contract", None)
    if not isinstance(written, Contract):
        raise PortalError(f"{view.__module__}.{view.__name__} does not say what it gives.")
    return written
