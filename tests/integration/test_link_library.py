"""libnerveshub-link as strangers meet it: installed into a folder, found by pkg-config alone, its examples compiled from what was installed and run against a real server through an update."""

import hashlib
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from nhtest import DEADLINE, ServerCase, firmware_key, make_firmware, program, run, wait_until
from test_library import Installed

ENV_SECTOR, ENV_SECTORS = 16, 16  # where nerveshub-fleet's firmware has its U-Boot environment


class Library(Installed):
    name = "nerveshub-link"


class LinkLibrary(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.addClassCleanup(shutil.rmtree, cls.home, True)
        Library.setUpClass()
        cls.addClassCleanup(Library.tearDownClass)
        cls.device, cls.installer = (Library().build(f"link-{name}") for name in ("device", "installer"))
        cls.judge = Library().build("link_judge", Path(__file__).parent)
        cls.server.api("POST", "/orgs/acme/products", {"name": "virtual"}, expect=201)
        cls.register_ca(cls, "factory", product_name=cls.product, tags=["own"], description="factory")

    def identity(self, name, product, tags):
        """A device that the server expects, with its key."""
        path = product.replace(" ", "%20")
        self.server.api("POST", f"/orgs/acme/products/{path}/devices", {"identifier": name, "tags": tags or [name]}, expect=201)
        return self.pki.device(name, "factory")

    def config(self, name, product, tags=None, **more):
        """A configuration file as nerveshub-link(8) has it."""
        cert, key = self.identity(name, product, tags)
        lines = {"server": f"localhost:{self.server.device_port}", "ca": self.server.ca_file, "cert": cert, "key": key, "public-key": self.key_public, "installer": "builtin", **more}
        path = self.home / f"{name}.conf"
        path.write_text("".join(f"{name} = {value}\n" for name, value in lines.items() if value is not None))
        return path

    def deploy(self, product, tag, archive):
        path = product.replace(" ", "%20")
        firmware = self.server.upload("acme", path, archive).data["uuid"]
        self.server.api("POST", f"/orgs/acme/products/{path}/deployments", {"name": tag, "firmware": firmware, "conditions": {"tags": [tag]}}, expect=201)
        self.server.api("PUT", f"/orgs/acme/products/{path}/deployments/{tag}", {"deployment": {"state": "on"}}, expect=200)
        return firmware

    def fleet_firmware(self, version, size):
        path = self.home / f"{version}.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--version", version, "--size", size, "--key", self.key_private, "--output", path)
        return path

    def running(self, product, name):
        return self.server.api("GET", f"/orgs/acme/products/{product.replace(' ', '%20')}/devices/{name}", expect=200).data["firmware_metadata"]["version"]

    def start(self, *command):
        """In the background, what it says in its log."""
        log = Path(tempfile.mkstemp(suffix=".log", dir=self.home)[1])
        with log.open("wb") as out:
            process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        process.log = log
        self.addCleanup(process.wait, DEADLINE)
        self.addCleanup(process.kill)
        return process

    def said(self, words, process):
        """Waits until that is said; all that was."""
        wait_until(lambda: words in process.log.read_text(), process, words)
        return process.log.read_text()

    def test_public_names(self):
        """Whatever names the library uses for itself stay inside of it."""
        archive = next(Library.home.rglob("libnerveshub-link.a"))
        names = {line.split()[-1] for line in run("nm", "-g", "--defined-only", archive).stdout.splitlines() if len(line.split()) == 3}
        self.assertIn("nhl_new", names)
        self.assertEqual([n for n in names if not n.startswith("nhl_")], [])
        header = next(Library.home.rglob("nerveshub-link.h"))
        self.assertEqual(sorted(n for n in names if n not in header.read_text()), [], "public, but not in the header")
        for language in ("c", "c++"):
            run("clang", "-x", language, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", header)

    def test_update_by_the_built_in_machine(self):
        old, new = self.fleet_firmware("1.0.0", "64k"), self.fleet_firmware("2.0.0", "2M")
        disk, expected = self.home / "machine.disk", self.home / "expected.disk"
        run(program("nh-fwup"), "-a", "-d", disk, "-i", old, "-t", "complete")
        shutil.copy(disk, expected)
        run(program("nh-fwup"), "-a", "-d", expected, "-i", new, "-t", "upgrade")
        config = self.config("machine", "virtual", device=disk, **{"env-offset": ENV_SECTOR * 512, "env-size": ENV_SECTORS * 512})
        self.deploy("virtual", "machine", new)
        said = run(self.device, config).stdout.splitlines()
        for line in ("joined ", "offered virtual 2.0.0, %d bytes" % new.stat().st_size, "update.installed 2.0.0", "reboot: update"):
            self.assertIn(line, said)
        self.assertLess(said.index("joined "), said.index("update.installed 2.0.0"))
        self.assertEqual(self.hash(disk), self.hash(expected), "what the installer wrote is what the archive says, byte for byte")
        self.said("validated ", self.start(self.device, config))
        self.assertEqual(self.running("virtual", "machine"), "2.0.0")

    def hash(self, path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def test_an_installer_of_the_program(self):
        new = make_firmware(self.home, "7.0.0", self.key_private, size=1 << 20)
        self.deploy(self.product, "own", new)
        kept, config = self.home / "kept.fw", self.config("own", self.product)
        done = run(self.installer, config, "00000000-0000-4000-8000-000000000001", "6.0.0", kept)
        self.assertIn("update.installed ", done.stdout.splitlines())
        self.assertEqual(kept.read_bytes(), new.read_bytes())
        self.assertFalse(Path(f"{kept}.partial").exists())

    def test_the_installer_sees_no_byte_of_a_strangers_firmware(self):
        _, other = firmware_key(self.home, "other")
        self.deploy(self.product, "stranger", make_firmware(self.home, "8.0.0", self.key_private))
        config = self.config("stranger", self.product, **{"public-key": other})
        text = self.said("update.failed ", self.start(self.judge, config, "install", "good"))
        refusal = next(line for line in text.splitlines() if line.startswith("update.failed"))
        self.assertIn("signature", refusal)
        self.assertNotIn("wrote", text)

    def test_decisions_and_verdicts(self):
        """What the program answers is what the server hears, and a value that is none of the header's is no consent."""
        self.deploy(self.product, "judged", make_firmware(self.home, "9.0.0", self.key_private))
        rows = (("ignore", "good", "update.ignored 9.0.0 is fixture_board"), ("reschedule", "good", "for 7200000 ms"), ("nonsense", "good", "update.ignored 9.0.0 is fixture_board"),
                ("apply", "good", "update.failed Update failed : no room for 9.0.0"), ("ignore", "bad", "validation.failed it smells"), ("ignore", "bad", "reboot validation"),
                ("install", "good", "update.failed Update failed : the disk is full"))
        judges = [self.start(self.judge, self.config(f"judged-{i}", self.product, tags=["judged"] if verdict == "good" else None), decision, verdict)
                  for i, (decision, verdict, _) in enumerate(rows)]
        for (decision, verdict, line), process in zip(rows, judges):
            with self.subTest(decision=decision, verdict=verdict):
                self.said(line, process)

    def test_what_is_wrong_is_said_in_one_line(self):
        disk = self.home / "none.disk"
        for text, words in (("", "neither the running firmware"), (f"device = {disk}\n", "no server"), ("devise = x\n", "devise"),
                            (f"device = {disk}\nserver = localhost\n", "no identity"), (f"device = {disk}\nserver = localhost\ncert = /none\n", "/none")):
            config = Path(tempfile.mkstemp(suffix=".conf", dir=self.home)[1])
            config.write_text(text)
            with self.subTest(text):
                done = run(self.device, config, check=False)
                self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1))
                self.assertIn(words, done.stderr)


del ServerCase, Installed

if __name__ == "__main__":
    unittest.main()
