"""One chip and several programs: processes that share a bus take turns, through the simulator's socket and through /dev/i2c-N as the preloaded library makes it, and none gets another's answer."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from nhtest import DEADLINE, program, run
from simulator import Simulator

NERVESKEY = program("nerveskey")
PROCESSES = 4
TURNS = 6


class Bus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="nhbus-")
        cls.addClassCleanup(folder.cleanup)
        cls.home = Path(folder.name)
        cls.sim = Simulator(options=("--create", "--model", "608b")).start()
        cls.addClassCleanup(cls.sim.end)
        run(NERVESKEY, "signer", "create", cls.home / "signer")
        cls.bus = f"sim:{cls.sim.socket}"
        run(NERVESKEY, "provision", "-b", cls.bus, "--signer-cert", cls.home / "signer.cert", "--signer-key", cls.home / "signer.key", "--serial", "BUS1", "--yes")
        certificate = run(NERVESKEY, "certificate", "device", "--pem", "-b", cls.bus).stdout
        key = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=certificate, capture_output=True, text=True, check=True).stdout
        (cls.home / "device.pub").write_text(key)

    def race(self, bus, env):
        """Each process signs its own texts, one after the other; all of them at once."""
        for n in range(PROCESSES * TURNS):
            (self.home / f"text{n}").write_text(f"text {n} on {bus}")
        script = "for n in $(seq $1 $2); do \"$NERVESKEY\" sign \"text$n\" -b \"$BUS\" --encoding der --format binary -o \"text$n.sig\" || exit 1; done"
        environment = {**env, "NERVESKEY": str(NERVESKEY), "BUS": bus}
        started = [
            subprocess.Popen(["sh", "-c", script, "sh", str(p * TURNS), str(p * TURNS + TURNS - 1)], cwd=self.home, env=environment, stderr=subprocess.PIPE, text=True)
            for p in range(PROCESSES)
        ]
        for process in started:
            _, errors = process.communicate(timeout=DEADLINE)
            self.assertEqual(process.returncode, 0, errors)
        for n in range(PROCESSES * TURNS):
            run("openssl", "dgst", "-sha256", "-verify", self.home / "device.pub", "-signature", self.home / f"text{n}.sig", self.home / f"text{n}")

    def test_socket(self):
        self.race(self.bus, os.environ)

    def test_device_node(self):
        self.race("i2c-1", self.sim.environment())


if __name__ == "__main__":
    unittest.main()
