"""Certificates for tests: an authority, and pairs of certificate and key that it signs."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates of `localhost` and one address; `pem` is its own."""

    def __init__(self, name="authority", address="127.0.0.1"):
        self._address = ipaddress.ip_address(address)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self._certificate = self._sign(name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.pem = self._certificate.public_bytes(_PEM)

    def pair(self, folder, name, key=None, valid_h=(-1, 1)):
        """Write a certificate for this machine and its key to a folder, and return both paths.

        Args:
            folder: where to write them.
            name: common name, and that of the files.
            key: private key; default: a new one on P-256.
            valid_h: from when to when the certificate is valid, in hours from now.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(name, key, x509.BasicConstraints(ca=False, path_length=None), valid_h)
        certificate_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
        certificate_path.write_bytes(signed.public_bytes(_PEM))
        key_path.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return certificate_path, key_path

    def _sign(self, name, key, constraints, valid_h=(-1, 1)):
        now = datetime.datetime.now(datetime.timezone.utc)
        places = [x509.DNSName("localhost"), x509.IPAddress(self._address)]
        return (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(hours=valid_h[0]))
            .not_valid_after(now + datetime.timedelta(hours=valid_h[1]))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectAlternativeName(places), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
