"""Who reads Swahili meets no English: every sentence is in the catalogue, and every payer's page uses it."""

import io
import pickle
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_keywords, parse_mapping_cfg
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask import jsonify, render_template_string
from flask.testing import FlaskClient
from flask_babel import force_locale

from portal.clinic.models import Appointment
from portal.gateways import result_codes
from portal.kernel import clock, money
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused, Sentence
from portal.kernel.paths import ROOT
from portal.kernel.phone import normalise_msisdn
from portal.kernel.translations import render
from portal.notifications.models import Notice
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.processing import jobs
from portal.tenants.models import Tenant
from portal.web.language import said
from tests.support.clock import later
from tests.support.daraja import new_phone
from tests.support.product import Product

CATALOGUE = ROOT / "translations" / "sw" / "LC_MESSAGES" / "messages.po"
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%%|\{\w*\}")
NUMBER_WORDS = re.compile(
    r"(?<!mara )\b(mbili|miwili|wawili|mawili|tatu|nne|tano|nane|tisa|kumi|saba)\b", re.IGNORECASE
)
Wording = str | tuple[str, ...]


@cache
def written() -> set[Wording]:
    """Every text that the source marks for translation, looked for with the words of `make translations`."""
    methods, options = parse_mapping_cfg(io.StringIO((ROOT / "translations" / "babel.cfg").read_text()))
    marks = re.findall(r" -k (\w+)", (ROOT / "Makefile").read_text())
    extracted = extract_from_dir(
        ROOT,
        methods,
        options,
        keywords=DEFAULT_KEYWORDS | parse_keywords(marks),
        directory_filter=lambda path: Path(path).relative_to(ROOT).parts[0] in ("portal", "templates"),
    )
    return {message for _file, _line, message, _comments, _context in extracted}


def catalogue() -> Catalog:
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="sw")


def key_of(message: Message) -> Wording:
    return message.id if isinstance(message.id, str) else tuple(message.id)


def pairs() -> Iterator[tuple[str, str]]:
    """(English, Swahili), each plural form with the English plural."""
    for message in catalogue():
        if not message.id:
            continue
        if isinstance(message.id, str):
            yield message.id, str(message.string)
        else:
            yield from ((message.id[1], form) for form in message.string or ())


def test_every_text_has_its_swahili() -> None:
    known = {key_of(message): message for message in catalogue() if message.id}
    # from a page, a macro, a lazy text, the kernel
    assert written() > {
        "Pay with M-Pesa",
        "Copied",
        "Wrong M-Pesa PIN.",
        "The amount must be at least KES 1.",
    }
    lacking = [text for text in written() if text not in known]
    assert lacking == [], "run `make translations` and write the Swahili"
    assert [english for english, swahili in pairs() if not swahili.strip()] == []
    assert [m.id for m in known.values() if m.fuzzy] == []


def test_what_is_put_into_a_text_is_put_into_its_swahili() -> None:
    for english, swahili in pairs():
        assert sorted(PLACEHOLDER.findall(english)) == sorted(PLACEHOLDER.findall(swahili)), english


def test_numbers_are_digits_and_m_pesa_keeps_its_name() -> None:
    assert [swahili for _english, swahili in pairs() if NUMBER_WORDS.search(swahili)] == []
    assert [swahili for _english, swahili in pairs() if "M-PESA" in swahili or "Mpesa" in swahili] == []
    months = dict(pairs())["Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"].split()
    assert len(months) == 12 and months[4] == "Mei"


def test_the_compiled_catalogue_is_fresh() -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue())
    compiled.seek(0)
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        kept = {str(m.id): m.string for m in read_mo(file) if m.id}
    assert kept == {str(m.id): m.string for m in read_mo(compiled) if m.id}, "run `make translations`"


def test_every_result_code_speaks_swahili() -> None:
    entries = [*result_codes.RESULT_CODES.values(), *result_codes.B2C_RESULT_CODES.values()]
    entries += [result_codes.explain("nonsense"), result_codes.explain_b2c("nonsense")]
    for one in entries:
        for sentence in (one.sentence, one.next_step):
            assert render(sentence, "sw") != str(sentence), one.code


# --- sentences of the rooms, which know no reader


def test_a_room_says_what_is_wrong_and_the_edge_in_which_language(product: Product) -> None:
    with pytest.raises(Refused) as refused:
        money.payable_cents("20.50")
    text = refused.value.message
    english = "M-Pesa takes whole shillings: KES 20.50 has cents. Round it."
    assert str(text) == str(refused.value) == render(text, "en") == english
    assert render(text, "sw") == "M-Pesa hupokea shilingi kamili tu: KES 20.50 ina senti. Ondoa senti."
    with product.inside():
        assert said(text) == english
    with product.inside(), force_locale("sw"):
        assert said(text) == "M-Pesa hupokea shilingi kamili tu: KES 20.50 ina senti. Ondoa senti."
        assert said("Nobody translated this.") == "Nobody translated this."


def test_a_sentence_within_a_sentence_is_said_in_the_same_language() -> None:
    inner = Sentence("Wrong M-Pesa PIN.")
    whole = Sentence("TEST, no real money: %(text)s", text=inner)
    assert str(whole) == render(whole, "en") == "TEST, no real money: Wrong M-Pesa PIN."
    assert render(whole, "sw") == f"MAJARIBIO, si pesa halisi: {render(inner, 'sw')}"
    assert "PIN" in render(inner, "sw") and "Wrong" not in render(inner, "sw")
    assert render(Sentence("Nobody translated %(this)s.", this="this"), "sw") == "Nobody translated this."
    assert render(whole, "xx") == str(whole), "a language that we do not have"


def test_a_sentence_is_a_value() -> None:
    one = Sentence("The wallet holds %(amount)s.", amount="KES 20")
    assert one == Sentence("The wallet holds %(amount)s.", amount="KES 20") != Sentence("The wallet holds %(amount)s.")
    assert one != "The wallet holds KES 20." and {one: 1}[pickle.loads(pickle.dumps(one))] == 1  # noqa: S301 (our own)
    assert str(Sentence("100% of it")) == "100% of it"
    assert not isinstance(one, str), "types show where an edge forgot to say it"


def test_the_api_answers_in_the_callers_language(product: Product) -> None:
    given = {"tenant": "mlima", "packageId": product.package(), "phone": "12"}
    browser = {"Accept-Language": "sw-KE,en;q=0.5"}
    answer = product.client().post("/api/portal/mpesa/initiate", json=given, headers=browser)
    assert answer.status_code == 422 and answer.json
    sentence = "Weka namba ya simu ya Kenya kama 0712 345 678 au 0110 123 456."
    assert answer.json["message"] == answer.json["fields"]["phone"] == sentence
    with pytest.raises(Refused, match="Enter a Kenyan mobile number"):
        normalise_msisdn("12")


def test_json_says_what_a_page_says_in_the_callers_language(product: Product) -> None:
    """What a room answers with (how a payment stands, what became of a message), not only what it refuses with."""
    _number, token = product.invoice()
    product.pushed(token)
    not_ours = {"tenant": "mlima", "packageId": product.package(), "smsText": "Hello"}
    expected = {
        "en": (
            "Check your phone and enter your M-Pesa PIN. Never tell anyone your PIN.",
            "This is not an M-Pesa message. Copy the whole message, from its code to its end.",
        ),
        "sw": (
            "Angalia simu yako, weka PIN ya M-Pesa. Usimwambie mtu yeyote PIN yako.",
            "Huu si ujumbe wa M-Pesa. Nakili ujumbe wote, kuanzia namba ya risiti hadi mwisho.",
        ),
    }
    for language, (stands, message) in expected.items():
        asked = {"Accept-Language": language}
        told = product.client().get(f"/api/portal/mpesa/status?paymentId={token}", headers=asked).json
        assert told and told["message"] == stands
        page = " ".join(words_of(product.client().get(f"/pay/{token}", headers=asked).text))
        assert stands.partition(". ")[0] in page
        refused = product.client().post("/api/portal/mpesa/verify-sms", json=not_ours, headers=asked).json
        assert refused and refused["message"] == message


# --- pages


class _Words(HTMLParser):
    """What a page says: its text, and the attributes that are read aloud or shown later."""

    SPOKEN = (
        "aria-label", "placeholder", "data-busy", "data-good", "data-bad", "data-copied", "data-wait",
        "data-with-price",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said += [value for name, value in attrs if name in self.SPOKEN and value]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.said.append(" ".join(data.split()))


def words_of(page: str) -> list[str]:
    parser = _Words()
    parser.feed(page)
    return parser.said


# The tenant's own words, a sample of an M-Pesa message, and M-Pesa's menu, which is English on most phones.
SAME_IN_BOTH = {
    "Mlima House", "MLIMA HOUSE", "Bahari House", "Wi-Fi · Mlima House", "Dr Wanjiru", "Moi Avenue 1",
    "1 day, KES 50", "1 hour, KES 20", "SKL1ABCD23 Confirmed. Ksh50.00 sent to…", "Buy Goods and Services",
    "EN, English", "SW, Kiswahili",
}  # fmt: skip


def left_in_english(client: FlaskClient, path: str, **posted: Any) -> list[str]:
    """What a page says in the same words in both languages, data aside."""
    pages = []
    for code in ("en", "sw"):
        address = f"{path}{'&' if '?' in path else '?'}lang={code}"
        answer = client.post(address, data=posted) if posted else client.get(address)
        assert answer.status_code in (200, 404, 422), (path, answer.status_code)
        pages.append(words_of(answer.text))
    english, swahili = pages
    both = set(english) & set(swahili) - SAME_IN_BOTH
    return [text for text in both if len(re.findall(r"\b[A-Za-z]{2,}\b", text)) > 1]


def in_swahili(client: FlaskClient, path: str) -> str:
    answer = client.get(f"{path}{'&' if '?' in path else '?'}lang=sw")
    assert answer.status_code == 200, answer.status_code
    return " ".join(words_of(answer.text))


def test_the_captive_portal_is_in_swahili(product: Product) -> None:
    client = product.client()
    page = in_swahili(client, "/hotspot/mlima/")
    for text in ("Chagua intaneti yako", "Lipa kwa M\u2011Pesa", "Namba ya M-Pesa", "Nimelipa", "Nina msimbo"):
        assert text in page
    for path in (
        "/", "/login", "/hotspot/mlima/", "/hotspot/mlima/paid", "/hotspot/mlima/code", "/clinic/mlima/",
        "/pay/unknown", "/join/unknown", "/hotspot/unknown/", "/clinic/unknown/", "/nowhere",
    ):  # fmt: skip
        assert left_in_english(client, path) == [], path
    package = product.package()
    long_message = {"sms_text": "x" * 2001, "package": package}
    not_ours = {"sms_text": "Hello", "package": package}
    for path, posted in (
        ("/hotspot/mlima/", {"package": package, "phone": "12"}),
        ("/hotspot/mlima/", {"package": "unknown", "phone": new_phone()}),
        ("/hotspot/mlima/paid", long_message),
        ("/hotspot/mlima/paid", not_ours),
        ("/hotspot/mlima/code", {"code": "NOTHING"}),
        ("/hotspot/mlima/code", {"code": ""}),
    ):
        assert set(left_in_english(client, path, **posted)) <= {posted.get("sms_text")}, path


def test_a_payment_is_in_swahili_from_the_request_to_the_receipt(product: Product) -> None:
    client = product.client()
    _number, token = product.invoice()
    path = f"/pay/{token}"
    assert "Tayari kulipwa" in in_swahili(client, path) and "Ankara INV" in in_swahili(client, path)
    assert left_in_english(client, path) == []

    first = product.pushed(token)
    assert "Angalia simu yako, weka PIN ya M-Pesa." in in_swahili(client, path)
    assert left_in_english(client, path) == []
    product.callback(first, code=1032)
    product.settle()
    assert "Umeghairi" in in_swahili(client, path) and "Jaribu tena" in in_swahili(client, path)
    assert left_in_english(client, path) == []

    second = product.pushed(token)
    later(121)
    with product.inside():
        jobs.expire_pushes()
    assert "Tunathibitisha na M-Pesa" in in_swahili(client, path)
    assert left_in_english(client, path) == []
    product.callback(second, receipt="UKL1SW0001")
    product.settle()
    assert "Imelipwa" in in_swahili(client, path) and "Risiti" in in_swahili(client, path)
    assert left_in_english(client, path) == []
    assert "Ankara INV" in in_swahili(client, f"{path}/receipt")
    assert left_in_english(client, f"{path}/receipt") == []


def test_the_internet_opens_in_swahili(product: Product) -> None:
    client = product.client()
    answer = client.post("/hotspot/mlima/?lang=sw", data={"package": product.package(), "phone": new_phone()})
    assert answer.status_code == 303 and "lang=sw" in answer.location
    path = answer.location.partition("?")[0]
    token = path.rsplit("/", 1)[1]
    assert "Kutuma ombi" in in_swahili(client, path) and left_in_english(client, path) == []
    product.callback(product.pushed(token), receipt="UKL1SW0009")
    product.settle()
    page = in_swahili(client, path)
    assert "Nenosiri" in page and "Muda uliobaki: siku 1" in page
    assert left_in_english(client, path) == []
    assert left_in_english(client, "/hotspot/mlima/code", code="UKL1SW0009") == []


# --- letters


def _appointment(product: Product, *, language: str) -> dict[str, Any]:
    """An approved appointment at a clinic of this language; whoever approves it reads English."""
    with product.inside(), transaction():
        db.session.query(Tenant).filter_by(slug="mlima").one().locale = language
    amina = product.api("amina")
    patients = amina.get("/api/patients").json["items"]
    patient = next(one for one in patients if one["email"] == "otieno@mlima.test")
    clinician = amina.get("/api/clinicians").json["items"][0]
    starts_at = clock.rfc3339(clock.now() + timedelta(days=1))
    given = {
        "patientId": patient["id"],
        "clinicianId": clinician["id"],
        "kind": "virtual",
        "startsAt": starts_at,
    }
    given |= {"durationMinutes": 30, "price": 1500}
    made = amina.post("/api/appointments", json=given)
    assert made.status_code == 201, made.text
    approved = amina.post(f"/api/appointments/{made.json['id']}/approve", json={})
    assert approved.status_code == 200, approved.text
    return approved.json  # type: ignore[no-any-return]


def _letters(product: Product) -> dict[str, dict[str, Any]]:
    with product.inside():
        items = db.session.query(OutboxItem).all()
        return {f"{item.kind}/{item.key.rsplit('/', 1)[1]}": payload_of(item) for item in items}


def test_letters_are_in_the_clinics_language_whoever_causes_them(product: Product) -> None:
    made = _appointment(product, language="sw")
    letters = _letters(product)
    assert letters["sms/approved"]["text"].startswith("MAJARIBIO, si pesa halisi: Miadi yako ya ")
    assert f"akaunti {made['invoiceNumber']}" in letters["sms/approved"]["text"]
    assert letters["email/approved"]["subject"] == "MAJARIBIO, si pesa halisi: Miadi yako imekubaliwa"
    assert letters["sms/approved"]["text"].isascii(), "an SMS of other letters costs more than twice as much"
    token = made["payUrl"].rsplit("/", 1)[1]
    page = in_swahili(product.client(), f"/pay/{token}")
    assert "Miadi" in page and left_in_english(product.client(), f"/pay/{token}") == []

    product.callback(product.pushed(token), receipt="UKL1SW0002")
    product.settle()  # a job, without a request
    told = _letters(product)["sms/confirmed"]["text"]
    assert told.startswith("MAJARIBIO, si pesa halisi: Imelipwa, risiti ya M-Pesa UKL1SW0002. Miadi yako ya ")
    with product.inside():
        texts = [notice.text for notice in db.session.query(Notice)]
    assert texts and not [text for text in texts if "appointment" in text.lower()]
    assert left_in_english(product.client(), f"/pay/{token}") == []


def test_letters_of_an_english_clinic_stay_english(product: Product) -> None:
    _appointment(product, language="en")
    assert _letters(product)["sms/approved"]["text"].startswith("TEST, no real money: Your appointment on ")


def test_an_online_session_waits_in_swahili(product: Product) -> None:
    made = _appointment(product, language="sw")
    token = made["payUrl"].rsplit("/", 1)[1]
    with product.inside():
        path = f"/join/{db.session.query(Appointment).one().join_token}"
    client = product.client()
    assert "Kikao hiki kitafunguka kikilipiwa." in in_swahili(client, path)
    assert left_in_english(client, path) == []
    product.callback(product.pushed(token), receipt="UKL1SW0003")
    product.settle()
    for days, expected in ((0, "Umewahi."), (1, "Kikao cha mtandaoni"), (2, "Kikao hiki kimeisha.")):
        later(days * 86_400)
        assert expected in in_swahili(client, path) and left_in_english(client, path) == []


def test_templates_and_json_say_a_sentence_in_the_readers_language(product: Product) -> None:
    wrong_pin = result_codes.explain("2001").sentence
    for language, words in (("en", "Wrong M-Pesa PIN."), ("sw", render(wrong_pin, "sw"))):
        with product.app.test_request_context(f"/?lang={language}"):
            assert render_template_string("<p>{{ it }}</p>", it=wrong_pin) == f"<p>{words}</p>"
            assert jsonify(message=[wrong_pin]).json == {"message": [words]}
    with pytest.raises(TypeError), product.app.test_request_context("/"):
        jsonify(message=object())


def test_a_state_is_said_in_the_language_of_whoever_reads_it_and_not_of_the_first(product: Product) -> None:
    with product.app.test_request_context("/?lang=en"):
        chip = product.app.jinja_env.from_string('{% from "_macros/chips.html" import chip %}{{ chip("paid") }}')
        assert "Paid" in chip.render()
    with product.app.test_request_context("/?lang=sw"):
        assert "Imelipwa" in chip.render() and "Paid" not in chip.render()
