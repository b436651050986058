"""Accounts, fleets and imports from the command line, against the real server."""

import base64
import csv
import hashlib
import hmac
import io
import struct
import tempfile
import time
import unittest

from clitest import CliCase


def totp(secret, at):
    """RFC 6238, written from it."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.new(key, struct.pack(">Q", int(at) // 30), hashlib.sha1).digest()
    offset = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[offset:offset + 4])[0] & 0x7FFFFFFF) % 1000000:06}"


class Fleet(CliCase):
    @classmethod
    def setUpClass(cls):
        cls.mails = tempfile.TemporaryDirectory(prefix="nhmail-")
        cls.server_args = ("--mail-folder", cls.mails.name)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.mails.cleanup()

    def test_import(self):
        file = self.home / "devices.csv"
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([["identifier", "description", "tags"], ["i-1", "first, of many", "a,b"], ["i-2", "", ""], ["i-1", "again", ""]])
        tried = self.nh("device", "import", file, "--dry-run", status=1)
        self.assertIn("Nothing was done. It would be: Created 2, updated 0, unchanged 0, failed 1\n", tried.stdout)
        self.assertEqual(self.json("device", "list", "--filter", "identifier:i-")["data"], [])
        done = self.nh("device", "import", file, "--tag", "batch-7", status=1)
        self.assertEqual(done.stdout, "Created 2, updated 0, unchanged 0, failed 1\n")
        self.assertRegex(done.stderr, r"line 4, i-1: .*\nError: 1 of the entries failed")
        shown = self.json("device", "show", "i-1")
        self.assertEqual(shown["description"], "first, of many")
        self.assertEqual(sorted(shown["tags"]), ["a", "b", "batch-7"])
        rows = list(csv.DictReader(io.StringIO(self.nh("device", "import", file, "-o", "csv", status=1).stdout, newline="")))
        self.assertEqual([(r["line"], r["result"]) for r in rows], [("2", "unchanged"), ("3", "unchanged"), ("4", "failed")])
        self.assertIn("Error: what is in devices.txt?", self.nh("device", "import", "devices.txt", status=1).stderr)

    def test_many_devices_at_once(self):
        for name in ("b-1", "b-2", "b-3"):
            self.nh("device", "create", name)
        self.nh("device", "bulk", "set_tags", "--filter", "identifier:b-", "--tag", "hall", "--tag", "3", "-y")
        self.assertEqual(self.json("device", "show", "b-2")["tags"], ["hall", "3"])
        refused = self.nh("device", "bulk", "disable_updates", "--device", "b-1", "--device", "nobody", "-y", status=1)
        self.assertEqual(refused.stdout, "Done with 1 device(s)\n")
        self.assertRegex(refused.stderr, r"nobody: .*\nError: 1 device\(s\) refused")
        self.assertIn("say which devices", self.nh("device", "bulk", "reboot", "-y", status=1).stderr)
        self.assertEqual(self.nh("device", "bulk", "delete", "--device", "b-3", input="n\n").stdout, "Aborted.\n")
        self.nh("device", "delete", "b-3", "-y")
        self.nh("device", "restore", "b-3")
        self.nh("device", "show", "b-3")
        self.nh("device", "delete", "b-3", "-y")
        self.nh("device", "destroy", "b-3", "-y")
        self.nh("device", "restore", "b-3", status=1)

    def test_looking_around(self):
        self.nh("device", "create", "look-1")
        self.nh("device", "pin", "look-1")
        self.assertEqual([d["identifier"] for d in self.json("device", "pins")], ["look-1"])
        self.nh("device", "unpin", "look-1")
        self.assertEqual(self.json("device", "pins"), [])
        self.assertEqual([(f["kind"], f["name"]) for f in self.json("search", "look")], [("device", "look-1")])
        self.assertEqual(self.json("search", "look", "--product", "widget")[0]["org_name"], "acme")
        self.assertGreaterEqual(self.json("product", "insights")["connections"]["not_seen"], 1)
        self.nh("product", "update", "widget", "--health=false", "--unique-firmware-version")
        self.nh("product", "dismiss-notifications")
        self.assertEqual(self.json("product", "notifications"), [])
        made = self.json("device", "secrets", "create", "look-1")
        self.assertIn(made["key"], self.nh("device", "secrets", "list", "look-1").stdout)
        self.nh("device", "secrets", "delete", "look-1", made["key"], "-y")
        self.nh("device", "add-identity", "look-1", "tailscale", "100.64.0.1")
        self.assertEqual([i["identifier"] for i in self.json("device", "identities", "look-1")], ["100.64.0.1"])
        self.nh("device", "remove-identity", "look-1", "tailscale", "100.64.0.1")
        for log in (("org",), ("product",), ("device", "look-1")):
            self.assertIn("admin", self.nh(log[0], "audit", *log[1:]).stdout.lower())
        page = self.nh("org", "audit", "--limit", "1")
        self.assertRegex(page.stderr, r"There is more: --before \d+")

    def test_tokens_and_invitations(self):
        password = (self.server.data_dir / "admin-password").read_text()
        made = self.json("user", "tokens", "create", "--note", "build server", input=password)
        self.assertEqual(self.json("user", "whoami", "--token", made["token"])["email"], "admin@localhost")
        token = next(t for t in self.json("user", "tokens", "list") if t["note"] == "build server")
        self.nh("user", "tokens", "revoke", token["id"], "-y")
        self.nh("user", "whoami", "--token", made["token"], status=1)
        self.nh("user", "tokens", "create", input="wrong\n", status=1)
        self.nh("org", "invite", "new@example.com", "view")
        invite, = self.json("org", "invites")
        self.assertEqual((invite["email"], invite["role"]), ("new@example.com", "view"))
        self.nh("org", "rescind-invite", invite["id"])
        self.assertEqual(self.json("org", "invites"), [])
        self.assertEqual(self.json("user", "sessions", "list"), [])

    def test_z_a_second_factor(self):
        password = (self.server.data_dir / "admin-password").read_text().strip()
        self.server.login()
        begun = self.server.api("POST", "/users/me/second_factor", {"current_password": password}, expect=201).data
        codes = self.server.api("PUT", "/users/me/second_factor", {"otp": totp(begun["secret"], time.time())}, expect=200).data["recovery_codes"]
        self.assertTrue(self.json("user", "second-factor", "show")["enabled"])
        self.assertIn("otp", self.nh("user", "auth", "--email", "admin@localhost", "--non-interactive", input=password + "\n", status=1).stderr)
        asked = self.nh("user", "auth", "--email", "admin@localhost", input=f"{password}\n{codes[0]}\n")
        self.assertIn("Code of the second factor: ", asked.stderr)
        self.nh("user", "auth", "--email", "admin@localhost", "--otp", codes[1], "--non-interactive", input=password + "\n")
        self.assertEqual(self.json("user", "second-factor", "show")["recovery_codes_left"], len(codes) - 2)
        self.nh("user", "second-factor", "disable", "-y", input=password + "\n")
        self.assertFalse(self.json("user", "second-factor", "show")["enabled"])


if __name__ == "__main__":
    unittest.main()
