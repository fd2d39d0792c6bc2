"""The security credential that Daraja wants beside an API operator's name.

It is the operator's password, encrypted for Safaricom's certificate. The certificates that Safaricom hands
out expired years ago and are still the ones in use, so their dates are not looked at; the person who uploads
one is shown its fingerprint instead. Source: Safaricom's Daraja documentation, "Security Credentials".
"""

import base64

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from portal.kernel.errors import Refused

_PKCS1_OVERHEAD_BYTES = 11


def security_credential(password: str, certificate_pem: bytes) -> str:
    """Base64 of the password encrypted with the certificate's RSA key, PKCS#1 v1.5; different at every call.

    certificate_pem: PEM or DER, expired or not. Raises Refused, with the field to blame in `fields`.
    """
    secret = password.encode()
    if not secret:
        raise _refuse("initiatorPassword", "The initiator's password is empty. Enter the API operator's password.")
    key = _load(certificate_pem).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise _refuse("certificate", "The certificate holds no RSA key. Download Safaricom's from the Daraja portal.")
    if len(secret) > key.key_size // 8 - _PKCS1_OVERHEAD_BYTES:
        raise _refuse("initiatorPassword", "The initiator's password is too long for the certificate's key.")
    return base64.b64encode(key.encrypt(secret, padding.PKCS1v15())).decode("ascii")


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of the certificate as `AA:BB:...`, for a person to compare. Raises Refused."""
    return _load(certificate).fingerprint(hashes.SHA256()).hex(":").upper()


def as_pem(certificate: bytes) -> str:
    """The certificate, uploaded as PEM or DER, as the text that is kept. Raises Refused."""
    return _load(certificate).public_bytes(serialization.Encoding.PEM).decode("ascii").strip()


def _load(certificate: bytes) -> x509.Certificate:
    read = x509.load_pem_x509_certificate if b"-----BEGIN" in certificate else x509.load_der_x509_certificate
    try:
        return read(certificate)
    except (ValueError, TypeError) as error:
        raise _refuse(
            "certificate",
            "This is no X.509 certificate. Upload the .cer file of the Daraja portal as it is (PEM or DER).",
        ) from error


def _refuse(field: str, sentence: str) -> Refused:
    return Refused(sentence, code="invalid_credential", fields={field: sentence})
