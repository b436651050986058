"""nerveskey-pkcs11.so inside Debian's programs: OpenSC, OpenSSL's engine, curl, GnuTLS, p11-kit, OpenSSH, NSS. The key is in the simulator; openssl judges what comes out."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from nhtest import BUILD, DEADLINE, Pki, program, run
from simulator import PRELOAD, Simulator

MODULE = BUILD / "src/nerveskey-pkcs11/nerveskey-pkcs11.so"
ENGINE = "/usr/lib/{}/engines-3/pkcs11.so"
KEY = "pkcs11:token=1"
GNUTLS_KEY = "pkcs11:token=1;id=%31;type=private"
GNUTLS_CERT = "pkcs11:token=1;id=%31;type=cert"


def needed():
    return re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", MODULE).stdout)


class Pkcs11Test(unittest.TestCase):
    """One chip, provisioned by the nerveskey command, with a second pair of certificates; the same for all tests, since none can change it."""

    @classmethod
    def setUpClass(cls):
        cls.sim = Simulator().start()
        cls.home = cls.sim.folder
        bus = ("-b", f"sim:{cls.sim.socket}")
        for name in ("signer", "second"):
            run(program("nerveskey"), "signer", "create", cls.home / name)
        signer = ("--signer-cert", cls.home / "signer.cert", "--signer-key", cls.home / "signer.key")
        second = ("--signer-cert", cls.home / "second.cert", "--signer-key", cls.home / "second.key")
        run(program("nerveskey"), "provision", *bus, *signer, "--serial", "N1234", "--yes")
        run(program("nerveskey"), "provision-aux", *bus, *second)
        cls.device = cls.home / "device.pem"
        cls.device.write_text(run(program("nerveskey"), "certificate", "device", *bus).stdout)
        cls.public = cls.home / "device.pub"
        cls.public.write_text(run("openssl", "x509", "-in", cls.device, "-noout", "-pubkey").stdout)
        multiarch = run("gcc", "-print-multiarch").stdout.strip()
        (cls.home / "openssl.cnf").write_text(
            "openssl_conf = init\n[init]\nengines = engines\n[engines]\npkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\n"
            f"dynamic_path = {ENGINE.format(multiarch)}\nMODULE_PATH = {MODULE}\ninit = 0\n")
        # p11-kit's configuration of one user, who has this module only
        modules = cls.home / "config/pkcs11/modules"
        modules.mkdir(parents=True)
        shipped = (BUILD / "src/nerveskey-pkcs11/nerveskey.module").read_text()
        (modules / "nerveskey.module").write_text(re.sub(r"^module: .*/nerveskey-pkcs11.so$", f"module: {MODULE}", shipped, flags=re.M))
        (modules.parent / "pkcs11.conf").write_text("user-config: only\n")
        cls.env = {**os.environ, "NERVESKEY_PKCS11": f"nerveskey+sim://{cls.sim.socket} id=1", "OPENSSL_CONF": str(cls.home / "openssl.cnf"),
                   "XDG_CONFIG_HOME": str(cls.home / "config"), "HOME": str(cls.home)}
        pki = Pki(cls.home / "pki")
        cls.ca = pki.ca("server-ca")
        cls.server = pki.sign("server", "server-ca", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\n")

    @classmethod
    def tearDownClass(cls):
        cls.sim.end()

    def call(self, *args, check=True, env=None, text=None):
        """A foreign program with the module's environment."""
        done = subprocess.run([str(a) for a in args], env={**self.env, **(env or {})}, input=text, stdin=None if text is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check:
            self.assertEqual(done.returncode, 0, f"{args}\n{out}\n{err}")
        done.text, done.errors = out, err
        return done

    def tool(self, *args, **kwargs):
        return self.call("pkcs11-tool", "--module", MODULE, *args, **kwargs)

    def file(self, name, content):
        path = self.home / name
        path.write_bytes(content)
        return path

    def verify_digest(self, digest, signature):
        run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", self.public, "-in", digest, "-sigfile", signature)


class LibraryTest(Pkcs11Test):
    def test_exports_the_doors_only(self):
        names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", MODULE).stdout.splitlines()]
        self.assertEqual(len(names), 68)
        self.assertEqual([n for n in names if not n.startswith("C_")], [])

    def test_brings_no_tls_library(self):
        allowed = re.compile(r"(libc|libhogweed|libnettle|libgmp|libpthread|ld-linux.*)\.so\.\d+$")
        self.assertEqual([name for name in needed() if not allowed.match(name)], [])

    def test_broken_configuration_says_so(self):
        done = self.tool("-L", check=False, env={"NERVESKEY_PKCS11": "i2c-1 colour=red"})
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('NERVESKEY_PKCS11: slot i2c-1: "colour=": a slot knows label=, id= and pair=', done.errors)

    def test_debug_names_calls_and_no_pin(self):
        done = self.tool("--login", "--pin", "7391", "-O", env={"NERVESKEY_DEBUG": "1"})
        self.assertRegex(done.errors, r"nerveskey-pkcs11\[\d+\]: C_Login: CKR_OK\n")
        self.assertNotIn("7391", done.errors)
        self.assertNotIn("nerveskey-pkcs11", self.tool("-O").errors)

    def test_absent_chip(self):
        env = {"NERVESKEY_PKCS11": f"sim:{self.home}/nobody id=1; sim:{self.sim.socket} id=2", "NERVESKEY_DEBUG": "1"}
        done = self.tool("-L", env=env)
        self.assertRegex(done.text, r"Slot 0 \(0x1\).*\n *\(empty\)\n")
        self.assertRegex(done.text, r"Slot 1 \(0x2\).*\n  token label *: 2\n")  # one that is missing hides no other
        self.assertIn("nerveskey-sim", done.errors)

    def test_bus_of_the_kernel(self):
        """/dev/i2c-N by the shim in front of the C library: slot N, and nothing at the other address."""
        env = {"LD_PRELOAD": str(PRELOAD), "NERVESKEY_SIM": f"3={self.sim.socket}", "NERVESKEY_PKCS11": "buses=3"}
        listed = self.tool("-L", env=env).text
        self.assertRegex(listed, r"Slot 0 \(0x3\).*\n  token label *: 3\n")
        self.assertRegex(listed, r"Slot 1 \(0x13\).*\n *\(empty\)\n")
        digest, signature = self.file("bus.digest", os.urandom(32)), self.home / "bus.sig"
        self.call("openssl", "pkeyutl", "-engine", "pkcs11", "-keyform", "engine", "-inkey", "pkcs11:token=3", "-sign", "-in", digest, "-out", signature, env=env)
        self.verify_digest(digest, signature)


class OtherKindsTest(unittest.TestCase):
    """Parts that are provisioned otherwise."""

    def tool(self, spec, *arguments, check=True):
        return run("pkcs11-tool", "--module", MODULE, *arguments, check=check, env={**os.environ, "NERVESKEY_PKCS11": f"{spec} id=17"})

    def sign_and_verify(self, spec, folder):
        message, signature, certificate, public = (folder / name for name in ("message", "signature", "device.der", "device.pub"))
        message.write_bytes(os.urandom(1000))
        self.tool(spec, "--read-object", "--type", "cert", "--id", "41", "-o", certificate)
        public.write_text(run("openssl", "x509", "-inform", "DER", "-in", certificate, "-noout", "-pubkey").stdout)
        self.tool(spec, "--sign", "-m", "ECDSA-SHA256", "--id", "41", "-i", message, "-o", signature, "--signature-format", "openssl")
        run("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message)
        return run("openssl", "x509", "-inform", "DER", "-in", certificate, "-noout", "-subject", "-issuer").stdout

    def test_trust_and_go(self):
        sim = Simulator(options=("--create", "--no-watchdog", "--trust-and-go")).start()
        self.addCleanup(sim.end)
        spec = f"sim:{sim.socket}@0x35"
        names = self.sign_and_verify(spec, sim.folder)
        self.assertRegex(names, r"subject=O = Microchip Technology Inc, CN = sn[0-9A-F]{18}\n")
        self.assertIn("Crypto Authentication Signer", names)
        self.assertEqual(self.tool(spec, "-O").stdout.count("Certificate Object"), 2)
        self.assertIn("empty", self.tool(f"sim:{sim.socket}", "-L").stdout)

    def test_volatile(self):
        """A key that signs after it was unlocked only, and no more after power went."""
        sim = Simulator().start()
        self.addCleanup(sim.end)
        bus, spec, signer = ("-b", f"sim:{sim.socket}"), f"sim:{sim.socket}", sim.folder / "signer"
        keys = ("--activation-key", "00112233445566778899aabbccddeeff", "--encryption-key", "ffeeddccbbaa99887766554433221100")
        run(program("nerveskey"), "signer", "create", signer)
        run(program("nerveskey"), "provision", *bus, "--signer-cert", f"{signer}.cert", "--signer-key", f"{signer}.key", "--volatile", *keys, "--yes")
        for _ in range(2):
            self.power_cycle(sim)
            refused = self.tool(spec, "--sign", "-m", "ECDSA", "--id", "41", "-i", self.digest(sim), "-o", sim.folder / "none", check=False)
            self.assertIn("0x200", refused.stderr)  # CKR_FUNCTION_REJECTED, for which OpenSC has no name
            run(program("nerveskey"), "unlock", *bus, *keys[:2])
            self.sign_and_verify(spec, sim.folder)

    def power_cycle(self, sim):
        with sim.bus() as raw:
            self.assertTrue(raw.control("power-cycle")[0])

    def digest(self, sim):
        path = sim.folder / "digest"
        path.write_bytes(os.urandom(32))
        return path

    def test_blank(self):
        sim = Simulator(options=("--create", "--no-watchdog", "--model", "508a")).start()
        self.addCleanup(sim.end)
        self.assertIn("token not recognized", self.tool(f"sim:{sim.socket}", "-L").stdout)
        done = self.tool(f"sim:{sim.socket}", "-O", check=False)
        self.assertNotEqual(done.returncode, 0)


class OpenScTest(Pkcs11Test):
    def test_lists(self):
        listed = self.tool("-L", "-T", "-I").text
        self.assertIn("Cryptoki version 2.40", listed)
        self.assertRegex(listed, r"token label *: 1\n")
        self.assertRegex(listed, r"token model *: ATECC608B\n")
        self.assertRegex(listed, r"serial num *: [0-9A-F]{16}\n")
        self.assertIn("rng, token initialized, readonly", listed)

    def test_mechanisms(self):
        listed = self.tool("-M").text
        self.assertEqual(re.findall(r"^  ([A-Z0-9-]+),", listed, re.M), ["ECDSA", "ECDSA-SHA256", "ECDH1-DERIVE", "SHA256"])

    def test_objects(self):
        listed = self.tool("-O").text
        self.assertEqual(re.findall(r"^(\w+(?: Key)?) Object", listed, re.M), ["Private Key", "Public Key"] + ["Certificate"] * 4)
        self.assertEqual(re.findall(r"ID: *(\w+)", listed), ["31", "31", "31", "3173", "3161", "316173"])
        self.assertEqual(re.findall(r"label: *(.+)", listed), ["1", "1", "1", "1 signer", "1 aux", "1 aux signer"])
        self.assertIn("sensitive, always sensitive, never extractable, local", listed)
        self.assertIn("DN: CN=N1234", listed)

    def test_self_test(self):
        done = self.tool("--test", "--login", "--pin", "1234")
        self.assertIn("No errors", done.text)
        self.assertIn("SHA256: OK", done.text)

    def test_signs_digests_of_any_length(self):
        for length in (20, 32, 48, 64):
            with self.subTest(length=length):
                digest, signature = self.file("digest", os.urandom(length)), self.home / "signature"
                key = ("-m", "ECDSA", "--id", "31", "-i", digest, "--signature-format", "openssl")
                self.tool("--sign", *key, "-o", signature)
                self.verify_digest(digest, signature)
                self.assertIn("Signature is valid", self.tool("--verify", *key, "--signature-file", signature).text)
                digest.write_bytes(os.urandom(length))
                self.assertIn("Invalid signature", self.tool("--verify", *key, "--signature-file", signature, check=False).text)

    def test_signs_messages(self):
        """Larger than one call's worth, so OpenSC gives it in parts."""
        message, signature = self.file("message", os.urandom(300000)), self.home / "message.sig"
        self.tool("--sign", "-m", "ECDSA-SHA256", "--id", "31", "-i", message, "-o", signature, "--signature-format", "openssl")
        run("openssl", "dgst", "-sha256", "-verify", self.public, "-signature", signature, message)

    def test_hashes(self):
        message, digest = self.file("hashed", os.urandom(5000)), self.home / "hashed.sha256"
        self.tool("--hash", "-m", "SHA256", "-i", message, "-o", digest)
        self.assertEqual(digest.read_bytes(), hashlib.sha256(message.read_bytes()).digest())

    def test_reads_objects(self):
        for name, arguments in (("device", ["device"]), ("signer", ["signer"]), ("aux", ["aux"]), ("aux-signer", ["aux-signer"])):
            identifier = {"device": "31", "signer": "3173", "aux": "3161", "aux-signer": "316173"}[name]
            path = self.home / f"{name}.der"
            self.tool("--read-object", "--type", "cert", "--id", identifier, "-o", path)
            want = run(program("nerveskey"), "certificate", *arguments, "-b", f"sim:{self.sim.socket}").stdout
            self.assertEqual(run("openssl", "x509", "-inform", "DER", "-in", path).stdout, want)
        self.tool("--read-object", "--type", "pubkey", "--id", "31", "-o", self.home / "read.pub")
        self.assertEqual(run("openssl", "pkey", "-pubin", "-inform", "DER", "-in", self.home / "read.pub").stdout, self.public.read_text())

    def test_derives(self):
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.home / "peer.key")
        run("openssl", "pkey", "-in", self.home / "peer.key", "-pubout", "-outform", "DER", "-out", self.home / "peer.pub")
        self.tool("--derive", "-m", "ECDH1-DERIVE", "--id", "31", "-i", self.home / "peer.pub", "-o", self.home / "secret")
        run("openssl", "pkeyutl", "-derive", "-inkey", self.home / "peer.key", "-peerkey", self.public, "-out", self.home / "secret.openssl")
        self.assertEqual((self.home / "secret").read_bytes(), (self.home / "secret.openssl").read_bytes())

    def test_random(self):
        for name in ("a", "b"):
            self.tool("--generate-random", "100", "-o", self.home / name)
        self.assertEqual(len((self.home / "a").read_bytes()), 100)
        self.assertNotEqual((self.home / "a").read_bytes(), (self.home / "b").read_bytes())

    def test_refuses_to_change_anything(self):
        for arguments in (["--keypairgen", "--key-type", "EC:prime256v1"], ["--delete-object", "--type", "privkey", "--id", "31"], ["--init-token", "--label", "x", "--so-pin", "1"],
                          ["--write-object", self.device, "--type", "cert"]):
            self.assertNotEqual(self.tool(*arguments, check=False).returncode, 0, arguments)
        self.test_objects()


def as_user():
    """p11-kit ignores a user's configuration where the user is root; this makes him somebody else, for himself only."""
    return ["unshare", "--user", "--map-user=1000"] if os.getuid() == 0 else []


class GnuTlsTest(Pkcs11Test):
    def test_p11tool(self):
        listed = self.call("p11tool", "--provider", MODULE, "--list-all", KEY).text
        self.assertEqual(re.findall(r"URL: .*;type=(\w+)", listed), ["private", "public"] + ["cert"] * 4)
        self.assertIn(";token=1;id=%31;object=1;type=private", listed)
        signed = self.call("p11tool", "--provider", MODULE, "--test-sign", GNUTLS_KEY)
        self.assertIn("Verifying against private key parameters... ok", signed.text + signed.errors)
        self.assertIn("Verifying against public key in the token... ok", signed.text + signed.errors)
        exported = self.call("p11tool", "--provider", MODULE, "--export", GNUTLS_CERT).text
        self.assertEqual(run("openssl", "x509", "-in", self.file("exported.pem", exported.encode())).stdout, self.device.read_text())

    def test_p11_kit_knows_the_module_file(self):
        listed = self.call(*as_user(), "p11-kit", "list-modules").text
        self.assertIn("nerveskey: ", listed)
        self.assertRegex(listed, r"library-description: NervesKey PKCS#11 Library\n")
        self.assertRegex(listed, r"token: 1\n")


class OpenSshTest(Pkcs11Test):
    def test_agent_signs(self):
        """ssh-agent keeps the module in a helper's process; its PIN is asked for and empty."""
        listed = self.call("ssh-keygen", "-D", MODULE).text.splitlines()[0]
        self.assertEqual(listed.split()[:2], run("ssh-keygen", "-i", "-m", "PKCS8", "-f", self.public).stdout.split()[:2])
        public, message, allowed = self.file("ssh.pub", listed.encode()), self.file("message", b"a message"), self.file("allowed", b"line " + listed.encode())
        ask = self.file("ask", b"#!/bin/sh\necho\n")
        ask.chmod(0o700)
        socket = self.home / "agent"
        agent = subprocess.Popen(["ssh-agent", "-d", "-a", socket, "-P", MODULE.resolve()], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(agent.stdout.close)
        self.addCleanup(agent.wait, DEADLINE)
        self.addCleanup(agent.terminate)
        agent.stdout.readline()  # it listens
        env = {"SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        self.call("ssh-add", "-s", MODULE, env=env)
        self.call("ssh-keygen", "-Y", "sign", "-n", "file", "-f", public, message, env=env)
        for text, good in ((b"a message", True), (b"another", False)):
            done = self.call("ssh-keygen", "-Y", "verify", "-n", "file", "-I", "line", "-f", allowed, "-s", f"{message}.sig", text=text, check=False)
            self.assertEqual(done.returncode == 0, good, done.errors)


class NssTest(Pkcs11Test):
    def test_certutil(self):
        """NSS takes the certificates for its own, knows which one has a key, and signs with it."""
        nss = f"sql:{self.home}"
        noise = self.file("noise", os.urandom(32))
        self.call("certutil", "-N", "-d", nss, "--empty-password")
        self.call("modutil", "-force", "-dbdir", nss, "-add", "nerveskey", "-libfile", MODULE)
        certificates = self.call("certutil", "-L", "-d", nss, "-h", "all").text
        for name, trust in (("1:1", "u,u,u"), ("1:1 aux", ",,"), ("1:1 signer", ",,"), ("1:1 aux signer", ",,")):  # the key's id is the first pair's
            self.assertRegex(certificates, rf"(?m)^{name} +{trust} *$")
        request = self.home / "nss.csr"
        self.call("certutil", "-R", "-d", nss, "-h", "1", "-k", "31", "-s", "CN=x", "-a", "-o", request, "-z", noise)
        done = run("openssl", "req", "-in", request, "-noout", "-verify", "-pubkey")
        self.assertEqual(done.stdout, self.public.read_text())


class TlsServer:
    """openssl s_server, which lets nobody in without a certificate of the signer's. It knows only the signer."""

    def __init__(self, case, *options):
        # line by line, since it says its port into a pipe
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(case.server[0]), "-key", str(case.server[1]), "-CAfile", str(case.home / "signer.cert"),
             "-Verify", "2", "-verify_return_error", "-www", *options],
            env={**os.environ, "OPENSSL_CONF": "/dev/null"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for line in self.process.stdout:
            if line.startswith(b"ACCEPT"):
                self.port = int(line.rsplit(b":", 1)[1])
                return
        raise AssertionError("s_server did not start")

    def end(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.stdout.close()
        self.process.wait(DEADLINE)


class TlsTest(Pkcs11Test):
    """Mutual authentication; the server's page names the certificate it was shown."""

    REQUEST = b"GET / HTTP/1.0\r\n\r\n"

    def serve(self, *options):
        server = TlsServer(self, *options)
        self.addCleanup(server.end)
        return server

    def assert_page(self, page, version):
        self.assertIn("Client certificate\n", page)
        self.assertRegex(page, r"Subject: CN *= *N1234\n")
        self.assertRegex(page, rf"\n *Protocol *: {re.escape(version)}\n")

    def s_client(self, server, *options, check=True):
        return self.call("openssl", "s_client", "-engine", "pkcs11", "-keyform", "engine", "-key", KEY, "-cert", self.device, "-CAfile", self.ca, "-verify_return_error", "-quiet",
                         "-connect", f"127.0.0.1:{server.port}", *options, text=self.REQUEST, check=check)

    def test_openssl(self):
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            with self.subTest(version=version):
                self.assert_page(self.s_client(self.serve(option)).text, version)

    def test_openssl_sha384(self):
        """A server that wants its proof over SHA-384: 48 bytes for a key of 32."""
        self.assert_page(self.s_client(self.serve("-tls1_2", "-client_sigalgs", "ECDSA+SHA384")).text, "TLSv1.2")
        self.assert_page(self.s_client(self.serve("-tls1_2", "-client_sigalgs", "ECDSA+SHA512")).text, "TLSv1.2")

    def test_server_refuses_others(self):
        """The check of the checks: a key that doesn't belong to the certificate gets no page."""
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.home / "other.key")
        run("openssl", "req", "-x509", "-new", "-key", self.home / "other.key", "-subj", "/CN=N1234", "-out", self.home / "other.pem")
        server = self.serve()
        done = subprocess.run(["openssl", "s_client", "-key", self.home / "other.key", "-cert", self.home / "other.pem", "-CAfile", self.ca, "-quiet", "-connect", f"127.0.0.1:{server.port}"],
                              input=self.REQUEST, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
        self.assertNotIn(b"Client certificate", done.stdout)

    def test_curl(self):
        for version, name in (("--tlsv1.2", "TLSv1.2"), ("--tlsv1.3", "TLSv1.3")):
            server = self.serve("-tls1_2" if name == "TLSv1.2" else "-tls1_3")
            page = self.call("curl", "-sS", version, "--engine", "pkcs11", "--key-type", "ENG", "--key", KEY, "--cert", self.device, "--cacert", self.ca,
                             f"https://localhost:{server.port}/").text
            self.assert_page(page, name)

    def test_gnutls(self):
        """Key and certificate from the chip, found through p11-kit's configuration."""
        for version in ("1.2", "1.3"):
            with self.subTest(version=version):
                server = self.serve()
                page = self.call(*as_user(), "gnutls-cli", "--x509keyfile", GNUTLS_KEY, "--x509certfile", GNUTLS_CERT, "--x509cafile", self.ca, "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}",
                                 "-p", server.port, "127.0.0.1", "--logfile", "/dev/null", text=self.REQUEST).text
                self.assert_page(page, f"TLSv{version}")

    def test_openssl_signs_requests(self):
        self.call("openssl", "req", "-engine", "pkcs11", "-keyform", "engine", "-key", KEY, "-new", "-subj", "/CN=x", "-out", self.home / "x.csr")
        run("openssl", "req", "-in", self.home / "x.csr", "-noout", "-verify")

    def test_processes_at_once(self):
        """Eight programs, one chip: the bus goes round."""
        digest = self.file("shared.digest", os.urandom(32))
        running = [subprocess.Popen(["openssl", "pkeyutl", "-engine", "pkcs11", "-keyform", "engine", "-inkey", KEY, "-sign", "-in", digest, "-out", self.home / f"shared.{n}"],
                                    env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for n in range(8)]
        for n, process in enumerate(running):
            output = process.communicate(timeout=DEADLINE)[0]
            self.assertEqual(process.returncode, 0, output)
            self.verify_digest(digest, self.home / f"shared.{n}")


if __name__ == "__main__":
    unittest.main()
