"""A practice set up on its own pages."""

from typing import Any

from tests.support.product import Product
from tests.support.visitors import csrf_of

SERVICE = {
    "name": "Dressing", "price": "500", "duration": "30", "kinds": "onsite", "buffer": "0", "notice": "0", "hold": "24",
    "cancel": "24",
}  # fmt: skip


def post(product: Product, path: str, who: str = "amina", **form: Any) -> Any:
    browser = product.browser_of(who)
    return browser.post(path, data=form | {"csrf_token": csrf_of(browser, "/staff/timetable")})
