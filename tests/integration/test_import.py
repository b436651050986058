"""Importing devices: Microchip's manifests, receipts of `nerveskey batch`, CSV; and the list as CSV, which goes in again."""

import base64
import csv
import io
import json
import subprocess
import unittest

from nhtest import DEADLINE, ServerCase, program, run
from simulator import Simulator


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class ImportCase(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.pki.ca("factory")
        cls.devices = cls.product_path + "/devices"

    def der(self, cert):
        return subprocess.run(["openssl", "x509", "-in", str(cert), "-outform", "DER"], check=True, stdout=subprocess.PIPE).stdout

    def bring(self, body, expect=201, path=None, query="", **headers):
        if not isinstance(body, (bytes, str)):
            body, headers = json.dumps(body), {"Content-Type": "application/json", **headers}
        body = body.encode() if isinstance(body, str) else body
        return self.server.api("POST", f"{path or self.devices}/import{query}", body, expect=expect, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def counts(self, report):
        return {k: report[k] for k in ("created", "updated", "unchanged", "failed") if report[k]}

    def reasons(self, report):
        return {r["identifier"]: r["reason"] for r in report["results"] if r["result"] == "failed"}

    def device(self, identifier, expect=200):
        return self.server.api("GET", f"{self.devices}/{identifier}", expect=expect)

    # ---- manifests

    def entry(self, identifier, cert, key=None, std=False, **changes):
        payload = {"version": 1, "uniqueId": identifier, "publicKeySet": {"keys": [{"kid": "1"}, {"kid": "0", "x5c": [base64.b64encode(self.der(cert)).decode().rstrip("=")]}]}, **changes}
        text = json.dumps(payload).encode()
        payload = base64.b64encode(text).decode().rstrip("=") if std else b64url(text)
        protected = b64url(b'{"typ":"JWT","alg":"ES256","kid":"x","x5t#S256":"y"}')
        signature = self.sign(key, f"{protected}.{payload}".encode()) if key else b"\0" * 64
        return {"payload": payload, "protected": protected, "header": {"uniqueId": identifier}, "signature": b64url(signature)}

    def sign(self, key, data):
        der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(key)], input=data, check=True, stdout=subprocess.PIPE).stdout
        numbers, at = [], 2
        for _ in range(2):  # SEQUENCE of two short INTEGERs
            length = der[at + 1]
            numbers.append(int.from_bytes(der[at + 2:at + 2 + length], "big"))
            at += 2 + length
        return b"".join(n.to_bytes(32, "big") for n in numbers)

    def test_manifest(self):
        one, two = self.pki.device("m-1", "factory")[0], self.pki.device("m-2", "factory")[0]
        broken = {"header": {"uniqueId": "m-3"}, "payload": "!!!"}
        manifest = [self.entry("m-1", one), broken, self.entry("m-2", two, std=True), 7 and {"header": {}}]
        report = self.bring(manifest, tags="made-in-x,line-7").data
        self.assertEqual(self.counts(report), {"created": 2, "failed": 2})
        self.assertEqual([r["result"] for r in report["results"]], ["created", "failed", "created", "failed"])
        self.assertEqual(self.reasons(report), {"m-3": "payload is no base64", None: "header.uniqueId is missing"})
        self.assertEqual(self.device("m-1").data["tags"], ["made-in-x", "line-7"])
        self.device("m-3", expect=404)
        self.assertEqual(len(self.server.api("GET", f"{self.devices}/m-2/certificates", expect=200).data), 1)
        self.assertEqual(self.counts(self.bring(manifest).data), {"unchanged": 2, "failed": 2})
        notes = self.server.sql("SELECT level FROM product_notifications WHERE event_key LIKE 'import:%' ORDER BY id")
        self.assertEqual(notes[0], "warning")

    def test_signed_manifest(self):
        signer, key = self.pki.device("signer", "factory")
        given = {"manifest_certificate": base64.b64encode(signer.read_bytes()).decode()}
        certs = [self.pki.device(f"s-{i}", "factory")[0] for i in range(4)]
        good, forged, renamed, unsigned = (self.entry(f"s-{i}", certs[i], key if i < 3 else None) for i in range(4))
        forged["payload"] = self.entry("s-1", certs[2])["payload"]
        renamed["header"]["uniqueId"] = "s-9"
        report = self.bring([good, forged, renamed, unsigned], **given).data
        self.assertEqual(self.counts(report), {"created": 1, "failed": 3})
        self.assertEqual(self.reasons(report), {"s-1": "signature is not that of the given certificate", "s-9": "uniqueId is another one in the signed part",
                                                "s-3": "signature is not that of the given certificate"})
        # elsewhere, and here without a certificate, nobody looks
        self.assertEqual(self.counts(self.bring([unsigned]).data), {"created": 1})
        self.bring([good], expect=422, manifest_certificate="nonsense")

    # ---- CSV

    def test_csv(self):
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["Identifier", "tags", "unknown", "description"])
        for i in range(503):  # more than one batch
            writer.writerow([f"c-{i}", "a,b", "", 'two\nlines, "quoted"' if i == 300 else ""])
        text = out.getvalue() + "c-5,,,\r\n\r\nonly-one\r\nbad tag,\"a b\",,\r\n\"open\"x,,,\r\nsl/ash,,,"
        before = self.server.sql("SELECT device_count FROM products WHERE name = 'Thermo Widget'")
        want = {"created": 503, "failed": 5}
        dry = self.bring(text, query="?dry_run=true", Content_Type="text/csv").data
        self.assertEqual((self.counts(dry), dry["dry_run"]), (want, True))
        self.assertEqual(self.server.sql("SELECT device_count FROM products WHERE name = 'Thermo Widget'"), before)
        self.device("c-1", expect=404)
        report = self.bring(text, Content_Type="text/csv").data
        self.assertEqual(self.counts(report), want)
        self.assertEqual(report["results"], dry["results"])
        self.assertEqual([r["reason"] for r in report["results"][-5:]], ["identifier comes twice: line 7 has it already", "line has 1 columns instead of 4", "tags tags cannot contain spaces",
                                                                         "there is text behind a quotation", "identifier is invalid"])
        self.assertEqual(report["results"][301]["line"], 304)  # after the one with two lines
        self.assertEqual(self.device("c-300").data["description"], 'two\nlines, "quoted"')
        self.assertEqual(self.device("c-502").data["tags"], ["a", "b"])
        self.assertEqual(int(self.server.sql("SELECT device_count FROM products WHERE name = 'Thermo Widget'")[0]), int(before[0]) + 503)
        self.assertEqual(self.counts(self.bring(text, format="csv").data), {"unchanged": 503, "failed": 5})

    def test_certificates(self):
        """A device that is there gets its certificate; a certificate that is somebody else's makes no device."""
        mine, yours = self.pki.device("x-1", "factory")[0], self.pki.device("x-2", "factory")[0]
        authority = self.pki.home / "factory.crt"
        self.server.api("POST", "/orgs/acme/products", {"name": "Other"}, expect=201)
        self.server.api("POST", "/orgs/acme/products/Other/devices", {"identifier": "elsewhere"}, expect=201)
        self.server.api("POST", self.devices, {"identifier": "x-1", "description": "kept"}, expect=201)
        out = io.StringIO()
        csv.writer(out).writerows([["identifier", "description", "certificate"], ["x-1", "lost", mine.read_text()], ["x-2", "", base64.b64encode(self.der(yours)).decode()],
                                   ["x-3", "", yours.read_text()], ["x-4", "", authority.read_text()], ["x-5", "", "zzz!"], ["elsewhere", "", ""]])
        report = self.bring(out.getvalue(), format="csv").data
        self.assertEqual([r["result"] for r in report["results"]], ["updated", "created", "failed", "failed", "failed", "failed"])
        self.assertEqual(self.reasons(report), {"x-3": "fingerprint has already been taken", "x-4": "certificate is a CA's", "x-5": "certificate is neither PEM nor base64",
                                                "elsewhere": "identifier has already been taken"})
        self.assertEqual(self.device("x-1").data["description"], "kept")
        self.device("x-3", expect=404)

    def test_export_comes_in_again(self):
        self.server.api("POST", "/orgs", {"name": "copy"}, expect=201)
        self.server.api("POST", "/orgs/copy/products", {"name": "P"}, expect=201)
        self.server.api("POST", self.devices, {"identifier": "e-1", "description": 'a "b",\nc', "tags": ["t1", "t2"]}, expect=201)
        self.server.api("POST", self.devices, {"identifier": "e-2"}, expect=201)
        exported = self.server.api("GET", f"{self.devices}.csv?filters[identifier]=e-&sort=identifier", expect=200)
        self.assertEqual(exported.headers["content-type"], "text/csv; charset=utf-8")
        rows = list(csv.DictReader(io.StringIO(exported.body.decode())))
        self.assertEqual([(r["identifier"], r["description"], r["tags"], r["product"], r["org"]) for r in rows], [("e-1", 'a "b",\nc', "t1,t2", "Thermo Widget", "acme"), ("e-2", "", "", "Thermo Widget", "acme")])
        self.assertEqual(self.counts(self.bring(exported.body, path="/orgs/copy/products/P/devices", format="csv").data), {"created": 2})
        again = self.server.api("GET", "/orgs/copy/products/P/devices/e-1", expect=200).data
        self.assertEqual((again["description"], again["tags"]), ('a "b",\nc', ["t1", "t2"]))

    # ---- receipts

    def test_receipts(self):
        good, other = self.pki.device("nk-1", "factory", "0001-NK")[0], self.pki.device("nk-2", "factory", "0002-NK")[0]
        lines = [{"ok": True, "manufacturer_serial": "0001-NK", "certificate": {"common_name": "0001-NK", "pem": good.read_text()}, "label": {"description": "bench 3", "tags": "line-1"}, "line": 1},
                 {"ok": False, "code": "io", "error": "no chip", "manufacturer_serial": "0003-NK", "line": 2},
                 {"ok": True, "manufacturer_serial": "0004-NK", "certificate": {"pem": other.read_text()}, "label": {}, "line": 3}]
        body = "".join(json.dumps(line) + "\n" for line in lines)
        report = self.bring(body, Content_Type="application/x-ndjson").data
        self.assertEqual(self.counts(report), {"created": 1, "failed": 2})
        self.assertEqual(self.reasons(report), {"0003-NK": "the chip was not provisioned", "0004-NK": "certificate is of another serial number"})
        self.assertEqual((self.device("0001-NK").data["description"], self.device("0001-NK").data["tags"]), ("bench 3", ["line-1"]))
        self.assertEqual([r["line"] for r in report["results"]], [1, 2, 3])

    def test_receipts_of_a_batch(self):
        """What the factory's program wrote, as it is."""
        receipts, signer = self.home / "receipts", self.home / "nk"
        run(program("nerveskey"), "signer", "create", signer)
        sim = Simulator().start()
        try:
            done = subprocess.run([program("nerveskey"), "batch", "-b", f"sim:{sim.socket}", "--signer-cert", f"{signer}.cert", "--signer-key", f"{signer}.key", "--yes", "--receipts", str(receipts)],
                                  input='{"serial":"F-1","board":"b","tags":"line-7,eu","description":"from the line"}\n', text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
        finally:
            sim.stop()
            sim.remove()
        self.assertEqual(done.returncode, 0, done.stderr)
        report = self.bring(receipts.read_bytes(), format="nerveskey").data
        self.assertEqual(self.counts(report), {"created": 1}, report)
        device = self.device("F-1").data
        self.assertEqual((device["tags"], device["description"]), (["line-7", "eu"], "from the line"))
        self.assertEqual(len(self.server.api("GET", f"{self.devices}/F-1/certificates", expect=200).data), 1)
        self.assertEqual(self.counts(self.bring(receipts.read_bytes(), format="nerveskey").data), {"unchanged": 1})

    # ---- refusals

    def test_refusals(self):
        for body, headers, words in (
                (b"[1]", {}, "expected a JSON object"), (b'[{"a":1}', {}, "does not end"), (b'{"a":', {}, "in the middle"), (b"[{}] {}", {}, "more behind the end"), (b"x", {}, "expected a JSON object"),
                (b"name,tags\r\nx,y\r\n", {"format": "csv"}, "must name the columns"), (b'identifier\r\n"x', {"format": "csv"}, "in the middle"),
                (b"[]", {"format": "xml"}, "must be microchip_trust_and_go"), (b"[]", {"query": "?dry_run=yes"}, "true or false"), (b"[]", {"tags": "a b"}, "cannot contain spaces")):
            with self.subTest(body=body, headers=headers):
                self.assertIn(words, self.bring(body, expect=422, **headers).body.decode())
        self.assertEqual(self.bring(b"[]").data["results"], [])
        deep = b'[{"header":' + b"[" * 70000 + b"]" * 70000 + b"}, " + b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}]"
        self.assertEqual([r["reason"] for r in self.bring(deep).data["results"]], ["entry is longer than 65536 bytes", "entry is no JSON object"])
        self.server.api("POST", f"{self.devices}/import", b"[]", token="nobody", expect=401)


if __name__ == "__main__":
    unittest.main()
