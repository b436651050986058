#!/usr/bin/env python3
"""How nh-fwup touches the destination, seen from the kernel: opened once, whole aligned blocks from page-aligned memory (what O_DIRECT asks for), and the
block that switches slots last.

Usage: test_nh_fwup_calls.py NH_FWUP VECTORS        Prints TAP.
"""
import os
import re
import subprocess
import sys

from tool import FWUP, Folder, create, expect, frames, main, path, read, run, test

CALL = re.compile(r"^\d+ +(\w+)\((.*)\) = (-?\w+)")


def traced(at, image, *args, stdin=b""):
    """Status, and the calls on the image as (name, buffer, length, offset)."""
    p = subprocess.run(["strace", "-f", "-qq", "-o", at("trace"), "-e", "trace=openat,close,read,write,readv,writev,preadv,pwritev,pread64,pwrite64,ftruncate",
                        "-e", "raw=pread64,pwrite64,read,write", FWUP, *args], input=stdin, capture_output=True, timeout=120,
                       env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    fd, opened, calls, vectors = None, 0, [], []
    with open(at("trace")) as f:
        for line in f:
            m = CALL.match(line)
            if not m:
                continue
            name, arguments, result = m.groups()
            if name == "openat" and '"%s"' % image in arguments and not result.startswith("-"):
                fd, opened = int(result), opened + 1
            elif name == "close" and fd is not None and arguments == str(fd):
                fd = None
            elif name.endswith("v"):
                vectors.append(line)
            elif name != "openat" and name != "close" and fd is not None:
                numbers = [int(x, 0) for x in arguments.split(", ") if re.match(r"^-?(0x)?[0-9a-f]+$", x)]
                if numbers and numbers[0] == fd:
                    calls.append((name, *numbers[1:]))
    assert p.returncode == 0, (p.stdout, p.stderr)
    assert opened == 1, opened
    assert not vectors, vectors
    return calls


def check(calls):
    assert any(c[0] == "pwrite64" for c in calls), calls
    for name, buffer, length, offset in calls:
        assert name in ("pread64", "pwrite64"), name
        assert buffer % 4096 == 0 and length % 512 == 0 and offset % 512 == 0 and length > 0, (name, hex(buffer), length, offset)


@test
def transfers_are_whole_and_aligned():
    for archive, task, base in (("widget-1.0.0.fw", "complete", None), ("widget-1.1.0.fw", "upgrade", "widget-1.0.0.fw"),
                                ("widget-1.0.0-to-1.1.0.delta.fw", "upgrade", "widget-1.0.0.fw"), ("sparse-unsigned.fw", "complete", None),
                                ("encrypted-delta-signed.fw", "complete", None)):
        for options in ((), ("--verify-writes",), ("--minimize-writes",)):
            with Folder() as at:
                if base:
                    expect(("-a", "-q", "-d", at("i"), "-i", path(base), "-t", "complete"), 0, b"")
                check(traced(at, at("i"), "-a", "-q", "-d", at("i"), "-i", path(archive), "-t", task, *options))
        with Folder() as at:
            if base:
                expect(("-a", "-q", "-d", at("i"), "-i", path(base), "-t", "complete"), 0, b"")
            check(traced(at, at("i"), "-a", "-F", "-d", at("i"), "-t", task, stdin=frames(read(archive), 700)))


EVERYTHING = """mbr m { partition 0 { block-offset=63 block-count=9000 type=0xc } partition 3 { block-offset=20000 type=0xf } partition 4 { block-offset=20010 block-count=10 type=0x83 } }
uboot-environment e { block-offset=30001 block-count=15 block-offset-redund=30017 }
file-resource r { host-path=in }
task complete { require-path-on-device("/", "/dev/none") on-init { error(no) } }
task complete.b { on-init { mbr_write(m) trim(15000, 1000) fat_mkfs(63, 9000) fat_mkdir(63, d) uboot_clearenv(e) uboot_setenv(e, a, b) raw_memset(777, 3, 9) }
  on-resource r { fat_write(63, "d/A long name.bin") fat_cp(63, "d/A long name.bin", copy) fat_rm(63, copy) } on-finish { uboot_setenv(e, c, d) } }
task upgrade { require-partition-offset(0, 63) require-fat-file-exists(63, "d/A long name.bin") require-uboot-variable(e, c, d)
  on-resource r { raw_write(12345) fat_mv(63, "d/A long name.bin", moved) } }
"""


@test
def all_kinds_of_writing():
    for options in ((), ("--verify-writes",), ("--minimize-writes",), ("--max-size", "40001")):
        with Folder() as at:
            with open(at("in"), "wb") as f:
                f.write(os.urandom(300001))
            create(at, EVERYTHING)
            for task in ("complete", "upgrade"):
                check(traced(at, at("i"), "-a", "-q", "-d", at("i"), "-i", at("a.fw"), "-t", task, *options))


@test
def the_switch_is_written_last():
    with Folder() as at:
        with open(at("in"), "wb") as f:
            f.write(os.urandom(1000000))
        with open(at("conf"), "w") as f:
            f.write('file-resource r { host-path="%s" }\nuboot-environment e { block-offset = 2048 block-count = 16 }\n'
                    "task complete { on-init { uboot_clearenv(e) } }\n"
                    'task upgrade { on-init { uboot_setenv(e, "trying", "b") } on-resource r { raw_write(4096) } on-finish { uboot_setenv(e, "active", "b") } }\n'
                    % at("in"))
        expect(("-c", "-f", at("conf"), "-o", at("a.fw")), 0, b"")
        expect(("-a", "-q", "-d", at("i"), "-i", at("a.fw"), "-t", "complete"), 0, b"")
        calls = traced(at, at("i"), "-a", "-q", "-d", at("i"), "-i", at("a.fw"), "-t", "upgrade")
        check(calls)
        writes = [c for c in calls if c[0] == "pwrite64"]
        assert writes[-1][3] <= 2048 * 512 < writes[-1][3] + writes[-1][2], writes[-1]
        assert all(w[3] > 2048 * 512 for w in writes[:-1]), "the environment is written once, at the end"


@test
def a_larger_cache_reads_less():
    """Old data of a delta that is needed again and again is read once, where block-cache-size-mb has room for it."""
    counts = {}
    for mb in (1, 16):
        with Folder() as at:
            old = os.urandom(6 << 20)
            new = b"".join(old[i:i + 4096] for r in range(16) for i in range(r * 4096, len(old), 65536))
            for name, content in (("old", old), ("new", new)):
                with open(at(name), "wb") as f:
                    f.write(content)
            conf = ('block-cache-size-mb=%d\nfile-resource r { host-path="%s" }\ntask complete { on-resource r { raw_write(0) } }\n'
                    "task upgrade { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=12288 raw_write(20480) } }\n")
            for name in ("old", "new"):
                with open(at("conf"), "w") as f:
                    f.write(conf % (mb, at(name)))
                expect(("-c", "-f", at("conf"), "-o", at(name + ".fw")), 0, b"")
            subprocess.run(["xdelta3", "-A", "-S", "none", "-f", "-s", at("old"), at("new"), at("patch")], check=True)
            # The patch in place of the member, its size in the local header, as zip writes it.
            os.makedirs(at("data"))
            os.rename(at("patch"), at("data", "r"))
            subprocess.run(["zip", "-q", "-9", "new.fw", "data/r"], cwd=at(), check=True)
            expect(("-a", "-q", "-d", at("i"), "-i", at("old.fw"), "-t", "complete"), 0, b"")
            calls = traced(at, at("i"), "-a", "-q", "-d", at("i"), "-i", at("new.fw"), "-t", "upgrade")
            check(calls)
            counts[mb] = sum(c[0] == "pread64" for c in calls)
            with open(at("i"), "rb") as f:
                f.seek(20480 * 512)
                assert f.read(len(new)) == new
    assert counts[16] < counts[1], counts


sys.exit(main())
