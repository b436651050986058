"""The pages without scripts: signing in and out, cookies and forgery, a command line that is let in, registration, reset, invitations, the account, the second factor."""

import base64
import hashlib
import hmac
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.parse
from pathlib import Path

import browser
import nhtest

PASSWORD = "correct horse battery"


def totp(secret, step=None):
    step = int(time.time()) // 30 if step is None else step
    mac = hmac.new(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1).digest()
    at = mac[-1] & 15
    return f"{(int.from_bytes(mac[at:at + 4], 'big') & 0x7fffffff) % 1000000:06}"


class FormsCase(unittest.TestCase):
    extra = ("--open-registrations", "true")

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="nhmail-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.server = nhtest.Server("--mail-folder", str(cls.folder), *cls.extra).start()
        cls.mails = browser.Mails(cls.folder, cls.server.process)
        cls.admin_password = (cls.server.data_dir / "admin-password").read_text().strip()
        cls.server.login()

    @classmethod
    def tearDownClass(cls):
        cls.server.end()

    def browser(self, **kwargs):
        return browser.Browser(self.server, **kwargs)

    def registered(self, name, address):
        """A browser that is signed in with a new account whose address is confirmed."""
        b = self.browser()
        self.assertIn("Check your mail", b.send(b.get("/register"), "/register", name=name, email=address, password=PASSWORD).text)
        link = browser.link_of(self.mails.next("confirm", address))
        page = b.send(b.get(link), link)
        self.assertEqual(page.path, "/welcome")
        return b


class Doors(FormsCase):
    def test_signing_in_and_out(self):
        b = self.browser()
        self.assertEqual(b.get("/account").path, "/login?return=%2Faccount")
        wrong = b.login("admin@localhost", "not the password")
        self.assertEqual(wrong.status, 422)
        self.assertIn("Wrong e-mail address or password", wrong.text)
        self.assertNotIn("not the password", wrong.source)
        page = b.login("admin@localhost", self.admin_password)
        self.assertEqual((page.status, page.path), (200, "/account"))
        self.assertIn("This browser. Test Browser 1.0, from 127.0.0.1", page.text)
        self.assertEqual(b.get("/login").path, "/account")
        session = b.cookies["nerveshub_session"]
        self.assertIn("You are signed out", b.send(b.get("/logout"), "/logout").text)
        b.cookies["nerveshub_session"] = session
        self.assertEqual(b.get("/account").path, "/login?return=%2Faccount")  # ended at the server, not only in the browser

    def test_cookies(self):
        b = self.browser()
        b.login("admin@localhost", self.admin_password)
        brief = next(c for c in b.seen if c.startswith("nerveshub_session="))
        self.assertTrue("HttpOnly" in brief and "SameSite=Lax" in brief and "Path=/" in brief)
        self.assertFalse("Max-Age" in brief or "Domain" in brief)
        c = self.browser()
        c.login("admin@localhost", self.admin_password, remember="true")
        self.assertIn("Max-Age=5184000", next(x for x in c.seen if x.startswith("nerveshub_session=")))
        self.assertNotIn(c.cookies["nerveshub_session"], "".join(str(x) for x in self.server.sql("SELECT note FROM user_tokens")))

    def test_no_session_can_be_planted(self):
        attacker, victim = self.browser(), self.browser()
        attacker.login("admin@localhost", self.admin_password)
        for planted in (attacker.cookies["nerveshub_session"], "nhu_planted", "x" * 5000):
            victim.cookies["nerveshub_session"] = planted
            victim.send(victim.get("/logout"), "/logout") if planted == attacker.cookies["nerveshub_session"] else None
            page = victim.login("admin@localhost", self.admin_password)
            self.assertEqual(page.path, "/account")
            self.assertNotEqual(victim.cookies["nerveshub_session"], planted)
            victim.cookies.clear()

    def test_forms_of_others_are_refused(self):
        b = self.browser()
        page = b.login("admin@localhost", self.admin_password)
        fields = {**page.form("/account").fields, "name": "Mallory"}
        other = self.browser()
        foreign = other.get("/login").form("/login").fields["_csrf_token"]
        for wrong in ("", "x", foreign):
            self.assertEqual(b.post("/account", {**fields, "_csrf_token": wrong}).status, 403)
        self.assertEqual(b.post("/account", fields, {"Sec-Fetch-Site": "cross-site"}).status, 403)
        self.assertEqual(b.follow(*b.request("POST", "/account", "{}", {"Content-Type": "application/json"}), "/account").status, 415)
        before_sign_in = self.browser()
        token = before_sign_in.get("/login").form("/login").fields["_csrf_token"]
        before_sign_in.login("admin@localhost", self.admin_password)
        self.assertEqual(before_sign_in.post("/account", {**fields, "_csrf_token": token}).status, 403)
        self.assertNotIn("Mallory", b.get("/account").source)
        self.assertIn("Saved", b.post("/account", fields).text)
        b.post("/account", {**b.get("/account").form("/account").fields, "name": "Admin"})

    def test_redirects_stay_here(self):
        for target, path in (("//evil.example", "/account"), ("https://evil.example/", "/account"), ("/\\evil.example", "/account"), ("/a\r\nSet-Cookie: x=y", "/account"),
                             ("/logout", "/logout"), ("javascript:alert(1)", "/account")):
            b = self.browser()
            page = b.get("/login?" + urllib.parse.urlencode({"return": target}))
            self.assertEqual(b.send(page, "/login", email="admin@localhost", password=self.admin_password).path, path)
            self.assertEqual(b.get("/login?" + urllib.parse.urlencode({"return": target})).path, path)

    def test_what_comes_from_outside_is_escaped(self):
        evil = "\"><script>alert(1)</script>"
        b = self.browser(agent=evil)
        page = b.login(evil, "x")
        self.assertIn("&quot;&gt;&lt;script&gt;", page.source)
        page = b.login("admin@localhost", self.admin_password)  # check_promises finds a script element
        self.assertIn("&lt;script&gt;", page.source)
        b.get("/login?notice=" + urllib.parse.quote(evil))
        b.get("/auth/cli/" + urllib.parse.quote(evil, safe=""))
        self.assertEqual(self.browser().get("/confirm/" + urllib.parse.quote(evil, safe="")).status, 404)

    def test_guessing_is_slowed_down(self):
        b = self.browser()
        page = b.get("/login")
        answers = [b.send(page, "/login", email="victim@example.com", password=f"guess {i}").status for i in range(45)]
        self.assertIn(429, answers)
        self.assertEqual(self.server.api("POST", "/users/login", {"email": "VICTIM@example.com", "password": "x"}, token="").status in (401, 429), True)
        self.assertEqual(b.login("admin@localhost", self.admin_password).path, "/account")  # others come in

    def test_stylesheet(self):
        status, headers, body = self.browser().request("GET", "/forms.css")
        self.assertEqual((status, headers["content-type"]), (200, "text/css; charset=utf-8"))
        self.assertIn(b"prefers-color-scheme:dark", body)
        self.assertNotRegex(body.decode(), r"url\(|@import")

    def test_command_line_is_let_in(self):
        """The whole way of `nh user login`."""
        begun = self.server.api("POST", "/auth/cli_session", {"note": "nh <test>"}, token="", expect=200).data
        poll = f"/auth/cli_session/{begun['token']}"
        path = urllib.parse.urlsplit(begun["url"]).path
        b = self.browser()
        page = b.get(path)
        self.assertEqual(page.path, "/login?return=" + urllib.parse.quote(path, safe=""))
        page = b.send(page, "/login", email="admin@localhost", password=self.admin_password)
        self.assertEqual(page.path, path)
        self.assertIn(str(begun["confirmation_code"]), page.text)
        self.assertIn("nh <test>", page.text)
        self.assertEqual(self.server.api("GET", poll, token="", expect=200).data, {"status": "waiting"})
        page = b.send(page, path)
        self.assertIn("You're all set to use the CLI", page.text)
        token = self.server.api("GET", poll, token="", expect=200).data["user_token"]
        self.assertEqual(self.server.api("GET", "/users/me", token=token, expect=200).data["email"], "admin@localhost")
        self.assertEqual(self.server.api("GET", poll, token="").status, 404)
        self.assertIn("CLI authentication failed :(", b.get(path).text)
        self.assertEqual(b.get("/auth/cli/3a7fbc14-0000-4000-8000-000000000000").status, 404)

    def test_nh_user_login(self):
        """`nh user login` itself, from the address that it prints to the token that it keeps."""
        home = tempfile.mkdtemp(prefix="nhhome-")
        self.addCleanup(shutil.rmtree, home)
        env = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "NERVES_HUB_URI": f"http://localhost:{self.server.web_port}"}
        nh = subprocess.Popen([nhtest.program("nh"), "user", "login"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        try:
            shown = ""
            while "Waiting for confirmation" not in shown:
                line = nh.stdout.readline()
                self.assertTrue(line, shown)
                shown += line
            path = re.search(r"http://\S+(/auth/cli/\S+)", shown)[1]
            code = re.search(r"Confirmation code: ([0-9 ]+)", shown)[1].replace(" ", "")
            b = self.browser()
            page = b.send(b.get(path), "/login", email="admin@localhost", password=self.admin_password)
            self.assertIn(code, page.text)
            b.send(page, path)
            shown += nh.communicate(timeout=nhtest.DEADLINE)[0]
        finally:
            nh.kill()
            nh.wait()
        self.assertEqual(nh.returncode, 0, shown)
        self.assertIn("Successfully authenticated", shown)
        self.assertIn("admin@localhost", nhtest.run(nhtest.program("nh"), "user", "whoami", env=env).stdout)


class Accounts(FormsCase):
    def test_registration(self):
        b = self.browser()
        page = b.send(b.get("/register"), "/register", name="x1", email="nobody", password="short")
        self.assertEqual(page.status, 422)
        for text in ("has invalid characters", "must have the @ sign and no spaces", "should be at least 12 character(s)"):
            self.assertIn(text, page.text)
        b.send(page, "/register", name="Grace Hopper", email="grace@example.com", password=PASSWORD)
        mail = self.mails.next("confirm", "grace@example.com")
        link = browser.link_of(mail)
        refused = b.login("grace@example.com", PASSWORD)
        self.assertEqual(refused.status, 403)
        self.assertIn("Confirm your address", refused.text)
        again = browser.link_of(self.mails.next("confirm", "grace@example.com"))
        self.assertEqual(b.get(link).status, 404)  # the newer one counts
        page = b.get(again)
        self.assertIn("Grace Hopper", page.text)
        self.assertEqual(b.get("/account").path, "/login?return=%2Faccount")  # looking at the link signs nobody in
        page = b.send(page, again)
        self.assertEqual(page.path, "/welcome")
        self.assertEqual(page.form("/welcome").fields["org"], "grace-hopper-team")
        self.assertIn("Hello Grace Hopper,", browser.text_of(self.mails.next("welcome", "grace@example.com")))
        self.assertEqual(b.get(again).status, 404)
        page = b.send(page, "/welcome", org="hopper works", product="compiler")
        self.assertEqual(page.status, 422)
        self.assertIn("must be letters", page.text)
        page = b.send(page, "/welcome", org="hopper", product="compiler")
        self.assertEqual(page.path, "/account?notice=made")
        token = self.server.api("POST", "/users/login", {"email": "grace@example.com", "password": PASSWORD}, token="", expect=200).data["token"]
        self.assertEqual(len(self.server.api("GET", "/orgs/hopper/products/compiler/shared_secrets", token=token, expect=200).data), 1)

    def test_taken_address(self):
        self.registered("Tim First", "tim@example.com")
        b = self.browser()
        self.assertIn("has already been taken", b.send(b.get("/register"), "/register", name="Tim Second", email="TIM@example.com", password=PASSWORD).text)

    def test_reset(self):
        old = self.registered("Rita Reset", "rita@example.com")
        token = self.server.api("POST", "/users/login", {"email": "rita@example.com", "password": PASSWORD}, token="", expect=200).data["token"]
        b = self.browser()
        known = b.send(b.get("/password-reset"), "/password-reset", email="RITA@example.com")
        unknown = b.send(b.get("/password-reset"), "/password-reset", email="nobody@example.com")
        self.assertEqual(known.text, unknown.text)
        link = browser.link_of(self.mails.next("reset", "rita@example.com"))
        page = b.get(link)
        self.assertEqual(b.send(page, link, password=PASSWORD + "!", again="else").status, 422)
        self.assertEqual(b.send(page, link, password="short", again="short").status, 422)
        page = b.send(page, link, password="another horse battery", again="another horse battery")
        self.assertEqual(page.path, "/account?notice=password")
        self.mails.next("password_reset", "rita@example.com")
        self.assertEqual(b.get(link).status, 404)
        self.assertEqual(old.get("/account").path, "/login?return=%2Faccount")
        self.assertEqual(self.server.api("GET", "/users/me", token=token).status, 401)
        self.assertEqual(self.browser().login("rita@example.com", PASSWORD).status, 422)
        self.assertEqual(self.browser().login("rita@example.com", "another horse battery").path, "/account")
        self.assertFalse(list(self.folder.glob("*nobody*")))

    def test_invitation(self):
        self.server.api("POST", "/orgs", {"name": "guests"}, expect=201)
        self.assertEqual(self.server.api("POST", "/orgs/guests/users/invite", {"email": "ivy@example.com", "role": "manage"}, expect=204).body, b"")
        self.server.api("POST", "/orgs/guests/users/invite", {"email": "no-address", "role": "manage"}, expect=422)
        self.server.api("POST", "/orgs/guests/users/invite", {"email": "x@example.com", "role": "king"}, expect=422)
        invites = self.server.api("GET", "/orgs/guests/invites", expect=200).data
        self.assertEqual([(i["email"], i["role"]) for i in invites], [("ivy@example.com", "manage")])
        mail = self.mails.next("invitation", "ivy@example.com")
        self.assertIn("guests", mail["Subject"])
        link = browser.link_of(mail)
        stranger = self.registered("Sue Stranger", "sue@example.com")
        self.assertIn("another address", stranger.get(link).text)
        self.assertEqual(stranger.post(link, {"_csrf_token": stranger.get("/account").form("/account").fields["_csrf_token"]}).status, 404)
        b = self.browser()
        page = b.get(link)
        self.assertIn("guests", page.text)
        self.assertEqual(b.send(page, link, name="Ivy Invited", password="short").status, 422)
        self.assertEqual(b.send(page, link, name="Ivy Invited", password=PASSWORD).path, "/account?notice=joined")
        self.mails.next("member_added", "admin@localhost")
        self.assertEqual(b.get(link).status, 404)
        self.assertEqual(self.server.api("GET", "/orgs/guests/users/ivy@example.com", expect=200).data, {"name": "Ivy Invited", "email": "ivy@example.com", "role": "manage"})
        self.assertEqual(self.browser().login("ivy@example.com", PASSWORD).path, "/account")  # the link confirmed the address
        self.assertEqual(self.server.api("POST", "/orgs/guests/users/invite", {"email": "sue@example.com", "role": "view"}, expect=201).data["role"], "view")
        self.assertIn("added you", browser.text_of(self.mails.next("you_were_added", "sue@example.com")))
        self.server.api("POST", "/orgs/guests/users/invite", {"email": "rob@example.com", "role": "view"}, expect=204)
        rob = browser.link_of(self.mails.next("invitation", "rob@example.com"))
        row = self.server.api("GET", "/orgs/guests/invites", expect=200).data[0]["id"]
        self.server.api("DELETE", f"/orgs/guests/invites/{row}", expect=204)
        self.server.api("DELETE", f"/orgs/guests/invites/{row}", expect=404)
        self.assertEqual(b.get(rob).status, 404)

    def test_name_address_and_password(self):
        b = self.registered("Nora Name", "nora@example.com")
        page = b.get("/account")
        page = b.send(page, "/account", name="Nora Newname", email="nora@example.com")
        self.assertIn("Saved", page.text)
        self.assertEqual(page.form("/account").fields["name"], "Nora Newname")
        self.assertEqual(b.send(page, "/account", email="nora@example.org", current_password="wrong").status, 422)
        page = b.send(page, "/account", email="nora@example.org", current_password=PASSWORD)
        self.assertEqual(page.path, "/account?notice=pending")
        self.assertEqual(page.form("/account").fields["email"], "nora@example.com")
        self.assertIn("nora@example.org", browser.text_of(self.mails.next("address_changed", "nora@example.com")))
        link = browser.link_of(self.mails.next("confirm", "nora@example.org"))
        self.assertEqual(b.send(b.get(link), link).form("/account").fields["email"], "nora@example.org")
        page = b.get("/account/password")
        self.assertEqual(b.send(page, "/account/password", current_password="wrong", password=PASSWORD, again=PASSWORD).status, 422)
        self.assertEqual(b.send(page, "/account/password", current_password=PASSWORD, password="new horse battery", again="new horse battery").path, "/account?notice=password")
        self.assertIn("/password-reset/", browser.link_of(self.mails.next("password_changed", "nora@example.org")))
        self.assertEqual(self.browser().login("nora@example.org", "new horse battery").path, "/account")

    def test_tokens_and_sessions(self):
        b, other = self.registered("Tessa Tokens", "tessa@example.com"), self.browser(agent="Other Browser")
        other.login("tessa@example.com", PASSWORD)
        page = b.get("/account")
        self.assertIn("Other Browser", page.text)
        self.assertEqual(b.send(page, "/account/tokens", note="ci", current_password="wrong").status, 422)
        page = b.send(page, "/account/tokens", note="ci", current_password=PASSWORD)
        token = re.search(r"nhu_\w+", page.text)[0]
        self.server.api("GET", "/users/me", token=token, expect=200)
        page = b.get("/account")
        self.assertNotIn(token, page.source)
        self.assertNotIn("ci; made never", page.text)
        revoke = next(f.action for f in page.forms if re.fullmatch(r"/account/tokens/\d+/delete", f.action))
        self.assertIn("worth nothing", b.send(page, revoke).text)
        self.server.api("GET", "/users/me", token=token, expect=401)
        self.assertEqual(b.send(page, revoke).status, 404)
        ends = [f.action for f in other.get("/account").forms if re.fullmatch(r"/account/sessions/\d+/delete", f.action)]
        self.assertEqual(len(ends), 2)
        stranger = self.registered("Stan Stranger", "stan@example.com")
        fields = stranger.get("/account").form("/account/sessions").fields
        self.assertEqual(stranger.post(ends[0], fields).status, 404)
        b.send(b.get("/account"), "/account/sessions")
        self.assertEqual(other.get("/account").path, "/login?return=%2Faccount")
        self.assertEqual(b.get("/account").path, "/account")

    def test_second_factor(self):
        b = self.registered("Sam Second", "sam@example.com")
        page = b.send(b.get("/account/second-factor"), "/account/second-factor", current_password=PASSWORD)
        self.assertIn("svg", page.tags)
        secret = re.search(r"secret=([A-Z2-7]{32})&", page.source.replace("&amp;", "&"))[1]
        self.assertEqual(b.send(page, "/account/second-factor/confirm", code="000000" if totp(secret) != "000000" else "000001").status, 422)
        step = int(time.time()) // 30
        page = b.send(page, "/account/second-factor/confirm", code=totp(secret, step))
        recovery = re.findall(r"[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}", page.text)
        self.assertEqual(len(recovery), 10)
        self.mails.next("second_factor_on", "sam@example.com")
        api = lambda **extra: self.server.api("POST", "/users/login", {"email": "sam@example.com", "password": PASSWORD, **extra}, token="")
        needed = api()
        self.assertEqual(needed.status, 401)
        self.assertEqual(needed.json["errors"]["otp"], ["can't be blank"])
        c = self.browser()
        page = c.login("sam@example.com", PASSWORD, remember="true")
        self.assertTrue(page.path.startswith("/login/second-factor"))
        self.assertEqual(c.get("/account").path, "/login?return=%2Faccount")
        page = c.get(page.path)
        self.assertEqual(c.send(page, "/login/second-factor", code=totp(secret, step)).status, 422)  # it was used to switch the factor on
        page = c.send(page, "/login/second-factor", code=recovery[0].lower())
        self.assertEqual(page.path, "/account")
        self.assertIn("9 recovery codes left", page.text)
        self.assertIn("Max-Age=5184000", next(x for x in c.seen if x.startswith("nerveshub_session=")))
        self.assertEqual(api(otp=recovery[0]).status, 401)
        self.assertEqual(api(otp=totp(secret, step + 1)).status, 200)
        self.assertEqual(api(otp=totp(secret, step + 1)).status, 401)
        self.assertNotIn(secret, str(self.server.sql("SELECT totp_secret FROM users WHERE totp_secret IS NOT NULL")))
        # a reset does not go round it
        r = self.browser()
        r.send(r.get("/password-reset"), "/password-reset", email="sam@example.com")
        link = browser.link_of(self.mails.next("reset", "sam@example.com"))
        page = r.send(r.get(link), link, password=PASSWORD, again=PASSWORD)
        self.assertEqual(page.path, "/login?notice=reset")
        # from the fifth wrong code on nothing is taken for a while, not even a right one
        for _ in range(5):
            api(otp="000000" if totp(secret) != "000000" else "000001")
        self.assertEqual(api(otp=recovery[1]).status, 429)

    def test_second_factor_off(self):
        b = self.registered("Olga Off", "olga@example.com")
        page = b.send(b.get("/account/second-factor"), "/account/second-factor", current_password=PASSWORD)
        secret = re.search(r"secret=([A-Z2-7]{32})&", page.source.replace("&amp;", "&"))[1]
        b.send(page, "/account/second-factor/confirm", code=totp(secret))
        page = b.send(b.get("/account/recovery-codes"), "/account/recovery-codes", current_password=PASSWORD)
        self.assertEqual(len(re.findall(r"[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}", page.text)), 10)
        self.assertEqual(b.send(b.get("/account/second-factor/off"), "/account/second-factor/off", current_password="x").status, 422)
        b.send(b.get("/account/second-factor/off"), "/account/second-factor/off", current_password=PASSWORD)
        self.mails.next("second_factor_off", "olga@example.com")
        self.assertEqual(self.browser().login("olga@example.com", PASSWORD).path, "/account")

    def test_deletion(self):
        b = self.registered("Dora Deleted", "dora@example.com")
        b.send(b.get("/welcome"), "/welcome", org="doras", product="thing")
        page = b.send(b.get("/account/delete"), "/account/delete", confirm="dora@example.com", current_password=PASSWORD)
        self.assertEqual(page.status, 422)
        self.assertIn("The organization doras has products", page.text)
        token = self.server.api("POST", "/users/login", {"email": "dora@example.com", "password": PASSWORD}, token="", expect=200).data["token"]
        self.server.api("DELETE", "/orgs/doras/products/thing", token=token, expect=204)
        self.assertEqual(b.send(page, "/account/delete", confirm="else@example.com", current_password=PASSWORD).status, 422)
        self.assertIn("The account is deleted", b.send(page, "/account/delete", confirm="dora@example.com", current_password=PASSWORD).text)
        self.mails.next("account_deleted", "dora@example.com")
        self.server.api("GET", "/users/me", token=token, expect=401)
        self.assertEqual(self.browser().login("dora@example.com", PASSWORD).status, 422)
        self.registered("Dora Again", "dora@example.com")  # the address is free

    def test_last_admin_stays(self):
        b = self.registered("Lena Last", "lena@example.com")
        token = self.server.api("POST", "/users/login", {"email": "lena@example.com", "password": PASSWORD}, token="", expect=200).data["token"]
        self.server.api("POST", "/orgs", {"name": "lenas"}, token=token, expect=201)
        self.server.api("POST", "/orgs/lenas/users", {"email": "admin@localhost", "role": "view"}, token=token, expect=201)
        self.server.api("POST", "/orgs/lenas/leave", {}, token=token, expect=422)
        self.assertIn("last admin", b.send(b.get("/account/delete"), "/account/delete", confirm="lena@example.com", current_password=PASSWORD).text)
        self.server.api("POST", "/orgs/lenas/leave", {}, expect=204)
        self.assertIn("admin@localhost left", browser.text_of(self.mails.next("member_left", "lena@example.com")))
        self.assertEqual(self.server.api("GET", "/orgs/lenas").status, 404)


class Secure(unittest.TestCase):
    def test_over_https_cookies_cannot_be_planted(self):
        """Behind a proxy that speaks https the public address decides."""
        server = nhtest.Server("--web-scheme", "https", "--web-url-port", "443").start()
        try:
            b = browser.Browser(server)
            page = b.login("admin@localhost", (server.data_dir / "admin-password").read_text().strip())
            self.assertEqual(page.path, "/account")
            session = next(c for c in b.seen if "_session=" in c)
            self.assertTrue(session.startswith("__Host-nerveshub_session=") and "; Secure" in session and "Domain" not in session, session)
            b = browser.Browser(server)
            self.assertIn("not open for registration", b.get("/register").text)
            self.assertIn("sends no mails", b.get("/password-reset").text)
        finally:
            server.end()


if __name__ == "__main__":
    unittest.main()
