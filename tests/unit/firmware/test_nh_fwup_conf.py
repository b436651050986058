#!/usr/bin/env python3
"""The configuration language as nh-fwup -c understands it: what meta.conf comes out, and what is refused.

Usage: test_nh_fwup_conf.py NH_FWUP VECTORS        Prints TAP.
"""
import hashlib
import os
import sys

from tool import Folder, content, create, expect, main, meta, run, test


def b2(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


X = 'length=1\nblake2b-256=%s\n' % b2(b"x")

# What is written, the variables of the caller, the meta.conf
GOOD = [
    # definitions: the first one counts, the environment before it, "!" always
    ("define(A, 1) define(A, 2) meta-misc=${A}", {}, "meta-misc=1\n"),
    ("define(A, 1) meta-misc=${A}", {"A": "caller"}, "meta-misc=caller\n"),
    ("define(A, 1) meta-misc=\"[${A}]\"", {"A": ""}, 'meta-misc="[]"\n'),
    ("define(A, 1) define!(A, 2) meta-misc=\"${A}b\"", {"A": "caller"}, "meta-misc=2b\n"),
    ("define(A, one) define(B, \"${A}two\") meta-misc=${B}", {}, "meta-misc=onetwo\n"),
    # expressions
    ("define-eval(A, \"1 + 2 * 3\") meta-misc=${A}", {}, "meta-misc=7\n"),
    ("define-eval(A, \"-2^2\") meta-misc=${A}", {}, 'meta-misc="-4"\n'),
    ("define-eval(A, \"2^3^2\") meta-misc=${A}", {}, "meta-misc=512\n"),
    ("define-eval(A, \"(0x10 + 010) * 2K / 512\") meta-misc=${A}", {}, "meta-misc=96\n"),
    ("define-eval(A, 1KK) define-eval!(A, \"${A} / 1MB\") meta-misc=${A}", {}, "meta-misc=1\n"),
    ("define(OFFSET, 63) define-eval(NEXT, \"${OFFSET} + 2048\") meta-misc=${NEXT}", {}, "meta-misc=2111\n"),
    # variables in every place, and their defaults
    ("meta-misc=\"<${N:-none}${N}>\"", {}, 'meta-misc="<none>"\n'),
    ("meta-misc=${N:-none}", {}, "meta-misc=none\n"),
    ("meta-misc=\"${N:-none}.\"", {"N": ""}, "meta-misc=.\n"),
    ("meta-misc='${N}'", {"N": "x"}, 'meta-misc="${N}"\n'),
    ("meta-misc=\"\\${N}\"", {"N": "x"}, 'meta-misc="${N}"\n'),
    ("meta-misc=\"a $ b\"", {}, 'meta-misc="a $ b"\n'),
    ("file-resource ${N} { contents=${N} } task \"t${N}\" { on-resource \"${N}\" { raw_write(${O}) } }", {"N": "x", "O": "5"},
     'file-resource "x" {\n%s}\ntask "tx" {\non-resource "x" {\nfunlist={2,raw_write,5}\n}\n}\n' % X),
    ("meta-uuid=x meta-misc=\"${FWUP_META_UUID} \\${FWUP_META_NICKNAME}\"", {}, 'meta-misc="${FWUP_META_UUID} ${FWUP_META_NICKNAME}"\n'),
    # strings and escapes
    ('meta-misc="\\x41\\102\\t\\"\\\\\\q"', {}, 'meta-misc="AB\t\\"\\\\q"\n'),
    ("meta-misc='a\\n\\'\\\\'", {}, 'meta-misc="a\\\\n\'\\\\"\n'),
    ('meta-misc="one\ntwo \\\nthree"', {}, 'meta-misc="one\ntwo three"\n'),
    ('meta-product="Größe" meta-version="1.0" meta-author=a_b.c meta-platform=a-b', {},
     'meta-product="Größe"\nmeta-version=1.0\nmeta-author=a_b.c\nmeta-platform="a-b"\n'),
    # comments, order, what is given twice
    ("# a\n// b\n/* c\n d */ meta-version=1 /* e */ meta-product=p # f", {}, "meta-product=p\nmeta-version=1\n"),
    ("meta-misc=1 meta-misc=2", {}, "meta-misc=2\n"),
    ("meta-misc=\"\"", {}, "# Empty file\n"),
    ("# nothing", {}, "# Empty file\n"),
    ("task b { on-init { info(1) } on-init { info(2) } } task a { }", {}, 'task "b" {\non-init {\nfunlist={2,info,1,2,info,2}\n}\n}\ntask "a" {\n}\n'),
    ("task t { require-partition-offset(1, 0x3f) require-path-on-device(\"/\", \"/dev/x\") require-partition1-offset=77 }", {},
     'task "t" {\nreqlist={3,"require-partition-offset",1,0x3f,3,"require-path-on-device","/","/dev/x"}\nrequire-partition1-offset=77\n}\n'),
    # resources
    ('file-resource "/abs" { contents=x }', {}, 'file-resource "/abs" {\n%s}\n' % X),
    ("file-resource r { contents=x } task t { on-resource r { fat_write(63) } }", {},
     'file-resource "r" {\n%s}\ntask "t" {\non-resource "r" {\nfunlist={3,fat_write,63,r}\n}\n}\n' % X),
    ("file-resource none { host-path=\"/dev/null\" }", {}, 'file-resource "none" {\nblake2b-256=%s\n}\n' % b2(b"")),
    # numbers as numbers, and as they were written
    ("mbr m { signature=0x01020304 partition 0 { block-offset=0x10 block-count=010 type=0xc boot=YES } }", {},
     'mbr "m" {\nsignature=0x01020304\npartition "0" {\nblock-offset=0x10\nblock-count=8\ntype=12\nboot=true\n}\n}\n'),
    ("block-cache-size-mb=16 require-fwup-version=\"0.16\"", {}, "require-fwup-version=0.16\nblock-cache-size-mb=16\n"),
    ("block-cache-size-mb=8 require-fwup-version=0.0.0", {}, "require-fwup-version=0.0.0\n"),
]

# What is refused, and a part of what standard error or output says
BAD = [
    ("meta-misc=abc${A}", ":1: "), ("nope=1", "no such option 'nope'"), ("nope { }", "no such option 'nope'"), ("nope(1)", "no such option 'nope'"),
    ("meta-misc", "'='"), ("meta-misc=", "value"), ("meta-misc=\"open", "isn't closed"), ("task t {", "'}' is missing"), ("}", "syntax error"),
    ("/* open", "isn't closed"), ("meta-misc=\"\\9\"", "octal"), ("\n\nmeta-misc += x", ":3: "), ("task t { boot=true }", "no such option 'boot'"),
    ("task a { } task a { }", "found duplicate title 'a'"), ("file-resource a { contents=x } file-resource a { contents=y }", "found duplicate title 'a'"),
    ("mbr m { partition 0 { block-offset=1 block-count=1 type=1 } partition 0 { block-offset=9 block-count=1 type=1 } }", "found duplicate title '0'"),
    ("define(A)", "define()"), ("define-eval(A, \"1/0\")", "division by zero"), ("define-eval(A, \"1 1\")", "isn't an expression"), ("define-eval(A, \"\")", "''"),
    ("define-eval(A, \"(1\")", "isn't an expression"), ("define-eval(A, \"7%2\")", "isn't an expression"), ("define-eval(A, 1T)", "isn't an expression"),
    ("file-resource a { }", "needs either"), ("file-resource a { contents=x host-path=in }", "needs either"), ("file-resource a { host-path=\"${A}\" }", "needs either"),
    ("file-resource a { host-path=missing }", "can't open path '"), ("file-resource \"a/\" { contents=x }", "can't be named"),
    ("file-resource \"/data/a\" { contents=x }", "can't be named"), ("file-resource \"/meta.conf\" { contents=x }", "can't be named"),
    ("file-resource a { host-path=in assert-size-lte=1 }", "file size assertion failed on 'in'. Size is 1024 bytes. It must be <= 512 bytes (1 blocks)"),
    ("file-resource a { host-path=in assert-size-gte=3 }", "file size assertion failed on 'in'. Size is 1024 bytes. It must be >= 1536 bytes (3 blocks)"),
    ("task t { on-resource a { raw_write(0) } }", "unknown resource: a"), ("task t { on-resource a { raw_write(0) } } file-resource a { contents=x }", "unknown resource: a"),
    ("task t { on-init { raw_write(0) } }", "on-resource"), ("task t { on-init { raw_memset(0, 0, 0) } }", "at least 1"),
    ("task t { on-init { raw_memset(0, 1, 256) } }", "0 to 255"), ("task t { on-init { raw_memset(-1, 1, 0) } }", "non-negative"),
    ("task t { on-init { trim(0, 0) } }", "at least 1"), ("task t { on-init { trim(1) } }", "2 arguments"), ("task t { on-init { fat_mkfs(63) } }", "2 arguments"),
    ("task t { on-init { fat_attrib(63, f, Q) } }", "attributes"), ("task t { on-init { mbr_write(m) } }", "mbr section"), ("task t { on-init { gpt_write(g) } }", "gpt section"),
    ("task t { on-init { uboot_setenv(e, a, b) } }", "uboot-environment section"), ("task t { on-init { info() } }", "1 argument"),
    ("task t { require-uboot-variable(e, a, b) }", "uboot-environment section"), ("task t { require-partition-offset(4, 63) }", "partition from 0 to 3"),
    ("task t { require-partition-offset(0, x) }", "non-negative"), ("task t { require-fat-file-exists(x, f) }", "non-negative"), ("task t { on-init { unknown(1) } }", "no such option 'unknown'"),
    ("require-fwup-version=2", "fwup version '2' required. This is fwup version '1.16.0'."), ("require-fwup-version=1.17.0", "fwup version '1.17.0' required."),
    ("uboot-environment e { block-offset=0 block-count=0 }", "block-count"), ("uboot-environment e { block-offset=0 block-count=65535 }", "block-count"),
    ("uboot-environment e { block-count=1 }", "block-offset"), ("uboot-environment e { block-offset=8 block-count=8 block-offset-redund=15 }", "overlap"),
    ("include(\"${NOT_SET}\")", "Cannot include the contents of an undefined variable"), ("include(missing)", "Cannot include 'missing': File not found"),
    ("include(folder)", "Cannot include 'folder': Not a regular file"),
]

# The same for the partitions of an MBR
BAD_MBR = [
    ("partition 0 { block-count=1 type=1 }", "block-offset"), ("partition 0 { block-offset=4294967295 block-count=1 type=1 }", "block-offset"),
    ("partition 0 { block-offset=1 type=1 }", "block-count"), ("partition 0 { block-offset=1 block-count=1 }", "type"), ("partition 0 { block-offset=1 block-count=1 type=256 }", "type"),
    ("partition 12 { block-offset=1 block-count=1 type=1 }", "0 to 11"), ("partition x { block-offset=1 block-count=1 type=1 }", "0 to 11"),
    ("partition 0 { block-offset=1 block-count=9 type=1 } partition 1 { block-offset=9 block-count=1 type=1 }", "overlap"),
    ("partition 0 { block-offset=1 block-count=1 type=1 expand=true } partition 1 { block-offset=9 block-count=1 type=1 }", "last partition"),
    ("partition 1 { block-offset=1 block-count=9 type=15 }", "only partition 3"), ("partition 4 { block-offset=9 block-count=1 type=1 }", "extended"),
    ("partition 3 { block-offset=1 block-count=9 type=1 } partition 4 { block-offset=19 block-count=1 type=1 }", "extended"),
    ("partition 3 { block-offset=9 type=15 } partition 4 { block-offset=9 block-count=1 type=1 }", "begin at block 10 or later"),
    ("partition 3 { block-offset=9 type=15 } partition 4 { block-offset=20 block-count=1 type=1 } partition 5 { block-offset=10 block-count=1 type=1 }", "begin at block 11 or later"),
    ("partition 3 { block-offset=9 type=5 } partition 5 { block-offset=20 block-count=1 type=1 }", "must all be given"),
    ("partition 0 { block-offset=15 block-count=2 type=1 } partition 3 { block-offset=9 type=15 } partition 4 { block-offset=20 block-count=1 type=1 }", "partitions 0 and 3 overlap"),
    ("signature=0x100000000", "32-bit"), ("bootstrap-code=00", "440 bytes"), ("bootstrap-code-host-path=missing", "bootstrap-code-host-path"),
    ("include-osip=true bootstrap-code=\"%s\"" % ("00" * 440), "exclude each other"),
]


@test
def written():
    with Folder() as at:
        for conf, env, wanted in GOOD:
            got = meta(create(at, conf, env=env))
            assert got == wanted, (conf, got, wanted)


@test
def refused():
    with Folder() as at:
        os.mkdir(at("folder"))
        with open(at("in"), "wb") as f:
            f.write(b"x" * 1024)
        for conf, text in BAD + [("mbr m { %s }" % body, text) for body, text in BAD_MBR]:
            status, out, err = run("-c", "-f", "-", "-o", at("a.fw"), stdin=conf.encode(), cwd=at())
            said = out + err
            assert status == 1 and text.encode() in said and out.startswith(b"fwup: "), (conf, status, out, err)
            assert not os.path.exists(at("a.fw")), conf


@test
def includes():
    """Paths are those of the file that says them; what is wrong is told with file and line."""
    with Folder() as at:
        os.makedirs(at("sub/deep"))
        for name, text in (("main.conf", 'include("sub/a.conf")\ntask t { on-init { include("sub/deep/call.conf") } on-resource r { raw_write(0) } }\n'),
                           ("sub/a.conf", 'define(WHO, "a")\ninclude("deep/b.conf")\nfile-resource r { include("deep/options.conf") }\nmeta-author=${WHO}\n'),
                           ("sub/deep/b.conf", "define!(WHO, \"b\")\n"), ("sub/deep/options.conf", "assert-size-lte=1\nhost-path=in\n"),
                           ("sub/deep/call.conf", "info(hello)\n"), ("sub/in", "x"), ("wrong.conf", "\ninclude(\"sub/wrong.conf\")\n"),
                           ("sub/wrong.conf", "\n\nnope=1\n"), ("loop.conf", "include(\"loop.conf\")\n")):
            with open(at(name), "w") as f:
                f.write(text)
        wanted = 'meta-author=b\nfile-resource "r" {\n%s}\ntask "t" {\non-init {\nfunlist={2,info,hello}\n}\non-resource "r" {\nfunlist={2,raw_write,0}\n}\n}\n' % X
        for cwd, name in ((at(), "main.conf"), (at("sub"), "../main.conf"), ("/", at("main.conf"))):
            expect(("-c", "-f", name, "-o", at("a.fw")), 0, b"", cwd=cwd)
            assert meta(at("a.fw")) == wanted, meta(at("a.fw"))
        for name, detail in (("wrong.conf", b"sub/wrong.conf:3: no such option 'nope'\n"), ("loop.conf", b"loop.conf:1: includes nested too deeply\n")):
            expect(("-c", "-f", name, "-o", at("b.fw")), 1, b"fwup: Error parsing configuration file '%s'\n" % name.encode(), detail, cwd=at())


@test
def resources_of_files():
    with Folder() as at:
        parts = [os.urandom(n) for n in (1000, 1, 70000)]
        for i, part in enumerate(parts):
            with open(at(str(i)), "wb") as f:
                f.write(part)
        whole = b"".join(parts)
        a = create(at, 'file-resource "all-of.it/x" { host-path="0;1;2" assert-size-lte=139 assert-size-gte=138 }\n'
                       'file-resource one { host-path="%s" }\nmeta-misc="${FWUP_SIZE_one}"\ntask t { on-resource "all-of.it/x" { raw_write(1) } }' % at("2"))
        text = meta(a)
        assert "length=71001\nblake2b-256=%s\n" % b2(whole) in text and "meta-misc=70000\n" in text, text
        expect(("-V", "-i", a), 0, b"Valid archive without a signature\n")
        expect(("-a", "-q", "-d", at("disk"), "-i", a, "-t", "t"), 0, b"")
        assert content(at("disk"), 512, len(whole)) == whole


@test
def bootstrap_code():
    with Folder() as at:
        code = os.urandom(446)
        with open(at("boot.bin"), "wb") as f:
            f.write(code)
        conf = "mbr m { bootstrap-code-host-path=\"%s\" partition 0 { block-offset=63 block-count=9 type=12 } }\ntask t { on-init { mbr_write(m) } }" % at("boot.bin")
        a = create(at, conf)
        assert "bootstrap-code=%s\n" % code[:440].hex() in meta(a).replace('"', "") and "host-path" not in meta(a)
        expect(("-a", "-q", "-d", at("disk"), "-i", a, "-t", "t"), 0, b"")
        assert content(at("disk"), 0, 440) == code[:440] and content(at("disk"), 440, 6) == bytes(6)


@test
def nothing_is_left_of_a_failure():
    with Folder() as at:
        with open(at("old.fw"), "w") as f:
            f.write("old")
        status, _, _ = run("-c", "-f", "-", "-o", at("old.fw"), stdin=b"file-resource a { host-path=missing }")
        assert status == 1 and content(at("old.fw")) == b"old" and os.listdir(at()) == ["old.fw"]


sys.exit(main())
