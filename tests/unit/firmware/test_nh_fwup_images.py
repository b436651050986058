#!/usr/bin/env python3
"""What nh-fwup writes to disks, judged by the programs of others, real devices, and how it finds them.

Usage: test_nh_fwup_images.py NH_FWUP VECTORS        Prints TAP.
"""
import json
import os
import subprocess
import sys

from tool import FWUP, VECTORS, Folder, expect, judge, main, run, test

ROOT_GUID, ESP_GUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def apply(at, conf, image="disk.img", task="t", *options):
    with open(at("conf"), "w") as f:
        f.write(conf)
    expect(("-c", "-f", at("conf"), "-o", at("a.fw")), 0, b"")
    expect(("-a", "-q", "-d", at(image), "-i", at("a.fw"), "-t", task, *options), 0, b"")
    return at(image)


def table(image):
    return json.loads(judge("sfdisk", "--json", image))["partitiontable"]


GPT = f"""gpt g {{
  guid = "b443fbeb-2c93-481b-88b3-0ecb0aeba911"
  partition 0 {{ block-offset = 34 block-count = 100 type = "{ESP_GUID.lower()}" guid = "5278721d-0089-4768-85df-b8f1b97e6684" name = "efi-part.vfat" boot = true }}
  partition 1 {{ block-offset = 256 block-count = 1000 type = "{ROOT_GUID}" guid = "fcc205c8-2f1c-4dcd-bef4-7b209aa15cca" name = "rootfs" flags = "0xc000000000000000" EXPAND }}
}}
task t {{ on-init {{ gpt_write(g) }} }}
"""


@test
def gpt():
    with Folder() as at:
        image = apply(at, GPT.replace("EXPAND", ""))
        found = table(image)
        assert found["label"] == "gpt" and found["id"] == "B443FBEB-2C93-481B-88B3-0ECB0AEBA911", found
        assert found["firstlba"] == 34 and found["lastlba"] == 1256, found
        first, second = found["partitions"]
        assert (first["start"], first["size"], first["type"], first["uuid"], first["name"], first["attrs"]) == (
            34, 100, ESP_GUID, "5278721D-0089-4768-85DF-B8F1B97E6684", "efi-part.vfat", "LegacyBIOSBootable"), first
        assert (second["start"], second["size"], second["type"], second["uuid"], second["name"], second["attrs"]) == (
            256, 1000, ROOT_GUID, "FCC205C8-2F1C-4DCD-BEF4-7B209AA15CCA", "rootfs", "GUID:62,63"), second
        # The protective entry covers the disk.
        with open(image, "rb") as f:
            block = f.read(512)
        assert block[446:462] == bytes([0, 0, 2, 0, 0xee, 255, 255, 255, 1, 0, 0, 0]) + (1289).to_bytes(4, "little") and block[510:] == b"\x55\xaa", block[440:].hex()


@test
def gpt_backup_is_usable():
    with Folder() as at:
        os.truncate(open(at("disk.img"), "wb").name, 8 << 20)
        image = apply(at, GPT.replace("EXPAND", "expand = true"))
        size = table(image)["partitions"][1]["size"]
        assert size == 16384 - 34 - 256, size
        assert "No errors detected" in judge("sfdisk", "--verify", image)
        # The header in front destroyed: whoever repairs the table finds all of it in the copy.
        with open(image, "r+b") as f:
            f.seek(512)
            f.write(b"\0" * 512)
        assert table(image)["partitions"][1]["size"] == size


@test
def gpt_too_large():
    with Folder() as at:
        with open(at("conf"), "w") as f:
            f.write(GPT.replace("EXPAND", ""))
        expect(("-c", "-f", at("conf"), "-o", at("a.fw")), 0, b"")
        status, out, _ = run("-a", "-q", "-d", at("small.img"), "-i", at("a.fw"), "-t", "t", "--max-size", "600")
        assert status == 1 and b"fwup: " in out, out
        with open(at("small.img"), "rb") as f:
            assert f.read(512).strip(b"\0") == b"", "no table may be reachable"


@test
def the_manuals_example():
    with open(os.path.join(VECTORS, "../../../docs/man/nh-fwup.conf.5")) as f:
        page = f.read().split(".Sh EXAMPLES")[1]
    conf = page.split(".Bd -literal -offset indent\n")[1].split(".Ed")[0]
    with Folder() as at:
        content = os.urandom(200000)
        with open(at("rootfs.img"), "wb") as f:
            f.write(content)
        image = apply(at, conf, task="complete")
        for slot, start in (("b", 2048 + 65536), ("a", 2048)):
            expect(("-a", "-q", "-d", image, "-i", at("a.fw"), "-t", "upgrade"), 0, b"")
            with open(image, "rb") as f:
                f.seek(start * 512)
                assert f.read(len(content)) == content
            assert run("-a", "-q", "-d", image, "-i", at("a.fw"), "-t", "upgrade." + slot)[0] == 1, "that slot is active now"
        assert [p["start"] for p in table(image)["partitions"]] == [2048, 67584]


@test
def real_device():
    """A loop device: unmounted first, written through O_DIRECT, verified, its end respected, free blocks given back."""
    if os.geteuid() != 0:
        print("# not root: a loop device can't be made, so devices are not tested here")
        return
    with Folder() as at:
        with open(at("disk"), "wb") as f:
            f.write(b"\xff" * (8 << 20))
        p = subprocess.run(["losetup", "--show", "-f", at("disk")], capture_output=True, text=True)
        if p.returncode != 0:
            print("# no loop device: " + p.stderr.strip())
            return
        device = p.stdout.strip()
        try:
            with open(at("in"), "wb") as f:
                f.write(os.urandom(300000))
            conf = "file-resource r { host-path=\"%s\" }\ntask t { on-init { trim(0, 4096) fat_mkfs(4096, 8192) } on-resource r { raw_write(1) } }\n" % at("in")
            conf += "task over { on-resource r { raw_write(16000) } }\n"
            with open(at("conf"), "w") as f:
                f.write(conf)
            expect(("-c", "-f", at("conf"), "-o", at("a.fw")), 0, b"")
            expect(("-a", "-q", "-d", device, "-i", at("a.fw"), "-t", "t"), 0, b"")
            full = os.stat(at("disk")).st_blocks
            expect(("-a", "-q", "-d", device, "-i", at("a.fw"), "-t", "t", "--enable-trim"), 0, b"")
            assert os.stat(at("disk")).st_blocks < full - 8000, "free blocks are given back"
            with open(at("disk"), "rb") as f:
                bytes_ = f.read()
            with open(at("in"), "rb") as f:
                assert bytes_[512:300512] == f.read()
            assert len(bytes_) == 8 << 20
            status, out, _ = run("-a", "-q", "-d", device, "-i", at("a.fw"), "-t", "over")
            assert status == 1 and b"Check media size." in out, out
            # What is mounted from it is unmounted first; with -U the device is busy or not, but nothing is unmounted.
            judge("mkfs.fat", "-I", device)
            os.mkdir(at("mnt"))
            if subprocess.run(["mount", device, at("mnt")], capture_output=True).returncode == 0:
                expect(("-a", "-q", "-d", device, "-i", at("a.fw"), "-t", "t"), 0, b"")
                assert not os.path.ismount(at("mnt"))
        finally:
            subprocess.run(["umount", at("mnt")], capture_output=True)
            subprocess.run(["losetup", "-d", device])
        status, out, _ = run("-a", "-q", "-d", at("file"), "-i", at("a.fw"), "-t", "t", "--enable-trim")
        assert (status, out) == (0, b"fwup: Ignoring --enable-trim: the destination isn't a device\n"), out


def fake_sys(at, disks):
    for name, files in disks.items():
        for file, text in files.items():
            path = at("sys", "block", name, file)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text + "\n")


def with_sys(at, *args, stdin=b""):
    """Runs with the folder in place of /sys."""
    p = subprocess.run(["unshare", "-Urm", "sh", "-c", 'mount --bind "$0" /sys && exec "$@"', at("sys"), FWUP, *args], input=stdin, capture_output=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


@test
def memory_cards():
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0:
        print("# no user namespaces here: memory cards are not tested")
        return
    root = os.stat("/").st_dev
    card = {"removable": "1", "size": "4096", "dev": "8:16"}
    with Folder() as at:
        fake_sys(at, {"sda": {"removable": "1", "size": "999999", "dev": "8:0", "sda1/dev": "%d:%d" % (os.major(root), os.minor(root))},
                      "sdb": {"removable": "0", "size": "999999", "dev": "8:16"}, "sdc": {"removable": "1", "size": "0", "dev": "8:32"},
                      "loop0": {"removable": "1", "size": "999999", "dev": "7:0"}})
        assert with_sys(at, "-D") == (0, b"", b""), with_sys(at, "-D")
        none = b"fwup: No memory cards found. Try reinserting the card.\n"
        assert with_sys(at, "-z") == (1, none, b"")
        with open(at("a.fw"), "wb") as f:
            f.write(run("-c", "-f", "-", stdin=b"task complete { }")[1])
        assert with_sys(at, "-a", "-q", "-i", at("a.fw"), "-t", "complete") == (1, none, b"")
        fake_sys(at, {"mmcblk1": {"removable": "0", "size": "4096", "dev": "179:0"}})
        assert with_sys(at, "-D") == (0, b"/dev/mmcblk1,2097152\n", b"")
        assert with_sys(at, "-z") == (0, b"/dev/mmcblk1\n", b"")
        question = b"Use 2.10 MB memory card found at /dev/mmcblk1? [y/N] "
        status, out, err = with_sys(at, "-a", "-q", "-i", at("a.fw"), "-t", "complete", stdin=b"n\n")
        assert status == 1 and b"was not confirmed" in out and err == question, (out, err)
        status, out, err = with_sys(at, "-a", "-q", "-i", at("a.fw"), "-t", "complete", stdin=b"y\n")
        assert status == 1 and b"Cannot " in out and b"'/dev/mmcblk1'" in out and err.startswith(question), (out, err)
        status, out, err = with_sys(at, "-a", "-q", "-y", "-i", at("a.fw"), "-t", "complete")
        assert status == 1 and b"'/dev/mmcblk1'" in out and question not in err, (out, err)
        fake_sys(at, {"sdd": card})
        assert with_sys(at, "-D") == (0, b"/dev/sdd,2097152\n/dev/mmcblk1,2097152\n", b"")
        assert with_sys(at, "-z")[1].startswith(b"fwup: Too many memory cards found."), with_sys(at, "-z")


sys.exit(main())
