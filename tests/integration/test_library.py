"""libfwarchive and libnerveskey as strangers meet them: installed into a folder, found by pkg-config alone, their examples compiled and run on real archives and on a simulated chip."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from nhtest import BUILD, ROOT, run
from simulator import Simulator

VECTORS = ROOT / "tests" / "vectors" / "firmware"


def sanitizers():
    """What the build under test was compiled with: its library cannot be linked without."""
    listed = run("meson", "introspect", BUILD, "--buildoptions").stdout
    value = listed.split('"name": "b_sanitize"', 1)[1].split('"value": "', 1)[1].split('"', 1)[0]
    return [] if value == "none" else [f"-fsanitize={value}"]


class Installed:
    """What the tests of each library share; name: as pkg-config knows it without "lib", which is the headers' folder too."""

    @classmethod
    def setUpClass(cls):
        cls.home = Path(tempfile.mkdtemp(prefix="nhtest-library-"))
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", cls.home)
        pc = next(cls.home.rglob(f"lib{cls.name}.pc"))
        cls.env = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(cls.home)}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.home)

    def build(self, name, folder=ROOT / "docs" / "examples"):
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", f"lib{self.name}"], env=self.env, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        # The system's own headers and libraries are not in the folder.
        flags = [f if self.name in f or not f.startswith(("-I" + str(self.home), "-L" + str(self.home))) or Path(f[2:]).exists() else f.replace(str(self.home), "", 1)
                 for f in flags]
        out = self.home / name
        run("cc", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-o", out, folder / f"{name}.c", *flags, *sanitizers())
        return out

    def test_installed_headers_are_enough(self):
        """Each public header compiles by itself with what was installed."""
        include = next(self.home.rglob(f"include/{self.name}"))
        headers = sorted(h.relative_to(include) for h in include.rglob("*.h"))
        self.assertGreaterEqual(len(headers), self.headers)
        source = self.home / "headers.c"
        for header in headers:
            source.write_text(f'#include "{header}"\nint main(void) {{ return 0; }}\n')
            run("cc", "-std=gnu11", "-Wall", "-Werror", "-I", include, "-fsyntax-only", source)


class FirmwareArchives(Installed, unittest.TestCase):
    name, headers = "fwarchive", 20

    def test_info(self):
        info = self.build("fw-info")
        done = run(info, VECTORS / "keys/key1.pub", VECTORS / "widget-1.1.0.fw")
        self.assertEqual(done.stdout, (VECTORS / "expected/widget-1.1.0.metadata.txt").read_text() + "tasks:\ncomplete\nupgrade.a\nupgrade.b\nupgrade.unexpected\n")
        done = run(info, VECTORS / "keys/key2.pub", VECTORS / "widget-1.1.0.fw", check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", "fw-info: Firmware archive's meta.conf fails digital signature verification.\n"))
        self.assertEqual(run(info, check=False).returncode, 2)

    def test_apply(self):
        program, image = self.build("fw-apply"), self.home / "disk.img"
        for archive, task, last in (("widget-1.0.0.fw", "complete", "100 %"), ("widget-1.0.0-to-1.1.0.delta.fw", "upgrade", "100 %")):
            with open(VECTORS / archive, "rb") as f:
                done = subprocess.run([program, VECTORS / "keys/key1.pub", task, image], stdin=f, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(done.stdout.splitlines()[-1], last)
        self.assertIn("Upgrading partition B", done.stdout)


class NervesKeys(Installed, unittest.TestCase):
    name, headers = "nerveskey", 16

    def test_info_and_signature(self):
        """A part that is provisioned when it is bought, on the simulator's socket; OpenSSL judges what its key signed."""
        info, sign, message = self.build("key-info"), self.build("key-sign"), self.home / "message"
        sim = Simulator("chip", options=("--create", "--trust-and-go")).start()
        try:
            bus = f"sim:{sim.socket}@0x35"
            shown = run(info, bus).stdout
            self.assertRegex(shown, r"\Achip: ATECC608B\nprovisioned: yes\nserial number: 0123[0-9A-F]{14}\nsettings: none\n-----BEGIN CERTIFICATE-----\n")
            self.assertEqual(shown.count("-----BEGIN CERTIFICATE-----"), 2)
            certificate, public, signature = (self.home / n for n in ("device.pem", "public.pem", "signature"))
            certificate.write_text(shown[shown.index("-----BEGIN"):])
            message.write_bytes(os.urandom(100000))
            signature.write_bytes(subprocess.run([sign, bus], input=message.read_bytes(), stdout=subprocess.PIPE, check=True, timeout=60).stdout)
            public.write_text(run("openssl", "x509", "-in", certificate, "-noout", "-pubkey").stdout)
            self.assertEqual(run("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message).stdout, "Verified OK\n")
        finally:
            sim.end()
        gone = run(info, bus, check=False)
        self.assertEqual((gone.returncode, gone.stdout), (1, ""))
        self.assertIn("nerveskey-sim", gone.stderr)
        self.assertEqual(run(info, check=False).returncode, 2)

    def test_no_tls_library(self):
        """A program with the library in it needs nettle and jansson: nothing that could quarrel with its own TLS library."""
        needed = set(re.findall(r"NEEDED.*\[(\w+)[^]]*\]", run("readelf", "-d", self.build("key-sign")).stdout))
        self.assertLessEqual(needed - {"libasan", "libubsan", "libtsan", "libgcc_s", "libm"}, {"libc", "libnettle", "libhogweed", "libgmp", "libjansson"})


if __name__ == "__main__":
    unittest.main()
