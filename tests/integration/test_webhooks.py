"""Webhooks against a real receiver over TLS: signatures, repetitions, dead letters, endpoints of every bad kind, and addresses that nobody shall reach."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from browser import Mails, text_of
from hookpeer import Receiver, event, genuine
from nhtest import DEADLINE, ROOT, Device, Pki, Server, ServerCase, nh1_headers, program, run, select_tick

LOOPBACK = ("--webhook-networks", "127.0.0.0/8,::1/128")


class HookCase(ServerCase):
    patience = ()  # how long a delivery is tried, and an answer waited for

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="nhtest-hooks-"))
        cls.endpoints = Pki(cls.folder / "pki")
        ca = cls.endpoints.ca("endpoints")
        cls.receiver = Receiver(cls.endpoints)
        cls.server_args = ("--webhook-ca", str(ca), "--mail-folder", str(cls.folder / "mails"), *cls.patience)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        cls.receiver.close()
        super().tearDownClass()

    def hook(self, path, expect=201, org="acme", url=None, **fields):
        body = self.server.api("POST", f"/orgs/{org}/webhooks", {"url": url or self.receiver.url(path), **fields}, expect=expect)
        if expect == 201:
            hook = body.data
            self.addCleanup(lambda: self.server.api("DELETE", f"/orgs/{org}/webhooks/{hook['id']}"))
            return hook
        return body.json

    def create(self, identifier, product=None):
        return self.server.api("POST", f"{product or self.product_path}/devices", {"identifier": identifier}, expect=201)

    def path_of(self, hook, rest="", org="acme"):
        return f"/orgs/{org}/webhooks/{hook['id']}{rest}"

    def until(self, look, enough):
        deadline = time.monotonic() + DEADLINE
        while not enough(seen := look()):
            self.assertLess(time.monotonic(), deadline, seen)
            select_tick()
        return seen

    def deliveries(self, hook, query="", org="acme"):
        return self.server.api("GET", self.path_of(hook, "/deliveries", org) + query, expect=200).data


class Webhooks(HookCase):
    patience = (*LOOPBACK, "--webhook-give-up", "120s", "--webhook-timeout", "4s")

    def test_signed_and_told_once(self):
        hook = self.hook("/signed", events=["device.created"], description="tests")
        self.assertEqual((hook["events"], hook["product"], hook["enabled"], hook["description"]), (["device.created"], None, True, "tests"))
        self.create("signed-1")
        post = self.receiver.wait("/signed", len)[0]
        self.assertTrue(genuine(hook["secret"], post["headers"], post["body"]))
        self.assertFalse(genuine("whsec_" + "A" * 43 + "=", post["headers"], post["body"]))
        said = event(post)
        self.assertEqual((said["type"], said["id"], post["method"], post["headers"]["content-type"]), ("device.created", post["headers"]["webhook-id"], "POST", "application/json"))
        self.assertEqual((said["data"]["device"]["identifier"], said["data"]["product"]["name"], said["data"]["organization"]), ("signed-1", "Thermo Widget", {"name": "acme"}))
        self.assertLess(abs(int(post["headers"]["webhook-timestamp"]) - time.time()), DEADLINE)
        done = self.until(lambda: self.deliveries(hook, "?status=delivered"), len)
        self.assertEqual([(d["event_id"], d["attempts"], d["answer_status"], d["error"]) for d in done], [(said["id"], 1, 200, None)])
        shown = self.until(lambda: self.server.api("GET", self.path_of(hook), expect=200).data, lambda h: h["delivered_at"])
        self.assertNotIn("secret", shown)
        self.assertEqual((shown["waiting"], shown["dead"], shown["failing_since"]), (0, 0, None))
        kept = "encode(secret, 'hex')" if "DATABASE_URL" in self.server.env else "hex(secret)"
        self.assertNotIn(base64.b64decode(hook["secret"][6:]).hex(), "".join(self.server.sql(f"SELECT {kept} FROM webhooks")).lower())
        self.assertNotIn(hook["secret"], self.server.log_text())

    def test_the_guides_examples(self):
        """Both ways of checking a signature that docs/guides/webhooks.md shows, on a real delivery."""
        guide = (ROOT / "docs" / "guides" / "webhooks.md").read_text()
        example = lambda name: re.search(rf"<!-- {re.escape(name)} -->\n```\n(.*?)```", guide, re.S)[1]
        hook = self.hook("/guide", events=["device.created"])
        self.create("guide-1")
        post = self.receiver.wait("/guide", len)[0]
        script, body, names = self.folder / "verify.sh", self.folder / "body", {}
        script.write_text(example("verify.sh"))
        exec(example("verify.py"), names)
        for secret, good in ((hook["secret"], True), ("whsec_" + base64.b64encode(b"x" * 32).decode(), False)):
            body.write_bytes(post["body"])
            with body.open("rb") as stdin:
                done = subprocess.run(["sh", str(script), *(post["headers"][f"webhook-{h}"] for h in ("id", "timestamp", "signature"))], stdin=stdin, env={**os.environ, "WEBHOOK_SECRET": secret},
                                      stderr=subprocess.PIPE, timeout=DEADLINE)
            self.assertEqual((done.returncode == 0, names["genuine"](secret, post["headers"], post["body"])), (good, good), done.stderr)

    def test_only_what_is_asked_for_and_only_ones_own(self):
        """Kinds, product and organization; the last created device comes last, so what was not wanted would be there by then."""
        self.server.api("POST", "/orgs", {"name": "others"}, expect=201)
        self.server.api("POST", "/orgs/others/products", {"name": "P"}, expect=201)
        self.server.api("POST", "/orgs/acme/products", {"name": "Second"}, expect=201)
        theirs = self.hook("/theirs", org="others")
        self.hook("/second", product="Second")
        self.hook("/online", events=["device.online", "rollout.stopped"])
        self.hook("/all", events=["*"])
        self.create("mine-1")
        self.create("second-1", "/orgs/acme/products/Second")
        self.create("theirs-1", "/orgs/others/products/P")
        self.create("mine-2")
        named = lambda path: sorted(event(p)["data"]["device"]["identifier"] for p in self.receiver.of(path))
        self.receiver.wait("/all", lambda posts: len(posts) == 3)
        self.receiver.wait("/theirs", len)
        self.receiver.wait("/second", len)
        self.assertEqual((named("/all"), named("/second"), named("/theirs"), named("/online")), (["mine-1", "mine-2", "second-1"], ["second-1"], ["theirs-1"], []))
        # Whose webhook it is not finds nothing.
        for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/test"), ("POST", "/secret"), ("POST", "/retry_dead")):
            self.server.api(method, self.path_of(theirs, rest, "acme"), expect=404)

    def test_the_old_secret_signs_for_a_day(self):
        hook = self.hook("/rotated", events=["device.created"])
        new = self.server.api("POST", self.path_of(hook, "/secret"), expect=200).data
        self.assertNotEqual(new["secret"], hook["secret"])
        self.assertIsNotNone(new["old_secret_until"])
        self.create("rotated-1")
        post = self.receiver.wait("/rotated", len)[0]
        self.assertEqual(len(post["headers"]["webhook-signature"].split(" ")), 2)
        self.assertTrue(genuine(hook["secret"], post["headers"], post["body"]) and genuine(new["secret"], post["headers"], post["body"]))

    def test_tried_again_with_the_same_id_until_it_is_taken(self):
        for mode in (500, "close", "hang"):
            with self.subTest(mode=mode):
                path = f"/again-{mode}"
                self.receiver.modes[path] = mode
                hook = self.hook(path, events=["device.created"])
                self.create(f"again-{mode}")
                self.receiver.wait(path, lambda posts: len(posts) >= 2)
                self.until(lambda: self.server.api("GET", self.path_of(hook), expect=200).data["failing_since"], bool)
                self.receiver.modes[path] = 204
                self.until(lambda: self.deliveries(hook, "?status=delivered"), len)
                posts = self.receiver.of(path)
                self.assertEqual(len({p["headers"]["webhook-id"] for p in posts}), 1)
                self.assertTrue(all(genuine(hook["secret"], p["headers"], p["body"]) for p in posts))

    def test_an_endpoint_that_is_away_for_a_while(self):
        other = Receiver(self.endpoints)
        hook = self.hook("/away", url=other.url("/away"), events=["device.created"])
        other.close()
        self.create("away-1")
        self.until(lambda: self.deliveries(hook), lambda d: d and d[0]["attempts"] >= 2 and d[0]["error"])
        back = Receiver(self.endpoints, other.port)
        self.addCleanup(back.close)
        self.assertEqual(event(back.wait("/away", len)[0])["data"]["device"]["identifier"], "away-1")

    def test_what_hangs_keeps_nobody_else_waiting(self):
        self.receiver.modes["/hangs"] = "hang"
        self.hook("/hangs", events=["device.created"])
        self.hook("/quick", events=["device.created"])
        for i in range(12):
            self.create(f"crowd-{i}")
        posts = self.receiver.wait("/quick", lambda posts: len({p["headers"]["webhook-id"] for p in posts}) == 12)
        self.assertTrue(any(p["while_others_hang"] for p in posts))
        self.receiver.modes["/hangs"] = 200
        told = self.receiver.wait("/hangs", lambda posts: len({p["headers"]["webhook-id"] for p in posts}) == 12)
        self.assertEqual({event(p)["data"]["device"]["identifier"] for p in told}, {f"crowd-{i}" for i in range(12)})

    def test_answers_that_are_too_much(self):
        """The beginning of a long answer is enough; a redirect is none."""
        self.receiver.modes.update({"/huge": "huge", "/moved": ("redirect", self.receiver.url("/private"))})
        huge, moved = self.hook("/huge", events=["device.created"]), self.hook("/moved", events=["device.created"])
        self.create("answers-1")
        self.until(lambda: self.deliveries(huge, "?status=delivered"), len)
        refused = self.until(lambda: self.deliveries(moved), lambda d: d and d[0]["error"])
        self.assertEqual(refused[0]["answer_status"], 302)
        self.assertIn("redirect", refused[0]["error"])
        tested = self.server.api("POST", self.path_of(huge, "/test"), expect=200).data
        self.assertEqual((tested["delivered"], tested["answer"]), (True, "x" * 1024))
        self.assertEqual(self.receiver.of("/private"), [])

    def test_a_test_says_what_came_back(self):
        self.receiver.modes["/tried"] = 403
        hook = self.hook("/tried", enabled=False)
        tested = self.server.api("POST", self.path_of(hook, "/test"), expect=200).data
        self.assertEqual((tested["delivered"], tested["answer_status"], tested["answer"]), (False, 403, "thank you"))
        post = self.receiver.of("/tried")[0]
        self.assertTrue(genuine(hook["secret"], post["headers"], post["body"]))
        self.assertEqual(event(post)["type"], "webhook.test")
        self.assertEqual(self.deliveries(hook), [])
        url = self.receiver.url("/tried").replace("localhost", "127.0.0.1")
        self.server.api("PUT", self.path_of(hook), {"url": url, "events": ["device.online"], "product": self.product, "description": None}, expect=200)
        changed = self.server.api("PATCH", self.path_of(hook), {}, expect=200).data
        self.assertEqual((changed["url"], changed["events"], changed["product"], changed["description"]), (url, ["device.online"], self.product, ""))

    def test_gone_for_good(self):
        self.receiver.modes["/gone"] = 410
        hook = self.hook("/gone", events=["device.created"])
        self.create("gone-1")
        off = self.until(lambda: self.server.api("GET", self.path_of(hook), expect=200).data, lambda h: not h["enabled"])
        self.assertIn("410", off["disabled_reason"])
        self.assertEqual(len(self.deliveries(hook, "?status=dead")), 1)
        mail = Mails(self.folder / "mails", self.server.process).next("webhook_disabled")
        self.assertIn(self.receiver.url(""), text_of(mail))
        told = self.server.api("GET", f"{self.product_path}/notifications", expect=200).data
        self.assertTrue(any(n["event_key"] == f"webhook_disabled-{hook['id']}" for n in told))
        self.create("gone-2")  # nobody asks any more
        self.receiver.modes["/gone"] = 200
        self.server.api("PATCH", self.path_of(hook), {"enabled": True}, expect=200)
        dead = self.deliveries(hook, "?status=dead")[0]
        self.assertEqual(self.server.api("POST", self.path_of(hook, f"/deliveries/{dead['id']}/retry"), expect=200).data, {"retried": 1})
        self.server.api("POST", self.path_of(hook, f"/deliveries/{dead['id']}/retry"), expect=404)
        self.until(lambda: self.deliveries(hook, "?status=delivered"), len)
        self.assertEqual({event(p)["data"]["device"]["identifier"] for p in self.receiver.of("/gone")}, {"gone-1"})

    def test_a_devices_life(self):
        """Online, update, health, offline: as a device has them."""
        self.hook("/life", product=self.product)
        old, new = self.firmware("1.0.0"), self.firmware("2.0.0")
        self.server.api("PUT", self.product_path, {"extensions": {"health": True}}, expect=200)
        secret = self.server.api("POST", f"{self.product_path}/shared_secrets", {}, expect=201).data
        socket = lambda: Device(self.server, headers=nh1_headers(secret["key"], secret["secret"], "life-1"), path="/device-socket/websocket?vsn=2.0.0")
        kinds = lambda posts: {event(p)["type"]: event(p)["data"] for p in posts}
        told = lambda *names: kinds(self.receiver.wait("/life", lambda posts: set(names) <= set(kinds(posts)), names))

        async def live():
            async with socket() as device:
                await device.join(old)
                await asyncio.to_thread(told, "device.online")
                device.ref += 1
                ref = str(device.ref)
                await device.socket.send(device.pack([ref, ref, "extensions", "phx_join", {"health": "0.0.1"}]))
                self.assertEqual((await device.reply(ref))["response"], ["health"])
                await device.send("health:attached", {}, topic="extensions", join_ref=ref)
                await device.send("health:report", {"value": {"metrics": {"cpu_usage_percent": 95}}}, topic="extensions", join_ref=ref)
                await asyncio.to_thread(told, "health.changed")
                path = f"{self.product_path}/devices/life-1/upgrade"
                await asyncio.to_thread(lambda: self.server.api("POST", path, {"uuid": new["uuid"]}, expect=204))
                await device.event("update")
            await asyncio.to_thread(told, "device.offline")
            async with socket() as device:
                await device.join(new)
                await asyncio.to_thread(told, "update.succeeded")

        asyncio.run(live())
        life = told("device.created", "device.online", "health.changed", "update.started", "device.offline", "update.succeeded")
        self.assertEqual((life["health.changed"]["status"], life["health.changed"]["previous_status"]), ("unhealthy", "unknown"))
        self.assertEqual((life["update.succeeded"]["firmware"]["version"], life["update.succeeded"]["previous_firmware"]["version"]), ("2.0.0", "1.0.0"))
        self.assertEqual(life["update.started"]["firmware"]["uuid"], new["uuid"])
        self.assertEqual({d["device"]["identifier"] for d in life.values()}, {"life-1"})

    def test_from_the_command_line(self):
        def nh(*args, status=0):
            done = run(program("nh"), "--uri", f"http://127.0.0.1:{self.server.web_port}", "--token", self.server.token, "--org", "acme", "--data-dir", self.folder / "nh", "--non-interactive",
                       "-o", "json", "webhook", *args, check=False)
            self.assertEqual(done.returncode, status, done.stderr + done.stdout)
            return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

        self.receiver.modes["/nh"] = 410
        added = nh("add", self.receiver.url("/nh"), "--event", "device.created", "--description", "by hand")
        hook = str(added["id"])
        self.assertEqual((added["events"], added["enabled"], added["secret"][:6]), (["device.created"], True, "whsec_"))
        self.assertEqual(nh("test", hook, status=1)["answer_status"], 410)
        self.create("nh-1")
        self.until(lambda: nh("show", hook), lambda h: not h["enabled"])
        self.receiver.modes["/nh"] = 200
        self.assertTrue(nh("update", hook, "--enabled", "--only-product", self.product)["enabled"])
        dead = nh("deliveries", hook, "--status", "dead")
        self.assertEqual([(d["type"], d["answer_status"]) for d in dead], [("device.created", 410)])
        self.assertEqual((nh("retry", hook, str(dead[0]["id"])), nh("retry", hook)), ({"retried": 1}, {"retried": 0}))
        self.until(lambda: nh("deliveries", hook, "--status", "delivered"), len)
        self.assertNotEqual(nh("rotate", hook)["secret"], added["secret"])
        self.assertIn(added["id"], [h["id"] for h in nh("list")])
        nh("remove", hook, "--yes")
        nh("show", hook, status=1)

    def test_refusals(self):
        for fields, words in (
                ({}, "can't be blank"), ({"url": "http://example.com/"}, "https"), ({"url": "ftp://example.com/"}, "https"), ({"url": "https://me:secret@example.com/"}, "user name"),
                ({"url": "https://example.com/#x"}, "fragment"), ({"url": "https:///x"}, "host"), ({"url": "https://a b/"}, "ASCII"), ({"url": "https://example.com:70000/"}, "host"),
                ({"url": "https://e.example/", "events": ["device.exploded"]}, "device.exploded"), ({"url": "https://e.example/", "events": []}, "list"),
                ({"url": "https://e.example/", "product": "nothing"}, "exist"), ({"url": "https://e.example/", "enabled": "maybe"}, "invalid")):
            with self.subTest(fields=fields):
                refused = self.server.api("POST", "/orgs/acme/webhooks", fields, expect=422).json
                self.assertIn(words, json.dumps(refused["errors"]))
        hook = self.hook("/refusals")
        self.server.api("GET", self.path_of(hook, "/deliveries?status=lost"), expect=422)
        self.server.api("GET", self.path_of(hook, "/deliveries?before=x"), expect=422)
        self.server.api("GET", "/orgs/acme/webhooks/x", expect=404)
        self.assertIn(hook["id"], [h["id"] for h in self.server.api("GET", "/orgs/acme/webhooks", expect=200).data])
        # Each test counts, those that answer nothing, too.
        answers = [self.server.api("POST", self.path_of(hook, "/test")).status for _ in range(40)]
        self.assertEqual(set(answers), {200, 429})

    def test_killed_between_commit_and_delivery(self):
        server = Server(*self.server_args).start()
        self.addCleanup(server.end)
        server.login()
        server.api("POST", "/orgs", {"name": "o"}, expect=201)
        server.api("POST", "/orgs/o/products", {"name": "p"}, expect=201)
        self.receiver.modes["/killed"] = "hang"
        server.api("POST", "/orgs/o/webhooks", {"url": self.receiver.url("/killed")}, expect=201)
        for i in range(6):
            server.api("POST", "/orgs/o/products/p/devices", {"identifier": f"killed-{i}"}, expect=201)
        self.receiver.wait("/killed", len)
        server.stop(signal.SIGKILL)
        self.receiver.modes["/killed"] = 200
        server.start()  # what was under way is sent once its lease is over
        posts = self.receiver.wait("/killed", lambda posts: len({event(p)["data"]["device"]["identifier"] for p in posts if p["mode"] == 200}) == 6)
        self.assertEqual({event(p)["data"]["device"]["identifier"] for p in posts if p["mode"] == 200}, {f"killed-{i}" for i in range(6)})


class Impatient(HookCase):
    """What is given up soon."""

    patience = (*LOOPBACK, "--webhook-give-up", "1s", "--webhook-http", "true")

    def test_dead_letters(self):
        self.receiver.modes["/dead"] = 500
        hook = self.hook("/dead", events=["device.created"])
        for i in range(3):
            self.create(f"dead-{i}")
        dead = self.until(lambda: self.deliveries(hook, "?status=dead"), lambda d: len(d) == 3)
        self.assertTrue(all(d["due_at"] is None and d["error"] for d in dead))
        self.assertEqual(self.server.api("GET", self.path_of(hook), expect=200).data["dead"], 3)
        self.assertEqual(len(self.deliveries(hook, "?limit=2")), 2)
        page = self.server.api("GET", self.path_of(hook, "/deliveries?limit=2"), expect=200).json
        self.assertEqual(len(self.deliveries(hook, f"?before={page['pagination']['next']}")), 1)
        self.receiver.modes["/dead"] = 200
        self.server.api("PATCH", self.path_of(hook), {"enabled": True}, expect=200)  # on a slow machine three seconds of failures may have passed
        self.assertEqual(self.server.api("POST", self.path_of(hook, "/retry_dead"), expect=200).data, {"retried": 3})
        self.until(lambda: self.deliveries(hook, "?status=delivered"), lambda d: len(d) == 3)
        self.assertEqual(self.server.api("POST", self.path_of(hook, "/retry_dead"), expect=200).data, {"retried": 0})
        ids = lambda mode: {p["headers"]["webhook-id"] for p in self.receiver.of("/dead") if p["mode"] == mode}
        self.assertEqual(ids(200), ids(500))

    def test_switched_off_after_days(self):
        self.receiver.modes["/fails"] = 500
        hook = self.hook("/fails", events=["device.created"])
        names = iter(range(100000))

        def look():
            self.create(f"fails-{next(names)}")
            return self.server.api("GET", self.path_of(hook), expect=200).data
        self.assertIn("failed for days", self.until(look, lambda h: not h["enabled"])["disabled_reason"])
        self.assertGreater(self.server.metric("webhooks_disabled_total"), 0)

    def test_plain_http_where_it_is_allowed(self):
        self.assertEqual(self.hook("/x", url="http://127.0.0.1:9/")["url"], "http://127.0.0.1:9/")


class Addresses(HookCase):
    """As it is without settings: nobody gets at what is private, by whatever name."""

    def test_private_addresses(self):
        self.server.api("POST", "/orgs/acme/webhooks", {"url": "http://example.com/"}, expect=422)
        port = self.receiver.port
        for host in ("localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "169.254.169.254"):
            with self.subTest(host=host):
                hook = self.hook("/", url=f"https://{host}:{port}/private")
                tested = self.server.api("POST", self.path_of(hook, "/test"), expect=200).data
                self.assertEqual((tested["delivered"], tested["answer_status"]), (False, None))
                self.assertIn("not allowed", tested["error"])
        hook = self.hook("/private", events=["device.created"])
        self.create("private-1")
        tried = self.until(lambda: self.deliveries(hook), lambda d: d and d[0]["error"])
        self.assertIn("not allowed", tried[0]["error"])
        self.assertEqual(self.receiver.of("/private"), [])


del HookCase, ServerCase

if __name__ == "__main__":
    unittest.main()
