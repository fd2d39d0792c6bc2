"""Cash, and the customers of a business."""

from typing import Any

from tests.support.business import House
from tests.support.daraja import new_phone


def cash(house: House, name: str = "brian", **given: Any) -> Any:
    return house.api(name).post("/api/payments/manual", {"channel": "cash"} | given)


def customer(house: House, phone: str = "", name: str = "amina") -> dict[str, Any]:
    answer = house.api(name).post("/api/customers", {"name": "Mama Mboga", "phone": phone or new_phone()})
    assert answer.status_code == 201, answer.text
    return answer.json
