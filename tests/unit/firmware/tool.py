"""What the black-box tests of nh-fwup share: running it, framing, a scratch folder, TAP. The program and the folder of vectors come as arguments."""
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

FWUP, VECTORS = os.path.abspath(sys.argv[1]), os.path.join(os.path.abspath(sys.argv[2]), "firmware")
tests = []
os.environ["PATH"] += ":/usr/sbin:/sbin"  # where sfdisk and fsck.fat are, which Debian leaves out of an ordinary user's path


def test(f):
    tests.append(f)
    return f


def path(*names):
    return os.path.join(VECTORS, *names)


def read(*names):
    with open(path(*names), "rb") as f:
        return f.read()


def run(*args, stdin=b"", env=None, cwd=None):
    """(status, stdout, stderr)"""
    e = {k: v for k, v in os.environ.items() if k not in ("SOURCE_DATE_EPOCH", "NOW")}
    e.update({"TZ": "UTC", "LC_ALL": "C"}, **(env or {}))
    p = subprocess.run([FWUP, *args], input=stdin, capture_output=True, env=e, cwd=cwd, timeout=120)
    assert p.returncode in (0, 1), (args, p.returncode, p.stderr.decode(errors="replace"))
    return p.returncode, p.stdout, p.stderr


def expect(args, status, stdout, stderr=b"", **kw):
    got = run(*args, **kw)
    assert got == (status, stdout, stderr), "%r\n  got      %r\n  expected %r" % (args, got, (status, stdout, stderr))


def create(at, conf, name="a.fw", **kw):
    """Path of an archive made from a configuration, which lies beside it."""
    with open(at("conf"), "w") as f:
        f.write(conf)
    expect(("-c", "-f", at("conf"), "-o", at(name)), 0, b"", **kw)
    return at(name)


def meta(archive):
    with zipfile.ZipFile(archive) as z:
        return z.read("meta.conf").decode()


def content(name, offset=0, size=-1):
    with open(name, "rb") as f:
        f.seek(offset)
        return f.read(size)


def judge(*args, ok=(0,)):
    """Output of another program whose opinion counts."""
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert p.returncode in ok, (args, p.returncode, p.stdout, p.stderr)
    return p.stdout


def frames(data, size):
    return b"".join(struct.pack(">I", len(data[i:i + size])) + data[i:i + size] for i in range(0, len(data), size))


def packets(data):
    out = []
    while len(data) >= 8:
        (n,) = struct.unpack(">I", data[:4])
        out.append((data[4:6].decode(), struct.unpack(">H", data[6:8])[0], data[8:4 + n]))
        data = data[4 + n:]
    return out, data


class Folder:
    def __enter__(self):
        self.name = tempfile.mkdtemp(prefix="nh-fwup-")
        return lambda *n: os.path.join(self.name, *n)

    def __exit__(self, *_):
        shutil.rmtree(self.name)


def main():
    print("1..%d" % len(tests))
    failed = 0
    for n, f in enumerate(tests, 1):
        try:
            f()
            print("ok %d - %s" % (n, f.__name__))
        except Exception as e:  # noqa: BLE001 - every failure is a TAP line
            import traceback
            failed += 1
            print("not ok %d - %s" % (n, f.__name__))
            print("\n".join("# " + line for line in traceback.format_exc().splitlines()))
            del e
        sys.stdout.flush()
    return 1 if failed else 0
