"""The real agent with keys it never sees: in a TPM (swtpm, the vendor-independent PKCS#11 module of Debian) and in a NervesKey (nerveskey-sim)."""

import os
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from nhtest import DEADLINE, ServerCase, pem64, program, run, select_tick, wait_until


def free_port_pair():
    """Two neighbouring free ports: swtpm's control port is the one behind its data port."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class AgentCase(ServerCase):
    """An agent on a disk of its own; what matters here is how it identifies itself."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.api("POST", "/orgs/acme/products", {"name": "virtual"}, expect=201)
        cls.firmware_file = cls.home / "1.0.0.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--version", "1.0.0", "--size", "64k", "--key", cls.key_private, "--output", cls.firmware_file)

    def disk(self, name):
        path = self.home / f"{name}.disk"
        run(program("nh-fwup"), "-a", "-d", path, "-i", self.firmware_file, "-t", "complete")
        return path

    def agent(self, disk, *identity, env=None):
        log = Path(tempfile.mkstemp(prefix="agent-", suffix=".log", dir=self.home)[1])
        with log.open("wb") as out:
            process = subprocess.Popen([program("nerveshub-link"), "--server", f"localhost:{self.server.device_port}", "--ca", self.server.ca_file, "--public-key", self.key_public,
                                        "--device", disk, "--env-offset", str(16 * 512), "--env-size", str(16 * 512), "--installer", "builtin", "--reboot-command", "true",
                                        "--log-level", "debug", *map(str, identity)], stdout=out, stderr=out, env={**os.environ, **(env or {})})
        process.log = log
        self.addCleanup(process.wait, DEADLINE)
        self.addCleanup(process.terminate)
        return process, log

    def joins(self, disk, *identity, env=None):
        process, log = self.agent(disk, *identity, env=env)
        wait_until(lambda: "joined" in log.read_text(), process, "the join")
        return process, log

    def fails(self, disk, text, *identity, env=None):
        process, log = self.agent(disk, *identity, env=env)
        wait_until(lambda: text in log.read_text(), process, f"'{text}'")
        return log

    def connected(self, identifier):
        return self.server.api("GET", f"/orgs/acme/products/virtual/devices/{identifier}").data.get("connection_status") == "connected"


class TpmIdentity(AgentCase):
    """A key made inside of a TPM 2.0, which a resource manager shares, as on any Linux board that has one."""

    def setUp(self):
        self.tpm = Path(tempfile.mkdtemp(prefix="tpm-", dir=self.home))
        (self.tpm / "state").mkdir()
        (self.tpm / "store").mkdir()
        port = free_port_pair()
        self.background("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.tpm / 'state'}", "--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}",
                        "--flags", "not-need-init,startup-clear")
        self.wait_for(lambda: socket.create_connection(("127.0.0.1", port + 1), 1).close() is None)
        bus = self.background("dbus-daemon", "--session", "--nofork", "--print-address=1", stdout=subprocess.PIPE)
        self.env = {"DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().decode().strip(), "TPM2TOOLS_TCTI": "tabrmd:bus_type=session", "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
                    "TPM2_PKCS11_STORE": str(self.tpm / "store"), "TSS2_LOG": "all+NONE"}
        self.background("tpm2-abrmd", "--session", "--allow-root", f"--tcti=swtpm:host=127.0.0.1,port={port}")
        self.wait_for(lambda: subprocess.run(["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetNameOwner",
                                              "string:com.intel.tss2.Tabrmd"], env={**os.environ, **self.env}, capture_output=True).returncode == 0)
        for words in (("init",), ("addtoken", "--pid", "1", "--sopin", "so", "--userpin", "1234", "--label", "device"),
                      ("addkey", "--algorithm", "ecc256", "--label", "device", "--key-label", "identity", "--userpin", "1234")):
            self.tool("tpm2_ptool", *words, "--path", self.tpm / "store")
        self.public = self.tpm / "public.pem"
        self.tool("p11tool", "--export-pubkey", "--login", "--set-pin=1234", "--outfile", self.public, "pkcs11:token=device;object=identity;type=public")

    def background(self, *words, **kwargs):
        process = subprocess.Popen(list(map(str, words)), stderr=subprocess.DEVNULL, env={**os.environ, **getattr(self, "env", {})},
                                   **{"stdout": subprocess.DEVNULL, **kwargs})
        self.addCleanup(process.wait, DEADLINE)
        self.addCleanup(process.kill)
        if process.stdout:
            self.addCleanup(process.stdout.close)
        return process

    def wait_for(self, condition):
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except OSError:
                pass
            select_tick()
        self.fail("the simulated TPM does not come up")

    def tool(self, *words):
        done = subprocess.run(list(map(str, words)), env={**os.environ, **self.env}, capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}{done.stderr}")

    def certificate(self, name):
        """For the TPM's public key, signed by the factory, which never had the private one."""
        self.pki.device(name, "factory")
        run("openssl", "x509", "-req", "-in", self.pki.home / f"{name}.csr", "-force_pubkey", self.public, "-CA", self.pki.home / "factory.crt", "-CAkey", self.pki.home / "factory.key",
            "-set_serial", "77", "-days", "30", "-extfile", self.pki.home / f"{name}.ext", "-out", self.tpm / "device.crt")
        return self.tpm / "device.crt"

    def test_a_key_in_a_tpm(self):
        self.register_ca("factory")
        self.server.api("POST", "/orgs/acme/products/virtual/devices", {"identifier": "tpm-1"}, expect=201)
        cert, disk = self.certificate("tpm-1"), self.disk("tpm-1")
        uri = "pkcs11:token=device;object=identity;type=private"
        self.joins(disk, "--identity", f"{uri}?pin-value=1234", "--cert", cert, env=self.env)
        self.assertTrue(self.connected("tpm-1"))
        # The certificate in the token as well: nothing of the identity is in a file any more.
        self.tool("tpm2_ptool", "addcert", "--label", "device", "--key-label", "identity", "--path", self.tpm / "store", cert)
        self.joins(self.disk("tpm-1b"), "--identity", "pkcs11:token=device;object=identity?pin-value=1234", env=self.env)
        with self.subTest("wrong token"):
            self.fails(disk, "TLS key in hardware", "--identity", "pkcs11:token=other;object=identity;type=private", "--cert", cert, env=self.env)
        with self.subTest("somebody else's certificate"):
            other, _ = self.pki.device("tpm-2", "factory")
            self.fails(disk, "TLS key in hardware", "--identity", f"{uri}?pin-value=1234", "--cert", other, env=self.env)


class NervesKeyIdentity(AgentCase):
    """From a blank part to a device that the server has never heard of: it knows the signer, and nothing else."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.bus = cls.home / "bus"
        cls.simulator = subprocess.Popen([program("nerveskey-sim"), "run", "--socket", cls.bus, "--create", cls.home / "chip.state", "--ready-file", cls.home / "ready"],
                                         stdout=subprocess.DEVNULL)
        cls.addClassCleanup(cls.simulator.wait, DEADLINE)
        cls.addClassCleanup(cls.simulator.terminate)
        wait_until((cls.home / "ready").exists, cls.simulator, "the simulated chip")
        cls.signers = {name: cls.new_signer(name) for name in ("factory-1", "factory-2")}
        cls.key("provision", "--serial", "nk-1", "--yes", *cls.signers["factory-1"])
        cls.key("provision-aux", *cls.signers["factory-2"])

    @classmethod
    def key(cls, *words):
        return run(program("nerveskey"), "--bus", f"sim:{cls.bus}", *words).stdout

    @classmethod
    def new_signer(cls, name):
        run(program("nerveskey"), "signer", "create", name, "--years-valid", "20", cwd=cls.home)
        return "--signer-cert", cls.home / f"{name}.cert", "--signer-key", cls.home / f"{name}.key"

    def register(self, name):
        """With the proof that the signer's key is at hand, made by OpenSSL; unknown devices of this signer are created."""
        pki = self.pki.home
        (pki / f"{name}.crt").write_bytes((self.home / f"{name}.cert").read_bytes())
        (pki / f"{name}.key").write_bytes((self.home / f"{name}.key").read_bytes())
        token = self.server.api("GET", "/orgs/acme/ca_certificates/verification_token", expect=200).data["verification_token"]
        product = self.server.api("GET", "/orgs/acme/products/virtual", expect=200).data
        self.server.api("POST", "/orgs/acme/ca_certificates", {
            "cert": pem64(pki / f"{name}.crt"), "verification_cert": pem64(self.pki.verification(name, token)), "description": name,
            "jitp": {"description": "made by the line", "tags": ["line"], "product_name": product["name"]}}, expect=201)

    def test_first_contact(self):
        uri = f"nerveskey+sim://{self.bus}"
        process, log = self.agent(self.disk("nk-1"), "--identity", uri, "--reconnect-delay", "100ms")
        wait_until(lambda: log.read_text().count("may not accept this device's certificate") >= 2, process, "that nobody knows its signer")
        self.register("factory-1")
        wait_until(lambda: "joined" in log.read_text(), process, "the join")
        self.assertTrue(self.connected("nk-1"))
        with self.subTest("it comes back by itself"):
            self.server.api("POST", "/orgs/acme/products/virtual/devices/nk-1/reconnect", expect=204)
            wait_until(lambda: log.read_text().count("joined") == 2, process, "the second join")
        process.terminate()
        process.wait(DEADLINE)
        with self.subTest("it asks instead: the chip signs for each question"):
            process, log = self.joins(self.disk("nk-1-poll"), "--identity", uri, "--transport", "poll", "--poll-interval", "200ms")
            wait_until(lambda: log.read_text().count("debug connected") >= 3, process, "the third answer")
            process.terminate()
            process.wait(DEADLINE)
        with self.subTest("auxiliary certificates, of a signer nobody knows"):
            log = self.fails(self.disk("nk-1-aux"), "disconnected", "--identity", uri, "--certificate-pair", "aux")
            self.assertIn("may not accept this device's certificate", log.read_text())
        with self.subTest("auxiliary certificates, of a signer that has become known: the same device, since the key is"):
            self.register("factory-2")
            process, _ = self.joins(self.disk("nk-1-aux-known"), "--identity", uri, "--certificate-pair", "aux")
            self.assertTrue(self.connected("nk-1"))
            issuers = {(c["not_before"], c["serial"]) for c in self.server.api("GET", "/orgs/acme/products/virtual/devices/nk-1/certificates", expect=200).data}
            self.assertEqual(len(issuers), 2)
            process.terminate()
            process.wait(DEADLINE)
        with self.subTest("no chip"):
            self.fails(self.disk("nk-none"), "no answer to wake", "--identity", f"{uri}?address=0x35")
        with self.subTest("no simulator"):
            self.fails(self.disk("nk-nobody"), "nowhere", "--identity", "nerveskey+sim:///nowhere")


if __name__ == "__main__":
    unittest.main()
