"""X.509 certificates of any shape, also such as no sane tool makes: the structure is written here, key and signature come from openssl."""

import base64
import datetime
import re
import subprocess
from pathlib import Path

from nhtest import run


def tlv(tag, *parts):
    content = b"".join(parts)
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    size = (len(content).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(content).to_bytes(size, "big") + content


def oid(text):
    numbers = [int(n) for n in text.split(".")]
    out = bytearray()
    for n in [numbers[0] * 40 + numbers[1]] + numbers[2:]:
        piece = [n & 0x7f]
        while n := n >> 7:
            piece.insert(0, 0x80 | n & 0x7f)
        out += bytes(piece)
    return tlv(6, bytes(out))


def integer(n):
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def sequence(*parts):
    return tlv(0x30, *parts)


UTF8, PRINTABLE, T61, BMP, UNIVERSAL, IA5 = 12, 19, 20, 30, 28, 22


def attribute(name, value, kind=UTF8):
    return tlv(0x31, sequence(oid(name), tlv(kind, value)))


def common_name(text, kind=UTF8):
    return attribute("2.5.4.3", text.encode("utf-16-be") if kind == BMP else text.encode("utf-32-be") if kind == UNIVERSAL else text.encode(), kind)


def name(*attributes):
    return sequence(*attributes)


def time(at):
    return tlv(23, at.strftime("%y%m%d%H%M%SZ").encode()) if at.year < 2050 else tlv(24, at.strftime("%Y%m%d%H%M%SZ").encode())


def extension(number, value, critical=False):
    return sequence(oid(number), tlv(1, b"\xff") if critical else b"", tlv(4, value))


def bits(*set_bits):
    last = max(set_bits)
    value = sum(1 << (7 - b % 8 + 8 * (last // 8 - b // 8)) for b in set_bits)
    return tlv(3, bytes([7 - last % 8]) + value.to_bytes(last // 8 + 1, "big"))


DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, KEY_AGREEMENT, KEY_CERT_SIGN = 0, 2, 4, 5
CLIENT_AUTH, SERVER_AUTH, ANY_USAGE, CODE_SIGNING = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1", "2.5.29.37.0", "1.3.6.1.5.5.7.3.3"


def basic_constraints(ca=False, critical=True):
    return extension("2.5.29.19", sequence(tlv(1, b"\xff") if ca else b""), critical)


def key_usage(*usages):
    return extension("2.5.29.15", bits(*usages), True)


def ext_key_usage(*usages):
    return extension("2.5.29.37", sequence(*(oid(u) for u in usages)))


def subject_key(identifier):
    return extension("2.5.29.14", tlv(4, identifier))


def authority_key(identifier):
    return extension("2.5.29.35", sequence(tlv(0x80, identifier)))


def alternative_names(*dns):
    return extension("2.5.29.17", sequence(*(tlv(0x82, d.encode()) for d in dns)))


SIGNATURES = {("EC", "sha256"): "1.2.840.10045.4.3.2", ("EC", "sha384"): "1.2.840.10045.4.3.3", ("EC", "sha512"): "1.2.840.10045.4.3.4", ("EC", "sha1"): "1.2.840.10045.4.1",
              ("RSA", "sha256"): "1.2.840.113549.1.1.11", ("RSA", "sha1"): "1.2.840.113549.1.1.5", ("RSA", "md5"): "1.2.840.113549.1.1.4"}
KEYS = {"P-256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "P-384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        "P-521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], "secp256k1": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
        "Ed25519": ["-algorithm", "ED25519"], "RSA-1024": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
        "RSA-2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "RSA-4096": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]}


def make_key(path, kind="P-256"):
    if not path.exists():
        run("openssl", "genpkey", *KEYS[kind], "-out", path)
    return path


def public_key(key):
    return subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout


class Issuer:
    """A CA that exists already, as PEM files of its certificate and key."""

    def __init__(self, cert, key):
        text = run("openssl", "x509", "-in", cert, "-noout", "-ext", "subjectKeyIdentifier").stdout
        self.key_id = bytes.fromhex(re.search(r"([0-9A-F]{2}:){19}[0-9A-F]{2}", text).group(0).replace(":", ""))
        self.cert, self.key = Path(cert), Path(key)
        text = run("openssl", "pkey", "-in", key, "-noout", "-text").stdout
        self.kind = "RSA" if "modulus" in text else "EC"


def device_extensions(issuer):
    return [basic_constraints(), key_usage(DIGITAL_SIGNATURE), ext_key_usage(CLIENT_AUTH), authority_key(issuer.key_id)]


def make_certificate(home, file, issuer, issuer_name, key, subject, extensions, start=-1, days=30, digest="sha256", serial=None, signer=None):
    """start: days from now. signer: another key than the issuer's. Returns the PEM file."""
    now = datetime.datetime.now(datetime.timezone.utc)
    algorithm = sequence(oid(SIGNATURES[issuer.kind, digest]), b"" if issuer.kind == "EC" else tlv(5))
    serial = integer(int.from_bytes(file.encode()[-15:], "big") if serial is None else serial)
    validity = sequence(time(now + datetime.timedelta(days=start)), time(now + datetime.timedelta(days=start + days)))
    tbs = sequence(tlv(0xa0, integer(2)), serial, algorithm, issuer_name, validity, subject, public_key(key), tlv(0xa3, sequence(*extensions)) if extensions else b"")
    signature = subprocess.run(["openssl", "dgst", f"-{digest}", "-sign", str(signer or issuer.key)], input=tbs, stdout=subprocess.PIPE, check=True).stdout
    der = sequence(tbs, algorithm, tlv(3, b"\0" + signature))
    path = Path(home) / f"{file}.pem"
    path.write_text(pem("CERTIFICATE", der))
    return path


def pem(label, der):

    text = base64.b64encode(der).decode()
    return f"-----BEGIN {label}-----\n" + "".join(text[i:i + 64] + "\n" for i in range(0, len(text), 64)) + f"-----END {label}-----\n"


def false_key(path, scalar_of, point_of):
    """A P-256 private key that shows one key's public point and signs with another's scalar: a thief who has a certificate but not its key."""
    scalar = subprocess.run(["openssl", "ec", "-in", str(scalar_of), "-outform", "DER", "-no_public"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    secret = scalar[scalar.index(b"\x04\x20") + 2:][:32]
    point = public_key(point_of)[-65:]
    der = sequence(integer(1), tlv(4, secret), tlv(0xa0, oid("1.2.840.10045.3.1.7")), tlv(0xa1, tlv(3, b"\0" + point)))
    path.write_text(pem("EC PRIVATE KEY", der))
    return path
