"""`python -m bench.peer_django.stock FIRST COUNT`: pushes that wait for the callbacks of `bench.stock`."""

import sys

import django

PRICE_KES, MSISDN = 50, "254708374149"


def fill(first: int, count: int) -> None:
    """Write them in bulk."""
    from bench.peer_django.models import MpesaTransaction

    waiting = (
        MpesaTransaction(
            transaction_type="STK_PUSH",
            status="PENDING",
            checkout_request_id=f"ws_CO_{number:020d}",
            merchant_request_id=f"29115-34620561-{number}",
            amount=PRICE_KES,
            phone_number=MSISDN,
        )
        for number in range(first, first + count)
    )
    MpesaTransaction.objects.bulk_create(waiting, batch_size=2_000)


if __name__ == "__main__":
    django.setup()
    fill(int(sys.argv[1]), int(sys.argv[2]))
