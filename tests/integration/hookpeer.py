"""An endpoint of webhooks over real TLS: what was posted to it, held against the signature as Standard Webhooks has it, and answers as bad as one likes. Written from the convention, not from our code."""

import base64
import hashlib
import hmac
import http.server
import json
import select
import ssl
import threading
import time

from nhtest import DEADLINE


def genuine(secret, headers, body):
    """Is one of the signatures the secret's?"""
    assert secret.startswith("whsec_"), secret
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(base64.b64decode(secret[6:]), signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, s) for s in headers["webhook-signature"].split(" "))


class Receiver:
    """modes: by path; an int is a status, "hang" no answer before the path has another mode, "huge" a megabyte, "close" none at all, ("redirect", url) one."""

    def __init__(self, pki, port=0):
        self.posts, self.modes, self.hanging, self.changed = [], {}, 0, threading.Condition()
        cert, key = pki.sign("receiver", "endpoints", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.open(port)

    def open(self, port):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                self.request.settimeout(DEADLINE)
                try:
                    self.request.do_handshake()
                except OSError:
                    pass
                super().setup()

            def do_POST(self):
                receiver.take(self)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def get_request(self):
                socket, address = super().get_request()
                return receiver.context.wrap_socket(socket, server_side=True, do_handshake_on_connect=False), address

            def handle_error(self, *_):
                pass

        self.httpd = Server(("127.0.0.1", port), Handler)
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def url(self, path, host="localhost"):
        return f"https://{host}:{self.port}{path}"

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        mode = self.modes.get(handler.path, 200)
        with self.changed:
            self.posts.append({"method": handler.command, "path": handler.path, "headers": {k.lower(): v for k, v in handler.headers.items()}, "body": body, "mode": mode,
                               "while_others_hang": self.hanging > 0})
            self.hanging += mode == "hang"
            self.changed.notify_all()
        if mode == "hang":
            while self.modes[handler.path] == "hang" and not select.select([handler.connection], [], [], 0.02)[0]:
                pass
            with self.changed:
                self.hanging -= 1
            mode = "close" if self.modes[handler.path] == "hang" else self.modes[handler.path]
        if mode == "close":
            handler.close_connection = True
            return
        answer = b"x" * (1 << 20) if mode == "huge" else b"thank you"
        handler.send_response(302 if isinstance(mode, tuple) else mode if isinstance(mode, int) else 200)
        if isinstance(mode, tuple):
            handler.send_header("location", mode[1])
        handler.send_header("content-length", str(len(answer)))
        handler.end_headers()
        try:
            handler.wfile.write(answer)
        except OSError:
            pass

    def of(self, path):
        with self.changed:
            return [p for p in self.posts if p["path"] == path]

    def wait(self, path, enough, what="posts"):
        """What came to the path, once enough(it)."""
        deadline = time.monotonic() + DEADLINE
        with self.changed:
            while not enough(seen := [p for p in self.posts if p["path"] == path]):
                left = deadline - time.monotonic()
                assert left > 0, f"{what} at {path}: {[(p['headers'].get('webhook-id'), p['body'][:200]) for p in seen]}"
                self.changed.wait(left)
        return seen

    def close(self):
        self.modes = dict.fromkeys(self.modes, 200)
        self.httpd.shutdown()
        self.httpd.server_close()


def event(post):
    return json.loads(post["body"])
