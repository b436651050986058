"""NervesKeys between tools of different makers, in both directions: another tool provisions and nerveskey reads, nerveskey provisions and the other reads, and one goes on where the other stopped. The other
one (foreign_tool.py) shares no code with the project; its three ways on the bus are those of Microchip's, Adafruit's and the reference's drivers."""

import json
import sys
import unittest
from pathlib import Path

from nhtest import run
from simulator import Simulator
from test_nerveskey import BURNT, NOT_PROVISIONED, PROVISIONED, UNFINISHED, Chips, answer, nerveskey

TOOL = Path(__file__).with_name("foreign_tool.py")
STYLES = ("vendor", "breakout", "module")
MODELS = ("508a", "608a", "608b")
LONG = "a-serial-number-of-forty-eight-bytes-to-the-end."


class Foreign(Chips):
    def start(self, *options):
        sim = Simulator(options=("--create", "--no-watchdog", *options)).start()
        self.addCleanup(sim.end)
        return sim, f"sim:{sim.socket}"

    def other(self, sim, what, style, *more):
        return json.loads(run(sys.executable, TOOL, what, style, self.home, *more, env=sim.environment()).stdout)

    def certificates(self, bus, device="device", signer="signer"):
        files = []
        for which in (device, signer):
            files.append(self.home / f"{which}.der")
            files[-1].unlink(missing_ok=True)
            nerveskey("certificate", which, "--der", "-o", files[-1], bus=bus)
        return [file.read_bytes().hex() for file in files]

    def test_they_provision_we_read(self):
        for style, model, serial in zip(STYLES, MODELS, ("n-1", "longer-than-sixteen", LONG)):
            with self.subTest(f"{style} {model}"):
                sim, bus = self.start("--model", model, "--speed", "2")  # so that they are seen to wait for a chip at work
                made = self.other(sim, "provision", style, serial)
                self.assertEqual(self.certificates(bus), [made["device"], made["signer"]])
                info = answer("info", bus=bus)
                self.assertEqual((info["manufacturer_serial"], info["board_name"]), (serial, "foreign"))
                nerveskey("test", bus=bus)
                nerveskey("doctor", bus=bus)
                done = nerveskey("provision", *self.signer, "--serial", serial, "--yes", bus=bus, status=PROVISIONED)
                self.assertIn(f"serial number '{serial}'", done.stderr)
                self.assertEqual(self.other(sim, "read", style)["device"], made["device"])

    def test_we_provision_they_read(self):
        nerveskey("signer", "create", self.home / "second", "--years-valid", "31")
        for style, model, serial in zip(STYLES, reversed(MODELS), (LONG, "n-2", "sixteen-bytes-ok")):
            with self.subTest(f"{style} {model}"):
                sim, bus = self.start("--model", model)
                user_data = ["--user-data", "c0ffee"] if len(serial) <= 16 else []
                nerveskey("provision", *self.signer, "--serial", serial, "--board-name", "ten-bytes.", *user_data, "--yes", bus=bus)
                nerveskey("provision-aux", "--signer-cert", self.home / "second.cert", "--signer-key", self.home / "second.key", bus=bus)
                seen = self.other(sim, "read", style)
                self.assertEqual((seen["serial"], seen["board"], seen["user_data"].rstrip("0")), (serial, "ten-bytes.", "c0ffee" if user_data else ""))
                self.assertEqual([seen["device"], seen["signer"]], self.certificates(bus))
                self.assertEqual([seen["aux_device"], seen["aux_signer"]], self.certificates(bus, "aux", "aux-signer"))
                (self.home / "text").write_bytes(b"a text")
                key = run("openssl", "x509", "-inform", "DER", "-noout", "-pubkey", "-in", self.home / "device.der").stdout
                (self.home / "public.pem").write_text(key)
                run("openssl", "dgst", "-sha256", "-verify", self.home / "public.pem", "-signature", self.home / "signature", self.home / "text")

    def test_they_stop_we_go_on(self):
        for style, step, status in (("vendor", "lock_config", NOT_PROVISIONED), ("breakout", "write_slots", UNFINISHED), ("module", "lock_data", UNFINISHED)):
            with self.subTest(f"{style} before {step}"):
                sim, bus = self.start()
                self.other(sim, "provision", style, "theirs", step)
                nerveskey("status", bus=bus, status=status)
                nerveskey("provision", *self.signer, "--serial", "ours", "--yes", bus=bus)
                nerveskey("test", bus=bus)
                self.assertEqual(self.other(sim, "read", style)["serial"], "ours")

    def test_they_forget_the_last_lock(self):
        sim, bus = self.start()
        self.other(sim, "provision", "module", "theirs", "lock_slot")
        nerveskey("status", bus=bus, status=UNFINISHED)
        # Not what was begun: the order is refused, and only the lock is added.
        done = nerveskey("provision", *self.signer, "--serial", "ours", "--yes", bus=bus, status=PROVISIONED)
        self.assertIn("serial number 'theirs' and board name 'foreign' and another signer", done.stderr)
        nerveskey("repair", "--yes", bus=bus)
        nerveskey("test", bus=bus)
        self.assertEqual(answer("info", bus=bus)["manufacturer_serial"], "theirs")

    def test_we_stop_they_go_on(self):
        """Power goes among the slots. The other tool begins after the lock of the configuration, as the reference does."""
        sim, bus = self.start()
        with sim.bus() as control:
            control.control("fault power-after:60:1000000")
            nerveskey("provision", *self.signer, "--serial", "ours", "--yes", bus=bus, status=BURNT)
            control.control("fault power-after:0:0")
        made = self.other(sim, "provision", "vendor", "theirs")
        self.assertEqual(self.certificates(bus), [made["device"], made["signer"]])
        nerveskey("test", bus=bus)


if __name__ == "__main__":
    unittest.main()
