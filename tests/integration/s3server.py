"""A real S3 server for tests: Debian's OpenStack Swift with its S3 API, one replica on one folder, four processes on loopback ports of their own. Nothing of it is mocked: signatures,
multipart uploads, listings and presigned URLs are checked by somebody else's code.

    with S3Server(home) as s3: s3.endpoint, s3.region, s3.access_key, s3.secret_key, s3.bucket

It runs as an ordinary user, needs no systemd, no memcached and no configuration of the machine."""

import contextlib
import getpass
import hashlib
import hmac
import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path

PYTHON = "/usr/bin/python3"
KINDS = ("account", "container", "object", "proxy")
CONSTRAINTS = "[swift-constraints]\nmax_file_size = 5368709122\n"

PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {proxy}
workers = 0
swift_dir = {home}
user = {user}
log_level = WARNING
log_address = {home}/no-syslog

[pipeline:main]
pipeline = catch_errors healthcheck proxy-logging cache listing_formats bulk s3api tempauth slo dlo proxy-logging proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
storage_url_scheme = default

[filter:s3api]
use = egg:swift#s3api
location = {region}
s3_acl = false
cors_preflight_allow_origin =
storage_domain = localhost
min_segment_size = 1048576
allow_multipart_uploads = true

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""

BACKEND = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
devices = {home}/devices
mount_check = false
swift_dir = {home}
user = {user}
log_level = WARNING
log_address = {home}/no-syslog
disable_fallocate = true
eventlet_tpool_num_threads = 1

[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""

RINGS = """
import sys
from swift.common.ring import RingBuilder
for name, port in (("account", int(sys.argv[2])), ("container", int(sys.argv[3])), ("object", int(sys.argv[4]))):
    b = RingBuilder(4, 1, 0)
    b.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1, "replication_ip": "127.0.0.1", "replication_port": port})
    b.rebalance()
    b.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""

SERVER = """
import sys
import eventlet
eventlet.monkey_patch()
import swift.common.utils as utils
utils.SWIFT_CONF_FILE = sys.argv[3] + "/swift.conf"
utils.HASH_PATH_PREFIX = utils.HASH_PATH_SUFFIX = b""
utils.validate_configuration()
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[2], sys.argv[1] + "-server", default_port=0))
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class S3Server:
    access_key, secret_key, region, bucket = "test:tester", "testing-secret", "eu-test-1", "firmware"

    def __init__(self, home):
        self.home = Path(home)
        self.processes = []
        self.ports = ports = dict(zip(KINDS, free_ports(len(KINDS))))
        self.endpoint = f"http://127.0.0.1:{ports['proxy']}"
        (self.home / "devices" / "disk").mkdir(parents=True)
        common = dict(home=self.home, user=getpass.getuser(), secret=self.secret_key, region=self.region)
        (self.home / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n" + CONSTRAINTS)
        (self.home / "proxy.conf").write_text(PROXY.format(proxy=ports["proxy"], **common))
        for kind in ("account", "container", "object"):
            (self.home / f"{kind}.conf").write_text(BACKEND.format(kind=kind, port=ports[kind], **common))

    def away(self):
        """Nobody answers any more."""
        front = self.processes.pop()
        front.kill()
        front.wait()

    def back(self):
        self.start("proxy")
        self.wait()

    def __enter__(self):
        subprocess.run([PYTHON, "-c", RINGS, self.home, *(str(self.ports[kind]) for kind in KINDS[:3])], check=True)
        for kind in KINDS:
            self.start(kind)
        self.wait()
        status, body = self.request("PUT", f"/{self.bucket}")
        assert status == 200, (status, body)
        return self

    def wait(self):
        end = time.monotonic() + 60
        while not self.healthy():
            if time.monotonic() > end or any(p.poll() is not None for p in self.processes):
                self.__exit__()
                raise AssertionError("the S3 server did not start:\n" + "".join(f"{log.name}: {log.read_text()[-1500:]}\n" for log in self.home.glob("*.log")))
            time.sleep(0.1)

    def start(self, kind):
        with open(self.home / f"{kind}.log", "ab") as log:
            self.processes.append(subprocess.Popen([PYTHON, "-c", SERVER, kind, str(self.home / f"{kind}.conf"), str(self.home)], stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def healthy(self):
        """Every part of it listens, and the one in front answers."""
        for port in self.ports.values():
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.ports["proxy"], timeout=5)) as connection:
            try:
                connection.request("GET", "/healthcheck")
                return connection.getresponse().status == 200
            except OSError:
                return False

    def request(self, method, path, body=b"", query=""):
        """One request signed here, in the header: (status, body)."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        host, scope, digest = self.endpoint.split("/")[2], f"{now[:8]}/{self.region}/s3/aws4_request", hashlib.sha256(body).hexdigest()
        canonical = f"{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{now}\n\nhost;x-amz-content-sha256;x-amz-date\n{digest}"
        key = ("AWS4" + self.secret_key).encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}".encode(), "sha256").hexdigest()
        headers = {"x-amz-date": now, "x-amz-content-sha256": digest,
                   "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope},SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={signature}"}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.ports["proxy"], timeout=30)) as connection:
            connection.request(method, f"{path}?{query}" if query else path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def __exit__(self, *exc):
        for p in self.processes:
            p.terminate()
        for p in self.processes:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.processes.clear()


if __name__ == "__main__":  # to try things out: s3server.py FOLDER
    with S3Server(sys.argv[1]) as s3:
        print(s3.endpoint, s3.access_key, s3.secret_key, s3.region, flush=True)
        sys.stdin.read()
