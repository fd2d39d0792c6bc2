"""What Daraja answers, by a double at the HTTP boundary."""

DARAJA = "http://daraja.test"


ACCEPTED = {
    "CheckoutRequestID": "ws_CO_1",
    "MerchantRequestID": "m-1",
    "ResponseCode": "0",
    "ResponseDescription": "ok",
    "CustomerMessage": "ok",
}
