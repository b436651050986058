"""What devices tell of themselves, from their sockets to what people read of it: health, places, log lines, names in other networks, connections; how long it is kept."""

import asyncio
import contextlib
import datetime
import json
import subprocess
import tempfile
import time
import unittest
import urllib.parse
from pathlib import Path

import msgpack

import geodb
from nhtest import DEADLINE, Device, Server, ServerCase, nh1_headers, program, run

ALL = {name: "0.0.1" for name in ("geo", "health", "local_shell", "logging", "network_identity")}
REPORT = {"timestamp": "1999-01-01T00:00:00Z", "metadata": {"board": "7"}, "alarms": {"Elixir.Fan.Stuck": "does not turn"}, "checks": {"disk": {"pass": True}},
          "metrics": {"cpu_temp": 48.25, "cpu_usage_percent": 85, "mem used_percent": "12.5", "eth0_bytes_sent_total": "123456789", "odd": "x"}}


class TelemetryCase(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = cls.firmware(cls, "1.0.0")
        cls.secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data
        product = cls.server.api("PUT", cls.product_path, {"extensions": {name: True for name in ALL}}, expect=200).data
        assert all(product["extensions"].values()), product

    def socket(self, identifier, vsn="2.0.0"):
        return Device(self.server, headers=nh1_headers(self.secret["key"], self.secret["secret"], identifier), path=f"/device-socket/websocket?vsn={vsn}")

    @contextlib.asynccontextmanager
    async def device(self, identifier, vsn="2.0.0", extensions=ALL):
        """A device that has joined, with its extensions attached as far as they are wanted."""
        async with self.socket(identifier, vsn) as device:
            self.assertEqual((await device.join(self.fw))["status"], "ok")
            device.ref += 1
            ref = str(device.ref)
            await device.socket.send(device.pack([ref, ref, "extensions", "phx_join", extensions]))
            device.wanted = (await device.reply(ref))["response"]
            for name in device.wanted:
                await device.send(f"{name}:attached", {}, topic="extensions", join_ref=ref)
            device.tell = lambda event, payload: device.send(event, payload, topic="extensions", join_ref=ref)
            yield device

    def read(self, identifier, what, expect=200, **query):
        return self.server.api("GET", f"{self.product_path}/devices/{identifier}/{what}?{urllib.parse.urlencode(query)}", expect=expect)

    async def until(self, look, enough=bool):
        """What look() gives once it is enough: rows are written behind the socket's back."""
        deadline = time.monotonic() + DEADLINE
        while not enough(seen := look()):
            self.assertLess(time.monotonic(), deadline, seen)
            await asyncio.sleep(0.01)
        return seen

    def place(self, identifier):
        rows = self.server.sql(f"SELECT c.metadata FROM device_connections c JOIN devices d ON d.id = c.device_id WHERE d.identifier = '{identifier}'")
        return json.loads(rows[0]).get("location") if rows else None


class TestTelemetry(TelemetryCase):
    server_args = ("--geo-resolver", "static:52.5,13.25", "--open-registrations", "true")

    def test_health(self):
        async def run_it():
            async with self.device("h-1") as device:
                self.assertEqual(device.wanted, sorted(ALL))
                self.assertEqual(await device.event("health:check"), {})
                self.assertEqual(self.read("h-1", "health").data["status"], "unknown")
                await device.tell("health:report", {"value": REPORT})
                first = (await self.until(lambda: self.read("h-1", "health").data, lambda h: h["at"]))
                self.assertEqual(first["status"], "warning")
                self.assertEqual(first["status_reasons"], {"warning": {"cpu_usage_percent": {"value": 85, "threshold": 80}}})
                self.assertEqual(first["alarms"], {"Fan.Stuck": "does not turn"})
                self.assertEqual((first["report"], first["metrics"]), (REPORT, REPORT["metrics"]))
                await device.tell("health:report", {"value": {"metrics": {"cpu_usage_percent": 95}}})
                second = await self.until(lambda: self.read("h-1", "health").data, lambda h: h["at"] != first["at"])
                self.assertEqual((second["status"], second["alarms"]), ("unhealthy", {}))
            history = self.read("h-1", "health/history", limit=1).json
            self.assertEqual(([h["at"] for h in history["data"]], history["pagination"]), ([second["at"]], {"page_size": 1, "next": second["at"]}))
            older = self.read("h-1", "health/history", limit=5, before=history["pagination"]["next"]).json
            self.assertEqual(([h["at"] for h in older["data"]], older["pagination"]["next"]), ([first["at"]], None))
            metrics = {(m["key"], m["value"]) for m in self.read("h-1", "metrics").data}
            self.assertEqual(metrics, {("cpu_temp", 48.25), ("cpu_usage_percent", 85), ("memused_percent", 12.5), ("eth0_bytes_sent_total", 123456789), ("cpu_usage_percent", 95)})
            self.assertEqual([m["value"] for m in self.read("h-1", "metrics", key="cpu_usage_percent").data], [85, 95])
            self.assertEqual([m["value"] for m in self.read("h-1", "metrics", key="cpu_usage_percent", **{"from": second["at"]}).data], [95])
            self.assertEqual([m["value"] for m in self.read("h-1", "metrics", key="cpu_usage_percent", to=first["at"]).data], [85])
            listed = self.server.api("GET", f"{self.product_path}/devices?filters[health_status]=unhealthy&filters[metrics_key]=cpu_usage_percent&filters[metrics_operator]=gt"
                                            "&filters[metrics_value]=90&filters[alarm_status]=without", expect=200).data
            self.assertEqual([d["identifier"] for d in listed], ["h-1"])
        asyncio.run(run_it())

    def test_messagepack(self):
        async def run_it():
            async with self.device("h-3", vsn="3.0.0") as device:
                at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
                await device.tell("health:report", {"value": {"timestamp": msgpack.Timestamp.from_datetime(at), "metrics": {"cpu_temp": 50.5, "load_1min": float("nan")}}})
                health = await self.until(lambda: self.read("h-3", "health").data, lambda h: h["at"])
                self.assertEqual((health["metrics"]["cpu_temp"], health["report"]["timestamp"][:19]), (50.5, "2026-01-02T03:04:05"))
                self.assertEqual([m["key"] for m in self.read("h-3", "metrics").data], ["cpu_temp"])
                await device.tell("logging:send", {"level": "debug", "message": "m", "timestamp": msgpack.Timestamp.from_datetime(at), "meta": {}})
                line, = await self.until(lambda: self.read("h-3", "logs").data)
                self.assertEqual(line["at"], "2026-01-02T03:04:05.000000Z")
        asyncio.run(run_it())

    def test_places(self):
        async def run_it():
            async with self.device("g-1") as device:
                await device.event("geo:location:request")
                self.assertEqual(self.place("g-1"), {"latitude": 52.5, "longitude": 13.25, "source": "static"})
                await device.tell("geo:location:update", {"latitude": 91, "longitude": 0})
                await device.tell("geo:location:update", {"latitude": 1.5, "longitude": -2, "accuracy": 30, "source": "gps", "more": 1})
                await self.until(lambda: self.place("g-1"), lambda p: p == {"latitude": 1.5, "longitude": -2, "accuracy": 30, "source": "gps"})
                await device.tell("geo:location:update", {"error_code": "no_fix", "error_description": "indoors"})
                await self.until(lambda: self.place("g-1"), lambda p: p == {"error_code": "no_fix", "error_description": "indoors"})
        asyncio.run(run_it())

    def test_log_lines(self):
        async def run_it():
            async with self.device("l-1") as device:
                for i in range(8):
                    await device.tell("logging:send", {"level": "error" if i == 3 else "info", "message": f"line {i} 100%" if i % 2 else ["line ", [48 + i], "!"],
                                                       "meta": {"time": str(1700000000000000 + i), "module": "M", "pid": 7}})
                await device.tell("logging:send", {"level": "info", "message": "undated"})
                await device.tell("logging:send", {"level": "info", "message": "late", "timestamp": "2023-11-14T22:13:21Z"})
                lines = await self.until(lambda: self.read("l-1", "logs").data, lambda found: len(found) == 9)
                self.assertEqual(lines[0]["message"], "late")
                self.assertEqual(lines[1], {"at": "2023-11-14T22:13:20.000007Z", "level": "info", "message": "line 7 100%", "meta": {"time": "1700000000000007", "module": "M"}})
                self.assertEqual(lines[2]["message"], "line 6!")
            self.assertEqual([line["message"] for line in self.read("l-1", "logs", level="error").data], ["line 3 100%"])
            self.assertEqual([line["message"] for line in self.read("l-1", "logs", search="LINE 5 100%").data], ["line 5 100%"])
            self.assertEqual(len(self.read("l-1", "logs", **{"from": "1700000000000002", "to": "2023-11-14T22:13:20.000004Z"}).data), 3)
            seen, before = [], ""
            while before is not None:
                page = self.read("l-1", "logs", limit=2, before=before).json
                seen += page["data"]
                before = page["pagination"]["next"]
            self.assertEqual(seen, lines)
        asyncio.run(run_it())

    def test_network_identities(self):
        def report(*identities):
            return {"identities": [dict(zip(("service", "identifier", "instance", "details"), i)) for i in identities]}

        async def run_it():
            async with self.device("n-1") as one, self.device("n-2") as two:
                await one.event("network_identity:request")
                await one.tell("network_identity:report", report(("iroh", "ticket-1", "iroh_console", {"relay": "r"}), ("tailscale", "nodekey:1"), ("fax", "5")))
                found = await self.until(lambda: self.read("n-1", "network_identities").data)
                self.assertEqual([(i["service"], i["instance"], i["identifier"], i["details"], i["source"]) for i in found],
                                 [("iroh", "iroh_console", "ticket-1", {"relay": "r"}, "device_reported"), ("tailscale", "default", "nodekey:1", {}, "device_reported")])
                # what another holds stays the other's
                await two.tell("network_identity:report", report(("tailscale", "nodekey:1"), ("tailscale", "nodekey:2", "second")))
                self.assertEqual([i["identifier"] for i in await self.until(lambda: self.read("n-2", "network_identities").data)], ["nodekey:2"])
            # as `nh device iroh-console` asks
            ticket, = self.read("n-1", "network_identities", service="iroh", instance="iroh_console").data
            self.assertEqual((ticket["identifier"], sorted(ticket)), ("ticket-1", ["details", "identifier", "inserted_at", "instance", "last_reported_at", "service", "source", "updated_at"]))
            self.assertEqual(self.read("n-1", "network_identities", service="", instance="default").data[0]["service"], "tailscale")
            self.assertEqual(self.read("n-1", "network_identities", 422, service="fax").json, {"errors": {"detail": "That is not a service this NervesHub knows about."}})
        asyncio.run(run_it())

    def test_iroh_endpoints(self):
        """As `nh device iroh-console` uses them: its own machine is looked for, registered, and found; a device's is claimed by the device."""
        def api(method, path="", body=None, expect=200):
            return self.server.api(method, f"/orgs/acme/iroh_endpoints{path}", body, expect=expect)

        def found(query):
            return [e["identifier"] for e in api("GET", query).data]

        me, nobody = "0f" * 32, {"type": "none", "device_identifier": None, "user_name": None, "user_email": None}
        email = self.server.api("GET", "/users/me", expect=200).data["email"]
        self.assertEqual(found(f"?search={me}"), [])
        made = api("POST", "", {"identifier": me, "user_email": email.upper(), "details": {"os": "x"}}, 201)
        self.assertEqual(made.headers["location"], f"/api/orgs/acme/iroh_endpoints/{me}")
        self.assertEqual((made.data["source"], made.data["instance"], made.data["details"], made.data["last_reported_at"]), ("operator", "default", {"os": "x"}, None))
        self.assertEqual((made.data["owner"]["type"], made.data["owner"]["user_email"]), ("user", email))
        self.assertEqual((found(f"?search=%20{me[:9].upper()}"), found("?search=f0"), found("?search=%25"), api("GET", f"/{me}").data), ([me], [], [], made.data))
        for body, status, errors in (
                ({"identifier": me}, 409, {"detail": "That endpoint id is already registered. If it belongs to one of your devices, it will be claimed the next time that device connects."}),
                ({"identifier": "x", "user_email": "eve@example.com"}, 422, {"detail": "That email address does not belong to a member of this organization."}),
                ({"identifier": "x", "user_email": email}, 422, {"instance": ["has already been taken"]}),
                ({"identifier": "x" * 256}, 422, {"identifier": ["is invalid"]}), ({}, 422, {"identifier": ["can't be blank"]}),
                ({"identifier": "x", "details": []}, 422, {"details": ["is invalid"]}), ({"identifier": "x", "details": {"k": "v" * 4096}}, 422, {"details": ["is invalid"]})):
            self.assertEqual(api("POST", "", body, status).json, {"errors": errors})
        self.assertEqual(api("GET", "?owner=cat", expect=422).json, {"errors": {"detail": "owner must be one of: device, user, none."}})
        self.assertEqual(api("POST", "", {"identifier": "ticket-i", "instance": "spare"}, 201).data["owner"], nobody)
        self.assertEqual((found("?owner=none"), found("?owner=user"), found("?owner=device&search=i-1")), (["ticket-i"], [me], []))

        async def run_it():
            async with self.device("i-1") as device:
                await device.tell("network_identity:report", {"identities": [{"service": "iroh", "instance": "iroh_console", "identifier": "ticket-i"}]})
                mine, = await self.until(lambda: self.read("i-1", "network_identities").data)
                self.assertEqual((mine["identifier"], mine["instance"], mine["source"]), ("ticket-i", "iroh_console", "device_reported"))
        asyncio.run(run_it())
        self.assertEqual((found("?owner=none"), found("?owner=device&search=I-1")), ([], ["ticket-i"]))
        self.assertEqual(api("GET", "/ticket-i").data["owner"], {**nobody, "type": "device", "device_identifier": "i-1"})
        api("DELETE", f"/{me}", expect=204)
        api("DELETE", f"/{me}", expect=404)
        self.server.api("DELETE", f"{self.product_path}/devices/i-1", expect=204)
        api("GET", "/ticket-i", expect=404)

    def test_connections(self):
        async def run_it():
            for _ in range(11):
                async with self.socket("f-1") as device:
                    await device.join(self.fw)
            async with self.socket("f-1") as device:
                await device.join(self.fw)
                await device.send("report_network_interface", {"interface": "wlan0"})
                flapping = lambda: self.server.api("GET", f"{self.product_path}/devices/flapping", expect=200).data
                self.assertEqual(await self.until(flapping, lambda f: f and f[0]["connections"] == 12), [{"identifier": "f-1", "connections": 12}])
                self.assertEqual(self.read("f-1", "connections", limit=1).data[0]["disconnected_at"], None)
            await self.until(lambda: self.read("f-1", "connections", limit=1).data, lambda c: c[0]["disconnected_at"])
            page = self.read("f-1", "connections", limit=5).json
            self.assertEqual(page["data"][0]["network_interface"], "wifi")
            rest = self.read("f-1", "connections", before=page["pagination"]["next"]).json
            self.assertEqual((len(page["data"]), len(rest["data"]), rest["pagination"]["next"]), (5, 7, None))
            begun = [c["established_at"] for c in page["data"] + rest["data"]]
            self.assertEqual(begun, sorted(begun, reverse=True))
        asyncio.run(run_it())

    def test_refused_questions(self):
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": "r-1"}, expect=201)
        for what, query in (("logs", {"limit": "0"}), ("logs", {"limit": "501"}), ("logs", {"before": "x-y"}), ("logs", {"from": "yesterday"}), ("health/history", {"limit": "101"}),
                            ("health/history", {"before": "-1"}), ("metrics", {"to": "1e5"}), ("connections", {"limit": "many"})):
            field, = query
            self.assertEqual(self.read("r-1", what, 422, **query).json, {"errors": {field: ["is invalid"]}}, (what, query))
        for what in ("logs", "health/history", "metrics", "connections", "network_identities"):
            self.assertEqual(self.read("r-1", what).data, [])
        self.read("nobody", "logs", 404)

    def test_roles(self):
        """To read takes the role view, to change manage; a stranger is not told that there is anything."""
        admin, tokens = self.server.token, {}
        for name in ("vera", "eve"):
            self.server.api("POST", "/users/register", {"name": name, "email": f"{name}@example.com", "password": "correct horse battery"}, token="")
            tokens[name] = self.server.login(f"{name}@example.com", "correct horse battery")
        self.server.token = admin
        self.server.api("POST", "/orgs/acme/users", {"email": "vera@example.com", "role": "view"}, expect=201)
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": "p-1"}, expect=201)
        device = f"{self.product_path}/devices/p-1"
        for what in ("health", "health/history", "metrics", "logs", "network_identities", "connections"):
            self.server.api("GET", f"{device}/{what}", token=tokens["vera"], expect=200)
            self.server.api("GET", f"{device}/{what}", token=tokens["eve"], expect=404)
        for path in (f"{self.product_path}/devices/flapping", "/orgs/acme/iroh_endpoints"):
            self.server.api("GET", path, token=tokens["vera"], expect=200)
            self.server.api("GET", path, token=tokens["eve"], expect=404)
        for method, path, body in (("PUT", self.product_path, {"extensions": {"geo": False}}), ("PUT", device, {"extensions": {"geo": False}}),
                                   ("POST", "/orgs/acme/iroh_endpoints", {"identifier": "v"}), ("DELETE", "/orgs/acme/iroh_endpoints/v", None)):
            self.server.api(method, path, body, token=tokens["eve"], expect=404)
            self.server.api(method, path, body, token=tokens["vera"], expect=401)

    def test_switched_off(self):
        """What its owner switches off a device is not asked for, and what it says all the same is not kept."""
        async def run_it():
            self.server.api("POST", f"{self.product_path}/devices", {"identifier": "o-1"}, expect=201)
            shown = self.server.api("PUT", f"{self.product_path}/devices/o-1", {"extensions": {"logging": False}}).data["extensions"]
            self.assertEqual(shown, {**{name: True for name in ALL}, "logging": False})
            async with self.device("o-1") as device:
                self.assertEqual(device.wanted, sorted(set(ALL) - {"logging"}))
                await device.tell("logging:send", {"level": "info", "message": "m", "timestamp": "2023-11-14T22:13:21Z"})
                await device.tell("health:report", {"value": {}})
                await self.until(lambda: self.read("o-1", "health").data, lambda h: h["at"])
                self.assertEqual(self.read("o-1", "logs").data, [])
        asyncio.run(run_it())


class TestRetention(TelemetryCase):
    def test_old_rows_go(self):
        """Aged by hand while the server is down, they go soon after its start; the latest report of a device stays."""
        async def fill():
            async with self.device("t-1") as device:
                for _ in range(3):
                    await device.tell("health:report", {"value": REPORT})
                await device.tell("logging:send", {"level": "info", "message": "m", "timestamp": "2023-11-14T22:13:21Z"})
                await self.until(lambda: self.read("t-1", "logs").data)

        def counts():
            return [int(self.server.sql(f"SELECT COUNT(*) FROM {table}")[0]) for table in ("device_health", "device_metrics", "device_log_lines", "device_connection_history")]

        asyncio.run(fill())
        self.assertEqual(self.server.stop(), 0)
        self.assertEqual(counts(), [3, 12, 1, 1])
        days = 8 * 86400 * 1000000
        self.server.sql(f"UPDATE device_health SET inserted_at = inserted_at - {days}")
        self.server.sql(f"UPDATE device_log_lines SET inserted_at = inserted_at - {days}")
        self.server.sql(f"UPDATE device_connection_history SET disconnected_at = disconnected_at - {days}")
        self.server.extra = ["--connection-days", "7"]
        self.server.start()
        asyncio.run(self.until(counts, lambda found: found == [1, 4, 0, 0]))
        self.assertEqual(self.read("t-1", "health").data["status"], "warning")
        self.assertIn("retention.trimmed what=telemetry rows=4", self.server.log_text())


class TestGeoDatabase(TelemetryCase):
    @classmethod
    def setUpClass(cls):
        cls.files = Path(tempfile.mkdtemp(prefix="nhtest-geo-"))
        cls.addClassCleanup(run, "rm", "-rf", str(cls.files))
        cls.database = geodb.write(cls.files / "city.mmdb", {
            "127.0.0.0/8": {"city": {"names": {"en": "Home"}}, "location": {"latitude": 52.125, "longitude": -13.25, "accuracy_radius": (geodb.UINT16, 20)}},
            "192.0.2.0/24": {"country": {"iso_code": "XX"}},
            "2001:db8::/32": {"location": {"latitude": 1.0, "longitude": 2.0}}})
        cls.server_args = ("--geo-resolver", f"maxmind:{cls.database}")
        super().setUpClass()

    def test_looked_up(self):
        """The database is what its own tools take it for, and devices are where it says."""
        for address, expected in (("127.0.0.1", "52.125000"), ("2001:db8::5", "1.000000")):
            self.assertIn(expected, run("mmdblookup", "--file", str(self.database), "--ip", address, "location", "latitude").stdout)

        async def run_it():
            async with self.device("d-1"):
                self.assertEqual(self.place("d-1"), {"latitude": 52.125, "longitude": -13.25, "accuracy": 20000, "source": "geoip"})
        asyncio.run(run_it())

    def test_unusable_files(self):
        """Nobody finds out in the log next month: the server does not start, and says what to do."""
        broken = self.files / "broken.mmdb"
        broken.write_bytes(self.database.read_bytes()[:-40])
        for setting, words in ((f"maxmind:{self.files}/none.mmdb", ("none.mmdb", "geoipupdate")), (f"maxmind:{broken}", ("broken.mmdb", "GEO_RESOLVER=none")),
                               ("static:91,0", ("91,0", "static:LATITUDE,LONGITUDE")), ("somewhere", ("somewhere", "maxmind:FILE"))):
            with tempfile.TemporaryDirectory() as home:
                ended = subprocess.run([program("nerveshubd"), "--data-dir", home, "--device-port", "0", "--web-port", "0", "--metrics-port", "0", "--geo-resolver", setting],
                                       capture_output=True, text=True, timeout=DEADLINE)
            self.assertEqual(ended.returncode, 1, ended.stderr)
            for word in words:
                self.assertIn(word, ended.stderr.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
