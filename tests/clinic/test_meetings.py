"""Online visits: each provider on its own wire, the door that opens at the right time, and what holds when it fails."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest
import responses
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from responses import matchers

from portal.clinic.meetings import make, settings
from portal.clinic.meetings.models import Meeting, MeetingSettings
from portal.clinic.meetings.providers import wire
from portal.clinic.models import Appointment
from portal.kernel import clock, vault
from portal.kernel.db import db, transaction
from portal.notifications.models import Notice
from portal.tenants.models import Tenant
from portal.users import credentials
from tests.support.appointments import book, is_wanjirus
from tests.support.daraja import receipt
from tests.support.meetings import JITSI, meets_by
from tests.support.product import Product
from tests.support.visitors import PASSWORD, csrf_of

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ACCOUNT = {
    "type": "service_account", "client_email": "portal@clinic.iam.gserviceaccount.com", "private_key": PEM,
    "private_key_id": "key1", "token_uri": "https://evil.example/token",
}  # fmt: skip
GOOGLE = {"credential": ACCOUNT, "subject": "desk@mlima.example"}
ZOOM = {"account": "acc-1", "client": "cli", "secret": "s3cret", "host": "doctor@mlima.example"}
GOOGLE_TOKEN, EVENTS = (
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/calendar/v3/calendars/primary/events",
)
ZOOM_TOKEN, ZOOM_API = "https://zoom.us/oauth/token", "https://api.zoom.us/v2"
ANY_HOUR: Any = {"verify_nbf": False, "verify_exp": False}  # PyJWT knows nothing of a moved clock
MEETINGS_OF_HOST = f"{ZOOM_API}/users/doctor@mlima.example/meetings"


@pytest.fixture(autouse=True)
def no_token_is_kept() -> Iterator[None]:
    wire._tokens.clear()
    yield
    wire._tokens.clear()


@pytest.fixture
def outside() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def confirmed(product: Product, code: int = 1, **changes: Any) -> str:
    """An online visit that is paid; its id."""
    uid: str = book(product, **changes).json["id"]
    answer = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json
    product.callback(product.pushed(answer["paymentId"]), receipt=receipt(code))
    product.settle()
    return uid


def work(product: Product) -> None:
    with product.app.app_context():
        make.make_due()
        db.session.remove()


def meeting(product: Product) -> dict[str, Any]:
    with product.inside():
        one = db.session.query(Meeting).one()
        url = one.join_url_sealed and vault.unseal(
            one.join_url_sealed, context=vault.context(vault.MEETING, one.tenant_id)
        )
        names = ("external_id", "fell_back", "last_error", "next_at", "attempts", "request_id", "provider", "wanted")
        return {"url": url} | {name: getattr(one, name) for name in names}


def door(product: Product, uid: str) -> str:
    with product.inside():
        token: str = db.session.query(Appointment.join_token).filter_by(uid=uid).scalar()
    return f"/join/{token}"


def link_of(product: Product, uid: str) -> str:
    product.tokens.clear()  # the clock was moved
    url: str = product.api("brian").get(f"/api/appointments/{uid}").json["meetingUrl"]
    return url


def until_the_door_opens(product: Product, uid: str) -> None:
    with product.inside():
        starts_at = db.session.query(Appointment.starts_at).filter_by(uid=uid).scalar()
    clock.move(starts_at - timedelta(minutes=14) - clock.now())


def entered(product: Product, uid: str) -> str:
    """Where the patient's link leads to."""
    return product.client().get(f"{door(product, uid)}/enter").headers["Location"]


# ---- Google Meet


def google_event(request_id: str, *, status: str = "success", **more: Any) -> dict[str, Any]:
    conference: dict[str, Any] = {"createRequest": {"requestId": request_id, "status": {"statusCode": status}}}
    if status == "success":
        conference |= {
            "entryPoints": [
                {"entryPointType": "phone", "uri": "tel:+254-20-123"},
                {"entryPointType": "video", "uri": "https://meet.google.com/abc-defg-hij"},
            ],
            "conferenceId": "abc-defg-hij",
        }
    return {"id": f"mlango{request_id}", "status": "confirmed", "conferenceData": conference} | more


def google_knows_us(outside: responses.RequestsMock) -> None:
    outside.post(GOOGLE_TOKEN, json={"access_token": "ya29.t", "expires_in": 3599, "token_type": "Bearer"})


def test_google_is_asked_as_its_reference_has_it(product: Product, outside: responses.RequestsMock) -> None:
    """clinic.md C1: a signed assertion for the Workspace's user, one event of ours, its conference by our request id."""
    meets_by(product, "google", GOOGLE)
    uid = confirmed(product)
    request_id = meeting(product)["request_id"]
    google_knows_us(outside)
    outside.post(
        EVENTS,
        json=google_event(request_id),
        match=[
            matchers.query_param_matcher({"conferenceDataVersion": "1", "sendUpdates": "none"}),
            matchers.header_matcher({"Authorization": "Bearer ya29.t"}),
        ],
    )
    work(product)
    form = dict(parse_qsl(outside.calls[0].request.body))
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(form["assertion"], KEY.public_key(), algorithms=["RS256"], audience=GOOGLE_TOKEN)
    assert claims["iss"] == "portal@clinic.iam.gserviceaccount.com" and claims["sub"] == "desk@mlima.example"
    assert (
        claims["scope"] == "https://www.googleapis.com/auth/calendar.events" and claims["exp"] - claims["iat"] == 3600
    )
    assert jwt.get_unverified_header(form["assertion"])["kid"] == "key1"
    event = json.loads(outside.calls[1].request.body)
    with product.inside():
        visit = db.session.query(Appointment).filter_by(uid=uid).one()
        starts_at, ends_at = visit.starts_at, visit.starts_at + timedelta(minutes=45)
    assert event["id"] == f"mlango{request_id}" and event["summary"] == "Appointment"
    assert datetime.fromisoformat(event["start"]["dateTime"]) == starts_at
    assert event["start"]["dateTime"].endswith("+03:00") and event["start"]["timeZone"] == "Africa/Nairobi"
    assert datetime.fromisoformat(event["end"]["dateTime"]) == ends_at
    assert event["visibility"] == "private" and event["guestsCanSeeOtherGuests"] is False
    asked = event["conferenceData"]["createRequest"]
    assert asked == {"requestId": request_id, "conferenceSolutionKey": {"type": "hangoutsMeet"}}
    assert "Achieng" not in outside.calls[1].request.body.decode()
    found = meeting(product)
    assert found["url"] == "https://meet.google.com/abc-defg-hij" and found["next_at"] is None
    until_the_door_opens(product, uid)
    assert entered(product, uid) == "https://meet.google.com/abc-defg-hij"


def test_a_conference_that_google_still_prepares_is_looked_at_again(
    product: Product, outside: responses.RequestsMock
) -> None:
    meets_by(product, "google", GOOGLE)
    uid = confirmed(product)
    request_id = meeting(product)["request_id"]
    google_knows_us(outside)
    outside.post(EVENTS, json=google_event(request_id, status="pending"))
    outside.patch(f"{EVENTS}/mlango{request_id}", json=google_event(request_id))
    work(product)
    assert meeting(product)["url"] is None and meeting(product)["next_at"] is not None
    until_the_door_opens(product, uid)
    assert "The link is being made" in product.client().get(door(product, uid)).text
    work(product)
    assert meeting(product)["url"] == "https://meet.google.com/abc-defg-hij"


def test_a_conference_that_failed_is_asked_for_under_another_request_id(
    product: Product, outside: responses.RequestsMock
) -> None:
    meets_by(product, "google", GOOGLE)
    confirmed(product)
    request_id = meeting(product)["request_id"]
    google_knows_us(outside)
    outside.post(EVENTS, json=google_event(request_id, status="failure"))
    again = outside.patch(f"{EVENTS}/mlango{request_id}", json=google_event(request_id, status="pending"))
    work(product)
    body = json.loads(again.calls[0].request.body)
    assert body["conferenceData"]["createRequest"]["requestId"] == f"{request_id}-0"


def test_an_event_whose_answer_was_lost_is_found_and_not_made_twice(
    product: Product, outside: responses.RequestsMock
) -> None:
    """The worker died between Google's answer and our record: the same id again is 409, and the event is read."""
    meets_by(product, "google", GOOGLE)
    confirmed(product)
    request_id = meeting(product)["request_id"]
    google_knows_us(outside)
    outside.post(
        EVENTS, status=409, json={"error": {"code": 409, "message": "The requested identifier already exists."}}
    )
    outside.get(f"{EVENTS}/mlango{request_id}", json=google_event(request_id))
    work(product)
    assert meeting(product)["url"] == "https://meet.google.com/abc-defg-hij"


def test_a_token_that_ended_early_is_renewed_once(product: Product, outside: responses.RequestsMock) -> None:
    meets_by(product, "google", GOOGLE)
    confirmed(product)
    request_id = meeting(product)["request_id"]
    google_knows_us(outside)
    outside.post(EVENTS, status=401, json={"error": {"code": 401, "message": "Invalid Credentials"}})
    outside.post(EVENTS, json=google_event(request_id))
    work(product)
    assert [call.request.url.split("?")[0] for call in outside.calls] == [GOOGLE_TOKEN, EVENTS, GOOGLE_TOKEN, EVENTS]
    assert meeting(product)["url"] == "https://meet.google.com/abc-defg-hij"


# ---- Zoom


def zoom_knows_us(outside: responses.RequestsMock) -> None:
    basic = base64.b64encode(b"cli:s3cret").decode()
    outside.post(
        ZOOM_TOKEN,
        json={"access_token": "zt", "token_type": "bearer", "expires_in": 3600, "api_url": "https://api.zoom.us"},
        match=[
            matchers.header_matcher({"Authorization": f"Basic {basic}"}),
            matchers.urlencoded_params_matcher({"grant_type": "account_credentials", "account_id": "acc-1"}),
        ],
    )


ZOOMS = {"id": 85746065432, "uuid": "x==", "topic": "Appointment", "join_url": "https://us06web.zoom.us/j/857?pwd=p", "start_url": "https://us06web.zoom.us/s/857?zak=z"}  # fmt: skip


def test_zoom_is_asked_as_its_reference_has_it(product: Product, outside: responses.RequestsMock) -> None:
    """clinic.md C2: server-to-server token, a scheduled meeting in UTC with a waiting room; only join_url goes out."""
    meets_by(product, "zoom", ZOOM)
    uid = confirmed(product)
    zoom_knows_us(outside)
    made = outside.post(
        MEETINGS_OF_HOST, status=201, json=ZOOMS, match=[matchers.header_matcher({"Authorization": "Bearer zt"})]
    )
    work(product)
    body = json.loads(made.calls[0].request.body)
    with product.inside():
        starts_at = db.session.query(Appointment.starts_at).filter_by(uid=uid).scalar()
    assert body["type"] == 2 and body["duration"] == 45 and body["timezone"] == "Africa/Nairobi"
    assert datetime.strptime(body["start_time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) == starts_at.replace(
        microsecond=0
    )
    assert body["topic"].startswith("Appointment ") and body["settings"]["waiting_room"] is True
    assert body["settings"]["join_before_host"] is False and body["settings"]["auto_recording"] == "none"
    assert meeting(product)["external_id"] == "85746065432" and meeting(product)["url"] == ZOOMS["join_url"]
    until_the_door_opens(product, uid)
    assert entered(product, uid) == ZOOMS["join_url"]
    outside.get(f"{ZOOM_API}/meetings/85746065432", json=ZOOMS)
    room = product.browser_of("wanjiru").get(f"/staff/appointments/{uid}/meeting/room")
    assert room.headers["Location"] == ZOOMS["start_url"]
    for page in (
        product.client().get(door(product, uid)).text,
        product.browser_of("brian").get(f"/staff/appointments/{uid}/meeting").text,
    ):
        assert "zoom.us" not in page and "zak=" not in page


def test_a_second_try_at_zoom_looks_for_what_the_first_one_made(
    product: Product, outside: responses.RequestsMock
) -> None:
    """Zoom knows no request id: an answer that was lost would make a second meeting."""
    meets_by(product, "zoom", ZOOM)
    confirmed(product)
    zoom_knows_us(outside)
    lost = outside.post(MEETINGS_OF_HOST, body=ConnectionError("lost"))
    work(product)
    topic = json.loads(lost.calls[0].request.body)["topic"]
    assert "cannot be" in meeting(product)["last_error"]
    outside.get(
        MEETINGS_OF_HOST,
        json={"meetings": [{"id": 1, "topic": "Other", "join_url": "https://zoom.us/j/1"}, ZOOMS | {"topic": topic}]},
    )
    clock.move(timedelta(seconds=5))
    work(product)
    assert meeting(product)["external_id"] == "85746065432" and len(lost.calls) == 1


def test_a_visit_that_moves_takes_its_meeting_along_and_one_that_is_off_ends_it(
    product: Product, outside: responses.RequestsMock
) -> None:
    meets_by(product, "zoom", ZOOM)
    uid = confirmed(product)
    zoom_knows_us(outside)
    outside.post(MEETINGS_OF_HOST, status=201, json=ZOOMS)
    work(product)
    at = (clock.now() + timedelta(days=4)).replace(microsecond=0)
    link = link_of(product, uid)
    moved = product.api("brian").post(f"/api/appointments/{uid}/reschedule", {"startsAt": clock.rfc3339(at)})
    assert moved.status_code == 200, moved.text
    patched = outside.patch(f"{ZOOM_API}/meetings/85746065432", status=204)
    outside.get(f"{ZOOM_API}/meetings/85746065432", json=ZOOMS)
    work(product)
    assert json.loads(patched.calls[0].request.body)["start_time"] == at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert link_of(product, uid) == link
    product.api("brian").post(f"/api/appointments/{uid}/cancel", {"reason": "ill"})
    deleted = outside.delete(f"{ZOOM_API}/meetings/85746065432", status=204)
    work(product)
    assert len(deleted.calls) == 1 and meeting(product)["next_at"] is None
    work(product)
    assert len(deleted.calls) == 1


def test_a_meeting_that_somebody_deleted_there_is_made_anew_and_the_link_stays(
    product: Product, outside: responses.RequestsMock
) -> None:
    meets_by(product, "zoom", ZOOM)
    uid = confirmed(product)
    zoom_knows_us(outside)
    outside.post(MEETINGS_OF_HOST, status=201, json=ZOOMS)
    work(product)
    at = clock.rfc3339(clock.now() + timedelta(days=4))
    product.api("brian").post(f"/api/appointments/{uid}/reschedule", {"startsAt": at})
    outside.patch(
        f"{ZOOM_API}/meetings/85746065432", status=404, json={"code": 3001, "message": "Meeting does not exist"}
    )
    outside.post(MEETINGS_OF_HOST, status=201, json=ZOOMS | {"id": 99, "join_url": "https://zoom.us/j/99"})
    outside.get(MEETINGS_OF_HOST, json={"meetings": []})
    work(product)
    assert meeting(product)["url"] == "https://zoom.us/j/99"
    until_the_door_opens(product, uid)
    assert entered(product, uid) == "https://zoom.us/j/99"


# ---- an outage


def test_an_outage_delays_no_payment_the_fallback_stands_in_and_the_link_follows(
    product: Product, outside: responses.RequestsMock
) -> None:
    """C5: a provider's outage never loses or delays a payment, and the link follows when it can."""
    meets_by(product, "zoom", ZOOM, base_url="https://rooms.mlima.example")
    uid = confirmed(product)
    link = link_of(product, uid)
    assert product.api("brian").get(f"/api/appointments/{uid}").json["status"] == "confirmed"
    outside.post(ZOOM_TOKEN, status=503, body="<html>down</html>")
    for _try in range(3):
        work(product)
        clock.move(timedelta(minutes=1))
    assert meeting(product)["fell_back"] is True
    until_the_door_opens(product, uid)
    assert entered(product, uid) == f"https://rooms.mlima.example/{door(product, uid).rsplit('/', 1)[1]}"
    outside.reset()
    zoom_knows_us(outside)
    outside.post(MEETINGS_OF_HOST, status=201, json=ZOOMS)
    outside.get(MEETINGS_OF_HOST, json={"meetings": []})
    work(product)
    assert entered(product, uid) == ZOOMS["join_url"]
    assert link_of(product, uid) == link


def test_without_a_fallback_the_door_says_that_the_link_is_coming(
    product: Product, outside: responses.RequestsMock
) -> None:
    meets_by(product, "zoom", ZOOM, fallback="")
    uid = confirmed(product)
    outside.post(
        ZOOM_TOKEN, status=400, json={"reason": "Invalid client_id or client_secret", "error": "invalid_client"}
    )
    work(product)
    until_the_door_opens(product, uid)
    assert "The link is being made" in product.client().get(door(product, uid)).text
    assert entered(product, uid).endswith(door(product, uid))
    staff = product.browser_of("wanjiru").get(f"/staff/appointments/{uid}/meeting").text
    assert "invalid_client: Invalid client_id or client_secret" in staff


def test_one_meeting_that_fails_oddly_stops_no_other(product: Product, outside: responses.RequestsMock) -> None:
    meets_by(product, "zoom", ZOOM)
    confirmed(product, 1)
    confirmed(product, 2)
    zoom_knows_us(outside)
    outside.post(MEETINGS_OF_HOST, status=201, json={"id": [], "join_url": {"odd": 1}})
    outside.post(MEETINGS_OF_HOST, status=201, json=ZOOMS)
    work(product)
    with product.inside():
        assert sorted(one.external_id for one in db.session.query(Meeting)) == ["", "85746065432"]


def test_what_changes_while_the_provider_is_asked_is_told_to_it_afterwards(
    product: Product, outside: responses.RequestsMock
) -> None:
    """The visit is cancelled between our question and Zoom's answer: the meeting that comes back is ended."""
    meets_by(product, "zoom", ZOOM)
    uid = confirmed(product)
    zoom_knows_us(outside)

    def cancelled_meanwhile(_request: Any) -> tuple[int, dict[str, str], str]:
        product.api("brian").post(f"/api/appointments/{uid}/cancel", {"reason": "ill"})
        return 201, {}, json.dumps(ZOOMS)

    outside.add_callback("POST", MEETINGS_OF_HOST, callback=cancelled_meanwhile)
    deleted = outside.delete(f"{ZOOM_API}/meetings/85746065432", status=204)
    work(product)
    assert len(deleted.calls) == 1 and meeting(product)["next_at"] is None


def test_two_workers_make_one_meeting(either_product: Product, outside: responses.RequestsMock) -> None:
    product = either_product
    meets_by(product, "zoom", ZOOM)
    confirmed(product)
    zoom_knows_us(outside)
    made = outside.post(MEETINGS_OF_HOST, status=201, json=ZOOMS)
    with product.app.app_context():
        claimed = make._claim()
        assert claimed is not None and make._claim() is None
        make._bring_about(claimed)
        db.session.remove()
    work(product)
    assert len(made.calls) == 1


# ---- Jitsi


def test_jitsi_opens_with_a_token_of_the_moment_sound_first_and_the_clinician_lets_the_patient_in(
    product: Product,
) -> None:
    meets_by(product, "jitsi", JITSI)
    uid = confirmed(product)
    until_the_door_opens(product, uid)
    patient, path = product.client(), door(product, uid)
    assert "I am here" in patient.get(path).text and entered(product, uid).endswith(path)
    assert patient.post(f"{path}/knock").status_code == 303
    assert "lets you in" in patient.get(path).text and entered(product, uid).endswith(path)
    clinician = product.browser_of("wanjiru")
    page = clinician.get(f"/staff/appointments/{uid}/meeting").text
    assert "The patient is at the door" in page
    host = urlsplit(clinician.get(f"/staff/appointments/{uid}/meeting/room").headers["Location"])
    admitted = clinician.post(
        f"/staff/appointments/{uid}/meeting/admit",
        data={"csrf_token": csrf_of(clinician, f"/staff/appointments/{uid}/meeting")},
    )
    assert admitted.status_code == 303
    guest = urlsplit(entered(product, uid))
    assert (guest.scheme, guest.netloc, guest.path) == ("https", "meet.mlima.example", host.path)
    assert len(guest.path) > 32 and dict(parse_qsl(guest.fragment))["config.startAudioOnly"] == "true"
    said = {}
    for who, url in (("guest", guest), ("host", host)):
        said[who] = jwt.decode(
            parse_qs(url.query)["jwt"][0], JITSI["secret"], algorithms=["HS256"], audience="mlima", options=ANY_HOUR
        )
    assert said["guest"]["context"]["user"] == {"id": "guest", "name": "Achieng", "affiliation": "member"}
    assert said["host"]["context"]["user"]["affiliation"] == "owner"
    assert said["guest"]["room"] == guest.path[1:] and said["guest"]["sub"] == "meet.mlima.example"
    with product.inside():
        ends_at = db.session.query(Appointment).filter_by(uid=uid).one().ends_at
    assert said["guest"]["exp"] == int((ends_at + timedelta(minutes=15)).timestamp())


def test_8x8s_token_is_signed_as_its_reference_has_it(product: Product) -> None:
    """clinic.md C3: RS256, kid, `chat`, the app's name as subject and in the path, `moderator` as text."""
    jaas = {"domain": "8x8.vc", "app_id": "vpaas-magic-cookie-1", "key_id": "4f4910", "secret": PEM}
    meets_by(product, "jitsi", jaas)
    uid = confirmed(product)
    until_the_door_opens(product, uid)
    url = urlsplit(product.browser_of("wanjiru").get(f"/staff/appointments/{uid}/meeting/room").headers["Location"])
    token = parse_qs(url.query)["jwt"][0]
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": "vpaas-magic-cookie-1/4f4910"}
    claims = jwt.decode(token, KEY.public_key(), algorithms=["RS256"], audience="jitsi", options=ANY_HOUR)
    assert (
        claims["iss"] == "chat"
        and claims["sub"] == "vpaas-magic-cookie-1"
        and url.path.startswith("/vpaas-magic-cookie-1/")
    )
    assert claims["context"]["user"]["moderator"] == "true" and claims["context"]["features"]["recording"] == "false"


# ---- the door


def test_nothing_is_told_before_the_door_opens_and_after_it_closed(
    product: Product, outside: responses.RequestsMock
) -> None:
    meets_by(product, "zoom", ZOOM)
    uid = confirmed(product)
    zoom_knows_us(outside)
    outside.post(MEETINGS_OF_HOST, status=201, json=ZOOMS)
    work(product)
    assert entered(product, uid).endswith(door(product, uid))
    until_the_door_opens(product, uid)
    assert entered(product, uid) == ZOOMS["join_url"]
    clock.move(timedelta(hours=3))
    assert entered(product, uid).endswith(door(product, uid))
    assert "This session is over" in product.client().get(door(product, uid)).text


def test_a_pasted_link_leads_on_while_the_patients_own_stays(product: Product) -> None:
    meets_by(product, "simple", {})
    uid = confirmed(product)
    link = link_of(product, uid)
    until_the_door_opens(product, uid)
    assert "You are in the right place" in product.client().get(door(product, uid)).text
    clinician = product.browser_of("wanjiru")
    page = f"/staff/appointments/{uid}/meeting"
    for wrong in ("http://meet.example/x", "javascript:alert(1)", "https://me@meet.example/x", "https://" + "x" * 600):
        clinician.post(f"{page}/hand", data={"url": wrong, "csrf_token": csrf_of(clinician, page)})
        assert entered(product, uid).endswith(door(product, uid))
    clinician.post(f"{page}/hand", data={"url": "https://whereby.com/r?x=1", "csrf_token": csrf_of(clinician, page)})
    assert entered(product, uid) == "https://whereby.com/r?x=1"
    assert link_of(product, uid) == link


def test_who_treats_goes_in_as_host_and_the_desk_does_not(product: Product) -> None:
    meets_by(product, "jitsi", JITSI)
    uid = confirmed(product)
    until_the_door_opens(product, uid)
    assert product.browser_of("brian").get(f"/staff/appointments/{uid}/meeting/room").status_code == 403
    assert product.browser_of("chege").get(f"/staff/appointments/{uid}/meeting/room").status_code in (403, 404)
    is_wanjirus(product)
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        colleague = credentials.add_user(email="kamau@mlima.test", name="Kamau", password=PASSWORD)
        credentials.add_role(colleague, tenant_id, "clinician")
    page = f"/staff/appointments/{uid}/meeting"
    kamau = product.browser_of("kamau")
    refused = kamau.get(f"{page}/room")
    assert refused.status_code == 403 and "Only who treats this patient" in refused.text
    assert f"{page}/room" not in kamau.get(page).text
    assert product.browser_of("wanjiru").get(f"{page}/room").status_code == 302


# ---- the settings


def save(browser: Any, **form: Any) -> Any:
    given = {"provider": "simple", "fallback": "simple", "opens_minutes": "15", "base_url": ""} | form
    return browser.post("/staff/meetings", data=given | {"csrf_token": csrf_of(browser, "/staff/meetings")})


def test_credentials_are_sealed_and_never_shown(product: Product) -> None:
    browser = product.browser_of("amina")
    answer = save(
        browser,
        provider="zoom",
        zoom_account="acc-1",
        zoom_client="cli",
        zoom_secret="s3cret",
        zoom_host="d@mlima.example",
    )
    assert answer.status_code == 303, answer.text
    page = browser.get("/staff/meetings").text
    assert "acc-1" in page and "s3cret" not in page
    with product.inside():
        row = db.session.query(MeetingSettings).one()
        assert row.config_sealed is not None and "s3cret" not in row.config_sealed
    again = save(browser, provider="zoom", zoom_account="acc-1", zoom_client="cli", zoom_host="d@mlima.example")
    assert again.status_code == 303
    with product.inside():
        assert settings.of(db.session.get_one(Tenant, product.tenant_id())).config["secret"] == "s3cret"
    other = save(browser, provider="zoom", zoom_account="acc-1", zoom_client="another", zoom_host="d@mlima.example")
    assert other.status_code == 422  # a secret is not told in another client's name


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"provider": "google"}, "google_credential"),
        ({"provider": "google", "google_credential": "not json", "google_subject": "d@x.co"}, "google_credential"),
        ({"provider": "google", "google_credential": json.dumps(ACCOUNT), "google_subject": "nobody"}, "google_subject"),
        ({"provider": "jitsi", "jitsi_domain": "https://meet.x.co/"}, "jitsi_domain"),
        ({"provider": "jitsi", "jitsi_domain": "8x8.vc", "jitsi_app_id": "a", "jitsi_secret": "x", "jitsi_key_id": "k"}, "jitsi_secret"),
        ({"provider": "zoom", "zoom_account": "a", "zoom_client": "c", "zoom_secret": "s", "zoom_host": "x"}, "zoom_host"),
        ({"base_url": "javascript:alert(1)"}, "base_url"),
        ({"base_url": "https://x.co/?a=1"}, "base_url"),
        ({"opens_minutes": "500"}, "opens_minutes"),
        ({"fallback": "jitsi"}, "fallback"),
    ],
)  # fmt: skip
def test_a_wrong_setting_names_its_field_and_loses_nothing(product: Product, form: dict[str, str], field: str) -> None:
    answer = save(product.browser_of("amina"), **form)
    assert answer.status_code == 422 and f'id="{field}-error"' in answer.text


def test_the_test_button_asks_the_provider(product: Product, outside: responses.RequestsMock) -> None:
    meets_by(product, "zoom", ZOOM)
    browser = product.browser_of("amina")
    zoom_knows_us(outside)
    outside.get(
        MEETINGS_OF_HOST, status=404, json={"code": 1001, "message": "User does not exist: doctor@mlima.example."}
    )

    def press() -> str:
        browser.post("/staff/meetings/test", data={"csrf_token": csrf_of(browser, "/staff/meetings")})
        return str(browser.get("/staff/meetings").text)

    assert "User does not exist" in press()
    outside.replace("GET", MEETINGS_OF_HOST, json={"meetings": []})
    assert "It works: the provider knows us." in press()


def test_a_provider_is_asked_daily_and_a_refusal_told_to_administrators_once(
    product: Product, outside: responses.RequestsMock
) -> None:
    meets_by(product, "zoom", ZOOM)
    outside.post(ZOOM_TOKEN, status=400, json={"reason": "app disabled", "error": "invalid_client"})
    check: Callable[[], None] = settings.check_due
    with product.app.app_context():
        check()
        assert db.session.query(Notice).count() == 0
        db.session.rollback()
        clock.move(timedelta(days=1, minutes=1))
        check()
        check()
        assert "app disabled" in db.session.query(Notice).one().text
