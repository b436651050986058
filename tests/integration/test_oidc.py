"""Sign-in with an account of another issuer, against a real one (npm's oidc-provider, tests/integration/oidc) and through its own pages, as a browser does it. What a real issuer cannot be
made to do (wrong signatures, another audience) is in tests/unit/outbound."""

import base64
import hashlib
import hmac
import html
import http.client
import json
import re
import shutil
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.parse
from pathlib import Path

from browser import Mails, link_of
from nhtest import BUILD, DEADLINE, ROOT, Server, run

SECRET = "a secret: with / and %"


def issuer_folder():
    """oidc-provider at the version of the lock file, installed once into the build directory."""
    source, home = ROOT / "tests" / "integration" / "oidc", BUILD / "oidc-issuer"
    lock = (source / "package-lock.json").read_bytes()
    if not (home / "installed").exists() or (home / "installed").read_bytes() != lock:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, home)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=home)
        (home / "installed").write_bytes(lock)
    shutil.copy(source / "issuer.mjs", home)
    return home


class Issuer:
    """One process of the issuer; started again on the same port it has other keys."""

    def __init__(self):
        self.port, self.process = 0, None
        self.open()

    def open(self):
        self.process = subprocess.Popen(["node", str(issuer_folder() / "issuer.mjs"), str(self.port)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.port = int(self.process.stdout.readline() or self.failed())
        self.url = f"http://127.0.0.1:{self.port}"

    def failed(self):
        raise AssertionError("the issuer did not start:\n" + self.process.communicate(timeout=DEADLINE)[1])

    def configure(self, server, **config):
        self.process.stdin.write(json.dumps({"redirect": f"http://localhost:{server.web_port}/auth/oidc/callback", "alg": "ES256", **config}) + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "ready\n":
            self.failed()

    def close(self):
        self.process.kill()
        self.process.communicate(timeout=DEADLINE)

    def reopen(self, server, **config):
        self.close()
        self.open()
        self.configure(server, **config)


class Page:
    def __init__(self, url, status, headers, body):
        self.url, self.status, self.headers, self.body = url, status, headers, body.decode(errors="replace")

    @property
    def location(self):
        return urllib.parse.urljoin(self.url, self.headers["location"])

    def field(self, name):
        return html.unescape(re.search(rf'name="{name}" value="([^"]*)"', self.body).group(1))


class Browser:
    """Cookies by host and name, redirects by hand."""

    def __init__(self):
        self.cookies = {}

    def request(self, method, url, form=None):
        parts = urllib.parse.urlsplit(url)
        headers = {"Cookie": "; ".join(f"{name}={value}" for (host, name), value in self.cookies.items() if host == parts.netloc)}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=DEADLINE)
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), urllib.parse.urlencode(form) if form is not None else None,
                           {**headers, "Host": parts.netloc})
        answer = connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or []:
            (name, value), attributes = line.split(";")[0].split("=", 1), line.lower()
            gone = "max-age=0" in attributes or "expires=thu, 01 jan 1970" in attributes
            self.cookies.pop((parts.netloc, name), None) if gone else self.cookies.__setitem__((parts.netloc, name), value)
        page = Page(url, answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return page

    def get(self, url):
        return self.request("GET", url)

    def forget(self, issuer):
        """Whoever was signed in there."""
        self.cookies = {key: value for key, value in self.cookies.items() if key[0] != urllib.parse.urlsplit(issuer.url).netloc}

    def at_issuer(self, url, login, issuer):
        """Signs in and consents on the issuer's own pages; the address that it sends the browser back to."""
        page = self.get(url)
        while True:
            if page.status in (302, 303):
                if not page.location.startswith(issuer.url):
                    return page.location
                page = self.get(page.location)
                continue
            assert page.status == 200, (page.status, page.url, page.body)
            action = urllib.parse.urljoin(page.url, html.unescape(re.search(r'action="([^"]+)"', page.body).group(1)))
            prompt = page.field("prompt")
            page = self.request("POST", action, {"prompt": prompt, **({"login": login, "password": "any"} if prompt == "login" else {})})


class OidcCase(unittest.TestCase):
    """One server and one issuer for all tests of a class; each test has people of its own."""

    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.issuer = Issuer()
        cls.addClassCleanup(lambda: cls.issuer.close())
        cls.server = Server(env=cls.environment(cls.issuer)).start()
        cls.addClassCleanup(lambda: cls.server.end())
        cls.issuer.configure(cls.server)

    @classmethod
    def environment(cls, issuer, **settings):
        return {"OIDC_ISSUER": issuer.url, "OIDC_CLIENT_ID": "nerveshub", "OIDC_CLIENT_SECRET": SECRET, "OIDC_NAME": "Example & Sons", **cls.settings, **settings}

    def restart(self, **settings):
        """The same server with its data and other settings; on another port, so the issuer has to hear of it."""
        self.assertEqual(self.server.stop(), 0)
        database = {name: value for name, value in self.server.env.items() if name == "DATABASE_URL"}
        self.server.env = {**self.environment(self.issuer, **settings), **database}
        self.server.start()

    def again(self, config=None, **settings):
        self.restart(**settings)
        self.issuer.reopen(self.server, **(config or {}))

    def url(self, path):
        return f"http://localhost:{self.server.web_port}{path}"

    def answer(self, browser, login, path="/auth/oidc"):
        """Begins here, signs in there; the answer's address, not yet opened."""
        page = browser.get(self.url(path))
        self.assertEqual(page.status, 303, page.body)
        return browser.at_issuer(page.location, login, self.issuer)

    def sign_in(self, login, browser=None, path="/auth/oidc"):
        browser = browser or Browser()
        return browser, browser.get(self.answer(browser, login, path))

    def session(self, browser):
        return browser.cookies.get((f"localhost:{self.server.web_port}", "nerveshub_session"))

    def assert_refused(self, browser, page, status=403, text=""):
        self.assertEqual((page.status, self.session(browser)), (status, None), page.body)
        self.assertIn(text, html.unescape(page.body))

    def users(self, *logins):
        """Those of these people who have an account."""
        names = ", ".join(f"'{login}@example.com'" for login in logins)
        return [email.split("@")[0] for email in self.server.sql(f"SELECT email FROM users WHERE email IN ({names}) ORDER BY email")]


class SignIn(OidcCase):
    settings = {"OIDC_REGISTRATION": "true"}

    def test_new_then_known(self):
        browser, page = self.sign_in("alice")
        self.assertEqual(page.status, 303, page.body)
        self.assertTrue(self.session(browser))
        self.assertEqual(self.users("alice"), ["alice"])
        self.assertEqual(self.server.sql("SELECT name FROM users WHERE email = 'alice@example.com'"), ["Person alice"])
        # Another browser, the same person; and back to where it came from.
        browser, page = self.sign_in("alice", path="/auth/oidc?return=/account%3Ffrom%3Dhere")
        self.assertEqual((page.status, page.headers["location"]), (303, "/account?from=here"))
        self.assertEqual(self.server.sql("SELECT subject FROM user_identities WHERE email = 'alice@example.com'"), ["alice"])
        # Nobody signs in to it with an empty password, and nowhere else does it lead.
        for password in ("", "any"):
            self.assertEqual(self.server.api("POST", "/users/login", {"email": "alice@example.com", "password": password}).status // 100, 4)
        _, page = self.sign_in("alice", path="/auth/oidc?return=//evil.example.com")
        self.assertEqual(page.headers["location"], "/account")

    def test_answer_of_another_browser(self):
        owner, thief = Browser(), Browser()
        address = self.answer(owner, "bob")
        self.assert_refused(thief, thief.get(address), text="not begun in this browser")
        # Also where the other browser has an attempt of its own under way.
        self.answer(thief, "mallory")
        self.assert_refused(thief, thief.get(address), text="not meant for this browser")
        self.assertEqual(self.users("bob", "mallory"), [])

    def test_wrong_state_and_replay(self):
        browser = Browser()
        address = self.answer(browser, "carol")
        broken = re.sub(r"state=[^&]{8}", "state=AAAAAAAA", address)
        self.assertNotEqual(broken, address)
        self.assert_refused(browser, browser.get(broken), text="not meant for this browser")
        # The attempt is spent: not even the right answer is good now.
        self.assert_refused(browser, browser.get(address), text="not begun in this browser")
        # A code is good once: the cookie kept aside does not help.
        key = (f"localhost:{self.server.web_port}", "nerveshub_oidc")
        address = self.answer(browser, "carol")
        kept = browser.cookies[key]
        self.assertEqual(browser.get(address).status, 303)
        replay = Browser()
        replay.cookies[key] = kept
        self.assert_refused(replay, replay.get(address), text="used already")
        self.assertIn("refuses the code", self.server.log_text())
        # A changed cookie belongs to no state.
        browser = Browser()
        address = self.answer(browser, "carol")
        browser.cookies[key] = ("A" if browser.cookies[key][0] != "A" else "B") + browser.cookies[key][1:]
        self.assert_refused(browser, browser.get(address), text="not meant for this browser")

    def test_wrong_nonce_and_verifier(self):
        for name, why in (("nonce", "(nonce)"), ("code_challenge", "refuses the code")):
            browser = Browser()
            page = browser.get(self.url("/auth/oidc"))
            changed = re.sub(rf"([?&]{name}=)[^&]{{4}}", r"\1AAAA", page.location)
            self.assertNotEqual(changed, page.location)
            before = self.server.log_text().count(why)
            self.assert_refused(browser, browser.get(browser.at_issuer(changed, "dave", self.issuer)))
            self.assertEqual(self.server.log_text().count(why), before + 1)
        self.assertEqual(self.users("dave"), [])

    def test_another_issuers_answer(self):
        """RFC 9207: the answer says whose it is."""
        browser = Browser()
        address = self.answer(browser, "erin")
        self.assertIn("iss=", address)
        browser_two = Browser()
        address_two = self.answer(browser_two, "erin")
        self.assert_refused(browser, browser.get(re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fevil.example.com", address)))
        self.assert_refused(browser_two, browser_two.get(re.sub(r"&?iss=[^&]*", "", address_two)))
        self.assertEqual(self.users("erin"), [])

    def test_person_says_no(self):
        browser = Browser()
        page = browser.get(self.url("/auth/oidc"))
        page = browser.get(page.location)
        page = browser.get(page.location)
        page = browser.get(urllib.parse.urljoin(page.url, html.unescape(re.search(r'href="([^"]+/abort)"', page.body).group(1))))
        while page.location.startswith(self.issuer.url):
            page = browser.get(page.location)
        self.assertIn("error=access_denied", page.location)
        self.assert_refused(browser, browser.get(page.location), text="Example & Sons did not sign you in")

    def test_cookie(self):
        page = Browser().get(self.url("/auth/oidc"))
        cookie = page.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=Lax", "Max-Age=600", "Path=/"):
            self.assertIn(part, cookie)
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(page.location).query)
        self.assertEqual((query["response_type"], query["code_challenge_method"], query["scope"]), (["code"], ["S256"], ["openid email profile"]))
        self.assertEqual(len({*query["state"], *query["nonce"], *query["code_challenge"]}), 3)
        self.assertEqual(Browser().get(self.url("/auth/google")).status, 404)


class Restarts(OidcCase):
    settings = {"OIDC_REGISTRATION": "true"}

    def test_expired(self):
        """An hour's token of two hours ago. (How far clocks may differ: tests/unit/outbound.)"""
        self.again({"clock_s": -7200})
        browser, page = self.sign_in("alice")
        self.assert_refused(browser, page)
        self.assertIn("expired", self.server.log_text())

    def test_rotation(self):
        """Each time the issuer comes back it has other keys. The first unknown one has them fetched again at once, the next has to wait."""
        self.again()
        self.assertEqual(self.sign_in("bob")[1].status, 303)
        self.issuer.reopen(self.server)
        self.assertEqual(self.sign_in("bob")[1].status, 303)
        self.issuer.reopen(self.server)
        browser, page = self.sign_in("bob")
        self.assert_refused(browser, page)
        self.assertIn("less than a minute ago", self.server.log_text())

    def test_algorithms_and_clients(self):
        for config, settings in (
            ({"alg": "RS256", "claims_in_token": True}, {}),
            ({"alg": "PS256", "auth": "client_secret_post"}, {}),
            ({"alg": "EdDSA", "auth": "none"}, {"OIDC_CLIENT_SECRET": ""}),
        ):
            self.again(config, **settings)
            self.assertEqual(self.sign_in("carol")[1].status, 303, config)
        self.assertEqual(self.server.sql("SELECT subject FROM user_identities WHERE subject = 'carol'"), ["carol"])
        self.again(OIDC_CLIENT_SECRET="another")
        browser, page = self.sign_in("carol")
        self.assert_refused(browser, page, 502)
        self.assertIn("are client id and secret right?", self.server.log_text())
        self.assertNotIn(SECRET, self.server.log_text())

    def test_issuer_down(self):
        self.again()
        browser = Browser()
        address = self.answer(browser, "dave")
        self.issuer.close()
        self.assert_refused(browser, browser.get(address), 502, "cannot be asked")
        # What it said of itself is remembered, so the browser is sent there all the same; a server that never asked cannot.
        self.assertEqual(Browser().get(self.url("/auth/oidc")).status, 303)
        self.restart()
        self.assertEqual(Browser().get(self.url("/auth/oidc")).status, 502)
        self.issuer.open()
        self.issuer.configure(self.server)
        self.assertEqual(self.sign_in("dave")[1].status, 303)


class Policy(OidcCase):
    def add_user(self, email):
        self.server.sql("INSERT INTO users (name, email, email_key, password_hash, confirmed_at, server_admin, inserted_at, updated_at) "
                        f"VALUES ('Person', '{email}', '{email}', '', 1, 0, 1, 1)")

    def test_whose_account(self):
        self.add_user("alice@example.com")
        browser, page = self.sign_in("alice")
        self.assert_refused(browser, page, text="not connected with Example & Sons")
        browser, page = self.sign_in("bob")
        self.assert_refused(browser, page, text="new accounts are not made")
        self.again(OIDC_LINK_BY_EMAIL="true", OPEN_FOR_REGISTRATIONS="true", OIDC_ALLOWED_DOMAINS="example.org, EXAMPLE.com")
        self.assertEqual(self.sign_in("alice")[1].status, 303)
        self.assertEqual(self.sign_in("bob")[1].status, 303)
        browser, page = self.sign_in("doubtful")
        self.assert_refused(browser, page, text="organization")
        # Another issuer's alice is somebody else, though it says the same address, and even the same subject.
        first = self.issuer
        type(self).issuer = Issuer()
        self.addCleanup(self.issuer.close)
        self.restart(OIDC_REGISTRATION="true")
        self.issuer.configure(self.server)
        browser, page = self.sign_in("alice")
        self.assert_refused(browser, page, text="not connected")
        browser, page = self.sign_in("doubtful")
        self.assert_refused(browser, page, text="does not vouch")
        # People of other organizations do not come in any more once the operator says so, whoever they were.
        type(self).issuer = first
        self.again(OIDC_ALLOWED_DOMAINS="example.org")
        browser, page = self.sign_in("alice")
        self.assert_refused(browser, page, text="organization")
        self.assertEqual(self.users("alice", "bob", "doubtful"), ["alice", "bob"])
        self.assertEqual(sorted(self.server.sql("SELECT subject FROM user_identities")), ["alice", "bob"])


class Invitation(OidcCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="nhmail-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.settings = {"NERVESHUB_MAIL_FOLDER": str(cls.folder)}
        super().setUpClass()

    def test_invitation_opens_registration(self):
        self.server.login()
        self.server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        self.server.api("POST", "/orgs/acme/users/invite", {"email": "Frank@example.com", "role": "view"}, expect=204)
        path = link_of(Mails(self.folder, self.server.process).next("invitation"))
        link = f'href="/auth/oidc?return={urllib.parse.quote(path, safe="")}"'
        self.assertIn(link, Browser().get(self.url(path)).body)
        # By that link only, and only that address.
        browser, page = self.sign_in("frank")
        self.assert_refused(browser, page, text="new accounts are not made")
        browser, page = self.sign_in("grace", path=f"/auth/oidc?return={path}")
        self.assert_refused(browser, page, text="new accounts are not made")
        browser, page = self.sign_in("frank", path=f"/auth/oidc?return={path}")
        self.assertEqual((page.status, page.headers["location"]), (303, path), page.body)
        page = browser.request("POST", self.url(path), {"_csrf_token": browser.get(self.url(path)).field("_csrf_token")})
        self.assertEqual(page.headers["location"], "/account?notice=joined")
        self.assertEqual([(u["email"], u["role"]) for u in self.server.api("GET", "/orgs/acme/users", expect=200).data if u["role"] != "admin"], [("frank@example.com", "view")])


class Connect(OidcCase):
    """Accounts that exist already, and what their owners do."""

    settings = {"OIDC_REGISTRATION": "true", "OIDC_SECOND_FACTOR": "true"}

    def owner(self):
        """A browser in which the administrator is signed in by password."""
        browser, password = Browser(), (self.server.data_dir / "admin-password").read_text().strip()
        token = browser.get(self.url("/login")).field("_csrf_token")
        page = browser.request("POST", self.url("/login"), {"_csrf_token": token, "email": "admin@localhost", "password": password})
        self.assertEqual(page.status, 303, page.body)
        return browser, password

    def post(self, browser, path, **form):
        return browser.request("POST", self.url(path), {"_csrf_token": browser.get(self.url("/account")).field("_csrf_token"), **form})

    def connect(self, browser, login, password=""):
        page = self.post(browser, "/auth/oidc/connect", current_password=password)
        self.assertEqual(page.status, 200, page.body)
        browser.forget(self.issuer)
        link = html.unescape(re.search(r'<a href="(http[^"]+)"', page.body).group(1))
        return browser.at_issuer(link, login, self.issuer)

    def test_connect_and_disconnect(self):
        self.assertIn('href="/auth/oidc?return=%2Faccount"', Browser().get(self.url("/login?return=/account")).body)
        browser, password = self.owner()
        # Not without the password, and not by a form of another page.
        self.assertEqual(self.post(browser, "/auth/oidc/connect").status, 422)
        self.assertEqual(self.post(browser, "/auth/oidc/connect", current_password="wrong").status, 422)
        self.assertEqual(browser.request("POST", self.url("/auth/oidc/connect"), {"current_password": password}).status, 403)
        self.assertEqual(Browser().request("POST", self.url("/auth/oidc/connect"), {"current_password": password}).status, 403)
        page = browser.get(self.connect(browser, "alice", password))
        self.assertEqual((page.status, page.headers["location"]), (303, "/account?notice=connected"), page.body)
        page = browser.get(page.location)
        self.assertIn("alice@example.com", page.body)
        self.assertIn(f"{self.issuer.url}", page.body)
        # It signs in to that account from now on, and no account of the address comes to be.
        other, _ = self.sign_in("alice")
        self.assertIn("admin@localhost", other.get(self.url("/account")).body)
        self.assertEqual(self.users("alice"), [])
        # What was begun in a session is answered in that session only: not after it ended, and not in another's.
        address = self.connect(browser, "carol", password)
        session = browser.cookies.pop((f"localhost:{self.server.web_port}", "nerveshub_session"))
        self.assert_refused(browser, browser.get(address), text="not begun in this browser")
        browser.cookies[f"localhost:{self.server.web_port}", "nerveshub_session"] = session
        # An identity is one account's. Bob has no password, so what lets him connect is that he has just signed in.
        bob, page = self.sign_in("bob")
        self.assertEqual(page.headers["location"], "/welcome")
        page = bob.get(self.connect(bob, "alice"))
        self.assertEqual(page.status, 403)
        self.assertIn("connected with another account", page.body)
        ids = self.server.sql("SELECT id FROM user_identities WHERE subject = 'alice'") + self.server.sql("SELECT id FROM user_identities WHERE subject = 'bob'")
        self.assertEqual(self.post(bob, "/account/identities/remove", id=ids[0]).status, 409)
        self.assertEqual(self.post(bob, "/account/identities/remove", id=ids[1]).status, 409)
        self.server.sql("UPDATE user_tokens SET inserted_at = inserted_at - 601000000 WHERE context = 'session'")
        self.assertEqual(self.post(bob, "/auth/oidc/connect").status, 403)
        page = self.post(browser, "/account/identities/remove", id=ids[0])
        self.assertEqual(page.headers["location"], "/account?notice=disconnected")
        self.assertEqual(self.sign_in("alice")[1].status, 303)
        self.assertEqual(self.users("alice"), ["alice"])

    def test_second_factor(self):
        browser, _ = self.sign_in("dave")
        page = self.post(browser, "/account/second-factor")
        secret = base64.b32decode(re.search(r'class="secret">([A-Z2-7 ]+)', page.body).group(1).replace(" ", ""))
        page = self.post(browser, "/account/second-factor/confirm", code=totp(secret, int(time.time()) // 30))
        codes = re.findall(r"[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}", page.body)
        self.assertEqual(len(codes), 10, page.body)
        # The issuer's word is not all that this server wants.
        browser, page = self.sign_in("dave", path="/auth/oidc?return=/account%3Fhere")
        self.assertEqual((page.status, self.session(browser)), (303, None))
        self.assertTrue(page.headers["location"].startswith("/login/second-factor?"))
        page = browser.get(page.location)
        form = {name: page.field(name) for name in ("_csrf_token", "return", "remember")}
        page = browser.request("POST", self.url("/login/second-factor"), {**form, "code": codes[0]})
        self.assertEqual((page.status, page.headers["location"]), (303, "/account?here"))
        self.assertTrue(self.session(browser))


def totp(secret, step):
    mac = hmac.new(secret, struct.pack(">Q", step), hashlib.sha1).digest()
    at = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[at:at + 4])[0] & 0x7FFFFFFF) % 1000000:06d}"


if __name__ == "__main__":
    unittest.main()
