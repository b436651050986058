"""The world of a run: server, load, nginx and PostgreSQL as processes with a core each, and what the kernel says of them."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import nhtest

ROOT = Path(__file__).resolve().parents[1]
BUILD = nhtest.BUILD
CORES = os.sched_getaffinity(0)
SERVER_CORE, LOAD_CORE = sorted(CORES)[0], sorted(CORES)[-1]
IDENTITIES = BUILD / "bench-identities"  # kept: the devices of the next run are the same
PRODUCT = "Thermo Widget"


@contextlib.contextmanager
def on_core(core):
    """What is started inside has this core to itself, as far as we are concerned."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait_until(what, test, deadline=120):
    end = time.monotonic() + deadline
    while not test():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {deadline} s")
        time.sleep(0.02)


# ---- what the kernel knows of a process ------------------------------------------------------------------------------------------------


def status_kib(pid, field):
    return int(re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def anon(pid):
    return status_kib(pid, "RssAnon") * 1024


def peak(pid):
    return status_kib(pid, "VmHWM") * 1024


def reset_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_us(pid):
    """CPU time by name of thread, numbers at the end of names left out: {"loop": …, "work": …, "db-writer": …}."""
    sums = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name = re.sub(r"-?\d+$", "", (task / "comm").read_text().strip())
            sums[name] = sums.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1000
    return sums


def softirq_us():
    """CPU time of the kernel's softirq threads of all cores so far."""
    us = 0
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if comm.read_text().startswith("ksoftirqd/"):
                us += int((comm.parent / "schedstat").read_text().split()[0]) / 1000
    return us


class Spent:
    """CPU time of a process between two moments: `loop` is what connections cost, `database` what workers and the writer did, `all` everything."""

    def __init__(self, pid):
        self.pid, self.before = pid, cpu_us(pid)

    def read(self):
        now = cpu_us(self.pid)
        used = {name: us - self.before.get(name, 0) for name, us in now.items()}
        self.all, self.loop = sum(used.values()), used.get("loop", 0)
        self.database = used.get("work", 0) + used.get("db-writer", 0)
        return self


def kernel_bytes():
    """Socket memory and kernel objects of the whole machine: differences count, and both ends of a connection are on it."""
    tcp = int(re.search(r"^TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.M)[1]) * os.sysconf("SC_PAGE_SIZE")
    return tcp + int(re.search(r"^Slab:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)[1]) * 1024


# ---- server ----------------------------------------------------------------------------------------------------------------------------


class Hub(nhtest.Server):
    """nerveshubd on the server's core, one loop, log to a file, fsync as always; with product and a CA that makes its devices known."""

    def __init__(self, *extra, **kwargs):
        super().__init__("--loops", "1", "--log-level", "warn", "--drain", "500ms", "--firmware-max-size", "4G", *extra, **kwargs)
        self.pki = nhtest.Pki(self.home / "pki")
        self.prepared = False

    def start(self):
        with on_core(SERVER_CORE):
            super().start()
        self.pid = self.process.pid
        if not self.prepared:
            self.prepare()
        return self

    def restart(self):
        self.stop()
        return self.start()

    def prepare(self):
        self.prepared = True
        self.login()
        self.api("POST", "/orgs", {"name": "acme"}, expect=201)
        self.api("POST", "/orgs/acme/products", {"name": PRODUCT}, expect=201)
        private, public = nhtest.firmware_key(self.home)
        self.key = private
        self.api("POST", "/orgs/acme/keys", {"name": "k1", "key": public.read_text().strip()}, expect=201)
        # The same CA in every run, so that the load's identities are made once.
        IDENTITIES.mkdir(parents=True, exist_ok=True)
        kept = nhtest.Pki(IDENTITIES)
        if not (IDENTITIES / "ca.crt").exists():
            kept.ca("ca")
        for name in ("ca.crt", "ca.key"):
            shutil.copy(IDENTITIES / name, self.pki.home / name)
        token = self.api("GET", "/orgs/acme/ca_certificates/verification_token", expect=200).data["verification_token"]
        self.api("POST", "/orgs/acme/ca_certificates", {"cert": nhtest.pem64(self.pki.home / "ca.crt"), "description": "bench",
                                                          "verification_cert": nhtest.pem64(self.pki.verification("ca", token)),
                                                          "jitp": {"product_name": PRODUCT, "tags": [], "description": "bench"}}, expect=201)

    def gauge(self, name):
        return int(re.search(rf"^nerveshub_{name} (\d+)", self.http("GET", "/metrics", port=self.metrics_port).body.decode(), re.M)[1])

    def calm(self):
        """Nobody is connected, every job is done, and memory that is to go back has gone (two sweeps)."""
        wait_until("the server to be calm", lambda: self.gauge("websockets") + self.gauge("worker_queue_length") + self.gauge("workers_busy") + self.gauge("connections_parked") == 0)
        time.sleep(2.5)

    def end(self):
        self.stop()
        self.remove()


# ---- load ------------------------------------------------------------------------------------------------------------------------------


class Load:
    """nerveshub-fleet load on the load's core: one command, one answer."""

    def __init__(self, hub, count, first=0):
        with on_core(LOAD_CORE):
            self.process = subprocess.Popen(
                [nhtest.program("nerveshub-fleet"), "load", "--steer", "--server", f"127.0.0.1:{hub.device_port}", "--ca", str(hub.ca_file), "--count", str(count),
                 "--first", str(first), "--dir", str(IDENTITIES), "--device-ca", str(hub.pki.home / "ca.crt"), "--device-ca-key", str(hub.pki.home / "ca.key"), "--product", PRODUCT],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.hear()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the load ended early")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(str(answer))
        return answer

    def do(self, line):
        self.tell(line)
        return self.hear()

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


BASELINE = BUILD / "bench" / "nh-bench-baseline"


def baseline(*args):
    with on_core(SERVER_CORE):
        return float(nhtest.run(BASELINE, *args).stdout)


@contextlib.contextmanager
def other_core_busy():
    """The load's core works meanwhile as it does while the load connects: where two cores are two threads of one, that slows the first by up to a half."""
    with on_core(LOAD_CORE):
        process = subprocess.Popen([BASELINE, "handshake", "1000000"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


# ---- nginx -----------------------------------------------------------------------------------------------------------------------------


NGINX = "/usr/sbin/nginx"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    """Debian's nginx: one worker on the server's core, the same certificate and file, sendfile, no logs."""

    def __init__(self, certificate, key, file):
        self.home = Path(tempfile.mkdtemp(prefix="nh-bench-nginx-"))
        self.home.chmod(0o755)
        self.plain, self.tls = free_port(), free_port()
        os.link(file, self.home / "blob") if os.stat(file).st_dev == os.stat(self.home).st_dev else shutil.copy(file, self.home / "blob")
        (self.home / "blob").chmod(0o644)
        for source, name in ((certificate, "cert.pem"), (key, "key.pem")):
            shutil.copy(source, self.home / name)
        temporary = " ".join(f"{kind}_temp_path {self.home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.home / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {self.home}/pid; error_log {self.home}/error.log;\nevents {{ worker_connections 1024; }}\n"
            f"http {{ access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream; keepalive_requests 100000; {temporary}\n"
            f"ssl_certificate {self.home}/cert.pem; ssl_certificate_key {self.home}/key.pem; ssl_protocols TLSv1.3;\n"
            f"server {{ listen 127.0.0.1:{self.plain}; root {self.home}; }}\nserver {{ listen 127.0.0.1:{self.tls} ssl; root {self.home}; }}\n}}\n")
        with on_core(SERVER_CORE):
            self.process = subprocess.Popen([NGINX, "-c", str(self.home / "nginx.conf"), "-e", "/dev/null"], stdin=subprocess.DEVNULL)
        wait_until("nginx", self.answers)
        wait_until("nginx's worker", self.workers)  # the master listens before it has one
        self.pid = self.workers()[0]

    def workers(self):
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.tls)) == 0

    def end(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.home, ignore_errors=True)


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------------------------


class Postgres:
    """A cluster of its own with its defaults, fsync on, on the load's core. PostgreSQL refuses root."""

    def __init__(self):
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.home = Path(tempfile.mkdtemp(prefix="nh-bench-pg-"))
        self.port = free_port()
        self.demote = []
        if os.geteuid() == 0:
            shutil.chown(self.home, "postgres", "postgres")
            self.demote = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", f"HOME={self.home}"]
        self.run("initdb", "-D", self.home / "data", "-U", "nh", "-A", "trust", "--encoding=UTF8", "--locale=C")
        with on_core(LOAD_CORE):
            self.run("pg_ctl", "-D", self.home / "data", "-o", f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.home}", "-l",
                     self.home / "log", "-w", "start")
        self.run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "nh", "hub")
        self.url = f"postgresql://nh@127.0.0.1:{self.port}/hub"

    def run(self, name, *args):
        # No pipes: the server that pg_ctl leaves behind would keep them open.
        with open(self.home.parent / (self.home.name + ".log"), "ab") as log:
            subprocess.run([*self.demote, str(self.bin / name), *map(str, args)], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)

    def end(self):
        self.run("pg_ctl", "-D", self.home / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home.parent / (self.home.name + ".log")).unlink(missing_ok=True)
