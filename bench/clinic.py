"""A clinic's day at the desk, with a week and with three years of full days behind it.

Every day has as many visits as today: paid, with numbers in the queue, their times taken. What the desk, the clinician
and a patient look at all day may cost no more for it.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import func, insert, select, text

from bench import flat
from bench.flat import Business, NotDone, Operation
from bench.report import Section
from bench.servers import stage
from portal.clinic import people, services
from portal.clinic.models import Appointment, Clinician, Invoice, OccupiedTime, Patient
from portal.clinic.reception import arrivals, board
from portal.clinic.reception.models import QueueTicket
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db, migrating, new_token, new_uid, refresh_statistics, transaction
from portal.payments.models import Allocation, Payment, Transaction
from portal.users.models import User
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product

PER_DAY, FEW_DAYS, MANY_DAYS, AHEAD_DAYS = 200, 7, 3 * 365, 3
CLINICIANS, OPENS, MINUTES = 10, 8, 30
PATIENTS, BATCH = 500, 5_000


def fill(*, first: int, last: int, per_day: int) -> None:
    """The days from `first` to `last`, 0 being today and 1 yesterday; needs an application context.

    Called again with earlier days it adds them. Negative ones lie ahead.
    """
    with migrating():
        db.session.remove()
        with db.engine.begin() as connection:
            writer = _Days(connection, per_day)
            for model, rows in writer.rows(range(first, last + 1)):
                connection.execute(insert(model), rows)
            if connection.dialect.name == "postgresql":  # its own numbers go on behind them
                for model in (Payment, Invoice, Appointment, Transaction):
                    name = model.__tablename__
                    last_id = f"(SELECT max(id) FROM {name})"  # noqa: S608 - a table of ours
                    connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), {last_id})"))
        refresh_statistics()
        if db.engine.dialect.name == "postgresql":
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))


class _Days:
    """The rows of full days, as a database takes them."""

    def __init__(self, connection: Any, per_day: int) -> None:
        self.connection, self.per_day = connection, per_day
        self.gateway_id, self.tenant_id = connection.execute(
            select(Gateway.id, Gateway.tenant_id).order_by(Gateway.id).limit(1)
        ).one()
        models = (Payment, Invoice, Appointment, Transaction)
        self.after = max(connection.scalar(select(func.coalesce(func.max(one.id), 0))) for one in models)
        mine = select(Patient.id).where(Patient.tenant_id == self.tenant_id).order_by(Patient.id.desc()).limit(PATIENTS)
        treating = select(Clinician.id).where(Clinician.tenant_id == self.tenant_id).order_by(Clinician.id)
        self.patients = list(connection.scalars(mine))
        self.clinicians = list(connection.scalars(treating))

    def rows(self, days: range) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        """(table, rows), each table before those that point at it."""
        every = ((days[-1] - at, nth) for at in range(len(days)) for nth in range(self.per_day))
        rows = ((row_id, ago, nth) for row_id, (ago, nth) in enumerate(every, self.after + 1))
        while numbered := list(islice(rows, BATCH)):
            for model, make in (
                (Payment, self._payment),
                (Invoice, self._invoice),
                (Appointment, self._visit),
                (Transaction, self._money),
                (Allocation, self._allocation),
                (QueueTicket, self._ticket),
            ):
                if made := [row for one in numbered if (row := make(*one)) is not None]:
                    yield model, made
            yield OccupiedTime, [row for one in numbered for row in self._times(*one)]

    def _at(self, ago: int, nth: int) -> datetime:
        midnight, _end = board.limits(self._day(ago))
        return midnight + timedelta(hours=OPENS, minutes=MINUTES * (nth // len(self.clinicians)))

    def _day(self, ago: int) -> date:
        return clock.nairobi(clock.now()).date() - timedelta(days=ago)

    @staticmethod
    def _is_paid(ago: int, nth: int) -> bool:
        return ago > 0 or (ago == 0 and nth % 2 == 0)

    @staticmethod
    def _is_off(ago: int, nth: int) -> bool:
        """One visit of five was cancelled, and its money has gone back."""
        return ago > 0 and nth % 5 == 0

    def _status(self, ago: int, nth: int) -> str:
        if ago > 0:
            return "cancelled" if self._is_off(ago, nth) else "completed"
        return "confirmed" if self._is_paid(ago, nth) else "approved"

    def _own(self, row_id: int, ago: int, nth: int) -> dict[str, Any]:
        return {"id": row_id, "tenant_id": self.tenant_id, "created_at": self._at(ago, nth) - timedelta(days=4)}

    def _payment(self, row_id: int, ago: int, nth: int) -> dict[str, Any]:
        is_paid, at = self._is_paid(ago, nth), self._at(ago, nth)
        return self._own(row_id, ago, nth) | {
            "token": new_token(), "environment": "sandbox", "purpose": "clinic", "reference": f"V{row_id}",
            "gateway_id": self.gateway_id, "amount_cents": 150_000, "allocated_cents": 150_000 if is_paid else 0,
            "refunded_cents": 150_000 if self._is_off(ago, nth) else 0,
            "state": "paid" if is_paid else "open", "paid_at": at if is_paid else None,
            "fulfilled_at": at if is_paid else None,
        }  # fmt: skip

    def _invoice(self, row_id: int, ago: int, nth: int) -> dict[str, Any]:
        return self._own(row_id, ago, nth) | {
            "uid": new_uid(), "number": f"V{row_id}", "payment_id": row_id, "verify_token": new_token(),
            "patient_id": self.patients[row_id % len(self.patients)],
        }  # fmt: skip

    def _visit(self, row_id: int, ago: int, nth: int) -> dict[str, Any]:
        at = self._at(ago, nth)
        return self._own(row_id, ago, nth) | {
            "uid": new_uid(), "patient_id": self.patients[row_id % len(self.patients)],
            "clinician_id": self.clinicians[nth % len(self.clinicians)], "kind": "onsite", "starts_at": at,
            "duration_minutes": MINUTES, "price_cents": 150_000,
            "status": self._status(ago, nth),
            "join_token": new_token(), "token": new_token(), "invoice_number": f"V{row_id}", "invoice_id": row_id,
            "arrived_at": at if ago > 0 else None, "started_at": at if ago > 0 else None,
            "ended_at": at if ago > 0 else None,
        }  # fmt: skip

    def _money(self, row_id: int, ago: int, nth: int) -> dict[str, Any] | None:
        if not self._is_paid(ago, nth):
            return None
        return self._own(row_id, ago, nth) | {
            "uid": new_uid(), "environment": "sandbox", "receipt": f"V{row_id}", "channel": "c2b",
            "gateway_id": self.gateway_id, "amount_cents": 150_000, "unallocated_cents": 0, "account": f"V{row_id}",
            "occurred_at": self._at(ago, nth),
        }  # fmt: skip

    def _allocation(self, row_id: int, ago: int, nth: int) -> dict[str, Any] | None:
        if not self._is_paid(ago, nth):
            return None
        own = self._own(row_id, ago, nth)
        del own["id"]
        return own | {"transaction_id": row_id, "payment_id": row_id, "amount_cents": 150_000}

    def _ticket(self, row_id: int, ago: int, nth: int) -> dict[str, Any] | None:
        if ago <= 0:
            return None
        own = self._own(row_id, ago, nth)
        del own["id"]
        return own | {
            "uid": new_uid(), "token": new_token(), "day": self._day(ago), "number": nth + 1, "desk": "",
            "appointment_id": row_id, "state": "seen",
        }  # fmt: skip

    def _times(self, row_id: int, ago: int, nth: int) -> Iterator[dict[str, Any]]:
        own = self._own(row_id, ago, nth)
        del own["id"]
        for piece in range(MINUTES // 5):
            yield own | {
                "clinician_id": self.clinicians[nth % len(self.clinicians)], "appointment_id": row_id,
                "starts_at": self._at(ago, nth) + timedelta(minutes=5 * piece),
            }  # fmt: skip


class Clinic(Business):
    """A clinic in daily use: a receptionist and a clinician are signed in."""

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        with product.app.app_context(), transaction():
            wanjiru = db.session.query(User).filter_by(email="wanjiru@mlima.test").one()
            treating = db.session.query(Clinician).filter_by(tenant_id=self.tenant_id).order_by(Clinician.id)
            treating.first().user_id = wanjiru.id
            everybody = treating.all()
            for one in everybody:
                services.set_hours(one, [(day, OPENS * 60, 18 * 60) for day in range(7)], actor="bench")
            offered = services.Offer("Consultation", 150_000, MINUTES, kinds=("onsite",))
            self.service = services.create(self.tenant_id, offered, by=everybody, actor="bench").uid
        self.brian, self.wanjiru = product.browser_of("brian"), product.browser_of("wanjiru")


def people_it(product: Product) -> None:
    """Ten clinicians and some hundreds of patients."""
    with product.app.app_context(), transaction():
        tenant_id = db.session.query(Gateway.tenant_id).order_by(Gateway.id).limit(1).scalar()
        for nth in range(CLINICIANS - 1):
            people.add_clinician(tenant_id, name=f"Dr {nth}", actor="bench")
        phone = personal.seal_phone("254711000999", tenant_id)
        names = [personal.seal_text(f"Patient {nth}", tenant_id) for nth in range(PATIENTS)]
        rows = [{"tenant_id": tenant_id, "name_sealed": name, "phone_sealed": phone} for name in names]
        db.session.execute(insert(Patient), rows)


def _looks(path: str, who: str = "brian", *, htmx: bool = False, expected: int = 200) -> Any:
    def prepare(clinic: Any) -> Any:
        browser, asked = getattr(clinic, who), path
        if htmx:
            page = browser.get(path.replace("/live", "").replace("own", "own/day") if "own" in path else "/staff/board")
            asked = f"{path}?seen=" + page.text.split('id="seen" value="', 1)[1].split('"', 1)[0]

        def look() -> None:
            answer = browser.get(asked, headers={"HX-Request": "true"} if htmx else {})
            if answer.status_code != expected:
                raise NotDone(f"{asked[:60]} was answered with {answer.status_code}.")

        return look

    return prepare


def _arrives(clinic: Any) -> Any:
    """The poll that brings one row: somebody came."""
    look = _looks("/staff/board/live", htmx=True)(clinic)
    with clinic.product.app.app_context(), transaction():
        start, end = board.limits(clock.nairobi(clock.now()).date())
        waiting = db.session.query(Appointment).filter(
            Appointment.tenant_id == clinic.tenant_id, Appointment.starts_at >= start, Appointment.starts_at < end,
            Appointment.arrived_at.is_(None),
        )  # fmt: skip
        arrivals.arrive(waiting.order_by(Appointment.id).limit(1).one(), actor="bench")
    return look


def _homeless(clinic: Any) -> Any:
    """The page on which money without a home is claimed."""
    body = c2b_body(receipt=receipt(next(flat._numbers)), amount=1_500, account="NOBODY")
    clinic.stranger.post(f"{clinic.product.hook()}/c2b/confirmation", json=body)
    clinic.product.settle()
    with clinic.product.app.app_context():
        uid = db.session.query(Transaction.uid).order_by(Transaction.id.desc()).limit(1).scalar()
    return _looks(f"/staff/board/claim/{uid}")(clinic)


def _slots(clinic: Any) -> Any:
    day = clock.nairobi(clock.now()).date() + timedelta(days=1)
    path = f"/api/portal/clinic/slots?tenant=mlima&serviceId={clinic.service}&from={day}&to={day + timedelta(days=6)}"
    return clinic.get(path, client=clinic.stranger)


OPERATIONS: Sequence[Operation] = (
    Operation("the board", _looks("/staff/board")),
    Operation("the board asks, nothing changed", _looks("/staff/board/live", htmx=True, expected=204)),
    Operation("the board asks, somebody came", _arrives),
    Operation("whose money it is", _homeless),
    Operation("what people must decide", _looks("/staff/unmatched")),
    Operation("a clinician's day", _looks("/staff/own/day", "wanjiru")),
    Operation("a clinician's week", _looks("/staff/own/week", "wanjiru")),
    Operation("the queue", _looks("/staff/queue")),
    Operation("free times of a week", _slots),
)


def clinic_with(product: Product, days: int, *, per_day: int = PER_DAY) -> Clinic:
    """A clinic with so many full days behind it, a full day today, and some ahead."""
    people_it(product)
    with product.app.app_context():
        fill(first=-AHEAD_DAYS, last=days, per_day=per_day)
    return Clinic(product)


def measure(*, quick: bool, kinds: Sequence[str]) -> Section:
    """Each operation with a week and with three years behind it, on each database."""
    many = MANY_DAYS // 20 if quick else MANY_DAYS
    section = Section(
        f"The desk of a clinic with {PER_DAY} visits a day, {FEW_DAYS} and {many} days of them",
        ("operation", *(f"{kind} {what}" for kind in kinds for what in ("few, ms", "many, ms", "ratio"))),
    )
    times: dict[str, list[str]] = {one.name: [] for one in OPERATIONS}
    for kind in kinds:
        with stage(kind) as young, stage(kind) as old:
            clinics = [clinic_with(Product(on.app()).furnish(), days) for on, days in ((young, FEW_DAYS), (old, many))]
            for name, (few_ms, many_ms) in flat.times_ms(clinics, OPERATIONS).items():
                ratio = many_ms / few_ms
                verdict = "" if ratio <= flat.AT_MOST else " MISSES IT"
                times[name] += [f"{few_ms:.2f}", f"{many_ms:.2f}", f"{ratio:.2f}{verdict}"]
            for one in clinics:
                with one.product.app.app_context():
                    db.session.remove()
                    db.engine.dispose()
    section.rows += [(name, *cells) for name, cells in times.items()]
    section.notes.append(
        f"The best of {flat.REPEATED}, in turns, in this process, the page's own work included. Aim: a ratio of at"
        f" most {flat.AT_MOST:g}."
    )
    return section
