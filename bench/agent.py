"""What the agent costs the device it runs on: memory while it is idle and joined, its size on disk, how often it wakes the processor. The trust store is a whole system's, as on a device that
verifies a public server."""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import nhtest
import world

SYSTEM_TRUST = Path("/etc/ssl/certs/ca-certificates.crt")
ENV = ("--env-offset", str(16 * 512), "--env-size", str(16 * 512))  # where nerveshub-fleet's firmware has its U-Boot environment
KIB_PER_MIB = 1024


class Agent:
    """nerveshub-link on a disk of its own, joined to the hub."""

    def __init__(self, hub, home, *extra):
        self.log = home / "log"
        with open(self.log, "wb") as log, world.on_core(world.LOAD_CORE):
            self.process = subprocess.Popen(
                [nhtest.program("nerveshub-link"), "--server", f"localhost:{hub.device_port}", "--ca", home / "trust.pem", "--cert", home / "device.crt", "--key", home / "device.key",
                 "--public-key", hub.key.with_suffix(".pub"), "--device", home / "disk", *ENV, "--installer", "builtin", *extra], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid
        world.wait_until("the agent's join", lambda: "joined" in self.log.read_text())
        time.sleep(2)  # until the worker has reported and rests

    def memory_kib(self):
        """(private, resident) of the process; private pages are those that no other process maps."""
        rollup = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{self.pid}/smaps_rollup").read_text(), re.M))
        return int(rollup["Private_Clean"]) + int(rollup["Private_Dirty"]), int(rollup["Rss"])

    def switches(self):
        """How often any of its threads went to sleep of its own accord, which is how often it was woken."""
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)[1]) for task in Path(f"/proc/{self.pid}/task").iterdir())

    def wakes(self, seconds):
        before = self.switches()
        time.sleep(seconds)
        return self.switches() - before

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def prepare(hub, home):
    nhtest.run(nhtest.program("nerveshub-fleet"), "make-firmware", "--product", world.PRODUCT, "--version", "1.0.0", "--size", "64k", "--key", hub.key, "--output", home / "1.0.0.fw")
    nhtest.run(nhtest.program("nh-fwup"), "-a", "-d", home / "disk", "-i", home / "1.0.0.fw", "-t", "complete")
    certificate, key = hub.pki.device("bench-agent", "ca")
    shutil.copy(certificate, home / "device.crt")
    shutil.copy(key, home / "device.key")
    (home / "trust.pem").write_text(SYSTEM_TRUST.read_text() + hub.ca_file.read_text())


def example(home):
    """The example program with libnerveshub-link in it."""
    flags = nhtest.run("pkg-config", "--cflags", "--libs", "gnutls", "libuv", "hogweed", "nettle", "jansson", "libsodium", "zlib").stdout.split()
    nhtest.run("cc", "-O2", "-o", home / "link-device", nhtest.ROOT / "docs" / "examples" / "link-device.c", "-I", nhtest.ROOT / "lib" / "libnerveshub_link" / "include",
               world.BUILD / "lib" / "libnerveshub_link" / "libnerveshub-link.a", *flags, "-lgmp", "-pthread")
    return home / "link-device"


def stripped_mib(home, program):
    nhtest.run("strip", "-o", home / "stripped", program)
    return (home / "stripped").stat().st_size / KIB_PER_MIB / KIB_PER_MIB


def agent(c):
    """memory, size and wake-ups of an idle nerveshub-link"""
    hub, home = c.hub, Path(tempfile.mkdtemp(prefix="nh-bench-agent-"))
    try:
        prepare(hub, home)
        idle = Agent(hub, home)
        private, resident = idle.memory_kib()
        asleep = idle.wakes(15)
        idle.end()
        busy = Agent(hub, home, "--heartbeat", "1s")
        beats = busy.wakes(10) / 10
        later, _ = busy.memory_kib()
        busy.end()
        program, library = stripped_mib(home, nhtest.program("nerveshub-link")), stripped_mib(home, example(home))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    c.report("agent.private", private / KIB_PER_MIB, "MiB", f"memory of an idle joined agent that no other process shares, with the system's trust store; {later / KIB_PER_MIB:.2f} after a few heartbeats", at_most=3)
    c.report("agent.resident", resident / KIB_PER_MIB, "MiB", "with the pages of shared libraries that it shares with others", at_most=9)
    c.report("agent.size", program, "MiB", "the program, stripped", at_most=1)
    c.report("agent.library_size", library, "MiB", "a small program with libnerveshub-link in it, stripped", at_most=1)
    c.report("agent.wakes", asleep, "", "wake-ups of all its threads in 15 s between two heartbeats", at_most=0)
    c.report("agent.wakes_per_heartbeat", beats, "", "wake-ups for a heartbeat and its answer")
