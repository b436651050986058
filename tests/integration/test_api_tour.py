"""A tour through the routes of the User API that no other journey passes: each is asked once for what it does. What the answers look like is judged against the OpenAPI document
(NH_OPENAPI, openapi.py), which also notices a route that nobody passes at all; here is looked at what came of it."""

import json
import shutil
import ssl
import tempfile
import unittest

import browser
import nhtest


class Tour(nhtest.ServerCase):
    server_args = ("--open-registrations", "true")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.devices = f"{cls.product_path}/devices"

    def ask(self, method, path, body=None, expect=200, **kwargs):
        return self.server.api(method, path, body, expect=expect, **kwargs)

    def gone(self, path):
        """Deletes it and finds it no more."""
        self.ask("DELETE", path, expect=204)
        self.ask("GET", path, expect=404)

    def device(self, name, **fields):
        return self.ask("POST", self.devices, {"identifier": name, **fields}, 201).data

    def test_health_checks(self):
        for path in ("/status/alive", "/status/_health", "/status/health", "/status/healthy"):
            answer = self.server.http("GET", path)
            self.assertEqual((answer.status, answer.body), (200, b"Hello, Friend!"))

    def test_signing_in(self):
        password = (self.server.data_dir / "admin-password").read_text().strip()
        token = self.ask("POST", "/users/auth", {"email": "admin@localhost", "password": password, "note": None}, token="").data["token"]
        self.assertEqual(self.ask("GET", "/users/me", token=token).data["email"], "admin@localhost")
        session = self.ask("POST", "/auth/cli_session", {"note": "tour"}, token="").data
        self.assertIn(session["confirmation_code"], range(100000, 1000000))
        self.assertEqual(self.ask("GET", f"/auth/cli_session/{session['token']}", token="").data, {"status": "waiting"})

    def test_members(self):
        for path, email in (("/orgs/acme/users", "ann@example.com"), ("/orgs/acme/users/invite", "bob@example.com")):
            self.register(email)
            self.assertEqual(self.ask("POST", path, {"email": email, "role": "view"}, 201).data["role"], "view")
        self.assertEqual({m["email"] for m in self.ask("GET", "/orgs/acme/users").data} & {"ann@example.com", "bob@example.com"}, {"ann@example.com", "bob@example.com"})
        self.assertEqual(self.ask("PUT", "/orgs/acme/users/ann@example.com", {"role": "manage"}).data["role"], "manage")
        self.assertEqual(self.ask("GET", "/orgs/acme/users/ann@example.com").data["role"], "manage")
        self.gone("/orgs/acme/users/ann@example.com")

    def register(self, email):
        self.ask("POST", "/users/register", {"name": email.partition("@")[0], "email": email, "password": "correct horse battery"}, 201, token="")

    def test_keys(self):
        _, public = nhtest.firmware_key(self.home, "second")
        made = self.ask("POST", "/orgs/acme/keys", {"name": "second", "key": public.read_text().strip(), "scheme": "ed25519"}, 201).data
        self.assertIn(made, self.ask("GET", "/orgs/acme/keys").data)
        self.assertEqual(self.ask("GET", "/orgs/acme/keys/second").data, made)
        self.gone("/orgs/acme/keys/second")

    def test_device_cas(self):
        made = self.register_ca("tour-ca", description="of the tour", tags=["jitp"], product_name=self.product)
        path = f"/orgs/acme/ca_certificates/{made['serial']}"
        self.assertIn(made, self.ask("GET", "/orgs/acme/ca_certificates").data)
        self.assertEqual(self.ask("GET", path).data, made)
        self.assertEqual(made["jitp"]["tags"], ["jitp"])
        self.gone(path)

    def test_products(self):
        path = "/orgs/acme/products/second"
        made = self.ask("POST", "/orgs/acme/products", {"name": "second"}, 201).data
        self.assertEqual(self.ask("GET", path).data, made)
        self.assertIn(made, self.ask("GET", "/orgs/acme/products").data)
        self.assertIn(made, next(org for org in self.ask("GET", "/orgs?include=products").data if org["name"] == "acme")["products"])
        self.assertIs(self.ask("PUT", path, {"require_unique_firmware_version": False, "allowed_update_tools": ["fwup"]}).data["require_unique_firmware_version"], False)
        self.assertIs(self.ask("PATCH", path, {"extensions": {"geo": True}}).data["extensions"]["geo"], True)
        self.gone(path)

    def test_shared_secrets(self):
        path = f"{self.product_path}/shared_secrets"
        made = self.ask("POST", path, expect=201).data
        self.assertIn("secret", made)
        self.ask("DELETE", f"{path}/{made['key']}", expect=204)
        shown = next(secret for secret in self.ask("GET", path).data if secret["key"] == made["key"])
        self.assertIsNotNone(shown["deactivated_at"])
        self.assertNotIn("secret", shown)

    def test_files(self):
        fw = self.firmware("1.0.0")
        path = f"{self.product_path}/firmwares/{fw['uuid']}"
        self.assertEqual(self.ask("GET", path).data, fw)
        whole = self.ask("GET", f"{path}/download").body
        self.assertEqual(whole[:4], b"PK\x03\x04")
        self.assertEqual(self.ask("GET", f"{path}/download", headers={"Range": "bytes=0-3"}, expect=206).body, whole[:4])
        self.ask("GET", f"{path}/download", headers={"Range": f"bytes={len(whole)}-"}, expect=416)
        self.ask("GET", f"{path}/download", headers={"If-None-Match": self.ask("GET", f"{path}/download").headers["etag"]}, expect=304)
        self.gone(path)
        archive = self.server.upload("acme", "Thermo%20Widget", nhtest.make_firmware(self.home, "7.0.0", self.key_private), kind="archive").data
        self.assertIn(archive, self.ask("GET", f"{self.product_path}/archives").data)
        self.assertEqual(self.ask("GET", f"{self.product_path}/archives/{archive['uuid']}").data, archive)
        self.gone(f"{self.product_path}/archives/{archive['uuid']}")

    def test_deployment_groups(self):
        fw = self.firmware("2.0.0")
        body = {"name": "all", "firmware": fw["uuid"], "conditions": {"version": "< 2.0.0", "tags": "a,b", "tag_operator": "or"}, "state": "on", "delta_updatable": False}
        made = self.ask("POST", f"{self.product_path}/deployments", body, 201).data
        self.assertIn(made, self.ask("GET", f"{self.product_path}/deployments").data)
        self.assertEqual(self.ask("GET", f"{self.product_path}/deployments/all").data, made)
        change = {"concurrent_updates": 3, "queue_management": "LIFO", "release_network_interfaces": ["wifi"], "release_tags": ["x"], "notes": None,
                  "priority_queue_enabled": True, "priority_queue_firmware_version_threshold": "1.0.0", "device_failure_rate_seconds": 60, "conditions": {"version": None}}
        self.assertEqual(self.ask("PUT", f"{self.product_path}/deployments/all", {"deployment": change}).data["conditions"]["version"], "")
        self.assertIn(b"created deployment group all", self.ask("GET", f"{self.product_path}/deployments/all/audit_logs/export").body)
        nested = self.ask("POST", f"{self.product_path}/deployments", {"deployment": {"name": "none", "firmware": fw["uuid"]}}, 201).data
        self.assertEqual(nested["state"], "off")
        self.gone(f"{self.product_path}/deployments/none")

    def test_devices(self):
        made = self.ask("POST", f"{self.devices}/named", {"device": {"identifier": "named", "tags": "a,b"}}, 201).data
        self.assertEqual((made["identifier"], made["tags"]), ("named", ["a", "b"]))
        changed = self.ask("PUT", f"{self.devices}/named", {"device": {"description": "d", "custom_location_coordinates": [8.5, 47.4]}}, 201).data
        self.assertEqual(changed["description"], "d")
        self.assertEqual(self.ask("GET", "/devices/named").data, changed)
        self.assertEqual([d["identifier"] for d in self.ask("GET", f"{self.devices}?filters[tags]=a&sort=identifier&sort_direction=desc&pagination[page_size]=5").data], ["named"])
        for path in (f"{self.devices}/named", "/devices/named"):
            for action in ("reboot", "reconnect"):
                self.ask("POST", f"{path}/{action}", expect=204)
            self.ask("DELETE", f"{path}/penalty", expect=204)
        self.ask("POST", f"{self.devices}/named/identify", expect=204)

    def test_upgrade(self):
        fw = self.firmware("3.0.0")
        for name, path in (("up1", f"{self.devices}/up1"), ("up2", "/devices/up2")):
            self.device(name)
            self.ask("POST", f"{path}/upgrade", {"uuid": fw["uuid"]}, 204)
            self.assertIs(self.ask("GET", f"/devices/{name}").data["updates_enabled"], False)

    def test_move(self):
        self.ask("POST", "/orgs/acme/products", {"name": "elsewhere"}, 201)
        for name, path in (("mv1", f"{self.devices}/mv1"), ("mv2", "/devices/mv2")):
            self.device(name)
            moved = self.ask("POST", f"{path}/move?new_org_name=acme&new_product_name=elsewhere").data
            self.assertEqual(moved["product_name"], "elsewhere")

    def test_device_certificates(self):
        self.device("holder")
        self.pki.ca("tour-device-ca")
        cert, _ = self.pki.device("holder", "tour-device-ca")
        made = self.ask("POST", f"{self.devices}/holder/certificates", {"cert": nhtest.pem64(cert)}, 201).data
        self.assertEqual(self.ask("GET", f"{self.devices}/holder/certificates").data, [made])
        self.assertEqual(self.ask("GET", f"{self.devices}/holder/certificates/{made['serial']}").data, made)
        self.assertEqual(self.ask("POST", f"{self.devices}/auth", {"certificate": nhtest.pem64(cert)}).data["identifier"], "holder")
        self.gone(f"{self.devices}/holder/certificates/{made['serial']}")
        self.assertEqual(self.ask("POST", f"{self.devices}/auth", {"certificate": nhtest.pem64(cert)}, 403).json, {"status": "Unauthorized"})

    def test_scripts(self):
        made = self.ask("POST", f"{self.product_path}/scripts", {"name": "uptime", "text": "1 + 1", "tags": ["t"]}).data
        path = f"{self.product_path}/scripts/{made['id']}"
        self.assertEqual(self.ask("PUT", path, {"text": "2 + 2", "tags": None}).data["text"], "2 + 2")
        self.assertEqual(self.ask("GET", path).data["name"], "uptime")
        self.assertEqual([s["id"] for s in self.ask("GET", f"{self.product_path}/scripts?filters[name]=upt&pagination[page]=1").data], [made["id"]])
        as_nh = self.ask("GET", path, headers={"User-Agent": "nh/0.1.2"}).data
        self.assertEqual(as_nh["id"], str(made["id"]))
        self.gone(path)


class Invitations(nhtest.ServerCase):
    """Where the server can send mails, a stranger is invited."""

    @classmethod
    def setUpClass(cls):
        cls.mails = tempfile.mkdtemp(prefix="nhtest-mails-")
        cls.server_args = ("--mail-folder", cls.mails)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.mails, ignore_errors=True)

    ask = Tour.ask

    def test_invitations(self):
        self.ask("POST", "/orgs/acme/users/invite", {"email": "new@example.com", "role": "manage"}, 204)
        invited = next(one for one in self.ask("GET", "/orgs/acme/invites").data if one["email"] == "new@example.com")
        self.ask("DELETE", f"/orgs/acme/invites/{invited['id']}", expect=204)
        self.assertEqual([one for one in self.ask("GET", "/orgs/acme/invites").data if one["email"] == "new@example.com"], [])


PASSWORD = "correct horse battery"


class OwnAccount(nhtest.ServerCase):
    """What people do with their own account, and with certificates that the server's authority issues."""

    server_args = ("--open-registrations", "true", "--ca-key", "auto")
    ask = Tour.ask

    def somebody(self, name):
        email = f"{name}@example.com"
        self.ask("POST", "/users/register", {"name": name, "email": email, "password": PASSWORD}, 201, token="")
        return email, self.ask("POST", "/users/login", {"email": email, "password": PASSWORD}, token="").data["token"]

    def test_tokens(self):
        _, token = self.somebody("tokens")
        made = self.ask("POST", "/users/me/tokens", {"note": "second", "current_password": PASSWORD}, 201, token=token).data["token"]
        second = next(one for one in self.ask("GET", "/users/me/tokens", token=made).data if one["note"] == "second")
        self.ask("DELETE", f"/users/me/tokens/{second['id']}", expect=204, token=token)
        self.ask("GET", "/users/me", token=made, expect=401)

    def test_sessions(self):
        email, token = self.somebody("sessions")
        for _ in range(2):
            browser.Browser(self.server).login(email, PASSWORD)
        first, second = self.ask("GET", "/users/me/sessions", token=token).data
        self.ask("DELETE", f"/users/me/sessions/{first['id']}", expect=204, token=token)
        self.assertEqual(self.ask("GET", "/users/me/sessions", token=token).data, [second])
        self.ask("DELETE", "/users/me/sessions", expect=204, token=token)
        self.assertEqual(self.ask("GET", "/users/me/sessions", token=token).data, [])

    def test_second_factor(self):
        email, token = self.somebody("factor")
        path, current = "/users/me/second_factor", {"current_password": PASSWORD}
        self.assertEqual(self.ask("GET", path, token=token).data, {"enabled": False, "recovery_codes_left": 0})
        secret = self.ask("POST", path, current, 201, token=token).data["secret"]
        self.ask("PUT", path, {"otp": "000000" if nhtest.totp(secret) != "000000" else "000001"}, 422, token=token)
        codes = self.ask("PUT", path, {"otp": nhtest.totp(secret)}, token=token).data["recovery_codes"]
        self.assertEqual(self.ask("GET", path, token=token).data, {"enabled": True, "recovery_codes_left": len(codes)})
        self.ask("POST", "/users/login", {"email": email, "password": PASSWORD}, 401, token="")
        self.ask("POST", "/users/login", {"email": email, "password": PASSWORD, "otp": codes[0]}, token="")
        fresh = self.ask("POST", "/users/me/recovery_codes", current, 201, token=token).data["recovery_codes"]
        self.assertFalse(set(codes) & set(fresh))
        self.ask("DELETE", path, current, 204, token=token)
        self.assertIs(self.ask("GET", path, token=token).data["enabled"], False)

    def test_name_and_password(self):
        email, token = self.somebody("changes")
        self.assertEqual(self.ask("PUT", "/users/me", {"name": "Changed"}, token=token).data, {"name": "Changed", "email": email, "pending_email": None})
        self.ask("PUT", "/users/me/password", {"password": "another horse battery", "current_password": PASSWORD}, 204, token=token)
        token = self.ask("POST", "/users/login", {"email": email, "password": "another horse battery"}, token="").data["token"]
        self.ask("DELETE", "/users/me", {"current_password": "another horse battery"}, 204, token=token)
        self.ask("GET", "/users/me", token=token, expect=401)

    def request(self, name):
        """A request for a certificate, in base64."""
        nhtest.run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.home / f"{name}.key", "-subj", f"/O={name}",
                   "-out", self.home / f"{name}.csr")
        return nhtest.pem64(self.home / f"{name}.csr")

    def test_certificates(self):
        email, _ = self.somebody("certified")
        pem = self.ask("POST", "/users/sign", {"csr": self.request("first"), "email": email, "password": PASSWORD, "description": "laptop"}, token="").data["cert"]
        (self.home / "first.crt").write_text(pem)
        tls = ssl.create_default_context(cafile=str(self.server.ca_file))
        tls.load_cert_chain(self.home / "first.crt", self.home / "first.key")
        self.assertEqual(json.loads(self.server.http("GET", "/api/users/me", tls=tls).body)["data"]["email"], email)
        body = json.dumps({"csr": self.request("second")}).encode()
        answer = self.server.http("POST", "/api/users/me/certificates/renewal", body, {"Content-Type": "application/json"}, tls=tls)
        self.assertEqual(answer.status, 201, answer.body)
        serial = answer.data["serial"]
        self.assertIn(serial, [one["serial"] for one in self.ask("GET", "/authority/certificates").data])
        self.assertIsNone(self.ask("GET", f"/authority/certificates/{serial}").data["revoked_at"])
        self.ask("DELETE", f"/authority/certificates/{serial}", expect=204)
        self.assertIsNotNone(self.ask("GET", f"/authority/certificates/{serial}").data["revoked_at"])


if __name__ == "__main__":
    unittest.main()
