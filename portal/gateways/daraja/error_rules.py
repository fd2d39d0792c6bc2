"""What an administrator can do about an answer: M-Pesa's codes and words, and the mistake behind them."""

from portal.gateways.daraja.errors import ConfigurationRefused, DarajaError, DuplicateConversation, SubscriberBusy

# errorCode (empty: any), words in lower case, error, message. 500.001.1001 alone has five meanings; what is
# not here is an unknown outcome.
SPECIAL: tuple[tuple[str, str, type[DarajaError], str], ...] = (
    (
        "500.001.1001",
        "unable to lock subscriber",
        SubscriberBusy,
        "Another M-Pesa request is open on this phone. Have it closed, wait a minute, then send again.",
    ),
    (
        "500.001.1001",
        "wrong credentials",
        ConfigurationRefused,
        (
            "M-Pesa's {server} server refused the passkey for shortcode {shortcode}. Copy the passkey again, "
            "and check the shortcode; for a till it is the store number of Go-Live."
        ),
    ),
    (
        "500.001.1001",
        "merchant does not exist",
        ConfigurationRefused,
        (
            "M-Pesa's {server} server does not know the shortcode {shortcode} for this app. Check the "
            "shortcode (for a till, the store number) and that Go-Live is finished."
        ),
    ),
    (
        "500.002.1001",
        "duplicate",
        DuplicateConversation,
        "M-Pesa has a request with this id already. Look that one up; do not pay again.",
    ),
    (
        "500.003.1001",
        "already registered",
        ConfigurationRefused,
        (
            "Safaricom has addresses for this shortcode already. Change them on the Daraja portal under Self "
            "Services, URL Management, or write to apisupport@safaricom.co.ke."
        ),
    ),
    (
        "500.003.1001",
        "duplicate notification info",
        ConfigurationRefused,
        (
            "This shortcode's addresses are on Safaricom's older platform. Ask apisupport@safaricom.co.ke to "
            "remove them there, then register again."
        ),
    ),
    (
        "",
        "no apiproduct match",
        ConfigurationRefused,
        "The app on the Daraja portal does not have this product. Add it to the app, then try again.",
    ),
    (
        "",
        "responsecode 409 is treated as error",
        ConfigurationRefused,
        "Shortcode {shortcode} cannot take C2B: some are for prompts only. Use one that has the C2B product.",
    ),
)


_OPEN_ADDRESS = (
    "The portal's public address must be https, open to the internet and free of words such as mpesa, "
    "safaricom, query, exe, cmd or sql."
)
_SHORTCODE = "Check the shortcode; for a till enter the store number of Go-Live."
FIELDS = {
    "BusinessShortCode": _SHORTCODE,
    "ShortCode": _SHORTCODE,
    "Timestamp": "Check this server's clock.",
    "Amount": "It must be whole shillings within M-Pesa's limits.",
    "PhoneNumber": "It must be a Safaricom number such as 254712345678.",
    "CallBackURL": _OPEN_ADDRESS,
    "ConfirmationURL": _OPEN_ADDRESS,
    "ValidationURL": _OPEN_ADDRESS,
    "ResultURL": _OPEN_ADDRESS,
    "QueueTimeOutURL": _OPEN_ADDRESS,
    "Remarks": "It must have 2 to 100 plain letters.",
    "InitiatorName": "Check the API operator's name in the gateway's settings.",
    "SecurityCredential": "Enter the initiator's password and certificate again.",
    "TransactionID": "Check the receipt number.",
}
