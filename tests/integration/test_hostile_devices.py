"""Devices with a good certificate and bad intentions, on the real server: they flood it with everything the protocol knows and does not know, never read, send half of something, ask for what is
not theirs, connect again and again. The healthy beside them keep their connections and get every answer, what belongs to others stays out of reach, and the server's memory stays where it was."""

import json
import os
import select
import ssl
import sys
import unittest

from faultcase import until
from nhtest import Device, ServerCase
from rawpeer import CLOSE, TEXT, WebSocketPeer, close_frame, frame, upgrade_request
from storm import Healthy, resident_kib
from test_storms import join, message

SOCKET = "/socket/websocket?vsn=2.0.0"
MEMORY_KIB = 48 << 10  # how much an attack may leave or need, sanitizers and their quarantine included
TAKEN_MAX = 24 << 20   # what a server, and the kernel for it, may swallow of one device before it stops reading: ten seconds' worth are 4 MiB
UUID = "11111111-1111-1111-1111-111111111111"


def repeated(*texts, size=60000):
    """Whole frames of these messages, over and over, so much that a test can send them as one piece."""
    once = b"".join(frame(TEXT, text if isinstance(text, bytes) else text.encode()) for text in texts)
    return once * max(1, size // len(once))


def nested(depth):
    return b'["1","1","device","fwup_progress",' + b"[" * depth + b"]" * depth + b"]"


def wide(members):
    return json.dumps(["1", "1", "device", "status_update", {f"k{i}": i for i in range(members)}]).encode()


BIG_REPORT = {"value": {"timestamp": "2026-01-01T00:00:00Z", "metadata": {}, "alarms": {f"a{i}": "x" * 50 for i in range(300)}, "metrics": {f"m{i}": i for i in range(2000)}, "checks": {}}}

# Name, and what is said over and over by a device that has joined; whether it may end the connection.
FLOODS = {
    "heartbeats": repeated(message("heartbeat", {}, topic="phoenix")),
    "progress": repeated(*(message("fwup_progress", {"stage": stage, "value": i}) for i in range(0, 101, 7) for stage in ("downloading", "updating"))),
    "statuses": repeated(*(message("status_update", {"status": s, "reason": "because", "delay_for": 1}) for s in ("received", "started", "failed", "ignored", "rescheduled", "completed", "x", "fwup error y"))),
    "joins": repeated(message("phx_join", {}), message("phx_leave", {})),
    "unknown events": repeated(message("x" * 200, {"a": 1}), message("", None), message("rebooting", []), message("phx_error", 7)),
    "types": repeated(*(message(e, p) for e in ("status_update", "fwup_progress", "connection_types", "report_network_interface", "firmware_validated", "scripts/run") for p in (None, [], "", 1, {"value": {}}))),
    "health": repeated(message("health:report", BIG_REPORT, topic="extensions")),
    "logs": repeated(message("logging:send", {"level": "error", "message": "y" * 2000, "meta": {"time": "1"}}, topic="extensions")),
    "identities": repeated(message("network_identity:report", {"identities": [{"service": "tailscale", "instance": f"i{i}", "identifier": "z" * 200} for i in range(50)]}, topic="extensions")),
    "console": repeated(message("up", {"data": "\x1b[31m" * 100}, topic="console")),
    "wide": repeated(wide(5000)),
}


class HostileDevices(ServerCase):
    server_env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"}

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.register_ca(cls, "factory", product_name=cls.product, tags=[], description="hostile")
        cls.old = cls.firmware(cls, "1.0.0")
        cls.server.api("PUT", cls.product_path, {"product": {"extensions": {"health": True, "geo": True, "logging": True, "network_identity": True}}})
        cls.count = 0

    def setUp(self):
        self.healthy = Healthy(lambda i: (Device(self.server, *self.identity(f"healthy-{i}")), self.old), 3)
        self.stopped = False
        self.addCleanup(self.check_healthy)

    def check_healthy(self):
        if not self.stopped:
            self.stopped = True
            self.assertEqual(self.healthy.stop(), [], "the healthy noticed")

    def identity(self, name):
        key = self.pki.home / f"{name}.key"
        return (self.pki.home / f"{name}.crt", key) if key.exists() else self.pki.device(name, "factory")

    def metric(self, name):
        text = self.server.http("GET", "/metrics", port=self.server.metrics_port).body.decode()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"nerveshub_{name} "))

    def resident(self):
        return resident_kib(self.server.process.pid)

    def connect(self, name, small=False):
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        context.load_cert_chain(*map(str, self.identity(name)))
        peer = WebSocketPeer(self.server.device_port, lambda s: context.wrap_socket(s, server_hostname="localhost"), small)
        self.addCleanup(peer.close)
        return peer

    def joined(self, name, small=False):
        peer = self.connect(name, small)
        peer.upgrade(upgrade_request(SOCKET))
        join(peer, self.old)
        return peer

    def still_answered(self):
        """Each of the healthy has had answers since."""
        self.healthy.take()
        until(lambda: len(self.healthy.latencies) >= 10 or self.healthy.failures, "answers for the healthy", self.server.log_text)
        self.assertEqual(self.healthy.failures, [])

    def pour(self, peer, data, most):
        """Sends until the server has had enough: it does not read on, or it closes. How much it took; what it says meanwhile is read and thrown away."""
        sock, sent = peer.socket, 0
        sock.settimeout(0)
        while sent < most:
            try:
                sent += sock.send(data[sent % len(data):])
            except ssl.SSLWantWriteError:
                if not self.drain(sock):
                    return sent
                if not select.select([], [sock], [], 0.3)[1]:
                    return sent
            except OSError:
                return sent
            if not self.drain(sock):
                return sent
        return sent

    @staticmethod
    def drain(sock):
        try:
            while sock.recv(65536):
                pass
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            pass
        return False

    # ---- floods

    def test_floods(self):
        before = self.resident()
        for name, data in FLOODS.items():
            with self.subTest(name):
                peer = self.joined("flooder-" + name.replace(" ", "-"))
                peer.send(frame(TEXT, message("phx_join", {"health": "0.0.1", "logging": "0.0.1", "network_identity": "0.0.1"}, topic="extensions")))
                took = self.pour(peer, data, TAKEN_MAX)
                self.assertLess(took, TAKEN_MAX, "the server reads as fast as one device can write")
                self.still_answered()
                peer.close()
        self.still_answered()
        self.assertLess(self.resident(), before + MEMORY_KIB, "memory after all floods")
        print(f"    resident before {before} KiB, after {self.resident()} KiB", file=sys.stderr)

    def test_never_reads(self):
        """It asks and asks and takes no answer: what waits for it is bounded, whether it is closed or no longer heard."""
        before = self.resident()
        peers = [self.joined(f"deaf-{i}", small=True) for i in range(4)]
        beats = repeated(message("heartbeat", {}, topic="phoenix", ref="9" * 60))
        for peer in peers:
            peer.socket.settimeout(0)
            sent = 0
            while sent < TAKEN_MAX:
                try:
                    sent += peer.socket.send(beats)
                except (ssl.SSLWantWriteError, OSError):
                    if peer.socket.fileno() < 0 or not select.select([], [peer.socket], [], 0.3)[1]:
                        break
            self.assertLess(sent, TAKEN_MAX, "the server takes everything")
        self.still_answered()
        self.assertLess(self.resident(), before + MEMORY_KIB)

    # ---- things that are not messages

    def test_what_is_no_message(self):
        """Each ends this connection at most; the next one of the same device works."""
        before = self.resident()
        huge = 9 << 20
        odd = {
            "no JSON": frame(TEXT, b"x" * 1000),
            "no UTF-8": frame(TEXT, b"\xff\xfe\xfd"),
            "binary": frame(2, b"\x00" * 1000),
            "an object": frame(TEXT, b'{"topic":"device"}'),
            "deep": frame(TEXT, nested(100000)),
            "deep enough": frame(TEXT, nested(500)),
            "long names": frame(TEXT, json.dumps(["1" * 100000, "2" * 100000, "device", "e" * 100000, {}]).encode()),
            "a long topic": frame(TEXT, message("x", {}, topic="x" * 5000)),
            "numbers": frame(TEXT, b'["1","1","device","fwup_progress",{"value":1e400}]'),
            "NUL": frame(TEXT, b'["1","1","device","status_update",{"status":"\\u0000"}]'),
            "huge": frame(TEXT, b" " * huge),
            "huge by its header": frame(TEXT, b"x", length=1 << 40),
            "five fields and one": frame(TEXT, b'["1","1","device","heartbeat",{},1]'),
            "thousands of fragments": frame(TEXT, b"[", fin=False) + frame(0, b" ", fin=False) * 20000,
        }
        for i, (name, data) in enumerate(odd.items()):
            with self.subTest(name):
                peer = self.joined(f"odd-{i}")
                self.pour(peer, data, len(data))
                peer.close()
                again = self.joined(f"odd-{i}")
                again.send(frame(TEXT, message("heartbeat", {}, topic="phoenix", ref="7")))
                self.reply(again, "7")
                again.close()
        self.still_answered()
        self.assertLess(self.resident(), before + MEMORY_KIB)

    def test_half_frames(self):
        """Many connections that stop in the middle of a large frame: what was announced costs nothing, only what came."""
        before, peers = self.resident(), [self.joined(f"half-{i}") for i in range(20)]
        whole = frame(TEXT, b"x" * (7 << 20))
        for peer in peers:
            peer.send(whole[:32768])
        self.still_answered()
        self.assertLess(self.resident(), before + MEMORY_KIB)
        for peer in peers:
            peer.close()

    def reply(self, peer, ref):
        while True:
            got = peer.receive()
            if got is None or got[0] == CLOSE:
                self.fail(f"no answer to {ref}: {got}")
            parsed = json.loads(got[1]) if got[0] == TEXT else None
            if parsed and parsed[3] == "phx_reply" and parsed[1] == ref:
                return parsed[4]

    # ---- what is not theirs

    def test_topics_of_others(self):
        peer = self.joined("curious")
        victim = self.server.api("GET", f"{self.product_path}/devices/healthy-0", expect=200).data
        topics = ["device:healthy-0", f"device:{victim.get('id', 1)}", f"firmware:{UUID}x", "firmware:", "phoenix", "user:1", "user_console:1", "product:1:devices", "internal:device:1", "console:healthy-0",
                  "extensions:healthy-0", "*", "", "device\x00", "x" * 200]
        for i, topic in enumerate(topics):
            with self.subTest(topic[:40]):
                peer.send(frame(TEXT, json.dumps([f"j{i}", f"j{i}", topic, "phx_join", {"nerves_fw_uuid": UUID}]).encode()))
                self.assertEqual(self.reply(peer, f"j{i}")["status"], "error")
                for event in ("status_update", "reboot", "update", "broadcast", "presence_diff"):
                    peer.send(frame(TEXT, message(event, {"status": "failed"}, ref=f"e{i}", topic=topic)))
        peer.send(frame(TEXT, message("heartbeat", {}, ref="end", topic="phoenix")))
        self.reply(peer, "end")
        after = self.server.api("GET", f"{self.product_path}/devices/healthy-0", expect=200).data
        self.assertEqual({k: v for k, v in after.items() if "last" not in k}, {k: v for k, v in victim.items() if "last" not in k})
        self.still_answered()

    def test_a_thousand_channels(self):
        before, peer = self.resident(), self.joined("busybody")
        for i in range(900):
            peer.send(frame(TEXT, json.dumps([f"c{i}", f"c{i}", f"channel:{i}", "phx_join", {"n": i}]).encode()))
            self.assertEqual(self.reply(peer, f"c{i}")["status"], "error")
        for i in range(50):  # the same one again and again
            peer.send(frame(TEXT, json.dumps([f"d{i}", f"d{i}", "console", "phx_join", {"console_version": "2.0.0"}]).encode()))
            self.reply(peer, f"d{i}")
        self.still_answered()
        self.assertLess(self.resident(), before + MEMORY_KIB)

    # ---- again and again

    def test_reconnects_in_a_loop(self):
        """After some dozen connections within a minute the answer is 503 with Retry-After, from which others are not affected."""
        answers = []
        while len(answers) < 100 and (not answers or answers[-1].status == 101):
            peer = self.connect("restless")
            peer.send(upgrade_request(SOCKET))
            answers.append(peer.answer())
            peer.send(close_frame(1000))
            peer.close()
        self.assertEqual(answers[-1].status, 503)
        self.assertGreater(len(answers), 10)
        self.assertGreater(int(answers[-1].headers["retry-after"]), 0)
        self.joined("restful").close()
        self.still_answered()


del ServerCase

if __name__ == "__main__":
    unittest.main()
