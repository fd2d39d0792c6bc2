"""Delivery reports: each told to its message, whichever comes first; what was not brought is tried by e-mail."""

from dataclasses import replace
from typing import Any

import pytest
import responses

from portal.kernel.db import db, transaction
from portal.notifications import reports, tell
from portal.notifications.models import SmsReport
from portal.notifications.tell import Letter
from portal.outbox.deliver import deliver_due
from portal.outbox.models import OutboxItem
from tests.support.clock import later
from tests.support.product import Product
from tests.support.telling import letters
from tests.support.threads import together

SMS = "https://api.africastalking.com/version1/messaging"
KEY = "a1" * 20


@pytest.fixture
def reporting(product: Product) -> Product:
    return with_account(product)


def with_account(product: Product) -> Product:
    config = product.app.config["PORTAL"]
    product.app.config["PORTAL"] = replace(config, sms_username="mlima", sms_api_key="k", sms_key=KEY)
    return product


def sent(product: Product, *, otherwise: bool = False, code: int = 101) -> None:
    """A message that the provider took as ATXid_1, for 0.80 shillings."""
    letter = Letter("achieng@example.com", "Reminder", "Tomorrow at nine") if otherwise else None
    with product.app.app_context():
        with transaction():
            tell.by_sms(
                1, "appointment/7/remind_day/0", msisdn="254712345678", text="Tomorrow at nine", locale="en",
                otherwise=letter,
            )  # fmt: skip
        with responses.RequestsMock() as mock:
            recipient = {
                "statusCode": code, "number": "+254712345678", "status": "Success", "cost": "KES 0.8000",
                "messageId": "ATXid_1",
            }  # fmt: skip
            mock.post(SMS, status=201, json={"SMSMessageData": {"Message": "Sent", "Recipients": [recipient]}})
            deliver_due()
        db.session.remove()


def reported(product: Product, status: str, why: str = "", message_id: str = "ATXid_1") -> Any:
    """As Africa's Talking posts it."""
    form = {
        "id": message_id, "status": status, "phoneNumber": "+254712345678", "networkCode": "63902", "retryCount": "0",
        "failureReason": why,
    }  # fmt: skip
    return product.client().post(f"/sms/{KEY}/delivery", data=form)


def take_in(product: Product) -> None:
    with product.app.app_context():
        reports.take_in()
        db.session.remove()


def became(product: Product) -> tuple[str, str, int | None]:
    with product.inside():
        item = db.session.query(OutboxItem).filter_by(kind="sms").one()
        return item.delivery, item.last_error, item.cost_cents


def waiting(product: Product) -> int:
    with product.inside():
        return db.session.query(SmsReport).count()


@pytest.mark.parametrize(
    ("status", "why", "delivery"),
    [
        ("Success", "", ("delivered", "", 80)),
        ("Failed", "UserIsInactive", ("failed", "Failed: UserIsInactive", 80)),
        ("Rejected", "InsufficientCredit", ("failed", "Rejected: InsufficientCredit", 80)),
        ("Sent", "", ("", "", 80)),
        ("Submitted", "", ("", "", 80)),
        ("Buffered", "", ("", "", 80)),
        ("Nonsense", "", ("", "", 80)),
    ],
)
def test_a_message_knows_what_became_of_it_and_what_it_cost(
    reporting: Product, status: str, why: str, delivery: tuple[str, str, int]
) -> None:
    sent(reporting)
    assert reported(reporting, status, why).status_code == 204
    take_in(reporting)
    assert became(reporting) == delivery and waiting(reporting) == 0


def test_a_report_that_comes_before_the_answer_is_stored_waits_for_it(reporting: Product) -> None:
    reported(reporting, "Success")
    take_in(reporting)
    sent(reporting)
    assert became(reporting)[0] == ""
    later(11)
    take_in(reporting)
    assert became(reporting)[0] == "delivered" and waiting(reporting) == 0


def test_the_final_word_is_not_taken_back_by_an_earlier_one_that_comes_later(reporting: Product) -> None:
    reported(reporting, "Failed", "UserIsInactive")
    reported(reporting, "Sent")
    sent(reporting)
    take_in(reporting)
    reported(reporting, "Buffered")
    take_in(reporting)
    assert became(reporting)[0] == "failed"


def test_a_report_of_nobodys_message_is_let_go_after_an_hour(reporting: Product) -> None:
    reported(reporting, "Success", message_id="ATXid_other")
    take_in(reporting)
    assert waiting(reporting) == 1
    later(3_700)
    take_in(reporting)
    assert waiting(reporting) == 0


def test_what_the_phone_did_not_get_goes_by_email_once(reporting: Product) -> None:
    sent(reporting, otherwise=True)
    for _again in range(2):
        reported(reporting, "Failed", "UserIsInactive")
        take_in(reporting)
    assert letters(reporting) == [{"to": "achieng@example.com", "subject": "Reminder", "text": "Tomorrow at nine"}]


def test_what_the_provider_refused_goes_by_email(reporting: Product) -> None:
    sent(reporting, otherwise=True, code=403)
    assert [letter["to"] for letter in letters(reporting)] == ["achieng@example.com"]
    assert became(reporting)[0] == "failed"


def test_without_an_sms_account_it_goes_by_email(product: Product) -> None:
    with product.app.app_context():
        with transaction():
            letter = Letter("achieng@example.com", "Reminder", "Tomorrow at nine")
            tell.by_sms(1, "k", msisdn="254712345678", text="Tomorrow", locale="en", otherwise=letter)
        deliver_due()
    assert [letter["to"] for letter in letters(product)] == ["achieng@example.com"]


def test_two_workers_and_two_posts_of_one_report(either_product: Product) -> None:
    product = with_account(either_product)
    sent(product, otherwise=True)
    together(product, lambda: reported(product, "Failed"), lambda: reported(product, "Failed"))
    together(product, reports.take_in, reports.take_in)
    assert became(product)[0] == "failed" and len(letters(product)) == 1


@pytest.mark.parametrize("form", [{}, {"id": "ATXid_1"}, {"status": "Success"}, {"id": "\0", "status": "Success"}])
def test_a_post_without_what_a_report_needs_changes_nothing(reporting: Product, form: dict[str, str]) -> None:
    sent(reporting)
    assert reporting.client().post(f"/sms/{KEY}/delivery", data=form).status_code == 204
    take_in(reporting)
    assert became(reporting)[0] == "" and waiting(reporting) == 0
