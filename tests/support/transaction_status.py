"""M-Pesa's answers to questions about a receipt."""

from portal.gateways import messages
from portal.kernel import clock


def answer(receipt_code: str, amount: int, phone: str) -> messages.ApiResult:
    """M-Pesa's answer to a question about a receipt."""
    now = clock.daraja_timestamp(clock.now())
    given = {
        "ReceiptNo": receipt_code, "Amount": f"{amount:.1f}", "TransactionStatus": "Completed",
        "DebitPartyName": f"{phone} - JOHN DOE", "CreditPartyName": "600111 - MLIMA", "FinalisedTime": now,
    }  # fmt: skip
    parameters = [{"Key": key, "Value": value} for key, value in given.items()]
    return messages.parse_result(
        {
            "Result": {
                "ResultType": 0, "ResultCode": 0, "ResultDesc": "ok", "OriginatorConversationID": "o",
                "ConversationID": "c", "TransactionID": "T", "ResultParameters": {"ResultParameter": parameters},
            }
        }
    )  # fmt: skip
