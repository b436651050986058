#!/usr/bin/env python3
"""nh-fwup as a black box: exit status, standard output and files, against the fixtures and against the reference's documented behaviour.

Usage: test_nh_fwup.py NH_FWUP VECTORS        Prints TAP.
"""
import csv
import os
import subprocess
import sys

from tool import FWUP, Folder, expect, frames, main, packets, path, read, run, test

LIBRARY_TEXTS = ("Unrecognized archive format", "ZIP decompression failed", "Truncated ZIP", "ZIP bad CRC")


@test
def facts():
    with open(path("expected/facts.tsv"), newline="") as f:
        rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == 19
    for r in rows:
        file = path(r["file"])
        status, out, err = run("-m", "-i", file)
        assert status == int(r["metadata_exit"]) and err == b"", (r["file"], out, err)
        if status == 0:
            assert b'meta-uuid="%s"\n' % r["uuid"].encode() in out and b'meta-nickname="%s"\n' % r["nickname"].encode() in out
            wanted = path("expected", r["file"].replace(".fw", ".metadata.txt"))
            if os.path.exists(wanted):
                assert out == open(wanted, "rb").read(), r["file"]
            expect(("-l", "-i", file), 0, r["tasks"].replace(",", "\n").encode() + b"\n")
        for keys, name in (((), "nokey"), (("-p", path("keys/key1.pub")), "key1"), (("-p", path("keys/key2.pub")), "key2")):
            status, out, err = run("-V", "-i", file, *keys)
            want = r["verify_%s_output" % name]
            assert status == int(r["verify_%s_exit" % name]), (r["file"], name, out)
            assert err == b"" and out.endswith(b"\n") and out.count(b"\n") == 1
            if not want.removeprefix("fwup: ").startswith(LIBRARY_TEXTS):
                assert out.decode() == want + "\n", (r["file"], name, out, want)
        # both keys: good if either is
        status, out, _ = run("-V", "-i", file, "-p", path("keys/key1.pub"), "--public-key", read("keys/key2.pub").decode())
        assert (status == 0) == ("0" in (r["verify_key1_exit"], r["verify_key2_exit"]))


@test
def standard_input_and_open_pipes():
    data = read("widget-1.1.0.fw")
    expect(("-V", "-p", path("keys/key1.pub")), 0, b"Valid archive with a good signature\n", stdin=data)
    expect(("-V", "-i", "-"), 0, b"Valid archive with an unverified signature. Specify a public key to authenticate.\n", stdin=data)
    # a pipe that is never closed: the tool ends by itself
    p = subprocess.Popen([FWUP, "-V"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    p.stdin.write(data)
    p.stdin.flush()
    assert p.stdout.read().startswith(b"Valid") and p.wait(60) == 0
    p.stdin.close()
    p.stdout.close()


@test
def framed_runs():
    with Folder() as at:
        for name, args, status in (
                ("minimal-complete", ("-a", "-d", at("a"), "-i", path("minimal-signed.fw"), "-t", "complete"), 0),
                ("quoting-info", ("-a", "-d", at("b"), "-i", path("quoting-signed.fw"), "-t", "complete"), 0),
                ("no-such-task", ("-a", "-d", at("c"), "-i", path("quoting-signed.fw"), "-t", "nosuch"), 1),
                ("verify-ok", ("-V", "-p", path("keys/key1.pub"), "-i", path("minimal-signed.fw")), 0),
                ("verify-bad", ("-V", "-p", path("keys/key2.pub"), "-i", path("minimal-signed.fw")), 1)):
            expect(("--framing", *args), status, bytes.fromhex(read("expected/framed-%s.hex" % name).decode()))


@test
def framed_input():
    data = read("widget-1.1.0.fw")
    key = ("--public-key", read("keys/key1.pub").decode())
    for size in (1, 13, 4096, 1 << 20):
        for end in (b"", b"\0\0\0\0"):
            status, out, _ = run("-F", "-V", *key, stdin=frames(data, size) + end)
            assert status == 0 and packets(out) == ([("OK", 0, b"Valid archive with a good signature\n")], b""), (size, out)
    # ends inside, by closing and by an end packet
    for stdin in (frames(data[:2000], 100), frames(data[:2000], 100)[:-7], b""):
        status, out, _ = run("-F", "-V", *key, stdin=stdin)
        assert status == 1 and packets(out)[0][-1][0] == "ER", out
    status, out, _ = run("-F", "-V", *key, stdin=frames(data[:2000], 100) + b"\0\0\0\0")
    assert status == 1 and packets(out)[0][-1][0] == "ER", out


@test
def exit_handshake():
    status, out, _ = run("--exit-handshake", "--framing", "-V", "-i", path("minimal-signed.fw"), stdin=b"rest")
    assert status == 0 and packets(out)[1] == b"\x1a\x00", out
    status, out, _ = run("--exit-handshake", "-V", "-i", path("nothing.fw"))
    assert status == 1 and out == b"fwup: Failed to open '%s'\n\x1a\x01" % path("nothing.fw").encode(), out
    # it waits until its input is closed
    p = subprocess.Popen([FWUP, "--exit-handshake", "-V", "-i", path("minimal-signed.fw")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    while not p.stdout.read(1) == b"\x1a":
        pass
    assert p.poll() is None
    p.stdin.close()
    assert p.wait(60) == 0
    p.stdout.close()


@test
def metadata_keys_and_variables():
    file = path("quoting-signed.fw")
    for key, value in (("meta-product", 'Quote "Test" \\ Co'), ("meta-nickname", "one-civil"), ("meta-creation-date", "2023-11-14T22:13:20Z"),
                       ("meta-vcs-identifier", "(null)"), ("nonsense", "(null)"), ("task", "(null)"), ("require-fwup-version", "0")):
        expect(("-m", "--metadata-key", key, "-i", file), 0, value.encode() + b"\n")
    expect(("-m", "--metadata-key", "meta-misc", "-i", file), 0, b"late: X\n", env={"FIXTURE_LATE": "X"})
    # the environment can't forge the identity
    expect(("-m", "--metadata-key", "meta-uuid", "-i", file), 0, b"af2ff2e6-5f49-5c33-f0e8-2c6fd36c00ec\n", env={"FWUP_META_UUID": "x"})


@test
def usage():
    for args in ((), ("--nonsense",), ("-i",)):
        status, out, _ = run(*args)
        assert status == 1 and out.startswith(b"Usage: "), (args, out)
    status, out, err = run("--help")
    assert status == 0 and out.startswith(b"Usage: ") and err == b""
    status, out, err = run("--version")
    first, second = out.decode().splitlines()
    assert status == 0 and first == "1.16.0" and second.startswith("nh-fwup ") and err == b""
    for args, text in (
            (("-q",), "specify one of -a, -c, -l, -m, -S, -V, or -z"),
            (("-n", "-q", "-V"), "pick either -n or -q, but not both"),
            (("-V", "a", "b"), "unexpected parameter: a"),
            (("-a", "-i", path("minimal-signed.fw"), "-d", "/dev/null"), "specify a task (-t)"),
            (("-S",), "Specify an input firmware file"),
            (("-S", "-i", "a"), "Specify an output firmware file"),
            (("-S", "-i", "a", "-o", "b"), "Specify a signing key"),
            (("-V", "--public-key", "x"), "Error decoding public key"),
            (("-S", "--private-key", "x"), "Error decoding private key"),
            (("-V", "-p", "/nonexistent"), "Error opening public key file '/nonexistent'"),
            (("-V", "-p", path("not-a-zip.fw")), "Error reading or decoding public key from file '%s'" % path("not-a-zip.fw")),
            (("-m", "-i", "/nonexistent"), "Failed to open '/nonexistent'")):
        expect(args, 1, b"fwup: %s\n" % text.encode())
    # a bad key is reported in the form that a later flag asks for
    status, out, _ = run("--public-key", "x", "-V", "--framing")
    assert status == 1 and packets(out) == ([("ER", 0, b"Error decoding public key")], b"")
    # abbreviations, values after =, last command wins
    expect(("-S", "--list", "--metadata", "--metadata-k=meta-version", "-i", path("minimal-signed.fw")), 0, b"0.1.0\n")
    # ten keys and no more
    keys = [x for _ in range(10) for x in ("-p", path("keys/key2.pub"))] + ["-p", path("keys/key1.pub")]
    expect(("-V", "-i", path("minimal-signed.fw"), *keys), 1, b"fwup: Ignoring public key since only 10 supported\n"
           b"fwup: Firmware archive's meta.conf fails digital signature verification.\n")


@test
def wrong_first_member():
    import zipfile
    with Folder() as at:
        with zipfile.ZipFile(at("x.fw"), "w") as z:
            z.writestr("data/x", "x")
        name = at("x.fw").encode()
        expect(("-m", "-i", at("x.fw")), 1, b"fwup: Expecting meta.conf to be at beginning of %s\n" % name)
        expect(("-V", "-i", at("x.fw")), 1, b"fwup: Expecting meta.conf to be at the beginning of %s\n" % name)
        for text, detail in (("meta-product=\n\n{", b"[buf]:3: "), ("require-fwup-version=2.0", b"fwup version '2.0' required. This is fwup version '1.16.0'.")):
            with zipfile.ZipFile(at("x.fw"), "w") as z:
                z.writestr("meta.conf", text)
            status, out, err = run("-m", "-i", at("x.fw"))
            assert status == 1 and out == b"fwup: Unexpected error parsing meta.conf\n" and err.startswith(detail), (out, err)
        for size in (9, 50000):
            with zipfile.ZipFile(at("x.fw"), "w", zipfile.ZIP_DEFLATED) as z:
                z.writestr("meta.conf", "#" * size)
            expect(("-V", "-i", at("x.fw")), 1, b"fwup: Unexpected meta.conf size: %d\n" % size)
        for size in (10, 49999):
            with zipfile.ZipFile(at("x.fw"), "w", zipfile.ZIP_DEFLATED) as z:
                z.writestr("meta.conf", "#" * size)
            expect(("-V", "-i", at("x.fw")), 0, b"Valid archive without a signature\n")


@test
def create_sign_and_keys():
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    with Folder() as at:
        conf = path("conf/minimal.conf")
        expect(("-c", "-f", conf, "-o", at("a.fw")), 0, b"", env=env)
        assert open(at("a.fw"), "rb").read() == read("minimal-unsigned.fw")
        assert run("-c", "-f", conf, env=env)[1] == read("minimal-unsigned.fw")
        assert run("-c", "-f", "-", env={"NOW": "2023-11-14T22:13:20Z"}, stdin=read("conf/minimal.conf"))[1] == read("minimal-unsigned.fw")
        assert run("-c", "-f", conf, "-s", path("keys/key1.priv"), env=env)[1] == read("minimal-signed.fw")
        assert run("-c", "-F", "-f", conf, env=env)[1] == read("minimal-unsigned.fw")  # no packet for create
        expect(("-S", "-s", path("keys/key1.priv"), "-i", at("a.fw"), "-o", at("a.fw")), 0, b"", env=env)
        assert open(at("a.fw"), "rb").read() == read("minimal-signed.fw")
        expect(("-S", "--private-key", read("keys/key1.priv").decode(), "-i", path("minimal-unsigned.fw"), "-o", at("b.fw"), "-F"), 0,
               b"\0\0\0\4OK\0\0", env=env)
        assert open(at("b.fw"), "rb").read() == read("minimal-signed.fw")
        small, large = (len(run(level, "-c", "-f", "-", env=env, stdin=b'file-resource a { host-path="%s" }' % path("payload/rootfs-1.0.0.img").encode())[1])
                        for level in ("-9", "-1"))
        assert small < large
        # the caller's environment reaches the configuration, and beats define
        out = run("-c", "-f", "-", env={**env, "WHO": "env"}, stdin=b'define(WHO, "conf") meta-author="${WHO}"')[1]
        open(at("c.fw"), "wb").write(out)
        expect(("-m", "--metadata-key", "meta-author", "-i", at("c.fw")), 0, b"env\n")
        # errors: what and where on standard error
        status, out, err = run("-c", "-f", "-", "-o", at("d.fw"), stdin=b"\nnope=1")
        assert (status, out) == (1, b"fwup: Error parsing configuration file '-'\n") and err == b"[buf]:2: no such option 'nope'\n"
        for text, message in ((b'include("${NOT_SET_AT_ALL}")', b"Cannot include the contents of an undefined variable"),
                              (b'include("/nonexistent")', b"Cannot include '/nonexistent': File not found"),
                              (b'include("/dev")', b"Cannot include '/dev': Not a regular file")):
            status, out, err = run("-c", "-f", "-", stdin=text)
            assert status == 1 and err == b"[buf]:1: " + message + b"\n", err
        status, out, _ = run("-c", "-f", "/nonexistent", "-o", at("d.fw"))
        assert status == 1 and out.startswith(b"fwup: Error opening configuration file '/nonexistent'")
        assert not os.path.exists(at("d.fw"))
        # key pairs
        text = ("Firmware signing keys created and saved to '{0}.pub' and '{0}.priv'\n\nDistribute '{0}.pub' with your system so that firmware "
                "updates can be\nauthenticated. Keep '{0}.priv' in a safe location.\n")
        expect(("-g",), 0, text.format("fwup-key").encode(), cwd=at())
        expect(("-g", "-o", at("k")), 0, text.format(at("k")).encode())
        expect(("-g", "-o", at("k")), 1, b"fwup: Couldn't create '%s.pub': File exists\n" % at("k").encode())
        expect(("-S", "-s", at("k.priv"), "-i", path("widget-1.1.0.fw"), "-o", at("w.fw")), 0, b"")
        expect(("-V", "-p", at("k.pub"), "-i", at("w.fw")), 0, b"Valid archive with a good signature\n")
        assert run("-V", "-p", path("keys/key1.pub"), "-i", at("w.fw"))[0] == 1
        leftovers = [n for n in os.listdir(at()) if "tmp" in n]
        assert not leftovers, leftovers


@test
def in_place_of_fwup():
    """Found in the path under the reference's name, as a client calls it."""
    with Folder() as at:
        os.symlink(FWUP, at("fwup"))
        env = {**os.environ, "PATH": at() + ":" + os.environ["PATH"], "TZ": "UTC"}
        version = subprocess.run(["fwup", "--version"], env=env, capture_output=True, text=True, timeout=60)
        assert version.returncode == 0 and version.stdout.splitlines()[0].count(".") == 2, version
        subprocess.run(["fwup", "-g", "-o", at("k")], env=env, check=True, capture_output=True, timeout=60)
        subprocess.run(["fwup", "--sign", "-i", path("minimal-unsigned.fw"), "-o", at("s.fw"), "--private-key", open(at("k.priv")).read()], env=env, check=True, timeout=60)
        meta = subprocess.run(["fwup", "-m", "-i", at("s.fw")], env=env, check=True, capture_output=True, timeout=60)
        assert b'meta-product="Fixture Minimal"\n' in meta.stdout
        verify = ["fwup", "--verify", "-i", at("s.fw"), "--public-key"]
        assert subprocess.run([*verify, open(at("k.pub")).read()], env=env, capture_output=True, timeout=60).returncode == 0
        assert subprocess.run([*verify, read("keys/key1.pub").decode()], env=env, capture_output=True, timeout=60).returncode == 1


@test
def apply_and_progress():
    with Folder() as at:
        file = path("minimal-signed.fw")
        image = b"hello from the minimal fixture\n".ljust(131072, b"\0")
        expect(("-a", "-q", "-d", at("q"), "-i", file, "-t", "complete", "-p", path("keys/key1.pub")), 0, b"")
        assert open(at("q"), "rb").read() == image
        expect(("-a", "-n", "-d", at("n"), "-i", file, "-t", "complete"), 0, b"0\n99\n100\n")
        expect(("-a", "-n", "-d", at("r"), "-i", file, "-t", "complete", "--progress-low", "10", "--progress-high", "20"), 0, b"10\n19\n20\n")
        # easy mode: the task defaults to complete
        expect((file, "-d", at("e"), "-q", "-U"), 0, b"")
        assert open(at("e"), "rb").read() == image
        status, out, _ = run(file, "-d", at("bar"))
        assert status == 0 and out.startswith(b"\r  0% [" + b" " * 36 + b"]") and b"\r100% [" + b"=" * 36 + b"]" in out and b"\nSuccess!\n" in out, out
        status, out, _ = run(path("quoting-signed.fw"), "-d", at("i"))
        assert status == 0 and b"\r\x1b[Kfwup: quoting\n" in out, out
        # framed through standard input, the pipe left open, as a device does it
        p = subprocess.Popen([FWUP, "--framing", "--exit-handshake", "--apply", "--no-unmount", "-d", at("s"), "--task", "complete", "--public-key",
                              read("keys/key1.pub").decode()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        p.stdin.write(frames(read("minimal-signed.fw"), 100))
        p.stdin.flush()
        out = b""
        while not out.endswith(b"\x1a\x00"):
            more = p.stdout.read(1)
            assert more, out
            out += more
        p.stdin.close()
        assert p.wait(60) == 0 and [x[0] for x in packets(out)[0]] == ["PR", "PR", "PR", "OK"]
        p.stdout.close()
        assert open(at("s"), "rb").read() == image
        # wrong key: nothing is written
        expect(("-a", "-q", "-d", at("w"), "-i", file, "-t", "complete", "-p", path("keys/key2.pub")), 1,
               b"fwup: Firmware archive's meta.conf fails digital signature verification.\n")
        assert not os.path.exists(at("w")) or os.path.getsize(at("w")) == 0


sys.exit(main())
