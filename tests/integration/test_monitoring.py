"""Figures, readiness and log lines as an operator uses them: the page of /metrics is read strictly, and held against docs/guides/monitoring.md in both directions."""

import json
import math
import re
import shutil
import signal
import subprocess
import unittest

import nhtest
from nhtest import ROOT, Server, ServerCase, wait_until

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{({NAME}=\"[^\"\\\n]*\"(?:,{NAME}=\"[^\"\\\n]*\")*)\}})? (\S+)")
HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")


def parse(text):
    """{name: (type, help, {(sample, labels): value})}, refusing whatever Prometheus or its linter would."""
    families, current, seen = {}, None, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, about = line[7:].split(" ", 1)
            assert name not in families and about and not about.endswith("."), line
            current, families[name] = name, [None, about, {}]
            continue
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == current and families[name][0] is None and kind in ("counter", "gauge", "histogram"), line
            families[name][0] = kind
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match[1], match[2] or "", float(match[3])
        kind = families[current][0]
        assert name == current or (kind == "histogram" and name in [current + part for part in HISTOGRAM_PARTS]), line
        assert (name, labels) not in seen and not math.isnan(value) and (kind == "gauge" or value >= 0), line
        seen.add((name, labels))
        families[current][2][name, labels] = value
    return families


def check_histogram(name, samples):
    """Buckets grow, and the last is the count."""
    by_label = {}
    for (sample, labels), value in samples.items():
        if sample == name + "_bucket":
            rest = ",".join(label for label in labels.split(",") if not label.startswith("le="))
            end = re.search(r'le="([^"]+)"', labels)[1]
            by_label.setdefault(rest, []).append((math.inf if end == "+Inf" else float(end), value))
    assert by_label, name
    for rest, buckets in by_label.items():
        ends, values = zip(*buckets)
        assert list(ends) == sorted(ends) and ends[-1] == math.inf and list(values) == sorted(values), (name, buckets)
        assert values[-1] == samples[name + "_count", rest] and (name + "_sum", rest) in samples, (name, rest)


class TestMetrics(ServerCase):
    def page(self):
        response = self.server.http("GET", "/metrics", port=self.server.metrics_port)
        self.assertEqual((response.status, response.headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        return response.body.decode()

    def test_form(self):
        for name, (kind, _, samples) in parse(self.page()).items():
            with self.subTest(name):
                self.assertTrue(samples)
                self.assertEqual(kind == "counter", name.endswith("_total"))
                self.assertNotRegex(name, r"(milli|micro|nano)seconds|minutes|kilo|_(ms|us)(_|$)")
                self.assertRegex(name, r"^(nerveshub|process)_[a-z0-9_]+$")
                if kind == "histogram":
                    self.assertTrue(name.endswith("_seconds"))
                    check_histogram(name, samples)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool(self):
        done = subprocess.run(["promtool", "check", "metrics"], input=self.page(), capture_output=True, text=True, timeout=nhtest.DEADLINE)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_documented(self):
        """Names, types and labels of the page are those of the guide, and the other way round; alerts ask for nothing else."""
        guide = (ROOT / "docs" / "guides" / "monitoring.md").read_text()
        documented = {name: (kind, sorted(re.findall(r"`(\w+)`", labels)))
                      for name, kind, labels in re.findall(r"^\| `((?:nerveshub|process)_\w+)` \| (\w+) \| [^|]+ \|([^|]*)\|", guide, re.M)}
        found = {}
        for name, (kind, _, samples) in parse(self.page()).items():
            labels = {label for _, text in samples for label in re.findall(rf"({NAME})=", text)} - {"le"}
            found[name] = (kind, sorted(labels))
        self.assertEqual(documented, found)
        asked = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\b((?:nerveshub|process)_\w+)", "\n".join(re.findall(r"expr: .*", guide)))}
        self.assertLessEqual(asked, set(found))

    def test_counting(self):
        """What is asked for shows in the figures."""
        def value(name, labels=""):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            families = parse(self.page())
            return families.get(name, families.get(family))[2][name, labels]

        before = value("nerveshub_http_responses_total", 'status="4xx"'), value("nerveshub_http_request_duration_seconds_count", 'class="answer"')
        self.server.api("GET", "/orgs/nobody", expect=404)
        self.assertEqual(value("nerveshub_http_responses_total", 'status="4xx"'), before[0] + 1)
        self.assertGreater(value("nerveshub_http_request_duration_seconds_count", 'class="answer"'), before[1])
        self.assertGreater(value("nerveshub_database_write_duration_seconds_count"), 0)
        wait_until(lambda: value("nerveshub_job_runs_total", 'kind="telemetry",result="done"') > 0, self.server.process, "a job in the figures")
        wait_until(lambda: value("process_open_fds") > 5 and value("process_resident_memory_bytes") > 1 << 20, self.server.process, "the process's figures")


class TestStatus(unittest.TestCase):
    def test_ready_and_draining(self):
        server = Server("--drain-delay", "600s").start()
        self.addCleanup(server.remove)
        self.addCleanup(server.stop, signal.SIGKILL)
        for port in (server.web_port, server.metrics_port):
            for path, body in (("/status/live", {"live": True, "reasons": []}), ("/status/ready", {"ready": True, "reasons": []})):
                answer = server.http("GET", path, port=port)
                self.assertEqual((answer.status, answer.json, answer.headers["cache-control"]), (200, body, "no-store"))
        self.assertEqual(server.http("GET", "/status/alive").body, b"Hello, Friend!")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.http("GET", "/status/ready", port=server.metrics_port).status == 503, server.process, "the server to be unready")
        self.assertEqual(server.http("GET", "/status/ready", port=server.web_port).json, {"ready": False, "reasons": ["draining"]})
        self.assertEqual(server.http("GET", "/status/live", port=server.web_port).status, 200)
        # A second one ends it at once.
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(nhtest.DEADLINE), -signal.SIGTERM)


class TestLogLines(ServerCase):
    server_args = ("--log-format", "json", "--log-level", "debug")

    def lines(self):
        return [json.loads(line) for line in self.server.log_text().split("\n") if line]

    def asked(self, **headers):
        return self.server.http("GET", "/api/orgs/acme", headers={"Authorization": f"Bearer {self.server.token}", **headers})

    def test_request_ids(self):
        answer = self.asked(**{"X-Request-Id": "from-a-proxy.0123456789"})
        self.assertEqual(answer.headers["x-request-id"], "from-a-proxy.0123456789")
        wait_until(lambda: any(line.get("request") == "from-a-proxy.0123456789" and line["event"] == "http.request" and line["status"] == 200 for line in self.lines()), self.server.process, "its line")
        for bad in ("", "x" * 19, "x" * 201):
            self.assertRegex(self.asked(**{"X-Request-Id": bad}).headers["x-request-id"], r"^[0-9a-f]{32}$")
        self.assertNotEqual(self.asked().headers["x-request-id"], self.asked().headers["x-request-id"])
        for good in ("x" * 20, "y" * 200, 'with "quotes" and } = in it'):
            self.assertEqual(self.asked(**{"X-Request-Id": good}).headers["x-request-id"], good)
            wait_until(lambda: any(line.get("request") == good for line in self.lines()), self.server.process, "its line")

    def test_every_line_is_json(self):
        self.server.api("POST", "/users/login", {"email": 'who"\\\n\x01\u0085@example.com', "password": "wrong"}, expect=401)
        for line in self.lines():
            self.assertLessEqual({"time", "level", "event"}, set(line))


if __name__ == "__main__":
    unittest.main()
