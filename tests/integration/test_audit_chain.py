"""The chained audit log, from what people do to `nh audit verify` with the server down. Somebody writes into the database meanwhile: each organization has another kind of tampering."""

import hashlib
import json
import unittest

from clitest import CliCase
from nhtest import wait_until

ALTERED, GAP, TAIL, UNSIGNED = 6, 7, 8, 4

# organization, what is done to its rows, exit status, what is said
TAMPERINGS = [
    ("changed", ["UPDATE audit_logs SET description = 'nothing happened' WHERE org_id = {org} AND seq = 3"], ALTERED, "entry 3 is not the one that was sealed"),
    ("deleted", ["DELETE FROM audit_logs WHERE org_id = {org} AND seq IN (3, 4)"], GAP, "entries 3 to 4 are missing"),
    ("beheaded", ["DELETE FROM audit_logs WHERE org_id = {org} AND seq = 1"], GAP, "entries 1 to 1 are missing"),
    ("shortened", ["DELETE FROM audit_logs WHERE org_id = {org} AND seq = (SELECT MAX(seq) FROM audit_logs WHERE org_id = {org})"], GAP, "are missing"),
    ("swapped", ["UPDATE audit_logs SET seq = -seq WHERE org_id = {org} AND seq IN (3, 4)", "UPDATE audit_logs SET seq = 7 + seq WHERE org_id = {org} AND seq < 0"], ALTERED, "entry 3 is not"),
    ("signed", ["UPDATE audit_chains SET seq = seq - 1 WHERE org_id = {org}"], UNSIGNED, "signature of the head"),
    ("unanchored", ["DELETE FROM audit_anchors WHERE org_id = {org}"], GAP, "an anchor is missing"),
    ("honest", [], 0, "Verified"),
]


class AuditChain(CliCase):
    server_args = ("--job-speed", "50")  # sealed every 100 ms; a day of anchors is half an hour

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.token = json.loads(next(cls.home.rglob("settings.json")).read_text())["token"]

    def org_id(self, org):
        return int(self.server.sql(f"SELECT id FROM orgs WHERE name = '{org}'")[0])

    def make(self, org, product):
        self.server.api("POST", f"/orgs/{org}/products", {"name": product}, expect=201)

    def people_do_things(self, org, count=6):
        self.server.api("POST", "/orgs", {"name": org}, expect=201)
        for n in range(count):
            self.make(org, f"p-{n}")

    def anchors(self, org):
        return self.server.api("GET", f"/orgs/{org}/audit_logs/anchors", expect=200).data

    def anchor(self, org):
        """Makes a day end: everything sealed until now comes into an anchor."""
        self.export(org)  # seals
        before = len(self.anchors(org))
        self.server.sql(f"UPDATE audit_chains SET unanchored_at = 1 WHERE org_id = {self.org_id(org)}")
        wait_until(lambda: len(self.anchors(org)) > before, self.server.process, "an anchor")

    def export(self, org, name=None, after=None):
        more = f"&after={after}" if after else ""
        text = self.server.api("GET", f"/orgs/{org}/audit_logs/export?format=jsonl{more}", expect=200).body.decode()
        if name:
            (self.home / name).write_text(text)
        return [json.loads(line) for line in text.splitlines()]

    def keep_key(self):
        (self.home / "audit.key").write_text(json.dumps(self.json("audit", "key")))

    def verify(self, name, *flags, status=0):
        return self.nh("audit", "verify", name, "--key", "audit.key", *flags, status=status)

    def test_a_log_on_its_way(self):
        self.people_do_things("way")
        self.keep_key()
        first = self.export("way", "way-1.jsonl")
        self.assertEqual([first[0]["format"], first[0]["organization"], first[0]["base"]], ["nerveshub-log", "way", None])
        entries = [line["entry"] for line in first if "entry" in line]  # between them may stand anchors, if a day of the test has ended just now
        self.assertEqual([e["seq"] for e in entries], list(range(1, first[-1]["head"]["seq"] + 1)))
        self.assertEqual(entries[0]["actor_kind"], "user")
        self.assertIn("p-5", entries[-1]["description"])
        # by hand, with another library: the chain is what the documentation says
        canonical = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        link = hashlib.sha256(canonical(first[0]["beginning"])).digest()
        for line in (line for line in first if "entry" in line):
            link = hashlib.sha256(link + canonical(line["entry"])).digest()
            self.assertEqual(line["hash"], link.hex())
        self.assertEqual(first[-1]["head"]["hash"], link.hex())
        self.assertRegex(self.verify("way-1.jsonl").stdout, rf"^Verified: entries 1 to {first[-1]['head']['seq']}, \d+ anchor\(s\), signed ")

        self.anchor("way")
        self.make("way", "later")
        second = self.export("way", "way-2.jsonl")
        anchors = self.json("audit", "anchors", "--org", "way")
        held = [line for line in second if "anchor" in line]
        self.assertEqual([bool(held), held], [True, anchors[::-1][:len(held)]])
        (self.home / "anchors.json").write_text(json.dumps(anchors[-len(held):]))
        for kept in ("way-1.jsonl", "anchors.json"):
            self.assertIn("agrees", self.verify("way-2.jsonl", "--kept", kept).stdout)
        told = self.json("audit", "verify", "way-2.jsonl", "--key", self.json("audit", "key")[0]["public_key"], "--kept", "way-1.jsonl")
        self.assertEqual([told[k] for k in ("verified", "worst", "anchors", "kept_statement_agrees", "findings")], [True, "sound", len(held), True, []])
        self.assertIn("audit.anchor", self.server.log_text())
        self.assertIn(held[0]["signature"], self.server.log_text())

        # only what came since the anchor
        seq = held[0]["anchor"]["seq"]
        part = self.export("way", "way-3.jsonl", seq)
        self.assertEqual([part[0]["base"], part[1]["entry"]["seq"]], [held[0], seq + 1])
        self.assertIn(f"{seq} entries before them are on the server", self.verify("way-3.jsonl", "--kept", "anchors.json").stdout)

        # an older one in place of the newer one: what was kept says so
        self.verify("way-1.jsonl", "--kept", "way-2.jsonl", status=TAIL)
        # a file that broke off, another key, no key, no log
        text = (self.home / "way-2.jsonl").read_text()
        (self.home / "broken.jsonl").write_text(text[:-200])
        self.assertIn("its end is missing", self.verify("broken.jsonl", status=3).stderr)
        self.nh("audit", "verify", "way-2.jsonl", "--key", "ab" * 32, status=UNSIGNED)
        self.nh("audit", "verify", "way-2.jsonl", status=1)
        self.verify("audit.key", status=3)
        self.nh("audit", "export", "way-2.jsonl", "--org", "way", status=1)  # nothing is overwritten
        self.nh("audit", "export", "way-4.jsonl", "--org", "way", "--after", str(seq))
        for ours, theirs in ((self.home / "way-4.jsonl").read_text(), (self.home / "way-3.jsonl").read_text()), (self.nh("audit", "export", "--org", "way").stdout, text):
            self.assertEqual(*([line for line in file.splitlines() if line.startswith('{"entry"')] for file in (ours, theirs)))

    def test_routes(self):
        self.people_do_things("routes", 1)
        path = "/orgs/routes/audit_logs"
        whole = self.server.api("GET", f"{path}/export?format=jsonl", expect=200)
        self.assertEqual(whole.headers["content-type"], "application/jsonl")
        self.assertEqual(self.server.api("GET", f"{path}/export?format=jsonl", headers={"Range": "bytes=0-9"}, expect=206).body, whole.body[:10])
        self.server.api("GET", f"{path}/export?format=jsonl", headers={"Range": "bytes=99999999-"}, expect=416)
        for bad in ("x", "-1", "99999"):
            self.assertIn("after", json.loads(self.server.api("GET", f"{path}/export?format=jsonl&after={bad}", expect=422).body)["errors"])
        self.server.api("GET", f"{path}/export?format=jsonl&after=0", expect=200)
        self.server.api("GET", f"{path}/export?format=jsonl", token="nonsense", expect=401)
        refused = self.server.api("GET", "/orgs/routes/products/p-0/audit_logs/export?format=jsonl", expect=422)
        self.assertIn("must be csv or json", refused.body.decode())
        self.server.api("GET", f"{path}/anchors", expect=200)
        self.server.api("GET", f"{path}/anchors?before=x", expect=422)
        keys = self.server.api("GET", f"{path}/key", expect=200).data
        self.assertEqual([k["number"] for k in keys], [1])

    def test_tampering(self):
        for org, *_ in TAMPERINGS:
            self.people_do_things(org)
            self.anchor(org)
            self.make(org, "later")
            self.export(org, f"{org}.jsonl")
        self.keep_key()
        self.verify(f"{TAMPERINGS[0][0]}.jsonl")
        self.server.stop()
        for org, statements, *_ in TAMPERINGS:
            for text in statements:
                self.server.sql(text.format(org=self.org_id(org)))
        self.server.start()
        self.recorder.upstream = self.server.web_port
        for org, *_ in TAMPERINGS:
            self.make(org, "after-it")  # what comes later heals nothing
            self.export(org, f"{org}.jsonl")
        wait_until(lambda: "audit.altered" in self.server.log_text(), self.server.process, "a word about the head that was changed")
        self.server.stop()
        for org, _, status, words in TAMPERINGS:
            with self.subTest(org):
                told = self.verify(f"{org}.jsonl", status=status)
                self.assertIn(words, told.stderr + told.stdout)
        self.server.start()
        self.recorder.upstream = self.server.web_port

    def test_going_back(self):
        """Everything since a copy was made is gone, and all that is left is sound; only what was kept elsewhere tells."""
        self.people_do_things("back")
        org = self.org_id("back")
        self.keep_key()
        self.export("back", "back-1.jsonl")
        self.server.sql(f"CREATE TABLE kept_head AS SELECT * FROM audit_chains WHERE org_id = {org}")
        self.make("back", "secret")
        self.export("back", "back-2.jsonl")
        self.server.stop()
        self.server.sql(f"DELETE FROM audit_logs WHERE org_id = {org} AND seq > (SELECT seq FROM kept_head)")
        self.server.sql(f"DELETE FROM audit_anchors WHERE org_id = {org} AND at > (SELECT at FROM kept_head)")
        self.server.sql(f"DELETE FROM audit_chains WHERE org_id = {org}")
        self.server.sql("INSERT INTO audit_chains SELECT * FROM kept_head")
        self.server.sql("DROP TABLE kept_head")
        self.server.start()
        self.recorder.upstream = self.server.web_port
        self.export("back", "back-3.jsonl")
        self.verify("back-3.jsonl", "--kept", "back-1.jsonl")
        self.assertIn("the end is missing", self.verify("back-3.jsonl", "--kept", "back-2.jsonl", status=TAIL).stderr)
        self.make("back", "innocent")
        self.export("back", "back-4.jsonl")
        self.verify("back-4.jsonl", "--kept", "back-2.jsonl", status=ALTERED)


if __name__ == "__main__":
    unittest.main()
