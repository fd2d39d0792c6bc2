"""Trying a gateway out, and what is learnt from a refused prompt: each answer proves what it proves, and no more."""

import base64
import json
from typing import Any

import pytest
import responses

from portal.gateways import connection_test
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.models import UnverifiedReport
from tests.support.clock import later
from tests.support.daraja import new_phone
from tests.support.product import Product
from tests.support.visitors import csrf_of

DARAJA = "https://daraja.test"
OAUTH, QUERY = f"{DARAJA}/oauth/v1/generate", f"{DARAJA}/mpesa/stkpushquery/v1/query"
PUSH = f"{DARAJA}/mpesa/stkpush/v1/processrequest"
RIGHT = "Keys, shortcode and passkey are right"


@pytest.fixture
def daraja(product: Product):  # type: ignore[no-untyped-def]
    with product.app.app_context(), transaction():
        db.session.query(Gateway).update({"base_url": DARAJA})
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(OAUTH, json={"access_token": "t0ken", "expires_in": "3599"})
        yield mock


def says(code: str, message: str, status: int = 400) -> dict[str, Any]:
    return {"status": status, "json": {"requestId": "r-1", "errorCode": code, "errorMessage": message}}


UNKNOWN_PROMPT = says("400.002.02", "Bad Request - Invalid CheckoutRequestID")
WRONG = [
    says("500.001.1001", "Wrong credentials", 500),
    says("500.001.1001", "[MerchantValidate] - Wrong credentials", 500),
    says("400.002.02", "Bad Request - Invalid Password"),
    says("500.001.1001", "Merchant does not exist", 500),
    says("400.002.02", "Bad Request - Invalid BusinessShortCode"),
]
SILENT = [
    {"status": 404, "body": "<html><body>Not Found</body></html>"},
    {"status": 200, "body": "<html><body>Welcome</body></html>"},
    {"status": 500, "body": "<html></html>"},
    {"status": 404, "body": ""},
    {"status": 200, "json": {}},
]


def answering(mock: Any, *, ours: dict[str, Any], wrong: dict[str, Any]) -> list[str]:
    """Let the query door answer our passkey and any other; the passwords that it was told."""
    told: list[str] = []

    def query(request: Any) -> tuple[int, dict[str, str], str]:
        password = base64.b64decode(json.loads(request.body)["Password"]).decode()
        told.append(password)
        answer = ours if "mlima-passkey" in password else wrong
        body = json.dumps(answer["json"]) if "json" in answer else answer["body"]
        return answer.get("status", 200), {}, body

    mock.add_callback("POST", QUERY, query)
    return told


def tried(product: Product) -> dict[str, Any]:
    api = product.api("amina")
    uid = api.get("/api/payment-gateways").json["items"][0]["id"]
    said = api.post(f"/api/payment-gateways/{uid}/test").json
    said["passed"] = api.get(f"/api/payment-gateways/{uid}").json["testPassed"]
    return said  # type: ignore[no-any-return]


@pytest.mark.property(41)
@pytest.mark.parametrize("refusal", WRONG)
def test_a_server_that_refuses_a_wrong_passkey_and_takes_ours_has_proved_it(
    product: Product, daraja: Any, refusal: dict[str, Any]
) -> None:
    told = answering(daraja, ours=UNKNOWN_PROMPT, wrong=refusal)
    said = tried(product)
    assert said["success"] and RIGHT in said["message"] and [step["ok"] for step in said["steps"]] == [True, True]
    assert said["passed"] is True and len(told) == 2 and told[0].startswith("600111mlima-passkey")
    assert told[1].startswith("600111") and "mlima-passkey" not in told[1]


@pytest.mark.property(41)
@pytest.mark.parametrize("refusal", WRONG)
def test_a_refused_password_or_shortcode_is_not_taken_for_a_proof(
    product: Product, daraja: Any, refusal: dict[str, Any]
) -> None:
    """fidelity.md 1: "Invalid Password" made the test say that the passkey was right."""
    answering(daraja, ours=refusal, wrong=refusal)
    said = tried(product)
    assert not said["success"] and RIGHT not in said["message"] and "not proven" in said["message"]
    assert [step["ok"] for step in said["steps"]] == [True, False] and said["passed"] is False


@pytest.mark.parametrize("answer", SILENT)
def test_a_page_of_html_or_nothing_proves_nothing_of_the_passkey(
    product: Product, daraja: Any, answer: dict[str, Any]
) -> None:
    """fidelity.md 1: a query door that answered 404 with HTML passed."""
    answering(daraja, ours=answer, wrong=answer)
    said = tried(product)
    assert not said["success"] and RIGHT not in json.dumps(said) and "not proven" in said["message"]
    assert said["passed"] is False


@pytest.mark.parametrize(
    "answer",
    [
        UNKNOWN_PROMPT,
        says("500.001.1001", "The transaction is being processed", 500),
        {"status": 200, "json": {"ResponseCode": "0", "ResultCode": "1032", "ResultDesc": "Cancelled"}},
        {"status": 200, "json": {"ResponseCode": "0", "ResultCode": "0", "ResultDesc": "Done"}},
    ],
)
def test_a_server_that_answers_any_passkey_alike_proves_the_keys_alone(
    product: Product, daraja: Any, answer: dict[str, Any]
) -> None:
    """fidelity.md 1: "Invalid CheckoutRequestID" alone passed, with a wrong shortcode too."""
    answering(daraja, ours=answer, wrong=answer)
    said = tried(product)
    assert said["success"] and RIGHT not in json.dumps(said) and "not proven" in said["message"]
    assert [step["ok"] for step in said["steps"]] == [True, None] and said["passed"] is None
    page = product.browser_of("amina")
    uid = product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    form = {"csrf_token": csrf_of(page, f"/staff/gateways/{uid}")}
    shown = page.post(f"/staff/gateways/{uid}/test", data=form, headers={"HX-Request": "true"}).text
    assert "not proven" in shown and "t-success" not in shown


# ---- a prompt that M-Pesa refuses for the gateway's settings


def bought(product: Product) -> str:
    body = {"tenant": "mlima", "packageId": product.package(), "phone": new_phone()}
    return str(product.client().post("/api/portal/mpesa/initiate", json=body).json["paymentId"])  # type: ignore[index]


@pytest.mark.parametrize(
    "refusal", [*WRONG, says("400.002.02", "Bad Request - Invalid CallBackURL"), {"status": 404, "body": ""}]
)
def test_a_push_refused_for_a_wrong_setting_tells_the_payer_the_truth_and_the_staff_where(
    product: Product, daraja: Any, refusal: dict[str, Any]
) -> None:
    """fidelity.md 5: the payer read "Try again in a moment", the operator nothing."""
    answer = daraja.post(PUSH, **refusal)
    token = bought(product)
    product.work(rounds=1)
    said = product.status(token)
    assert said["status"] == "failed"
    assert said["message"].startswith("M-Pesa is not set up correctly here. You have not been charged.")
    page = product.client().get(f"/pay/{token}").text
    assert "Please tell the staff" in page and "Try again in a moment" not in page
    amina = product.browser_of("amina")
    assert "M-Pesa refuses the requests of mlima paybill" in product.browser_of("brian").get("/staff/").text
    assert "M-Pesa refuses its requests" in amina.get("/staff/gateways").text
    assert 'mlango_waiting{what="gateways_refused"} 1.0' in product.client().get("/metrics").text
    gateway = product.api("amina").get("/api/payment-gateways").json["items"][0]
    assert gateway["refusedAt"] is not None
    # M-Pesa takes a prompt again: all is forgotten
    daraja.remove(answer)
    daraja.post(PUSH, json={"CheckoutRequestID": "ws_CO_1", "MerchantRequestID": "m", "ResponseCode": "0"})
    later(61)
    bought(product)
    product.work(rounds=1)
    assert "refuses" not in product.browser_of("brian").get("/staff/").text
    assert product.api("amina").get("/api/payment-gateways").json["items"][0]["refusedAt"] is None


@pytest.mark.parametrize(
    "refusal",
    [
        says("400.002.02", "Bad Request - Invalid PhoneNumber"),
        says("500.001.1001", "Unable to lock subscriber, a transaction is already in process", 500),
        says("500.003.02", "System is busy. Please try again in few minutes.", 500),
    ],
)
def test_what_is_the_payers_or_passes_by_itself_marks_no_gateway(
    product: Product, daraja: Any, refusal: dict[str, Any]
) -> None:
    daraja.post(PUSH, **refusal)
    bought(product)
    product.work(rounds=1)
    assert product.api("amina").get("/api/payment-gateways").json["items"][0]["refusedAt"] is None


def test_an_administrator_who_mends_the_settings_clears_the_mark(product: Product, daraja: Any) -> None:
    daraja.post(PUSH, **WRONG[0])
    bought(product)
    product.work(rounds=1)
    amina = product.api("amina")
    uid = amina.get("/api/payment-gateways").json["items"][0]["id"]
    assert amina.put(f"/api/payment-gateways/{uid}", {"passkey": "the-right-one"}).json["refusedAt"] is None


# ---- the pages


@pytest.mark.property(80)
def test_the_switch_to_real_money_is_a_step_of_its_own_with_a_question(product: Product) -> None:
    """use.md 21: it was saved with everything else, no question asked."""
    browser = product.browser_of("amina")
    uid = product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    page = f"/staff/gateways/{uid}"
    form = {
        "name": "n", "type": "MPESA_API", "sub_type": "PAYBILL", "shortcode": "600111", "env": "production",
        "base_url": product.daraja_url, "for_hotspot": "y", "csrf_token": csrf_of(browser, page),
    }  # fmt: skip
    assert browser.post(page, data=form).status_code == 303
    assert product.api("amina").get(f"/api/payment-gateways/{uid}").json["env"] == "sandbox", (
        "the form switches no money"
    )
    step = f"{page}/money"
    assert step in browser.get(page).text
    asked = browser.get(step).text
    assert "Switch to real money?" in asked and "takes real money from people" in asked
    keys = {"shortcode": "600777", "base_url": "", "consumer_key": "rk", "consumer_secret": "rs", "passkey": "rp"}
    token = {"csrf_token": csrf_of(browser, step)}
    unasked = browser.post(step, data=keys | token)
    assert unasked.status_code == 422 and "Say that you mean it" in unasked.text
    without = browser.post(step, data={"shortcode": "600777", "is_meant": "y"} | token)
    assert without.status_code == 422 and without.text.count("Enter it again") >= 3
    assert product.api("amina").get(f"/api/payment-gateways/{uid}").json["env"] == "sandbox"
    assert browser.post(step, data=keys | token | {"is_meant": "y"}).status_code == 303
    switched = product.api("amina").get(f"/api/payment-gateways/{uid}").json
    assert (switched["env"], switched["shortcode"], switched["baseUrl"]) == ("production", "600777", "")
    assert "Switch back to test money?" in browser.get(step).text


def test_a_gateway_is_removed_on_the_staff_pages(product: Product) -> None:
    """coverage.md G3: deleted where nothing points at it, archived where payments do."""
    browser, amina = product.browser_of("amina"), product.api("amina")
    used = amina.get("/api/payment-gateways").json["items"][0]["id"]
    product.pushed(product.invoice(100)[1])
    new = {"name": "second", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p"}
    unused = amina.post("/api/payment-gateways", new).json["id"]
    listed = browser.get("/staff/gateways").text
    for uid, word in ((unused, "deleted"), (used, "archived")):
        assert f"/staff/gateways/{uid}/remove" in listed
        form = {"csrf_token": csrf_of(browser, "/staff/gateways/new")}
        said = browser.post(f"/staff/gateways/{uid}/remove", data=form, follow_redirects=True).text
        assert f"is {word}" in said
    assert amina.get("/api/payment-gateways").json["items"] == []
    assert product.browser_of("brian").post(f"/staff/gateways/{used}/remove").status_code in (400, 403)


def test_a_gateway_of_which_only_another_system_reported_money_is_archived(either_product: Product) -> None:
    """coverage.md G3: whatever points at it, in whichever room, is not left without its gateway."""
    amina = either_product.api("amina")
    new = {"name": "second", "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p"}
    uid = amina.post("/api/payment-gateways", new).json["id"]
    with either_product.app.app_context(), transaction():
        second = db.session.query(Gateway).filter_by(uid=uid).one()
        report = UnverifiedReport(
            tenant_id=second.tenant_id, gateway_id=second.id, environment="sandbox", receipt="UKL1234567",
            amount_cents=100, occurred_at=clock.now(), state="refused",
        )  # fmt: skip
        db.session.add(report)
    removed = amina.delete(f"/api/payment-gateways/{uid}")
    assert removed.status_code == 200 and (removed.json["deleted"], removed.json["archived"]) == (False, True)


def test_the_page_that_says_test_the_connection_now_has_the_button(product: Product) -> None:
    """use.md: "Test the connection now" stood on a page without that button."""
    browser = product.browser_of("amina")
    form = {
        "name": "second", "type": "MPESA_API", "sub_type": "PAYBILL", "shortcode": "600999", "env": "sandbox",
        "consumer_key": "k", "consumer_secret": "s", "passkey": "p", "csrf_token": csrf_of(browser, "/staff/gateways/new"),
    }  # fmt: skip
    page = browser.post("/staff/gateways/new", data=form, follow_redirects=True)
    assert "Test the connection now." in page.text and f'action="{page.request.path}/test"' in page.text


@pytest.mark.parametrize(("is_proved", "passed", "is_marked"), [(True, True, False), (None, None, True)])
def test_an_answer_that_proves_nothing_of_the_passkey_clears_no_mark(
    product: Product, is_proved: bool | None, passed: bool | None, is_marked: bool
) -> None:
    """M-Pesa refused the settings of a real prompt: a sign-on alone does not say that they are mended."""
    steps = (connection_test.Step("Sign-on", True, "ok"), connection_test.Step("Passkey", is_proved, "?"))
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.refused_at, gateway.refused_why = clock.now(), "Wrong credentials"
        connection_test.remember(gateway, connection_test.Trial(True, "Connected.", steps))
        assert gateway.test_passed is passed
        assert (gateway.refused_at is not None) is is_marked and bool(gateway.refused_why) is is_marked
