"""nerveskey on simulated chips: provisioning of every model, interrupted at every command and resumed; a production line; settings, signatures, tokens, certificates as OpenSSL sees them; exit statuses."""

import base64
import concurrent.futures
import datetime
import hashlib
import json
import os
import queue
import re
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from nhtest import DEADLINE, program, run
from simulator import Simulator
from test_faults import faketime_library, preload

NERVESKEY = program("nerveskey")
OK, FAILED, USAGE, NO_CHIP, NOT_PROVISIONED, PROVISIONED, FOREIGN, REFUSED, IO, INTERRUPTED, BURNT, UNTRUE, UNFINISHED, LATCHED = range(14)
WRITE, LOCK, GENKEY = 0x12, 0x17, 0x40


def nerveskey(*args, bus=None, status=OK, environment=os.environ, **kwargs):
    env = {**environment, **({"NERVESKEY_BUS": str(bus)} if bus else {})}
    done = run(NERVESKEY, *args, check=False, env=env, **kwargs)
    if status is not None and done.returncode != status:
        raise AssertionError(f"nerveskey {' '.join(map(str, args))}: {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}")
    return done


def answer(*args, **kwargs):
    return json.loads(nerveskey(*args, "--json", **kwargs).stdout)


def der_signature(raw):
    def number(part):
        part = part.lstrip(b"\0") or b"\0"
        return b"\2" + bytes([len(part) + (part[0] >> 7)]) + b"\0" * (part[0] >> 7) + part

    body = number(raw[:32]) + number(raw[32:])
    return b"\x30" + bytes([len(body)]) + body


class Chips(unittest.TestCase):
    """A folder with a signer; simulators are started in it."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="nhkey-")
        cls.addClassCleanup(folder.cleanup)
        cls.home = Path(folder.name)
        nerveskey("signer", "create", cls.home / "signer", "--years-valid", "3")
        cls.signer = ("--signer-cert", cls.home / "signer.cert", "--signer-key", cls.home / "signer.key")

    def start(self, *options):
        sim = Simulator(options=("--create", "--no-watchdog", *options)).start()
        self.addCleanup(sim.end)
        return sim

    def provisioned(self, *args, options=()):
        sim = self.start(*options)
        nerveskey("provision", *self.signer, "--yes", *args, bus=f"sim:{sim.socket}")
        return sim, f"sim:{sim.socket}"

    def verify_chain(self, *chains):
        """OpenSSL's verdict on device certificates, with the signer's as the only root."""
        names = []
        for i, pem in enumerate(chains):
            names.append(self.home / f"{self.id()}-{i}.pem")
            names[-1].write_text(pem)
        done = run("openssl", "verify", "-purpose", "sslclient", "-CAfile", self.home / "signer.cert", *names)
        self.assertEqual(done.stdout, "".join(f"{name}: OK\n" for name in names))


class Provision(Chips):
    def test_every_model(self):
        for model, name in (("508a", "ATECC508A"), ("608a", "ATECC608A"), ("608b", "ATECC608B")):
            with self.subTest(model):
                sim = self.start("--model", model)
                bus = f"sim:{sim.socket}"
                order = (*self.signer, "--serial", f"W-{model}", "--board-name", "board", "--user-data", "00c0ffee")
                blank = sim.chips[0].read_bytes()
                self.assertEqual(answer("status", bus=bus, status=NOT_PROVISIONED)["state"], "not-provisioned")
                plan = answer("provision", *order, bus=bus)
                text = nerveskey("provision", *order, bus=bus).stdout
                self.assertEqual(sim.chips[0].read_bytes(), blank, "a dry run wrote")
                self.assertIn("Dry run: nothing was written", text)
                for change in plan["configuration_changes"]:
                    self.assertIn(f"{change['byte']:3}: {change['from']} -> {change['to']}", text)
                self.assertIn("00 c0 ff ee", text)

                receipt_file = self.home / f"{model}.json"
                receipt = answer("provision", *order, "--yes", "--receipt", receipt_file, bus=bus)
                self.assertEqual(json.loads(receipt_file.read_text()), receipt)
                # What was shown is what was burnt: all but the locks.
                config, planned = bytes.fromhex(receipt["configuration"]), bytes.fromhex(plan["configuration"])
                self.assertEqual([i for i in range(128) if config[i] != planned[i]], [86, 87, 88])
                self.assertEqual(json.loads(sim.chips[0].read_text())["otp"].lower(), plan["otp"])
                info = answer("info", bus=bus)
                self.assertEqual((info["model"], info["manufacturer_serial"], info["board_name"], info["layout"], info["state"]), (name, f"W-{model}", "board", "nerveskey", "ok"))
                self.assertEqual(info["user_data"], "00c0ffee" + "00" * 28)
                self.assertEqual((info["public_key"], info["chip_serial"]), (receipt["public_key"], receipt["chip_serial"]))
                self.assertEqual(nerveskey("serial", bus=bus).stdout, f"W-{model}\n")
                self.assertTrue(answer("test", bus=bus)["ok"])
                self.assertTrue(answer("doctor", bus=bus)["ok"])
                self.verify_chain(receipt["certificate"]["pem"], nerveskey("certificate", "device", "--chain", bus=bus).stdout)
                done = sim.chips[0].read_bytes()
                self.assertIn("already provisioned", nerveskey("provision", *order, "--yes", bus=bus, status=PROVISIONED).stderr)
                nerveskey("repair", "--yes", bus=bus, status=PROVISIONED)
                self.assertEqual(sim.chips[0].read_bytes(), done)

    def test_refused_orders_write_nothing(self):
        sim = self.start("--model", "508a")
        bus, blank = f"sim:{sim.socket}", sim.chips[0].read_bytes()
        nerveskey("signer", "create", self.home / "other")
        openssl = self.home / "openssl.cert"
        run("openssl", "req", "-x509", "-key", self.home / "signer.key", "-subj", "/CN=Our Signer", "-days", "365", "-out", openssl)
        (self.home / "short").write_bytes(b"x" * 15)
        keys = ("--activation-key", "00" * 16, "--encryption-key", "11" * 16)
        rows = [
            (("--serial", "a/b"), REFUSED, "/"), (("--serial", "x" * 49), REFUSED, "48"), (("--serial", ""), REFUSED, "empty"), (("--board-name", "x" * 11), REFUSED, "10"),
            (("--serial", "x" * 17, "--user-data", "00"), REFUSED, "16"), (("--user-data", "00" * 33), REFUSED, "32"), (("--user-data", "0"), REFUSED, "hexadecimal"),
            (("--volatile", *keys), REFUSED, "latch"), (("--volatile",), USAGE, "--activation-key"), (keys, USAGE, "--volatile"),
            (("--volatile", "--activation-key", f"@{self.home}/short", "--encryption-key", "11" * 16), REFUSED, "15"),
            (("--signer-key", self.home / "other.key"), REFUSED, "does not belong"), (("--signer-cert", openssl), REFUSED, "whole hours"),
            (("--signer-cert", self.home / "none"), REFUSED, "No such file"), (("--signer-key", self.home / "signer.cert"), REFUSED, "signer.cert"),
            (("--receipt", self.home / "signer.cert"), REFUSED, "Refusing to overwrite"),
        ]
        for more, status, says in rows:
            with self.subTest(more):
                done = nerveskey("provision", *self.signer, *more, "--yes", bus=bus, status=status)
                self.assertIn(says, done.stderr)
                self.assertEqual(sim.chips[0].read_bytes(), blank)
        self.assertEqual(answer("provision", *self.signer, "--serial", "a/b", bus=bus, status=REFUSED)["code"], "refused")

    def test_longest_serial(self):
        for serial in ("1234567890" * 4 + "12345678", "g\u00e4\u00df-" * 8):
            sim, bus = self.provisioned("--serial", serial)
            self.assertEqual(answer("info", bus=bus)["manufacturer_serial"], serial)
            pem = nerveskey("certificate", "device", bus=bus).stdout
            self.verify_chain(pem)
            subject = run("openssl", "x509", "-noout", "-subject", "-nameopt", "utf8,sep_comma_plus", "-in", self.home / f"{self.id()}-0.pem").stdout
            self.assertEqual(subject.strip(), f"subject=CN={serial}")

    def test_foreign_layout(self):
        sim = self.start()
        with sim.bus() as bus:
            bus.wake()
            self.assertEqual(bus.command(0x17, 0x80), b"\0")  # locks the factory's configuration
        name = f"sim:{sim.socket}"
        locked = sim.chips[0].read_bytes()
        done = answer("provision", *self.signer, "--yes", bus=name, status=FOREIGN)
        self.assertEqual(done["code"], "foreign-layout")
        self.assertEqual(sim.chips[0].read_bytes(), locked)
        self.assertEqual(answer("status", bus=name, status=FOREIGN)["layout"], "foreign")
        self.assertIn(0, answer("info", bus=name)["differing_slots"])
        nerveskey("sign", "--digest", "00" * 32, bus=name, status=FOREIGN)
        nerveskey("doctor", bus=name, status=FOREIGN)


@unittest.skipUnless(faketime_library(), "libfaketime is not installed")
class Clocks(Chips):
    """Certificates carry the host's time for ever: a wrong clock must not get into them."""

    def at(self, time):
        return {**os.environ, "LD_PRELOAD": preload(), "FAKETIME": f"@{time}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def test_wrong_clock(self):
        sim = self.start()
        bus, blank = f"sim:{sim.socket}", sim.chips[0].read_bytes()
        yesterday = (datetime.datetime.now() - datetime.timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S")
        for at, says in (("1970-01-02 00:00:00", "clock is before"), ("2033-01-01 00:00:00", "clock is after"), (yesterday, "not valid yet")):
            done = nerveskey("provision", *self.signer, "--yes", bus=bus, environment=self.at(at), status=REFUSED)
            self.assertIn(says, done.stderr)
            self.assertEqual(sim.chips[0].read_bytes(), blank)
        for command in (("signer", "create", self.home / "wrong"), ("device", "create", "wrong", *self.signer), ("batch", *self.signer, "--yes")):
            self.assertIn("clock is before", nerveskey(*command, environment=self.at("1970-01-02 00:00:00"), cwd=self.home, status=REFUSED).stderr)
        self.assertFalse((self.home / "wrong.cert").exists() or (self.home / "wrong.key").exists())
        # A provisioned device that lost its clock says so.
        nerveskey("provision", *self.signer, "--yes", bus=bus)
        lost = self.at("1970-01-02 00:00:00")
        self.assertIn("clock is before", nerveskey("doctor", bus=bus, environment=lost, status=UNTRUE).stdout)
        self.assertIn("clock is before", nerveskey("test", bus=bus, environment=lost, status=UNTRUE).stdout)
        nerveskey("jwt", bus=bus, environment=lost, status=REFUSED)

    def test_leap_day(self):
        sim = self.start()
        bus, leap = f"sim:{sim.socket}", self.at("2028-02-29 13:14:15")
        nerveskey("signer", "create", self.home / "leap", environment=leap)
        receipt = answer("provision", "--signer-cert", self.home / "leap.cert", "--signer-key", self.home / "leap.key", "--yes", bus=bus, environment=leap)
        self.assertEqual((receipt["certificate"]["not_before"], receipt["certificate"]["not_after"]), ("2028-02-28T13:00:00Z", "2059-02-28T13:00:00Z"))
        pem = self.home / "leap.pem"
        pem.write_text(receipt["certificate"]["pem"])
        run("openssl", "verify", "-no_check_time", "-CAfile", self.home / "leap.cert", pem)


class Interrupted(Chips):
    """Power goes before or after a command and stays away; then it is back, and the same command, or repair, ends what was begun."""

    EXHAUSTIVE = "NH_EXHAUSTIVE" in os.environ  # every command with both faults; otherwise all that change something, and some of the reads

    def commands(self):
        """Opcodes of an undisturbed provisioning, in order."""
        sim = self.start()
        recording = self.home / "recording"
        nerveskey("provision", *self.signer, "--yes", bus=f"record:{recording},sim:{sim.socket}")
        return [int(op, 16) for op in re.findall(r"^W 0x60 03..(..)", recording.read_text(), re.M)]

    def plan(self):
        """(fault, which command) of each attempt. Before a command is after the one in front of it but for an answer that was lost, so `after` is tried where that matters most."""
        reads, writes = 0, 0
        for n, opcode in enumerate(self.commands()):
            if self.EXHAUSTIVE or opcode in (LOCK, GENKEY):
                yield from (("power-before", n), ("power-after", n))
            elif opcode == WRITE:
                writes += 1
                yield ("power-after" if writes % 4 == 0 else "power-before", n)
            else:
                reads += 1
                if reads % 12 == 1:
                    yield ("power-before", n)
        yield ("power-before", n + 1)

    def attempt(self, sim, control, fault, n):
        """One interruption and what follows. Returns the first exit status and the device's certificate."""
        bus, order = f"sim:{sim.socket}", ("provision", *self.signer, "--serial", "W-1", "--yes")
        for command in ("wipe", f"fault {fault}:{n}:1000000"):
            self.assertTrue(control.control(command)[0])
        first = nerveskey(*order, bus=bus, status=None)
        config = bytes.fromhex(json.loads(sim.chips[0].read_text())["config"])
        where = f"{fault} {n}: {first.returncode} {first.stderr}"
        self.assertTrue(control.control(f"fault {fault}:0:0")[0])
        if first.returncode == OK:
            return OK, nerveskey("certificate", "device", bus=bus).stdout
        # What it says about locks is true.
        self.assertIn(first.returncode, (NO_CHIP, INTERRUPTED, BURNT), where)
        self.assertTrue(config[87] == 0x55 or first.returncode == BURNT, where)
        self.assertTrue(config[87] == 0 or first.returncode != BURNT or "is not known" in first.stderr, where)
        self.assertIn({NO_CHIP: "no answer to wake", INTERRUPTED: "nothing irreversible was done", BURNT: "goes on where it stopped"}[first.returncode], first.stderr, where)
        data_locked, key_open = config[86] == 0, config[88] & 1
        if data_locked and key_open and fault == "power-before":
            self.assertEqual(answer("status", bus=bus, status=UNFINISHED)["state"], "unfinished")
            nerveskey("repair", "--yes", bus=bus)
            certificate = nerveskey("certificate", "device", bus=bus).stdout
        elif data_locked and not key_open:
            nerveskey(*order, bus=bus, status=PROVISIONED)
            certificate = nerveskey("certificate", "device", bus=bus).stdout
        else:
            certificate = answer(*order, bus=bus)["certificate"]["pem"]
        config = bytes.fromhex(json.loads(sim.chips[0].read_text())["config"])
        self.assertEqual((config[86], config[87], config[88] & 1), (0, 0, 0), where)
        return first.returncode, certificate

    def attempts(self, model, rows):
        sim = self.start("--model", model)
        with sim.bus() as control:
            return [self.attempt(sim, control, fault, n) for fault, n in rows]

    def test_at_every_command(self):
        rows, models = list(self.plan()), ("508a", "608a", "608b")
        self.assertGreater(len(rows), 70)
        lines = 9  # an attempt is nearly all waiting, for a chip that does not answer
        with concurrent.futures.ThreadPoolExecutor(lines) as pool:
            jobs = [pool.submit(self.attempts, models[i % 3], rows[i::lines]) for i in range(lines)]
            done = [row for job in jobs for row in job.result()]
        self.assertLessEqual({OK, INTERRUPTED, BURNT}, {code for code, _ in done})
        self.verify_chain(*(certificate for _, certificate in done))


class Uses(Chips):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sim = Simulator().start()
        cls.addClassCleanup(cls.sim.end)
        cls.bus = f"sim:{cls.sim.socket}"
        nerveskey("provision", *cls.signer, "--serial", "uses", "--yes", bus=cls.bus)
        cls.message = cls.home / "message"
        cls.message.write_bytes(b"a message\n")
        cert = cls.home / "device.pem"
        nerveskey("certificate", "device", "-o", cert, bus=cls.bus)
        cls.public = cls.home / "public.pem"
        cls.public.write_text(run("openssl", "x509", "-noout", "-pubkey", "-in", cert).stdout)

    def openssl_verifies(self, signature, message):
        (self.home / "signature").write_bytes(signature)
        (self.home / "signed").write_bytes(message)
        return "Verified OK" in run("openssl", "dgst", "-sha256", "-verify", self.public, "-signature", self.home / "signature", self.home / "signed", check=False).stdout

    def test_signatures(self):
        message = self.message.read_bytes()
        raw = bytes.fromhex(nerveskey("sign", self.message, bus=self.bus).stdout)
        self.assertTrue(self.openssl_verifies(der_signature(raw), message))
        der = self.home / "der"
        nerveskey("sign", "--digest", hashlib.sha256(message).hexdigest(), "--encoding", "der", "-f", "binary", "-o", der, bus=self.bus)
        self.assertTrue(self.openssl_verifies(der.read_bytes(), message))
        done = subprocess.run([NERVESKEY, "-b", self.bus, "sign", "-f", "base64", "-"], input=message, stdout=subprocess.PIPE, timeout=DEADLINE, check=True)
        self.assertTrue(self.openssl_verifies(der_signature(base64.b64decode(done.stdout)), message))
        for signature in (f"@{der}", raw.hex(), base64.b64encode(der.read_bytes()).decode()):
            for more in ((), ("--in-chip",), ("--public-key", self.public)):
                nerveskey("verify", self.message, "--signature", signature, *more, bus=self.bus)
                nerveskey("verify", "--digest", "00" * 32, "--signature", signature, *more, bus=self.bus, status=UNTRUE)
        nerveskey("verify", self.message, "--signature", "00", bus=self.bus, status=REFUSED)
        nerveskey("sign", self.home / "none", bus=self.bus, status=REFUSED)
        nerveskey("sign", "--digest", "00", bus=self.bus, status=REFUSED)
        nerveskey("sign", self.message, "-f", "text", bus=self.bus, status=USAGE)

    def test_key_agreement(self):
        peer, peer_public = self.home / "peer.pem", self.home / "peer-public.pem"
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", peer)
        run("openssl", "ec", "-in", peer, "-pubout", "-out", peer_public)
        nerveskey("ecdh", peer_public, "-o", self.home / "secret", bus=self.bus)
        self.assertEqual((self.home / "secret").stat().st_mode & 0o777, 0o600)
        run("openssl", "pkeyutl", "-derive", "-inkey", peer, "-peerkey", self.public, "-out", self.home / "shared")
        self.assertEqual(nerveskey("ecdh", peer_public, bus=self.bus).stdout.strip(), (self.home / "shared").read_bytes().hex())
        nerveskey("ecdh", self.message, bus=self.bus, status=REFUSED)

    def test_tokens(self):
        token = nerveskey("jwt", "--aud", "project", "--lifetime", "90m", "--claim", "n=5", "--claim", "t=five", "--claim", "f=true", bus=self.bus).stdout.strip()
        header, payload, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
        self.assertEqual(json.loads(header), {"alg": "ES256", "typ": "JWT"})
        claims = json.loads(payload)
        self.assertEqual({k: v for k, v in claims.items() if k not in ("iat", "exp")}, {"aud": "project", "n": 5, "t": "five", "f": True})
        self.assertEqual(claims["exp"] - claims["iat"], 5400)
        self.assertTrue(self.openssl_verifies(der_signature(signature), token.rsplit(".", 1)[0].encode()))
        self.assertEqual(answer("jwt", "--payload", '{"a":1}', bus=self.bus)["claims"], {"a": 1})
        nerveskey("jwt", "--payload", "[]", bus=self.bus, status=REFUSED)
        nerveskey("jwt", "--claim", "n", bus=self.bus, status=REFUSED)

    def test_settings(self):
        self.assertEqual(answer("settings", "get", bus=self.bus, status=NOT_PROVISIONED)["code"], "not-provisioned")
        settings = {"name": "w", "n": [1, -2, 3.5, None, True], ":atom": {"bytes": {"$bytes": "/wA="}}}
        nerveskey("settings", "put", json.dumps(settings), bus=self.bus)
        self.assertEqual(json.loads(nerveskey("settings", "get", bus=self.bus).stdout), settings)
        self.assertEqual(nerveskey("settings", "get", "name", bus=self.bus).stdout, "w\n")
        nerveskey("settings", "get", "none", bus=self.bus, status=NOT_PROVISIONED)
        before = nerveskey("settings", "raw", bus=self.bus).stdout
        self.assertEqual(len(before.strip()), 2 * 524)
        for bad in ("[]", "{", json.dumps({"x": "y" * 520})):
            nerveskey("settings", "put", bad, bus=self.bus, status=REFUSED)
        self.assertEqual(nerveskey("settings", "raw", bus=self.bus).stdout, before)
        nerveskey("settings", "raw", "--put", "836d0000ffff", bus=self.bus)
        self.assertRegex(nerveskey("settings", "get", bus=self.bus, status=UNTRUE).stderr, r"^nerveskey: the settings are not readable .*; write them again; nerveskey settings raw shows the bytes")
        (self.home / "settings").write_text('{"from": "file"}')
        nerveskey("settings", "put", f"@{self.home}/settings", bus=self.bus)
        self.assertEqual(json.loads(nerveskey("settings", "get", bus=self.bus).stdout), {"from": "file"})

    def test_auxiliary(self):
        nerveskey("certificate", "aux", bus=self.bus, status=NOT_PROVISIONED)
        nerveskey("signer", "create", self.home / "second")
        nerveskey("provision-aux", "--signer-cert", self.home / "second.cert", "--signer-key", self.home / "second.key", bus=self.bus)
        aux, signer = nerveskey("certificate", "aux", bus=self.bus).stdout, nerveskey("certificate", "aux-signer", bus=self.bus).stdout
        self.assertEqual(signer, (self.home / "second.cert").read_text())
        (self.home / "aux.pem").write_text(aux)
        run("openssl", "verify", "-CAfile", self.home / "second.cert", self.home / "aux.pem")
        self.assertNotEqual(run("openssl", "verify", "-CAfile", self.home / "signer.cert", self.home / "aux.pem", check=False).returncode, 0)
        self.assertEqual(run("openssl", "x509", "-noout", "-pubkey", "-in", self.home / "aux.pem").stdout, self.public.read_text())
        nerveskey("clear-aux", bus=self.bus)
        nerveskey("certificate", "aux-signer", bus=self.bus, status=NOT_PROVISIONED)

    def test_certificates(self):
        self.assertEqual(nerveskey("certificate", "signer", bus=self.bus).stdout, (self.home / "signer.cert").read_text())
        der = self.home / "der.crt"
        nerveskey("certificate", "device", "--der", "-o", der, bus=self.bus)
        facts = answer("certificate", "device", bus=self.bus)
        self.assertEqual(facts["sha256"], hashlib.sha256(der.read_bytes()).hexdigest())
        self.assertEqual(facts["common_name"], "uses")
        nerveskey("certificate", "both", bus=self.bus, status=USAGE)
        nerveskey("certificate", "device", "--der", "--chain", bus=self.bus, status=USAGE)

    def test_others(self):
        self.assertNotEqual(nerveskey("random", bus=self.bus).stdout, nerveskey("random", bus=self.bus).stdout)
        self.assertEqual(len(nerveskey("random", "100", "-f", "binary", "-o", self.home / "random", bus=self.bus).stdout), 0)
        self.assertEqual((self.home / "random").stat().st_size, 100)
        nerveskey("random", "0", bus=self.bus, status=USAGE)
        self.assertEqual(len(answer("config", "show", bus=self.bus)["slots"]), 16)
        self.assertEqual(answer("detect", "--scan", bus=self.bus)["found"], [{"bus": f"simulator {self.sim.socket} address 0x60", "address": 0x60}])
        nerveskey("latch", bus=self.bus, status=REFUSED)

    def test_names_for_pkcs11(self):
        self.assertEqual(answer("pkcs11-uri", bus=self.bus), {"uri": "pkcs11:token=nerveskey;object=nerveskey;type=private", "module_configuration": f"{self.bus}@0x60 label=nerveskey"})
        for spec, address, token in (("i2c-1", "0x60", 1), ("/dev/i2c-1", "0x35", 17), ("nerveskey://i2c-1?address=0x60", "0x35", 17)):
            self.assertEqual(nerveskey("pkcs11-uri", "-a", address, bus=spec, environment=self.sim.environment()).stdout, f"pkcs11:token={token};object={token};type=private\n")

    def test_i2c(self):
        """The same chip as /dev/i2c-1, in front of the C library."""
        shim = self.sim.environment()
        self.assertEqual(nerveskey("serial", bus="i2c-1", environment=shim).stdout, "uses\n")
        self.assertEqual(nerveskey("detect", bus="i2c:1@0x60", environment=shim).stdout, "/dev/i2c-1 address 0x60: a chip answers\n")
        self.assertTrue(answer("test", bus="nerveskey://i2c-1", environment=shim)["ok"])
        self.assertEqual(answer("info", bus="i2c-2", environment=shim, status=NO_CHIP)["code"], "no-chip")

    def test_statuses(self):
        nerveskey(status=USAGE)
        nerveskey("explode", status=USAGE)
        self.assertIn("settings get, settings put, settings raw", nerveskey("settings", status=USAGE).stderr)
        nerveskey("info", "--nothing", status=USAGE)
        nerveskey("info", "extra", status=USAGE)
        nerveskey("info", bus="nonsense", status=USAGE)
        nerveskey("--help")
        nerveskey("provision", "--help")
        self.assertRegex(nerveskey("--version").stdout, r"^nerveskey \d")
        self.assertEqual(answer("info", bus="sim:/nowhere/at/all", status=NO_CHIP)["code"], "no-chip")
        self.assertRegex(nerveskey("info", "-a", "0x35", bus=self.bus, status=NO_CHIP).stderr, r"0x35: no answer to wake.*\n.*detect --scan tries")
        self.assertNotIn("detect --scan", nerveskey("detect", "--scan", bus="sim:/nowhere/at/all", status=NO_CHIP).stderr)
        nerveskey("-b", self.bus, "-a", "0x60", "serial")
        with self.sim.bus() as control:
            self.assertTrue(control.control("fault status:0:1000:15")[0])
            nerveskey("info", bus=self.bus, status=IO)
            self.assertTrue(control.control("fault status:0:0")[0])
        nerveskey("info", bus=self.bus)

    def test_broken_chip(self):
        with self.sim.bus() as control:
            self.assertTrue(control.control("fault crc:30:1000")[0])
            done = answer("test", bus=self.bus, status=None)
            self.assertTrue(control.control("fault crc:0:0")[0])
        self.assertIn("failed", [row["result"] for row in done["tests"]])
        self.assertFalse(done["ok"])


class Volatile(Chips):
    def test_key_works_after_unlocking_only(self):
        key = "000102030405060708090a0b0c0d0e0f"
        sim, bus = self.provisioned("--volatile", "--activation-key", key, "--encryption-key", "ff" * 16, "--serial", "volatile")
        self.assertEqual(answer("info", bus=bus)["layout"], "nerveskey-volatile")
        with sim.bus() as control:
            self.assertTrue(control.control("power-cycle")[0])
        self.assertFalse(answer("latch", bus=bus)["latch"])
        self.assertEqual(answer("sign", "--digest", "00" * 32, bus=bus, status=LATCHED)["code"], "latched")
        nerveskey("doctor", bus=bus, status=UNTRUE)
        nerveskey("unlock", "--activation-key", "00" * 16, bus=bus, status=UNTRUE)
        nerveskey("unlock", "--activation-key", "00", bus=bus, status=REFUSED)
        (self.home / "activation").write_bytes(bytes.fromhex(key))
        nerveskey("unlock", "--activation-key", f"@{self.home}/activation", bus=bus)
        self.assertTrue(answer("latch", bus=bus)["latch"])
        nerveskey("sign", "--digest", "00" * 32, bus=bus)
        self.verify_chain(nerveskey("certificate", "device", bus=bus).stdout)


class TrustAndGo(Chips):
    def test_reading(self):
        sim = self.start("--trust-and-go")
        bus = f"sim:{sim.socket}@0x35"
        info = answer("info", bus=bus)
        self.assertEqual((info["layout"], info["manufacturer_serial"]), ("trust-and-go", info["chip_serial"].upper()))
        facts = answer("certificate", "device", bus=bus)
        self.assertEqual(facts["public_key"], info["public_key"])
        self.assertEqual(facts["common_name"], "sn" + info["chip_serial"].upper())
        nerveskey("settings", "put", '{"a":1}', bus=bus)
        self.assertEqual(len(nerveskey("settings", "raw", bus=bus).stdout.strip()), 2 * 416)
        before = sim.chips[0].read_bytes()
        self.assertIn(nerveskey("provision", *self.signer, "--yes", bus=bus, status=None).returncode, (PROVISIONED, FOREIGN))
        self.assertEqual(sim.chips[0].read_bytes(), before)


class Files(Chips):
    def test_signer(self):
        out = nerveskey("signer", "create", self.home / "fresh").stdout
        self.assertTrue(out.startswith(f"Created signer cert, {self.home}/fresh.cert and private key, {self.home}/fresh.key.\n\nPlease store {self.home}/fresh.key in a safe place.\n\n"))
        self.assertEqual((self.home / "fresh.key").stat().st_mode & 0o777, 0o600)
        run("openssl", "verify", "-CAfile", self.home / "fresh.cert", self.home / "fresh.cert")
        self.assertIn("-----BEGIN EC PRIVATE KEY-----", (self.home / "fresh.key").read_text())
        before = (self.home / "fresh.cert").read_bytes()
        self.assertIn("Refusing to overwrite", nerveskey("signer", "create", self.home / "fresh", status=REFUSED).stderr)
        self.assertEqual((self.home / "fresh.cert").read_bytes(), before)
        (self.home / "half.key").write_text("mine")
        nerveskey("signer", "create", self.home / "half", status=REFUSED)
        self.assertFalse((self.home / "half.cert").exists())
        self.assertEqual((self.home / "half.key").read_text(), "mine")
        for years in ("0", "32", "x"):
            nerveskey("signer", "create", self.home / "never", "--years-valid", years, status=USAGE)
        self.assertFalse((self.home / "never.key").exists())

    def test_device(self):
        nerveskey("device", "create", "thing-1", *self.signer, cwd=self.home)
        self.assertEqual((self.home / "thing-1.key").stat().st_mode & 0o777, 0o600)
        run("openssl", "verify", "-CAfile", self.home / "signer.cert", self.home / "thing-1.cert")
        text = run("openssl", "x509", "-noout", "-text", "-in", self.home / "thing-1.cert").stdout
        years = [int(year) for year in re.findall(r"(\d{4}) GMT", text)]
        self.assertEqual(years[1] - years[0], 31)
        public = run("openssl", "x509", "-noout", "-pubkey", "-in", self.home / "thing-1.cert").stdout
        self.assertEqual(run("openssl", "pkey", "-pubout", "-in", self.home / "thing-1.key").stdout, public)
        nerveskey("device", "create", "thing-1", *self.signer, cwd=self.home, status=REFUSED)
        nerveskey("device", "create", "a/b", *self.signer, cwd=self.home, status=REFUSED)
        nerveskey("device", "create", "thing-2", cwd=self.home, status=USAGE)


class Line(Chips):
    """A production line: the fixture is a socket on which one simulator follows the other."""

    def setUp(self):
        self.fixture = Path(tempfile.mkdtemp(prefix="nhline-"))
        self.addCleanup(lambda: subprocess.run(["rm", "-rf", self.fixture], check=True))
        self.current = None
        self.addCleanup(self.take_away)

    def insert(self, name):
        self.take_away()
        self.current = Simulator(name, folder=self.fixture).start()
        return self.current

    def take_away(self):
        if self.current:
            self.current.stop()
            self.assertEqual(self.current.log(), "")
            self.current = None

    def batch(self, *options):
        process = subprocess.Popen([NERVESKEY, "batch", "-b", f"sim:{self.fixture}/socket", *map(str, self.signer), "--yes", *map(str, options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, bufsize=1)
        answers = queue.Queue()
        threading.Thread(target=lambda: [answers.put(line) for line in process.stdout], daemon=True).start()

        def close():
            process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()
            process.wait()

        self.addCleanup(close)

        def order(line):
            process.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
            process.stdin.flush()

        return process, order, lambda: json.loads(answers.get(timeout=DEADLINE))

    def end(self, process):
        process.stdin.close()
        return process.wait(DEADLINE)

    def test_ten_chips_one_bad(self):
        with self.insert("chip4").bus() as bus:
            bus.wake()
            self.assertEqual(bus.command(0x17, 0x80), b"\0")  # one was locked to another layout before it came here
        self.take_away()
        receipts = self.home / "receipts"
        process, order, answered = self.batch("--receipts", receipts)
        done = []
        for n in range(10):
            # The line comes while the last chip is still there: it waits for the next.
            order({"serial": f"L-{n}", "board": "line", "user_data": f"{n:02x}", "shelf": f"S{n}"})
            self.insert(f"chip{n}")
            done.append(answered())
        self.assertEqual(self.end(process), FAILED)
        self.assertEqual([row["ok"] for row in done], [n != 4 for n in range(10)])
        self.assertEqual((done[4]["code"], done[4]["burnt"], done[4]["manufacturer_serial"], done[4]["label"]), ("foreign-layout", False, "L-4", {"shelf": "S4"}))
        good = [row for row in done if row["ok"]]
        for n, row in ((n, row) for n, row in enumerate(done) if row["ok"]):
            self.assertEqual((row["manufacturer_serial"], row["board_name"], row["user_data"][:2], row["label"], row["line"]), (f"L-{n}", "line", f"{n:02x}", {"shelf": f"S{n}"}, n + 1))
        self.assertEqual(len({row["chip_serial"] for row in good} | {row["public_key"] for row in good}), 18)
        self.verify_chain(*(row["certificate"]["pem"] for row in good))
        self.assertEqual([json.loads(line) for line in receipts.read_text().splitlines()], done)

    def test_resumes(self):
        receipts = self.home / "receipts-2"
        sim = self.insert("one")
        with sim.bus() as control:
            self.assertTrue(control.control("fault power-after:60:1000000")[0])
        process, order, answered = self.batch("--receipts", receipts)
        order("serial,board,shelf")
        order('R-1,"line, one and two",here')
        first = answered()
        self.assertEqual((first["ok"], first["code"], first["burnt"]), (False, "refused", False))  # the board's name is too long: no chip was touched
        order("R-1,line,here")
        first = answered()
        self.assertEqual((first["ok"], first["code"], first["burnt"], first["label"]), (False, "interrupted-after-burning", True, {"shelf": "here"}))
        with sim.bus() as control:
            self.assertTrue(control.control("fault power-after:0:0")[0])
        order("# the same chip, and I mean it")
        order('{"serial": "R-1", "board": "line", "again": true}')
        second = answered()
        self.assertEqual((second["ok"], second["already"], second["chip_serial"]), (True, False, first["chip_serial"]))
        done = sim.chips[0].read_bytes()
        # Its receipt is there: the line is left out, whatever chip there is; the next waits for another chip.
        order("R-1,line,here")
        order("R-2,line,there")
        self.insert("two")
        third = answered()
        self.assertEqual((third["ok"], third["manufacturer_serial"]), (True, "R-2"))
        self.assertEqual(self.end(process), FAILED)
        # A line that was never told that its chip was done gets the receipt, and nothing is written.
        self.insert("one")
        process, order, answered = self.batch()
        order({"serial": "R-1", "board": "line"})
        again = answered()
        self.assertEqual((again["ok"], again["already"], again["certificate"]), (True, True, second["certificate"]))
        # Another name for it is a mistake.
        order({"serial": "R-9", "again": True})
        self.assertEqual(answered()["code"], "already-provisioned")
        self.assertEqual(self.end(process), FAILED)
        self.assertEqual(sim.chips[0].read_bytes(), done)

    def test_unreadable_chip(self):
        """It gets its answer, once; the next line waits for it to go."""
        with self.insert("broken").bus() as control:
            self.assertTrue(control.control("fault status:0:100000000:15")[0])
        process, order, answered = self.batch()
        order({"serial": "U-1"})
        row = answered()
        self.assertEqual((row["ok"], row["code"], row["burnt"]), (False, "io", False))
        order({"serial": "U-2"})
        self.insert("good")
        row = answered()
        self.assertEqual((row["ok"], row["manufacturer_serial"]), (True, "U-2"))
        self.assertEqual(self.end(process), FAILED)

    def test_lines_refused(self):
        process, order, answered = self.batch("--wait", "1ms")
        for line in ("{", "[1]", '{"serial": 5}', '{"serial": "a/b"}', '{"user_data": "xyz"}', '{"serial": "' + "x" * 49 + '"}', "no,such,columns", "x" * 40000):
            order(line)
            row = answered()
            self.assertEqual((row["ok"], row["code"]), (False, "refused"), line)
        order("serial,board")
        for line in ("a", "a,b,c", '"a'):
            order(line)
            self.assertEqual(answered()["code"], "refused", line)
        order("a,b")
        self.assertEqual(answered()["code"], "no-chip")
        self.assertEqual(self.end(process), FAILED)
        self.assertIn("--yes", nerveskey("batch", *self.signer, status=USAGE).stderr)
        nerveskey("batch", "--yes", "--signer-cert", self.home / "signer.cert", "--signer-key", self.home / "none", status=REFUSED)


if __name__ == "__main__":
    unittest.main()
