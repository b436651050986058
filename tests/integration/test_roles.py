"""Who may what: every route that the server has, asked by every role, by a stranger and by nobody. The routes come from the server itself, what is expected of them from the table below, which was
written from the reference: a route that is missing there, or that asks for another role, fails."""

import re
import unittest

import nhtest

ORDER = {"view": 1, "manage": 2, "admin": 3}

# Least role by method and path; the words of a path that a route names are in braces. source: reference/user-api-and-cli "6"; reference/server-behaviour "9.1"
O, P, D, S = "/orgs/{}", "/orgs/{}/products/{}", "/orgs/{}/products/{}/devices/{}", "/devices/{}"
ROLES = {
    "view": [
        f"GET {O}", f"POST {O}/leave", f"GET {O}/certificates/expiring", f"GET {O}/authority/certificates", f"GET {O}/authority/certificates/{{}}", f"GET {O}/audit_logs", f"GET {O}/audit_logs/export", f"GET {O}/audit_logs/anchors", f"GET {O}/audit_logs/key", f"GET {O}/search",
        f"GET {O}/keys", f"GET {O}/keys/{{}}", f"GET {O}/iroh_endpoints", f"GET {O}/iroh_endpoints/{{}}",
        f"GET {O}/ca_certificates", f"GET {O}/ca_certificates/{{}}", f"GET {O}/ca_certificates/verification_token",
        f"GET {O}/products", f"GET {P}", f"GET {P}/insights", f"GET {P}/notifications", f"GET {P}/audit_logs", f"GET {P}/audit_logs/export", f"GET {P}/search",
        f"GET {P}/firmwares", f"GET {P}/firmwares/{{}}", f"GET {P}/firmwares/{{}}/deltas", f"GET {P}/firmwares/{{}}/deltas/{{}}", f"GET {P}/archives", f"GET {P}/archives/{{}}",
        f"GET {P}/deployments", f"GET {P}/deployments/{{}}", f"GET {P}/deployments/{{}}/plan", f"GET {P}/deployments/{{}}/membership/{{}}", f"GET {P}/deployments/{{}}/audit_logs", f"GET {P}/deployments/{{}}/audit_logs/export",
        f"GET {P}/deployments/{{}}/rollout",
        f"GET {P}/savings", f"GET {P}/firmwares/{{}}/savings", f"GET {P}/deployments/{{}}/savings",
        f"GET {P}/scripts", f"GET {P}/scripts/{{}}",
        f"GET {P}/devices", f"GET {P}/devices.csv", f"GET {P}/devices/flapping", f"POST {P}/devices/auth",
        f"GET {D}", f"GET {D}/explain", f"GET {S}/explain", f"GET {D}/scripts", f"POST {D}/scripts/{{}}", f"GET {D}/health", f"GET {D}/health/history", f"GET {D}/metrics", f"GET {D}/logs",
        f"GET {D}/network_identities", f"GET {D}/connections", f"GET {D}/certificates", f"GET {D}/certificates/{{}}", f"GET {D}/audit_logs", f"GET {D}/audit_logs/export",
        f"PUT {D}/pin", f"DELETE {D}/pin",
        f"GET {S}", f"GET {S}/scripts", f"POST {S}/scripts/{{}}",
    ],
    "manage": [
        f"POST {O}/keys", f"DELETE {O}/keys/{{}}", f"POST {O}/iroh_endpoints", f"DELETE {O}/iroh_endpoints/{{}}",
        f"POST {O}/ca_certificates", f"PUT {O}/ca_certificates/{{}}", f"DELETE {O}/ca_certificates/{{}}",
        f"PUT {P}", f"PATCH {P}", f"DELETE {P}/notifications", f"GET {O}/webhooks", f"GET {O}/webhooks/{{}}", f"GET {O}/webhooks/{{}}/deliveries",
        f"GET {P}/shared_secrets", f"POST {P}/shared_secrets", f"DELETE {P}/shared_secrets/{{}}",
        f"POST {P}/firmwares", f"DELETE {P}/firmwares/{{}}", f"GET {P}/firmwares/{{}}/download",
        f"POST {P}/firmwares/{{}}/deltas", f"POST {P}/firmwares/{{}}/deltas/{{}}/retry", f"DELETE {P}/firmwares/{{}}/deltas/{{}}",
        f"POST {P}/archives", f"DELETE {P}/archives/{{}}", f"GET {P}/archives/{{}}/download",
        f"POST {P}/deployments", f"PUT {P}/deployments/{{}}", f"POST {P}/deployments/{{}}/plan", f"POST {P}/deployments/{{}}/membership/{{}}", f"DELETE {P}/deployments/{{}}",
        f"PUT {P}/deployments/{{}}/rollout/plan", *(f"POST {P}/deployments/{{}}/rollout/{word}" for word in ("pause", "resume", "approve", "skip", "rollback")),
        f"POST {P}/scripts", f"PUT {P}/scripts/{{}}", f"DELETE {P}/scripts/{{}}",
        f"POST {P}/devices", f"POST {P}/devices/import", f"POST {P}/devices/bulk",
        f"POST {D}", f"PUT {D}", f"DELETE {D}", f"POST {D}/restore", f"DELETE {D}/destroy", f"POST {D}/reboot", f"POST {D}/reconnect", f"POST {D}/identify", f"POST {D}/code",
        f"POST {D}/upgrade", f"POST {D}/upgrade/available", f"POST {D}/move", f"DELETE {D}/penalty", f"POST {D}/certificates", f"POST {D}/certificates/sign", f"DELETE {D}/certificates/{{}}",
        f"GET {D}/shared_secrets", f"POST {D}/shared_secrets", f"DELETE {D}/shared_secrets/{{}}",
        f"POST {D}/network_identities", f"DELETE {D}/network_identities/{{}}/{{}}",
        f"POST {S}/code", f"POST {S}/reboot", f"POST {S}/reconnect", f"POST {S}/upgrade", f"POST {S}/move", f"DELETE {S}/penalty",
    ],
    "admin": [
        f"PUT {O}", f"PATCH {O}", f"DELETE {O}", f"POST {O}/products", f"DELETE {P}",
        f"GET {O}/users", f"POST {O}/users", f"POST {O}/users/invite", f"GET {O}/users/{{}}", f"PUT {O}/users/{{}}", f"DELETE {O}/users/{{}}", f"GET {O}/invites", f"DELETE {O}/invites/{{}}",
        f"POST {O}/webhooks", f"PUT {O}/webhooks/{{}}", f"PATCH {O}/webhooks/{{}}", f"DELETE {O}/webhooks/{{}}", f"POST {O}/webhooks/{{}}/secret", f"POST {O}/webhooks/{{}}/test",
        f"POST {O}/webhooks/{{}}/retry_dead", f"POST {O}/webhooks/{{}}/deliveries/{{}}/retry",
        f"POST {O}/authority/certificates", f"DELETE {O}/authority/certificates/{{}}",
    ],
}
LEAST = {route: role for role, routes in ROLES.items() for route in routes}
REFUSED = {"errors": {"detail": "Resource Not Found or Authorization Insufficient"}}


def routes_of(server):
    """(method, path with {names}, description of the operation) of every route below /api."""
    document = server.api("GET", "/openapi", token="", expect=200).json
    return [(method.upper(), path, operation) for path, item in document["paths"].items() for method, operation in item.items() if path.startswith("/api/")]


def key_of(method, path):
    return f"{method} {re.sub(r'{[^}]*}', '{}', path.removeprefix('/api'))}"


class Roles(nhtest.ServerCase):
    maxDiff = None
    server_args = ("--open-registrations", "true")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.routes = [r for r in routes_of(cls.server) if r[2].get("x-least-role")]
        cls.tokens = {}
        for name in (*ORDER, "stranger"):
            email = f"{name}@example.com"
            cls.server.api("POST", "/users/register", {"name": name, "email": email, "password": "correct horse battery"}, token="", expect=201)
            cls.tokens[name] = cls.server.api("POST", "/users/login", {"email": email, "password": "correct horse battery"}, token="", expect=200).data["token"]
        cls.server.api("POST", "/orgs", {"name": "elsewhere"}, token=cls.tokens["stranger"], expect=201)
        cls.server.api("POST", "/orgs/elsewhere/products", {"name": "theirs"}, token=cls.tokens["stranger"], expect=201)
        cls.server.api("POST", "/orgs/elsewhere/products/theirs/devices", {"identifier": "theirs-1"}, token=cls.tokens["stranger"], expect=201)

    def found(self, name):
        """An organization of its own, so that what one walk deletes another does not miss; all roles are members."""
        self.server.api("POST", "/orgs", {"name": name}, expect=201)
        self.server.api("POST", f"/orgs/{name}/products", {"name": "prod"}, expect=201)
        self.server.api("POST", f"/orgs/{name}/products/prod/devices", {"identifier": f"{name}-1"}, expect=201)
        for role in ORDER:
            self.server.api("POST", f"/orgs/{name}/users", {"email": f"{role}@example.com", "role": role}, expect=201)

    def ask(self, method, path, org, token, product="prod", device=None):
        words = {"org_name": org, "product_name": product, "identifier": device or f"{org}-1", "user_email": "nobody@example.com", "service": "iroh", "id": "1"}
        concrete = re.sub(r"{(\w+)}", lambda m: "nothing" if m[1] == "identifier" and "iroh_endpoints" in path else words.get(m[1], "nothing"), path)
        body = [] if path.endswith("/import") else {}
        return self.server.api(method, concrete.removeprefix("/api"), body if method in ("POST", "PUT", "PATCH") else None, token=token)

    def last(self, route):
        """What ends a membership, an organization, a product or a device comes after what looks into it."""
        method, path, _ = route
        return (path.endswith("/leave"), method == "DELETE" and path.endswith(("{org_name}", "{product_name}", "{identifier}")), -path.count("/"))

    def test_the_table_is_whole(self):
        self.assertEqual({key_of(m, p): o["x-least-role"] for m, p, o in self.routes}, LEAST)

    def test_who_needs_no_role_has_nothing_of_an_organization(self):
        for method, path, operation in routes_of(self.server):
            with self.subTest(f"{method} {path}"):
                if operation.get("x-least-role"):
                    self.assertIn(operation["x-least-role"], ORDER)
                else:
                    self.assertNotIn("{org_name}", path)
                    self.assertFalse(path.startswith("/api/devices/"))

    def test_every_role_on_every_route(self):
        for role, rank in ORDER.items():
            org = f"org-{role}"
            self.found(org)
            for method, path, operation in sorted(self.routes, key=self.last):
                with self.subTest(f"{role}: {method} {path}"):
                    answer = self.ask(method, path, org, self.tokens[role])
                    if rank < ORDER[operation["x-least-role"]]:
                        self.assertEqual((answer.status, answer.json), (401, REFUSED))
                    else:
                        self.assertNotIn(answer.status, (401, 405, 500), answer.body)

    def test_strangers_and_nobody(self):
        self.found("closed")
        for method, path, _ in self.routes:
            with self.subTest(f"{method} {path}"):
                answer = self.ask(method, path, "closed", self.tokens["stranger"])
                self.assertEqual((answer.status, answer.json), (404, REFUSED))
                answer = self.ask(method, path, "closed", "")
                self.assertEqual((answer.status, answer.json), (401, REFUSED))
                answer = self.ask(method, path, "closed", "nhu_17SyR2HeQqfOYQaaT7Jv5BxBid5hrDD9KP13RYr9o6rTb26X")
                self.assertEqual(answer.status, 401)

    def test_things_of_another_organization(self):
        """With the highest role at home: another organization's product, and another's device in one's own product."""
        self.found("border")
        for method, path, _ in sorted(self.routes, key=self.last):
            for product, device in (("theirs", "theirs-1"), ("prod", "theirs-1")):
                if ("{product_name}" not in path) if product == "theirs" else ("{identifier}" not in path or "iroh_endpoints" in path or (method == "POST" and path.endswith("{identifier}"))):
                    continue
                with self.subTest(f"{method} {path} {product}"):
                    answer = self.ask(method, path, "border", self.tokens["admin"], product, device)
                    self.assertEqual((answer.status, answer.json), (404, REFUSED))
        self.server.api("GET", "/orgs/elsewhere/products/theirs/devices/theirs-1", token=self.tokens["stranger"], expect=200)

    def test_a_role_that_is_taken_away_ends_at_once(self):
        self.found("changing")
        for role, status in (("manage", 201), ("view", 401)):
            self.server.api("PUT", "/orgs/changing/users/manage@example.com", {"role": role}, expect=200)
            self.server.api("POST", "/orgs/changing/products/prod/devices", {"identifier": f"by-{role}"}, token=self.tokens["manage"], expect=status)
        self.server.api("DELETE", "/orgs/changing/users/manage@example.com", expect=204)
        self.server.api("GET", "/orgs/changing/products", token=self.tokens["manage"], expect=404)


if __name__ == "__main__":
    unittest.main()
