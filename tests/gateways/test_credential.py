"""The security credential and the fingerprint of the certificate it is made for."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from portal.gateways.security_credential import fingerprint, security_credential
from portal.kernel.errors import Refused

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(key=KEY):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "apicrypt.example.org")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(7).not_valid_before(datetime(2014, 1, 1, tzinfo=UTC))
    return built.not_valid_after(datetime(2016, 1, 1, tzinfo=UTC)).sign(key, hashes.SHA256())


EXPIRED = certificate()


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_the_password_comes_out_again_under_an_expired_certificate(encoding):
    sealed = security_credential("Safaricom123!", EXPIRED.public_bytes(encoding))
    assert len(sealed) == 344
    assert KEY.decrypt(base64.b64decode(sealed), padding.PKCS1v15()) == b"Safaricom123!"


def test_two_credentials_for_one_password_differ():
    pem = EXPIRED.public_bytes(Encoding.PEM)
    assert security_credential("a", pem) != security_credential("a", pem)


def test_the_fingerprint_is_the_same_for_pem_and_der_and_readable():
    shown = fingerprint(EXPIRED.public_bytes(Encoding.PEM))
    assert shown == fingerprint(EXPIRED.public_bytes(Encoding.DER))
    assert len(shown) == 95 and shown.count(":") == 31 and shown == shown.upper()


@pytest.mark.parametrize("rubbish", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_no_certificate_is_named(rubbish):
    for use in (lambda: security_credential("a", rubbish), lambda: fingerprint(rubbish)):
        with pytest.raises(Refused, match=r"no X\.509 certificate.*PEM or DER") as refused:
            use()
        assert "certificate" in refused.value.fields


def test_a_certificate_without_rsa_and_an_impossible_password_are_refused():
    curve = certificate(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.PEM)
    pem = EXPIRED.public_bytes(Encoding.PEM)
    with pytest.raises(Refused, match="no RSA key"):
        security_credential("a", curve)
    with pytest.raises(Refused, match="password is empty"):
        security_credential("", pem)
    with pytest.raises(Refused, match="too long"):
        security_credential("x" * 246, pem)
