"""The certificate authority: users who sign in with its certificates, devices and device CAs that it certifies, revocation, renewal, keys in files and tokens. openssl, certtool,
curl and Python's TLS are the judges."""

import asyncio
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import ssl
import struct
import tempfile
import time
import unittest
import urllib.parse
from pathlib import Path

from nhtest import BUILD, DEADLINE, ROOT, Device, Pki, Server, ServerCase, pem64, program, run, wait_until
from simulator import Simulator
from test_pkcs11 import as_user

SIGN = "/orgs/acme/authority/certificates"


class Holder:
    """Somebody with a key, and what is certified for it."""

    def __init__(self, home, name, subject="/O=x", key=("ecparam", "-name", "prime256v1", "-genkey", "-noout")):
        self.key, self.csr, self.cert = home / f"{name}.key", home / f"{name}.csr", home / f"{name}.crt"
        run("openssl", *key, "-out", self.key)
        run("openssl", "req", "-new", "-key", self.key, "-subj", subject, "-out", self.csr)

    @property
    def request(self):
        return pem64(self.csr)

    def take(self, pem):
        self.cert.write_text(pem)
        return self

    def text(self):
        return run("openssl", "x509", "-in", self.cert, "-noout", "-text").stdout


def totp(secret, step):
    """RFC 6238, six digits."""
    mac = hmac.new(base64.b32decode(secret + "=" * (-len(secret) % 8)), struct.pack(">Q", step), hashlib.sha1).digest()
    at = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[at:at + 4])[0] & 0x7FFFFFFF) % 1000000:06}"


def without_password(server):
    """The administrator signed in once, by an issuer elsewhere so to speak: an account without a password is not asked for it, and hashing takes the time of these tests."""
    server.login()
    server.sql("UPDATE users SET password_hash = NULL WHERE email = 'admin@localhost'")


def certified(server, holder, **fields):
    """A certificate that signs the administrator in."""
    holder.issued = server.api("POST", "/users/me/certificates", {"csr": holder.request, **fields}, expect=201).data
    return holder.take(holder.issued["cert"])


class AuthorityCase(ServerCase):
    server_args = ("--ca-key", "auto", "--open-registrations", "true")

    @classmethod
    def prepare(cls):
        super().prepare()
        without_password(cls.server)
        cls.root = cls.home / "root.crt"
        cls.root.write_text(cls.server.api("GET", "/authority", token="", expect=200).data["cert"])

    def holder(self, name, **kwargs):
        return Holder(self.home, name, **kwargs)

    def user(self, name, **fields):
        """A holder with a certificate of the administrator."""
        return certified(self.server, self.holder(name), **fields)

    def context(self, holder=None):
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        if holder:
            context.load_cert_chain(str(holder.cert), str(holder.key))
        return context

    def ask(self, method, path, holder=None, body=None, headers=None, form=False):
        """On the API port, as the clients of old do."""
        connection = http.client.HTTPSConnection("localhost", self.server.api_port, timeout=DEADLINE, context=self.context(holder))
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        data = None if body is None else urllib.parse.urlencode(body) if form else json.dumps(body)
        connection.request(method, path, body=data, headers={"Content-Type": kind, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text.startswith("{") else text

    def verify(self, cert, *args, root=None):
        done = run("openssl", "verify", "-x509_strict", "-CAfile", root or self.root, *args, cert, check=False)
        return done.stdout + done.stderr

    def crl(self):
        answer = self.server.api("GET", "/authority/crl", token="", expect=200)
        self.assertEqual(answer.headers["content-type"], "application/pkix-crl")
        (self.home / "list.der").write_bytes(answer.body)
        run("openssl", "crl", "-inform", "DER", "-in", self.home / "list.der", "-out", self.home / "list.pem")
        return answer.body

    def register(self, name, cert, **fields):
        """A device CA, with proof of possession."""
        token = self.server.api("GET", "/orgs/acme/ca_certificates/verification_token", expect=200).data["verification_token"]
        return self.server.api("POST", "/orgs/acme/ca_certificates",
                               {"cert": pem64(cert), "verification_cert": pem64(self.pki.verification(name, token)), **fields}, expect=201).data

    async def connects(self, cert, key):
        try:
            async with Device(self.server, cert, key):
                return True
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            return False
        except Exception as refused:  # the library's own wording of a connection that ended in the upgrade
            self.assertIn("websockets", type(refused).__module__)
            return False


class UserCertificateTest(AuthorityCase):
    def test_profile(self):
        user = self.user("profile", description="my  laptop")
        self.assertEqual(self.verify(user.cert, "-purpose", "sslclient"), f"{user.cert}: OK\n")
        self.assertIn("unsuitable certificate purpose", self.verify(user.cert, "-purpose", "sslserver"))
        self.assertEqual(self.verify(self.root), f"{self.root}: OK\n")
        text = user.text()
        for part in ("Version: 3", "O = NervesHub, CN = admin@localhost", "CA:FALSE", "Digital Signature, Key Encipherment", "TLS Web Client Authentication\n",
                     "X509v3 Subject Key Identifier", "X509v3 Authority Key Identifier", "ecdsa-with-SHA256"):
            self.assertIn(part, text)
        serial = int(user.issued["serial"])
        self.assertEqual(int(run("openssl", "x509", "-in", user.cert, "-noout", "-serial").stdout.split("=")[1], 16), serial)
        self.assertLess(serial, 1 << 128)
        self.assertGreater(serial, 1 << 96)  # 128 random bits: shorter once in four thousand million
        self.assertEqual((user.issued["description"], user.issued["kind"], user.issued["revoked_at"]), ("my laptop", "user", None))
        listed = self.server.api("GET", "/users/me/certificates?limit=500", expect=200).data
        self.assertIn(user.issued["serial"], [c["serial"] for c in listed])
        self.assertNotIn("cert", listed[0])
        shown = self.server.api("GET", f"/users/me/certificates/{user.issued['serial']}", expect=200).data
        self.assertEqual(shown["cert"], user.issued["cert"])
        certtool = run("certtool", "-i", "--infile", user.cert).stdout
        self.assertIn("Key Purpose (not critical):\n\t\t\tTLS WWW Client.", certtool)

    def test_sign_in(self):
        user = self.user("ada")
        me = {"data": {"name": "admin", "email": "admin@localhost"}}
        for path in ("/api/users/me", "/users/me"):
            self.assertEqual(self.ask("GET", path, user), (200, me))
            self.assertEqual(self.ask("GET", path)[0], 401)
        self.assertEqual(self.ask("GET", "/orgs/acme/products", user)[1]["data"][0]["name"], self.product)
        # a token that is there decides alone
        self.assertEqual(self.ask("GET", "/users/me", user, headers={"Authorization": "Bearer nhu_wrong"})[0], 401)
        self.assertEqual(self.ask("GET", "/users/me", headers={"Authorization": f"Bearer {self.server.token}"})[0], 200)
        # what a page of somebody else has a browser send
        self.assertEqual(self.ask("GET", "/users/me", user, headers={"Origin": f"https://localhost:{self.server.api_port}"})[0], 401)
        self.assertIsNotNone(self.server.api("GET", f"/users/me/certificates/{user.issued['serial']}").data["last_used"])
        # curl, which has another TLS library
        url = f"https://localhost:{self.server.api_port}/users/me"
        done = run("curl", "-sS", "--cacert", self.server.ca_file, "--cert", user.cert, "--key", user.key, url)
        self.assertEqual(json.loads(done.stdout), me)
        # and the web port never asks for one
        self.assertEqual(self.server.http("GET", "/api/users/me").status, 401)

    def refused(self, cert, key):
        done = run("curl", "-sS", "--cacert", self.server.ca_file, "--cert", cert, "--key", key, f"https://localhost:{self.server.api_port}/users/me", check=False)
        self.assertIn("alert bad certificate", done.stderr)
        self.assertNotEqual(done.returncode, 0)

    def test_strangers_are_refused(self):
        """Another CA with the very same name, a certificate signed by a user's key, and one that the authority never wrote down."""
        user = self.user("known")
        name = "/O=NervesHub/CN=NervesHub Root CA (localhost)"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.home / "twin.key", "-out", self.home / "twin.crt", "-subj", name,
            "-days", "10")
        stranger = self.holder("stranger")
        for signer, key in ((self.home / "twin.crt", self.home / "twin.key"), (user.cert, user.key)):
            run("openssl", "x509", "-req", "-in", stranger.csr, "-CA", signer, "-CAkey", key, "-set_serial", user.issued["serial"], "-days", "5", "-out", stranger.cert)
            self.refused(stranger.cert, stranger.key)
        service = self.holder("service", subject="/O=NervesHub/CN=admin@localhost")
        status, answer = self.ask("POST", "/sign_user_csr", user, {"csr": service.request})
        self.assertEqual(status, 200)
        service.take(answer["cert"])
        self.assertEqual(self.verify(service.cert), f"{service.cert}: OK\n")  # of the authority, and yet nobody's
        self.refused(service.cert, service.key)

    def test_password(self):
        """An account with a password, and later with a second factor, which a certificate asks for as a token does."""
        phrase, path = "a long enough phrase", "/users/me/certificates"
        self.server.api("POST", "/users/register", {"name": "Grace", "email": "grace@example.com", "password": phrase}, token="", expect=201)
        token = self.server.api("POST", "/users/login", {"email": "grace@example.com", "password": phrase}, token="", expect=200).data["token"]
        grace = self.holder("grace")
        body = {"csr": grace.request, "email": "grace@example.com", "password": phrase, "description": "host"}
        self.assertEqual(self.ask("POST", "/users/sign", body={**body, "password": "wrong"})[0], 401)
        for form in (False, True):
            status, answer = self.ask("POST", "/users/sign", body=body, form=form)
            self.assertEqual((status, list(answer), list(answer["data"])), (200, ["data"], ["cert"]))
            grace.take(answer["data"]["cert"])
            self.assertEqual(self.ask("GET", "/users/me", grace)[1]["data"]["email"], "grace@example.com")
        # a token alone makes no credential that outlives it
        for wrong in ({}, {"current_password": "wrong"}):
            self.assertIn("current_password", self.server.api("POST", path, {"csr": grace.request, **wrong}, token=token, expect=422).json["errors"])
        self.server.api("POST", path, {"csr": grace.request, "current_password": phrase}, token=token, expect=201)

        secret = self.server.api("POST", "/users/me/second_factor", {"current_password": phrase}, token=token, expect=201).data["secret"]
        code = lambda step: totp(secret, int(time.time()) // 30 + step)
        self.server.api("PUT", "/users/me/second_factor", {"otp": code(0)}, token=token, expect=200)
        status, answer = self.ask("POST", "/users/sign", body=body)
        self.assertEqual((status, "otp" in answer["errors"]), (401, True))
        self.assertEqual(self.ask("POST", "/users/sign", body={**body, "otp": code(1)})[0], 200)
        # with the account goes what signed it in, and the list says so
        self.server.api("DELETE", "/users/me", {"current_password": phrase}, token=token, expect=204)
        self.refused(grace.cert, grace.key)
        self.crl()
        self.assertIn("certificate revoked", self.verify(grace.cert, "-crl_check", "-CRLfile", self.home / "list.pem"))

    def test_revocation(self):
        user, other = self.user("revoked"), self.user("other")
        before = self.crl()
        self.assertEqual(before, self.crl())  # signed once
        self.assertEqual(self.verify(user.cert, "-crl_check", "-CRLfile", self.home / "list.pem"), f"{user.cert}: OK\n")
        kept = http.client.HTTPSConnection("localhost", self.server.api_port, timeout=DEADLINE, context=self.context(user))
        kept.request("GET", "/users/me")
        self.assertEqual(kept.getresponse().read()[:8], b'{"data":')
        path = f"/users/me/certificates/{user.issued['serial']}"
        self.server.api("DELETE", path + "?reason=nonsense", expect=422)
        self.server.api("DELETE", path + "?reason=keyCompromise", expect=204)
        self.server.api("DELETE", path, expect=204)  # once more changes nothing
        shown = self.server.api("GET", path, expect=200).data
        self.assertEqual(shown["reason"], "keyCompromise")
        # connections that were there lose it with their next request, new ones in the handshake
        kept.request("GET", "/users/me")
        self.assertEqual(kept.getresponse().status, 401)
        kept.close()
        self.refused(user.cert, user.key)
        self.assertEqual(self.ask("GET", "/users/me", other)[0], 200)
        after = self.crl()
        self.assertNotEqual(before, after)
        self.assertIn("certificate revoked", self.verify(user.cert, "-crl_check", "-CRLfile", self.home / "list.pem"))
        self.assertEqual(self.verify(other.cert, "-crl_check", "-CRLfile", self.home / "list.pem"), f"{other.cert}: OK\n")
        text = run("openssl", "crl", "-in", self.home / "list.pem", "-noout", "-text", "-CAfile", self.root)
        self.assertIn("verify OK", text.stderr)
        entry = text.stdout[text.stdout.index(f"Serial Number: {int(user.issued['serial']):032X}"):]
        self.assertIn("Key Compromise", entry[:300])
        self.assertIn("Next Update", text.stdout)
        number = lambda der: int(re.search(r"X509v3 CRL Number: \n\s+(\w+)", run("openssl", "crl", "-inform", "DER", "-in", der, "-noout", "-text").stdout)[1], 0)
        (self.home / "before.der").write_bytes(before)
        self.assertLess(number(self.home / "before.der"), number(self.home / "list.der"))
        judged = run("certtool", "--verify-crl", "--load-ca-certificate", self.root, "--infile", self.home / "list.pem")
        self.assertIn("Verification output: Verified", judged.stdout + judged.stderr)

    def test_successor(self):
        user, successor = self.user("first", description="laptop"), self.holder("second")
        renewal = "/api/users/me/certificates/renewal"
        self.server.api("POST", renewal[4:], {"csr": successor.request}, expect=422)  # a token is no certificate
        status, answer = self.ask("POST", renewal, user, {"csr": successor.request})
        self.assertEqual((status, answer["data"]["description"]), (201, "laptop"))
        successor.take(answer["data"]["cert"])
        for one in (user, successor):
            self.assertEqual(self.ask("GET", "/users/me", one)[0], 200)
        # who has stolen a certificate has no use of successors either, once it is revoked
        self.server.api("DELETE", f"/users/me/certificates/{user.issued['serial']}", expect=204)
        self.refused(successor.cert, successor.key)

    def test_requests(self):
        """What a request has to be: with a signature, a key worth certifying, and of a size."""
        good = self.holder("good")
        run("openssl", "req", "-in", self.holder("forged", subject="/CN=somebody").csr, "-outform", "DER", "-out", self.home / "forged.der")
        forged = bytearray((self.home / "forged.der").read_bytes())
        at = forged.index(b"somebody")
        forged[at:at + 4] = b"SOME"
        pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(forged)) + b"-----END CERTIFICATE REQUEST-----\n"
        rows = [
            (None, 422, "can't be blank"),
            (17, 422, "can't be blank"),
            ("!", 400, None),
            (base64.b64encode(b"rubbish").decode(), 422, "no PEM"),
            (base64.b64encode(pem).decode(), 422, "signature does not verify"),
            (pem64(self.root), 422, "expected a CERTIFICATE REQUEST"),
            (self.holder("rsa1024", key=("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")).request, 422, "1024 bits"),
            (self.holder("p224", key=("ecparam", "-name", "secp224r1", "-genkey", "-noout")).request, 422, "224 bits"),
            (base64.b64encode(good.csr.read_bytes() + b" " * 16384).decode(), 413, None),
        ]
        user = self.user("requester")
        for csr, expected, words in rows:
            with self.subTest(words=words, expected=expected):
                answer = self.server.api("POST", SIGN, {"kind": "device_ca", **({} if csr is None else {"csr": csr})}, expect=expected)
                if words:
                    self.assertIn(words, answer.json["errors"]["csr"][0])
                self.assertEqual(self.ask("POST", "/sign_device_csr", user, {} if csr is None else {"csr": csr})[0], 400)
        for name, key in (("rsa", ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")), ("p384", ("ecparam", "-name", "secp384r1", "-genkey", "-noout")), ("ed", ("genpkey", "-algorithm", "ed25519"))):
            with self.subTest(key=name):
                holder = self.holder(name, key=key)
                certified(self.server, holder)
                self.assertEqual(self.ask("GET", "/users/me", holder)[0], 200)

    def test_service_of_old(self):
        user, device = self.user("service-user"), self.holder("old-device", subject="/O=acme/CN=old-1")
        self.assertEqual(self.ask("GET", "/health_check"), (200, "ok"))
        for path in ("/sign_device_csr", "/sign_user_csr"):
            self.assertEqual(self.ask("POST", path, None, {"csr": device.request})[0], 401)
            self.assertEqual(self.ask("POST", path, user, {}), (400, "Missing parameter: csr"))
            status, answer = self.ask("POST", path, user, {"csr": device.request})
            self.assertEqual((status, sorted(answer)), (200, ["cert", "issuer"]))
            self.assertEqual(answer["issuer"], self.root.read_text())
            device.take(answer["cert"])
            self.assertEqual(self.verify(device.cert, "-purpose", "sslclient"), f"{device.cert}: OK\n")
            self.assertIn("O = acme, CN = old-1", device.text())
        end = lambda cert: run("openssl", "x509", "-in", cert, "-noout", "-enddate").stdout
        device.take(self.ask("POST", "/sign_device_csr", user, {"csr": device.request})[1]["cert"])
        self.assertEqual(end(device.cert), end(self.root))  # 31 years, and not beyond the CA's own end


class OrganizationTest(AuthorityCase):
    def test_device(self):
        devices = self.product_path + "/devices"
        self.server.api("POST", devices, {"identifier": "d-1"}, expect=201)
        path = f"{devices}/d-1/certificates"
        wrong, device = self.holder("d-wrong", subject="/CN=d-2"), self.holder("d-1", subject="/O=ignored/CN=d-1")
        self.assertIn("identifier", self.server.api("POST", path + "/sign", {"csr": wrong.request}, expect=422).json["errors"]["csr"][0])
        answer = self.server.api("POST", path + "/sign", {"csr": device.request}, expect=200).data
        self.assertEqual(list(answer), ["cert"])
        device.take(answer["cert"])
        self.assertEqual(self.verify(device.cert, "-purpose", "sslclient"), f"{device.cert}: OK\n")
        self.assertIn("O = acme, CN = d-1", device.text())
        self.assertIn("already associated", str(self.sign_for("d-3", device)))
        serial = self.server.api("GET", path, expect=200).data[0]["serial"]

        async def life():
            self.assertTrue(await self.connects(device.cert, device.key))
            async with Device(self.server, device.cert, device.key) as connected:
                self.server.api("DELETE", f"{SIGN}/{serial}?reason=privilegeWithdrawn", expect=204)
                await connected.closed()
            self.assertFalse(await self.connects(device.cert, device.key))
        asyncio.run(life())
        self.assertEqual(self.server.api("GET", path, expect=200).data, [])
        self.assertEqual(self.server.api("GET", f"{SIGN}/{serial}", expect=200).data["reason"], "privilegeWithdrawn")

    def sign_for(self, identifier, holder):
        """Another device's request with the same key."""
        self.server.api("POST", self.product_path + "/devices", {"identifier": identifier}, expect=201)
        run("openssl", "req", "-new", "-key", holder.key, "-subj", f"/CN={identifier}", "-out", self.home / "same.csr")
        return self.server.api("POST", f"{self.product_path}/devices/{identifier}/certificates/sign", {"csr": pem64(self.home / "same.csr")}, expect=422).json

    def test_device_ca(self):
        """The organization's own CA below the authority: registered with proof of possession, it creates devices just in time; revoked, it creates none."""
        run("openssl", "req", "-new", "-key", self.pki.key("line"), "-subj", "/CN=line 1", "-out", self.pki.home / "line.csr")
        issued = self.server.api("POST", SIGN, {"kind": "device_ca", "csr": pem64(self.pki.home / "line.csr"), "description": "line", "valid_days": 400}, expect=201)
        self.assertEqual(issued.headers["location"], f"/api{SIGN}/{issued.data['serial']}")
        (self.pki.home / "line.crt").write_text(issued.data["cert"])
        text = run("openssl", "x509", "-in", self.pki.home / "line.crt", "-noout", "-text").stdout
        for part in ("O = acme, CN = line 1", "CA:TRUE, pathlen:0", "Name Constraints: critical", "TLS Web Client Authentication"):
            self.assertIn(part, text)
        product = self.server.api("GET", "/orgs/acme/products", expect=200).data[0]["name"]
        ca = self.register("line", self.pki.home / "line.crt", description="line")
        self.assertEqual((ca["serial"], ca["jitp"], ca["check_expiration"]), (issued.data["serial"], None, False))
        jitp = {"description": "made by the line", "tags": ["line"], "product_name": product}
        first, second = self.pki.device("j-1", "line"), self.pki.device("j-2", "line")
        self.assertIn("OK", self.verify(first[0], "-untrusted", self.pki.home / "line.crt", "-purpose", "sslclient"))

        async def life():
            self.assertFalse(await self.connects(*first))  # not registered, and nothing says that it may be created
            changed = self.server.api("PUT", f"/orgs/acme/ca_certificates/{ca['serial']}", {"jitp": jitp, "check_expiration": True}, expect=200).data
            self.assertEqual((changed["description"], changed["check_expiration"], changed["jitp"]["tags"]), ("line", True, ["line"]))
            self.assertTrue(await self.connects(*first))
            self.assertEqual(self.server.api("GET", f"{self.product_path}/devices/j-1", expect=200).data["tags"], ["line"])
            self.server.api("DELETE", f"{SIGN}/{issued.data['serial']}", expect=204)
            self.assertFalse(await self.connects(*second))
            self.assertTrue(await self.connects(*first))  # pinned before
        asyncio.run(life())
        self.server.api("GET", f"/orgs/acme/ca_certificates/{ca['serial']}", expect=404)
        self.server.api("PUT", f"/orgs/acme/ca_certificates/{ca['serial']}", {}, expect=404)

    def test_proof_by_common_name(self):
        """With openssl and no file of extensions: the certificate is of version 1 then."""
        cert = self.pki.ca("plain")
        code = self.server.api("GET", "/orgs/acme/ca_certificates/verification_token", expect=200).data["verification_code"]
        proof = self.home / "proof.crt"
        for name, expected in (("B" + code[1:], 422), (code, 201)):
            run("openssl", "req", "-new", "-key", self.pki.key("proof"), "-subj", f"/CN={name}", "-out", self.home / "proof.csr")
            run("openssl", "x509", "-req", "-in", self.home / "proof.csr", "-CA", cert, "-CAkey", self.pki.key("plain"), "-set_serial", "1", "-days", "1", "-out", proof)
            self.server.api("POST", "/orgs/acme/ca_certificates", {"cert": pem64(cert), "verification_cert": pem64(proof)}, expect=expected)

    def test_settings_of_device_cas(self):
        self.pki.ca("settings")
        ca = self.register("settings", self.pki.home / "settings.crt", check_expiration=True)
        path = f"/orgs/acme/ca_certificates/{ca['serial']}"
        self.assertTrue(ca["check_expiration"])
        rows = [({"check_expiration": "yes"}, "check_expiration"), ({"jitp": {"tags": ["x"]}}, "jitp"), ({"description": 5}, "description")]
        for body, field in rows:
            self.assertIn(field, self.server.api("PUT", path, body, expect=422).json["errors"])
        jitp = {"description": "d", "tags": "a, b", "product_name": self.product}
        self.assertEqual(self.server.api("PUT", path, {"jitp": jitp, "description": "new"}, expect=200).data["jitp"]["tags"], ["a", "b"])
        after = self.server.api("PUT", path, {"jitp": None, "description": None, "check_expiration": False}, expect=200).data
        self.assertEqual((after["jitp"], after["description"], after["check_expiration"]), (None, None, False))

    def test_server(self):
        hub = self.holder("hub", subject="/CN=hub.example")
        body = {"kind": "server", "csr": hub.request, "names": ["hub.example", "*.hub.example", "192.0.2.1", "2001:db8::1"]}
        hub.take(self.server.api("POST", SIGN, body, expect=201).data["cert"])
        for check in (("-verify_hostname", "hub.example"), ("-verify_hostname", "x.hub.example"), ("-verify_ip", "192.0.2.1"), ("-verify_ip", "2001:db8::1")):
            self.assertEqual(self.verify(hub.cert, "-purpose", "sslserver", *check), f"{hub.cert}: OK\n")
        self.assertIn("hostname mismatch", self.verify(hub.cert, "-verify_hostname", "other.example"))
        for names in ([], ["a b"], ["-x"], ["x..y"], ["http://x"], [5], "hub.example", ["a." * 130 + "b"]):
            self.assertIn("names", self.server.api("POST", SIGN, {**body, "names": names}, expect=422).json["errors"])
        for field, value in (("kind", "user"), ("kind", None), ("common_name", "x" * 65), ("common_name", "a/b"), ("valid_days", 0), ("valid_days", "ten")):
            self.assertIn(field, self.server.api("POST", SIGN, {**body, field: value}, expect=422).json["errors"])
        short = self.server.api("POST", SIGN, {**body, "valid_days": 10}, expect=201).data
        soon = self.server.api("GET", "/orgs/acme/certificates/expiring?days=11", expect=200).data
        self.assertEqual([(c["kind"], c["expired"], c["subject"]) for c in soon if c["serial"] == short["serial"]], [("server", False, "CN=hub.example,O=acme")])
        self.assertNotIn(short["serial"], [c["serial"] for c in self.server.api("GET", "/orgs/acme/certificates/expiring?days=8", expect=200).data])
        self.server.api("GET", "/orgs/acme/certificates/expiring?days=x", expect=422)

    def test_expiring_devices(self):
        self.pki.ca("short")
        self.register("short", self.pki.home / "short.crt", description="for ten years")
        self.server.api("POST", self.product_path + "/devices", {"identifier": "e-1"}, expect=201)
        cert, _ = self.pki.device("e-1", "short", days=5)
        self.server.api("POST", f"{self.product_path}/devices/e-1/certificates", {"cert": pem64(cert)}, expect=201)
        soon = self.server.api("GET", "/orgs/acme/certificates/expiring", expect=200).data
        self.assertIn(("device", "e-1", self.product), [(c["kind"], c["device"], c["product"]) for c in soon])
        self.assertNotIn("ca", [c["kind"] for c in soon])
        kinds = [c["kind"] for c in self.server.api("GET", "/orgs/acme/certificates/expiring?days=3650&limit=500", expect=200).data]
        self.assertIn("ca", kinds)

    def test_metrics(self):
        """Counted when the server starts and once an hour; told of once a day, which is two seconds here."""
        self.server.api("POST", SIGN, {"kind": "device_ca", "csr": self.holder("metrics").request, "valid_days": 3}, expect=201)
        self.server.stop()
        self.server.extra += ["--job-speed", "40000"]
        self.addCleanup(self.server.start)
        self.addCleanup(self.server.extra.__delitem__, slice(-2, None))
        self.addCleanup(self.server.stop)
        self.server.start()
        wait_until(lambda: self.server.metric("authority_certificates_expiring") > 0, self.server.process, "a certificate that ends soon")
        wait_until(lambda: "certificates.expiring within_days=30" in self.server.log_text(), self.server.process, "the warning of the day")
        end = run("openssl", "x509", "-in", self.root, "-noout", "-enddate", "-dateopt", "iso_8601").stdout.strip().split("=")[1]
        self.assertEqual(self.server.metric("authority_not_after_timestamp_seconds"), int(datetime.datetime.fromisoformat(end.replace("Z", "+00:00")).timestamp()))

    def test_who_may(self):
        """Members by role, and people who are none: every door of the authority."""
        people = {}
        for role in ("view", "manage", "admin", None):
            email = f"{role}@example.com".lower()
            self.server.sql(f"INSERT INTO users (name, email, email_key, confirmed_at, inserted_at, updated_at) VALUES ('{role}', '{email}', '{email}', 1, 1, 1)")
            user = self.server.sql(f"SELECT id FROM users WHERE email = '{email}'")[0]
            self.server.sql(f"INSERT INTO orgs (name, personal_user_id, inserted_at, updated_at) VALUES ('p-{role}', {user}, 1, 1)")
            if role:
                level = {"view": 1, "manage": 2, "admin": 3}[role]
                self.server.sql(f"INSERT INTO org_users (org_id, user_id, role, inserted_at, updated_at) VALUES ((SELECT id FROM orgs WHERE name = 'acme'), {user}, {level}, 1, 1)")
            admin = self.server.sql("SELECT id FROM users WHERE email = 'admin@localhost'")[0]
            holder = self.holder(f"who-{role}")
            issued = certified(self.server, holder).issued
            self.server.sql(f"UPDATE authority_certificates SET user_id = {user} WHERE serial = '{issued['serial']}' AND user_id = {admin}")
            people[role] = holder
        csr, ca = self.holder("who-csr").request, self.server.api("POST", SIGN, {"kind": "device_ca", "csr": self.holder("who-ca", subject="/CN=w").request}, expect=201).data
        #  method, path, body, expected of view, manage, admin, stranger
        rows = [
            ("GET", f"/api{SIGN}", None, 200, 200, 200, 404),
            ("GET", f"/api{SIGN}/{ca['serial']}", None, 200, 200, 200, 404),
            ("GET", "/api/orgs/acme/certificates/expiring", None, 200, 200, 200, 404),
            ("POST", f"/api{SIGN}", {"kind": "device_ca", "csr": csr}, 401, 401, 201, 404),
            ("POST", f"/api{SIGN}", {"kind": "server", "csr": csr, "common_name": "x"}, 401, 401, 401, 404),  # no administrator of the server
            ("DELETE", f"/api{SIGN}/{ca['serial']}", None, 401, 401, 204, 404),
            ("GET", "/api/authority/certificates", None, 401, 401, 401, 401),
            ("DELETE", f"/api/authority/certificates/{ca['serial']}", None, 401, 401, 401, 401),
            ("POST", "/sign_user_csr", {"csr": csr}, 401, 401, 401, 401),
            ("DELETE", f"/api/users/me/certificates/{ca['serial']}", None, 404, 404, 404, 404),
            ("GET", "/api/users/me/certificates", None, 200, 200, 200, 200),
        ]
        for method, path, body, *expected in rows:
            for role, status in zip(("view", "manage", "admin", None), expected):
                with self.subTest(method=method, path=path, role=role):
                    self.assertEqual(self.ask(method, path, people[role], body)[0], status)


class KeyTest(unittest.TestCase):
    """Where the key comes from, and that it is the same one after a restart."""

    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="nhtest-authority-"))
        self.addCleanup(run, "rm", "-r", self.home)

    def start(self, *args, data="data", wrap=(), **env):
        server = Server(*args, data_dir=self.home / data, env=env)
        server.wrap = list(wrap)
        self.addCleanup(server.remove)
        self.addCleanup(lambda: server.log.close())
        return server.start()

    def subject(self, server):
        return server.api("GET", "/authority", token="", expect=200).data

    def refused(self, *args, **env):
        with self.assertRaises(AssertionError) as failed:
            self.start(*args, **env)
        return str(failed.exception)

    def test_own_key(self):
        server = self.start("--ca-key", "auto")
        before = self.subject(server)
        server.stop()
        key = self.home / "data/authority/ca.key"
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        self.assertIn("BEGIN ENCRYPTED PRIVATE KEY", key.read_text())
        self.assertNotEqual(run("openssl", "pkey", "-in", key, "-passin", "pass:", "-noout", check=False).returncode, 0)
        again = self.start("--ca-key", "auto")
        self.assertEqual(self.subject(again), before)
        again.stop()
        said = self.refused("--ca-key", "auto", SECRET_KEY_BASE="another secret that is long enough for it")
        self.assertIn("encrypted with the signing secret", said)
        # without the setting there is no authority and no port
        none = self.start()
        self.assertEqual(none.api_port, 0)
        without_password(none)
        none.api("GET", "/authority", expect=404)
        none.api("GET", "/authority/crl", expect=404)
        none.api("POST", "/users/me/certificates", {"csr": "x"}, expect=404)
        none.stop()

    def test_below_another_authority(self):
        pki = Pki(self.home / "pki")
        root = pki.ca("corporate")
        cert, key = pki.sign("hub-ca", "corporate", "/O=Corporation/CN=Hub CA",
                             "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n", days=30)
        server = self.start("--ca-key", str(key), "--ca-cert", str(cert))
        without_password(server)
        holder = Holder(self.home, "u")
        certified(server, holder)
        verified = run("openssl", "verify", "-x509_strict", "-CAfile", root, "-untrusted", cert, holder.cert).stdout
        self.assertEqual(verified, f"{holder.cert}: OK\n")
        end = lambda path: run("openssl", "x509", "-in", path, "-noout", "-enddate").stdout
        self.assertEqual(end(holder.cert), end(cert))
        server.stop()
        other = pki.key("other")
        self.assertIn("does not belong", self.refused("--ca-key", str(other), "--ca-cert", str(cert)))
        leaf, leaf_key = pki.device("leaf", "corporate")
        self.assertIn("not that of a CA", self.refused("--ca-key", str(leaf_key), "--ca-cert", str(leaf)))
        self.assertIn("CA_KEY", self.refused("--ca-key", str(self.home / "nothing.pem")))

    def test_key_in_a_token(self):
        conf = self.home / "softhsm.conf"
        (self.home / "tokens").mkdir()
        conf.write_text(f"directories.tokendir = {self.home}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        env = {**os.environ, "SOFTHSM2_CONF": str(conf)}
        module = next(Path("/usr/lib").rglob("libsofthsm2.so"))
        run("softhsm2-util", "--init-token", "--free", "--label", "hub", "--pin", "1234", "--so-pin", "5678", env=env)
        run("pkcs11-tool", "--module", module, "--token-label", "hub", "--login", "--pin", "1234", "--keypairgen", "--key-type", "EC:prime256v1", "--label", "ca", "--id", "01", env=env)
        url = "pkcs11:token=hub;object=ca?pin-value=1234"
        server = self.start("--ca-key", url, SOFTHSM2_CONF=str(conf))
        without_password(server)
        holder = Holder(self.home, "t")
        certified(server, holder)
        root = self.home / "root.crt"
        root.write_text(self.subject(server)["cert"])
        self.assertEqual(run("openssl", "verify", "-x509_strict", "-CAfile", root, holder.cert).stdout, f"{holder.cert}: OK\n")
        self.assertFalse((self.home / "data/authority/ca.key").exists())
        crl = self.home / "l.crl"
        crl.write_bytes(server.api("GET", "/authority/crl", token="", expect=200).body)
        self.assertIn("verify OK", run("openssl", "crl", "-inform", "DER", "-in", crl, "-noout", "-CAfile", root).stderr)
        self.assertNotIn("1234", server.log_text())
        server.stop()
        explained = run(program("nerveshubd"), "--check-config", "--ca-key", url).stdout
        self.assertIn("CA_KEY=pkcs11:token=hub;object=ca?(hidden)", explained)
        self.assertNotIn("1234", explained)
        said = self.refused("--ca-key", "pkcs11:token=hub;object=other?pin-value=1234", SOFTHSM2_CONF=str(conf))
        self.assertIn("CA_KEY", said)
        self.assertNotIn("1234", said.split("nerveshubd:")[-1])

    def test_key_in_a_nerveskey(self):
        """The chip signs certificates and lists; the module that leads to it is the project's own."""
        chip = Simulator().start()
        self.addCleanup(chip.end)
        bus = ("-b", f"sim:{chip.socket}")
        run(program("nerveskey"), "signer", "create", self.home / "signer")
        run(program("nerveskey"), "provision", *bus, "--signer-cert", self.home / "signer.cert", "--signer-key", self.home / "signer.key", "--serial", "CA-1", "--yes")
        modules = self.home / "config/pkcs11/modules"
        modules.mkdir(parents=True)
        (modules.parent / "pkcs11.conf").write_text("user-config: only\n")
        (modules / "nerveskey.module").write_text(f"module: {BUILD / 'src/nerveskey-pkcs11/nerveskey-pkcs11.so'}\n")
        env = {"NERVESKEY_PKCS11": f"nerveskey+sim://{chip.socket} id=1", "XDG_CONFIG_HOME": str(self.home / "config"), "HOME": str(self.home)}
        server = self.start("--ca-key", "pkcs11:token=1;id=%31;type=private", wrap=as_user(), **env)
        without_password(server)
        holder = Holder(self.home, "n")
        certified(server, holder)
        root = self.home / "root.crt"
        root.write_text(self.subject(server)["cert"])
        self.assertEqual(run("openssl", "verify", "-x509_strict", "-CAfile", root, holder.cert).stdout, f"{holder.cert}: OK\n")
        device = self.home / "device.pem"
        device.write_text(run(program("nerveskey"), "certificate", "device", *bus).stdout)
        public = lambda cert: run("openssl", "x509", "-in", cert, "-noout", "-pubkey").stdout
        self.assertEqual(public(root), public(device))
        server.stop()


class GuideTest(unittest.TestCase):
    def test_guide(self):
        """docs/guides/authority.md, typed as it stands there."""
        server = Server("--ca-key", "auto").start()
        self.addCleanup(server.end)
        server.login()
        server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        server.api("POST", "/orgs/acme/products", {"name": "widget"}, expect=201)
        folder = server.home / "guide"
        folder.mkdir()
        env = {**os.environ, "TOKEN": server.token, "PASSWORD": (server.data_dir / "admin-password").read_text().strip(), "ROOTS": str(server.ca_file),
               "HUB": f"http://localhost:{server.web_port}", "API": f"https://localhost:{server.api_port}"}
        blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/guides/authority.md").read_text(), re.M | re.S)
        said = [run("sh", "-e", "-c", block, cwd=folder, env=env).stdout for block in blocks]
        for text, words in zip(said, ("admin@localhost", '"kind":"user"', "BEGIN CERTIFICATE", '"kind":"device_ca"', "No Revoked Certificates"), strict=True):
            self.assertIn(words, text)


if __name__ == "__main__":
    unittest.main()
