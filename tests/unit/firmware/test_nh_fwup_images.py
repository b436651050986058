#!/usr/bin/env python3
"""What nh-fwup writes to disks, judged by the programs of others: partition tables by sfdisk, FAT volumes by fsck.fat and mtools.

Usage: test_nh_fwup_images.py NH_FWUP VECTORS        Prints TAP.
"""
import json
import os
import subprocess
import sys

from tool import Folder, expect, main, run, test

ROOT_GUID, ESP_GUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def judge(*args, ok=(0,)):
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert p.returncode in ok, (args, p.returncode, p.stdout, p.stderr)
    return p.stdout


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


sys.exit(main())
