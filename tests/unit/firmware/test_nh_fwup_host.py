#!/usr/bin/env python3
"""Functions of nh-fwup that act on the host: what they do where they are allowed, and that nothing happens where they are not.

Usage: test_nh_fwup_host.py NH_FWUP VECTORS        Prints TAP.
"""
import os
import subprocess
import sys

from tool import FWUP, Folder, content, expect, main, packets, run, test


def archive(at, conf):
    with open(at("conf"), "w") as f:
        f.write(conf)
    expect(("-c", "-f", at("conf"), "-o", at("a.fw")), 0, b"")
    return at("a.fw")


def apply(at, conf, *options, task="t", **kw):
    return run("-a", "-q", "-d", at("disk.img"), "-i", archive(at, conf), "-t", task, *options, **kw)


@test
def refused_unless_unsafe():
    for call in ("on-init { execute(\"touch MARK\") }", "on-finish { execute(\"touch MARK\") }", "on-resource r { path_write(\"MARK\") }",
                 "on-resource r { pipe_write(\"cat >MARK\") }", "on-resource r { ubi_volume_write(\"/dev/null\") }"):
        with Folder() as at:
            conf = "file-resource r { contents=\"hello\" }\ntask t { on-init { raw_memset(0, 1, 1) } %s }" % call.replace("MARK", at("mark"))
            name = call.split("{ ")[1].split("(")[0].encode()
            assert apply(at, conf) == (1, b"fwup: " + name + b" requires --unsafe\n", b""), (call, apply(at, conf))
            assert not os.path.exists(at("mark"))
            assert os.path.getsize(at("disk.img")) == 0, "something was written before the refusal"


@test
def execute():
    with Folder() as at:
        conf = "meta-product=X\ntask t { on-init { execute(\"echo $FWUP_META_UUID $OTHER >%s\") } }" % at("out")
        assert apply(at, conf, "--unsafe", env={"OTHER": "inherited", "FWUP_META_UUID": "stale"}) == (0, b"", b"")
        uuid = run("-m", "--metadata-key", "meta-uuid", "-i", at("a.fw"))[1].strip()
        assert content(at("out")) == uuid + b" inherited\n"
        status, out, _ = apply(at, "task t { on-init { execute(\"exit 3\") } on-error { info(sorry) } }", "--unsafe")
        assert (status, out) == (1, b"fwup: sorry\nfwup: execute 'exit 3' failed with status 3\n"), out
        # Between framed packets nothing foreign may appear.
        archive(at, "task t { on-init { execute(\"echo noise\") } }")
        p = subprocess.run([FWUP, "-a", "-F", "--unsafe", "-d", at("disk.img"), "-i", at("a.fw"), "-t", "t"], capture_output=True, timeout=60)
        got, rest = packets(p.stdout)
        assert rest == b"" and got[-1] == ("OK", 0, b"") and p.stderr == b"noise\n", (p.stdout, p.stderr)


@test
def require_execute():
    conf = "task t.a { require-execute(\"test -e %s\") on-init { info(a) } }\ntask t.b { on-init { info(b) } }"
    with Folder() as at:
        assert apply(at, conf % at("flag"), "--unsafe")[1] == b"fwup: b\n"
        open(at("flag"), "w").close()
        assert apply(at, conf % at("flag"), "--unsafe")[1] == b"fwup: a\n"
        assert apply(at, conf % at("flag"))[1] == b"fwup: b\n", "without --unsafe it is never met"


@test
def sparse_resources_keep_their_shape():
    data, hole = os.urandom(5000), 300000
    shapes = {"hole inside": [(data, 0), (data[:77], hole)], "hole in front": [(data, hole)], "hole behind": [(data, 0), (b"", hole)]}
    for name, runs in shapes.items():
        with Folder() as at:
            with open(at("in"), "wb") as f:
                for chunk, skip in runs:
                    f.seek(skip, os.SEEK_CUR)
                    f.write(chunk)
                f.truncate(f.tell())
            wanted = content(at("in"))
            conf = ("file-resource r { host-path=\"%s\" skip-holes=true }\ntask path { on-resource r { path_write(\"%s\") } }\n"
                    "task pipe { on-resource r { pipe_write(\"cat >%s\") } }\n" % (at("in"), at("path"), at("pipe")))
            for task in ("path", "pipe"):
                assert apply(at, conf, "--unsafe", task=task) == (0, b"", b""), name
                assert content(at(task)) == wanted, (name, task)


@test
def commands_that_fail():
    with Folder() as at:
        with open(at("in"), "wb") as f:
            f.write(os.urandom(1 << 20))
        resource = "file-resource r { host-path=\"%s\" }\n" % at("in")
        # One that stops reading, one that reads all and fails; the process survives the closed pipe.
        for command, text in (("true", b"pipe_write: writing to 'true' failed: Broken pipe"), ("cat >/dev/null; exit 9", b"failed with status 9")):
            status, out, _ = apply(at, resource + "task t { on-resource r { pipe_write(\"%s\") } on-error { info(undone) } }" % command, "--unsafe")
            assert status == 1 and text in out and b"fwup: undone\n" in out, out
        status, out, _ = apply(at, resource + "task t { on-resource r { path_write(\"/dev/full\") } }", "--unsafe")
        assert status == 1 and b"path_write: writing to '/dev/full' failed: No space left on device" in out, out
        status, out, _ = apply(at, resource + "task t { on-resource r { path_write(\"%s/none/x\") } }" % at("no"), "--unsafe")
        assert status == 1 and b"Cannot open '" in out, out
        status, out, _ = apply(at, resource + "task t { on-resource r { ubi_volume_write(\"/dev/null\") } }", "--unsafe")
        assert status == 1 and b"takes no volume update" in out, out


sys.exit(main())
