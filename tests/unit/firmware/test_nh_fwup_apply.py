#!/usr/bin/env python3
"""What nh-fwup says and does while it applies: progress in all its forms, events, broken input, destinations of every kind, sparse resources.

Usage: test_nh_fwup_apply.py NH_FWUP VECTORS        Prints TAP.
"""
import os
import re
import subprocess
import sys

from tool import FWUP, Folder, content, create, expect, frames, judge, main, meta, packets, run, test

KIB = 1024
EVENTS = """file-resource r { host-path="%s" }
task good { on-init { info(one) } on-resource r { raw_write(0) raw_memset(1000, 1, 1) } on-finish { info(two) raw_memset(2000, 2, 0xff) } on-error { info(undone) } }
task bad { on-resource r { raw_write(0) raw_memset(1, 1, 7) error(stop) } on-finish { info(never) } on-error { raw_memset(3000, 1, 7) info(undone) } }
task worse { on-init { error(first) } on-error { error(second) } }
task twice { on-resource r { raw_write(0) raw_write(1000) } }
task none { on-init { info(only) } }
"""


def random_file(name, size):
    data = os.urandom(size)
    with open(name, "wb") as f:
        f.write(data)
    return data


def apply(at, *options, task="good", name="a.fw", image="disk", stdin=None):
    source = () if stdin is not None else ("-i", at(name))
    return run("-a", "-d", at(image), "-t", task, *source, *options, stdin=stdin or b"")


@test
def bar():
    """Four resources of a KiB: a quarter each, with what was read and put out behind the bar once there is something."""
    with Folder() as at:
        resources = "".join("file-resource %s { host-path=\"%s\" }\n" % (n, at(n)) for n in "abcd")
        for n in "abcd":
            random_file(at(n), KIB)
        create(at, resources + "task good { %s on-finish { info(done) } }" % "".join("on-resource %s { raw_write(%d) }" % (n, 2 * i) for i, n in enumerate("abcd")))
        status, out, err = apply(at)
        assert status == 0 and err == b""
        read = "%.2f KB" % (os.path.getsize(at("a.fw")) / 1000)
        lines = [(0, ""), (25, " %s in / 1.02 KB out" % read), (50, " %s in / 2.05 KB out" % read), (75, " %s in / 3.07 KB out" % read), (99, " %s in / 4.10 KB out" % read)]
        wanted = "".join("\r%3d%% [%-36s]%s" % (p, "=" * (p * 36 // 100), said + "     \b\b\b\b\b" if said else "") for p, said in lines)
        wanted += "\r\x1b[Kfwup: done\n\r100%% [%s]%s     \b\b\b\b\b\nSuccess!\n" % ("=" * 36, lines[-1][1])
        tail = out.decode()[len(wanted):]
        assert out.decode().startswith(wanted), (out, wanted)
        assert re.fullmatch(r"Elapsed time: \d+\.\d{3} s\n|Elapsed time: \d+ min \d\d s\n", tail), tail
        expect(("-a", "-n", "-d", at("disk"), "-i", at("a.fw"), "-t", "good"), 0, b"0\n25\n50\n75\n99\nfwup: done\n100\n")


@test
def bar_without_anything_to_count():
    with Folder() as at:
        random_file(at("in"), 10)
        create(at, EVENTS % at("in"))
        head, full = b"\r  0%% [%s]" % (b" " * 36), b"\r100%% [%s]" % (b"=" * 36)
        assert apply(at, task="none") == (0, head + b"\r\x1b[Kfwup: only\n" + full + b"\nSuccess!\n", b"")
        # One line feed to standard error, so that the message has a line of its own there
        assert apply(at, task="worse") == (1, head + b"\r\x1b[Kfwup: first\n", b"\n")


@test
def forms_of_progress():
    with Folder() as at:
        random_file(at("in"), 50000)
        create(at, EVENTS % at("in"))
        said = b"fwup: one\nfwup: two\n"
        assert apply(at, "-q") == (0, said, b"")
        assert apply(at, "-q", "--exit-handshake") == (0, said + b"\x1a\x00", b"")
        assert apply(at, "-q", task="bad") == (1, b"fwup: undone\nfwup: stop\n", b"")
        status, out, _ = apply(at, "-q", "-v")
        assert status == 0 and b"fwup: Running task 'good'\n" in out, out
        for low, high in ((0, 100), (10, 20), (0, 1), (50, 100), (7, 7)):
            status, out, _ = apply(at, "-n", "--progress-low", str(low), "--progress-high", str(high))
            numbers = [int(line) for line in out.split(b"\n") if line.isdigit()]
            assert status == 0 and numbers[0] == low and numbers[-1] == high and numbers == sorted(set(numbers)), (low, high, numbers)
            status, framed, _ = apply(at, "-F", "-n", "--progress-low", str(low), "--progress-high", str(high))
            got, rest = packets(framed)
            assert status == 0 and rest == b"" and [v for t, v, _ in got if t == "PR"] == numbers, framed
            assert [x for x in got if x[0] != "PR"] == [("WN", 0, b"one"), ("WN", 0, b"two"), ("OK", 0, b"")], got
        # A run that fails never says its last value.
        status, out, err = apply(at, "-n", task="bad")
        assert status == 1 and err == b"\n" and b"\n99\n" in out and b"100" not in out, out
        assert packets(apply(at, "-F", "-q", "--exit-handshake", task="bad")[1]) == ([("WN", 0, b"undone"), ("ER", 0, b"stop")], b"\x1a\x01")


@test
def events():
    with Folder() as at:
        data = random_file(at("in"), 150000)
        create(at, EVENTS % at("in"))
        assert apply(at, "-q")[0] == 0
        image = content(at("disk"))
        assert image[:150000] == data and image[1000 * 512:1001 * 512] == b"\1" * 512 and image[2000 * 512:2002 * 512] == b"\xff" * 1024
        # A failure: what wasn't written yet is dropped, what on-error does is not.
        os.unlink(at("disk"))
        assert apply(at, "-q", task="bad") == (1, b"fwup: undone\nfwup: stop\n", b"")
        image = content(at("disk"))
        assert image[512:1024] != b"\7" * 512 and image[3000 * 512:3001 * 512] == b"\7" * 512
        assert apply(at, "-q", task="worse") == (1, b"fwup: first\n", b"")
        status, out, _ = apply(at, "-q", task="twice")
        assert status == 1 and b"called twice in an on-resource for 'r'. Try a \"cp\" function." in out, out
        text = b"fwup: Couldn't find applicable task '%s'. If task is available, the task's requirements may not be met.\n"
        for task in ("goodbye", "x", "Good"):
            assert apply(at, "-q", task=task) == (1, text % task.encode(), b"")
        assert apply(at, "-q", task="goo")[0] == 0, "a prefix is enough"
        assert apply(at, "-q", task="")[1] == b"fwup: one\nfwup: two\n", "every task begins so"


@test
def broken_input():
    with Folder() as at:
        random_file(at("in"), 150000)
        data = content(create(at, EVENTS % at("in")))
        assert apply(at, "-q", stdin=data) == (0, b"fwup: one\nfwup: two\n", b"")
        assert apply(at, "-q", stdin=data[:9000]) == (1, b"fwup: one\nfwup: undone\nfwup: Truncated ZIP file: it ends inside 'data/r'\n", b"")
        for stdin in (b"", b"junk" * 99, data[9:]):
            status, out, _ = apply(at, "-q", stdin=stdin)
            assert status == 1 and out.count(b"\n") == 1, out
        behind = data.rindex(b"PK\1\2", 0, data.rindex(b"PK\1\2")) if data.count(b"PK\1\2") > 1 else data.rindex(b"PK\1\2")
        said = [("WN", 0, b"one"), ("WN", 0, b"undone")]
        for stdin, text in ((frames(data[:9000], 100) + b"\0\0\0\0", b"Truncated ZIP file: it ends inside 'data/r'"),
                            (frames(data[:9000], 100), b"Framed input ended without an end packet"), (frames(data[:9000], 100)[:-3], b"Framed input ended without an end packet"),
                            (frames(data[:behind], 5000), b"Framed input ended without an end packet")):
            status, out, _ = apply(at, "-F", "-q", stdin=stdin)
            assert (status, packets(out)) == (1, (said + [("ER", 0, text)], b"")), out
        for size in (1, 7, 65536):
            status, out, _ = apply(at, "-F", "-q", stdin=frames(data, size))
            assert status == 0 and packets(out)[0][-1] == ("OK", 0, b""), out
        # A pipe that stays open: the end of the archive is enough.
        p = subprocess.Popen([FWUP, "-a", "-q", "-d", at("disk"), "-t", "good"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        p.stdin.write(data)
        p.stdin.flush()
        assert p.wait(60) == 0 and p.stdout.read() == b"fwup: one\nfwup: two\n"
        p.stdin.close()
        p.stdout.close()
        # One wrong byte in the data
        wrong = bytearray(data)
        wrong[len(data) // 2] ^= 1
        status, out, _ = apply(at, "-q", stdin=bytes(wrong))
        assert status == 1 and out.startswith(b"fwup: one\nfwup: undone\nfwup: "), out


@test
def order_of_members():
    """Handlers run in the order of the archive, not in that of the task."""
    with Folder() as at:
        create(at, "file-resource b { contents=b }\nfile-resource a { contents=a }\nfile-resource unused { contents=u }\n"
                   "task good { on-resource a { info(a) raw_write(0) } on-resource b { info(b) raw_write(0) } }")
        assert apply(at, "-q") == (0, b"fwup: b\nfwup: a\n", b"")
        assert content(at("disk"), 0, 2) == b"a\0"
        judge("zip", "-q", "-d", at("a.fw"), "data/unused")
        assert apply(at, "-q")[0] == 0
        judge("zip", "-q", "-d", at("a.fw"), "data/a")
        assert apply(at, "-q") == (1, b"fwup: b\nfwup: Resource a not found in archive\n", b"")


@test
def destinations():
    with Folder() as at:
        data = random_file(at("in"), 150000)
        create(at, 'uboot-environment e { block-offset=1000 block-count=2 }\nfile-resource r { host-path="%s" }\ntask good { on-init { fat_mkfs(2000, 1000) uboot_clearenv(e) }'
                   ' on-resource r { raw_write(0) } on-finish { fat_touch(2000, x) uboot_setenv(e, a, b) } }' % at("in"))
        for option in ((), ("--verify-writes",), ("--minimize-writes",)):
            expect(("-a", "-q", "-d", "/dev/null", "-i", at("a.fw"), "-t", "good", *option), 0, b"")
        # New: whole segments. Existing and shorter: grows. Existing and longer: keeps its size and what isn't written.
        assert apply(at, "-q")[0] == 0 and os.path.getsize(at("disk")) == 12 * 131072
        os.truncate(at("disk"), 300000)
        assert apply(at, "-q", "--minimize-writes", "--verify-writes")[0] == 0 and os.path.getsize(at("disk")) == 12 * 131072
        random_file(at("disk"), 2000000)
        before = content(at("disk"), 3000 * 512)
        assert apply(at, "-q")[0] == 0 and content(at("disk"), 3000 * 512) == before and content(at("disk"), 0, 150000) == data
        # A limit
        os.unlink(at("disk"))
        assert apply(at, "-q", "--max-size", "3000")[0] == 0 and os.path.getsize(at("disk")) == 3000 * 512
        os.unlink(at("disk"))
        status, out, _ = apply(at, "-q", "--max-size", "2999")
        assert status == 1 and b"Check media size." in out and os.path.getsize(at("disk")) == 0, out
        # Where nothing can be written
        os.chmod(at("disk"), 0o444)
        status, out, _ = apply(at, "-q")
        assert status == 1 and out.startswith(b"fwup: Cannot open '%s' for output.\n" % at("disk").encode()), out
        status, out, _ = apply(at, "-q", image="none/disk")
        assert status == 1 and out.startswith(b"fwup: Cannot create '%s'.\n" % at("none/disk").encode()), out


@test
def far_offsets():
    with Folder() as at:
        for offset in (10 << 20, 1 << 32, (8 << 40) // 512):
            create(at, "file-resource r { contents=hello }\ntask good { on-init { fat_mkfs(%d, 1000) } on-resource r { raw_write(%d) fat_touch(%d, x) } }" % (offset + 1, offset, offset + 1))
            status, out, _ = apply(at, "-q")
            if status != 0 and b"Check media size." in out:
                print("# files here end below block %d: not tested" % offset)
                return
            assert status == 0 and content(at("disk"), offset * 512, 6) == b"hello\0", out
            with open(at("fat"), "wb") as f:
                f.write(content(at("disk"), (offset + 1) * 512, 1000 * 512))
            judge("fsck.fat", "-n", at("fat"))
            assert os.stat(at("disk")).st_blocks < 4096, "holes are kept"
            os.unlink(at("disk"))


SHAPES = {  # data and holes in turn, beginning with data
    "no hole": [10000], "hole inside": [65536, 262144, 65536], "hole in front": [0, 131072, 4096], "hole behind": [4096, 1048576],
    "odd hole behind": [4096, 1048876], "only a hole": [0, 1048576], "many": [4096, 8192] * 100 + [4096], "empty": [],
}


def sparse_file(name, shape):
    with open(name, "wb") as f:
        for i, n in enumerate(shape):
            if i % 2:
                f.seek(n, os.SEEK_CUR)
            else:
                f.write(os.urandom(n))
        f.truncate(f.tell())


@test
def sparse_resources():
    with Folder() as at:
        if run("--sparse-check", at("probe"))[0] != 0:
            print("# no holes on this file system: not tested")
            return
        assert not os.path.exists(at("probe"))
        old = os.urandom(3 << 20)
        for name, shape in SHAPES.items():
            sparse_file(at("in"), shape)
            wanted = content(at("in"))
            for skip in ("true", "false"):
                create(at, 'file-resource r { host-path="%s" skip-holes=%s }\ntask good { on-resource r { raw_write(0) } }\n'
                           "task fat { on-init { fat_mkfs(0, 6000) } on-resource r { fat_write(0, f) } }" % (at("in"), skip))
                lengths = shape if skip == "true" else [len(wanted)] if wanted else []
                said = re.search(r"^length=\{?([0-9,]*)", meta(at("a.fw")), re.M)
                assert (said.group(1) if said else "") == ",".join(map(str, lengths)), (name, meta(at("a.fw")))
                expect(("-V", "-i", at("a.fw")), 0, b"Valid archive without a signature\n")
                # a new image, then one that was in use: holes leave it as it is, but the last block is written
                if os.path.exists(at("disk")):
                    os.unlink(at("disk"))
                assert apply(at, "-q")[0] == 0 and content(at("disk"), 0, len(wanted)) == wanted, name
                with open(at("disk"), "wb") as f:
                    f.write(old)
                assert apply(at, "-q")[0] == 0
                got, at_byte = content(at("disk")), 0
                for i, n in enumerate(lengths):
                    last = i % 2 and i + 1 == len(lengths)
                    kept = n - (at_byte + n - 1) % 512 - 1 if last else n
                    assert got[at_byte:at_byte + kept] == (old if i % 2 else wanted)[at_byte:at_byte + kept], (name, i)
                    at_byte += n
                assert apply(at, "-q", task="fat", image="fat")[0] == 0, name
                judge("mcopy", "-n", "-o", "-i", at("fat"), "::f", at("out"))
                assert content(at("out")) == wanted, name


@test
def holes_at_any_byte():
    """A map whose pieces begin and end within blocks, as no file system makes them."""
    with Folder() as at:
        lengths, data, wanted, a, b = [0], b"", b"", 1, 1
        for _ in range(20):
            piece = os.urandom(224)
            lengths += [a, 224]
            data, wanted, a, b = data + piece, wanted + bytes(a) + piece, b, a + b
        with open(at("in"), "wb") as f:
            f.write(data)
        create(at, 'file-resource r { host-path=in }\ntask good { on-resource r { raw_write(0) } }\ntask fat { on-resource r { fat_mkfs(0, 3000) fat_write(0, f) } }')
        judge("unzip", "-q", at("a.fw"), "-d", at("x"))
        with open(at("x/meta.conf"), "a+") as f:
            f.seek(0)
            text = f.read().replace("length=%d\n" % len(data), "length={%s}\n" % ",".join(map(str, lengths)))
            f.truncate(0)
            f.write(text)
        subprocess.run(["zip", "-q", "b.fw", "meta.conf", "data/r"], cwd=at("x"), check=True)
        expect(("-V", "-i", at("x/b.fw")), 0, b"Valid archive without a signature\n")
        assert apply(at, "-q", name="x/b.fw") == (0, b"", b"") and content(at("disk"), 0, len(wanted)) == wanted
        assert apply(at, "-q", name="x/b.fw", task="fat", image="fat") == (0, b"", b"")
        judge("mcopy", "-n", "-o", "-i", at("fat"), "::f", at("out"))
        assert content(at("out")) == wanted


@test
def sparse_limits():
    with Folder() as at:
        if run("--sparse-check", at("probe"))[0] != 0:
            print("# no holes on this file system: not tested")
            return
        # More pieces than a map may have: the rest is one run of data.
        sparse_file(at("in"), [4096, 4096] * 200)
        create(at, 'file-resource r { host-path="%s" skip-holes=true }\ntask good { on-resource r { raw_write(0) } }' % at("in"))
        lengths = [int(n) for n in re.search(r"length=\{([0-9,]*)\}", meta(at("a.fw"))).group(1).split(",")]
        assert lengths == [4096] * 254 + [146 * 4096], lengths
        assert apply(at, "-q")[0] == 0 and content(at("disk"), 0, 400 * 4096) == content(at("in"))
        # Several files: runs of a kind that meet are one.
        sparse_file(at("one"), [4096, 65536])
        sparse_file(at("two"), [0, 65536, 4096])
        sparse_file(at("three"), [8192])
        create(at, 'file-resource r { host-path="one;two;three" skip-holes=true }\ntask good { on-resource r { raw_write(0) } }')
        assert "length={4096,131072,12288}\n" in meta(at("a.fw")), meta(at("a.fw"))
        # Terabytes of nothing
        with open(at("huge"), "wb") as f:
            f.write(os.urandom(4096))
            try:
                f.truncate(8 << 40)
            except OSError:
                print("# no files of 8 TB here: not tested")
                return
        create(at, 'file-resource r { host-path=huge skip-holes=true }\ntask good { on-resource r { raw_write(0) } }')
        assert "length={4096,%d}\n" % ((8 << 40) - 4096) in meta(at("a.fw"))
        assert apply(at, "-q", image="big")[0] == 0 and os.path.getsize(at("big")) == 8 << 40 and os.stat(at("big")).st_blocks < 4096
        assert content(at("big"), 0, 4096) == content(at("huge"), 0, 4096)


sys.exit(main())
