"""What firmware archives cost: nh-fwup against the bare libraries on the same bytes. CPU time of whole processes; rounds alternate, the best of each counts."""

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import nhtest

MIB = 1 << 20


def cpu(*args):
    """CPU seconds of one process."""
    pid = os.posix_spawn(str(args[0]), [str(a) for a in args], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{args[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def resident(*args):
    """Highest resident MiB, read while it waits with its work done: what the kernel reports afterwards includes the parent before exec."""
    p = subprocess.Popen([*args, "--exit-handshake"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    while p.stdout.read(1) != b"\x1a":
        continue
    status = Path(f"/proc/{p.pid}/status").read_text()
    p.communicate()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def fill(path, mib):
    """Half noise, half text that deflates well, a MiB of each in turn."""
    rng = random.Random(5)
    words = [rng.randbytes(rng.randint(2, 9)).hex() for _ in range(5000)]
    with open(path, "wb") as f:
        for i in range(mib):
            f.write(rng.randbytes(MIB) if i % 2 else " ".join(rng.choices(words, k=130000)).encode()[:MIB].ljust(MIB))


def archives(c):
    """creating, signing, verifying and applying 500 MB against inflate or deflate and BLAKE2b of the same bytes"""
    fwup, bare = nhtest.program("nh-fwup"), nhtest.BUILD / "bench" / "nh-bench-archive"
    home = Path(tempfile.mkdtemp(prefix="nh-bench-", dir=nhtest.BUILD))
    try:
        resource, conf, archive, signed, image = (home / n for n in ("mixed.img", "conf", "a.fw", "b.fw", "disk.img"))
        mib = c.size(500)
        fill(resource, mib)
        conf.write_text(f'file-resource r {{ host-path="{resource}" }}\ntask t {{ on-resource r {{ raw_write(0) }} }}\n')
        subprocess.run([fwup, "-g", "-o", home / "key"], check=True, stdout=subprocess.DEVNULL)
        create, deflate = cpu(fwup, "-c", "-f", conf, "-o", archive), cpu(bare, "write", resource)
        sign = (fwup, "-S", "-s", home / "key.priv", "-i", archive, "-o", signed)
        verify = (fwup, "-V", "-p", home / "key.pub", "-i", signed)
        apply = (fwup, "-a", "-q", "-p", home / "key.pub", "-i", signed, "-d", image, "-t", "t")
        reading, signing, verifying, applying = [], [], [], []
        for _ in range(3):
            reading.append(cpu(bare, "read", archive, "data/r"))
            for times, command in ((signing, sign), (verifying, verify), (applying, apply)):
                times.append(cpu(*command))
        base = min(reading)
        c.report("archive.read", mib * MIB / 1e6 / base, "MB/s", "reading once, inflate and BLAKE2b-256 by zlib and libsodium alone")
        c.report("archive.verify", min(verifying) / base, "x", "nh-fwup -V against that", at_most=1.25)
        c.report("archive.apply", min(applying) / base, "x", "nh-fwup -a to a file against that, writes and sync included", at_most=1.5)
        c.report("archive.sign", min(signing) / base, "x", "nh-fwup -S against that: every member checked, then copied as it is compressed")
        c.report("archive.create", create / deflate, "x", "nh-fwup -c against deflate -9 and BLAKE2b-256 alone")
        c.report("archive.memory", max(resident(*command) for command in (sign, verify, apply)), "MiB", "highest resident size of any of them, 8 MiB of write cache included",
                 at_most=40)
    finally:
        shutil.rmtree(home)
