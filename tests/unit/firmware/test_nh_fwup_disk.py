#!/usr/bin/env python3
"""FAT volumes, master boot records and U-Boot environments as nh-fwup writes them, judged by dosfstools, mtools, sfdisk and by their definitions.

Usage: test_nh_fwup_disk.py NH_FWUP VECTORS        Prints TAP.
"""
import json
import os
import struct
import sys
import zlib

from tool import Folder, content, create, expect, judge, main, run, test


def apply(at, task, status=0, image="disk", options=()):
    got = run("-a", "-q", "-d", at(image), "-i", at("a.fw"), "-t", task, *options)
    assert got[0] == status and got[2] == b"", (task, got)
    return got[1].decode()


# ---- FAT ---------------------------------------------------------------------------------------------------------------------------


def volume(at, start, count):
    """The volume as a file of its own, which must be in order."""
    with open(at("volume"), "wb") as f:
        f.write(content(at("disk"), start * 512, count * 512))
    said = judge("fsck.fat", "-n", at("volume"), ok=(0, 1))
    # The label is in the root directory and, as the format's makers had it first, not in the boot sector too.
    rest = [line for line in said.splitlines() if line.strip() and "label" not in line]
    assert len(rest) == (3 if "label" in said else 2), said
    return at("volume")


def listing(at, start, count, folder=""):
    """{long name: (short name or None, size or None for a folder)}"""
    out = {}
    for line in judge("mdir", "-a", "-i", volume(at, start, count), "::" + folder).splitlines():
        words = line[13:].split()
        if " 1980-01-01   0:00" not in line or line.startswith("."):
            continue
        short = ".".join(x for x in (line[:8].strip(), line[9:12].strip()) if x)
        size = None if words[0] == "<DIR>" else int(words[0])
        long = line.split("0:00", 1)[1].strip()
        out[long or short] = (short if long else None, size)
    return out


FAT = """file-resource a { host-path="%s" }
file-resource empty { contents="" }
file-resource hello { contents=hello }
task make { on-init { fat_mkfs(63, 5000) fat_setlabel(63, "My label") fat_mkdir(63, dir) fat_mkdir(63, "dir/Sub Dir") fat_mkdir(63, dir) fat_touch(63, touched) }
  on-resource a { fat_write(63, "A.BIN") fat_cp(63, "A.BIN", "dir/copy.bin") }
  on-resource empty { fat_write(63, "empty.dat") fat_touch(63, "empty.dat") }
  on-resource hello { fat_write(63, "dir\\\\Sub Dir\\\\MixedCase.Txt") } }
task move { on-init { fat_mv(63, "dir/copy.bin", "moved.file.bin") fat_mv(63, dir, "Folder") fat_mv(63, "Folder/Sub Dir/MixedCase.Txt", "Folder/sub.TXT") fat_mv!(63, "empty.dat", touched) } }
task remove { on-init { fat_rm(63, "A.BIN") fat_rm!(63, "moved.file.bin") fat_rm(63, "Folder/Sub Dir") fat_rm(63, none) fat_rm(63, "no/where") } }
task truncate { on-resource empty { fat_write(63, "Folder/sub.TXT") } }
task attributes { on-init { fat_touch(63, one) fat_attrib(63, one, SHR) fat_attrib(63, one, h) fat_touch(63, two) fat_attrib(63, two, rs) fat_touch(63, three) fat_attrib(63, three, "") } }
task two { on-init { fat_mkfs(8000, 5000) fat_cp(63, "A.BIN", 8000, "B.BIN") fat_touch(63, "A.BIN") } }
task has.exists { require-fat-file-exists(63, "dir/sub dir/mixedcase.TXT") }
task has.match { require-fat-file-match(63, "dir/Sub Dir/MixedCase.Txt", "ell") }
task has.empty { require-fat-file-match(63, "empty.dat", "") }
task not.exists { require-fat-file-exists(63, "none") }
task not.folder { require-fat-file-exists(63, "dir") }
task not.match { require-fat-file-match(63, "dir/Sub Dir/MixedCase.Txt", "world") }
task not.volume { require-fat-file-exists(64, "A.BIN") }
"""
FAILURES = ["fat_rm!(63, none)", "fat_rm!(63, \\\"no/where\\\")", "fat_rm(63, dir)", "fat_mv(63, touched, \\\"A.BIN\\\")", "fat_mv(63, none, other)", "fat_mv!(63, none, touched)",
            "fat_cp(63, none, other)", "fat_cp(63, \\\"A.BIN\\\", \\\"no/where\\\")", "fat_mkdir(63, touched)", "fat_mkdir(63, \\\"no/where\\\")", "fat_touch(63, \\\"no/where\\\")",
            "fat_attrib(63, none, R)", "fat_setlabel(63, \\\"TWELVE CHARS\\\")", "fat_touch(64, x)", "fat_touch(63, \\\"a?b\\\")", "fat_touch(63, dir)"]


@test
def fat_functions():
    with Folder() as at:
        data = os.urandom(150000)
        with open(at("in"), "wb") as f:
            f.write(data)
        create(at, FAT % at("in"))
        apply(at, "make")
        assert listing(at, 63, 5000) == {"dir": (None, None), "touched": (None, 0), "A.BIN": (None, 150000), "empty.dat": (None, 0)}, listing(at, 63, 5000)
        assert listing(at, 63, 5000, "/dir/Sub Dir") == {"MixedCase.Txt": ("MIXEDC~1.TXT", 5)}, listing(at, 63, 5000, "/dir/Sub Dir")
        assert "MY LABEL" in judge("mlabel", "-s", "-i", at("volume"), "::")
        for name, wanted in (("A.BIN", data), ("dir/copy.bin", data), ("dir/Sub Dir/MixedCase.Txt", b"hello"), ("empty.dat", b"")):
            judge("mcopy", "-n", "-o", "-i", at("volume"), "::" + name, at("out"))
            assert content(at("out")) == wanted, name
        for task in ("has.exists", "has.match", "has.empty"):
            apply(at, task)
        for task in ("not.exists", "not.match", "not.volume"):
            assert "Couldn't find applicable task" in apply(at, task, 1)
        apply(at, "two")
        judge("mcopy", "-n", "-o", "-i", volume(at, 8000, 5000), "::B.BIN", at("out"))
        assert content(at("out")) == data
        apply(at, "attributes")
        said = judge("mattrib", "-i", volume(at, 63, 5000), "one", "two", "three").splitlines()
        assert [line[:8].replace(" ", "") for line in said] == ["AH", "ASR", "A"], said
        apply(at, "move")
        root = listing(at, 63, 5000)
        assert root["moved.file.bin"] == ("MOVEDF~1.BIN", 150000) and root["Folder"] == ("FOLDER", None) and not {"dir", "empty.dat"} & set(root), root
        assert listing(at, 63, 5000, "/Folder")["sub.TXT"][1] == 5
        apply(at, "remove")
        assert set(listing(at, 63, 5000)) & {"A.BIN", "moved.file.bin"} == set() and set(listing(at, 63, 5000, "/Folder")) == {"sub.TXT"}
        apply(at, "truncate")
        assert listing(at, 63, 5000, "/Folder")["sub.TXT"][1] == 0


@test
def fat_refusals():
    """What can't be done is an error, leaves the volume in order, and nothing else is done."""
    with Folder() as at:
        with open(at("in"), "wb") as f:
            f.write(os.urandom(5000))
        tasks = "".join("task fail.%d. { on-init { fat_touch(63, trace) %s } }\n" % (i, call.replace('\\"', '"')) for i, call in enumerate(FAILURES))
        create(at, FAT % at("in") + tasks)
        apply(at, "make")
        before = content(at("disk"))
        for i, call in enumerate(FAILURES):
            assert apply(at, "fail.%d." % i, 1).startswith("fwup: "), call
            assert content(at("disk")) == before, call


@test
def fat_sizes():
    """FAT12, FAT16 and FAT32 by size; the gaps between them, where no such volume can be, are refused."""
    kinds = {128: "12", 4000: "12", 4085: "12", 4086: None, 4152: None, 4153: "16", 32768: "16", 65535: "16", 65536: "16", 66070: "16", 66100: None, 70000: "32", 77238: "32"}
    with Folder() as at:
        create(at, "".join("task t%d. { on-init { fat_mkfs(0, %d) fat_touch(0, x) } }\n" % (n, n) for n in [*kinds, 1, 127]))
        for n, kind in [*kinds.items(), (1, None), (127, None)]:
            said = apply(at, "t%d." % n, 0 if kind else 1)
            if not kind:
                assert "f_mkfs() aborted due to a parameter error. Try adjusting the partition size." in said, (n, said)
                continue
            assert "FAT%s" % kind in content(at("disk"), 54 if kind != "32" else 82, 8).decode(), n
            serial = struct.unpack("<I", content(at("disk"), 39 if kind != "32" else 67, 4))[0]
            assert serial == n + 0x210000, (n, hex(serial))
            assert set(listing(at, 0, n)) == {"x"}
            os.unlink(at("disk"))


@test
def fat_full():
    with Folder() as at:
        with open(at("in"), "wb") as f:
            f.write(os.urandom(60000))
        create(at, 'file-resource r { host-path="%s" }\ntask fits { on-init { fat_mkfs(0, 160) } on-resource r { fat_write(0, f) } }\n'
                   "task full { on-init { fat_mkfs(0, 130) } on-resource r { fat_write(0, f) } on-error { info(undone) } }\n"
                   "task root { on-init { fat_mkfs(0, 1000) %s } }" % (at("in"), " ".join("fat_touch(0, n%d)" % i for i in range(513))))
        apply(at, "fits")
        assert listing(at, 0, 160) == {"f": (None, 60000)}
        assert "fwup: undone\nfwup: " in apply(at, "full", 1)
        apply(at, "root", 1)  # 512 entries are what a root directory of FAT12 and FAT16 has


@test
def fat_many_files():
    """A directory that grows over several clusters, and more volumes than are kept open."""
    with Folder() as at:
        names = ["a rather long name number %d.txt" % i for i in range(100)]
        touches = " ".join('fat_touch(63, "d/%s")' % n for n in names)
        create(at, "task t { on-init { fat_mkfs(63, 70000) fat_mkdir(63, d) %s } }\ntask five { on-init { %s %s } }"
               % (touches, " ".join("fat_mkfs(%d, 200)" % (200 * i) for i in range(6)), " ".join("fat_touch(%d, f%d)" % (200 * (i % 6), i) for i in range(24))))
        apply(at, "t")
        found = listing(at, 63, 70000, "/d")
        assert set(found) == set(names) and len({short for short, _ in found.values()}) == 100, found
        os.unlink(at("disk"))
        apply(at, "five")
        for i in range(6):
            assert set(listing(at, 200 * i, 200)) == {"f%d" % k for k in range(i, 24, 6)}


# ---- MBR ---------------------------------------------------------------------------------------------------------------------------


def partitions(image):
    return [(p["start"], p["size"], p["type"], p.get("bootable", False)) for p in json.loads(judge("sfdisk", "--json", image))["partitiontable"]["partitions"]]


@test
def mbr():
    cases = {
        "partial": ("partition 1 { block-offset=63 block-count=100 type=0xc boot=true } partition 2 { block-offset=1000 block-count=50 type=0x83 }",
                    [(63, 100, "c", True), (1000, 50, "83", False)]),
        "expanding": ("partition 0 { block-offset=63 block-count=100 type=0xc } partition 1 { block-offset=1000 block-count=50 type=0x83 expand=true }",
                      [(63, 100, "c", False), (1000, 3096, "83", False)]),
        "extended": ("partition 0 { block-offset=63 block-count=30 type=1 } partition 3 { block-offset=100 type=0xf } "
                     "partition 4 { block-offset=110 block-count=10 type=0x83 } partition 5 { block-offset=130 block-count=10 type=0xc } partition 6 { block-offset=160 block-count=5 type=0x83 }",
                     [(63, 30, "1", False), (100, 65, "f", False), (110, 10, "83", False), (130, 10, "c", False), (160, 5, "83", False)]),
        "extended expanding": ("partition 3 { block-offset=100 type=5 expand=true } partition 4 { block-offset=110 block-count=10 type=0x83 expand=true }",
                               [(100, 3996, "5", False), (110, 3986, "83", False)]),
    }
    with Folder() as at:
        create(at, "".join('mbr "%s" { signature=0x12345678 %s }\ntask "%s." { on-init { mbr_write("%s") } }\n' % (n, body, n, n) for n, (body, _) in cases.items()))
        for name, (_, wanted) in cases.items():
            os.truncate(open(at("disk"), "wb").name, 2 << 20)
            apply(at, name + ".")
            assert partitions(at("disk")) == wanted, (name, partitions(at("disk")))
            block = content(at("disk"), 0, 512)
            assert block[440:446] == bytes.fromhex("785634120000") and block[510:] == b"\x55\xaa" and not any(block[:440])


@test
def mbr_fields():
    """Cylinders, heads and sectors of 255 heads and 63 sectors; zero where they can't say it. An unused entry is zero."""
    with Folder() as at:
        create(at, "mbr m { partition 0 { block-offset=14336 block-count=289044 type=0x83 } partition 1 { block-offset=4294967294 block-count=10 type=0x0c boot=true } }\n"
                   "task t { on-init { mbr_write(m) } }\ntask is.0 { require-partition-offset(0, 14336) } task is.1 { require-partition-offset(1, 4294967294) }\n"
                   "task old { require-partition1-offset=4294967294 } task no.0 { require-partition-offset(0, 14337) } task no.old { require-partition1-offset=14336 }")
        assert "Couldn't find" in apply(at, "is.0", 1), "there is no record yet"
        apply(at, "t")
        block = content(at("disk"), 0, 512)
        assert block[446:462] == bytes.fromhex("00e3240083e12312") + struct.pack("<II", 14336, 289044), block[446:462].hex()
        assert block[462:478] == bytes.fromhex("800000000c000000") + struct.pack("<II", 4294967294, 10) and not any(block[478:510])
        for task in ("is.0", "is.1", "old"):
            apply(at, task)
        for task in ("no.0", "no.old"):
            assert "Couldn't find applicable task" in apply(at, task, 1)


@test
def osip():
    with Folder() as at:
        create(at, "mbr m { include-osip=true osip-major=1 osip-minor=2 osip-num-pointers=1 osii 0 { os-major=3 os-minor=4 start-block-offset=2048 ddr-load-address=0x01100000 "
                   "entry-point=0x01101000 image-size-blocks=0xc000 attribute=0x0f } osii 1 { start-block-offset=9 } partition 0 { block-offset=14336 block-count=9 type=0x83 } }\n"
                   "task t { on-init { mbr_write(m) } }")
        apply(at, "t")
        block = content(at("disk"), 0, 512)
        head = 32 + 2 * 24
        wanted = b"$OS$" + bytes([0, 2, 1]) + block[7:8] + bytes([1, 2]) + struct.pack("<H", head) + bytes(20)
        wanted += struct.pack("<HHIIIIB3x", 4, 3, 2048, 0x01100000, 0x01101000, 0xc000, 15) + struct.pack("<HHIIIIB3x", 0, 0, 9, 0, 0, 0, 15)
        total = 0
        for byte in block[:head]:
            total ^= byte
        assert block[:head] == wanted and total == 0 and not any(block[head:446]), block[:head].hex()


# ---- U-Boot ------------------------------------------------------------------------------------------------------------------------


def environment(values, flags=None, size=1024):
    data = b"".join(b"%s=%s\0" % kv for kv in sorted(values.items())) + b"\0"
    data = data.ljust(size - (4 if flags is None else 5), b"\xff")
    return struct.pack("<I", zlib.crc32(data)) + (b"" if flags is None else bytes([flags])) + data


A, B, BAD = {b"who": b"a"}, {b"who": b"b"}, b"\xff" * 1024
UBOOT = """uboot-environment e { block-offset=10 block-count=2 %s }
task set { on-init { uboot_setenv(e, "new", "1=2") } }
task unset { on-init { uboot_unsetenv(e, who) } }
task clear { on-init { uboot_clearenv(e) } }
task recover { on-init { uboot_recover(e) } }
task is.a { require-uboot-variable(e, who, a) }
task is.b { require-uboot-variable(e, who, b) }
"""


def env_run(at, task, *copies, status=0):
    """Puts the copies on a disk, runs the task, gives back the copies."""
    with open(at("disk"), "wb") as f:
        f.truncate(131072)
        for start, copy in zip((10, 20), copies):
            f.seek(start * 512)
            f.write(copy)
    said = apply(at, task, status)
    return said, [content(at("disk"), start * 512, 1024) for start in (10, 20)][:len(copies)]


@test
def uboot_single():
    with Folder() as at:
        create(at, UBOOT % "")
        good = environment(A)
        for task, wanted in (("set", {**A, b"new": b"1=2"}), ("unset", {}), ("clear", {}), ("recover", A), ("is.a", A)):
            assert env_run(at, task, good)[1] == [environment(wanted)], task
        for task, wanted in (("clear", {}), ("recover", {})):
            assert env_run(at, task, BAD)[1] == [environment(wanted)], task
        for task in ("set", "unset"):
            said, after = env_run(at, task, BAD, status=1)
            assert said.startswith("fwup: U-boot environment (block 10) CRC32 mismatch (expected 0xffffffff; got 0x") and after == [BAD], said
        for copy, task in ((good, "is.b"), (BAD, "is.a"), (environment({}), "is.a")):
            assert "Couldn't find applicable task" in env_run(at, task, copy, status=1)[0]


@test
def uboot_redundant():
    """The newer copy counts, the older one is written; a broken one is never the one that is kept."""
    cases = [("first newer", 5, 4, "a"), ("second newer", 4, 5, "b"), ("equal", 4, 4, "a"), ("first newer, wrapped", 0, 255, "a"), ("second newer, wrapped", 255, 0, "b"),
             ("half way", 0, 128, "a"), ("less than half way", 0, 127, "b"), ("first broken", None, 9, "b"), ("second broken", 9, None, "a")]
    with Folder() as at:
        create(at, UBOOT % "block-offset-redund=20")
        for name, first, second, who in cases:
            copies = [BAD if first is None else environment(A, first), BAD if second is None else environment(B, second)]
            kept, values, flags = (0, A, first) if who == "a" else (1, B, second)
            for task, wanted in (("set", {**values, b"new": b"1=2"}), ("unset", {})):
                after = env_run(at, task, *copies)[1]
                assert after[kept] == copies[kept] and after[1 - kept] == environment(wanted, (flags + 1) % 256), (name, task, after)
            assert env_run(at, "clear", *copies)[1] == [environment({}, 1)] * 2, name
            assert env_run(at, "recover", *copies)[1] == copies, name
            env_run(at, "is." + who, *copies)
            env_run(at, "is." + ("b" if who == "a" else "a"), *copies, status=1)
        assert env_run(at, "recover", BAD, BAD)[1] == [environment({}, 1)] * 2
        assert env_run(at, "set", BAD, BAD, status=1)[1] == [BAD, BAD]


@test
def uboot_full():
    with Folder() as at:
        create(at, "uboot-environment e { block-offset=10 block-count=1 }\n" + "".join(
            'task t%d { on-init { uboot_clearenv(e) uboot_setenv(e, "n", "%s") } }\n' % (n, "v" * n) for n in (503, 504)))
        apply(at, "t503")
        assert content(at("disk"), 5120, 512) == environment({b"n": b"v" * 503}, size=512)
        assert apply(at, "t504", 1) == "fwup: Not enough room in U-boot environment\n"


sys.exit(main())
