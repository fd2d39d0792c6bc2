"""A patient's statement: looked at, printed, and as a file for a spreadsheet."""

from flask import Blueprint, g, render_template, url_for
from flask.typing import ResponseReturnValue

from portal.clinic import people
from portal.clinic.models import Patient
from portal.gateways import client_factory
from portal.staff.guard import needs
from portal.users.permissions import SEE_CLINIC
from portal.web import statements


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/patients/<uid>/statement", "statement", show)
    bp.add_url_rule("/patients/<uid>/statement.csv", "statement_csv", csv)


def _found(uid: str) -> tuple[Patient, statements.Shown]:
    patient = people.patient(g.tenant.id, uid)
    return patient, statements.of_patient(patient, environment=client_factory.environment_of(g.tenant.id, "clinic"))


@needs(SEE_CLINIC, looks_at="invoices")
def show(uid: str) -> ResponseReturnValue:
    """What was charged, paid and sent back, and what is due."""
    patient, found = _found(uid)
    return render_template(
        "staff/statement.html",
        person=people.name_of(patient),
        statement=found,
        csv_url=url_for("staff.statement_csv", uid=uid),
        new_url=url_for("staff.new_invoice", patient=uid),
    )


@needs(SEE_CLINIC, looks_at="invoices")
def csv(uid: str) -> ResponseReturnValue:
    """The same lines as a file."""
    return statements.csv(_found(uid)[1])
