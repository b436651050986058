"""Deltas from the release to the disk: built by worker processes of the real server, applied by the real agent, and never in anybody's way: whatever goes wrong with one, the whole firmware comes."""

import asyncio
import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import tempfile
import unittest
import urllib.parse
from pathlib import Path

from nhtest import DEADLINE, Device, ServerCase, nh1_headers, program, run, wait_until
from s3server import S3Server

BLOCK, ENV, SLOT_A, SLOT_B, LENGTH = 512, 16, 64, 1088, 1024  # where things lie on the disk, in blocks
BASE = hashlib.shake_256(b"what all versions have in common").digest(LENGTH * BLOCK - 4096)
PRODUCT = "/orgs/acme/products/Thermo%20Widget"
NOWHERE = "00000000-0000-4000-8000-000000000000"
CONF = """
meta-product = "Thermo Widget"
meta-version = "{version}"
meta-platform = "fixture_board"
meta-architecture = "aarch64"
file-resource rootfs.img {{ host-path = "{payload}" }}
uboot-environment vars {{ block-offset = 16
 block-count = 16 }}
task complete {{
 on-init {{ uboot_clearenv(vars) }}
 on-resource rootfs.img {{ raw_write(64) }}
 on-finish {{ {a} }}
}}
task upgrade.a {{
 require-uboot-variable(vars, "nerves_fw_active", "b")
 on-resource rootfs.img {{ {source_b} raw_write(64) }}
 on-finish {{ {a} }}
}}
task upgrade.b {{
 require-uboot-variable(vars, "nerves_fw_active", "a")
 on-resource rootfs.img {{ {source_a} raw_write(1088) }}
 on-finish {{ {b} }}
}}
"""


def slot(name, version):
    values = {"product": "Thermo Widget", "version": version, "platform": "fixture_board", "architecture": "aarch64", "uuid": "\\${FWUP_META_UUID}", "validated": "1"}
    return "\n".join([f'uboot_setenv(vars, "nerves_fw_active", "{name}")', 'uboot_setenv(vars, "nerves_fw_validated", "1")',
                      *(f'uboot_setenv(vars, "{name}.nerves_fw_{key}", "{value}")' for key, value in values.items())])


def root_of(version, base=BASE):
    return base + hashlib.shake_256(version.encode()).digest(4096)


def state(pid):
    """As ps shows it; X: gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def alive(pid):
    return state(pid) not in "ZX"  # whoever is to take notice of its end may not do so


class DeltaCase(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.secret = cls.server.api("POST", f"{PRODUCT}/shared_secrets", expect=201).data
        cls.devices = 0

    def archive(self, version, deltas=True, base=BASE):
        home = Path(tempfile.mkdtemp(prefix="firmware-", dir=self.home))
        payload, conf, out = home / "rootfs.img", home / "fwup.conf", home / f"{version}.fw"
        payload.write_bytes(root_of(version, base))
        count = len(payload.read_bytes()) // BLOCK
        a, b = (f"delta-source-raw-offset={at}\n delta-source-raw-count={count}\n" if deltas else "" for at in (SLOT_A, SLOT_B))
        conf.write_text(CONF.format(version=version, payload=payload, a=slot("a", version), b=slot("b", version), source_a=a, source_b=b))
        run(program("nh-fwup"), "-c", "-f", conf, "-o", out, "-s", self.key_private)
        return out

    def upload(self, version, **kwargs):
        out = self.archive(version, **kwargs)
        firmware = self.server.upload("acme", "Thermo%20Widget", out).data
        return firmware | {"file": out}

    def delta(self, source, target, expect=200):
        return self.server.api("GET", f"{PRODUCT}/firmwares/{target['uuid']}/deltas/{source['uuid']}", expect=expect).json.get("data")

    def settled(self, source, target):
        """The delta once its state is a last one."""
        found = {}

        def done():
            found.update(self.delta(source, target))
            return found["status"] != "processing"
        wait_until(done, self.server.process, "the delta")
        return found

    def build(self, source, target, expect=201):
        return self.server.api("POST", f"{PRODUCT}/firmwares/{target['uuid']}/deltas", {"source": source["uuid"]}, expect=expect)

    def group(self, name, firmware, **fields):
        """An active group for devices that carry its name as a tag."""
        fields = {"name": name, "firmware": firmware["uuid"], "conditions": {"tags": [name]}, "state": "on", **fields}
        return self.server.api("POST", f"{PRODUCT}/deployments", fields, expect=201).data

    def identity(self, *tags):
        type(self).devices += 1
        identifier = f"{type(self).__name__.lower()}-{self.devices}"
        self.server.api("POST", f"{PRODUCT}/devices", {"identifier": identifier, "tags": list(tags)}, expect=201)
        return identifier

    def device(self, identifier):
        return Device(self.server, headers=nh1_headers(self.secret["key"], self.secret["secret"], identifier), path="/device-socket/websocket?vsn=2.0.0")

    def fetch(self, url):
        """A file as a device gets it."""
        at = urllib.parse.urlsplit(url)
        if at.scheme == "https":
            connection = http.client.HTTPSConnection(at.hostname, at.port, timeout=DEADLINE, context=ssl.create_default_context(cafile=str(self.server.ca_file)))
        else:
            connection = http.client.HTTPConnection(at.hostname, at.port, timeout=DEADLINE)
        connection.request("GET", f"{at.path}?{at.query}")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.assertEqual(answer.status, 200, body[:300])
        return body

    def assertSent(self, update, firmware, delta=None):
        """The payload tells of the file that its URL leads to: the delta, or all of the firmware."""
        body = self.fetch(update["firmware_url"])
        self.assertEqual((update["size"], update["checksum"]), (len(body), hashlib.sha256(body).hexdigest().upper()))
        self.assertEqual(update["partials_checksums"], [hashlib.sha256(body[at:at + (1 << 20)]).hexdigest().upper() for at in range(0, len(body), 1 << 20)])
        self.assertEqual(update["firmware_meta"]["uuid"], firmware["uuid"])
        if delta:
            self.assertEqual((delta["size"], delta["checksum"]), (update["size"], update["checksum"]))
            self.assertLess(len(body), 16384)
        else:
            self.assertTrue(body == firmware["file"].read_bytes())


class Deltas(DeltaCase):
    server_args = ("--job-speed", "100", "--orchestrator-interval", "200ms")

    def install(self, disk, identifier):
        """The agent, until it has installed an update and would reboot."""
        mark, log = disk.with_suffix(".rebooted"), disk.with_suffix(".log")
        secret = disk.with_suffix(".secret")
        secret.write_text(self.secret["secret"])
        with log.open("ab") as out:
            agent = subprocess.Popen([program("nerveshub-link"), "--server", f"localhost:{self.server.device_port}", "--ca", self.server.ca_file, "--public-key", self.key_public, "--device", disk,
                                      "--env-offset", str(ENV * BLOCK), "--env-size", str(ENV * BLOCK), "--installer", "fwup", "--fwup", program("nh-fwup"), "--secret-key", self.secret["key"],
                                      "--secret-file", secret, "--identifier", identifier, "--state-dir", disk.with_suffix(".state"), "--reboot-command", f"echo > {mark}"],
                                     stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.addCleanup(agent.wait, DEADLINE)
        self.addCleanup(agent.kill)
        return agent, mark

    def test_from_release_to_disk(self):
        old, new = self.upload("1.0.0"), self.upload("1.1.0")
        identifier = self.identity("disk")
        disk = self.home / "disk.img"
        run(program("nh-fwup"), "-a", "-d", disk, "-i", old["file"], "-t", "complete")
        self.group("disk", new)
        agent, mark = self.install(disk, identifier)
        wait_until(mark.exists, agent, "the reboot")
        agent.wait(DEADLINE)
        built = self.settled(old, new)
        self.assertEqual((built["status"], built["error"], built["tool"], built["tool_delta_required_version"]), ("completed", None, "fwup", "1.6.0"))
        self.assertEqual((built["source_size"], built["target_size"]), (old["file"].stat().st_size, new["file"].stat().st_size))
        with disk.open("rb") as file:
            file.seek(SLOT_B * BLOCK)
            self.assertTrue(file.read(LENGTH * BLOCK) == root_of("1.1.0"))
        agent, _ = self.install(disk, identifier)
        shown = f"{PRODUCT}/devices/{identifier}"
        wait_until(lambda: self.server.api("GET", shown, expect=200).data["version"] == "1.1.0", agent, "the new firmware")
        size = built["size"]
        saved = {"updates": 1, "delta_updates": 1, "update_bytes": size, "delta_bytes": size, "saved_bytes": built["target_size"] - size}
        for path in ("/deployments/disk", f"/firmwares/{new['uuid']}"):
            self.assertEqual(self.server.api("GET", f"{PRODUCT}{path}/savings", expect=200).data, saved)
        self.assertGreaterEqual(self.server.api("GET", f"{PRODUCT}/savings", expect=200).data["saved_bytes"], saved["saved_bytes"])
        self.assertEqual(self.server.sql(f"SELECT type FROM update_stats WHERE target_firmware_uuid = '{new['uuid']}'"), ["fwup_delta"])
        self.assertGreater(self.server.metric("deltas_built_total"), 0)

    def test_by_hand(self):
        old, new, plain = self.upload("2.0.0"), self.upload("2.1.0"), self.upload("2.2.0", deltas=False)
        path = f"{PRODUCT}/firmwares/{new['uuid']}/deltas"
        self.assertEqual(self.server.api("GET", path, expect=200).data, [])
        self.server.api("GET", f"{PRODUCT}/firmwares/{NOWHERE}/deltas", expect=404)
        self.delta(old, new, expect=404)
        self.assertEqual(self.build(old, new).data["status"], "processing")
        self.assertEqual(self.settled(old, new)["status"], "completed")
        for target, body, errors in ((new, {"source": old["uuid"]}, {"source": ["has already been taken"]}),
                                     (new, {"source": new["uuid"]}, {"source": ["is the target itself"]}),
                                     (new, {"source": NOWHERE}, {"source": ["is no firmware of this product"]}),
                                     (new, {}, {"source": ["can't be blank"]}),
                                     (plain, {"source": old["uuid"]}, {"target": ["has no task that says where old data is (delta-source-raw-offset, delta-source-fat-path)"]})):
            with self.subTest(body=body):
                self.assertEqual(self.server.api("POST", f"{PRODUCT}/firmwares/{target['uuid']}/deltas", body, expect=422).json["errors"], errors)
        self.assertEqual(self.server.api("POST", f"{path}/{old['uuid']}/retry", expect=422).json["errors"], {"status": ["is completed; only what failed can be tried again"]})
        self.assertEqual([row["source"]["version"] for row in self.server.api("GET", path, expect=200).data], ["2.0.0"])
        self.server.api("DELETE", f"{path}/{old['uuid']}", expect=204)
        self.server.api("DELETE", f"{path}/{old['uuid']}", expect=404)
        # The other way round is another pair; between a firmware and what differs in nothing there is none.
        self.build(new, old)
        self.assertEqual(self.settled(new, old)["status"], "completed")
        same = self.upload("2.3.0", base=hashlib.shake_256(b"nothing in common").digest(8192))
        self.build(old, same)
        refused = self.settled(old, same)
        self.assertEqual((refused["status"], refused["error"], refused["attempts"]), ("failed", "no_changes_in_delta", 1))
        again = self.server.api("POST", f"{PRODUCT}/firmwares/{same['uuid']}/deltas/{old['uuid']}/retry", expect=200).data
        self.assertEqual((again["status"], again["error"]), ("processing", None))
        self.assertEqual(self.settled(old, same)["status"], "failed")

    def deltas_in_store(self):
        return sorted(p.name for p in (self.server.data_dir / "objects").rglob("*.delta.fw"))

    def test_they_go_with_their_firmware(self):
        before = self.deltas_in_store()
        one, two, three = (self.upload(f"3.{i}.0") for i in range(3))
        for source, target in ((one, two), (two, three), (one, three)):
            self.build(source, target)
            self.settled(source, target)
        self.assertEqual(len(self.deltas_in_store()), len(before) + 3)
        self.server.api("DELETE", f"{PRODUCT}/firmwares/{two['uuid']}", expect=204)
        wait_until(lambda: len(self.deltas_in_store()) == len(before) + 1, self.server.process, "the end of two deltas")
        self.assertEqual(self.delta(one, three)["status"], "completed")

    def test_one_of_three_fails(self):
        """What fails holds nobody up: its devices get the whole firmware, the others their deltas."""
        olds, new = [self.upload(f"4.{i}.0") for i in range(3)], self.upload("4.9.0")
        key, = self.server.sql(f"SELECT object_key FROM firmwares WHERE uuid = '{olds[1]['uuid']}'")
        stored = self.server.data_dir / "objects" / key
        content = bytearray(stored.read_bytes())
        content[len(content) // 2] ^= 1
        stored.write_bytes(content)
        identities = [self.identity("three") for _ in olds]
        self.group("three", new)

        async def one(identifier, old):
            async with self.device(identifier) as device:
                self.assertEqual((await device.join(old))["status"], "ok")
                return await device.event("update")

        async def all_three():
            return await asyncio.gather(*(one(identifier, old) for identifier, old in zip(identities, olds)))
        updates = asyncio.run(all_three())
        failed = self.settled(olds[1], new)
        self.assertEqual(failed["status"], "failed")
        self.assertIn("CRC", failed["error"])
        for old, update in zip(olds, updates):
            self.assertSent(update, new, None if old is olds[1] else self.settled(old, new))

    def test_who_gets_the_whole(self):
        """Devices with an old fwup, devices on which a delta failed, and everybody while deltas are switched off."""
        old, new = self.upload("5.0.0"), self.upload("5.1.0")
        self.build(old, new)
        delta = self.settled(old, new)
        self.group("whole", new, device_failure_threshold=100)
        identifier, aged = self.identity("whole"), self.identity("whole")

        async def offered(who, *told, **extra):
            async with self.device(who) as device:
                await device.join(old, **extra)
                update = await device.event("update")
                for status in told:
                    await device.send("status_update", {"status": status})
                while told and not self.server.api("GET", f"{PRODUCT}/devices/{who}", expect=200).data["last_failure"]:
                    await asyncio.sleep(0.01)
                return update
        self.assertSent(asyncio.run(offered(aged, fwup_version="1.5.9")), new)
        self.assertSent(asyncio.run(offered(identifier, "started", "fwup error")), new, delta)
        self.server.api("DELETE", f"{PRODUCT}/devices/{identifier}/penalty", expect=204)
        self.assertSent(asyncio.run(offered(identifier)), new)
        self.server.api("PUT", f"{PRODUCT}/deployments/whole", {"deployment": {"delta_updatable": False}}, expect=200)
        self.assertSent(asyncio.run(offered(self.identity("whole"))), new)

    def nh(self, *words, status=0):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NERVES_", "MIX_"))}
        env = {**kept, "HOME": str(self.home), "NERVES_HUB_URI": f"http://localhost:{self.server.web_port}", "NERVES_HUB_TOKEN": self.server.token, "NERVES_HUB_ORG": "acme",
               "NERVES_HUB_PRODUCT": "Thermo Widget"}
        done = run(program("nh"), *words, check=False, env=env)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_nh(self):
        old, new = self.upload("7.0.0"), self.upload("7.1.0")
        pair = (new["uuid"], old["uuid"])
        self.assertIn("No deltas", self.nh("firmware", "delta", "list", new["uuid"]))
        self.assertIn("will be built", self.nh("firmware", "delta", "build", *pair))
        size = self.settled(old, new)["size"]
        for words in (("list", new["uuid"]), ("show", *pair)):
            shown = self.nh("firmware", "delta", *words)
            for part in ("completed", "7.0.0", str(size)):
                self.assertIn(part, shown)
        self.assertEqual(json.loads(self.nh("firmware", "delta", "show", *pair, "-o", "json"))["size"], size)
        self.assertIn("only what failed can be tried again", self.nh("firmware", "delta", "retry", *pair, status=1))
        self.assertIn("deleted", self.nh("firmware", "delta", "delete", *pair, "--yes"))
        self.group("nh", new)
        for words in (("firmware", "savings", new["uuid"]), ("deployment", "savings", "nh"), ("product", "savings")):
            self.assertIn("Bytes saved", self.nh(*words))
        self.nh("deployment", "update", "nh", "--delta-wait-minutes", "5")
        self.assertEqual(self.server.api("GET", f"{PRODUCT}/deployments/nh", expect=200).data["delta_wait_minutes"], 5)

    def test_polling(self):
        """A device that asks is told of its delta, once that is there."""
        old, new = self.upload("6.0.0"), self.upload("6.1.0")
        self.group("polling", new)
        self.register_ca("factory")
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        context.load_cert_chain(*map(str, self.pki.device(self.identity("polling"), "factory")))
        headers = {f"X-NervesHub-{k}": old[k] for k in ("uuid", "product", "version", "platform", "architecture")} | {"X-NervesHub-fwup-version": "1.10.1"}

        def ask():
            connection = http.client.HTTPSConnection("localhost", self.server.device_port, timeout=DEADLINE, context=context)
            connection.request("GET", "/device/update", headers=headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            connection.close()
            self.assertEqual(answer.status, 200, body)
            return body["data"]
        self.assertFalse(ask()["update_available"])
        delta = self.settled(old, new)
        update = ask()
        self.assertTrue(update["update_available"])
        body = self.fetch(update["firmware_url"])
        self.assertEqual((len(body), hashlib.sha256(body).hexdigest().upper(), update["firmware_meta"]["uuid"]), (delta["size"], delta["checksum"], new["uuid"]))


class Trouble(DeltaCase):
    """Builders that are not allowed enough, or do not live long enough. The waiting time is long: whoever gets the whole firmware gets it because the builder failed."""

    def update_of(self, tag, old):
        async def one():
            async with self.device(self.identity(tag)) as device:
                await device.join(old)
                return await device.event("update")
        return asyncio.run(one())

    def restart(self, *options):
        self.server.stop()
        self.server.extra = ["--job-speed", "100", "--orchestrator-interval", "200ms", *options]
        self.server.start()

    def test_limits(self):
        for tag, version, options, status, error in (("memory", "1", ("--delta-memory", "24M"), "failed", ""), ("time", "2", ("--delta-timeout", "1ms"), "timed_out", "the build took longer")):
            with self.subTest(tag):
                self.restart(*options)
                old, new = self.upload(f"{version}.0.0"), self.upload(f"{version}.1.0")
                self.group(tag, new, delta_wait_minutes=1440)
                self.assertSent(self.update_of(tag, old), new)
                delta = self.settled(old, new)
                self.assertEqual(delta["status"], status)
                self.assertIn(error, delta["error"])
                self.assertEqual(delta["attempts"], 3 if tag == "memory" else 1)
                self.assertEqual(list((self.server.data_dir / "spool").glob("delta-*")), [])
                explained = self.server.api("GET", f"{PRODUCT}/firmwares/{new['uuid']}/deltas", expect=200).data
                self.assertEqual([row["status"] for row in explained], [status])

    def builders(self):
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b"build-delta" in (process / "cmdline").read_bytes() and f"PPid:\t{self.server.process.pid}\n" in (process / "status").read_text():
                    found.append(int(process.name))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found

    def stop_builder(self, old, new):
        """Asks for the delta until a builder of it is met at work, and holds it there."""
        while True:
            self.build(old, new)
            while self.delta(old, new)["status"] == "processing":
                for pid in self.builders():
                    try:
                        os.kill(pid, signal.SIGSTOP)
                    except ProcessLookupError:
                        continue
                    while state(pid) not in "TZX":
                        pass
                    if state(pid) == "T":  # else its end was faster
                        return pid
            self.server.api("DELETE", f"{PRODUCT}/firmwares/{new['uuid']}/deltas/{old['uuid']}", expect=204)

    def test_killed(self):
        """The builder alone; the server with its builder, which must not be left behind; a delta that is deleted while it is built."""
        self.restart()
        base = hashlib.shake_256(b"something larger").digest(4 << 20)
        old, new = self.upload("3.0.0", base=base), self.upload("3.1.0", base=base)
        path = f"{PRODUCT}/firmwares/{new['uuid']}/deltas/{old['uuid']}"
        pid = self.stop_builder(old, new)
        self.assertEqual((self.delta(old, new)["status"], self.delta(old, new)["attempts"]), ("processing", 1))
        os.kill(pid, signal.SIGKILL)
        delta = self.settled(old, new)
        self.assertEqual((delta["status"], delta["attempts"]), ("completed", 2))

        self.server.api("DELETE", path, expect=204)
        pid = self.stop_builder(old, new)
        self.assertEqual(self.server.stop(signal.SIGKILL), -signal.SIGKILL)
        self.server.start()
        wait_until(lambda: not alive(pid), self.server.process, "the builder's end")
        delta = self.settled(old, new)
        self.assertEqual((delta["status"], delta["attempts"]), ("completed", 2))
        self.assertEqual(list((self.server.data_dir / "spool").glob("delta-*")), [])

        self.server.api("DELETE", path, expect=204)
        pid = self.stop_builder(old, new)
        self.server.api("DELETE", path, expect=204)
        stored = list((self.server.data_dir / "objects").rglob("*.delta.fw"))
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: self.server.metric("deltas_discarded_total") == 1, self.server.process, "the end of a build that nobody wants")
        self.assertEqual(list((self.server.data_dir / "objects").rglob("*.delta.fw")), stored)

    def test_patience(self):
        """While its delta is built a device waits, and is told so; without patience it gets the whole firmware at once."""
        self.restart()
        base = hashlib.shake_256(b"something larger, again").digest(4 << 20)
        old, new = self.upload("4.0.0", base=base), self.upload("4.1.0", base=base)
        self.group("patient", new, delta_wait_minutes=1440)
        pid = self.stop_builder(old, new)
        identifier = self.identity("patient")

        async def wait():
            async with self.device(identifier) as device:
                await device.join(old)
                explained = self.server.api("GET", f"{PRODUCT}/devices/{identifier}/explain", expect=200).data
                self.assertIn("delta_under_way", [reason["code"] for reason in explained["reasons"]])
                self.server.api("PUT", f"{PRODUCT}/deployments/patient", {"deployment": {"delta_wait_minutes": 0}}, expect=200)
                return await device.event("update")
        try:
            self.assertSent(asyncio.run(wait()), new)
        finally:
            os.kill(pid, signal.SIGCONT)
        for wrong in (-1, 1441, "soon"):
            errors = self.server.api("PUT", f"{PRODUCT}/deployments/patient", {"deployment": {"delta_wait_minutes": wrong}}, expect=422).json["errors"]
            self.assertEqual(errors, {"delta_wait_minutes": ["must be a number of minutes from 0 to 1440"]})


class OnS3(DeltaCase):
    """The same where firmware lies in a bucket."""

    @classmethod
    def setUpClass(cls):
        home = tempfile.TemporaryDirectory(prefix="nhtest-s3-")
        cls.addClassCleanup(home.cleanup)
        cls.s3 = cls.enterClassContext(S3Server(home.name))
        cls.server_env = {"FIRMWARE_UPLOAD_BACKEND": "S3", "S3_HOST": cls.s3.endpoint, "S3_REGION": cls.s3.region, "S3_BUCKET_NAME": cls.s3.bucket,
                          "S3_ACCESS_KEY_ID": cls.s3.access_key, "S3_SECRET_ACCESS_KEY": cls.s3.secret_key}
        super().setUpClass()

    def test_bucket(self):
        old, new = self.upload("1.0.0"), self.upload("1.1.0")
        self.group("bucket", new)

        async def one():
            async with self.device(self.identity("bucket")) as device:
                await device.join(old)
                return await device.event("update")
        update = asyncio.run(one())
        self.assertTrue(update["firmware_url"].startswith(self.s3.endpoint))
        self.assertSent(update, new, self.settled(old, new))


del ServerCase, DeltaCase

if __name__ == "__main__":
    unittest.main()
