"""What openNDS gateways say and are told, without a gateway: `fas`, the agent's list, authmon's questions."""

import base64
import hashlib
import json
import re
import subprocess
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote

import pytest
from sqlalchemy import event

from portal.hotspot import access
from portal.hotspot.models import AccessGrant, AccessSession, PackageSite, Provisioning, Purchase, Site
from portal.hotspot.passes.models import PassDevice
from portal.hotspot.routers import adapter_of, connection
from portal.hotspot.routers.models import GatewayClient
from portal.hotspot.routers.opennds import agent, fas
from portal.hotspot.routers.opennds.rates import kbit
from portal.hotspot.sites import files
from portal.hotspot.sites.files import House
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payments.payment import open_payment
from portal.tenants.models import Tenant
from tests.support.product import Product
from tests.support.routers import PHONE, change, grant, later, package, session, site

HID = "726a098e52b5abf02749e86b558db5b3f36dcd97bca7b4a42389fd91def622b9"
# as openNDS 9.10 wrote it
RAW = (
    f"hid={HID}, clientip=10.77.159.50, clientmac=9a:42:ae:d6:f7:9b, client_type=cpd_can, "
    "gatewayname=Lodge%20Node%3a42e29f68502a%20, gatewayurl=http%3a%2f%2fstatus.client, version=9.10.0, "
    "gatewayaddress=10.77.159.1:2050, gatewaymac=42e29f68502a, originurl=http%3a%2f%2f10.78.159.1%2f, clientif=lan, "
    "themespec=(null), (null)(null)(null)(null)"
)


BEGAN = int(clock.now().timestamp()) - 10  # a stay keeps the instant at which it began


def encoded(raw: str = RAW) -> str:
    return base64.b64encode(raw.encode()).decode()


def test_what_a_gateway_tells_becomes_what_a_mikrotik_would_have_told() -> None:
    assert fas.told(encoded()) == {
        "mac": "9a:42:ae:d6:f7:9b", "ip": "10.77.159.50", "identity": "Lodge", "link-orig": "http://10.78.159.1/",
        "link-login-only": "http://10.77.159.1:2050/opennds_auth/", "chap-id": "opennds", "chap-challenge": HID,
    }  # fmt: skip
    assert fas.told(encoded().rstrip("=")) == fas.told(encoded()), "browsers lose what ends it"


KEY, IV = "a-key-of-the-site", "3f1d0a9b7c5e2468"


def encrypted(raw: str = RAW, *, key: str = KEY, iv: str = IV) -> str:
    """As openNDS' PHP does at levels 2 and 3: `openssl enc`, whose base64 is put into base64 once more."""
    filled = key.encode().ljust(32, b"\0")[:32].hex()
    sealed = subprocess.run(
        ["openssl", "enc", "-aes-256-cbc", "-K", filled, "-iv", iv.encode().hex(), "-base64", "-A"],
        input=raw.encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    return base64.b64encode(sealed).decode()


def test_what_a_gateway_encrypts_is_read_with_its_key() -> None:
    """Levels 2 and 3."""
    assert fas.told(encrypted(), iv=IV, keys=["another", KEY]) == fas.told(encoded())
    long = "a-key-that-is-longer-than-thirty-two-letters"
    assert fas.told(encrypted(key=long), iv=IV, keys=[long])["chap-challenge"] == HID
    once = base64.b64decode(encrypted()).decode()
    assert fas.told(once, iv=IV, keys=[KEY]) == fas.told(encoded()), "with one base64 around it"


@pytest.mark.parametrize("iv", ["", "short", "0" * 16, "é" * 16, "\0" * 16])
def test_what_cannot_be_decrypted_tells_nothing(iv: str) -> None:
    assert fas.told(encrypted(), iv=iv, keys=[KEY]).get("mac") is None
    assert fas.told(encrypted(), iv=IV, keys=["another", ""]) == {}
    assert fas.told(encoded("hid=1"), iv=IV, keys=[KEY]) == {} == fas.told("", iv=IV, keys=[KEY])


@pytest.mark.parametrize(
    "given",
    [
        "",
        "=",
        "%%%",
        "é" * 10,
        "A" * 10_000,
        encoded("no pairs at all"),
        encoded("hid=, gatewayaddress="),
        "\0",
        "AAAA",
    ],
)
def test_what_is_no_fas_tells_nothing(given: str) -> None:
    assert fas.told(given) == {}


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1/@evil.test", "evil.test:80/x?", "a b", "10.0.0.1:99999999", "user@10.0.0.1", "[::1]", "10.0.0.1#"],
)
def test_an_address_that_is_none_leads_nowhere(address: str) -> None:
    assert "link-login-only" not in fas.told(encoded(RAW.replace("10.77.159.1:2050", quote(address, safe=""))))


def test_the_answer_to_a_gateways_challenge_is_its_hash_with_the_key() -> None:
    assert fas.rhid("abc ", " key") == hashlib.sha256(b"abckey").hexdigest()
    assert fas.login_fields("abc", "key", "") == {"tok": hashlib.sha256(b"abckey").hexdigest()}


@pytest.mark.parametrize(
    ("rate", "both"),
    [("2M/5M", (2_000, 5_000)), ("512k/1M 1M/2M 1M/1M 8/8", (512, 1_000)), ("5M", (5_000, 5_000)), ("", (0, 0)),
     ("1.5M/2M", (1_500, 2_000)), ("64000/128000", (64, 128)), ("soon", (0, 0)), ("0/0", (0, 0))],
)  # fmt: skip
def test_speeds_in_openndss_words(rate: str, both: tuple[int, int]) -> None:
    assert kbit(rate) == both


def client(mac: str = PHONE, *, is_in: bool = False, up: int = 0, down: int = 0, began: int = BEGAN) -> dict[str, Any]:
    return {
        "mac": mac.lower(), "ip": "10.77.0.50", "token": "7c62b8e6",
        "state": "Authenticated" if is_in else "Preauthenticated",
        "session_start": str(began) if is_in else "0",
        "upload_this_session": str(up), "download_this_session": str(down),
    }  # fmt: skip


class Lodge:
    """A gateway of mlima's whose agent asks."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.id = site(product, name="Lodge", kind="opennds", secret="a-key-of-the-site")
        with product.inside():
            self.token = db.session.get_one(Site, self.id).token

    def asks(self, *clients: dict[str, Any]) -> list[str]:
        report = {"client_list_length": str(len(clients)), "clients": {one["mac"]: one for one in clients}}
        answer = self.product.client().post(f"/routers/{self.token}/opennds", data=json.dumps(report))
        assert answer.status_code == 200 and answer.mimetype == "text/plain"
        return [] if answer.text == "nothing\n" else answer.text.splitlines()

    def row(self, grant_id: int) -> Provisioning:
        with self.product.inside():
            row = db.session.query(Provisioning).filter_by(grant_id=grant_id).one()
            db.session.expunge(row)
            return row


@pytest.fixture
def lodge(product: Product) -> Lodge:
    return Lodge(product)


def test_who_paid_is_let_in_for_what_is_left_and_counts_once_the_gateway_has_it(either_product: Product) -> None:
    lodge = Lodge(either_product)
    assert lodge.asks(client()) == []
    sold = grant(lodge.product, package(lodge.product, kind="mixed", data_cap_bytes=10_240_000))
    later(minutes=30)
    assert lodge.asks(client()) == ["auth aa:bb:cc:00:00:01 30 2000 5000 10000 10000"]
    assert lodge.row(sold).wanted == "on" and lodge.row(sold).confirmed_at is None
    with lodge.product.inside():
        assert connection.stands(db.session.get_one(AccessGrant, sold)).state == "told"
    assert lodge.asks(client(is_in=True, up=1, down=4)) == []
    assert lodge.row(sold).confirmed_at is not None
    with lodge.product.inside():
        stay = db.session.query(AccessSession).one()
        assert (stay.username, stay.mac, stay.bytes_in, stay.bytes_out) == ("UGRANT0001", PHONE, 1_024, 4_096)
        assert connection.stands(db.session.get_one(AccessGrant, sold)).state == "online"
    change(lodge.product, sold, ended_at=clock.now())
    assert lodge.asks(client(is_in=True, up=1, down=4)) == ["deauth aa:bb:cc:00:00:01"]
    assert lodge.row(sold).wanted == "on", "it is still in: an order is not its end"
    assert lodge.asks() == []
    row = lodge.row(sold)
    assert row.wanted == "off" and row.confirmed_at is not None
    with lodge.product.inside():
        assert db.session.query(AccessSession).one().stopped_at is not None


def test_who_got_in_without_a_right_is_ended(lodge: Lodge) -> None:
    assert lodge.asks(client(is_in=True), client("AA:BB:CC:00:00:02")) == ["deauth aa:bb:cc:00:00:01"]
    grant(lodge.product, package(lodge.product), suspended_at=clock.now())
    assert lodge.asks(client(is_in=True)) == ["deauth aa:bb:cc:00:00:01"]


def test_a_pass_of_other_sites_or_another_business_opens_nothing_here(lodge: Lodge) -> None:
    product = lodge.product
    theirs = grant(product, package(product, slug="bahari"))
    kind = package(product)
    with product.inside(), transaction():
        here = db.session.get_one(Site, lodge.id)
        other = Site(tenant_id=here.tenant_id, name="Market", kind="opennds")
        db.session.add(other)
        db.session.flush()
        db.session.add(PackageSite(tenant_id=here.tenant_id, package_id=kind, site_id=other.id))
    grant(product, kind, username="UGRANT0002")
    tv = "AA:BB:CC:00:00:78"
    with product.inside(), transaction():
        row = db.session.get_one(AccessGrant, theirs)
        db.session.add(PassDevice(tenant_id=row.tenant_id, leader_id=theirs, mac=tv, name="TV", how="added"))
    assert lodge.asks(client(), client(tv)) == []


def test_added_devices_are_let_in_and_a_removed_one_is_ended(lodge: Lodge) -> None:
    tv = "AA:BB:CC:00:00:77"
    sold = grant(lodge.product, package(lodge.product, devices=2))
    with lodge.product.inside(), transaction():
        row = db.session.get_one(AccessGrant, sold)
        db.session.add(PassDevice(tenant_id=row.tenant_id, leader_id=sold, mac=tv, name="TV", how="added"))
    assert [one.split()[:2] for one in lodge.asks(client(tv))] == [["auth", "aa:bb:cc:00:00:77"]]
    with lodge.product.inside(), transaction():
        db.session.query(PassDevice).one().removed_at = clock.now()
    assert lodge.asks(client(tv, is_in=True)) == ["deauth aa:bb:cc:00:00:77"]


def test_at_its_cap_it_is_ended_or_let_in_anew_and_slower(lodge: Lodge) -> None:
    product = lodge.product
    sold = grant(product, package(product, kind="data", data_cap_bytes=1_024_000))
    assert lodge.asks(client(is_in=True, down=600)) == []
    lodge.asks(client(is_in=True, down=1_001))
    assert lodge.asks(client(is_in=True, down=1_001)) == ["deauth aa:bb:cc:00:00:01"]
    assert lodge.asks(client()) == [], "nothing is left of it"
    change(product, sold, ended_at=clock.now())
    kind = package(product, kind="data", data_cap_bytes=1_024_000, at_cap="throttle", throttled_rate="128k/256k")
    grant(product, kind, username="USLOWER")
    assert lodge.asks(client(is_in=True, down=10, began=BEGAN + 1)) == []
    assert lodge.asks(client(is_in=True, down=1_010, began=BEGAN + 1)) == ["deauth aa:bb:cc:00:00:01"]
    assert [one.split()[3:5] for one in lodge.asks(client())] == [["128", "256"]]
    assert lodge.asks(client(is_in=True, down=5, began=BEGAN + 1)) == [], "it runs on"


@pytest.fixture
def in_the_morning() -> None:
    now = clock.nairobi(clock.now())
    clock.move((now + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0) - now)


@pytest.mark.usefixtures("in_the_morning")
def test_a_days_cap_is_told_as_what_is_left_of_it_and_opens_again_at_midnight(lodge: Lodge) -> None:
    began = int(clock.now().timestamp())
    kind = package(lodge.product, kind="data", data_cap_bytes=10_240_000, daily_cap_bytes=1_024_000)
    grant(lodge.product, kind, expires_at=clock.now() + timedelta(days=5))
    assert [one.split()[5:] for one in lodge.asks(client())] == [["1000", "1000"]]
    lodge.asks(client(is_in=True, down=400, began=began))
    lodge.asks()
    assert [one.split()[5:] for one in lodge.asks(client())] == [["600", "600"]]
    lodge.asks(client(is_in=True, down=600, began=began + 9))
    assert lodge.asks(client(is_in=True, down=600, began=began + 9)) == ["deauth aa:bb:cc:00:00:01"]
    assert lodge.asks(client()) == []
    later(hours=15)
    assert [one.split()[5:] for one in lodge.asks(client())] == [["1000", "1000"]]


@pytest.mark.usefixtures("in_the_morning")
def test_who_was_slowed_for_a_day_is_let_in_anew_and_faster_on_the_next(lodge: Lodge) -> None:
    began = int(clock.now().timestamp())
    terms = {"at_cap": "throttle", "throttled_rate": "128k/256k", "daily_cap_bytes": 1_024_000}
    grant(lodge.product, package(lodge.product, **terms), expires_at=clock.now() + timedelta(days=5))
    assert lodge.asks(client(is_in=True, down=10, began=began)) == []
    assert lodge.asks(client(is_in=True, down=1_000, began=began)) == ["deauth aa:bb:cc:00:00:01"]
    assert [one.split()[3:5] for one in lodge.asks(client())] == [["128", "256"]]
    slow = {"upload_rate_limit_threshold": "128", "download_rate_limit_threshold": "256"}
    assert lodge.asks(client(is_in=True, down=5, began=began + 9) | slow) == []
    later(hours=15)
    assert lodge.asks(client(is_in=True, down=5, began=began + 9) | slow) == ["deauth aa:bb:cc:00:00:01"]
    assert [one.split()[3:5] for one in lodge.asks(client())] == [["2000", "5000"]]


def test_a_device_that_is_signed_out_goes_with_the_next_asking(lodge: Lodge) -> None:
    sold = grant(lodge.product, package(lodge.product))
    lodge.asks(client(is_in=True))
    with lodge.product.inside():
        here, stay = db.session.get_one(Site, lodge.id), db.session.query(AccessSession).one()
        outcome = adapter_of(here).kick(here, stay)
        assert (outcome.is_done, outcome.is_retryable, outcome.code) == (False, True, "waits_for_router")
    assert lodge.asks(client(is_in=True)) == ["deauth aa:bb:cc:00:00:01"]
    lodge.asks()
    with lodge.product.inside():
        here, stay = db.session.get_one(Site, lodge.id), db.session.query(AccessSession).one()
        assert stay.end_cause == "Admin-Reset" and adapter_of(here).kick(here, stay).is_done
    assert lodge.row(sold)


def test_devices_that_are_there_are_seen(lodge: Lodge) -> None:
    lodge.asks(client(), client("AA:BB:CC:00:00:02"))
    lodge.asks(client())
    with lodge.product.inside():
        assert {one.mac for one in db.session.query(GatewayClient)} == {PHONE, "AA:BB:CC:00:00:02"}


@pytest.mark.parametrize(
    "report", [b"not json", b"[]", b'{"clients": 7}', b'{"clients": [1]}', b"[" * 50_000, b"\xff\xfe", b'"x"']
)
def test_a_report_that_is_none_is_refused_clearly_and_changes_nothing(lodge: Lodge, report: bytes) -> None:
    answer = lodge.product.client().post(f"/routers/{lodge.token}/opennds", data=report)
    assert answer.status_code == 400
    with lodge.product.inside():
        assert db.session.query(AccessSession).count() == 0 and db.session.get_one(Site, lodge.id).last_seen_at is None


def test_clients_that_cannot_be_read_stop_no_other(lodge: Lodge) -> None:
    grant(lodge.product, package(lodge.product))
    bad = {"mac": "no mac", "state": "Authenticated"}
    odd = client("AA:BB:CC:00:00:05", is_in=True) | {
        "session_start": "-1",
        "download_this_session": "lots",
        "token": "$(x)",
    }
    assert [one.split()[0] for one in lodge.asks(bad, odd, client())] == ["deauth", "auth"]


def test_nobodys_token_learns_nothing_and_too_much_is_not_read(lodge: Lodge) -> None:
    stranger = lodge.product.client()
    assert stranger.post("/routers/nobody/opennds", data="{}").text == "nothing\n"
    assert stranger.post(f"/routers/{'x' * 100}/opennds", data="{}").text == "nothing\n"
    assert stranger.post(f"/routers/{lodge.token}/opennds", data=b" " * 1_000_001).status_code == 413


def test_a_gateway_whose_site_was_closed_is_told_nothing_any_more(lodge: Lodge) -> None:
    assert lodge.asks(client(is_in=True)) == [f"deauth {PHONE.lower()}"]
    with lodge.product.inside(), transaction():
        db.session.get_one(Site, lodge.id).closed_at = clock.now()
    assert lodge.asks(client(is_in=True)) == []


def test_an_asking_costs_the_same_however_many_are_there(lodge: Lodge) -> None:
    kind = package(lodge.product)
    macs = [f"AA:BB:CC:00:01:{number:02X}" for number in range(40)]
    for number, mac in enumerate(macs):
        grant(lodge.product, kind, username=f"UGRANT{number:04d}", mac=mac)
    counts = []
    for some in (macs[:2], macs):
        count = 0

        def counted(*_args: object) -> None:
            nonlocal count
            count += 1

        with lodge.product.inside():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", counted)
        lodge.asks(*(client(mac) for mac in some))
        event.remove(engine, "before_cursor_execute", counted)
        counts.append(count)
    assert counts[1] <= counts[0] <= 25


def test_the_agents_script_takes_nothing_but_what_it_expects() -> None:
    made = agent.script("https://portal.example/routers/abc/opennds", every_s=7)
    assert "'https://portal.example/routers/abc/opennds'" in made and "sleep 7" in made and "@" not in made
    with pytest.raises(Refused):
        agent.script("https://x/'; reboot; '")


def test_a_phone_that_is_led_here_encrypted_finds_its_page(lodge: Lodge) -> None:
    with lodge.product.inside():
        uid = db.session.get_one(Site, lodge.id).uid
    for address in (
        f"/hotspot/mlima/?site={uid}?fas={encrypted()}&iv={IV}",
        f"/hotspot/mlima/?fas={encrypted()}&iv={IV}",
    ):
        page = lodge.product.client().get(address).text
        assert f'value="{HID}"' in page and 'value="http://10.77.159.1:2050/opennds_auth/"' in page
    assert HID not in lodge.product.client().get(f"/hotspot/bahari/?fas={encrypted()}&iv={IV}").text


# --- authmon


def _bought(lodge: Lodge) -> int:
    kind = package(lodge.product)
    sold = grant(lodge.product, kind, origin="purchase")
    with lodge.product.inside(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        payment = open_payment(
            tenant, None, environment="sandbox", purpose="hotspot", reference="T1", title="Internet", amount_cents=2_000
        )
        bought = Purchase(
            tenant_id=tenant.id,
            payment_id=payment.id,
            package_id=kind,
            mac=PHONE,
            chap_id="opennds",
            chap_challenge=HID,
        )
        db.session.add(bought)
        db.session.flush()
        db.session.get_one(AccessGrant, sold).purchase_id = bought.id
    return sold


def _asked(lodge: Lodge, action: str, payload: str = "none", path: str = "") -> Any:
    given = {
        "auth_get": action, "gatewayhash": hashlib.sha256(b"Lodge").hexdigest(),
        "payload": base64.b64encode(payload.encode()).decode(),
    }  # fmt: skip
    return lodge.product.client().post(path or _path(lodge), data=given)


def _path(lodge: Lodge) -> str:
    """Where the settings that the site's page gives send the gateway and its phones."""
    with lodge.product.inside():
        settings = files.of_name(
            db.session.get_one(Site, lodge.id), "opennds.conf", House("https://pay.mlango.test", "mlima")
        )
    found = re.search(r"option faspath '(.*)'", settings)
    assert found is not None
    return found[1]


def _authmon(lodge: Lodge, action: str, payload: str = "none") -> str:
    answer = _asked(lodge, action, payload)
    assert answer.status_code == 200
    return str(answer.text)


def test_who_has_not_the_gateways_key_is_told_nothing_by_authmons_door_and_confirms_nothing(lodge: Lodge) -> None:
    sold = _bought(lodge)
    rhid = hashlib.sha256(f"{HID}{KEY}".encode()).hexdigest()
    path = _path(lodge)
    with lodge.product.inside():
        uid = db.session.get_one(Site, lodge.id).uid
    for wrong in (
        "/hotspot/mlima/", f"/hotspot/mlima/?site={uid}", path.replace("key=", "key=0"), path.replace("mlima", "bahari"),
        f"/hotspot/mlima/?site={uid}&key=%C3%A9",
    ):  # fmt: skip
        for payload in ("none", f"* {rhid}"):
            answer = _asked(lodge, "view", payload, wrong)
            assert (answer.status_code, answer.text) == (403, "refused"), wrong
    assert lodge.token not in path
    star, _line = _authmon(lodge, "view").split(" ")
    assert star == "*" and sold
    with lodge.product.app.app_context(), transaction():
        db.session.get_one(Site, lodge.id).closed_at = clock.now()
    assert _asked(lodge, "view", path=path).status_code == 403, "a site that is closed has no gateway"


def test_where_the_agent_runs_its_list_confirms_and_not_who_has_authmons_key(lodge: Lodge) -> None:
    """A phone behind the gateway sees that key in its own address line."""
    lodge.asks()
    sold = _bought(lodge)
    rhid = hashlib.sha256(f"{HID}{KEY}".encode()).hexdigest()
    assert _authmon(lodge, "view", f"* {rhid}") == "ack"
    assert len(lodge.asks(client())) == 1 and lodge.row(sold).confirmed_at is None
    lodge.asks(client(is_in=True))
    assert lodge.row(sold).confirmed_at is not None


def test_authmon_is_told_whom_to_let_in_until_it_says_that_it_did(lodge: Lodge) -> None:
    assert _authmon(lodge, "clear") == "ack" and _authmon(lodge, "view") == "*"
    sold = _bought(lodge)
    rhid = hashlib.sha256(f"{HID}a-key-of-the-site".encode()).hexdigest()
    star, line = _authmon(lodge, "view").split(" ")
    custom = base64.b64encode(f"g:{sold}".encode()).decode()
    assert star == "*" and unquote(line) == f"{rhid} 60 2000 5000 0 0 {custom}"
    assert _authmon(lodge, "view").count(" ") == 1, "asked again it is told again"
    assert _authmon(lodge, "view", f"* {'0' * 64}") == "ack" and _authmon(lodge, "view") != "*"
    assert _authmon(lodge, "view", f"* {rhid}") == "ack"
    assert _authmon(lodge, "view") == "*" and lodge.row(sold).confirmed_at is not None
    assert _authmon(lodge, "deauthed", "whatever") == "ack" and _authmon(lodge, "custom", "x") == "ack"


def test_authmon_list_gives_a_line_once(lodge: Lodge) -> None:
    _bought(lodge)
    assert _authmon(lodge, "list").count(" ") == 1
    assert _authmon(lodge, "list") == "*"


def test_what_is_over_is_not_told_to_authmon(lodge: Lodge) -> None:
    sold = _bought(lodge)
    change(lodge.product, sold, ended_at=clock.now())
    assert _authmon(lodge, "view") == "*"


def test_where_the_browser_is_sent_is_a_host_of_the_site_alone(lodge: Lodge) -> None:
    with lodge.product.inside(), transaction():
        db.session.get_one(Site, lodge.id).login_hosts = "10.77.0.1"
    for number, (address, is_taken) in enumerate(
        (("10.77.0.1:2050", True), ("10.99.0.1:2050", False), ("evil.test", False))
    ):
        raw = encoded(RAW.replace("10.77.159.1:2050", address).replace("f7:9b", f"f7:0{number}"))
        page = lodge.product.client().get("/hotspot/mlima/", query_string={"fas": raw}).text
        assert 'name="link-login-only"' in page
        bought = lodge.product.client().post(
            "/hotspot/mlima/",
            data=fas.told(raw) | {"package": lodge.product.package("1 hour"), "phone": f"071234560{number}"},
        )
        assert bought.status_code == 303
        with lodge.product.inside():
            latest = db.session.query(Purchase).order_by(Purchase.id.desc()).first()
            assert latest is not None and bool(latest.login_url) == is_taken, address
            db.session.rollback()


def test_the_sign_in_that_a_page_gives_is_the_answer_to_the_challenge(lodge: Lodge) -> None:
    sold = _bought(lodge)
    with lodge.product.inside(), transaction():
        bought = db.session.get_one(AccessGrant, sold).purchase
        bought.login_url, bought.nas_identity = "http://10.77.0.1:2050/opennds_auth/", "Lodge"
        bought.wanted_url = "http://example.com/"
        bought.payment.state = "paid"
        token = bought.payment.token
    answer = lodge.product.client().get(f"/hotspot/mlima/go/{token}")
    rhid = hashlib.sha256(f"{HID}a-key-of-the-site".encode()).hexdigest()
    wanted = f"http://10.77.0.1:2050/opennds_auth/?tok={rhid}&redir={quote('http://example.com/', safe='')}"
    assert answer.headers["Location"] == wanted
    with lodge.product.inside(), transaction():
        access.end(db.session.get_one(AccessGrant, sold), why="refunded", actor="test")
    assert "tok=" not in lodge.product.client().get(f"/hotspot/mlima/go/{token}").headers["Location"]


def test_time_bought_meanwhile_is_given_when_the_gateway_ended_the_old(lodge: Lodge) -> None:
    sold = grant(lodge.product, package(lodge.product))
    lodge.asks(client(is_in=True))
    with lodge.product.inside():
        ends = db.session.get_one(AccessGrant, sold).expires_at
    change(lodge.product, sold, expires_at=ends + timedelta(hours=1))
    assert lodge.asks(client(is_in=True)) == []
    later(minutes=60, seconds=1)
    assert [one.split()[2] for one in lodge.asks(client())] == ["60"]
    session(lodge.product, lodge.id, sold, mac="AA:BB:CC:00:00:09")
