"""Devices of every identity against the real server: certificates, just-in-time provisioning, shared secrets, joins, updates, downloads."""

import asyncio
import hashlib
import http.client
import json
import ssl
import unittest
import urllib.parse

import websockets

from nhtest import FORMATS, Device, ServerCase, nh1_headers, pem64


def download(server, url, headers=None, method="GET"):
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=str(server.ca_file))
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=60)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body


class DeviceCase(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw1 = cls.firmware(cls, "1.0.0")
        cls.fw2 = cls.firmware(cls, "1.1.0")
        cls.register_ca(cls, "factory")

    def create_device(self, identifier, **fields):
        return self.server.api("POST", f"{self.product_path}/devices", {"identifier": identifier, **fields}, expect=201).data

    def device(self, identifier):
        return self.server.api("GET", f"{self.product_path}/devices/{identifier}", expect=200).data

    def refused(self, cert=None, key=None, headers=None, tls=None):
        """True when the server ends the handshake or answers the upgrade with a refusal."""
        async def attempt():
            async with Device(self.server, cert, key, headers, tls=tls) as device:
                await device.join(self.fw1)

        with self.assertRaises((ssl.SSLError, websockets.exceptions.InvalidStatusCode, ConnectionError, websockets.exceptions.ConnectionClosed,
                                websockets.exceptions.InvalidMessage, EOFError)) as caught:
            asyncio.run(attempt())
        return caught.exception

    def test_known_certificate_joins_and_heartbeats(self):
        self.create_device("known-1")
        cert, key = self.pki.device("known-1", "factory")
        self.server.api("POST", f"{self.product_path}/devices/known-1/certificates", {"cert": pem64(cert)}, expect=201)

        async def scenario(tls):
            async with Device(self.server, cert, key, tls=tls) as device:
                self.assertEqual(await device.join(self.fw1), {"status": "ok", "response": {}})
                ref = await device.send("heartbeat", {}, topic="phoenix")
                self.assertEqual(await device.reply(ref), {"status": "ok", "response": {}})
                ref = await device.send("anything", {}, topic="nowhere")
                self.assertEqual(await device.reply(ref), {"status": "error", "response": {"reason": "unmatched topic"}})
                self.assertEqual(self.device("known-1")["connection_status"], "connected")

        asyncio.run(scenario(None))
        asyncio.run(scenario(ssl.TLSVersion.TLSv1_2))
        self.assertEqual(self.device("known-1")["firmware_metadata"]["uuid"], self.fw1["uuid"])

    def test_first_connection_through_device_ca(self):
        self.create_device("first-1")
        cert, key = self.pki.device("first-1", "factory")

        async def scenario():
            async with Device(self.server, cert, key) as device:
                self.assertEqual((await device.join(self.fw1))["status"], "ok")

        asyncio.run(scenario())
        certificates = self.server.api("GET", f"{self.product_path}/devices/first-1/certificates", expect=200).data
        self.assertEqual(len(certificates), 1)

    def test_unknown_device_without_provisioning_is_refused(self):
        self.refused(*self.pki.device("nobody-1", "factory"))
        self.assertEqual(self.server.api("GET", f"{self.product_path}/devices/nobody-1").status, 404)

    def test_just_in_time_provisioning(self):
        self.register_ca("jitp-ca", product_name=self.product, tags=["line-7"], description="made on line 7")
        cert, key = self.pki.device("jitp-1", "jitp-ca")

        async def scenario():
            async with Device(self.server, cert, key) as device:
                self.assertEqual((await device.join(self.fw1))["status"], "ok")

        asyncio.run(scenario())
        device = self.device("jitp-1")
        self.assertEqual((device["tags"], device["description"]), (["line-7"], "made on line 7"))

    def test_same_key_identifier_other_key_is_refused(self):
        """A stranger's CA with the name of ours signs nothing that we accept."""
        self.create_device("forged-1")
        forged = self.pki.__class__(self.home / "forger")
        forged.ca("factory")
        self.refused(*forged.device("forged-1", "factory"))

    def test_expired_certificate_is_refused_at_registration(self):
        self.create_device("expired-1")
        self.refused(*self.pki.device("expired-1", "factory", days=-1))

    def test_second_key_for_registered_device_is_refused(self):
        self.create_device("taken-1")
        first = self.pki.device("taken-1", "factory")
        other = self.pki.device("taken-1-other", "factory", identifier="taken-1")

        async def scenario():
            async with Device(self.server, *first) as device:
                await device.join(self.fw1)

        asyncio.run(scenario())
        self.refused(*other)

    def test_deleted_device_is_refused(self):
        self.create_device("gone-1")
        pair = self.pki.device("gone-1", "factory")

        async def scenario():
            async with Device(self.server, *pair) as device:
                await device.join(self.fw1)
                self.server.api("DELETE", f"{self.product_path}/devices/gone-1", expect=204)
                await device.closed()

        asyncio.run(scenario())
        self.refused(*pair)

    def test_no_identity_is_refused(self):
        self.refused()

    def test_newest_connection_wins(self):
        self.create_device("twice-1")
        pair = self.pki.device("twice-1", "factory")

        async def scenario():
            async with Device(self.server, *pair) as old:
                await old.join(self.fw1)
                async with Device(self.server, *pair) as new:
                    await new.join(self.fw1)
                    self.assertEqual(await old.closed(), 1001)
                    ref = await new.send("heartbeat", {}, topic="phoenix")
                    self.assertEqual((await new.reply(ref))["status"], "ok")
                    self.assertEqual(self.device("twice-1")["connection_status"], "connected")

        asyncio.run(scenario())

    def test_commands_reach_the_device(self):
        self.create_device("cmd-1")
        pair = self.pki.device("cmd-1", "factory")

        async def scenario():
            async with Device(self.server, *pair) as device:
                await device.join(self.fw1)
                self.server.api("POST", f"{self.product_path}/devices/cmd-1/reboot", expect=204)
                self.assertEqual(await device.event("reboot"), {})
                self.server.api("POST", f"{self.product_path}/devices/cmd-1/reconnect", expect=204)
                self.assertEqual(await device.closed(), 1001)

        asyncio.run(scenario())

    def test_malformed_messages_end_the_connection_only(self):
        self.create_device("rude-1")
        pair = self.pki.device("rude-1", "factory")
        for frame in ("", "not json", "[]", "[1,2]", '{"a":1}', "[null,null,null,null,null]", "[" * 100000):
            async def scenario():
                async with Device(self.server, *pair) as device:
                    await device.join(self.fw1)
                    await device.socket.send(frame)
                    ref = await device.send("heartbeat", {}, topic="phoenix")
                    try:
                        await device.reply(ref)
                    except websockets.exceptions.ConnectionClosed:
                        pass

            with self.subTest(frame=frame[:20]):
                asyncio.run(scenario())
        self.assertEqual(self.server.http("GET", "/status/alive").status, 200)

    def test_update_by_deployment_group(self):
        """The whole rollout as one device sees it: offer, download in pieces, reports, reboot into the new firmware. In each wire format."""
        self.server.api("POST", f"{self.product_path}/deployments",
                        {"name": "ota", "firmware": self.fw2["uuid"], "conditions": {"version": "< 1.1.0", "tags": ["ota"]}}, expect=201)
        self.server.api("PUT", f"{self.product_path}/deployments/ota", {"deployment": {"state": "on"}})
        for version in FORMATS:
            with self.subTest(version=version):
                self.check_update(f"ota-{version}", f"/socket/websocket?vsn={version}")

    def check_update(self, name, path):
        self.create_device(name, tags=["ota"])
        pair = self.pki.device(name, "factory")

        async def scenario():
            async with Device(self.server, *pair, path=path) as device:
                await device.join(self.fw1)
                update = await device.event("update")
                self.assertTrue(update["update_available"])
                self.assertEqual(update["firmware_meta"]["uuid"], self.fw2["uuid"])
                self.assertEqual(set(update["firmware_meta"]), {"architecture", "author", "description", "misc", "platform", "product", "uuid",
                                                                "vcs_identifier", "version"})
                await device.send("status_update", {"status": "received"})
                content = self.check_download(update)
                self.assertEqual(hashlib.sha256(content).hexdigest().upper(), update["checksum"])
                self.assertEqual(len(content), update["size"])
                await device.send("fwup_progress", {"stage": "updating", "value": 50})
                await device.send("fwup_progress", {"stage": "updating", "value": 100})
                await device.send("status_update", {"status": "completed"})
            async with Device(self.server, *pair, path=path) as device:
                await device.join(self.fw2)
                ref = await device.send("heartbeat", {}, topic="phoenix")
                await device.reply(ref)
                self.assertFalse([m for m in device.seen if m[3] == "update"], "an updated device is offered nothing")

        asyncio.run(scenario())
        self.assertEqual(self.device(name)["version"], "1.1.0")

    def check_download(self, update):
        url, size = update["firmware_url"], update["size"]
        status, headers, content = download(self.server, url)
        self.assertEqual((status, headers["content-length"], headers["accept-ranges"]), (200, str(size), "bytes"))
        self.assertNotIn("transfer-encoding", headers)
        self.assertIn("date", headers)
        cases = [("bytes=0-99", 206, content[:100], f"bytes 0-99/{size}"),
                 ("bytes=1000-", 206, content[1000:], f"bytes 1000-{size - 1}/{size}"),
                 (f"bytes=100-{size}", 206, content[100:], f"bytes 100-{size - 1}/{size}")]
        for requested, expected, body, span in cases:
            with self.subTest(range=requested):
                status, headers, part = download(self.server, url, {"Range": requested})
                self.assertEqual((status, headers["content-range"], part), (expected, span, body))
        self.assertEqual(download(self.server, url, {"Range": f"bytes={size}-"})[0], 416)
        status, headers, body = download(self.server, url, method="HEAD")
        self.assertEqual((status, headers["content-length"], body), (200, str(size), b""))
        tampered = url[:-1] + ("0" if url[-1] != "0" else "1")
        self.assertIn(download(self.server, tampered)[0], (401, 403, 404))
        return content


class SharedSecretCase(DeviceCase):
    def secret(self):
        return self.server.api("POST", f"{self.product_path}/shared_secrets", {}, expect=201).data

    def join_by(self, headers):
        async def scenario():
            async with Device(self.server, headers=headers, path="/device-socket/websocket?vsn=2.0.0") as device:
                return await device.join(self.fw1)

        return asyncio.run(scenario())

    def test_product_secret_creates_the_device(self):
        secret = self.secret()
        self.assertEqual(self.join_by(nh1_headers(secret["key"], secret["secret"], "sec-1"))["status"], "ok")
        self.assertEqual(self.device("sec-1")["firmware_metadata"]["uuid"], self.fw1["uuid"])

    def test_other_digests_within_bounds(self):
        secret = self.secret()
        headers = nh1_headers(secret["key"], secret["secret"], "sec-2", alg="NH1-HMAC-SHA512-2000-64", digest="sha512", iterations=2000, length=64)
        self.assertEqual(self.join_by(headers)["status"], "ok")

    def test_what_is_refused(self):
        secret = self.secret()
        import time
        now = int(time.time())
        good = nh1_headers(secret["key"], secret["secret"], "sec-3")
        for name, headers in {
            "wrong secret": nh1_headers(secret["key"], "x" * 43, "sec-3"),
            "unknown key": nh1_headers("nhp_" + "A" * 43, secret["secret"], "sec-3"),
            "too old": nh1_headers(secret["key"], secret["secret"], "sec-3", at=now - 200),
            "too many iterations": nh1_headers(secret["key"], secret["secret"], "sec-3", alg="NH1-HMAC-sha256-100001-32", iterations=100001),
            "tampered": {**good, "x-nh-signature": good["x-nh-signature"][:-2] + "AA"},
            "no time": {k: v for k, v in good.items() if k != "x-nh-time"},
            "unknown algorithm": {**good, "x-nh-alg": "NH1-HMAC-md5-1000-32"},
        }.items():
            with self.subTest(name):
                refusal = self.refused(headers=headers)
                self.assertIsInstance(refusal, websockets.exceptions.InvalidStatusCode)
                self.assertEqual(refusal.status_code, 401)
        self.assertEqual(self.server.api("GET", f"{self.product_path}/devices/sec-3").status, 404)


class IdleTest(ServerCase):
    """A network that died without a word: whoever is silent for longer than --device-idle is gone, in the rows too; who sends heartbeats stays."""

    server_args = ("--device-idle", "3s")
    create_device, device = DeviceCase.create_device, DeviceCase.device

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw1 = cls.firmware(cls, "1.0.0")
        cls.register_ca(cls, "factory")

    def test_silence_ends_the_connection(self):
        async def scenario():
            async with Device(self.server, *self.known("silent-1")) as silent, Device(self.server, *self.known("alive-1")) as alive:
                await silent.join(self.fw1)
                await alive.join(self.fw1)
                end = asyncio.ensure_future(silent.closed())
                while not end.done():
                    await alive.reply(await alive.send("heartbeat", {}, topic="phoenix"))
                    await asyncio.wait([end], timeout=0.1)
                self.assertEqual(end.result(), 1002)
                while self.device("silent-1")["connection_status"] != "disconnected":
                    await alive.reply(await alive.send("heartbeat", {}, topic="phoenix"))
                self.assertEqual(self.device("alive-1")["connection_status"], "connected")

        asyncio.run(asyncio.wait_for(scenario(), 60))

    def known(self, identifier):
        self.create_device(identifier)
        return self.pki.device(identifier, "factory")


del ServerCase

if __name__ == "__main__":
    unittest.main()
