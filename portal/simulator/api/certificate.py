"""The certificate with which clients seal an initiator's password, and the key that opens it again."""

import base64
import binascii
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificate:
    pem: str
    key: rsa.RSAPrivateKey

    def open_credential(self, sealed: str) -> str | None:
        """The password inside a SecurityCredential (base64 of RSA, PKCS#1 v1.5); None if there is none."""
        try:
            plain = self.key.decrypt(base64.b64decode(sealed, validate=True), padding.PKCS1v15())
            return plain.decode("utf-8")
        except (binascii.Error, ValueError, UnicodeDecodeError):
            return None


def open_certificate(data_dir: Path) -> Certificate:
    """The one under `data_dir`, made at the first start: RSA of 2048 bits, signed by itself."""
    key_file, certificate_file = data_dir / "certificate.key", data_dir / "certificate.pem"
    if not (key_file.exists() and certificate_file.exists()):
        key, certificate = _make()
        _write(key_file, key)
        _write(certificate_file, certificate)
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise TypeError(f"{key_file} holds no RSA key. Delete it to have a new one made.")
    return Certificate(certificate_file.read_text(), loaded)


def _make() -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Daraja simulator")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    sealed = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return sealed, certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, for its owner only."""
    part = path.with_suffix(path.suffix + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(content)
    part.replace(path)
