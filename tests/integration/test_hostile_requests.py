"""Requests that mean harm, over the whole surface: what looks like SQL in every place of every route, paths that climb, forms that another site posts, archives and bodies that swell, JSON that is
deep or says things twice. Nothing here may be answered by a failure of the server, show anything of another organization, or change what it does not name. (Session fixation and the tokens of
forms: test_forms; sizes and times of HTTP itself: test_http_rules.)"""

import base64
import contextlib
import gzip
import hashlib
import http.client
import itertools
import json
import re
import socket
import sqlite3
import subprocess
import unittest
import urllib.parse
import zipfile
from pathlib import Path

import browser
import nhtest
from nhtest import ROOT, ServerCase, run

INJECTIONS = ("' OR '1'='1", "x'); DROP TABLE devices; --", "%' ESCAPE '!' OR 1=1 --", "\\' UNION SELECT token_sha512 FROM user_tokens --", '"; SELECT 1; --', "$1 :a ?1 @x {0} %s")
SECRET = "canary-of-the-other-organization"


class HostileCase(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        api = cls.server.api
        api("POST", f"{cls.product_path}/devices", {"identifier": "d-1", "tags": ["a"]}, expect=201)
        api("POST", f"{cls.product_path}/scripts", {"name": "s", "text": "1"})
        # Somebody else, of whom nothing may ever be seen.
        cls.admin = cls.server.token
        cls.server.sql("INSERT INTO users (name, email, email_key, inserted_at, updated_at) VALUES ('Other', 'other@example.com', 'other@example.com', 1, 1)")
        cls.server.sql(f"INSERT INTO orgs (name, inserted_at, updated_at) VALUES ('{SECRET}', 1, 1)")
        cls.server.sql(f"INSERT INTO products (org_id, name, inserted_at, updated_at) SELECT id, '{SECRET}', 1, 1 FROM orgs WHERE name = '{SECRET}'")
        cls.server.sql(f"INSERT INTO devices (org_id, product_id, identifier, inserted_at, updated_at) SELECT org_id, id, '{SECRET}', 1, 1 FROM products WHERE name = '{SECRET}'")

    def ask(self, method, path, body=None, headers=None, token=None):
        """Sent as it is: http.client would refuse some of it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.web_port, timeout=nhtest.DEADLINE)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": "localhost", "Authorization": f"Bearer {token or self.server.token}", **(headers or {}), **({"Content-Length": str(len(body))} if body is not None else {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        response = nhtest.Response(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()
        return response

    def harmless(self, response, what):
        self.assertLess(response.status, 500, f"{what}: {response.body[:300]!r}\n{self.server.log_text()[-2000:]}")
        self.assertNotIn(SECRET.encode(), response.body, what)

    # ---- SQL

    def test_sql_in_every_place_of_every_route(self):
        document = self.server.api("GET", "/openapi", expect=200).json
        schemas = document["components"]["schemas"]
        names = {"org_name": "acme", "product_name": "Thermo%20Widget", "identifier": "d-1", "name": "x", "uuid": "x", "serial": "1", "id": "1"}
        before = {t: self.server.sql(f"SELECT COUNT(*) FROM {t}") for t in ("users", "devices", "org_users")}
        tried, bodies = 0, 0
        turns = itertools.cycle(INJECTIONS)

        def resolved(schema):
            while "$ref" in schema:
                schema = schemas[schema["$ref"].rpartition("/")[2]]
            return resolved(schema["anyOf"][0]) if "anyOf" in schema else resolved(schema["items"]) if "items" in schema and schema.get("type") == "array" else schema

        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if method == "parameters" or "login" in path or "register" in path or "cli_session" in path or path.startswith("/status"):
                    continue  # throttled: below
                method = method.upper()
                places = re.findall(r"{(\w+)}", path)
                parameters = [p["name"] + (f"[{m}]" if m else "") for p in operation.get("parameters", []) if p["in"] == "query"
                              for m in (list(resolved(p["schema"]).get("properties", {})) if p.get("style") == "deepObject" else [""])]
                content = operation.get("requestBody", {}).get("content", {})
                fields = list(resolved(content.get("application/json", {}).get("schema", {})).get("properties", {}))
                cases = [{p: turn} for p in places for turn in INJECTIONS[:2]] + [{}]
                for case in cases:
                    if method == "DELETE" and not case:
                        continue
                    filled = re.sub(r"{(\w+)}", lambda m: urllib.parse.quote(case[m[1]], safe="") if m[1] in case else names.get(m[1], "1"), path)
                    query = "&".join(f"{urllib.parse.quote(p)}={urllib.parse.quote(next(turns))}" for p in parameters) if not case else ""
                    body = json.dumps({f: next(turns) for f in fields}).encode() if fields else b""
                    response = self.ask(method, filled + ("?" + query if query else ""), body if method != "GET" else None, {"Content-Type": "application/json"})
                    self.harmless(response, f"{method} {filled}?{query} {body}")
                    tried += 1
                # one parameter at a time: a refusal of one hides the others
                for parameter in parameters:
                    for text in INJECTIONS:
                        self.harmless(self.ask(method if method == "GET" else "GET", re.sub(r"{(\w+)}", lambda m: names.get(m[1], "1"), path) + f"?{urllib.parse.quote(parameter)}={urllib.parse.quote(text)}"), parameter)
                        tried += 1
                for field in fields if method in ("POST", "PUT", "PATCH") else ():
                    text = next(turns)
                    self.harmless(self.ask(method, re.sub(r"{(\w+)}", lambda m: names.get(m[1], "1"), path), json.dumps({field: text}).encode(), {"Content-Type": "application/json"}), f"{method} {path} {field}")
                    bodies += 1
        self.assertGreater(tried, 400)
        self.assertGreater(bodies, 50)
        self.assertGreaterEqual(int(self.server.sql("SELECT COUNT(*) FROM devices")[0]), int(before["devices"][0]))
        self.assertEqual(self.server.sql("SELECT COUNT(*) FROM org_users WHERE org_id IN (SELECT id FROM orgs WHERE name LIKE 'canary%')"), [0] if "DATABASE_URL" not in self.server.env else ["0"])
        self.assertEqual(self.server.api("GET", "/users/me", expect=200).data["email"], "admin@localhost")

    def test_sql_at_the_doors(self):
        for text in INJECTIONS[:3]:
            for path, body in (("/users/login", {"email": text, "password": text}), ("/users/register", {"name": text, "email": text, "password": text}), ("/auth/cli_session", {"note": text})):
                self.harmless(self.ask("POST", "/api" + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, token="x"), path)
            self.assertEqual(self.ask("GET", "/api/users/me", token=text).status, 401)
            self.harmless(self.ask("GET", "/api/auth/cli_session/" + urllib.parse.quote(text, safe=""), token="x"), text)

    def test_names_that_look_like_sql_are_names(self):
        for i, text in enumerate(INJECTIONS):
            name = text.replace("/", "")
            self.server.api("POST", f"{self.product_path}/devices", {"identifier": name, "description": text, "tags": ["t'1"]}, expect=201)
            shown = self.server.api("GET", f"{self.product_path}/devices/{urllib.parse.quote(name, safe='')}", expect=200).data
            self.assertEqual((shown["identifier"], shown["description"]), (name, text))
            found = self.server.api("GET", f"{self.product_path}/devices?" + urllib.parse.urlencode({"filters[identifier]": name}), expect=200).data
            self.assertEqual([d["identifier"] for d in found], [name])
            quoted = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("\\", "\\\\").replace('"', '\\"')
            found = self.server.api("GET", f"{self.product_path}/devices?" + urllib.parse.urlencode({"query": f'identifier like "{quoted}"'}), expect=200).data
            self.assertEqual([d["identifier"] for d in found], [name])

    # ---- paths

    def test_paths_that_climb(self):
        secret = (self.server.data_dir / "secret.key").read_text().strip().encode()
        for prefix in ("/", "/api/", "/firmware/", "/firmware/1/", "/uploads/archives/1/", "/api/orgs/", "/api/orgs/acme/products/Thermo%20Widget/firmwares/", "/status/"):
            for climb in ("../secret.key", "..%2fsecret.key", "%2e%2e/secret.key", "%2e%2e%2f%2e%2e%2fsecret.key", "....//secret.key", "..\\secret.key", "..%5csecret.key", "%252e%252e%252fsecret.key",
                          "../../../../etc/passwd", "..%00/secret.key", "secret.key%00.fw", ".%2e/.%2e/admin-password"):
                for port in (self.server.web_port, self.server.metrics_port):
                    with socket.create_connection(("127.0.0.1", port), nhtest.DEADLINE) as s:
                        s.sendall(f"GET {prefix}{climb} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.server.token}\r\nConnection: close\r\n\r\n".encode())
                        answer = b"".join(iter(lambda: s.recv(65536), b""))
                    status = int(answer.split()[1])
                    self.assertTrue(300 <= status < 500, (prefix + climb, answer[:200]))
                    self.assertNotIn(secret, answer)
                    self.assertNotIn(b"root:", answer)

    # ---- forms

    def test_forms_of_another_site(self):
        """Every form that there is refuses a post without its token, and one that another site made."""
        source = (ROOT / "lib/web/forms_routes.c").read_text()
        routes = re.findall(r'\b(?:FORM|POSTED)\("([^"]+)"', source)
        self.assertGreater(len(routes), 15)
        b = browser.Browser(self.server)
        b.login("admin@localhost", (self.server.data_dir / "admin-password").read_text().strip())
        token = b.get("/account").forms[0].fields["_csrf_token"]
        for route in routes:
            path = re.sub(r":\w+", "1", route)
            for fields, headers in (({}, {}), ({"_csrf_token": ""}, {}), ({"_csrf_token": token[::-1]}, {}), ({"_csrf_token": token}, {"Sec-Fetch-Site": "cross-site"})):
                status = b.request("POST", path, urllib.parse.urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded", **headers})[0]
                self.assertIn(status, (403, 404), (route, fields.keys(), headers))
        self.assertEqual(b.get("/account").status, 200)
        self.assertTrue(b.get("/account").forms)  # still signed in

    # ---- tokens

    def test_tokens_are_looked_up_by_digest(self):
        """The text of a token is nowhere in the database: what is compared there is a digest of it, which nobody can walk up to letter by letter."""
        if "DATABASE_URL" in self.server.env:
            kept = run("pg_dump", "--data-only", self.server.env["DATABASE_URL"]).stdout.encode()
        else:
            with contextlib.closing(sqlite3.connect(self.server.data_dir / "nerveshub.db")) as db:
                kept = "\n".join(db.iterdump()).encode()
        token = self.server.token
        self.assertNotIn(token.encode(), kept)
        self.assertNotIn(token[4:40].encode(), kept)
        self.assertNotIn(token.encode(), self.server.log_text().encode())
        digests = {hashlib.sha512(text).hexdigest() for text in (token.encode(),)}
        raw = 0
        for letter in token[4:]:
            raw = raw * 62 + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(letter)
        for length in range(32, 37):
            with contextlib.suppress(OverflowError):
                digests.add(hashlib.sha512(raw.to_bytes(length, "big")).hexdigest())
                digests.add(hashlib.sha512(raw.to_bytes(length, "big")[:32]).hexdigest())
        self.assertTrue(any(d.encode() in kept.lower() for d in digests), "no row holds the digest of the token")
        if "DATABASE_URL" not in self.server.env:
            with contextlib.closing(sqlite3.connect(self.server.data_dir / "nerveshub.db")) as db:
                plan = " ".join(row[3] for row in db.execute("EXPLAIN QUERY PLAN SELECT 1 FROM user_tokens t WHERE t.context = 'api' AND t.token_sha512 = x'00'"))
            self.assertIn("user_tokens_token", plan)

    # ---- what swells

    def memory_kib(self):
        return int(re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{self.server.process.pid}/status").read_text(), re.M)[1])

    def bomb(self, members):
        path = self.home / "bomb.fw"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, size in members:
                with archive.open(name, "w") as member:
                    for at in range(0, size, 1 << 20):
                        member.write(bytes(min(1 << 20, size - at)))
        return path

    def signed_conf(self, conf):
        """Signed by a key that the organization trusts: whatever is read, is read of this."""
        seed = base64.b64decode(self.key_private.read_text())[:32]
        der = self.home / "key.der"
        der.write_bytes(bytes.fromhex("302e020100300506032b657004220420") + seed)
        data = self.home / "conf"
        data.write_bytes(conf)
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(der), "-keyform", "DER", "-in", str(data)], check=True, stdout=subprocess.PIPE).stdout

    def test_archives_that_swell(self):
        size = 200 << 20
        for members in ([("meta.conf.ed25519", 64), ("meta.conf", size)], [("meta.conf.ed25519", size), ("meta.conf", 10)]):
            path = self.bomb(members)
            self.assertLess(path.stat().st_size, size // 50)
            before = self.memory_kib()
            response = self.server.upload("acme", "Thermo%20Widget", path, expect=422)
            self.assertLess(self.memory_kib() - before, size // 4 // 1024, response.body)
        # a resource that says it is small, behind metadata that is right
        conf = b'meta-product="Thermo Widget"\nmeta-version="9.9.9"\nmeta-platform="p"\nmeta-architecture="a"\nfile-resource "x" {\nlength=10\nblake2b-256="00"\n}\n'
        path = self.home / "bomb2.fw"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("meta.conf.ed25519", self.signed_conf(conf))
            archive.writestr("meta.conf", conf)
            with archive.open("data/x", "w") as member:
                for _ in range(size >> 20):
                    member.write(bytes(1 << 20))
        before = self.memory_kib()
        self.assertIn(self.server.upload("acme", "Thermo%20Widget", path, expect=None).status, (201, 422))  # resources are the device's to check; they are not unpacked here
        self.assertLess(self.memory_kib() - before, size // 4 // 1024)

    def test_bodies_that_swell(self):
        """Compressed bodies are not unpacked: they are what they are, no JSON."""
        packed = gzip.compress(b'{"identifier":"' + b"a" * (100 << 20) + b'"}')
        before = self.memory_kib()
        response = self.server.api("POST", f"{self.product_path}/devices", packed, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
        self.assertIn(response.status, (400, 415))
        self.assertLess(self.memory_kib() - before, 30 << 10)

    # ---- bodies and parameters

    def test_json(self):
        post = lambda body, expect: self.server.api("POST", f"{self.product_path}/devices", body, headers={"Content-Type": "application/json"}, expect=expect)
        self.assertEqual(post(b'{"identifier":"first","identifier":"second"}', 201).data["identifier"], "second")  # of duplicates the last counts, for everybody alike
        self.server.api("GET", f"{self.product_path}/devices/first", expect=404)
        # Naming the port keeps the description out of it, which knows no such member.
        deep = self.server.http("POST", f"/api{self.product_path}/devices", b'{"identifier":"deep","x":' + b"[" * 60 + b"]" * 60 + b"}",
                                {"Content-Type": "application/json", "Authorization": f"Bearer {self.server.token}"}, port=self.server.web_port)
        self.assertEqual(deep.status, 201)
        for body in (b'{"identifier":"d","x":' + b"[" * 100 + b"]" * 100 + b"}", b"[" * 7_900_000, b'{"a":' * 1_000_000, b'{"identifier":"\xff"}', b'{"identifier":"\\ud800"}', b'{"identifier":"a\\u0000b"}',
                     b'{"identifier":1e999}', b'{"identifier":' + b"9" * 100_000 + b"}", b"\xef\xbb\xbf{", b"nul", b""):
            response = self.server.api("POST", f"{self.product_path}/devices", body, headers={"Content-Type": "application/json"})
            self.assertIn(response.status, (400, 413, 422), body[:40])
        post(b'{"identifier":"' + b"a" * 7_900_000 + b'"}', 422)
        response = self.server.api("POST", f"{self.product_path}/devices", b'{"identifier":"' + b"a" * 8_000_000 + b'"}', headers={"Content-Type": "application/json"})
        self.assertEqual(response.status, 413)

    def test_parameters(self):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for body in (b"&".join(b"p%d=1" % i for i in range(200_000)), b"[" * 1_000_000, b"a" + b"[a]" * 100_000 + b"=1", b"&" * 4_000_000, b"=" * 1_000_000, b"%" * 1_000_000, b"a[]=1&" * 100_000):
            response = self.server.api("POST", f"{self.product_path}/devices", body, headers=form)
            self.assertIn(response.status, (400, 413, 422), body[:40])
        for query in ("&".join(f"filters[x{i}]=1" for i in range(400)), "filters[identifier]=a&" * 40, "filters" + "[a]" * 1000 + "=1", "query=" + "(" * 4000, "query=" + "not%20" * 1000, "pagination[page]=" + "9" * 1000,
                      "pagination[page_size]=-1", "pagination[after]=" + "A" * 3000, "sort[]=x", "%5b=%5d", "sort_direction=up", "query=%ff", "query=a%00b", "filters[tags]=" + "a," * 2000):
            response = self.ask("GET", f"/api{self.product_path}/devices?{query}")
            self.assertIn(response.status, (200, 400, 414, 422, 431), query[:60])
            self.assertNotIn(SECRET.encode(), response.body)
        self.assertEqual(self.ask("GET", f"/api{self.product_path}/devices?" + "&".join(f"filters[x{i}]=1" for i in range(40))).status, 422)


if __name__ == "__main__":
    unittest.main()
