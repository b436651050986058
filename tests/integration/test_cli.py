"""`nh` against a real nerveshubd: the main journey as a person types it, with devices that connect with what `nh` made."""

import asyncio
import csv
import io
import json
import re
import socket
import subprocess
import threading
import unittest

from clitest import CliCase
from nhtest import ROOT, Device, nh1_headers, program


class Commands(CliCase):
    def upload(self, version, *more):
        return self.json("firmware", "upload", self.built(version), "--key", "dev", "--password", "secret", *more)

    def test_man_page_has_what_the_program_says(self):
        done = subprocess.run([ROOT / "tools" / "nh-man", program("nh"), "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_who_and_where(self):
        self.assertEqual(self.json("user", "whoami")["email"], "admin@localhost")
        self.assertIn("acme", [org["name"] for org in self.json("org", "list")])
        self.assertEqual([p["name"] for p in self.json("org", "show")["products"]], ["widget"])
        self.assertRegex(self.nh("product", "list").stdout, r"^NAME\nwidget\n$")
        self.assertRegex(self.nh("key", "list").stdout, r"NAME +PUBLIC KEY\ndev +\S{44}\n")
        self.assertIn("admin@localhost", self.nh("org", "members").stdout)

    def test_refusals_are_explained(self):
        refused = self.nh("firmware", "upload", self.built("9.0.0"), "--skip-signing", status=1)
        self.assertRegex(refused.stderr, r"Error: api: 422: .*sign")
        self.assertIn("is built for product \"other\"", self.nh("firmware", "upload", self.built("9.0.1", "other"), "--key", "dev", status=1).stderr)
        self.assertRegex(self.nh("product", "create", "widget", status=1).stderr, r"Error: api: 422: .*\n  name: has already been taken\n")
        self.assertIn("Error: api: 404: ", self.nh("device", "show", "nobody", status=1).stderr)
        self.assertIn("Error: api: 401: ", self.nh("user", "whoami", "--token", "nhu_wrong", status=1).stderr)
        self.assertIn("Error: api: 401: ", self.nh("user", "auth", "--email", "admin@localhost", input="wrong\n", status=1).stderr)
        self.assertEqual(self.json("user", "whoami")["email"], "admin@localhost", "a failed sign-in keeps the old token")

    def test_firmware_and_deployment(self):
        one = self.upload("1.0.0")
        self.assertEqual((one["version"], one["product"]), ("1.0.0", "widget"))
        self.nh("deployment", "create", "main", "--firmware", one["uuid"], "--version", "< 2.0.0", "--tag", "qa")
        self.assertEqual(self.json("deployment", "show", "main")["state"], "off")
        self.nh("deployment", "update", "main", "--state", "on")
        two = self.upload("1.1.0", "--deploy", "main")
        self.assertEqual(two["deployed"], ["main"])
        group = self.json("deployment", "show", "main")
        self.assertEqual((group["state"], group["firmware_uuid"], group["conditions"]), ("on", two["uuid"], {"tags": ["qa"], "version": "< 2.0.0"}))
        self.assertEqual(group["current_release"]["firmware"]["version"], "1.1.0")
        self.nh("deployment", "update", "main", "--queue", "LIFO", "--concurrent-updates", "3", "--priority-queue", "--priority-queue-updates", "2", "--priority-queue-below", "1.0.0",
                "--release-tag", "x", "--release-network", "wifi", "--penalty-minutes", "60", "--failures", "5", "--device-failures", "2", "--device-failure-amount", "2",
                "--device-failure-seconds", "60", "--notes", "for hall 3", "--tag-operator", "or", "--lock-device-membership=false", "--connecting-code", "1 + 1")
        self.assertIn("Notes:              for hall 3\n", self.nh("deployment", "show", "main").stdout)
        self.assertIn("main", self.nh("deployment", "list").stdout)
        again = self.nh("firmware", "upload", self.built("1.1.0"), "--key", "dev", "--password", "secret", status=1).stderr
        self.assertIn("\n  uuid: has already been taken\nThe server has this firmware already; ", again)
        listed = {f["version"]: f["uuid"] for f in self.json("firmware", "list")}
        self.assertEqual((listed["1.0.0"], listed["1.1.0"]), (one["uuid"], two["uuid"]))
        self.nh("firmware", "download", two["uuid"], "-f", "got.fw")
        meta = subprocess.run([program("nh-fwup"), "-m", "-i", self.home / "got.fw", "-p", self.home / ".nh/keys/acme/dev.pub"], capture_output=True, text=True)
        self.assertIn(f'meta-uuid="{two["uuid"]}"', meta.stdout)
        self.assertRegex(self.nh("firmware", "delete", two["uuid"], "-y", status=1).stderr, "Error: api: 422: ")
        self.nh("deployment", "delete", "main", "--yes")

    def connect(self, identifier, **credentials):
        firmware = {"uuid": "8a8b902c-d1a9-58aa-6111-04ab57c2f2a8", "product": "widget", "version": "0.1.0", "platform": "fixture_board",
                    "architecture": "aarch64"}

        async def session():
            async with Device(self.server, **credentials) as device:
                reply = await device.join(firmware)
                return reply["status"], self.json("device", "show", identifier)

        status, shown = asyncio.run(session())
        self.assertEqual(status, "ok")
        self.assertEqual((shown["identifier"], shown["connection_status"], shown["version"]), (identifier, "connected", "0.1.0"))

    def test_device_with_certificate(self):
        generated = self.nh("ca", "generate", "--name", "Factory 1", "--upload", "--description", "line 1").stdout
        stamp = next(line.split()[1] for line in generated.splitlines() if line.startswith("Name:"))
        self.assertEqual([ca["description"] for ca in self.json("ca", "list")], ["line 1"])
        self.nh("device", "create", "c-1", "--tag", "qa", "--description", "first")
        self.nh("device", "certificates", "generate", "c-1", "--ca", stamp)
        cert, = (self.home / ".nh/certificates/acme").glob("c-1-*-cert.pem")
        key, = (self.home / ".nh/certificates/acme").glob("c-1-*-key.pem")
        self.connect("c-1", cert=cert, key=key)
        serial, = [c["serial"] for c in self.json("device", "certificates", "list", "c-1")]
        self.assertEqual(self.json("device", "certificates", "show", "c-1", serial)["serial"], serial)

    def test_device_with_self_signed_certificate_is_registered(self):
        self.nh("device", "create", "c-2")
        shown = self.nh("device", "certificates", "generate", "c-2", "--self-signed", "--upload").stdout
        self.assertIn("Uploaded certificate ", shown)
        self.assertEqual(len(self.json("device", "certificates", "list", "c-2")), 1)

    def test_shared_secret_is_switched_off(self):
        """Keys are plain base64: one with a slash must survive the path."""
        for _ in range(200):
            made = self.json("product", "secret", "create")
            if "/" in made["key"]:
                break
        self.assertIn("/", made["key"])
        self.nh("product", "secret", "delete", made["key"], "--yes")
        line = [row for row in self.nh("product", "secret", "list").stdout.splitlines() if row.startswith(made["key"])]
        self.assertEqual([row.split()[-1] for row in line], ["no"])

    def test_device_with_shared_secret(self):
        made = self.json("product", "secret", "create")
        self.assertIn(made["key"], self.nh("product", "secret", "list").stdout)
        self.assertNotIn(made["secret"], self.nh("product", "secret", "list", "-o", "json").stdout)
        self.connect("s-1", headers=nh1_headers(made["key"], made["secret"], "s-1"), path="/device-socket/websocket?vsn=2.0.0")

    def test_device_fields(self):
        self.nh("device", "create", "f-1")
        updated = self.json("device", "update", "f-1", "--tag", "a", "--tag", "b", "--updates-enabled=false", "--description", "x")
        self.assertEqual((updated["tags"], updated["updates_enabled"], updated["description"]), (["a", "b"], False, "x"))
        listed = self.json("device", "list", "--filter", "identifier:f-1")
        self.assertEqual([d["identifier"] for d in listed["data"]], ["f-1"])
        self.assertEqual(listed["pagination"]["total_count"], 1)
        self.assertIn("Page 1 of 1 — 1 device(s) total", self.nh("device", "list", "--filter", "identifier:f-1").stdout)
        self.assertEqual([d["identifier"] for d in self.json("device", "list", "--query", "tags contains a and identifier like f-1")["data"]], ["f-1"])
        self.nh("device", "reboot", "f-1")
        self.nh("device", "clear-penalty", "f-1")
        self.assertEqual(self.nh("device", "delete", "f-1", input="no\n").stdout, "Aborted.\n")
        self.nh("device", "delete", "f-1", "-y")
        self.assertEqual(self.json("device", "list", "--filter", "identifier:f-1")["data"], [])


    def test_csv(self):
        self.nh("device", "create", "csv-1", "--description", 'with "quotes", and commas', "--tag", "a", "--tag", "b")
        row, = csv.DictReader(io.StringIO(self.nh("device", "list", "--filter", "identifier:csv-1", "-o", "csv").stdout, newline=""))
        self.assertEqual((row["identifier"], row["description"], row["tags"]), ("csv-1", 'with "quotes", and commas', "a,b"))
        self.assertIn("deployment_group.name", row)

    def test_archives(self):
        self.nh("archive", "upload", self.built("3.0.0"), "--skip-signing", status=1)
        made = self.json("archive", "upload", self.built("3.0.0"), "--key", "dev", "--password", "secret")
        self.assertRegex(self.nh("archive", "list").stdout, rf"3\.0\.0 +fixture_board +aarch64 +\d+ +{made['uuid']}\n")
        self.assertEqual(self.json("archive", "show", made["uuid"])["version"], "3.0.0")
        self.nh("archive", "download", made["uuid"], "-f", "archive.fw")
        self.assertEqual((self.home / "archive.fw").stat().st_size, made["size"])
        self.nh("archive", "delete", made["uuid"], "-y")
        self.assertEqual(self.json("archive", "list"), [])

    def test_scripts(self):
        made = self.json("script", "create", "--name", "disk usage", "--text-file", "-", "--tags", "a,b", input="df -h\n")
        self.assertEqual((made["name"], made["tags"], made["text"]), ("disk usage", "a,b", "df -h\n"))
        self.nh("script", "update", made["id"], "--text", "df")
        self.assertIn("\nText:\ndf\n", self.nh("script", "show", made["id"]).stdout)
        self.assertIn("disk usage", self.nh("script", "list").stdout)
        secret = self.json("product", "secret", "create")
        firmware = {"uuid": "8a8b902c-d1a9-58aa-6111-04ab57c2f2a8", "product": "widget", "version": "0.1.0", "platform": "p", "architecture": "a"}

        async def story():
            async with Device(self.server, headers=nh1_headers(secret["key"], secret["secret"], "scripted"), path="/device-socket/websocket?vsn=2.0.0") as device:
                await device.join(firmware)
                run = asyncio.create_task(asyncio.to_thread(self.nh, "device", "run-script", "scripted", "disk usage", "--timeout", "50"))
                asked = await device.event("scripts/run")
                self.assertEqual((asked["text"], asked["timeout"]), ("df", 50000))
                await device.send("scripts/run", {"ref": asked["ref"], "result": "completed", "output": "half full", "return": ""})
                self.assertEqual((await run).stdout, "half full")

        asyncio.run(story())
        self.assertIn("disk usage", self.nh("device", "scripts", "scripted").stdout)
        self.assertRegex(self.nh("device", "run-script", "scripted", "disk usage", status=1).stderr, "Error: api: 403: device not available")
        self.assertEqual(len(self.json("device", "connections", "scripted")), 1)
        self.assertEqual(self.json("device", "health", "scripted")["status"], "unknown")
        for what in ("metrics", "logs", "health-history", "network-identities"):
            self.assertEqual(self.json("device", what, "scripted"), [])
        self.nh("script", "delete", made["id"], "--yes")

    def test_iroh_endpoints(self):
        identifier = "ab" * 32
        self.nh("iroh", "register", identifier, "--user-email", "admin@localhost", "--detail", "relay=eu")
        self.assertRegex(self.nh("iroh", "list", "--owner", "user").stdout, rf"{identifier} +default +operator +user \(admin@localhost\)")
        self.assertEqual(self.json("iroh", "show", identifier)["details"], {"relay": "eu"})
        self.nh("iroh", "delete", identifier, "-y")
        self.assertEqual(self.json("iroh", "list"), [])

    def test_all_pages(self):
        for n in range(7):
            self.nh("device", "create", f"page-{n:02}")
        listed = self.json("device", "list", "--all", "--page-size", "3", "--filter", "identifier:page-")
        self.assertEqual(sorted(d["identifier"] for d in listed["data"]), [f"page-{n:02}" for n in range(7)])
        self.assertNotIn("pagination", listed)

    def test_an_upload_that_breaks_off_says_why(self):
        """A server that goes in the middle of a file."""
        path = self.built("8.0.0")
        with socket.create_server(("127.0.0.1", 0)) as door:
            def hang_up():
                peer, _ = door.accept()
                peer.recv(30000)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.close()
            thread = threading.Thread(target=hang_up)
            thread.start()
            said = self.nh("firmware", "upload", path, "--key", "dev", "--password", "secret", "--uri", f"http://127.0.0.1:{door.getsockname()[1]}", status=1).stderr
            thread.join()
        self.assertRegex(said, r"Error: the upload of 8\.0\.0\.fw broke off after \d+ bytes; nothing of it is kept, run the same command again: request to .* failed: ")


if __name__ == "__main__":
    unittest.main()
