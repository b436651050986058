"""The commands that the guides show, typed as they stand there: only what a reader would replace (ports, a firmware's UUID, a CA's name, paths of a
device) is replaced. A guide that grows a command for which nothing is prepared here fails."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from nhtest import DEADLINE, ROOT, Pki, Server, firmware_key, make_firmware, program
from simulator import Simulator

PROGRAMS = ("nh", "nh-fwup", "nerveshub-link", "nerveshub-fleet", "nerveskey", "nerveskey-sim")


def commands(guide):
    """The command lines of a guide's sh blocks, continued lines joined, comments left out."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", (ROOT / "docs" / "guides" / guide).read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+#.*", "", " " + line).strip()
            if line:
                yield re.sub(r"\s+", " ", line)


class Guides(unittest.TestCase):
    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="nhtest-guides-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        (self.home / "bin").mkdir()
        for name in PROGRAMS:
            (self.home / "bin" / name).symlink_to(program(name))
        self.words = {}
        self.exported = {}

    def serve(self):
        server = Server(data_dir=self.home / "data").start()
        self.addCleanup(server.remove)
        self.addCleanup(lambda: self.assertEqual(server.stop(), 0, server.log_text()[-3000:]))
        self.words["http://localhost:4000"] = f"http://localhost:{server.web_port}"
        return server

    def type(self, line, stdin=""):
        for shown, real in self.words.items():
            line = line.replace(shown, str(real))
        self.assertIn(re.split(r"\s", line)[0], PROGRAMS, line)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NERVES_", "MIX_"))}
        environment.update(HOME=str(self.home), PATH=f"{self.home}/bin:{environment['PATH']}", **self.exported)
        done = subprocess.run(["sh", "-c", line], input=stdin, capture_output=True, text=True, timeout=DEADLINE, cwd=self.home, env=environment)
        self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def sign_in(self, server):
        password = (server.data_dir / "admin-password").read_text()
        for line in commands("getting-started.md"):
            if line.startswith(("scripts/", "export ")):
                continue  # what Server.start does here
            if "firmware upload" in line:
                key, _ = firmware_key(self.home, "stranger")
                make_firmware(self.home, "1.0.0", key, product="thermostat").rename(self.home / "thermostat-1.0.0.fw")
            out = self.type(line, "new-password\nnew-password\n" if "key create" in line or "--key release" in line else password)
            if "firmware upload" in line:
                self.words["UUID"] = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", out).group()

    def test_getting_started(self):
        server = self.serve()
        self.sign_in(server)
        self.assertIn("main", self.type("nh deployment list"))
        self.assertRegex(self.type("nh deployment show main"), "on")

    def test_devices(self):
        server = self.serve()
        self.sign_in(server)
        pki = Pki(self.home / "pki")
        pki.ca("factory")
        cert, key = pki.device("meter-0001", "factory")
        (self.home / "disk").write_bytes(bytes(1 << 20))
        _, public = firmware_key(self.home, "firmware")
        self.words.update({"hub.example.com:4001": f"localhost:{server.device_port}", "/etc/nerveshub/ca.crt": server.ca_file,
                           "/etc/nerveshub/device.crt": cert, "/etc/nerveshub/device.key": key, "/etc/nerveshub/firmware.pub": public,
                           "/dev/mmcblk0": self.home / "disk"})
        seen = set()
        for line in commands("devices.md"):
            seen.add(line.split()[0])
            if line.startswith("nerveshub-link"):
                line += " --check"  # it would run for ever
            out = self.type(line)
            if "ca generate" in line:
                self.words["2026-11-21-10-00-00"] = re.search(r"^Name:\s+(\S+)", out, re.M).group(1)
            if "secret create" in line:
                self.assertIn("nhp_", out)
        self.assertEqual(seen, {"nh", "nerveshub-link"})

    def test_firmware(self):
        (self.home / "thermostat.conf").write_text(
            'meta-product = "thermostat"\nmeta-version = "1.0.0"\nmeta-platform = "p"\nmeta-architecture = "a"\n'
            'file-resource data { host-path = "thermostat.conf" }\ntask complete { on-resource data { raw_write(0) } }\n')
        out = "".join(self.type(line) for line in commands("firmware.md"))
        self.assertIn("Valid archive with a good signature", out)
        self.assertRegex(out, 'meta-product="?thermostat')
        self.assertTrue((self.home / "disk.img").read_bytes().startswith(b"meta-product"))

    def test_nerveskey(self):
        server = self.serve()
        self.sign_in(server)
        boards = [Simulator("board.chip").start() for _ in range(2)]
        for board in boards:
            self.addCleanup(board.end)
        (self.home / "disk").write_bytes(bytes(1 << 20))
        _, public = firmware_key(self.home, "firmware")
        self.words.update({"hub.example.com:4001": f"localhost:{server.device_port}", "/etc/nerveshub/ca.crt": server.ca_file, "/etc/nerveshub/firmware.pub": public,
                           "/dev/mmcblk0": self.home / "disk", "/tmp/sim.sock": boards[0].socket, "i2c-1": f"sim:{boards[1].socket}"})
        order = re.search(r"```text\n(serial,.*?)```", (ROOT / "docs/guides/nerveskey.md").read_text(), re.S).group(1)
        (self.home / "order.csv").write_text(order)
        out = ""
        for line in commands("nerveskey.md"):
            if line.startswith("nerveskey-sim run"):
                continue  # the first board's
            if line.startswith("export "):
                name, value = line.removeprefix("export ").split("=", 1)
                self.exported[name] = value.replace("/tmp/sim.sock", str(boards[0].socket))
                continue
            if line.startswith("nerveshub-link"):
                line += " --check"
            out += self.type(line)
        self.assertIn("Dry run", out)
        self.assertIn("hall 4", out)
        self.assertIn("good signature", out)
        receipt = json.loads((self.home / "receipts.jsonl").read_text())
        self.assertEqual((receipt["manufacturer_serial"], receipt["label"]), ("meter-0002", {"shelf": "A-17"}))


class Named(unittest.TestCase):
    def test_tests_that_compatibility_names(self):
        """Each decision names the test that shows it, and that test exists."""
        guide = (ROOT / "docs" / "guides" / "compatibility.md").read_text()
        rows = [row for row in re.search(r"^## Decided on purpose\n(.*?)^## ", guide, re.M | re.S)[1].splitlines() if row.startswith("| ") and not row.startswith("| subject ")]
        self.assertGreater(len(rows), 30)
        for row in rows:
            text = None
            for part, name in re.findall(r"`([a-z_]+)`|(test_[a-z_]+)", row.rsplit("|", 2)[1]):
                if part:
                    text = (ROOT / (f"tests/unit/hub/test_{part[4:]}.c" if part.startswith("hub_") else f"tests/integration/{part}.py")).read_text()
                else:
                    self.assertRegex(text, rf"\b{name}\b", row)
            self.assertIsNotNone(text, row)


if __name__ == "__main__":
    unittest.main()
