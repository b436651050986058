"""Everything people can change through the API leaves an entry in the audit log of the organization it concerns. The routes come from the server's own document: one that is new needs a line here, of
the story that is told below or of the exceptions with their reasons."""

import re
import unittest

from nhtest import ServerCase, make_firmware, pem64, totp
from test_roles import key_of, routes_of

O, P, D, S = "/orgs/{}", "/orgs/{}/products/{}", "/orgs/{}/products/{}/devices/{}", "/devices/{}"
ME = "/users/me"

# Routes without an entry, and why; or where another test sees it, since it takes more than one request.
EXCEPTIONS = {
    "changes nothing": [f"POST {P}/devices/auth", f"POST {P}/deployments/{{}}/plan", "POST /auth/cli_session"],
    "is a person's own view": [f"PUT {D}/pin", f"DELETE {D}/pin"],
    "belongs to no organization until somebody is its member": ["POST /users/register"],
    "begins what only confirming makes true": [f"POST {ME}/second_factor"],
    "same rule by another path, without the organization": [f"{m} {S}/{w}" for m, w in (("POST", "code"), ("POST", "scripts/{}"), ("POST", "reboot"), ("POST", "reconnect"), ("POST", "upgrade"),
                                                                                         ("POST", "move"), ("DELETE", "penalty"))] + ["POST /users/auth", f"POST {O}/users/invite"],
    "needs a certificate authority; test_authority": ["POST /users/sign", f"POST {ME}/certificates", f"POST {ME}/certificates/renewal", f"DELETE {ME}/certificates/{{}}",
                                                      "DELETE /authority/certificates/{}", f"POST {O}/authority/certificates", f"DELETE {O}/authority/certificates/{{}}",
                                                      f"POST {D}/certificates/sign"],
    "needs a mail server; hub_own_account": [f"DELETE {O}/invites/{{}}"],
    "needs a browser's session; hub_accounts": [f"DELETE {ME}/sessions/{{}}"],
    "needs a device that is there; test_devices, test_scripts": [f"POST {D}/code", f"POST {D}/scripts/{{}}", f"POST {D}/upgrade/available"],
    "sends what was owed anyway": [f"POST {O}/webhooks/{{}}/test", f"POST {O}/webhooks/{{}}/retry_dead", f"POST {O}/webhooks/{{}}/deliveries/{{}}/retry"],
    "needs deltas that are built; test_deltas": [f"POST {P}/firmwares/{{}}/deltas", f"POST {P}/firmwares/{{}}/deltas/{{}}/retry", f"DELETE {P}/firmwares/{{}}/deltas/{{}}"],
    "needs a rollout under way; test_rollouts": [f"PUT {P}/deployments/{{}}/rollout/plan", *(f"POST {P}/deployments/{{}}/rollout/{w}" for w in ("pause", "resume", "approve", "skip", "rollback"))],
    "is done in the background, an entry for each device": [f"POST {P}/deployments/{{}}/membership/{{}}"],
}


class AuditEntries(ServerCase):
    server_args = ("--open-registrations", "true")
    maxDiff = None

    def entries(self):
        """Numbers and texts of what is new in acme's log."""
        found = self.server.api("GET", f"/orgs/{self.org}/audit_logs?limit=50", expect=200).data
        new = [e["description"] for e in found if e["id"] > self.newest]
        self.newest = max([e["id"] for e in found], default=0)
        return new

    def tell(self, method, path, body=None, words="", token=None, expect=(200, 201, 202, 204), headers=None):
        """One request, and the entry it has to leave."""
        answer = self.server.api(method, path, body, token=token, headers=headers)
        self.assertIn(answer.status, expect, f"{method} {path}: {answer.body[:300]}")
        self.told.add((method, path))
        new = self.entries()
        self.assertTrue(any(words in text for text in new), f"{method} {path}: {new} and not {words!r}")
        return answer

    def test_every_route(self):
        self.newest, self.told, self.routes = 0, set(), routes_of(self.server)
        password = (self.server.data_dir / "admin-password").read_text().strip()
        self.entries()
        self.tell_of_organization()
        self.tell_of_product()
        self.tell_of_devices()
        self.tell_of_files()
        self.tell_of_account(password)
        self.tell_of_ends()
        told = {key_of(m, "/api" + self.template(m, p)) for m, p in self.told}
        excused = {route for routes in EXCEPTIONS.values() for route in routes}
        changing = {key_of(m, p) for m, p, _ in self.routes if m != "GET"}
        self.assertEqual(sorted(changing - told - excused), [], "no entry was seen of these")
        self.assertEqual(sorted(excused - changing), [], "exceptions of routes that do not exist")
        self.assertEqual(sorted(excused & told), [], "exceptions that are none")

    def template(self, method, path):
        """The document's path that the request went to; the key of a shared secret may hold slashes."""
        candidates = [p.removeprefix("/api") for m, p, _ in self.routes if m == method]
        fits = [p for p in candidates if re.fullmatch(re.sub(r"{\w+}", "[^/]+", p.replace("{key}", ".+")), path)]
        return min(fits, key=lambda p: (p.count("{"), -p.count("/")))

    def tell_of_organization(self):
        self.server.api("POST", "/users/register", {"name": "Bea", "email": "bea@example.com", "password": "correct horse battery"}, token="", expect=201)
        self.tell("POST", "/orgs/acme/users", {"email": "bea@example.com", "role": "view"}, "made Bea (bea@example.com) a member with the role view")
        self.bea = self.tell("POST", "/users/login", {"email": "bea@example.com", "password": "correct horse battery"}, "Bea signed in and got API token", token="").data["token"]
        self.tell("PUT", "/orgs/acme/users/bea@example.com", {"role": "manage"}, "from view to manage")
        self.tell("POST", "/orgs/acme/leave", None, "Bea (bea@example.com) left", token=self.bea)
        self.server.api("POST", "/orgs/acme/users", {"email": "bea@example.com", "role": "view"}, expect=201)
        self.tell("DELETE", "/orgs/acme/users/bea@example.com", None, "removed Bea")
        for method in ("PUT", "PATCH"):
            self.tell(method, "/orgs/acme", {"audit_log_days_to_keep": 90}, "changed the settings of organization acme")
        self.tell("POST", "/orgs/acme/keys", {"name": "k2", "key": "A" * 43 + "="}, "registered signing key k2")
        self.tell("DELETE", "/orgs/acme/keys/k2", None, "deleted signing key k2")
        cert = self.pki.ca("one")
        token = self.server.api("GET", "/orgs/acme/ca_certificates/verification_token", expect=200).data["verification_token"]
        ca = self.tell("POST", "/orgs/acme/ca_certificates", {"cert": pem64(cert), "verification_cert": pem64(self.pki.verification("one", token))}, "registered CA certificate").data["serial"]
        self.tell("PUT", f"/orgs/acme/ca_certificates/{ca}", {"description": "first"}, "changed CA certificate")
        self.tell("DELETE", f"/orgs/acme/ca_certificates/{ca}", None, "deleted CA certificate")
        self.tell("POST", "/orgs/acme/iroh_endpoints", {"identifier": "ab" * 32}, "registered the iroh endpoint")
        self.tell("DELETE", f"/orgs/acme/iroh_endpoints/{'ab' * 32}", None, "removed the iroh endpoint")
        hook = self.tell("POST", "/orgs/acme/webhooks", {"url": "https://example.com/hook", "events": ["device.online"]}, "webhook").data["id"]
        for method in ("PUT", "PATCH"):
            self.tell(method, f"/orgs/acme/webhooks/{hook}", {"url": "https://example.com/other"}, "webhook")
        self.tell("POST", f"/orgs/acme/webhooks/{hook}/secret", None, "webhook")
        self.tell("DELETE", f"/orgs/acme/webhooks/{hook}", None, "webhook")

    def tell_of_product(self):
        self.tell("POST", "/orgs/acme/products", {"name": "second"}, "created product second")
        for method in ("PUT", "PATCH"):
            self.tell(method, "/orgs/acme/products/second", {"extensions": {"health": False}}, "changed the settings of product second")
        p = self.product_path
        secret = self.tell("POST", f"{p}/shared_secrets", None, "made shared secret").data["key"]
        self.tell("DELETE", f"{p}/shared_secrets/{secret}", None, "switched off shared secret")
        self.tell("DELETE", f"{p}/notifications", None, "dismissed the notifications")
        script = self.tell("POST", f"{p}/scripts", {"name": "s", "text": "1"}, "support script").data["id"]
        self.tell("PUT", f"{p}/scripts/{script}", {"text": "2"}, "support script")
        self.tell("DELETE", f"{p}/scripts/{script}", None, "support script")

    def tell_of_devices(self):
        p = self.product_path
        self.tell("POST", f"{p}/devices", {"identifier": "d-1"}, "created device d-1")
        self.tell("POST", f"{p}/devices/d-2", {}, "created device d-2")
        d = f"{p}/devices/d-1"
        self.tell("PUT", d, {"tags": ["a"]}, "changed the settings of device d-1")
        self.tell("POST", f"{p}/devices/import", b"identifier,description,tags\r\nd-3,,\r\n", "created device d-3", headers={"Content-Type": "text/csv"})
        self.tell("POST", f"{p}/devices/bulk", {"action": "disable_updates", "identifiers": ["d-1", "d-2"]}, "disabled updates of device d-2")
        for word in ("reboot", "reconnect", "identify"):
            self.tell("POST", f"{d}/{word}", None, f"asked device d-1 to {word}")
        self.tell("DELETE", f"{d}/penalty", None, "penalty box")
        secret = self.tell("POST", f"{d}/shared_secrets", None, "made shared secret").data["key"]
        self.tell("DELETE", f"{d}/shared_secrets/{secret}", None, "switched off shared secret")
        self.tell("POST", f"{d}/network_identities", {"service": "tailscale", "identifier": "100.64.0.1"}, "the tailscale identity")
        self.tell("DELETE", f"{d}/network_identities/tailscale/100.64.0.1", None, "took the tailscale identity")
        self.pki.ca("two")
        cert = self.pki.device("d-1", "two")
        serial = self.tell("POST", f"{d}/certificates", {"cert": pem64(cert if not isinstance(cert, tuple) else cert[0])}, "added certificate").data["serial"]
        self.tell("DELETE", f"{d}/certificates/{serial}", None, "deleted certificate")
        self.tell("POST", f"{p}/devices/d-3/move", {"new_org_name": "acme", "new_product_name": "second"}, "moved device d-3")
        self.tell("DELETE", d, None, "deleted device d-1")
        self.tell("POST", f"{d}/restore", None, "restored device d-1")
        self.server.api("DELETE", f"{p}/devices/d-2", expect=204)
        self.tell("DELETE", f"{p}/devices/d-2/destroy", None, "destroyed device d-2")

    def tell_of_files(self):
        p = self.product_path
        one, two = self.firmware("1.0.0"), self.firmware("2.0.0")
        self.assertTrue(any("uploaded firmware 2.0.0" in text for text in self.entries()))
        self.told.add(("POST", f"{p}/firmwares"))
        self.tell("POST", f"{p}/deployments", {"name": "g", "firmware": one["uuid"], "conditions": {"version": "", "tags": []}, "is_active": False}, "created deployment group g")
        self.tell("PUT", f"{p}/deployments/g", {"deployment": {"conditions": {"tags": ["x"]}}}, "edited deployment group g")
        self.tell("DELETE", f"{p}/deployments/g", None, "deleted deployment group g")
        self.tell("DELETE", f"{p}/firmwares/{two['uuid']}", None, "deleted firmware")
        archive = self.server.upload("acme", "Thermo%20Widget", make_firmware(self.home, "1.0.0", self.key_private), kind="archive").data
        self.assertTrue(any("uploaded archive" in text for text in self.entries()))
        self.told.add(("POST", f"{p}/archives"))
        self.tell("DELETE", f"{p}/archives/{archive['uuid']}", None, "deleted archive")
        self.tell_of_upgrade(one)

    def tell_of_upgrade(self, firmware):
        d = f"{self.product_path}/devices/d-1"
        self.server.sql("UPDATE devices SET firmware_platform = 'fixture_board', firmware_architecture = 'aarch64' WHERE identifier = 'd-1'")
        self.tell("POST", f"{d}/upgrade", {"uuid": firmware["uuid"]}, "pushed firmware")

    def tell_of_account(self, password):
        again = {"current_password": password}
        self.tell("PUT", ME, {**again, "name": "Root"}, "renamed themselves to Root")
        self.tell("POST", f"{ME}/tokens", {**again, "note": "ci"}, "(ci)")
        made = next(t for t in self.server.api("GET", f"{ME}/tokens", expect=200).data if t["note"] == "ci")
        self.tell("DELETE", f"{ME}/tokens/{made['id']}", None, "revoked API token")
        self.tell("DELETE", f"{ME}/sessions", None, "ended all sessions")
        begun = self.server.api("POST", f"{ME}/second_factor", again).data
        self.tell("PUT", f"{ME}/second_factor", {"otp": totp(begun["secret"])}, "switched their second factor on")
        self.tell("POST", f"{ME}/recovery_codes", again, "made new recovery codes")
        self.tell("DELETE", f"{ME}/second_factor", again, "switched their second factor off")
        self.tell("PUT", f"{ME}/password", {**again, "password": "another horse battery"}, "changed their password")

    def tell_of_ends(self):
        self.tell("DELETE", f"{self.product_path}/devices/d-1", None, "deleted device")
        self.server.api("DELETE", "/orgs/acme/products/second/devices/d-3", expect=204)
        self.tell("DELETE", "/orgs/acme/products/second", None, "deleted product second")
        self.server.api("POST", "/orgs/acme/users", {"email": "bea@example.com", "role": "view"}, expect=201)
        self.tell("DELETE", ME, {"current_password": "correct horse battery"}, "Bea deleted their account", token=self.bea)
        self.server.api("POST", "/orgs", {"name": "brief"}, expect=201)
        org = int(self.server.sql("SELECT id FROM orgs WHERE name = 'brief'")[0])
        self.server.api("DELETE", "/orgs/brief", expect=204)
        texts = self.server.sql(f"SELECT description FROM audit_logs WHERE org_id = {org} ORDER BY id")
        self.assertEqual([text.split(" ", 1)[1] for text in texts], ["created organization brief", "deleted organization brief"])
        self.told |= {("POST", "/orgs"), ("DELETE", "/orgs/brief")}


if __name__ == "__main__":
    unittest.main()
