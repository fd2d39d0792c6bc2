"""The product's front page, and each tenant's colour as a stylesheet."""

from flask import Response, current_app, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from portal.kernel.db import db
from portal.tenants import find
from portal.tenants.models import Tenant

LEAST_CONTRAST = 4.5


def show() -> ResponseReturnValue:
    """What this is; in development and in a demonstration also whose doors are here, and how to try them.

    In production a payer comes by the address of their own business: who else is here is nobody's business.
    """
    is_listed = current_app.config["PORTAL"].development
    tenants = db.session.scalars(select(Tenant).order_by(Tenant.id)).all() if is_listed else []
    shown = [{"name": tenant.name, "slug": tenant.slug, "kinds": _kinds(tenant)} for tenant in tenants]
    demo = current_app.extensions.get("demo_front_page")
    return render_template("home.html", tenants=shown, demo=demo() if demo else None)


def _kinds(tenant: Tenant) -> list[str]:
    return [kind for kind, is_one in (("hotspot", tenant.is_hotspot), ("clinic", tenant.is_clinic)) if is_one]


def brand(slug: str) -> Response:
    """`--brand` of one tenant, darkened until white text on it can be read."""
    colour = readable(find.by_slug(slug).colour)
    response = Response(f":root{{--brand:{colour}}}\n", mimetype="text/css")
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


def readable(colour: str) -> str:
    """The colour itself, or the nearest darker one on which white has a contrast of 4.5 to 1 (WCAG 1.4.3)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    while (1.05 / (_luminance(red, green, blue) + 0.05)) < LEAST_CONTRAST:
        red, green, blue = (int(part * 0.94) for part in (red, green, blue))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _luminance(*rgb: int) -> float:
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
