"""`nh` as a person types it, against a real nerveshubd, with what it sends recorded on the way."""

import http.client
import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

import nhtest
from nhtest import DEADLINE, Server, firmware_key, make_firmware, program


class Recorder(http.server.ThreadingHTTPServer):
    """Passes requests on to a server's API and keeps what went by."""

    daemon_threads = True

    def __init__(self, port):
        self.upstream, self.calls, self.bodies = port, [], []
        self.mismatches = []  # with the server's OpenAPI document, where that is looked at
        super().__init__(("127.0.0.1", 0), Relay)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self):
        calls, self.calls = self.calls, []
        return calls


class Relay(http.server.BaseHTTPRequestHandler):
    def relay(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "content-length")}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=DEADLINE)
        connection.request(self.command, self.path, body=body or (b"" if self.command == "POST" else None), headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        self.server.calls.append(f"{self.command} {self.path}")
        self.server.bodies.append(body)
        if nhtest.openapi:
            response = nhtest.Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)
            try:
                nhtest.openapi.check(None, self.server.upstream, self.command, self.path, headers, body or None, response)
            except AssertionError as mismatch:
                self.server.mismatches.append(str(mismatch))
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_POST = do_PUT = do_DELETE = relay

    def log_message(self, *args):
        pass


class CliCase(unittest.TestCase):
    """A server, a home directory, and `nh` in it, which reaches the server through a Recorder. Nothing is set up but the server's first administrator."""

    server_args = ()
    server_env = {}

    @classmethod
    def setUpClass(cls):
        cls.home = Path(tempfile.mkdtemp(prefix="nhtest-cli-"))
        cls.server = Server(*cls.server_args, env=cls.server_env).start()
        cls.recorder = Recorder(cls.server.web_port)
        cls.uri = f"http://localhost:{cls.recorder.server_port}"
        cls.stranger, _ = firmware_key(cls.home, "stranger")
        cls.prepare()

    @classmethod
    def prepare(cls):
        """Organization acme, product widget, key dev with the password secret."""
        cls.nh("config", "set", "uri", cls.uri)
        cls.sign_in()
        cls.nh("org", "create", "acme")
        cls.nh("config", "set", "org", "acme")
        cls.nh("product", "create", "widget")
        cls.nh("config", "set", "product", "widget")
        cls.nh("key", "create", "dev", "--password", "secret")

    @classmethod
    def sign_in(cls):
        return cls.nh("user", "auth", "--email", "admin@localhost", "--non-interactive", input=(cls.server.data_dir / "admin-password").read_text())

    @classmethod
    def tearDownClass(cls):
        cls.recorder.shutdown()
        cls.recorder.server_close()
        shutil.rmtree(cls.home, ignore_errors=True)
        cls.server.end()
        if cls.recorder.mismatches:
            raise AssertionError("\n\n".join(cls.recorder.mismatches))

    @classmethod
    def environment(cls, **more):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NERVES_", "MIX_"))}
        return {**kept, "HOME": str(cls.home), **more}

    @classmethod
    def nh(cls, *args, input="", status=0, env=None):
        done = subprocess.run([program("nh"), *map(str, args)], input=input, capture_output=True, text=True, timeout=DEADLINE, cwd=cls.home,
                              env=cls.environment(**(env or {})))
        if done.returncode != status:
            raise AssertionError(f"nh {args}: {done.returncode} instead of {status}\n{done.stdout}\n{done.stderr}\n{cls.server.log_text()[-3000:]}")
        return done

    def json(self, *args, **kwargs):
        return json.loads(self.nh(*args, "-o", "json", **kwargs).stdout)

    def built(self, version, product="widget"):
        """A firmware as a build leaves it: signed by nobody the server knows."""
        return make_firmware(self.home, version, self.stranger, product=product)
