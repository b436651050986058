"""The figures, one function each; the first line of a function is its help. Floors: design/connection-layer "Floors for scripts/bench".

The machine is seldom quiet. CPU time is counted, not wall time, wherever that is the question; rounds alternate with what they are compared to; of several
rounds the best counts, as other programs only ever add."""

import contextlib
import http.client
import os
import resource
import signal
import sqlite3
import statistics
import subprocess
import time

import agent
import api
import archives
import nhtest
import rollout
import world
from world import Hub, Load, Nginx, Postgres, Spent

MIB = 1 << 20


class Context:
    """What figures share: one server whose database knows the devices, and the large size of this machine."""

    def __init__(self, table, scale):
        self.report, self.skipped, self.scale = table.report, table.skipped, scale
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.large = self.size(min(50000, limit - 1000))
        self.known = 0      # devices load-0 … that the database knows
        self.strangers = 0  # and others
        self.handshake_us = None

    def __enter__(self):
        self.hub = Hub().start()
        self.report("large_size", self.large, "", "devices at the large size: min(50 000, hard descriptor limit - 1 000)")
        return self

    def __exit__(self, *exc):
        self.hub.end()

    def size(self, count):
        return max(20, int(count * self.scale))

    def fresh(self, count):
        """The server anew, with `count` devices that its database and its index of certificates know; nobody is connected."""
        load = Load(self.hub, count)
        if self.known < count:
            load.do(f"online {count}")
            load.do("drop")
            self.known = count
            self.hub.calm()
        load.end()
        self.hub.restart()

    @contextlib.contextmanager
    def load(self, count):
        load = Load(self.hub, count)
        try:
            yield load
        finally:
            load.end()
            self.hub.calm()


# ---- handshakes ------------------------------------------------------------------------------------------------------------------------


def handshake(c):
    """full mTLS handshake, upgrade and join against a handshake in memory"""
    # The best of some rounds, for another guest of the machine to be away once, and of some processes on both sides: where the kernel places a
    # process's pages moves either figure by a tenth, with not an instruction more.
    count, processes, rounds = c.size(3000), 3, 2
    hub = c.hub
    bare, warm, joined, database, alone, load_us = [], [], [], [], [], []
    with c.load(count) as load:
        spent = Spent(hub.pid)
        load.do(f"online {count}")
        if c.known < count:
            c.report("handshake.new_device", spent.read().all / count, "us", "all server CPU of a device never seen before: issuer found, device and certificate stored, joined")
            c.known = count
        load.do("drop")
        hub.calm()
    for process in range(processes):
        hub.restart()
        with c.load(count) as load:
            spent = Spent(hub.pid)
            load.do(f"connect {count}")
            cold = spent.read()
            if process == 0:
                c.report("handshake.cold_index", cold.loop / count, "us", f"loop CPU where the index does not know the certificate yet; {cold.database / count:.0f} us of database work beside it")
            load.do("drop")
            hub.calm()
            for _ in range(rounds):
                with world.other_core_busy():
                    bare.append(world.baseline("handshake", max(50, count // 2)))
                spent, mine = Spent(hub.pid), Spent(load.pid)
                load.do(f"connect {count}")
                spent.read()
                warm.append(spent.loop / count)
                load_us.append(mine.read().all / count)
                spent = Spent(hub.pid)
                load.do("join")
                load.do(f"receive {count}")
                spent.read()
                joined.append(spent.loop / count)
                load.do("drop")
                hub.calm()
            spent = Spent(hub.pid)
            load.do(f"online {count}")
            database.append(spent.read().database / count)
            load.do("drop")
            hub.calm()
            if process == processes - 1:
                spent = Spent(hub.pid)
                load.do(f"connect {count}")
                time.sleep(2.5)  # the last are written by themselves
                alone.append(spent.read().database / count)
                load.do("drop")
                hub.calm()
    ours = min(warm)
    c.handshake_us = ours
    c.report("handshake.in_memory", min(bare), "us", "server side of a full handshake with client certificate between two sessions of the library, no sockets; the other core as busy as with the load")
    c.report("handshake.with_upgrade", ours, "us", "loop CPU from accept to 101, certificate known to the index")
    c.report("handshake.ratio", ours / min(bare), "x", "the second against the first", at_most=1.25)
    c.report("handshake.with_join", ours + min(joined), "us", "the same with the join's share of the loop")
    c.report("handshake.join_ratio", (ours + min(joined)) / min(bare), "x", "with join, against the handshake in memory")
    c.report("handshake.database", min(database), "us", f"workers and writer beside it, connection and join in one transaction; {min(alone):.0f} for a connection that never joins")
    c.report("handshake.load", min(load_us), "us", "CPU of the load for each connect: its part of the cryptography")


def database_joins(hub, load, count, rounds):
    """Joins a second of the wall clock, the best of some rounds: every join waits for its commit."""
    best = 0
    for _ in range(rounds):
        load.do(f"connect {count} 256")
        answer = load.do("join")
        best = max(best, count / (answer["task_us"] / 1e6))
        load.do(f"receive {count}")
        load.do("drop")
        hub.calm()
    return best


def joins(c):
    """durable joins a second on SQLite and on PostgreSQL"""
    count = c.size(3000)
    if c.handshake_us is None:
        c.fresh(count)
        with c.load(count) as load:
            load.do(f"connect {count}")
            load.do("drop")
            c.hub.calm()
            spent = Spent(c.hub.pid)
            load.do(f"connect {count}")
            c.handshake_us = spent.read().loop / count
    rate = 1e6 / c.handshake_us
    c.report("joins.handshakes", rate, "1/s", "handshakes a second of one core, from their CPU time")
    c.fresh(count)
    with c.load(count) as load:
        c.report("joins.sqlite", database_joins(c.hub, load, count, 3), "1/s", "joins committed and fsynced a second, SQLite synchronous=FULL, loop, workers and writer on one core", at_least=rate)
    postgres = Postgres()
    hub = Hub(env={"DATABASE_URL": postgres.url})
    try:
        hub.start()
        few = c.size(1000)
        load = Load(hub, few)
        load.do(f"online {few}")
        load.do("drop")
        hub.calm()
        load.do("receive 0")
        c.report("joins.postgres", database_joins(hub, load, few, 2), "1/s", "the same on PostgreSQL with its defaults (fsync on), which shares the load's core")
        load.end()
    finally:
        hub.end()
        postgres.end()


# ---- memory ----------------------------------------------------------------------------------------------------------------------------


def idle(c, count):
    """Resident and kernel bytes of an idle joined device when `count` are there."""
    c.fresh(count)
    load = Load(c.hub, count)
    # What the first ones bring into being once (caches of the database, heaps of the workers) is not a device's.
    load.do(f"online {min(count, c.size(1000))}")
    load.do("drop")
    c.hub.calm()
    before, kernel = world.anon(c.hub.pid), world.kernel_bytes()
    load.do("receive 0")
    load.do(f"online {count}")
    load.do(f"receive {count}")
    time.sleep(2.5)
    each, in_kernel = (world.anon(c.hub.pid) - before) / count, (world.kernel_bytes() - kernel) / count / 2
    load.end()
    c.hub.calm()
    return each, in_kernel


def memory(c):
    """resident and kernel memory of an idle joined device"""
    small = c.size(5000)
    bare = world.baseline("session", small)
    (a, a_kernel), (b, b_kernel) = idle(c, small), idle(c, c.large)
    c.report("memory.bare_session", bare / 1024, "KiB", "a TLS server session after its handshake, nothing else")
    c.report("memory.idle_5000", a / 1024, "KiB", f"anonymous resident memory of nerveshubd for each idle joined device of {small}", at_most=14)
    c.report("memory.idle_large", b / 1024, "KiB", f"the same of {c.large}", at_most=14)
    c.report("memory.against_bare", b / bare, "x", "against the bare session", at_most=1.25)
    c.report("memory.growth_with_size", max(a, b) / min(a, b), "x", "the two sizes against each other", at_most=1.05)
    c.report("memory.kernel_5000", a_kernel / 1024, "KiB", "kernel: growth of Slab (meminfo) and TCP mem (sockstat), half of it, as both ends are on this machine")
    c.report("memory.kernel_large", b_kernel / 1024, "KiB", "the same at the large size")


# ---- storms ----------------------------------------------------------------------------------------------------------------------------


def storms(c):
    """memory after repeated connect and disconnect storms"""
    count, after = c.size(5000), []
    c.fresh(count)
    load = Load(c.hub, count)
    for _ in range(4):
        load.do(f"online {count} 0")
        load.do("drop")
        c.hub.calm()
        after.append(world.anon(c.hub.pid))
    load.end()
    c.report("storms.after_first", after[0] / MIB, "MiB", f"resident after {count} devices came all at once and went")
    c.report("storms.growth", (after[3] - after[0]) / after[0] * 100, "%", "after the fourth time, against after the first", at_most=5)


def reconnect(c):
    """all devices of the large size come back at once"""
    count = c.large
    c.fresh(count)
    load = Load(c.hub, count)
    empty = world.anon(c.hub.pid)
    load.do(f"online {count}")
    load.do(f"receive {count}")
    time.sleep(2.5)
    at_rest = world.anon(c.hub.pid) - empty
    load.do("drop")
    c.hub.calm()
    world.reset_peak(c.hub.pid)
    files = world.peak(c.hub.pid) - world.anon(c.hub.pid)  # what of the highest mark is not anonymous memory
    spent, mine = Spent(c.hub.pid), Spent(load.pid)
    answer = load.do(f"online {count} 0")
    spent.read(), mine.read()
    highest = world.peak(c.hub.pid) - files - empty
    cost = max(spent.all, mine.all) / count
    bound = 1.2 * count * cost / 1e6
    c.report("reconnect.whole_after", answer["task_us"] / 1e6, "s", f"until all {count} are joined again, {answer['failures']} attempts failed")
    c.report("reconnect.cost", cost, "us", f"CPU for each connection of the busier side: server {spent.all / count:.0f} (database {spent.database / count:.0f}), load {mine.all / count:.0f}")
    c.report("reconnect.longest_wait", answer["join"]["max_us"] / 1e6, "s", "of any device, from the cut until joined; the floor is 1.2 x devices x that cost, as each side has one core", at_most=bound)
    c.report("reconnect.peak", highest / at_rest, "x", "highest memory meanwhile, against all of them idle", at_most=1.5)
    load.end()
    c.hub.calm()


# ---- messages --------------------------------------------------------------------------------------------------------------------------


def beat_us(c, count):
    """Server CPU of one heartbeat: the best of five rounds of 4000 a second."""
    c.fresh(count)
    with c.load(count) as load:
        load.do(f"online {count}")
        load.do(f"receive {count}")
        time.sleep(1)
        best = None
        for _ in range(5):
            spent, before = Spent(c.hub.pid), load.do("report")["heartbeats"]
            beats = load.do("heartbeat 4000/s 2s")["heartbeats"] - before
            each = spent.read().all / beats
            best = each if best is None else min(best, each)
        return best


def heartbeat(c):
    """one heartbeat and its answer"""
    small, large = beat_us(c, c.size(1000)), beat_us(c, c.large)
    c.report("heartbeat.1000", small, "us", "server CPU of one heartbeat and its answer, 4000 a second", at_most=25)
    c.report("heartbeat.large", large, "us", "the same at the large size", at_most=25)
    c.report("heartbeat.growth", max(small, large) / min(small, large), "x", "the two against each other", at_most=1.25)


def broadcast(c):
    """one message of 1 kB to 10 000 devices"""
    count, rounds = c.size(10000), 8
    c.fresh(count)
    hub = c.hub
    hub.stop()
    hub.binary, hub.env["NH_BENCH_DEVICES"] = str(world.BUILD / "bench" / "nh-bench-server"), str(c.known + c.strangers)
    spent_all, lasts, totals = [], [], []
    try:
        hub.start()
        load = Load(hub, count)
        load.do(f"online {count}")
        load.do(f"receive {count}")
        time.sleep(1)
        for _ in range(rounds):
            spent, mine, began = Spent(hub.pid), Spent(load.pid), time.monotonic()
            os.kill(hub.pid, signal.SIGUSR1)
            answer = load.do(f"receive {count}")
            spent.read(), mine.read()
            spent_all.append(spent.all / count)
            lasts.append(answer["ended_mono_us"] / 1e6 - began)
            totals.append((spent.all + mine.all) / 1e6)
        load.end()
        hub.calm()
        hub.stop()
    finally:
        hub.binary = None
        hub.env.pop("NH_BENCH_DEVICES")
    hub.start()
    bare = world.baseline("send", max(20, count // 2), 1004 + 60 + 22, rounds)
    best = min(spent_all)
    c.report("broadcast.plain_send", bare, "us", "send() of as many bytes to one of 5 000 sockets, no TLS")
    c.report("broadcast.message", best, "us", f"server CPU of a push to one of {count} devices, from the effect to the socket")
    c.report("broadcast.ratio", best / bare, "x", "the second against the first", at_most=2)
    last = min(a / b for a, b in zip(lasts, totals))
    c.report("broadcast.last", min(lasts) * 1000, "ms", "until the last of them has it")
    c.report("broadcast.last_ratio", last, "x", "that against the CPU time of server and load together", at_most=1.3)


# ---- latency of the healthy ------------------------------------------------------------------------------------------------------------


FLOOD = """
import socket, struct, sys, time
port, end, held, made = int(sys.argv[1]), time.monotonic() + float(sys.argv[2]), [], 0
while time.monotonic() < end:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", port))
    held.append(s)
    made += 1
    if len(held) > 1000:
        held.pop(0).close()
print(made)
"""


def latency(c):
    """how long a healthy device waits for an answer while others misbehave"""
    healthy, crowd, seconds = c.size(500), c.size(5000), 6
    c.fresh(healthy)
    with c.load(healthy) as load:
        load.do(f"online {healthy}")
        load.do(f"receive {healthy}")

        def during(what, explanation):
            beats = load.hear()["heartbeat"]
            for name in ("p50", "p99"):
                c.report(f"latency.{what}_{name}", beats[f"{name}_us"] / 1000, "ms", f"{explanation}; {beats['count']} heartbeats")

        load.do("heartbeat 200/s 1s")
        load.tell(f"heartbeat 200/s {seconds}s")
        during("idle", "heartbeat to answer, nothing else going on")
        with world.on_core(world.LOAD_CORE):
            flood = subprocess.Popen(["/usr/bin/python3", "-c", FLOOD, str(c.hub.device_port), str(seconds + 1)], stdout=subprocess.PIPE, text=True)
        load.tell(f"heartbeat 200/s {seconds}s")
        answer = load.hear()["heartbeat"]
        made = int(flood.communicate()[0])
        for name in ("p50", "p99"):
            c.report(f"latency.flood_{name}", answer[f"{name}_us"] / 1000, "ms", f"while {made} connections opened and said nothing (from the load's core, which they slow too)")
        # The storm is another process, so that the healthy ones' own loop is not what they wait for, and other devices, as the same would replace them.
        storm = Load(c.hub, crowd, first=c.large)
        storm.do(f"online {crowd}")
        c.strangers = max(c.strangers, crowd)
        storm.do("drop")
        wait = c.hub.gauge
        world.wait_until("the crowd to be gone", lambda: wait("websockets") == healthy and wait("worker_queue_length") + wait("workers_busy") == 0)
        storm.tell(f"online {crowd} 0")
        load.tell(f"heartbeat 200/s {seconds}s")
        during("storm", f"while {crowd} devices connect at once")
        storm.hear()
        storm.end()


# ---- transfers -------------------------------------------------------------------------------------------------------------------------


def fetch(pid, url, clients, bytes_each, total, ca):
    """Bytes for a second of the CPU it takes to serve them: the serving process, the kernel's softirq threads, and the system time of the client. On loopback the kernel does a
    sender's work (acknowledgements in, the next segments out) in whichever context it happens to be, and with many clients that is mostly the receiver's: counting the serving process alone
    favours the server that lets its clients do its work. What a client does in user space (decryption) is not counted."""
    requests = max(clients, total // bytes_each)
    config = "".join(f'url = "{url}"\noutput = "/dev/null"\n' for _ in range(requests))
    spent, softirq, client = Spent(pid), world.softirq_us(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime
    with world.on_core(world.LOAD_CORE):
        done = subprocess.run(["curl", "--silent", "--show-error", "--no-progress-meter", "--fail", "--cacert", str(ca), "--tls13-ciphers", "TLS_AES_256_GCM_SHA384", "--parallel",
                               "--parallel-immediate", "--parallel-max", str(clients), "--config", "-"], input=config, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(f"curl: {done.stderr[:300]}")
    seconds = (spent.read().all + world.softirq_us() - softirq) / 1e6 + resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime - client
    return requests * bytes_each / seconds


def download(c):
    """firmware downloads against nginx, plain and TLS, one and many clients"""
    if not os.access(world.NGINX, os.X_OK):
        c.skipped("download", "nginx is not installed (apt-get install nginx-light)")
        return
    hub = c.hub
    archive = nhtest.make_firmware(hub.home, "9.0.0", hub.key, product=world.PRODUCT, size=48 * MIB)
    firmware = hub.upload("acme", "Thermo%20Widget", archive).data
    with sqlite3.connect(f"file:{hub.data_dir}/nerveshub.db?mode=ro", uri=True) as database:
        org = database.execute("SELECT id FROM orgs WHERE name = 'acme'").fetchone()[0]
    path, size = hub.signed(f"/firmware/{org}/{firmware['uuid']}.fw"), archive.stat().st_size
    # The very file that the server has: how it lies in the page cache (in how large pieces it was written) is worth 10 % of a plain download.
    stored = next((hub.data_dir / "objects" / "firmware").glob(f"*/*/{firmware['uuid']}-*.fw"))
    nginx = Nginx(hub.data_dir / "pki" / "device.crt", hub.data_dir / "pki" / "device.key", stored)
    try:
        for kind, scheme, ours_port, their_port, floor in (("plain", "http", hub.web_port, nginx.plain, 0.95), ("tls", "https", hub.device_port, nginx.tls, 1.0)):
            for clients in (1, 8, 64):
                ours, theirs, ratios = [], [], []
                rounds = 15 if kind == "plain" and clients < 64 else 5  # a tenth of a second of CPU each says little on a busy machine
                total = int((768 if kind == "plain" else 384) * MIB * min(1, c.scale * 2))
                for i in range(rounds):
                    measures = [lambda: ours.append(fetch(hub.pid, f"{scheme}://127.0.0.1:{ours_port}{path}", clients, size, total, hub.ca_file)),
                                lambda: theirs.append(fetch(nginx.pid, f"{scheme}://127.0.0.1:{their_port}/blob", clients, size, total, hub.ca_file))]
                    for measure in measures if i % 2 == 0 else reversed(measures):
                        measure()
                    ratios.append(ours[-1] / theirs[-1])
                c.report(f"download.{kind}_{clients}", statistics.median(ours) / 1e6, "MB/s", f"for a second of CPU of server, kernel and the client's kernel side, {clients} at a time, median of {rounds}")
                c.report(f"download.{kind}_{clients}_nginx", statistics.median(theirs) / 1e6, "MB/s", "nginx with sendfile" if kind == "plain" else "nginx, same cipher")
                c.report(f"download.{kind}_{clients}_ratio", statistics.median(ratios), "x", "ours against nginx, median of the rounds' ratios", at_least=floor)
    finally:
        nginx.end()


def upload(c):
    """memory while 1 GiB is uploaded"""
    hub, size = c.hub, int(1024 * MIB * min(1, c.scale))

    def send(count):
        boundary, block = "bench", b"u" * MIB
        head = f"--{boundary}\r\nContent-Disposition: form-data; name=\"firmware\"; filename=\"x.fw\"\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", hub.web_port, timeout=300)
        connection.putrequest("POST", "/api/orgs/acme/products/Thermo%20Widget/firmwares")
        for name, value in (("Authorization", f"Bearer {hub.token}"), ("Content-Type", f"multipart/form-data; boundary={boundary}"),
                            ("Content-Length", str(len(head) + count + len(tail)))):
            connection.putheader(name, value)
        connection.endheaders(head)
        for _ in range(count // MIB):
            connection.send(block)
        connection.send(block[:count % MIB] + tail)
        status = connection.getresponse().status
        connection.close()
        return status

    send(16 * MIB)  # what every upload needs once is there
    time.sleep(2.5)
    world.reset_peak(hub.pid)
    before, spent = world.peak(hub.pid), Spent(hub.pid)
    status = send(size)
    spent.read()
    if status not in (201, 422):
        raise RuntimeError(f"the upload was answered with {status}")
    c.report("upload.growth", (world.peak(hub.pid) - before) / MIB, "MiB", f"highest memory during an upload of {size // MIB} MiB, against before (it is no archive and refused with {status} at the end)", at_most=4)
    c.report("upload.rate", size / (spent.all / 1e6) / 1e6, "MB/s", "for a second of the server's CPU, multipart, hashed and written to disk")


class Figure:
    def __init__(self, run):
        self.name, self.help, self.run = run.__name__, run.__doc__, run


ALL = [Figure(f) for f in (handshake, joins, memory, storms, reconnect, heartbeat, broadcast, latency, download, upload, archives.archives, agent.agent, api.api, rollout.rollout)]
