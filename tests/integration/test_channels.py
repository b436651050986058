"""The channels of a device's socket: topics, extensions and their settings while the device is connected, the console's rules, frames of bytes, and what becomes of devices that say too much or
connect too often. What people see of it is in test_console, what is kept of it in test_telemetry."""

import base64
import json
import struct
import unittest
from concurrent.futures import ThreadPoolExecutor

from nhtest import wait_until
from rawpeer import BINARY, TEXT, Broken, frame
from test_transcripts import TranscriptCase, VALIDATED

OK = {"status": "ok", "response": {}}
ALL = {"geo": "0.0.1", "health": "0.0.1", "local_shell": "0.0.1", "logging": "0.0.1", "network_identity": "0.0.1"}
UNMATCHED = {"status": "error", "response": {"reason": "unmatched topic"}}


class ChannelCase(TranscriptCase):
    server_args = ("--health-interval", "1ms")

    def joined(self, identifier, api="2.2.0"):
        client = self.client(identifier, api)
        client.send(self.fill('["1","1","device","phx_join",{"device_api_version":"%s",%s,{KV1}}]' % (api, VALIDATED), client))
        self.assertEqual(self.said(client, "device"), ["1", "1", "device", "phx_reply", OK])
        self.assertEqual(self.said(client, "device"), [None, None, "device", "extensions:get", {}])
        return client

    def said(self, client, topic):
        return json.loads(client.next(topic))

    def say(self, client, *message):
        client.send(json.dumps(message))

    def attach(self, client, *names, offered=ALL):
        self.say(client, "4", "4", "extensions", "phx_join", offered)
        reply = self.said(client, "extensions")
        for name in names:
            self.say(client, "4", "5", "extensions", f"{name}:attached", {})
        return reply[4]["response"]

    def silent(self, client):
        client.ping()
        self.assertEqual(client.waiting, {})

    def counted(self, name):
        return self.server.metric(f"device_{name}_total")


class Topics(ChannelCase):
    def test_a_device_has_its_own_topics_only(self):
        client = self.joined("t-1")
        for topic in ("device:1", "device:", "firmware:", "firmware:1", f"firmware:{self.fw[0]['uuid']}x", f"firmware:{self.fw[0]['uuid']}:1", "user:console:identifier-t-1", "Device", ""):
            client.joins.clear()
            self.say(client, "8", "8", topic, "phx_join", {})
            self.assertEqual(self.said(client, topic), ["8", "8", topic, "phx_reply", UNMATCHED])
        client.close()

    def test_what_is_not_joined_is_unmatched(self):
        client = self.joined("t-2")
        unmatched = self.counted("unmatched_topics")
        for topic in ("console", "extensions", "nowhere", f"firmware:{self.fw[0]['uuid']}", "phoenix"):
            client.asked[(topic, "7")] = "unmatched"
            self.say(client, None, "7", topic, "up", {"data": "x"})
            self.assertEqual(self.said(client, topic), [None, "7", topic, "phx_reply", UNMATCHED])
        self.assertEqual(self.counted("unmatched_topics"), unmatched + 5)
        client.close()

    def test_leaving_and_joining_again(self):
        client = self.joined("t-3")
        for topic, ref in (("console", "2"), ("extensions", "4"), ("device", "1")):
            self.say(client, ref, ref, topic, "phx_join", {})
            if topic == "device":  # a second join ends the first
                client.left.add(topic)
                self.assertEqual(self.said(client, topic), ["1", "1", topic, "phx_close", {}])
            self.assertEqual(self.said(client, topic)[3], "phx_reply")
            self.say(client, ref, "30", topic, "phx_leave", {})
            self.assertEqual(self.said(client, topic), [ref, "30", topic, "phx_reply", OK])
            self.assertEqual(self.said(client, topic), [ref, ref, topic, "phx_close", {}])
            self.say(client, ref, "31", topic, "phx_leave", {})  # of a topic that is not joined
            self.assertEqual(self.said(client, topic), [ref, "31", topic, "phx_reply", OK])
        client.close()

    def test_one_device_channel_by_either_name(self):
        client = self.joined("t-4")
        old = f"firmware:{self.fw[0]['uuid']}"
        client.left.add("device")
        self.say(client, "2", "2", old, "phx_join", {})
        self.assertEqual(self.said(client, "device"), ["1", "1", "device", "phx_close", {}])
        self.assertEqual(self.said(client, old), ["2", "2", old, "phx_reply", OK])
        self.server.api("POST", f"{self.product_path}/devices/t-4/identify", expect=204)
        self.assertEqual(self.said(client, old), [None, None, old, "identify", {}])
        client.asked[("device", "9")] = "unmatched"
        self.say(client, "1", "9", "device", "fwup_progress", {"value": 1})
        self.assertEqual(self.said(client, "device")[4], UNMATCHED)
        client.close()

    def bytes_of(self, join_ref, ref, topic, event, data):
        texts = [t.encode() for t in (join_ref, ref, topic, event)]
        return struct.pack("5B", 0, *map(len, texts)) + b"".join(texts) + data

    def test_frames_of_bytes(self):
        """Understood, and answered as text would be; only what is no message at all ends the socket."""
        client = self.joined("t-5")
        ignored = self.counted("ignored")
        client.bytes(BINARY, self.bytes_of("", "7", "phoenix", "heartbeat", b""))
        client.asked[("phoenix", "7")] = "heartbeat"
        self.assertEqual(self.said(client, "phoenix"), [None, "7", "phoenix", "phx_reply", OK])
        client.asked[("console", "8")] = "unmatched"
        client.bytes(BINARY, self.bytes_of("1", "8", "console", "up", b"hi"))
        self.assertEqual(self.said(client, "console")[4], UNMATCHED)
        client.bytes(BINARY, self.bytes_of("1", "9", "device", "fwup_progress", b"\xff\xfe"))
        self.silent(client)
        self.assertEqual(self.counted("ignored"), ignored + 1)
        client.bytes(BINARY, b"\x01" + self.bytes_of("1", "9", "device", "x", b"")[1:])
        self.assertEqual(client.peer.until_close(), ([], 1011))

    def test_the_other_kind_of_frame(self):
        for path, opcode, data in (("/device-socket/websocket?vsn=3.0.0", TEXT, b'[null,"1","phoenix","heartbeat",{}]'),
                                   ("/device-socket/websocket?vsn=1.0.0", BINARY, self.bytes_of("", "1", "phoenix", "heartbeat", b""))):
            client = self.client("t-6", path=path)
            client.bytes(opcode, data)
            self.assertEqual(client.peer.until_close(), ([], 1011))

    def test_console_messages_that_mean_nothing(self):
        client = self.joined("t-7")
        self.say(client, "2", "2", "console", "phx_join", {"console_version": "2.0.0"})
        self.said(client, "console")
        ignored, unknown = self.counted("ignored"), self.counted("unknown_events")
        for payload in (None, [], {}, {"data": 5}, {"data": "x" * 65537}):
            self.say(client, "2", "5", "console", "up", payload)
        for event, payload in (("file-data", {"data": "eA=="}), ("file-data/start", {"filename": ""}), ("file-data/stop", {"filename": "x" * 65536})):
            self.say(client, "2", "5", "console", event, payload)
        for event in ("dn", "put_chars", "init_attempt"):  # the last two: consoles before 1.0
            self.say(client, "2", "5", "console", event, {"data": "x"})
        self.silent(client)
        self.assertEqual((self.counted("ignored"), self.counted("unknown_events")), (ignored + 8, unknown + 3))
        client.close()

    def test_code_waits_for_the_console_and_is_typed_once(self):
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": "t-8", "tags": []}, expect=201)
        self.server.api("PUT", f"{self.product_path}/devices/t-8", {"connecting_code": "IO.puts(1)"}, expect=201)
        client = self.client("t-8", "1.0.0")
        client.left.add("device")
        for _ in range(2):
            client.send(self.fill('["1","1","device","phx_join",{{KV1}}]', client))
        self.assertEqual([self.said(client, "device")[3] for _ in range(3)], ["phx_reply", "phx_close", "phx_reply"])
        self.silent(client)
        self.say(client, "2", "2", "console", "phx_join", {"console_version": "1.0.0"})
        self.assertEqual(self.said(client, "console"), ["2", "2", "console", "phx_reply", OK])
        self.assertEqual(self.said(client, "console"), ["2", None, "console", "dn", {"data": "IO.puts(1)\n\r"}])
        self.silent(client)
        client.close()


class Extensions(ChannelCase):
    def test_versions(self):
        client = self.joined("e-1")
        offered = {"health": "0.0.1", "geo": "0.1.0", "logging": "1.0.0", "local_shell": "zero", "network_identity": 1, "fortune": "0.0.1"}
        self.assertEqual(self.attach(client, offered=offered), ["health"])
        self.assertEqual(self.attach_again(client, {"geo": "0.0.9", "health": "0.0.0"}), ["geo"])
        self.assertEqual(self.attach_again(client, {}), [])
        self.assertEqual(self.attach_again(client, None), [])
        client.close()

    def attach_again(self, client, offered):
        client.left.add("extensions")
        self.say(client, "4", "4", "extensions", "phx_join", offered)
        self.assertEqual(self.said(client, "extensions")[3], "phx_close")
        return self.said(client, "extensions")[4]["response"]

    def test_who_may_not_is_told_to_detach(self):
        """The only answer to a push: for an extension that is unknown, not offered or not allowed; never for one that says that it has ended."""
        client = self.joined("e-2")
        self.server.api("PUT", f"{self.product_path}/devices/e-2", {"extensions": {"geo": False}}, expect=201)
        self.assertEqual(self.attach(client, offered={"geo": "0.0.1", "health": "0.0.1"}), ["health"])
        refused = self.counted("extensions_refused")
        for event in ("geo:attached", "geo:location:update", "logging:send", "fortune:cookie"):
            self.say(client, "4", "6", "extensions", event, {})
            self.assertEqual(self.said(client, "extensions"), ["4", "6", "extensions", "phx_reply", {"status": "error", "response": "detach"}])
        for event in ("geo:detached", "geo:error", "fortune:error"):
            self.say(client, "4", "6", "extensions", event, {"reason": "start_failure"})
        self.say(client, "4", None, "extensions", "geo:attached", {})
        self.silent(client)
        self.assertEqual(self.counted("extensions_refused"), refused + 6)
        client.close()

    def test_requests_follow_the_attachment(self):
        client = self.joined("e-3")
        self.assertEqual(self.attach(client), sorted(ALL))
        for name, request in (("geo", "geo:location:request"), ("local_shell", "local_shell:request_shell"), ("logging", None), ("network_identity", "network_identity:request")):
            self.say(client, "4", "6", "extensions", f"{name}:attached", {})
            if request:
                self.assertEqual(self.said(client, "extensions"), ["4", None, "extensions", request, {}])
        ignored, unknown = self.counted("ignored"), self.counted("unknown_events")
        for event in ("health:report", "local_shell:no_such", "geo:no_such"):  # not attached; not known
            self.say(client, "4", "7", "extensions", event, {"value": {}})
        self.say(client, "4", "7", "extensions", "nameless", {})
        self.silent(client)
        self.assertEqual((self.counted("ignored"), self.counted("unknown_events")), (ignored + 3, unknown + 1))
        client.close()

    def test_health_is_asked_for_again(self):
        """No timer: what is due is looked at when the device says something."""
        client = self.joined("e-4")
        self.attach(client, "health")
        for ref in range(3):
            self.assertEqual(self.said(client, "extensions"), ["4", None, "extensions", "health:check", {}])
            while "extensions" not in client.waiting:
                self.say(client, None, str(100 + ref), "phoenix", "heartbeat", {})
                self.said(client, "phoenix")
        self.say(client, "4", "8", "extensions", "health:detached", {})
        client.ping()
        client.waiting.clear()
        self.say(client, None, "200", "phoenix", "heartbeat", {})
        self.said(client, "phoenix")
        self.silent(client)
        client.close()

    def test_settings_change_under_a_connected_device(self):
        client, bystander = self.joined("e-5"), self.joined("e-6")
        self.assertEqual(self.attach(client, offered={"geo": "0.0.1", "network_identity": "0.0.1"}), ["geo", "network_identity"])
        self.assertEqual(self.attach(bystander, offered={"health": "0.0.1"}), ["health"])
        try:
            self.switch(geo=False)
            self.assertEqual(self.said(client, "extensions"), ["4", None, "extensions", "detach", {"extensions": ["geo"]}])
            self.say(client, "4", "6", "extensions", "geo:location:update", {"latitude": 1})
            self.assertEqual(self.said(client, "extensions")[4], {"status": "error", "response": "detach"})
            self.server.api("PUT", f"{self.product_path}/devices/e-5", {"extensions": {"network_identity": False}}, expect=201)
            self.assertEqual(self.said(client, "extensions"), ["4", None, "extensions", "detach", {"extensions": ["network_identity"]}])
        finally:
            self.switch(geo=True)
        self.assertEqual(self.said(client, "extensions"), ["4", None, "extensions", "attach", {"extensions": ["geo"]}])
        self.say(client, "4", "7", "extensions", "geo:attached", {})
        self.assertEqual(self.said(client, "extensions"), ["4", None, "extensions", "geo:location:request", {}])
        self.server.api("PUT", f"{self.product_path}/devices/e-5", {"extensions": {"network_identity": True}}, expect=201)
        self.assertEqual(self.said(client, "extensions"), ["4", None, "extensions", "attach", {"extensions": ["network_identity"]}])
        self.silent(bystander)
        client.close()
        bystander.close()

    def test_log_lines_are_paced(self):
        client = self.joined("e-7")
        self.attach(client, "logging")
        dropped = self.counted("log_lines_dropped")
        for i in range(100):
            self.say(client, "4", "6", "extensions", "logging:send", {"level": "info", "message": f"line {i}", "meta": {"time": "1700000000123456"}})
        self.silent(client)
        self.assertGreater(self.counted("log_lines_dropped"), dropped)
        lines = self.server.api("GET", f"{self.product_path}/devices/e-7/logs", expect=200).data
        self.assertEqual(len(lines), 100 - (self.counted("log_lines_dropped") - dropped))
        client.close()


class Scripts(ChannelCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        for name in ("one", "two"):
            cls.server.api("POST", f"{cls.product_path}/scripts", {"name": name, "text": f"{name}()"}, expect=200)

    def setUp(self):
        self.threads = ThreadPoolExecutor(4)
        self.addCleanup(self.threads.shutdown)

    def ask(self, identifier, name):
        return self.threads.submit(self.server.api, "POST", f"{self.product_path}/devices/{identifier}/scripts/{name}", expect=200)

    def old_device(self, identifier):
        client = self.client(identifier, "2.0.0")
        client.send(self.fill('["1","1","device","phx_join",{"device_api_version":"2.0.0",{KV1}}]', client))
        self.said(client, "device")
        self.say(client, "2", "2", "console", "phx_join", {"console_version": "2.0.0"})
        self.said(client, "console")
        return client

    def prints(self, client, text):
        self.say(client, "2", "5", "console", "up", {"data": text})

    def typed(self, client):
        return "".join(self.said(client, "console")[4]["data"] for _ in range(2))

    def test_old_devices_take_one_question_at_a_time(self):
        client = self.old_device("s-1")
        self.prints(client, "before\n")
        one = self.ask("s-1", "one")
        self.assertEqual(self.typed(client), "one()\n# [NERVESHUB:END]\r")
        two = self.ask("s-1", "two")
        wait_until(lambda: self.server.metric("relay_questions") == 2, self.server.process, "the second question")
        self.silent(client)
        for text in ("out of one\r\n", "more\r\n# [NERVES", "HUB:END]\r\n:ok"):  # the mark in two pieces
            self.prints(client, text)
        self.assertEqual(one.result().body, b"out of one\r\nmore")
        self.assertEqual(self.typed(client), "two()\n# [NERVESHUB:END]\r")
        self.prints(client, "# [NERVESHUB:END]")
        self.assertEqual(two.result().body, b"")
        client.close()

    def test_a_script_that_prints_for_ever(self):
        client = self.old_device("s-2")
        one = self.ask("s-2", "one")
        self.typed(client)
        for _ in range(16):
            self.prints(client, "x" * 65536)
        self.assertEqual(one.result().body, b"x" * (512 << 10))
        self.silent(client)
        client.close()

    def test_answers_are_known_by_their_refs(self):
        client = self.joined("s-3")
        ignored = self.counted("ignored")
        one, refs = self.ask("s-3", "one"), []
        refs.append(self.said(client, "device")[4]["ref"])
        two = self.ask("s-3", "two")
        refs.append(self.said(client, "device")[4]["ref"])
        self.assertNotEqual(*refs)
        for ref in refs:
            self.assertEqual(len(base64.b64decode(ref + "==", validate=True)), 4)
        for ref, output in (("nobody", "x"), (refs[1], "of two"), ("", "x"), (refs[0], "of one"), (refs[1], "again")):
            self.say(client, "1", "5", "device", "scripts/run", {"ref": ref, "result": "completed", "output": output, "return": ":ok"})
        self.assertEqual((one.result().body, two.result().body), (b"of one\n:ok", b"of two\n:ok"))
        self.silent(client)
        self.assertEqual(self.counted("ignored"), ignored + 3)
        client.close()


class Limits(ChannelCase):
    server_args = ("--device-connects", "5", "--device-messages", "20")

    def test_a_flood_is_heard_slowly_and_whole(self):
        client, calm = self.joined("l-1"), self.joined("l-2")
        beat = frame(TEXT, b'[null,"7","phoenix","heartbeat",{}]')
        client.asked[("phoenix", "7")] = "heartbeat"
        client.peer.send(beat * 230)  # ten seconds' worth are 200
        for i in range(230):
            client.next("phoenix")
            if i % 40 == 0:
                self.silent(calm)
        self.assertGreater(self.counted("floods"), 0)
        client.close()
        calm.close()

    def test_who_connects_again_and_again_stays_away_for_a_while(self):
        refused = self.counted("reconnects_refused")
        for identifier, identity, path in (("l-3", "certificate", "/socket/websocket?vsn=2.0.0"), ("l-4", "secret", "/device-socket/websocket?vsn=2.0.0")):
            client = self.client(identifier, path=path, identity=identity)
            for _ in range(4):
                client.close()
                client.connect()
            client.close()
            with self.assertRaises(Broken):
                client.connect()
            answer = client.answer
            self.assertEqual(answer.status, 503)
            self.assertTrue(30 <= int(answer.headers["retry-after"]) <= 90, answer)
            self.assertEqual(answer.headers["nh-connection-error-reason"], "this device connects too often")
        self.assertEqual(self.counted("reconnects_refused"), refused + 2)
        self.joined("l-5").close()
        self.assertEqual(self.server.log_text().count("device.reconnecting"), 1, "an episode is one line")


if __name__ == "__main__":
    unittest.main()
