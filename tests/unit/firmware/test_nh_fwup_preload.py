#!/usr/bin/env python3
"""nh-fwup on hardware that isn't there, shown to it by a library in front of the C library: media that store wrong bits, block devices, a UBI volume.

Usage: test_nh_fwup_preload.py NH_FWUP VECTORS PRELOAD        Prints TAP.
"""
import os
import sys

from tool import Folder, content, create, main, run, test

PRELOAD = os.path.abspath(sys.argv[3])
MIB = 1 << 20


def apply(at, *options, task="t", image="disk", **env):
    # A sanitizer's own library would like to be the first one.
    checks = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0", "LD_PRELOAD": PRELOAD}
    return run("-a", "-q", "-d", at(image), "-i", at("a.fw"), "-t", task, *options, env={**checks, **env})


@test
def wrong_bits():
    """Wherever the medium stores something else than was written, --verify-writes sees it, and on-finish isn't reached."""
    with Folder() as at:
        with open(at("in"), "wb") as f:
            f.write(os.urandom(MIB + 700))
        create(at, 'file-resource r { host-path="%s" }\nuboot-environment e { block-offset=5000 block-count=4 }\n'
                   "task t { on-init { fat_mkfs(6000, 2000) fat_touch(6000, x) } on-resource r { raw_write(256) } on-finish { uboot_clearenv(e) info(done) } }" % at("in"))
        places = {"first byte of the resource": 256 * 512, "its last byte": 256 * 512 + MIB + 699, "within": 256 * 512 + MIB // 2, "the environment": 5000 * 512,
                  "the volume": 6000 * 512 + 3, "the last block": 7999 * 512 + 511}
        assert apply(at, "--verify-writes") == (0, b"fwup: done\n", b"")
        for name, byte in places.items():
            env = {"FLIP_FILE": "/disk", "FLIP_AT": str(byte)}
            os.unlink(at("disk"))
            status, out, err = apply(at, "--verify-writes", **env)
            assert status == 1 and b"write verification failed at offset %d" % (byte // 131072 * 131072) in out and err == b"", (name, out, err)
            if "resource" in name or name == "within":
                assert b"done" not in out, name
            os.unlink(at("disk"))
            assert apply(at, **env)[0] == 0, "files aren't verified unless asked for"
            # What is there already isn't written again, and what was stored wrong is.
            assert apply(at, "--minimize-writes", "--verify-writes", **env)[0] == 1, name
            assert apply(at, "--minimize-writes", "--verify-writes")[0] == 0, name
            assert apply(at, "--minimize-writes", "--verify-writes", **env)[0] == 0, "nothing left to write: " + name


DEVICES = ";".join(("/root-of-it=179:1", "/on/mapper=254:0", "/on/deep=254:9", "/dev/card=179:0", "/dev/card1=179:1", "/dev/card2=179:2", "/dev/mapped=254:0", "/dev/other=254:1"))
SYS = {"179:1/start": "2048", "179:2/start": "0x1000", "254:0/slaves/dm-1/dev": "254:1", "254:1/slaves/card2/dev": "179:2", "254:0/slaves/none/dev": "nonsense",
       "254:9/slaves/a/dev": "254:10", "254:10/slaves/b/dev": "254:11", "254:11/slaves/c/dev": "254:12", "254:12/slaves/d/dev": "179:2"}
ON_DEVICE = [("/root-of-it", "/dev/card1", True), ("/root-of-it", "/dev/card2", False), ("/root-of-it", "/dev/card", False), ("/root-of-it", "/dev/none", False),
             ("/root-of-it", "/root-of-it", False), ("/on/mapper", "/dev/mapped", True), ("/on/mapper", "/dev/other", True), ("/on/mapper", "/dev/card2", True),
             ("/on/mapper", "/dev/card1", False), ("/none", "/dev/card1", False), ("/on/deep", "/dev/card2", False)]
AT_OFFSET = [("/root-of-it", "2048", True), ("/root-of-it", "0x800", True), ("/root-of-it", "2049", False), ("/on/mapper", "0", False), ("/none", "0", False)]


@test
def where_a_path_is():
    with Folder() as at:
        for name, text in SYS.items():
            path = at("sys/dev/block", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text + "\n")
        tasks = ["task d%d. { require-path-on-device(\"%s\", \"%s\") }" % (i, path, device) for i, (path, device, _) in enumerate(ON_DEVICE)]
        tasks += ["task o%d. { require-path-at-offset(\"%s\", %s) }" % (i, path, offset) for i, (path, offset, _) in enumerate(AT_OFFSET)]
        create(at, "\n".join(tasks))
        for letter, rows in (("d", ON_DEVICE), ("o", AT_OFFSET)):
            for i, (path, what, met) in enumerate(rows):
                status, out, err = apply(at, task="%s%d." % (letter, i), FAKE_SYS=at("sys"), FAKE_STAT=DEVICES)
                assert status == (0 if met else 1) and (met or b"Couldn't find applicable task" in out) and err == b"", (path, what, out, err)


@test
def ubi_volume():
    """One update of the full size, holes included, written from front to back; nothing without --unsafe."""
    with Folder() as at:
        with open(at("in"), "wb") as f:
            f.write(os.urandom(70000))
            f.seek(300000, os.SEEK_CUR)
            f.write(os.urandom(5000))
            f.truncate(400000)
        open(at("ubi0_1"), "w").close()
        create(at, 'file-resource r { host-path="%s" skip-holes=true }\ntask t { on-resource r { ubi_volume_write("%s") } }' % (at("in"), at("ubi0_1")))
        env = {"FAKE_UBI": "/ubi0_1", "UBI_LOG": at("log")}
        assert apply(at, **env) == (1, b"fwup: ubi_volume_write requires --unsafe\n", b"") and not os.path.exists(at("log"))
        assert apply(at, "--unsafe", **env) == (0, b"", b"")
        assert content(at("ubi0_1")) == content(at("in"))
        assert content(at("log")) == b"update 400000 0\nclose 400000 400000\n", content(at("log"))


sys.exit(main())
