"""Cash, and the customers of a business."""

from typing import Any

from tests.support.daraja import new_phone
from tests.support.product import Product


def cash(product: Product, name: str = "brian", **given: Any) -> Any:
    return product.api(name).post("/api/payments/manual", {"channel": "cash"} | given)


def customer(product: Product, phone: str = "", name: str = "amina") -> dict[str, Any]:
    answer = product.api(name).post("/api/customers", {"name": "Mama Mboga", "phone": phone or new_phone()})
    assert answer.status_code == 201, answer.text
    return answer.json
