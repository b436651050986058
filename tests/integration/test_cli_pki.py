"""What `nh` makes of keys and certificates, judged by openssl, the real server and the real agent; keys that stay in a token are in SoftHSM's."""

import asyncio
import base64
import os
import re
import subprocess
import unittest
from pathlib import Path

from clitest import CliCase
from nhtest import DEADLINE, Device, Pki, program, run, wait_until
from phoenixpeer import make_disk

FIRMWARE = {"uuid": "8a8b902c-d1a9-58aa-6111-04ab57c2f2a8", "product": "widget", "version": "0.1.0", "platform": "fixture_board", "architecture": "aarch64"}


class Certificates(CliCase):
    server_args = ("--ca-key", "auto")

    def name_of(self, generated):
        return re.search(r"^Name: +(\S+)$", generated, re.M).group(1)

    def connects(self, cert, key):
        async def session():
            async with Device(self.server, cert=cert, key=key) as device:
                return (await device.join(FIRMWARE))["status"]

        self.assertEqual(asyncio.run(session()), "ok")

    def made(self, device, what):
        path, = (self.home / ".nh/certificates/acme").glob(f"{device}-*-{what}.pem")
        return path

    # ---- keys in a token ----

    def token(self):
        conf = self.home / "softhsm.conf"
        if not conf.exists():
            (self.home / "tokens").mkdir()
            conf.write_text(f"directories.tokendir = {self.home}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
            env = {**os.environ, "SOFTHSM2_CONF": str(conf)}
            module = next(Path("/usr/lib").rglob("libsofthsm2.so"))
            run("softhsm2-util", "--init-token", "--free", "--label", "factory", "--pin", "1234", "--so-pin", "5678", env=env)
            run("pkcs11-tool", "--module", module, "--token-label", "factory", "--login", "--pin", "1234", "--keypairgen", "--key-type", "EC:prime256v1", "--label", "ca", "--id", "01",
                env=env)
        return {"SOFTHSM2_CONF": str(conf)}

    def test_a_ca_whose_key_stays_in_a_token(self):
        env = self.token()
        generated = self.nh("ca", "generate", "--name", "Factory", "--key", "pkcs11:token=factory;object=ca", "--upload", env={**env, "NERVES_HUB_PIN": "1234"}).stdout
        name = self.name_of(generated)
        folder = self.home / ".nh/ca/acme"
        self.assertFalse((folder / f"{name}-key.pem").exists())
        url = folder / f"{name}-key.url"
        self.assertEqual((url.read_text(), url.stat().st_mode & 0o777), ("pkcs11:token=factory;object=ca\n", 0o600), "no PIN that was given beside it")
        self.nh("device", "create", "hsm-1")
        self.nh("device", "certificates", "generate", "hsm-1", "--ca", name, env=env, input="1234\n")  # asked for
        self.assertIn(": OK", run("openssl", "verify", "-CAfile", folder / f"{name}-cert.pem", self.made("hsm-1", "cert")).stdout)
        self.connects(self.made("hsm-1", "cert"), self.made("hsm-1", "key"))
        wrong = self.nh("device", "certificates", "generate", "hsm-2", "--ca", name, env={**env, "NERVES_HUB_PIN": "9999"}, status=1)
        self.assertNotIn("9999", wrong.stderr + wrong.stdout)
        self.assertIn("Error: ", wrong.stderr)

    def test_a_ca_of_openssl_with_a_key_under_a_password(self):
        pki = Pki(self.home / "openssl")
        cert = pki.ca("line-7")
        sealed = self.home / "line-7.sealed"
        run("openssl", "pkcs8", "-topk8", "-in", pki.key("line-7"), "-out", sealed, "-passout", "pass:open sesame")
        self.assertIn("Error: ", self.nh("ca", "upload", "--cert", cert, "--key", sealed, input="wrong\n", status=1).stderr)
        self.nh("ca", "upload", "--cert", cert, "--key", sealed, "--description", "line 7", input="open sesame\n")
        self.nh("device", "create", "sealed-1")
        self.nh("device", "certificates", "generate", "sealed-1", "--ca-cert", cert, "--ca-key", sealed, input="open sesame\n")
        self.connects(self.made("sealed-1", "cert"), self.made("sealed-1", "key"))
        serial = next(c["serial"] for c in self.json("ca", "list") if c["description"] == "line 7")
        self.nh("ca", "update", serial, "--jitp-product", "widget", "--jitp-tag", "new", "--description", "line seven")
        shown = self.json("ca", "show", serial)
        self.assertEqual((shown["description"], shown["jitp"]["tags"]), ("line seven", ["new"]))
        device_cert, device_key = pki.device("jitp-1", "line-7")
        self.connects(device_cert, device_key)
        self.assertEqual(self.json("device", "show", "jitp-1")["tags"], ["new"])
        self.nh("ca", "update", serial, "--no-jitp")
        self.assertNotIn("jitp", self.json("ca", "show", serial))

    # ---- the server's authority ----

    def test_the_server_authority_signs(self):
        self.nh("ca", "authority", "--file", "root.pem")
        self.assertIn("CN", self.nh("ca", "authority").stdout)
        self.nh("device", "create", "signed-1")
        self.nh("device", "certificates", "generate", "signed-1")  # a request
        self.nh("device", "certificates", "sign", "signed-1", self.made("signed-1", "csr"), "-f", "signed-1.pem")
        self.assertIn(": OK", run("openssl", "verify", "-CAfile", self.home / "root.pem", self.home / "signed-1.pem").stdout)
        self.connects(self.home / "signed-1.pem", self.made("signed-1", "key"))
        self.assertIn("signed-1", self.nh("ca", "issued", "list").stdout)
        made = self.json("user", "certificates", "generate", "--description", "laptop", input=(self.server.data_dir / "admin-password").read_text())
        self.assertEqual([c["serial"] for c in self.json("user", "certificates", "list")], [made["serial"]])
        cert, = (self.home / ".nh/user").glob("*-cert.pem")
        key, = (self.home / ".nh/user").glob("*-key.pem")
        self.assertEqual(run("openssl", "x509", "-in", cert, "-noout", "-pubkey").stdout, run("openssl", "pkey", "-in", key, "-pubout").stdout)
        env = {"NERVES_HUB_CERT": str(cert), "NERVES_HUB_KEY": base64.b64encode(key.read_bytes()).decode(), "SSL_CERT_FILE": str(self.server.ca_file)}
        door = ("--uri", f"https://localhost:{self.server.api_port}")
        self.assertEqual(self.json("user", "whoami", *door, env=env)["email"], "admin@localhost")
        renewed = self.json("user", "certificates", "renew", *door, env=env)
        self.assertNotEqual(renewed["serial"], made["serial"])
        self.assertIn("Error: NERVES_HUB_CERT and NERVES_HUB_KEY must each be a file", self.nh("user", "whoami", env={**env, "NERVES_HUB_KEY": "no"}, status=1).stderr)
        self.assertIn("set NERVES_HUB_CERT", self.nh("user", "certificates", "renew", status=1).stderr)
        self.nh("user", "certificates", "revoke", made["serial"], "--reason", "keyCompromise", "-y")
        self.nh("ca", "crl", "-f", "crl.der")
        text = run("openssl", "crl", "-inform", "DER", "-in", self.home / "crl.der", "-noout", "-text").stdout
        self.assertIn("Key Compromise", text)
        self.assertEqual(self.json("ca", "expiring", "--days", "1"), [])

    # ---- agents ----

    def agent(self, folder, device):
        """A real agent with this folder as its configuration reaches the server."""
        disk = folder / "disk"
        make_disk(disk, **{f"a__nerves_fw_{k}": v for k, v in FIRMWARE.items()})
        checked = run(program("nerveshub-link"), "--config", folder / "nerveshub-link.conf", "--check", check=False)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen([program("nerveshub-link"), "--config", str(folder / "nerveshub-link.conf"), "--env-size", "4k"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        process.log = log
        try:
            wait_until(lambda: self.json("device", "show", device)["connection_status"] == "connected", process, f"{device} connected")
        finally:
            process.terminate()
            process.wait(DEADLINE)

    def config(self, device, *identity):
        folder = self.home / f"agent-{device}"
        self.nh("device", "create", device)
        self.nh("device", "config", device, "--server", f"localhost:{self.server.device_port}", "--server-ca", self.server.ca_file, "--dir", folder, "--install-dir", folder,
                "--disk", folder / "disk", *identity)
        for secret in ("device-key.pem", "secret"):
            if (folder / secret).exists():
                self.assertEqual((folder / secret).stat().st_mode & 0o777, 0o600)
        return folder

    def test_agents_configured_by_nh_connect(self):
        name = self.name_of(self.nh("ca", "generate", "--name", "Agents", "--upload").stdout)
        known = self.json("product", "secret", "create")
        (self.home / "known-secret").write_text(known["secret"] + "\n")
        identities = {"agent-ca": ("--ca", name), "agent-self": ("--self-signed",), "agent-new": ("--new-secret",),
                      "agent-known": ("--secret-key", known["key"], "--secret-file", self.home / "known-secret")}
        for device, identity in identities.items():
            with self.subTest(device=device):
                self.agent(self.config(device, *identity), device)

    def test_what_a_configuration_needs(self):
        self.nh("device", "create", "config-1")
        for arguments, text in [
            ((), "a device has one identity"),
            (("--new-secret", "--self-signed"), "a device has one identity"),
            (("--secret-key", "x"), "--secret-key and --secret-file belong together"),
            (("--new-secret", "--dir", self.home), "cannot make the folder"),
            (("--identity", "nerveskey://i2c-1", "--server-ca", "/etc/passwd", "--dir", "nothing"), "/etc/passwd"),
        ]:
            with self.subTest(arguments=arguments):
                self.assertIn(text, self.nh("device", "config", "config-1", *arguments, status=1).stderr)
        self.assertFalse((self.home / "nothing").exists(), "a folder that was not finished goes")
        self.nh("device", "config", "config-1", "--identity", "nerveskey://i2c-1", "--server", "hub.example.com")
        text = (self.home / "config-1/nerveshub-link.conf").read_text()
        self.assertIn("\nserver = hub.example.com\n", text)
        self.assertIn("\nidentity = nerveskey://i2c-1\n", text)
        key, = [k["key"] for k in self.json("key", "list")]
        self.assertIn(f"\n# dev\npublic-key = {key}\n", text)


if __name__ == "__main__":
    unittest.main()
