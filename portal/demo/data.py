"""The demonstration's tenants, people, packages and invoices. Never loaded outside `portal demo`."""

import urllib.request
from contextlib import suppress
from datetime import timedelta
from typing import Any

from flask import current_app, url_for
from sqlalchemy import func, select

from portal.clinic import appointments, branches, invoices, people, services
from portal.clinic.billing import price_list
from portal.clinic.models import Appointment, Clinician, Invoice, Patient
from portal.clinic.timetable import SlotTaken
from portal.gateways import c2b_registration, settings
from portal.gateways.models import Gateway
from portal.hotspot import packages
from portal.hotspot.models import Site
from portal.hotspot.pppoe import lines
from portal.hotspot.sites import settings as sites
from portal.kernel import clock, money
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.payments.wallets import wallets
from portal.tenants.models import Tenant
from portal.users import credentials
from portal.web import links
from portal.web.links import pay_url

PASSWORD = "mlango-demo"
SIGN_INS = (
    ("root@mlango.test", "Platform administrator", None, "platform"),
    ("admin@mawingu.test", "Mawingu's administrator", "mawingu", "tenant_admin"),
    ("seller@mawingu.test", "Seller of Wi-Fi codes", "mawingu", "seller"),
    ("admin@upendo.test", "Upendo's administrator", "upendo", "tenant_admin"),
    ("reception@upendo.test", "Receptionist", "upendo", "receptionist"),
    ("clinician@upendo.test", "Dr Wanjiru Kamau", "upendo", "clinician"),
    ("patient@upendo.test", "Amina Otieno", "upendo", "patient"),
)
ORGANISATIONS = (
    {"slug": "mawingu", "name": "MAWINGU NET", "shortcode": "600111", "consumerKey": "mawingu-key",
     "consumerSecret": "mawingu-secret", "passkey": "mawingu-passkey", "kind": "PAYBILL",
     "initiatorName": "mawingu-api", "initiatorPassword": "mawingu-initiator"},
    {"slug": "upendo", "name": "UPENDO CLINIC", "shortcode": "600222", "consumerKey": "upendo-key",
     "consumerSecret": "upendo-secret", "passkey": "upendo-passkey", "kind": "PAYBILL",
     "initiatorName": "upendo-api", "initiatorPassword": "upendo-initiator"},
)  # fmt: skip
PACKAGES = (
    ("1 hour", 20, 3_600, "2M/5M", None, 1),
    ("1 day", 50, 86_400, "2M/5M", None, 1),
    ("1 week", 300, 604_800, "5M/10M", None, 2),
)
# The router on the simulator that a phone can join, as RouterSpec reads it; its API's port is another at every start.
ROUTER = {
    "name": "mawingu-cafe",
    "ssid": "Mawingu Wi-Fi",
    "identity": "mawingu-cafe",
    "apiUsername": "mlango",
    "apiPassword": "mawingu-router",
}
CAFE = "Mawingu café"
PRICES = (  # kind, name, KES
    ("consultation", "Consultation", 1_500),
    ("lab", "Laboratory", 850),
    ("medication", "Pharmacy", 200),
    ("other", "Dressing", 150),
)
SERVICES = (  # name, KES, minutes, kinds, whether a clinician decides on each booking, deposit in KES, whose
    ("Consultation", 1_500, 30, ("onsite", "virtual"), True, None, ("General practice", "Paediatrics")),
    ("Follow-up visit", 800, 20, ("onsite", "virtual"), False, None, ("General practice",)),
    ("Child health visit", 1_000, 30, ("onsite",), False, 300, ("Paediatrics",)),
)
BRANCH = ("Westlands", "Ring Road 4, Westlands")
HOME_PACKAGE, HOME_PHONE, HOME_NAME = ("Home 10 Mbps", 1_500, 30 * 86_400, "5M/10M"), "0722000444", "Wanjiku Mwangi"
PATIENT_PHONE = "0712345678"


def load(simulator_url: str, router_api_port: int, router_token: str) -> None:
    """Everything the demonstration needs, once; the simulator's and our own addresses at every start."""
    public_url = current_app.config["PORTAL"].public_url
    with transaction():
        if not db.session.scalar(select(func.count(Tenant.id))):
            _create()
        for gateway in db.session.scalars(select(Gateway).where(Gateway.base_url != "")):
            if gateway.name in ("Mawingu paybill", "Upendo paybill"):
                gateway.base_url = simulator_url
        clinic = db.session.scalars(select(Tenant).where(Tenant.slug == "upendo")).one()
        clinic.meeting_base_url = f"{public_url}/join"
        _keep_sites(router_api_port, router_token)
    with transaction():
        _keep_something_to_pay()


def _keep_sites(router_api_port: int, router_token: str) -> None:
    """The place whose router is the simulator's: made once, its port and its token told at every start."""
    mawingu = db.session.scalars(select(Tenant).where(Tenant.slug == "mawingu")).one()
    cafe = db.session.scalars(select(Site).where(Site.tenant_id == mawingu.id, Site.name == CAFE)).one_or_none()
    given = {"address": "127.0.0.1", "apiPort": router_api_port, "apiTls": False, "loginHosts": ["127.0.0.1"]}
    if cafe is None:
        given |= {"name": CAFE, "kind": "routeros", "identity": ROUTER["identity"]}
        given |= {"apiUsername": ROUTER["apiUsername"], "apiPassword": ROUTER["apiPassword"]}
        cafe = sites.create(mawingu.id, given, actor="demo")
    elif cafe.closed_at is None:
        sites.change(cafe, given, actor="demo", is_fresh_signin=True)
    cafe.token = router_token


def _create() -> None:
    mawingu = Tenant(
        slug="mawingu",
        name="Mawingu Wi-Fi",
        is_hotspot=True,
        colour="#1d4f91",
        help_phone="0700 000 111",
        refuses_unknown_accounts=False,
    )
    upendo = Tenant(
        slug="upendo",
        name="Upendo Clinic",
        is_clinic=True,
        colour="#7a2e5d",
        help_phone="0700 000 222",
        address="Moi Avenue 12, Nairobi, 2nd floor",
    )
    db.session.add_all((mawingu, upendo))
    db.session.flush()
    tenants = {"mawingu": mawingu, "upendo": upendo}
    for organisation in ORGANISATIONS:
        tenant = tenants[organisation["slug"]]
        settings.create(
            tenant.id,
            {
                "name": f"{organisation['slug'].capitalize()} paybill",
                "displayName": organisation["name"],
                "shortcode": organisation["shortcode"],
                "consumerKey": organisation["consumerKey"],
                "consumerSecret": organisation["consumerSecret"],
                "passkey": organisation["passkey"],
                "env": "sandbox",
                "baseUrl": "http://127.0.0.1:8001",
                "isDefault": True,
                "forHotspot": tenant.is_hotspot,
                "forClinic": tenant.is_clinic,
            },
            actor="demo",
        )
    for name, price, duration_s, rate, cap_bytes, devices in PACKAGES:
        offer = packages.Offer(
            name, price * money.CENTS, duration_s, rate=rate, data_cap_bytes=cap_bytes, devices=devices
        )
        packages.create(mawingu.id, offer, actor="demo")
    name, price, duration_s, rate = HOME_PACKAGE
    home = packages.create(
        mawingu.id, packages.Offer(name, price * money.CENTS, duration_s, rate=rate, service="pppoe"), actor="demo"
    )
    owner = wallets.customer_of_phone(mawingu.id, normalise_msisdn(HOME_PHONE), name=HOME_NAME)
    lines.create(owner, lines.Wanted(home.id, grace_days=2), username="wanjiku.home", actor="demo")
    # whoever speaks RADIUS from this machine: `portal radius run`, then radclient
    db.session.add(Site(tenant_id=mawingu.id, name="This machine", address="127.0.0.1", secret="mlango-radius"))
    for email, name, slug, role in SIGN_INS:
        user = credentials.add_user(email=email, name=name, password=PASSWORD, is_platform_admin=slug is None)
        if slug is not None:
            credentials.add_role(user, tenants[slug].id, role)
        if role == "clinician":
            db.session.add(
                Clinician(
                    tenant_id=upendo.id,
                    user_id=user.id,
                    name=name,
                    title="General practice",
                    fee_cents=1_500 * money.CENTS,
                )
            )
        if role == "patient":
            people.register(upendo.id, name=name, phone=PATIENT_PHONE, email=email, user_id=user.id, actor="demo")
    db.session.add(
        Clinician(
            tenant_id=upendo.id,
            name="Daktari Juma Hassan",
            title="Paediatrics",
            fee_cents=2_000 * money.CENTS,
        )
    )
    db.session.flush()
    _offer_services(upendo)


def _offer_services(clinic: Tenant) -> None:
    """What can be booked: every day, so that whoever tries it on a Sunday finds a free time."""
    by_name = {one.title: one for one in people.clinicians(clinic.id)}
    for one in by_name.values():
        one.works_holidays = True
        services.set_hours(one, [(day, 8 * 60, 18 * 60) for day in range(7)], actor="demo")
    place, address = BRANCH
    westlands = branches.add(clinic.id, name=place, address=address, actor="demo")
    juma = by_name["Paediatrics"]
    services.set_hours(juma, [(day, 8 * 60, 13 * 60) for day in range(7)], actor="demo")
    services.set_hours(juma, [(day, 14 * 60, 18 * 60) for day in range(7)], branch=westlands, actor="demo")
    for position, (name, price, minutes, kinds, needs_approval, deposit, titles) in enumerate(SERVICES):
        offer = services.Offer(
            name, price * money.CENTS, minutes, kinds=kinds, step_minutes=minutes, needs_approval=needs_approval,
            position=position, late_keeps_percent=50,
            deposit_cents=deposit * money.CENTS if deposit else None,
        )  # fmt: skip
        services.create(clinic.id, offer, by=[by_name[title] for title in titles], actor="demo")


def _keep_something_to_pay() -> None:
    """An online and an onsite appointment, a visit to approve and a bill that are open, at every start of the demo."""
    clinic = db.session.scalars(select(Tenant).where(Tenant.slug == "upendo")).one()
    patient = db.session.scalars(select(Patient).where(Patient.tenant_id == clinic.id).order_by(Patient.id)).first()
    clinician = db.session.scalars(
        select(Clinician).where(Clinician.tenant_id == clinic.id).order_by(Clinician.id)
    ).first()
    if patient is None or clinician is None:
        return
    soon = clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    for hours, kind, price, is_approved in (
        (0, "virtual", 1_500, True),
        (1, "onsite", 1_000, True),
        (2, "virtual", 1_200, False),
    ):
        status = "approved" if is_approved else "pending_approval"
        is_there = select(func.count(Appointment.id)).where(
            Appointment.tenant_id == clinic.id,
            Appointment.kind == kind,
            Appointment.status == status,
            Appointment.starts_at > clock.now(),
        )
        if db.session.scalar(is_there):
            continue
        with suppress(SlotTaken), db.session.begin_nested():  # somebody who tries the demonstration may have it
            booked = appointments.book(
                clinic, patient=patient, clinician=clinician, kind=kind, duration_minutes=45, actor="demo",
                price_cents=price * money.CENTS, starts_at=soon + timedelta(hours=hours),
            )  # fmt: skip
            if is_approved:
                appointments.approve(clinic, booked, actor="demo", pay_url_of=pay_url)
    bills = (
        select(func.count(Invoice.id))
        .join(Payment)
        .where(Invoice.tenant_id == clinic.id, Invoice.patient_id.is_(None), Payment.state == PaymentState.OPEN)
    )
    if not db.session.scalar(bills):
        listed = {one.name: one.uid for one in price_list.items(clinic.id)}
        for kind, name, price in PRICES:
            if name not in listed:
                listed[name] = price_list.add(clinic.id, kind=kind, name=name, price=price, actor="demo").uid
        lines: list[dict[str, Any]] = [
            {"priceItemId": listed["Laboratory"]},
            {"priceItemId": listed["Pharmacy"], "quantity": 2},
        ]
        invoices.issue(clinic, lines=lines, payer={"name": "Brian Mwangi", "phone": "0722000333"}, actor="demo")


def front_page() -> dict[str, Any]:
    """What the front page tells of the demonstration."""
    hotspot = db.session.scalars(select(Tenant).where(Tenant.slug == "mawingu")).one()
    clinic = db.session.scalars(select(Tenant).where(Tenant.slug == "upendo")).one()
    owner = wallets.find_by_phone(hotspot.id, normalise_msisdn(HOME_PHONE))
    account = owner.account_number if owner else ""
    router: dict[str, Any] = {
        "mac": "AA:BB:CC:00:11:22",
        "identity": "mawingu-1",
        "link-login-only": "http://10.5.50.1/login",
        "link-orig": "http://example.com/",
    }
    open_invoices = (
        select(Invoice).join(Payment).where(Invoice.tenant_id == clinic.id, Payment.state == PaymentState.OPEN)
    )
    return {
        "signins": [{"email": email, "role": name} for email, name, _slug, _role in SIGN_INS],
        "password": PASSWORD,
        "simulator_url": current_app.config["SIMULATOR_URL"],
        "links": [
            {
                "label": "Join Mawingu's Wi-Fi",
                "url": f"{current_app.config['SIMULATOR_URL']}/wifi/",
                "note": "A phone that pays and goes online",
            },
            {
                "label": "Buy internet at Mawingu Wi-Fi",
                "url": url_for("hotspot.portal", slug="mawingu"),
                "note": "As a phone without a router sees it",
            },
            {
                "label": "The same, sent by a router",
                "url": url_for("hotspot.portal", slug="mawingu", **router),
                "note": "With MikroTik's parameters",
            },
            {
                "label": "Home internet by account number",
                "url": url_for("hotspot.line_page", slug="mawingu"),
                "note": f"{HOME_NAME}'s account is {account}" if account else "",
            },
            {"label": "Upendo Clinic", "url": url_for("clinic.front", slug="upendo"), "note": ""},
        ],
        "packages": [{"name": one.name, "price_cents": one.price_cents} for one in packages.on_sale(hotspot.id)],
        "invoices": [
            {
                "label": f"{one.number}: {money.format_kes(one.payment.due_cents)}",
                "url": url_for("pay.show", token=one.payment.token),
            }
            for one in db.session.scalars(open_invoices.order_by(Invoice.id).limit(6))
        ],
    }


def meet_simulator(simulator_url: str) -> None:
    """What needs a running simulator, at every start: its certificate for refunds, and where payments are reported."""
    certificate = _certificate_at(simulator_url)
    for organisation in ORGANISATIONS:
        known = select(Gateway).where(
            Gateway.name == f"{organisation['slug'].capitalize()} paybill", Gateway.archived_at.is_(None)
        )
        gateway = db.session.scalars(known).first()
        if gateway is None:
            continue
        tenant_id, uid = gateway.tenant_id, gateway.uid
        is_ours = gateway.initiator_name in ("", organisation["initiatorName"])
        try:
            if certificate and is_ours and gateway.certificate != certificate:
                initiator = {name: organisation[name] for name in ("initiatorName", "initiatorPassword")}
                with transaction():
                    gateway = settings.get_by_uid(tenant_id, uid)
                    given = initiator | {"certificate": certificate}
                    settings.change(gateway, given, actor="demo", is_fresh_signin=True)
            c2b_registration.register_urls(tenant_id, uid, actor="demo", public_url=links.public_url())
        except Refused as error:
            current_app.logger.warning("The simulator does not know %s: %s", organisation["name"], error.message)


def _certificate_at(simulator_url: str) -> str:
    """The certificate that seals passwords for this simulator, PEM; empty where it does not answer."""
    try:
        with urllib.request.urlopen(f"{simulator_url}/certificate", timeout=3) as answer:  # noqa: S310 - loopback
            return str(answer.read().decode()).strip()
    except OSError:
        return ""
