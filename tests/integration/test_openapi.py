"""The API's description: the document itself, the page of it, and that who holds exchanges against it does find what is wrong."""

import copy
import html.parser
import json
import os
import re
import tempfile
import unittest
from pathlib import Path

import jsonschema

import nhtest
import openapi

# OpenAPI 3.1.0 as far as our document goes, and no further: what it does not use is not allowed here. The schemas within are JSON Schema's own meta-schema to judge.
TEXT, FLAG, SCHEMA = {"type": "string", "minLength": 1}, {"type": "boolean"}, {"$ref": "https://json-schema.org/draft/2020-12/schema"}


def record(required, optional=None):
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required), "additionalProperties": False}


def table(names, value):
    return {"type": "object", "patternProperties": {names: value}, "additionalProperties": False}


CONTENT = table(r"^[a-z]+/[a-z0-9.+-]+$", record({}, {"schema": SCHEMA}))
PARAMETER = record({"name": TEXT, "in": {"enum": ["path", "query", "header"]}, "required": FLAG, "schema": SCHEMA},
                   {"description": TEXT, "style": {"const": "deepObject"}, "explode": FLAG, "x-rest": FLAG})
SECURITY = {"type": "array", "items": table(".", {"type": "array", "maxItems": 0})}
RESPONSE = record({"description": TEXT}, {"content": CONTENT})
SHARED = record({"$ref": {"type": "string", "pattern": "^#/components/responses/"}})
OPERATION = record({"operationId": {"type": "string", "pattern": "^[a-z0-9_]+$"}, "summary": TEXT, "tags": {"type": "array", "items": TEXT, "minItems": 1},
                    "parameters": {"type": "array", "items": PARAMETER}, "responses": table("^[1-5][0-9][0-9]$", {"anyOf": [RESPONSE, SHARED]})},
                   {"requestBody": record({"required": FLAG, "content": CONTENT}), "security": SECURITY, "x-action": TEXT, "x-least-role": TEXT})
DOCUMENT = record({
    "openapi": {"const": "3.1.0"},
    "info": record({"title": TEXT, "version": TEXT, "description": TEXT}),
    "servers": {"type": "array", "items": record({"url": {"const": "/"}}), "minItems": 1},
    "security": SECURITY,
    "paths": table("^/", table("^(get|put|post|patch|delete)$", OPERATION)),
    "components": record({"responses": table("^[A-Za-z]+$", RESPONSE), "schemas": table("^[A-Za-z]+$", SCHEMA), "securitySchemes": table(".", {"type": "object", "required": ["type"]})}),
})


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from references(inner)


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.inline, self.tags = set(), [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                assert value not in self.ids and " " not in value, f"{value} is there twice, or no id"
                self.ids.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value)
            elif name in ("href", "src", "srcset", "action", "data"):
                self.loads.append(value)
            elif name == "style" or name.startswith("on"):
                self.inline.append((tag, name))


class TestOpenapi(nhtest.ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.answer = cls.server.http("GET", "/api/openapi")
        cls.document = cls.answer.json

    def operations(self):
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                yield f"{method} {path}", path, operation

    def test_the_document_is_openapi(self):
        self.assertEqual((self.answer.status, self.answer.headers["content-type"]), (200, "application/json; charset=utf-8"))
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(DOCUMENT).iter_errors(self.document))
        self.assertIsNone(error, error and f"{list(error.absolute_path)}: {error.message}")
        for name, schema in self.document["components"]["schemas"].items():
            with self.subTest(name):
                jsonschema.Draft202012Validator.check_schema(schema)
        named = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in self.document["components"][kind]}
        self.assertEqual(set(references(self.document)), named)

    def test_operations_are_whole(self):
        ids = [operation["operationId"] for _, _, operation in self.operations()]
        self.assertEqual(len(ids), len(set(ids)))
        schemes = self.document["components"]["securitySchemes"]
        for name, path, operation in self.operations():
            with self.subTest(name):
                self.assertEqual(re.findall(r"{(\w+)}", path), [p["name"] for p in operation["parameters"] if p["in"] == "path"])
                self.assertEqual(len({(p["in"], p["name"]) for p in operation["parameters"]}), len(operation["parameters"]))
                self.assertTrue(all(p["required"] for p in operation["parameters"] if p["in"] == "path"))
                self.assertTrue(any(int(status) < 400 for status in operation["responses"]))
                self.assertLessEqual({key for way in operation.get("security", []) for key in way}, set(schemes))
                if operation.get("security", True):
                    self.assertIn("401", operation["responses"])

    def test_objects_have_no_other_members(self):
        """Of every schema that names members, but for errors, which name the caller's own."""
        def walk(value, where):
            if isinstance(value, dict):
                if "properties" in value and where[-1] != "WrongMembers" and "multipart/form-data" not in where:
                    self.assertIs(value.get("additionalProperties"), False, where)
                for key, inner in value.items():
                    walk(inner, [*where, key])
        walk(self.document, [""])

    def test_the_page(self):
        answer = self.server.http("GET", "/api/docs")
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("default-src 'none'; style-src 'self'", answer.headers["content-security-policy"])
        self.assertNotIn("unsafe", answer.headers["content-security-policy"])
        page = Page(answer.body.decode())
        self.assertEqual((page.loads, page.inline), (["/api/docs/style.css"], []))
        self.assertFalse({"script", "style", "iframe", "img", "form"} & set(page.tags))
        self.assertEqual([link for link in page.links if link[0] == "#" and link[1:] not in page.ids or link[0] not in "#/"], [])
        self.assertLessEqual({operation["operationId"] for _, _, operation in self.operations()}, page.ids)
        self.assertLessEqual(set(self.document["components"]["schemas"]) - {"WrongMembers"}, page.ids)
        style = self.server.http("GET", "/api/docs/style.css")
        self.assertEqual((style.status, style.headers["content-type"]), (200, "text/css; charset=utf-8"))
        self.assertNotRegex(style.body, rb"url\(|@import")
        moved = self.server.http("GET", "/api/swaggerui")
        self.assertEqual((moved.status, moved.headers["location"]), (302, "/api/docs"))

    def test_who_checks_finds_it(self):
        """Exchanges as they are, then each doctored in one way."""
        judge = openapi.Document(self.answer.body)
        devices = f"/api{self.product_path}/devices"
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": "seen", "tags": ["a"]}, expect=201)
        shown = self.server.api("GET", f"{self.product_path}/devices/seen", expect=200)
        listed = self.server.api("GET", f"{self.product_path}/devices?pagination[page]=1&filters[tags]=a", expect=200)
        refused = self.server.api("POST", f"{self.product_path}/devices", {}, expect=422)
        json_type = {"content-type": "application/json"}

        def exchange(response, method="GET", target=f"{devices}/seen", body=None, **changes):
            doctored = copy.copy(response)
            for name, value in changes.items():
                setattr(doctored, name, value)
            return method, target, json_type, body, doctored

        def member(response, name, value):
            return json.dumps({**response.json, "data": {**response.data, name: value}}).encode()

        page = f"{devices}?pagination[page]=1"
        good = [exchange(shown), exchange(shown, "HEAD", body=None), exchange(listed, target=f"{page}&filters[tags]=a"), exchange(refused, "POST", devices, b'{"oops":1}'),
                exchange(shown, "POST", devices, b'{"device":{"identifier":"seen"}}', status=201), exchange(shown, target="/api/nothing", status=404)]
        bad = {
            "a status that is not named": exchange(shown, status=202),
            "a route that is not named": exchange(shown, target="/api/nothing"),
            "no JSON": (*exchange(shown)[:4], self.with_body(shown, b"{broken")),
            "another media type": exchange(shown, headers={"content-type": "text/html"}),
            "a member that is not named": (*exchange(shown)[:4], self.with_body(shown, member(shown, "more", 1))),
            "a member that is missing": (*exchange(shown)[:4], self.with_body(shown, shown.body.replace(b'"tags"', b'"gats"'))),
            "a wrong type": (*exchange(shown)[:4], self.with_body(shown, member(shown, "updates_enabled", "yes"))),
            "null where it never is": (*exchange(shown)[:4], self.with_body(shown, member(shown, "version", None))),
            "an unknown word": (*exchange(shown)[:4], self.with_body(shown, member(shown, "connection_status", "asleep"))),
            "a broken moment": (*exchange(shown)[:4], self.with_body(shown, member(shown, "updates_blocked_until", "tomorrow"))),
            "a member of a member": (*exchange(shown)[:4], self.with_body(shown, member(shown, "extensions", {**shown.data["extensions"], "x": True}))),
            "one for a list": (*exchange(listed, target=page)[:4], self.with_body(listed, json.dumps({**listed.json, "data": listed.data[0]}).encode())),
            "a list without its pages": (*exchange(listed, target=page)[:4], self.with_body(listed, json.dumps({"data": listed.data}).encode())),
            "an error of another form": (*exchange(refused, "POST", devices)[:4], self.with_body(refused, b'{"error":"no"}')),
            "a body where there is none": exchange(shown, "DELETE", status=204),
            "an unknown parameter": exchange(listed, target=f"{devices}?colour=red"),
            "a parameter of a wrong type": exchange(listed, target=f"{devices}?pagination[page]=one"),
            "an unknown member of a parameter": exchange(listed, target=f"{devices}?pagination[side]=1"),
            "an unknown member of a request": exchange(shown, "POST", devices, b'{"identifier":"seen","colour":"red"}', status=201),
            "a request without what it needs": exchange(shown, "POST", devices, b'{"tags":["a"]}', status=201),
            "a request without its body": exchange(shown, "POST", devices, status=201),
            "a body that nobody reads": exchange(listed, target=page, body=b'{"x":1}'),
        }
        for method, target, headers, body, response in good:
            with self.subTest(target=target):
                judge.check(method, target, headers, body, response)
        for name, (method, target, headers, body, response) in bad.items():
            with self.subTest(name), self.assertRaises(openapi.Mismatch):
                judge.check(method, target, headers, body, response)

    @staticmethod
    def with_body(response, body):
        return nhtest.Response(response.status, response.headers, body)

    def test_routes_that_nobody_asked_for(self):
        """The summary names what was not served in any process, and fails then."""
        with tempfile.TemporaryDirectory() as home:
            Path(home, "one").write_text(json.dumps({"all": ["GET /a", "GET /b"], "seen": ["GET /a"]}))
            summary = nhtest.run("/usr/bin/python3", openapi.__file__, home, check=False, env={**os.environ, "NH_OPENAPI": ""})
            self.assertEqual((summary.returncode, summary.stdout.splitlines()), (1, ["no test had it served: GET /b", "1 of 2 operations were served and checked"]))
            Path(home, "two").write_text(json.dumps({"all": ["GET /a", "GET /b"], "seen": ["GET /b"]}))
            self.assertEqual(nhtest.run("/usr/bin/python3", openapi.__file__, home, env={**os.environ, "NH_OPENAPI": ""}).returncode, 0)


if __name__ == "__main__":
    unittest.main()
