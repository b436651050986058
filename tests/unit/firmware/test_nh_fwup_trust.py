#!/usr/bin/env python3
"""Whom and what nh-fwup believes: keys in all their forms, signing again, archives whose contents were exchanged, patches that don't fit.

Usage: test_nh_fwup_trust.py NH_FWUP VECTORS        Prints TAP.
"""
import base64
import os
import subprocess
import sys
import tempfile

from tool import Folder, content, create, expect, judge, main, run, test

GOOD, UNKNOWN = b"Valid archive with a good signature\n", b"Valid archive with an unverified signature. Specify a public key to authenticate.\n"
WRONG = b"fwup: Firmware archive's meta.conf fails digital signature verification.\n"


def keys(at, *names):
    for name in names:
        assert run("-g", "-o", at(name))[0] == 0
        assert os.stat(at(name + ".priv")).st_mode & 0o777 == 0o600 and os.path.getsize(at(name + ".pub")) == 44 and os.path.getsize(at(name + ".priv")) == 88


def put(name, data):
    with open(name, "wb") as f:
        f.write(data)
    return name


@test
def forms_of_keys():
    with Folder() as at:
        keys(at, "one", "two")
        a = create(at, "task complete { }")
        public, private = content(at("one.pub")), content(at("one.priv"))
        publics = [at("one.pub"), put(at("raw.pub"), base64.b64decode(public)), put(at("junk.pub"), public + b" somebody@somewhere\n"), put(at("bare.pub"), public.rstrip(b"="))]
        privates = [at("one.priv"), put(at("raw.priv"), base64.b64decode(private)), put(at("junk.priv"), private + b"\nmore\n"), put(at("bare.priv"), private.rstrip(b"="))]
        for key in privates:
            expect(("-S", "-s", key, "-i", a, "-o", at("s.fw")), 0, b"")
            expect(("-c", "-s", key, "-f", at("conf"), "-o", at("c.fw")), 0, b"")
            for signed in (at("s.fw"), at("c.fw")):
                for name in publics:
                    expect(("-V", "-i", signed, "-p", name), 0, GOOD)
                expect(("-V", "-i", signed, "--public-key", public.decode()), 0, GOOD)
                expect(("-V", "-i", signed, "-p", at("two.pub")), 1, WRONG)
                expect(("-V", "-i", signed, "-p", at("two.pub"), "-p", at("one.pub")), 0, GOOD)
                expect(("-V", "-i", signed), 0, UNKNOWN)
        for bad in (b"", public[:40], b"!" + public[1:], base64.b64decode(public)[:31], b"A" * 42 + b"/="):
            status, out, _ = run("-V", "-i", at("s.fw"), "-p", put(at("bad"), bad))
            assert (status, out) == (1, b"fwup: Error reading or decoding public key from file '%s'\n" % at("bad").encode()), (bad, out)
        expect(("-S", "-s", at("one.pub"), "-i", a, "-o", at("n.fw")), 1, b"fwup: Error reading or decoding private key from file '%s'\n" % at("one.pub").encode())
        assert not os.path.exists(at("n.fw"))


@test
def signed_again():
    with Folder() as at, tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as elsewhere:
        keys(at, "one", "two")
        put(at("in"), os.urandom(100000))
        a = create(at, 'meta-product=p\nfile-resource r { host-path=in }\nfile-resource "/root" { contents=x }\ntask complete { on-resource r { raw_write(0) } }')
        uuid = run("-m", "--metadata-key", "meta-uuid", "-i", a)
        expect(("-S", "-s", at("one.priv"), "-i", a, "-o", a), 0, b"")
        expect(("-S", "-s", at("two.priv"), "-i", a, "-o", os.path.join(elsewhere, "b.fw")), 0, b"")
        b = os.path.join(elsewhere, "b.fw")
        expect(("-V", "-i", b, "-p", at("two.pub")), 0, GOOD)
        expect(("-V", "-i", b, "-p", at("one.pub")), 1, WRONG)
        assert judge("unzip", "-Z1", b).split() == ["meta.conf.ed25519", "meta.conf", "data/r", "root"]
        assert run("-m", "--metadata-key", "meta-uuid", "-i", b) == uuid
        for key, status, out in (("two", 0, b""), ("one", 1, WRONG)):
            expect(("-a", "-q", "-d", at("disk"), "-t", "complete", "-i", b, "-p", at(key + ".pub")), status, out)
        expect(("-a", "-q", "-d", at("disk"), "-t", "complete", "-i", create(at, "task complete { }"), "-p", at("one.pub")), 1, b"fwup: Expecting signed firmware archive.\n")
        for source, text in (("missing", b"fwup: Failed to open '%s'\n" % at("missing").encode()), ("in", None)):
            status, out, _ = run("-S", "-s", at("one.priv"), "-i", at(source), "-o", at("n.fw"))
            assert status == 1 and (text is None or out == text) and not [n for n in os.listdir(at()) if "tmp" in n or n == "n.fw"], out


def exchange(at, name, member, data):
    """The archive with other bytes in a member, stored by Info-ZIP: sizes in the local header."""
    os.makedirs(os.path.dirname(at("x", member)), exist_ok=True)
    put(at("x", member), data)
    put(at("x", name), content(at("a.fw")))
    subprocess.run(["zip", "-q", "-9", name, member], cwd=at("x"), check=True)
    return at("x", name)


@test
def exchanged_contents():
    with Folder() as at:
        data = os.urandom(5000)
        put(at("in"), data)
        a = create(at, 'file-resource r { host-path=in }\ntask raw { on-resource r { raw_write(0) } on-finish { info(never) } }\n'
                       "task fat { on-init { fat_mkfs(0, 200) } on-resource r { fat_write(0, f) } on-finish { info(never) } }")
        same_size = exchange(at, "b.fw", "data/r", data[:-1] + bytes([data[-1] ^ 1]))
        for task in ("raw", "fat"):
            expect(("-a", "-q", "-d", at("disk"), "-i", same_size, "-t", task), 1, b"fwup: %s_write detected blake2b mismatch on 'r'\n" % task.encode())
        expect(("-V", "-i", same_size), 1, b"fwup: Detected blake2b digest mismatch for r\n")
        text = judge("unzip", "-p", a, "meta.conf")
        for old, new, apply_says, verify_says in (
                ("blake2b-256=", "sha256=", "invalid blake2b hash for 'r'", "invalid blake2b-256 hash for 'r'"),
                ("file-resource \"r\"", "file-resource \"q\"", "Resource 'r' used, but metadata is missing. Archive is corrupt.", "Can't find file-resource for r")):
            assert old in text
            b = exchange(at, "c.fw", "meta.conf", text.replace(old, new).encode())
            expect(("-a", "-q", "-d", at("disk"), "-i", b, "-t", "raw"), 1, b"fwup: %s\n" % apply_says.encode())
            expect(("-V", "-i", b), 1, b"fwup: %s\n" % verify_says.encode())


@test
def patches():
    with Folder() as at:
        old = os.urandom(200000)
        new = old[:90000] + os.urandom(3000) + old[95000:]
        put(at("old"), old)
        put(at("new"), new)
        conf = ('file-resource r { host-path=%s }\ntask complete { on-init { fat_mkfs(4000, 2000) } on-resource r { raw_write(0) } }\ntask file { on-resource r { fat_write(4000, f) } }\n'
                "task raw { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=%d raw_write(1000) } }\n"
                "task fat { on-resource r { delta-source-fat-offset=4000 delta-source-fat-path=f fat_write(4000, g) } }\n"
                "task short { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=100 raw_write(1000) } }\n"
                "task wrong { on-resource r { delta-source-raw-offset=2000 delta-source-raw-count=%d raw_write(1000) } }\n")
        create(at, conf % ("old", 400, 400))
        for task in ("complete", "file"):
            expect(("-a", "-q", "-d", at("disk"), "-i", at("a.fw"), "-t", task), 0, b"")
        create(at, conf % ("new", 400, 400))
        subprocess.run(["xdelta3", "-A", "-S", "none", "-f", "-s", at("old"), at("new"), at("patch")], check=True)
        delta = exchange(at, "delta.fw", "data/r", content(at("patch")))
        expect(("-V", "-i", delta), 0, b"Valid archive without a signature\n")
        keys(at, "key")
        expect(("-S", "-s", at("key.priv"), "-i", delta, "-o", at("signed.fw")), 0, b"")
        for archive in (delta, at("signed.fw")):
            expect(("-a", "-q", "-d", at("disk"), "-i", archive, "-t", "raw"), 0, b"")
            assert content(at("disk"), 512000, len(new)) == new
            expect(("-a", "-q", "-d", at("disk"), "-i", archive, "-t", "fat"), 0, b"")
            judge("mcopy", "-n", "-o", "-i", at("disk") + "@@2048000", "::g", at("out"))
            assert content(at("out")) == new
        size = os.path.getsize(at("patch"))
        for task, text in (("complete", b"fwup: File 'r' isn't expected size (%d vs %d) and xdelta3 patch support not enabled on it." % (size, len(new))),
                           ("short", b"fwup: xdelta"), ("wrong", b"fwup: ")):
            status, out, _ = run("-a", "-q", "-d", at("disk"), "-i", delta, "-t", task)
            assert status == 1 and out.startswith(text), (task, out)
        # Cut short, and of exactly the size of what it makes
        for data in (content(at("patch"))[:-9], content(at("patch")).ljust(len(new), b"\0")):
            status, out, _ = run("-a", "-q", "-d", at("disk"), "-i", exchange(at, "bad.fw", "data/r", data), "-t", "raw")
            assert status == 1 and out.startswith(b"fwup: "), out


sys.exit(main())
