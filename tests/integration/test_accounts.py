"""Accounts by the API, and mails over a real SMTP server: STARTTLS, a password, a server that is away and comes back, an address that is refused for good."""

import logging
import shutil
import socket
import ssl
import tempfile
import time
import unittest
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

import browser
import nhtest
from test_forms import PASSWORD, totp

logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)  # what the mail server of the tests thinks of its clients


class Post:
    """A mail server on loopback: keeps what it gets. Takes STARTTLS and a password, or nothing."""

    def __init__(self, home):
        self.pki, self.got, self.logins = nhtest.Pki(home), [], 0
        with socket.socket() as probe:  # the controller wants to know its port before
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.pki.ca("post")
        cert, key = self.pki.sign("smtp", "post", "/CN=localhost", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(cert, key)
        self.controller = None

    def start(self):
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, tls_context=self.tls, require_starttls=True, auth_required=True, authenticator=self.check)
        self.controller.start()

    def stop(self):
        self.controller.stop()

    def check(self, server, session, envelope, mechanism, auth):
        self.logins += 1
        return AuthResult(success=(auth.login, auth.password) == (b"nerves", b"hub secret"), handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "refused" in address:
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.got.append(envelope)
        return "250 OK"


class Smtp(unittest.TestCase):
    def setUp(self):
        home = tempfile.mkdtemp(prefix="nhpost-")
        self.addCleanup(shutil.rmtree, home)
        self.post = Post(home)
        self.post.start()

    def server(self, password="hub secret", **settings):
        env = {"SMTP_SERVER": "localhost", "SMTP_PORT": str(self.post.port), "SMTP_USERNAME": "nerves", "SMTP_PASSWORD": password, "SMTP_CA_FILE": str(self.post.pki.home / "post.crt"),
               "OPEN_FOR_REGISTRATIONS": "true", "FROM_EMAIL": "hub@example.com", "EMAIL_SENDER": "Hübsch & Co", "SUPPORT_EMAIL_PLATFORM_NAME": "Hub", "NERVESHUB_MAIL_RETRY": "200ms",
               "SUPPORT_EMAIL_ADDRESS": "help@example.com", **settings}
        return nhtest.Server(env=env).start()

    def register(self, server, address, name="Ada Lovelace"):
        server.api("POST", "/users/register", {"name": name, "email": address, "password": PASSWORD}, token="", expect=201)

    def logged(self, server, *words):
        nhtest.wait_until(lambda: any(all(w in line for w in words) for line in server.log_text().splitlines()), server.process, f"a line with {words}")

    def test_sent_with_starttls_and_password(self):
        server = self.server()
        try:
            self.register(server, "ada@example.com", "Ada Lövelace")
            nhtest.wait_until(lambda: self.post.got, server.process, "a mail")
            envelope = self.post.got[0]
            message = browser.email.message_from_bytes(envelope.content, policy=browser.email.policy.SMTP)
            self.assertEqual((envelope.mail_from, envelope.rcpt_tos), ("hub@example.com", ["ada@example.com"]))
            self.assertEqual(str(message["From"]), "Hübsch & Co <hub@example.com>")
            self.assertEqual((message["To"].addresses[0].display_name, message["Subject"]), ("Ada Lövelace", "Hub: Confirm your address"))
            self.assertIn("help@example.com", browser.text_of(message))
            self.assertFalse(message.defects or any(p.defects for p in message.walk()))
            link = browser.link_of(message)
            self.assertRegex(browser.text_of(message), rf"http://localhost:{server.web_port}/confirm/")  # the configured address, not what somebody asked with
            self.logged(server, "mail.sent", "kind=confirm")
            nhtest.wait_until(lambda: server.sql("SELECT COUNT(*) FROM mails") in ([0], ["0"]), server.process, "an empty queue")
            self.assertEqual([server.metric(f"mails_{what}_total") for what in ("sent", "failed", "given_up")], [1, 0, 0])
            self.assertNotIn(link.rsplit("/", 1)[1], server.log_text())
            self.assertNotIn("hub secret", server.log_text())
            b = browser.Browser(server)
            self.assertEqual(b.send(b.get(link), link).path, "/welcome")
        finally:
            server.end()
            self.post.stop()

    def test_server_that_is_away(self):
        server = self.server()
        try:
            self.post.stop()
            self.register(server, "late@example.com")
            self.logged(server, "mail.failed", "kind=confirm", "attempts=2")
            self.assertEqual([str(n) for n in server.sql("SELECT COUNT(*) FROM mails")], ["1"])
            sealed = str(server.sql("SELECT sealed FROM mails"))
            self.assertNotIn("late@example.com", sealed)
            server.stop()  # what waits outlives the server
            server.start()
            self.post.start()
            nhtest.wait_until(lambda: self.post.got, server.process, "a mail")
            self.assertEqual([e.rcpt_tos for e in self.post.got], [["late@example.com"]])
            self.register(server, "refused@example.com")
            self.logged(server, "mail.given_up", "attempts=1")
            nhtest.wait_until(lambda: [str(n) for n in server.sql("SELECT COUNT(*) FROM mails")] == ["0"], server.process, "an empty queue")
        finally:
            server.end()
            self.post.stop()

    def test_wrong_password_or_certificate_is_no_end(self):
        for settings, why in (({"password": "wrong"}, "ogin denied"), ({"SMTP_CA_FILE": ""}, "ertificate")):
            server = self.server(**settings)
            try:
                self.register(server, "ada@example.com")
                self.logged(server, "mail.failed", why)
                self.assertEqual([str(n) for n in server.sql("SELECT COUNT(*) FROM mails")], ["1"])
                self.assertFalse(self.post.got)
            finally:
                server.end()
        self.post.stop()


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="nhmail-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.server = nhtest.Server("--open-registrations", "true", "--mail-folder", str(cls.folder)).start()
        cls.mails = browser.Mails(cls.folder, cls.server.process)
        cls.server.login()

    @classmethod
    def tearDownClass(cls):
        cls.server.end()

    def user(self, name, address):
        self.server.api("POST", "/users/register", {"name": name, "email": address, "password": PASSWORD}, token="", expect=201)
        return self.login(address).data["token"]

    def login(self, address, password=PASSWORD, **extra):
        return self.server.api("POST", "/users/login", {"email": address, "password": password, **extra}, token="")

    def test_tokens_and_sessions(self):
        token = self.user("Toni Token", "toni@example.com")
        api = lambda method, path, body=None, expect=None: self.server.api(method, "/users/me" + path, body, token=token, expect=expect)
        self.assertEqual(api("POST", "/tokens", {"note": "ci"}, 422).json["errors"], {"current_password": ["is invalid"]})
        made = api("POST", "/tokens", {"note": " the  ci ", "current_password": PASSWORD}, 201).data["token"]
        self.server.api("GET", "/users/me", token=made, expect=200)
        rows = api("GET", "/tokens", expect=200).data
        ci = next(r for r in rows if r["note"] == "the ci")
        self.assertEqual(len(rows), 2)
        self.assertIsNotNone(ci["last_used_at"])
        self.assertNotIn(made, str(rows))
        stranger = self.user("Sara Stranger", "sara@example.com")
        self.server.api("DELETE", f"/users/me/tokens/{ci['id']}", token=stranger, expect=404)
        api("DELETE", f"/tokens/{ci['id']}", expect=204)
        api("DELETE", "/tokens/x", expect=404)
        self.server.api("GET", "/users/me", token=made, expect=401)
        link = browser.link_of(self.mails.next("confirm", "toni@example.com"))
        b = browser.Browser(self.server)
        b.send(b.get(link), link)
        session = api("GET", "/sessions", expect=200).data[0]
        self.assertEqual((session["browser"], session["address"]), ("Test Browser 1.0", "127.0.0.1"))
        self.server.api("DELETE", f"/users/me/sessions/{session['id']}", token=stranger, expect=404)
        api("DELETE", f"/sessions/{session['id']}", expect=204)
        self.assertEqual(b.get("/account").path, "/login?return=%2Faccount")
        api("DELETE", "/sessions", expect=204)

    def test_changes(self):
        token = self.user("Ned Name", "ned@example.com")
        api = lambda method, path, body=None, expect=None: self.server.api(method, "/users/me" + path, body, token=token, expect=expect)
        self.assertEqual(api("PUT", "", {"name": "Ned Newname"}, 200).data, {"name": "Ned Newname", "email": "ned@example.com", "pending_email": None})
        api("PUT", "", {"name": "x1"}, 422)
        api("PUT", "", {"email": "ned@example.org"}, 422)
        self.assertEqual(api("PUT", "", {"email": "admin@localhost", "current_password": PASSWORD}, 422).json["errors"], {"email": ["has already been taken"]})
        self.assertEqual(api("PUT", "", {"email": "ned@example.org", "current_password": PASSWORD}, 200).data["pending_email"], "ned@example.org")
        api("PUT", "/password", {"password": "short", "current_password": PASSWORD}, 422)
        api("PUT", "/password", {"password": "new horse battery", "current_password": "x"}, 422)
        api("PUT", "/password", {"password": "new horse battery", "current_password": PASSWORD}, 204)
        self.assertEqual((self.login("ned@example.com").status, self.login("ned@example.com", "new horse battery").status), (401, 200))
        api("DELETE", "", {"current_password": "x"}, 422)
        api("DELETE", "", {"current_password": "new horse battery"}, 204)
        api("GET", "", expect=401)

    def test_second_factor(self):
        token = self.user("Fay Factor", "fay@example.com")
        api = lambda method, path, body=None, expect=None: self.server.api(method, "/users/me" + path, body, token=token, expect=expect)
        self.assertEqual(api("GET", "/second_factor", expect=200).data, {"enabled": False, "recovery_codes_left": 0})
        api("PUT", "/second_factor", {"otp": "123456"}, 404)
        begun = api("POST", "/second_factor", {"current_password": PASSWORD}, 201).data
        self.assertIn(begun["secret"], begun["uri"])
        self.assertEqual(self.login("fay@example.com").status, 200)  # it does not count yet
        step = int(time.time()) // 30
        codes = api("PUT", "/second_factor", {"otp": totp(begun["secret"], step)}, 200).data["recovery_codes"]
        api("POST", "/second_factor", {"current_password": PASSWORD}, 409)
        self.assertEqual(self.login("fay@example.com").json["errors"]["otp"], ["can't be blank"])
        self.assertEqual(self.login("fay@example.com", "wrong password", otp=codes[0]).json["errors"].get("otp"), None)
        self.assertEqual(self.login("fay@example.com", otp=totp(begun["secret"], step)).status, 401)
        self.assertEqual(self.login("fay@example.com", otp=codes[0]).status, 200)
        self.assertEqual(api("GET", "/second_factor", expect=200).data, {"enabled": True, "recovery_codes_left": 9})
        fresh = api("POST", "/recovery_codes", {"current_password": PASSWORD}, 201).data["recovery_codes"]
        self.assertEqual((self.login("fay@example.com", otp=codes[1]).status, self.login("fay@example.com", otp=fresh[0]).status), (401, 200))
        api("DELETE", "/second_factor", {"current_password": PASSWORD}, 204)
        self.assertEqual(self.login("fay@example.com").status, 200)

    def test_members_are_told(self):
        bob, carol = self.user("Bob Builder", "bob@example.com"), self.user("Carol Clever", "carol@example.com")
        self.server.api("POST", "/orgs", {"name": "told"}, token=bob, expect=201)
        answer = self.server.api("POST", "/orgs/told/users/invite", {"email": "CAROL@example.com", "role": "admin"}, token=bob, expect=201)
        self.assertEqual(answer.headers["location"], "/api/orgs/told/users/carol@example.com")
        self.assertIn("Bob Builder added you", browser.text_of(self.mails.next("you_were_added", "carol@example.com")))
        self.server.api("POST", "/orgs/told/users", {"email": "carol@example.com", "role": "admin"}, token=bob, expect=422)
        self.server.api("POST", "/orgs/told/users", {"email": "new@example.com", "role": "view"}, token=carol, expect=204)
        self.assertIn("new@example.com", self.mails.next("someone_invited", "bob@example.com")["Subject"])
        self.server.api("DELETE", "/orgs/told/users/bob@example.com", token=carol, expect=204)
        self.assertEqual(self.server.api("GET", "/orgs/told", token=bob).status, 404)
        self.server.api("DELETE", "/orgs/told/users/carol@example.com", token=carol, expect=422)
        self.server.api("GET", "/orgs/told/invites", token=bob, expect=404)

    def test_old_token(self):
        """A token of the first generation, taken over from an older server, still opens."""
        self.user("Olaf Old", "olaf@example.com")
        text, digest = old_token()
        user = self.server.sql("SELECT id FROM users WHERE email = 'olaf@example.com'")[0]
        literal = f"'\\x{digest}'" if "DATABASE_URL" in self.server.env else f"x'{digest}'"
        self.server.sql(f"INSERT INTO user_tokens (user_id, context, token_sha512, inserted_at) VALUES ({user}, 'api', {literal}, 0)")
        for good, status in ((text, 200), (text[:-1] + ("0" if text[-1] != "0" else "1"), 401), (text + "0", 401), (text.replace("nhu_", "xhu_"), 401)):
            self.assertEqual(self.server.api("GET", "/users/me", token=good).status, status, good)


def old_token():
    """Its text and the SHA-512 of it. source: reference/user-api-and-cli 2.3"""
    import hashlib
    import zlib
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    body, number, crc = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5", zlib.crc32(b"a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5"), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        crc = digits[rest] + crc
    text = "nhu_" + body + crc
    return text, hashlib.sha512(text.encode()).hexdigest()


if __name__ == "__main__":
    unittest.main()
