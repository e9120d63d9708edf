"""Certificates for mutual TLS between target and draft, in PEM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
LEAF_DAYS = 90
# Renewed with a third of its life left: weeks in which the operator may be away.
RENEWED_AT = 2 / 3
# Clocks of nodes differ.
CLOCK_SLACK = timedelta(minutes=5)


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, as PEM. The key is never logged: repr leaves it out."""

    key: bytes
    certificate: bytes

    def __repr__(self) -> str:
        return "Pair(...)"


def new_authority(namespace: str, now: datetime) -> Pair:
    """An authority whose certificates are good in one namespace only, since nobody else knows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"outrider drafts in {namespace}")
    builder = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(key, builder.sign(key, hashes.SHA256()))


def issue(authority: Pair, dns_names: Sequence[str], now: datetime) -> Pair:
    """A certificate of a role, both as server and as client. The first of the names is what it is called."""
    signing = serialization.load_pem_private_key(authority.key, password=None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_name(dns_names[0]), issuer.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in dns_names]), critical=False)
        # Two authorities of a namespace have one name: by this a peer tells which of them it was.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    return _pair(key, builder.sign(signing, hashes.SHA256()))


def begun(certificate: bytes) -> datetime:
    """When it was made."""
    return x509.load_pem_x509_certificate(certificate).not_valid_before_utc + CLOCK_SLACK


def renewal(certificate: bytes) -> datetime:
    """When it is to be renewed."""
    parsed = x509.load_pem_x509_certificate(certificate)
    life = parsed.not_valid_after_utc - parsed.not_valid_before_utc
    return parsed.not_valid_before_utc + life * RENEWED_AT


def good(certificate: bytes, now: datetime) -> bool:
    """Whether peers take it at this time. One that a clock made which was ahead they take only later."""
    parsed = x509.load_pem_x509_certificate(certificate)
    return parsed.not_valid_before_utc <= now < parsed.not_valid_after_utc


def split(certificates: bytes) -> list[bytes]:
    """The certificates of a PEM file, one by one. Raises ValueError where there is none."""
    return [_pem(each) for each in x509.load_pem_x509_certificates(certificates)]


def is_pair(pair: Pair) -> bool:
    """Whether it can be read, and the key is the certificate's."""
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
        certificate = x509.load_pem_x509_certificate(pair.certificate)
    except (ValueError, TypeError):
        return False
    return isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key()


def fits(pair: Pair, authority: bytes, dns_names: Sequence[str]) -> bool:
    """Whether it is a pair, of this authority and for these names. Of its age see `good` and `renewal`."""
    if not is_pair(pair):
        return False
    parsed = x509.load_pem_x509_certificate(pair.certificate)
    try:
        parsed.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return set(names.get_values_for_type(x509.DNSName)) == set(dns_names)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    # A certificate has whole seconds and would lose the rest: it must not look older than it is.
    made = now + timedelta(microseconds=-now.microsecond % 1_000_000)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - CLOCK_SLACK)
        .not_valid_after(made + timedelta(days=days))
    )


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Pair:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(encoded, _pem(certificate))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
