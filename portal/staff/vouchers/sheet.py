"""Codes on paper: sheets of A4, slips of 58 and 80 mm, each with a QR code that opens the portal filled in."""

from collections.abc import Sequence

import segno
from flask import render_template, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from portal.hotspot.vouchers.models import Voucher
from portal.kernel.errors import Refused
from portal.tenants.models import Tenant
from portal.web import links

PAPERS = ("a4", "58", "80")


def link_of(tenant: Tenant, voucher: Voucher) -> str:
    """Where the portal takes this code, filled in."""
    return links.public_url() + url_for("hotspot.code_page", slug=tenant.slug, code=voucher.code)


def qr_of(tenant: Tenant, voucher: Voucher) -> Markup:
    """The picture of that address, to stand in a page."""
    drawn = segno.make(link_of(tenant, voucher), error="m", micro=False)
    return Markup(drawn.svg_inline(border=2, svgclass="qr", lineclass="qr-line", omitsize=True))  # noqa: S704 - segno's own


def page(tenant: Tenant, vouchers: Sequence[Voucher], *, paper: str) -> ResponseReturnValue:
    """The sheet. Raises Refused for a paper that there is none of."""
    if paper not in PAPERS:
        raise Refused("The paper is a4, 58 or 80.")
    slips = [{"voucher": one, "qr": qr_of(tenant, one)} for one in vouchers]
    return render_template("staff/voucher_sheet.html", slips=slips, paper=paper, address=links.public_url())
