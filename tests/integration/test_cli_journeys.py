"""The journeys of reference user-api-and-cli 20.2: each command as it is typed there, and the calls it makes, in their order."""

import asyncio
import json
import re
import subprocess
import unittest
import urllib.parse

import browser
from clitest import CliCase
from nhtest import DEADLINE, Device, program

ORG, PRODUCT = "/api/orgs/acme", "/api/orgs/acme/products/widget"
# The older client's key file for the seed 00 01 … 1f and the password "secret". source: reference/user-api-and-cli 18.4
OLD_KEY = ("g3QAAAAFdwlwcm90ZWN0ZWRtAAAAYIN0AAAABHcDYWxnbQAAAAtQQkVTMi1IUzUxMncDZW5jbQAAAAdBMjU2R0NNdwNwMmNiAAAQAHcDcDJzbQAAACBAQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpb"
           "XF1eX3cCaXZtAAAADHBxcnN0dXZ3eHl6e3cNZW5jcnlwdGVkX2tleW0AAAAAdwtjaXBoZXJfdGV4dG0AAABYHhBGM6bmIztZutXKwuqppmpwYBOIVON5TeOsr4xpQo_xDgy3h6NL8rQ4u9iXaObI7oS5pRJo85PGVb"
           "U5syX7f1v7Pl1OkKbCftaj_dyui32YNwU-LZDX7ncKY2lwaGVyX3RhZ20AAAAQL8_yWLJRTis4bgHuIXIxFw")
OLD_PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="


class Main(CliCase):
    @classmethod
    def prepare(cls):
        pass

    def step(self, command, *calls, **kwargs):
        """One command; exactly these calls."""
        self.recorder.take()
        done = self.nh(*command.split(), **kwargs)
        self.assertEqual(self.recorder.take(), list(calls), f"nh {command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def test_the_main_journey(self):
        self.step(f"config set uri {self.uri}")
        self.step("user auth --email admin@localhost --non-interactive", "POST /api/users/login", input=(self.server.data_dir / "admin-password").read_text())
        self.assertIn("admin@localhost", self.step("user whoami", "GET /api/users/me"))
        self.step("org create acme", "POST /api/orgs")
        self.assertIn("acme", self.step("org list", "GET /api/orgs"))
        self.assertIn("Name:      acme\n", self.step("org show acme", "GET /api/orgs?include=products"))
        self.step("config set org acme")
        self.step("product create widget", f"POST {ORG}/products")
        self.step("config set product widget")
        self.step("key create dev --password secret", f"POST {ORG}/keys")
        self.step(f"firmware upload {self.built('1.0.0')} --key dev --password secret", f"POST {PRODUCT}/firmwares")
        self.step("device create d1 --tag qa", f"POST {PRODUCT}/devices")
        generated = self.step("ca generate --upload", f"GET {ORG}/ca_certificates/verification_token", f"POST {ORG}/ca_certificates")
        stamp = re.search(r"^Name: +(\S+)$", generated, re.M).group(1)
        self.step(f"device certificates generate d1 --ca {stamp} --upload", f"POST {PRODUCT}/devices/d1/certificates")
        one = json.loads(self.nh("firmware", "list", "-o", "json").stdout)[0]["uuid"]
        self.step(f"deployment create main --firmware {one} --tag qa", f"POST {PRODUCT}/deployments")
        self.step("deployment update main --state on", f"PUT {PRODUCT}/deployments/main")
        self.assertEqual(json.loads(self.recorder.bodies[-1]), {"deployment": {"state": "on"}})
        told = self.step(f"firmware upload {self.built('1.1.0')} --key dev --password secret --deploy main", f"POST {PRODUCT}/firmwares", f"PUT {PRODUCT}/deployments/main")
        two = re.search(r"Updated deployment group main to firmware (\S+)", told).group(1)
        self.assertEqual(json.loads(self.recorder.bodies[-1]), {"deployment": {"firmware": two}})
        asyncio.run(self.with_the_device(one, two))

    async def with_the_device(self, one, two):
        files = self.home / ".nh/certificates/acme"
        cert, = files.glob("d1-*-cert.pem")
        key, = files.glob("d1-*-key.pem")
        # It runs what its group wants already and is sent back, since one that does not is updated by the group at the same time, and then the command is refused.
        running = {"uuid": two, "product": "widget", "version": "1.1.0", "platform": "fixture_board", "architecture": "aarch64"}
        async with Device(self.server, cert=cert, key=key) as device:
            self.assertEqual((await device.join(running))["status"], "ok")
            listed = await asyncio.to_thread(self.step, "device list --filter connection:connected", f"GET {PRODUCT}/devices?filters%5Bconnection%5D=connected")
            self.assertRegex(listed, r"d1 +connected +1\.1\.0\n")
            self.assertIn("Deployment group:    main\n", await asyncio.to_thread(self.step, "device show d1", f"GET {PRODUCT}/devices/d1"))
            await asyncio.to_thread(self.step, f"device upgrade d1 {one}", f"POST {PRODUCT}/devices/d1/upgrade")
            self.assertEqual((await device.event("update"))["firmware_meta"]["uuid"], one)


class Browser(CliCase):
    """Step 2a: signing in with a browser."""

    def test_login_is_confirmed_in_the_browser(self):
        self.nh("user", "logout")
        self.recorder.take()
        process = subprocess.Popen([program("nh"), "user", "login"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=self.home, env=self.environment())
        shown = ""
        while "Waiting for confirmation..." not in shown:
            line = process.stdout.readline()
            self.assertTrue(line, shown)
            shown += line
        path = urllib.parse.urlsplit(re.search(r"^  (http\S+)$", shown, re.M).group(1)).path
        code = re.search(r"Confirmation code: ([\d ]+)\n", shown).group(1).replace(" ", "")
        b = browser.Browser(self.server)
        page = b.send(b.get(path), "/login", email="admin@localhost", password=(self.server.data_dir / "admin-password").read_text().strip())
        self.assertIn(code, page.text)
        b.send(page, path)
        rest = process.communicate(timeout=DEADLINE)[0]
        self.assertEqual(process.returncode, 0)
        self.assertIn("\nSuccessfully authenticated\nToken saved to ", rest)
        token = path.rpartition("/")[2]
        calls = self.recorder.take()
        self.assertEqual((calls[0], set(calls[1:])), ("POST /api/auth/cli_session", {f"GET /api/auth/cli_session/{token}"}))
        self.assertIn("admin@localhost", self.nh("user", "whoami").stdout)


class Older(CliCase):
    """From the older command line: its settings and keys are taken over, and what is published is signed with its key."""

    def test_a_key_of_the_older_client_signs(self):
        old = self.home / ".nerves-hub/keys/acme"
        old.mkdir(parents=True)
        (old / "old.priv").write_text(OLD_KEY)
        (old / "old.pub").write_text(OLD_PUBLIC)
        self.assertIn("key acme/old: imported\n", self.nh("migrate").stdout)
        refused = self.nh("firmware", "publish", self.built("2.0.0"), "--key", "old", "--password", "secret", status=1).stderr
        self.assertRegex(refused, "Error: api: 422: .*sign", "nobody knows this key yet")
        self.server.login()
        self.server.api("POST", "/orgs/acme/keys", {"name": "old", "key": OLD_PUBLIC}, expect=201)
        self.assertIn("cannot decrypt", self.nh("firmware", "publish", self.built("2.0.0"), "--key", "old", "--password", "wrong", status=1).stderr)
        self.assertIn("Uploaded firmware 2.0.0 (", self.nh("firmware", "publish", self.built("2.0.0"), "--key", "old", "--password", "secret").stdout)


if __name__ == "__main__":
    unittest.main()
