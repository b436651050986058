"""Holds what tests ask of the User API, and what it answers, against the OpenAPI document that the server itself serves.

On where NH_OPENAPI is set: every exchange that goes through nhtest's client is checked, and one that the document does not describe fails the test that had it. A request counts only where it was
served (deliberately broken ones are what 4xx answers are for); an answer always counts. Where NH_OPENAPI is a directory, each process leaves there which operations it has seen served, and
`python3 openapi.py DIRECTORY` names those that no test at all has; scripts/test makes that a failure.

No client library judges here but Debian's jsonschema, which knows the dialect of OpenAPI 3.1 (JSON Schema 2020-12)."""

import atexit
import http.client
import json
import os
import re
import sys
import urllib.parse
import uuid
from pathlib import Path

import jsonschema

ENABLED = os.environ.get("NH_OPENAPI", "")
REMEMBERED = 20000  # bodies that were found good; tests that poll see the same ones again and again
FORMATS = {
    "date-time": lambda text: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text),
    "uuid": lambda text: str(uuid.UUID(text)) == text,
}


JSON, FORM = "application/json", "application/x-www-form-urlencoded"


class Mismatch(AssertionError):
    pass


def pairs(text):
    """A query or a form: a[b]=c is {"a": {"b": "c"}}, a[]=c is {"a": ["c"]}."""
    out = {}
    for name, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        outer, *inner = [part.rstrip("]") for part in name.split("[")]
        into = out
        for part in inner:
            into = into.setdefault(outer, [] if part == "" else {})
            outer = part
        if isinstance(into, list):
            into.append(value)
        else:
            into[outer] = value
    return out


def format_checker():
    checker = jsonschema.FormatChecker(formats=())
    for name, good in FORMATS.items():
        checker.checks(name, raises=ValueError)(lambda value, good=good: not isinstance(value, str) or bool(good(value)))
    return checker


def pointer(path):
    return "".join(f"/{part}" for part in path) or "/"


def deepest(error):
    """The most telling of what an alternative (anyOf) lists: what went furthest into the value."""
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return error


class Operation:
    def __init__(self, document, method, template, value):
        self.document, self.method, self.template, self.value = document, method, template, value
        self.rest = {p["name"] for p in value["parameters"] if p.get("x-rest")}
        self.parts = template.split("/")
        self.names = sum(part.startswith("{") for part in self.parts)

    @property
    def name(self):
        return f"{self.method} {self.template}"

    def fits(self, parts):
        for i, part in enumerate(self.parts):
            if part.strip("{}") in self.rest:
                return len(parts) > i
            if i >= len(parts) or not (parts[i] if part.startswith("{") else parts[i] == part):
                return False
        return len(parts) == len(self.parts)

    # ---- what was asked

    def check_request(self, query, headers, body):
        self.check_query(query)
        described = self.value.get("requestBody")
        if not body:
            if described and described["required"]:
                raise Mismatch("it was served without the body that it needs")
            return
        if not described:
            if body != b"{}":  # how some clients say nothing
                raise Mismatch("it takes no body and got one")
            return
        media = media_type(headers)
        if not media and not any(described["content"].values()):
            return  # bytes, whatever they are called
        if media not in described["content"]:
            raise Mismatch(f"it takes no body of type {media}")
        schema = described["content"][media].get("schema")
        if not schema:
            return
        if media == FORM:
            body = json.dumps(self.document.typed(schema, pairs(body.decode()))).encode()
        if media in (JSON, FORM):
            self.document.validate((self.name, "request", media), schema, body)

    def check_query(self, query):
        given = pairs(query)
        for schema in self.document.alternatives(self.value.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {})):
            for name in schema.get("properties", {}):  # a member of the body may stand in the query as well
                given.pop(name, None)
        known = {p["name"]: p for p in self.value["parameters"] if p["in"] == "query"}
        for name, value in given.items():
            if name not in known:
                raise Mismatch(f"it has no parameter {name}")
            if isinstance(value, dict) and known[name].get("style") != "deepObject":
                raise Mismatch(f"its parameter {name} has no members")
            text = json.dumps(self.document.typed(known[name]["schema"], value)).encode()
            self.document.validate((self.name, "query", name), known[name]["schema"], text)
        missing = [name for name, p in known.items() if p["required"] and name not in given]
        if missing:
            raise Mismatch(f"it was served without {missing}")

    # ---- what was answered

    def check_answer(self, response, bodiless):
        described = self.value["responses"].get(str(response.status))
        if described is None:
            raise Mismatch(f"it has no answer {response.status}: {response.body[:300]!r}")
        if "$ref" in described:
            described = self.document.resolver.resolve(described["$ref"])[1]
        content = described.get("content")
        if bodiless:
            return
        if not content:
            if response.body:
                raise Mismatch(f"its answer {response.status} has no body, and got {response.body[:300]!r}")
            return
        media = media_type(response.headers)
        if media not in content:
            raise Mismatch(f"its answer {response.status} is never {media or 'without a type'}: {response.body[:300]!r}")
        if media == JSON:
            self.document.validate((self.name, response.status, media), content[media]["schema"], response.body)


class Document:
    def __init__(self, text):
        self.value = json.loads(text)
        self.resolver = jsonschema.RefResolver("", self.value)
        self.formats = format_checker()
        self.validators, self.good = {}, set()
        self.operations = [Operation(self, method.upper(), template, value) for template, item in self.value["paths"].items() for method, value in item.items()]
        self.operations.sort(key=lambda operation: operation.names)  # fixed words before names
        self.seen = set()

    def find(self, method, path):
        parts = path.rstrip("/").split("/")
        return next((o for o in self.operations if o.method == method and o.fits(parts)), None)

    def validate(self, key, schema, body):
        memory = (key, hash(body))
        if memory in self.good:
            return
        if key not in self.validators:
            self.validators[key] = jsonschema.Draft202012Validator(schema, resolver=self.resolver, format_checker=self.formats)
        try:
            value = json.loads(body)
        except ValueError as broken:
            raise Mismatch(f"no JSON: {broken}: {body[:300]!r}") from None
        error = jsonschema.exceptions.best_match(self.validators[key].iter_errors(value))
        if error:
            error = deepest(error)
            raise Mismatch(f"{key[1]} at {pointer(error.absolute_path)}: {error.message[:500]}")
        if len(self.good) < REMEMBERED:
            self.good.add(memory)

    def typed(self, schema, value):
        """A text of a query as the type that its schema asks for."""
        members = {name: inner for alternative in self.alternatives(schema) for name, inner in alternative.get("properties", {}).items()}
        if isinstance(value, dict):
            return {name: self.typed(members.get(name, {}), inner) for name, inner in value.items()}
        if schema.get("type") == "integer" and re.fullmatch(r"\d+", value):
            return int(value)
        if schema.get("type") == "boolean" and value in ("true", "false"):
            return value == "true"
        return value

    def alternatives(self, schema):
        """What a schema may stand for, without references and without anyOf."""
        if "$ref" in schema:
            return self.alternatives(self.resolver.resolve(schema["$ref"])[1])
        return [inner for one in schema["anyOf"] for inner in self.alternatives(one)] if "anyOf" in schema else [schema]

    def check(self, method, target, headers, body, response):
        """Raises where the exchange is not as described."""
        path, _, query = target.partition("?")
        operation = self.find("GET" if method == "HEAD" else method, path)
        meant, rest = other_method(headers, body) if method == "POST" and body else (None, None)
        if meant and self.find(meant, path):
            operation, headers, body = self.find(meant, path), {"content-type": JSON}, rest
        try:
            if not operation:
                if response.status < 400:
                    raise Mismatch(f"served with {response.status}, and the document does not name it")
                return
            operation.check_answer(response, method == "HEAD")
            if response.status < 400:
                self.seen.add(operation.name)
                operation.check_request(query, headers, body)
        except Mismatch as mismatch:
            raise Mismatch(f"{method} {target} ({operation.template if operation else 'unknown'}): {mismatch}") from None


def media_type(headers):
    return next((value for name, value in (headers or {}).items() if name.lower() == "content-type"), "").partition(";")[0].strip().lower()


def other_method(headers, body):
    """What a POST means by its member _method, and the body without that."""
    if b"_method" not in body or media_type(headers) not in (JSON, FORM):
        return None, None
    try:
        value = json.loads(body) if media_type(headers) == JSON else pairs(body.decode())
    except ValueError:
        return None, None
    meant = value.pop("_method", None) if isinstance(value, dict) else None
    return meant.upper() if isinstance(meant, str) else None, json.dumps(value).encode() if value else None


# ---- what nhtest calls

documents = {}  # by program: the same program has the same routes
unheard = []    # exchanges with a server that was gone before it could be asked for its document


def fetch(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/api/openapi")
        answer = connection.getresponse()
        body = answer.read()
        return Document(body) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def check(program, port, method, target, headers, body, response):
    """One exchange with the web port of a server."""
    if not target.startswith(("/api/", "/status/")):
        return
    if program not in documents:
        document = fetch(port)
        if not document:
            unheard.append((program, port, method, target, headers, body, response))
            return
        documents[program] = document
        late, unheard[:] = unheard[:], []
        for exchange in late:
            check(*exchange)
    documents[program].check(method, target, headers, body, response)


def leave_summary():
    for document in documents.values():
        names = [o.name for o in document.operations if "101" not in o.value["responses"]]
        Path(ENABLED, uuid.uuid4().hex).write_text(json.dumps({"all": names, "seen": sorted(document.seen)}))


if os.path.isdir(ENABLED):
    atexit.register(leave_summary)


def main(directory):
    """Which operations no process has seen served."""
    summaries = [json.loads(path.read_text()) for path in Path(directory).iterdir()]
    everything, seen = ({name for summary in summaries for name in summary[key]} for key in ("all", "seen"))
    for name in sorted(everything - seen):
        print(f"no test had it served: {name}")
    print(f"{len(everything & seen)} of {len(everything)} operations were served and checked")
    return 1 if everything - seen or not everything else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
