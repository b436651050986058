"""Every route of the User API against the real server: statuses, headers and each field of each answer with its type, in both body forms that clients send."""

import asyncio
import base64
import csv
import io
import json
import re
import unittest
import urllib.parse

import nhtest
from nhtest import Device, ServerCase, pem64

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Bodies(ServerCase):
    """What a request says, however it says it."""

    def make(self, text, status=201, path="", headers=FORM):
        return self.server.api("POST", f"{self.product_path}/devices{path}", text.encode(), headers=headers, expect=status)

    def test_forms_nest(self):
        device = self.make("device[identifier]=form-1&device[tags][]=a&device[tags][]=b&device[description]=two+words%21").data
        self.assertEqual((device["identifier"], device["tags"], device["description"]), ("form-1", ["a", "b"], "two words!"))
        self.assertEqual(self.make("identifier=form-2&tags=a,b").data["tags"], ["a", "b"])

    def test_malformed_forms(self):
        for text in ("a=1&a[b]=2", "a[b]=1&a=2", "a[b][c][d][e][f]=1", "a[b=1&c]d]=2&e[f]g]=3", "a[]=1&a[b]=2", "a=%zz", "a=%ff", "a[][b]=1"):
            with self.subTest(text):
                self.assertIn("detail", self.make(text, 400).json["errors"])

    def test_path_before_body_before_query(self):
        body = json.dumps({"identifier": "of-body", "description": "of body"}).encode()
        kind = {"Content-Type": "application/json"}
        made = self.server.api("POST", f"{self.product_path}/devices/of-path?identifier=of-query&description=q&tags=of-query", body, headers=kind, expect=201).data
        self.assertEqual((made["identifier"], made["description"], made["tags"]), ("of-path", "of body", ["of-query"]))

    def test_method_in_the_body(self):
        self.make("identifier=meth-1")
        changed = self.make("_method=put&description=changed", 201, "/meth-1").data
        self.assertEqual(changed["description"], "changed")
        # a path without any POST of its own
        product = self.server.api("POST", self.product_path, {"_method": "PATCH", "require_unique_firmware_version": False}, expect=200)
        self.assertFalse(product.data["require_unique_firmware_version"])
        self.make("_method=DELETE", 204, "/meth-1")
        self.server.api("GET", f"{self.product_path}/devices/meth-1", expect=404)
        for method in ("GET", "TRACE", "", "put%20"):
            self.server.api("POST", self.product_path, f"_method={method}".encode(), headers=FORM, expect=404)
        self.server.api("POST", f"{self.product_path}?_method=DELETE", b"a=1", headers=FORM, expect=404)
        self.server.api("GET", self.product_path, expect=200)

    def test_head(self):
        whole = self.server.api("GET", "/users/me", expect=200)
        head = self.server.api("HEAD", "/users/me", expect=200)
        self.assertEqual((head.body, head.headers["content-type"], head.headers["content-length"]), (b"", whole.headers["content-type"], str(len(whole.body))))


# What members look like that differ from run to run. Everything else is compared as it is, and no member may be missing or more than expected.
ZONELESS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DECIMAL = re.compile(r"[1-9]\d*")
OFF = {"health": False, "geo": False, "logging": False, "local_shell": False, "network_identity": False}
ON = dict.fromkeys(OFF, True)
NOT_FOUND = {"errors": {"detail": "Resource Not Found or Authorization Insufficient"}}


class Golden(ServerCase):
    """The JSON of each route."""

    server_args = ("--open-registrations", "true")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.devices = f"{cls.product_path}/devices"
        cls.fw = cls.firmware(cls, "1.0.0")
        cls.fw2 = cls.firmware(cls, "1.1.0")

    def same(self, actual, expected, where="data"):
        if isinstance(expected, re.Pattern):
            self.assertIsInstance(actual, str, where)
            self.assertRegex(actual, re.compile(f"(?:{expected.pattern})\\Z"), where)
        elif isinstance(expected, type):
            self.assertIs(type(actual), expected, where)
        elif isinstance(expected, dict):
            self.assertIsInstance(actual, dict, where)
            self.assertEqual(sorted(actual), sorted(expected), where)
            for key, value in expected.items():
                self.same(actual[key], value, f"{where}.{key}")
        elif isinstance(expected, list):
            self.assertIsInstance(actual, list, where)
            self.assertEqual(len(actual), len(expected), f"{where}: {actual}")
            for i, value in enumerate(expected):
                self.same(actual[i], value, f"{where}[{i}]")
        else:
            self.assertEqual((type(actual), actual), (type(expected), expected), where)

    def ask(self, method, path, body=None, status=200, golden=None, location=None, **more):
        """golden: all of "data"; None where there must be no body, or where it is looked at elsewhere."""
        answer = self.server.api(method, path, body, expect=status, **more)
        self.assertEqual(answer.headers.get("cache-control"), "max-age=0, private, must-revalidate")
        self.assertRegex(answer.headers.get("x-request-id", ""), r"^[\x21-\x7e]{20,200}$")
        self.assertEqual(answer.headers.get("location"), location)
        if status == 204:
            self.assertEqual((answer.body, answer.headers.get("content-type")), (b"", None))
        elif answer.body:
            self.assertEqual(answer.headers["content-type"], "application/json; charset=utf-8")
        if golden is not None:
            self.same(answer.json, {**answer.json, "data": golden} if status < 400 else golden)
        return answer

    def refused(self, method, path, body, status, errors):
        self.ask(method, path, body, status, {"errors": errors})

    def undocumented(self, method, path, body, status):
        """Members that are ignored, and so are in no description."""
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"}
        answer = self.server.http(method, "/api" + path, json.dumps(body), headers, port=self.server.web_port)
        self.assertEqual(answer.status, status, answer.body)

    def device(self, name, **changes):
        return {"identifier": name, "description": None, "tags": None, "online": "not_seen", "connection_status": "not_seen", "firmware_metadata": None, "version": "unknown",
                "deployment_group": None, "updates_enabled": True, "updates_blocked_until": None, "org_name": "acme", "product_name": "Thermo Widget", "last_communication": "never",
                "deleted": False, "last_failure": None, "last_failure_at": None, "extensions": ON, **changes}

    def make(self, name, **fields):
        return self.ask("POST", self.devices, {"identifier": name, **fields}, 201, location=f"/api{self.devices}/{name}").data

    # ---- organizations, keys, products ---------------------------------------------------------------------------------

    def test_organizations(self):
        plain = {"name": "org-1", "personal": False, "inserted_at": ZONELESS, "updated_at": ZONELESS}
        whole = {**plain, "role": "admin", "audit_log_days_to_keep": None}
        self.ask("POST", "/orgs", {"name": "org-1"}, 201, plain, location="/api/orgs/org-1")
        self.refused("POST", "/orgs", {"name": "org-1"}, 422, {"name": ["has already been taken"]})
        self.refused("POST", "/orgs", {}, 422, {"name": ["can't be blank"]})
        self.ask("GET", "/orgs/org-1", None, 200, whole)
        self.ask("PUT", "/orgs/org-1", {"audit_log_days_to_keep": 90}, 200, {**whole, "audit_log_days_to_keep": 90})
        for bad in (0, -1, 36501, "7", 1.5, True):
            self.refused("PUT", "/orgs/org-1", {"audit_log_days_to_keep": bad}, 422, {"audit_log_days_to_keep": ["must be a number of days from 1 to 36500, or null"]})
        self.refused("PATCH", "/orgs/org-1", {"name": "acme"}, 422, {"name": ["has already been taken"]})
        self.refused("PATCH", "/orgs/org-1", {"name": ""}, 422, {"name": ["can't be blank"]})
        self.ask("PATCH", "/orgs/org-1", {"name": "org-2", "audit_log_days_to_keep": None}, 200, {**whole, "name": "org-2"})
        self.ask("GET", "/orgs/org-1", None, 404, NOT_FOUND)
        self.ask("POST", "/orgs/org-2/products", {"name": "p"}, 201, location="/api/orgs/org-2/products/p")
        self.ask("POST", "/orgs/org-2/products/p/devices", {"identifier": "in-the-way"}, 201, location="/api/orgs/org-2/products/p/devices/in-the-way")
        self.refused("DELETE", "/orgs/org-2", None, 409, {"devices": ["The organization still has devices (1). Delete or move them first."]})
        self.ask("DELETE", "/orgs/org-2/products/p/devices/in-the-way", None, 204)
        listed = [o for o in self.ask("GET", "/orgs?include=products,nonsense").data if o["name"] == "org-2"]
        self.same(listed, [{**plain, "name": "org-2", "products": [self.product_golden("p")]}])
        self.assertNotIn("products", self.ask("GET", "/orgs").data[0])
        self.ask("DELETE", "/orgs/org-2", None, 204)
        self.ask("GET", "/orgs/org-2/products", None, 404, NOT_FOUND)
        self.ask("POST", "/orgs", {"name": "org-2"}, 201, location="/api/orgs/org-2")

    def test_a_personal_organization_stays(self):
        name = next(o["name"] for o in self.ask("GET", "/orgs").data if o["personal"])
        self.refused("DELETE", f"/orgs/{name}", None, 422, {"detail": "A personal organization ends with its account."})

    def test_keys(self):
        _, public = nhtest.firmware_key(self.home, "golden")
        key = public.read_text().strip()
        golden = {"name": "golden", "key": key, "scheme": "ed25519"}
        self.ask("POST", "/orgs/acme/keys", {"name": " golden ", "key": key}, 201, golden)
        self.ask("GET", "/orgs/acme/keys/golden", None, 200, golden)
        self.same(self.ask("GET", "/orgs/acme/keys").data, [{**golden, "name": "k1", "key": str}, golden])
        self.refused("POST", "/orgs/acme/keys", {"name": "golden", "key": base64.b64encode(bytes(32)).decode()}, 422, {"name": ["has already been taken"]})
        self.refused("POST", "/orgs/acme/keys", {"name": "other", "key": key}, 422, {"key": ["has already been taken"]})
        for bad in (key + "\n", "", "AAAA", base64.b64encode(bytes(33)).decode()):
            self.assertEqual(self.ask("POST", "/orgs/acme/keys", {"name": "bad", "key": bad}, 422).json["errors"]["key"][0][:7], "invalid" if bad else "can't b")
        self.refused("POST", "/orgs/acme/keys", {"name": "bad", "key": key, "scheme": "rot13"}, 422, {"scheme": ["is invalid"]})
        self.refused("DELETE", "/orgs/acme/keys/k1", None, 409, {"firmwares": ["Firmware exists which uses the Signing Key"]})
        self.ask("DELETE", "/orgs/acme/keys/golden", None, 204)
        self.ask("GET", "/orgs/acme/keys/golden", None, 404, NOT_FOUND)

    @staticmethod
    def product_golden(name, **changes):
        return {"name": name, "require_unique_firmware_version": True, "allowed_update_tools": ["fwup"], "allow_unsigned_esp_idf_firmware": False, "extensions": OFF, **changes}

    def test_products(self):
        at = "/orgs/acme/products/A%20%2F%20B"
        self.refused("POST", "/orgs/acme/products", {"name": "A / B"}, 422, {"name": ["is invalid"]})
        at = "/orgs/acme/products/A%20%26%20%C3%A4"
        self.ask("POST", "/orgs/acme/products", {"name": "  A  &  \u00e4 "}, 201, self.product_golden("A & \u00e4"), location="/api" + at)
        self.ask("GET", at, None, 200, self.product_golden("A & \u00e4"))
        self.assertIn(self.product_golden("A & \u00e4"), self.ask("GET", "/orgs/acme/products").data)
        self.refused("POST", "/orgs/acme/products", {"name": "A & \u00e4"}, 422, {"name": ["has already been taken"]})
        changed = self.product_golden("A & \u00e4", require_unique_firmware_version=False, extensions={**OFF, "health": True})
        self.ask("PUT", at, {"require_unique_firmware_version": False, "extensions": {"health": True}}, 200, changed)
        self.ask("PATCH", at, {}, 200, changed)
        self.refused("PUT", at, {"name": "x", "foo": 1}, 422, {"detail": 'These fields cannot be set on a product: "name", "foo". A product cannot be renamed; its name identifies it in every URL.'})
        self.refused("PUT", at, {"product": {"name": "x"}}, 422, {"detail": 'These fields cannot be set on a product: "product". A product cannot be renamed; its name identifies it in every URL.'})
        self.refused("PUT", at, {"allowed_update_tools": ["x", "fwup", "y"]}, 422, {"allowed_update_tools": ["unknown update tool(s): x, y"]})
        self.refused("PUT", at, {"allowed_update_tools": ["esp-idf"]}, 422, {"allowed_update_tools": ["not enabled on this NervesHub instance: esp-idf"]})
        self.ask("DELETE", at, None, 204)
        self.ask("GET", at, None, 404, NOT_FOUND)
        self.ask("POST", "/orgs/acme/products", {"name": "A & \u00e4"}, 201, location="/api" + at)

    def test_shared_secrets(self):
        self.make("secret-1")
        for at, prefix in ((f"{self.product_path}/shared_secrets", "nhp_"), (f"{self.devices}/secret-1/shared_secrets", "nhd_")):
            golden = {"key": re.compile(prefix + r"[A-Za-z0-9+/]{43}"), "inserted_at": STAMP, "deactivated_at": None}
            made = self.ask("POST", at, None, 201, {**golden, "secret": re.compile(r"[A-Za-z0-9+/]{43}")}).data
            self.same(self.ask("GET", at).data, [golden])
            for status in (204, 404):
                self.ask("DELETE", f"{at}/{urllib.parse.quote(made['key'], safe='')}", None, status)
            self.same(self.ask("GET", at).data, [{**golden, "deactivated_at": STAMP}])
            self.ask("DELETE", f"{at}/{prefix}none", None, 404, NOT_FOUND)

    def test_certificate_authorities(self):
        at, token = "/orgs/acme/ca_certificates", "/orgs/acme/ca_certificates/verification_token"
        opaque = {"verification_token": re.compile(r"[A-Za-z0-9_.-]+"), "verification_code": re.compile(r"[0-9A-Fa-f]+")}
        value = self.ask("GET", token, None, 200, opaque).data["verification_token"]
        cert, other = self.pki.ca("shown"), self.pki.ca("not-shown")
        body = {"cert": pem64(cert), "verification_cert": pem64(self.pki.verification("shown", value)), "description": "line 1"}
        golden = {"serial": DECIMAL, "not_before": STAMP, "not_after": STAMP, "description": "line 1", "jitp": None}
        made = self.server.api("POST", at, body, expect=201)
        self.same(made.data, {**golden, **{k: v for k, v in made.data.items() if k not in golden}})
        serial = made.data["serial"]
        self.assertEqual(made.headers["location"], f"/api{at}/{serial}")
        self.assertIn(made.data, self.ask("GET", at).data)
        self.ask("GET", f"{at}/{serial}", None, 200, made.data)
        self.assertEqual(list(self.ask("POST", at, body, 422).json["errors"].values()), [["has already been taken"]])
        missing = {"detail": "The CA certificate or verification certificate is missing"}
        for left_out in ("cert", "verification_cert"):
            self.refused("POST", at, {k: v for k, v in body.items() if k != left_out}, 422, missing)
        self.refused("POST", at, {**body, "cert": "%%%"}, 400, {"detail": "An unknown error occurred, please check the request."})
        self.refused("POST", at, {**body, "cert": base64.b64encode(b"x").decode()}, 422, {"detail": "Error decoding certificate"})
        self.refused("POST", at, {**body, "cert": pem64(other)}, 422, {"detail": "CA Certificate ownership verification failed"})
        self.ask("DELETE", f"{at}/{serial}", None, 204)
        self.ask("GET", f"{at}/{serial}", None, 404, NOT_FOUND)
        self.ask("DELETE", f"{at}/{serial}", None, 404, NOT_FOUND)

    def test_members(self):
        ann = {"name": "Ann", "email": "Ann@example.com", "role": "view"}
        self.server.api("POST", "/users/register", {"name": "Ann", "email": "Ann@example.com", "password": "correct horse battery"}, token="", expect=201)
        self.ask("POST", "/orgs/acme/users", {"email": "ann@example.com", "role": "view"}, 201, ann, location="/api/orgs/acme/users/Ann@example.com")
        self.refused("POST", "/orgs/acme/users/invite", {"email": "ann@example.com", "role": "view"}, 422, {"org_users": ["is already member"]})
        self.refused("POST", "/orgs/acme/users/invite", {"email": "ann@example.com", "role": "write"}, 422, {"role": ["is invalid"]})
        for incomplete in ({"email": "ann@example.com"}, {"role": "view"}, {}):
            self.refused("POST", "/orgs/acme/users", incomplete, 400, {"detail": "An unknown error occurred, please check the request."})
        self.assertIn(ann, self.ask("GET", "/orgs/acme/users").data)
        self.ask("GET", "/orgs/acme/users/ann@example.com", None, 200, ann)
        self.ask("PUT", "/orgs/acme/users/Ann@example.com", {"role": "manage"}, 200, {**ann, "role": "manage"})
        self.ask("PUT", "/orgs/acme/users/Ann@example.com", {}, 400)
        self.refused("PUT", "/orgs/acme/users/Ann@example.com", {"role": "boss"}, 422, {"role": ["is invalid"]})
        self.assertIn("detail", self.ask("DELETE", "/orgs/acme/users/admin@localhost", None, 422).json["errors"])
        self.ask("DELETE", "/orgs/acme/users/Ann@example.com", None, 204)
        self.ask("GET", "/orgs/acme/users/Ann@example.com", None, 404, NOT_FOUND)

    # ---- devices --------------------------------------------------------------------------------------------------------

    def test_devices(self):
        at = f"{self.devices}/dev-1"
        self.ask("POST", self.devices, {"identifier": "dev-1", "description": "d", "tags": "b, a,"}, 201, self.device("dev-1", description="d", tags=["b", "a"]), location="/api" + at)
        self.refused("POST", self.devices, {"identifier": "dev-1"}, 422, {"identifier": ["has already been taken"]})
        self.refused("POST", self.devices, {}, 422, {"identifier": ["can't be blank"]})
        self.refused("POST", self.devices, {"identifier": "x", "tags": ["a b"]}, 422, {"tags": ["tags cannot contain spaces"]})
        self.refused("POST", self.devices, {"identifier": "x", "tags": 5}, 422, {"tags": ["is invalid"]})
        golden = self.device("dev-1", description="e", tags=["b", "a"], updates_enabled=False)
        self.ask("PUT", at, {"description": "e", "updates_enabled": False, "identifier": "ignored"}, 201, golden)
        self.undocumented("PUT", at, {"org_id": 1, "product_id": 1, "deleted_at": None, "nonsense": []}, 201)
        blocked = {**golden, "updates_blocked_until": "2040-01-02T03:04:05Z"}
        self.ask("PUT", at, {"updates_blocked_until": "2040-01-02T03:04:05Z"}, 201, blocked)
        self.ask("PUT", at, {"description": "e"}, 201, blocked)
        for bad in (5, "soon", "", "1969-01-01T00:00:00Z"):
            self.refused("PUT", at, {"updates_blocked_until": bad}, 422, {"updates_blocked_until": ["is invalid"]})
        self.ask("PUT", at, {"updates_blocked_until": None}, 201, golden)
        self.ask("GET", at, None, 200, golden)
        self.ask("GET", "/devices/dev-1", None, 200, golden)
        # as nh sends it
        self.ask("POST", f"{self.devices}/dev-2", {"device": {"identifier": "dev-2", "tags": "q"}}, 201, self.device("dev-2", tags=["q"]), location=f"/api{self.devices}/dev-2")
        self.ask("PUT", f"{self.devices}/dev-2", {"device": {"description": "n", "extensions": {"geo": False}}}, 201,
                 self.device("dev-2", tags=["q"], description="n", extensions={**ON, "geo": False}))
        self.ask("GET", f"{self.devices}/none", None, 404, NOT_FOUND)
        page = self.ask("GET", f"{self.devices}?filters%5Bidentifier%5D=dev-&pagination%5Bpage_size%5D=1&pagination%5Bpage%5D=2").json
        self.same(page["data"], [self.device("dev-2", tags=["q"], description="n", extensions={**ON, "geo": False})])
        self.same({k: v for k, v in page["pagination"].items() if k != "next"}, {"page_number": 2, "page_size": 1, "total_entries": 2, "total_pages": 2})
        for bad in ("pagination%5Bpage%5D=0", "pagination%5Bpage%5D=x"):
            self.assertEqual(self.ask("GET", f"{self.devices}?{bad}", None, 422).json["errors"]["pagination"], ["is invalid"])
        self.ask("GET", f"{self.devices}?sort=nonsense", None, 400)

    def test_deleted_devices(self):
        at = f"{self.devices}/back-1"
        self.make("back-1", tags=["t"])
        secret = self.ask("POST", f"{at}/shared_secrets", None, 201).data["key"]
        self.ask("POST", f"{at}/restore", None, 404, NOT_FOUND)
        self.ask("DELETE", f"{at}/destroy", None, 404, NOT_FOUND)
        count = self.ask("GET", f"{self.product_path}/insights").data["devices"]
        self.ask("DELETE", at, None, 204)
        self.ask("DELETE", at, None, 404, NOT_FOUND)
        self.assertEqual(self.ask("GET", f"{self.product_path}/insights").data["devices"], count - 1)
        self.ask("POST", f"{at}/restore", None, 200, self.device("back-1", tags=["t"]))
        self.assertEqual(self.ask("GET", f"{self.product_path}/insights").data["devices"], count)
        self.same(self.ask("GET", f"{at}/shared_secrets").data, [{"key": secret, "inserted_at": STAMP, "deactivated_at": STAMP}])
        self.ask("DELETE", at, None, 204)
        self.make("back-1")
        self.refused("POST", f"{at}/restore", None, 422, {"identifier": ["has already been taken"]})
        self.ask("DELETE", f"{at}/destroy", None, 204)
        self.ask("DELETE", f"{at}/destroy", None, 404, NOT_FOUND)
        self.ask("GET", at, None, 200, self.device("back-1"))

    def test_actions(self):
        self.make("act-1")
        long, short = f"{self.devices}/act-1", "/devices/act-1"
        for action in ("reboot", "reconnect"):
            self.ask("POST", f"{long}/{action}", None, 204)
            self.ask("POST", f"{short}/{action}", {}, 204)
        self.ask("POST", f"{long}/identify", None, 204)
        for at in (long, short):
            self.ask("DELETE", f"{at}/penalty", None, 204)
            self.refused("POST", f"{at}/upgrade", {}, 400, {"detail": "Invalid request"})
            self.ask("POST", f"{at}/upgrade", {"uuid": "12345678-1234-1234-1234-123456789abc"}, 404, NOT_FOUND)
            self.refused("POST", f"{at}/code", {}, 400, {"detail": "invalid request: code or body parameter required"})
            self.refused("POST", f"{at}/code", {"code": "x" * 16385}, 422, {"code": ["should be at most 16384 byte(s)"]})
            self.ask("POST", f"{at}/code", {"body": "1 + 1"}, 204)
            self.refused("POST", f"{at}/move", {"new_org_name": "acme"}, 400, {"detail": "Invalid request"})
            self.ask("POST", f"{at}/move?new_org_name=nowhere&new_product_name=x", None, 404, NOT_FOUND)
            self.ask("POST", f"{at}/move?new_org_name=acme&new_product_name=none", None, 404, NOT_FOUND)
        self.ask("POST", f"{long}/upgrade", {"uuid": self.fw["uuid"]}, 204)
        self.assertIn("in flight", self.ask("POST", f"{short}/upgrade", {"uuid": self.fw["uuid"]}, 409).json["errors"]["detail"])
        self.assertFalse(self.ask("GET", long).data["updates_enabled"])
        self.ask("POST", "/orgs/acme/products", {"name": "target"}, 201, location="/api/orgs/acme/products/target")
        self.ask("POST", f"{short}/move", {"new_org_name": "acme", "new_product_name": "target"}, 200, self.device("act-1", product_name="target", updates_enabled=False))
        self.ask("GET", long, None, 404, NOT_FOUND)

    def test_code_is_typed(self):
        """Each character as people count them is a keystroke of its own, and Enter follows."""
        self.make("typed-1")
        self.register_ca("typists")
        cert, key = self.pki.device("typed-1", "typists")
        text = "IO.puts \"a\u0308\U0001f468\u200d\U0001f469\"\n\u4e2d"
        typed = [*"IO.puts \"", "a\u0308", "\U0001f468\u200d\U0001f469", '"', "\n", "\u4e2d", "\r"]

        async def scenario():
            async with Device(self.server, cert, key) as device:
                await device.join(self.fw)
                ref = await device.send("phx_join", {"console_version": "2.0.0"}, topic="console", join_ref="7")
                self.assertEqual((await device.reply(ref))["status"], "ok")
                loop = asyncio.get_running_loop()
                for at, name in ((f"{self.devices}/typed-1", "code"), ("/devices/typed-1", "body")):
                    await loop.run_in_executor(None, lambda: self.ask("POST", f"{at}/code", {name: text}, 204))
                    self.assertEqual([(await device.event("dn"))["data"] for _ in typed], typed)

        asyncio.run(scenario())

    def test_certificates(self):
        self.make("cert-1")
        at = f"{self.devices}/cert-1/certificates"
        self.pki.ca("golden-ca")
        cert, _ = self.pki.device("cert-1", "golden-ca")
        golden = {"serial": DECIMAL, "not_before": STAMP, "not_after": STAMP}
        made = self.server.api("POST", at, {"cert": pem64(cert)}, expect=201)
        self.same(made.data, golden)
        self.assertEqual(made.headers["location"], f"/api{at}/{made.data['serial']}")
        self.same(self.ask("GET", at).data, [golden])
        self.ask("GET", f"{at}/{made.data['serial']}", None, 200, made.data)
        self.refused("POST", at, {}, 400, {"detail": "Invalid request"})
        self.refused("POST", at, {"cert": "%%%"}, 400, {"detail": "An unknown error occurred, please check the request."})
        self.refused("POST", at, {"cert": base64.b64encode(b"nothing").decode()}, 422, {"detail": "Error decoding certificate"})
        self.assertEqual(self.ask("POST", at, {"cert": pem64(cert)}, 422).json["errors"].popitem()[1], ["has already been taken"])
        self.ask("POST", f"{self.devices}/auth", {"certificate": pem64(cert)}, 200, self.device("cert-1"))
        self.ask("POST", f"{self.devices}/auth", {"certificate": "%%%"}, 403, {"status": "Unauthorized"})
        self.refused("POST", f"{self.devices}/auth", {}, 400, {"detail": "Invalid request"})
        self.ask("DELETE", f"{at}/{made.data['serial']}", None, 204)
        self.ask("GET", f"{at}/{made.data['serial']}", None, 404, NOT_FOUND)
        self.ask("DELETE", f"{at}/{made.data['serial']}", None, 404, NOT_FOUND)

    def test_network_identities(self):
        self.make("net-1")
        at, endpoint = f"{self.devices}/net-1/network_identities", "ab" * 32
        golden = {"identifier": "fd00::1", "service": "wireguard", "instance": "default", "source": "operator", "details": {"a": 1}, "last_reported_at": None, "inserted_at": ZONELESS,
                  "updated_at": ZONELESS}
        self.ask("POST", at, {"service": "wireguard", "identifier": "fd00::1", "details": {"a": 1}}, 201, golden)
        self.ask("GET", f"{at}?service=wireguard&instance=default", None, 200, [golden])
        self.ask("GET", f"{at}?service=iroh&instance=", None, 200, [])
        self.refused("GET", f"{at}?service=carrier-pigeon", None, 422, {"detail": "That is not a service this NervesHub knows about."})
        for field, bad in (("service", {"service": "x"}), ("identifier", {"identifier": ""}), ("instance", {"instance": 5}), ("details", {"details": []}),
                           ("details", {"details": {"x": "y" * 5000}})):
            self.refused("POST", at, {"service": "wireguard", "identifier": "fd00::2", **bad}, 422, {field: ["is invalid"]})
        self.refused("POST", at, {"service": "wireguard", "identifier": "fd00::2"}, 422, {"instance": ["has already been taken"]})
        self.refused("POST", at, {"service": "wireguard", "identifier": "fd00::1", "instance": "b"}, 409, {"identifier": ["has already been taken"]})
        self.ask("DELETE", f"{at}/wireguard/fd00::1", None, 204)
        self.ask("DELETE", f"{at}/wireguard/fd00::1", None, 404, NOT_FOUND)
        iroh = {**golden, "identifier": endpoint, "service": "iroh", "details": {},
                "owner": {"type": "none", "device_identifier": None, "user_name": None, "user_email": None}}
        self.ask("POST", "/orgs/acme/iroh_endpoints", {"identifier": endpoint}, 201, iroh, location=f"/api/orgs/acme/iroh_endpoints/{endpoint}")
        self.ask("GET", f"/orgs/acme/iroh_endpoints/{endpoint}", None, 200, iroh)
        self.ask("GET", "/orgs/acme/iroh_endpoints?owner=none&search=ABAB", None, 200, [iroh])
        self.refused("GET", "/orgs/acme/iroh_endpoints?owner=cat", None, 422, {"detail": "owner must be one of: device, user, none."})
        self.ask("POST", "/orgs/acme/iroh_endpoints", {"identifier": endpoint}, 409)
        self.refused("POST", "/orgs/acme/iroh_endpoints", {"identifier": "cd", "user_email": "x@example.com"}, 422,
                     {"detail": "That email address does not belong to a member of this organization."})
        self.ask("DELETE", f"/orgs/acme/iroh_endpoints/{endpoint}", None, 204)
        self.ask("GET", f"/orgs/acme/iroh_endpoints/{endpoint}", None, 404, NOT_FOUND)

    # ---- firmware, archives, deployment groups, scripts ----------------------------------------------------------------

    def test_files(self):
        golden = {"uuid": UUID, "version": "2.0.0", "platform": "fixture_board", "architecture": "aarch64", "author": "tests", "product": "Thermo Widget", "description": None,
                  "vcs_identifier": None, "misc": None, "inserted_at": ZONELESS, "updated_at": ZONELESS}
        path = nhtest.make_firmware(self.home, "2.0.0", self.key_private)
        for kind, extra in (("firmware", {"tool": "fwup"}), ("archive", {"size": int})):
            at = f"{self.product_path}/{kind}s"
            made = self.server.upload("acme", "Thermo%20Widget", path, kind=kind)
            self.same(made.data, {**golden, **extra})
            self.assertEqual(made.headers["location"], f"/api{at}/{made.data['uuid']}")
            self.ask("GET", f"{at}/{made.data['uuid']}", None, 200, made.data)
            self.assertIn(made.data, self.ask("GET", at).data)
            file = self.server.api("GET", f"{at}/{made.data['uuid']}/download", expect=200)
            self.assertEqual((file.body, file.headers["content-length"]), (path.read_bytes(), str(path.stat().st_size)))
            self.server.upload("acme", "Thermo%20Widget", path, kind=kind, expect=422)
            self.ask("DELETE", f"{at}/{made.data['uuid']}", None, 204)
            self.ask("GET", f"{at}/{made.data['uuid']}", None, 404, NOT_FOUND)
        versions = [f["version"] for f in self.ask("GET", f"{self.product_path}/firmwares").data]
        self.assertEqual(versions, sorted(versions, reverse=True))

    def test_deployments(self):
        at = f"{self.product_path}/deployments"
        release = lambda number, fw: {"number": number, "firmware": {"version": fw["version"], "architecture": "aarch64", "platform": "fixture_board", "uuid": fw["uuid"]},
                                      "inserted_at": ZONELESS, "updated_at": ZONELESS}
        golden = {"name": "g 1", "is_active": False, "state": "off", "firmware_uuid": self.fw["uuid"], "current_release": release(1, self.fw), "archive_uuid": None,
                  "conditions": {"version": "", "tags": [], "tag_operator": "and"}, "delta_updatable": True, "delta_wait_minutes": 10, "device_count": 0, "releases_count": 1, "notes": None}
        self.ask("POST", at, {"name": "g 1", "firmware": self.fw["uuid"]}, 201, golden, location=f"/api{at}/g%201")
        self.ask("GET", f"{at}/g%201", None, 200, golden)
        self.same(self.ask("GET", at).data, [golden])
        self.refused("PUT", f"{at}/g%201", {"state": "on"}, 400, {"detail": "Invalid request"})
        on = {**golden, "is_active": True, "state": "on", "conditions": {"version": "~> 1.0", "tags": ["a"], "tag_operator": "or"}}
        self.ask("PUT", f"{at}/g%201", {"deployment": {"state": "ON", "conditions": {"version": "~> 1.0", "tags": "a", "tag_operator": "or"}}}, 200, on)
        both = self.ask("PUT", f"{at}/g%201", {"deployment": {"firmware": self.fw2["uuid"], "state": "off"}}, 200).data
        self.same(both, {**on, "is_active": False, "state": "off", "firmware_uuid": self.fw2["uuid"], "current_release": release(2, self.fw2), "releases_count": int})
        self.refused("PUT", f"{at}/g%201", {"deployment": {"conditions": {"version": "nope"}}}, 422, {"conditions": {"version": ["must be valid Elixir version requirement string"]}})
        self.assertEqual(sorted(self.ask("POST", at, {}, 422).json["errors"]), ["firmware", "name"])
        self.refused("DELETE", f"{self.product_path}/firmwares/{self.fw2['uuid']}", None, 422, {"deployment_releases": ["Firmware has associated deployment releases"]})
        self.assertEqual([e["resource_kind"] for e in self.ask("GET", f"{at}/g%201/audit_logs").data if e["resource_kind"] != "group"], [])
        self.assertIn(b"created deployment group g 1", self.server.api("GET", f"{at}/g%201/audit_logs/export", expect=200).body)
        self.ask("DELETE", f"{at}/g%201", None, 204)
        self.ask("GET", f"{at}/g%201", None, 404, NOT_FOUND)
        self.ask("GET", f"{at}/g%201/audit_logs", None, 404, NOT_FOUND)

    def test_scripts(self):
        at = f"{self.product_path}/scripts"
        row = {"id": int, "name": "uptime", "tags": ["ops"]}
        golden = {**row, "text": "1 + 1", "inserted_at": ZONELESS, "updated_at": ZONELESS, "created_by": {"id": int, "name": str, "email": "admin@localhost"}}
        made = self.ask("POST", at, {"name": "uptime", "text": "1 + 1", "tags": "ops"}, 200, golden).data
        self.ask("GET", f"{at}/{made['id']}", None, 200, made)
        self.ask("PUT", f"{at}/{made['id']}", {"text": "2"}, 200, {**golden, "text": "2"})
        self.same(self.ask("GET", at).json, {"data": [row], "pagination": {"page_number": 1, "page_size": 25, "total_entries": 1, "total_pages": 1}})
        self.make("run-1")
        self.ask("GET", f"{self.devices}/run-1/scripts", None, 200, [row])
        self.ask("GET", "/devices/run-1/scripts", None, 200, [row])
        for device in (f"{self.devices}/run-1", "/devices/run-1"):
            self.refused("POST", f"{device}/scripts/uptime", None, 403, {"detail": "device not available or responding"})
            self.ask("POST", f"{device}/scripts/none", None, 404, NOT_FOUND)
            self.ask("POST", f"{device}/scripts/uptime?timeout=soon", None, 400)
        self.ask("GET", f"{at}/x", None, 404, NOT_FOUND)
        self.ask("PUT", f"{at}/x", {}, 400)
        self.ask("DELETE", f"{at}/x", None, 400)
        self.ask("DELETE", f"{at}/{made['id']}", None, 204)
        self.ask("DELETE", f"{at}/{made['id']}", None, 404, NOT_FOUND)

    # ---- what people look after a fleet with ---------------------------------------------------------------------------

    def test_audit_logs(self):
        self.make("aud-1")
        for _ in range(3):
            self.ask("POST", f"{self.devices}/aud-1/reboot", None, 204)
        entry = {"id": int, "at": MOMENT, "actor_kind": "user", "actor_name": str, "resource_kind": "device", "resource_id": int, "description": str}
        at = f"{self.devices}/aud-1/audit_logs"
        first = self.ask("GET", f"{at}?limit=3").json
        self.same(first, {"data": [entry] * 3, "pagination": {"page_size": 3, "next": DECIMAL}})
        rest = self.ask("GET", f"{at}?limit=3&before={first['pagination']['next']}").json
        self.same(rest, {"data": [entry], "pagination": {"page_size": 3, "next": None}})
        self.assertIn("created device aud-1", rest["data"][0]["description"])
        ids = [e["id"] for e in first["data"] + rest["data"]]
        self.assertEqual(ids, sorted(ids, reverse=True))
        for field in ("limit", "before"):
            for bad in ("0", "x", "-1"):
                self.refused("GET", f"{at}?{field}={bad}", None, 422, {field: ["is invalid"]})
        whole = self.ask("GET", "/orgs/acme/audit_logs?limit=500").data
        self.assertLessEqual(set(ids), {e["id"] for e in whole})
        self.assertEqual({e["resource_kind"] for e in self.ask("GET", f"{self.product_path}/audit_logs").data}, {"product"})
        for path in ("/orgs/acme", self.product_path, f"{self.devices}/aud-1"):
            lines = self.server.api("GET", f"{path}/audit_logs/export", expect=200)
            self.assertEqual(lines.headers["content-type"], "text/csv; charset=utf-8")
            self.assertRegex(lines.headers["content-disposition"], r"^attachment; filename\*=UTF-8''\S+-audit-logs\.csv$")
            rows = list(csv.DictReader(io.StringIO(lines.body.decode(), newline="")))
            again = self.ask("GET", f"{path}/audit_logs/export?format=json").data
            self.assertEqual([{k: json.loads(v) for k, v in row.items()} for row in rows], again)
            self.assertTrue(again)
        self.assertEqual(self.ask("GET", f"{self.devices}/aud-1/audit_logs/export?format=json&before={ids[0]}").data[0]["id"], ids[1])
        self.refused("GET", f"{at}/export?format=xml", None, 422, {"format": ["must be csv or json"]})

    def test_insights(self):
        self.ask("POST", "/orgs/acme/products", {"name": "counted"}, 201, location="/api/orgs/acme/products/counted")
        at = "/orgs/acme/products/counted"
        self.ask("GET", f"{at}/insights", None, 200, {"devices": 0, "connections": {"connected": 0, "disconnected": 0, "not_seen": 0}, "firmware": []})
        for i in range(3):
            self.ask("POST", f"{at}/devices", {"identifier": f"counted-{i}"}, 201, location=f"/api{at}/devices/counted-{i}")
        self.ask("DELETE", f"{at}/devices/counted-2", None, 204)
        self.ask("GET", f"{at}/insights", None, 200, {"devices": 2, "connections": {"connected": 0, "disconnected": 0, "not_seen": 2},
                                                      "firmware": [{"version": None, "platform": None, "architecture": None, "devices": 2}]})

    def test_insights_of_who_came(self):
        self.make("came-1")
        self.register_ca("comers")
        cert, key = self.pki.device("came-1", "comers")
        figures = lambda: self.ask("GET", f"{self.product_path}/insights").data
        before = figures()

        async def scenario():
            async with Device(self.server, cert, key) as device:
                await device.join(self.fw)
                return await asyncio.get_running_loop().run_in_executor(None, figures)

        during = asyncio.run(scenario())
        self.assertEqual(during["connections"]["connected"], before["connections"]["connected"] + 1)
        self.assertEqual(during["connections"]["not_seen"], before["connections"]["not_seen"] - 1)
        self.assertIn({"version": "1.0.0", "platform": "fixture_board", "architecture": "aarch64", "devices": int(1)},
                      [{**f, "devices": 1} for f in during["firmware"]])

    def test_notifications(self):
        at = f"{self.product_path}/notifications"
        self.ask("DELETE", at, None, 204)
        self.make("mute-1")
        self.register_ca("mutes")
        cert, key = self.pki.device("mute-1", "mutes")

        async def scenario():
            async with Device(self.server, cert, key) as device:
                ref = await device.send("phx_join", {}, join_ref="1")
                self.assertEqual((await device.reply(ref))["status"], "ok")

        asyncio.run(scenario())
        asyncio.run(scenario())
        golden = {"id": int, "level": "warning", "event_key": re.compile(r"missing_firmware_metadata-\d+"), "title": str, "message": re.compile(r"Device mute-1 .*"),
                  "metadata": {"identifier": "mute-1"}, "occurrence_count": 2, "last_occurred_at": MOMENT, "inserted_at": MOMENT}
        self.same(self.ask("GET", at).data, [golden])
        self.ask("DELETE", at, None, 204)
        self.ask("GET", at, None, 200, [])

    def test_notification_of_a_taken_identifier(self):
        self.ask("POST", "/orgs/acme/products", {"name": "second"}, 201, location="/api/orgs/acme/products/second")
        self.make("twin-1")
        secret = self.ask("POST", "/orgs/acme/products/second/shared_secrets", None, 201).data

        async def scenario():
            with self.assertRaises(nhtest.websockets.exceptions.InvalidStatusCode):
                async with Device(self.server, headers=nhtest.nh1_headers(secret["key"], secret["secret"], "twin-1")):
                    pass

        asyncio.run(scenario())
        found = self.ask("GET", "/orgs/acme/products/second/notifications").data
        self.assertEqual([(n["level"], n["event_key"].partition("-")[0], n["metadata"]) for n in found], [("warning", "duplicate_device_identifier", {"identifier": "twin-1"})])

    def test_pins(self):
        self.make("pin-1")
        for _ in range(2):
            self.ask("PUT", f"{self.devices}/pin-1/pin", None, 204)
        self.ask("GET", "/users/me/pins", None, 200, [self.device("pin-1")])
        self.ask("DELETE", f"{self.devices}/pin-1/pin", None, 204)
        self.ask("GET", "/users/me/pins", None, 200, [])
        self.ask("PUT", f"{self.devices}/pin-1/pin", None, 204)
        self.ask("DELETE", f"{self.devices}/pin-1", None, 204)
        self.ask("GET", "/users/me/pins", None, 200, [])

    def test_search_box(self):
        self.make("Needle-1")
        self.ask("POST", f"{self.product_path}/deployments", {"name": "needles", "firmware": self.fw["uuid"]}, 201, location=f"/api{self.product_path}/deployments/needles")
        place = {"org_name": "acme", "product_name": "Thermo Widget"}
        golden = {"devices": [{"identifier": "Needle-1", **place}], "deployments": [{"name": "needles", **place}], "firmwares": []}
        for at in ("", "/orgs/acme", self.product_path):
            self.ask("GET", f"{at}/search?q=nEEDLe", None, 200, golden)
            found = self.ask("GET", f"{at}/search?q={self.fw['uuid'][:13]}").data["firmwares"]
            self.same(found, [{"uuid": self.fw["uuid"], **place, "version": "1.0.0", "platform": "fixture_board", "architecture": "aarch64"}])
            self.refused("GET", f"{at}/search", None, 400, {"detail": "invalid request: q parameter required"})
            self.refused("GET", f"{at}/search?q=n", None, 422, {"q": ["should be at least 2 character(s)"]})
            self.ask("GET", f"{at}/search?q=%25_", None, 200, {"devices": [], "deployments": [], "firmwares": []})
        self.ask("DELETE", f"{self.product_path}/deployments/needles", None, 204)

    # ---- many devices at once -------------------------------------------------------------------------------------------

    def test_bulk(self):
        at = f"{self.devices}/bulk"
        names = [f"bulk-{i:03}" for i in range(120)]
        for name in names:
            self.make(name)
        act = lambda golden, **body: self.ask("POST", at, body, 200, golden)
        missing = {"identifier": "bulk-none", "reason": "no such device"}
        act({"done": 2, "failed": [missing]}, action="set_tags", tags=["x"], identifiers=["bulk-000", "bulk-none", "bulk-001"])
        self.assertEqual(self.ask("GET", f"{self.devices}/bulk-001").data["tags"], ["x"])
        act({"done": 120, "failed": []}, action="disable_updates", filters={"identifier": "BULK-"})
        self.assertEqual(self.ask("GET", f"{self.devices}?filters%5Bidentifier%5D=bulk-&filters%5Bupdates%5D=disabled").json["pagination"]["total_entries"], 120)
        act({"done": 2, "failed": []}, action="enable_updates", query='tags contains "x"')
        act({"done": 120, "failed": []}, action="clear_penalty", filters={"identifier": "bulk-"})
        self.assertEqual(len(self.ask("GET", f"{self.devices}/bulk-119/audit_logs").data), 4)  # made, settings, updates, penalty
        for action in ("reboot", "reconnect"):
            act({"done": 1, "failed": []}, action=action, identifiers=["bulk-000"])
        self.ask("POST", f"{self.product_path}/deployments", {"name": "bulk", "firmware": self.fw["uuid"]}, 201, location=f"/api{self.product_path}/deployments/bulk")
        act({"done": 1, "failed": []}, action="set_deployment", deployment="bulk", identifiers=["bulk-000"])
        self.assertEqual(self.ask("GET", f"{self.devices}/bulk-000").data["deployment_group"]["name"], "bulk")
        act({"done": 1, "failed": []}, action="clear_deployment", identifiers=["bulk-000"])
        self.assertIsNone(self.ask("GET", f"{self.devices}/bulk-000").data["deployment_group"])
        self.ask("DELETE", f"{self.product_path}/deployments/bulk", None, 204)
        act({"done": 1, "failed": [{"identifier": "bulk-000", "reason": str}]}, action="upgrade", uuid=self.fw["uuid"], identifiers=["bulk-000", "bulk-000"])
        self.ask("POST", "/orgs/acme/products", {"name": "heap"}, 201, location="/api/orgs/acme/products/heap")
        act({"done": 3, "failed": []}, action="move", new_org_name="acme", new_product_name="heap", identifiers=names[:3])
        self.ask("GET", "/orgs/acme/products/heap/devices/bulk-002", None, 200)
        act({"done": 117, "failed": []}, action="delete", filters={"identifier": "bulk-"})
        self.ask("GET", f"{self.devices}/bulk-119", None, 404)

    def test_bulk_refusals(self):
        at = f"{self.devices}/bulk"
        which = "either these, or filters and query must say which devices are meant"
        for body, errors in (
                ({}, {"action": ["can't be blank"]}), ({"action": "explode"}, {"action": ["is invalid"]}), ({"action": "reboot"}, {"identifiers": [which]}),
                ({"action": "reboot", "identifiers": ["a"], "filters": {}}, {"identifiers": [which]}),
                ({"action": "reboot", "identifiers": []}, {"identifiers": ["must be a list of 1 to 1000 identifiers"]}),
                ({"action": "reboot", "identifiers": [1]}, {"identifiers": ["is invalid"]}),
                ({"action": "set_tags", "identifiers": ["a"]}, {"tags": ["can't be blank"]}),
                ({"action": "move", "identifiers": ["a"], "new_org_name": "acme"}, {"new_product_name": ["can't be blank"]}),
                ({"action": "reboot", "filters": {"identifer": "typo"}}, {"filters": ["may only name filters that are known, each with a text"]}),
                ({"action": "reboot", "filters": {"identifier": ""}}, {"filters": ["may only name filters that are known, each with a text"]})):
            self.refused("POST", at, body, 422, errors)
        self.assertIn("query", self.ask("POST", at, {"action": "reboot", "query": "identifier like"}, 422).json["errors"])


if __name__ == "__main__":
    unittest.main()
