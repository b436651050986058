/* The world of one run: a CA, a server, devices each with its own key and certificate; and what /proc says about a process. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "bench.h"
#include "crypto/pki.h"
#include "loop/loop.h"

struct world world;

static struct nh_key *ca_key;
static struct nh_cert *ca_cert;

void die(const char *what, const struct nh_err *err)
{
	fprintf(stderr, "nh-bench: %s: %s\n", what, err && err->msg[0] ? err->msg : "failed");
	_exit(1);
}

static void must(nh_rc rc, const char *what, const struct nh_err *err)
{
	if (rc != NH_OK)
		die(what, err);
}

static void issue(struct nh_cert_profile profile, struct identity *out, uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN])
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	must(nh_key_generate_p256(&key, &err), "key", &err);
	must(nh_key_put_spki(&spki, key, &err), "key", &err);
	must(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), ca_cert, ca_key, &nh_rng_system, &err), "certificate", &err);
	must(nh_cert_parse_der(nh_buf_slice(&der), &cert, &err), "certificate", &err);
	nh_cert_put_pem(&out->cert, cert);
	must(nh_key_put_pem(&out->key, key, &err), "key", &err);
	for (size_t i = 0; fingerprint && i < NH_TLS_FINGERPRINT_LEN; i++)
		fingerprint[i] = cert->sha256[i];
}

static void save(const char *name, const struct nh_buf *bytes)
{
	char path[64];
	struct nh_err err = NH_ERR_INIT;
	snprintf(path, sizeof path, "%s/%s", world.dir, name);
	must(nh_file_write_atomic(path, nh_buf_slice(bytes), 0644, &err), path, &err);
}

#define YEAR_US (INT64_C(365) * 86400 * NH_US_PER_S)
#define DESCRIPTORS_KEPT 1000 /* for everything that is no connection */
#define LARGE_MAX 50000

void world_open(void)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT, blob = NH_BUF_INIT;
	uint64_t descriptors = nh_fd_limit_raise();
	world.large = descriptors > LARGE_MAX + DESCRIPTORS_KEPT ? LARGE_MAX : (size_t)descriptors - DESCRIPTORS_KEPT;
	snprintf(world.dir, sizeof world.dir, "/tmp/nh-bench-XXXXXX");
	if (!mkdtemp(world.dir) || chmod(world.dir, 0755) != 0)
		die(world.dir, NULL);
	struct nh_cert_profile ca = nh_cert_profile_ca(nh_now_us(), YEAR_US);
	ca.common_name = NH_LIT("bench CA");
	must(nh_key_generate_p256(&ca_key, &err), "key", &err);
	must(nh_key_put_spki(&spki, ca_key, &err), "key", &err);
	must(nh_cert_issue(&der, &ca, nh_buf_slice(&spki), NULL, ca_key, &nh_rng_system, &err), "CA", &err);
	must(nh_cert_parse_der(nh_buf_slice(&der), &ca_cert, &err), "CA", &err);
	nh_cert_put_pem(&world.ca, ca_cert);
	struct nh_san san = {NH_SAN_DNS, NH_LIT("localhost")};
	struct nh_cert_profile server = nh_cert_profile_server(nh_now_us(), YEAR_US);
	server.common_name = NH_LIT("localhost");
	server.sans = &san;
	server.san_count = 1;
	issue(server, &world.server, NULL);
	save("cert.pem", &world.server.cert);
	save("key.pem", &world.server.key);
	nh_buf_fill(&blob, 'n', BLOB_BYTES);
	save("blob", &blob);
}

static int fingerprint_cmp(const void *a, const void *b) { return memcmp(a, b, NH_TLS_FINGERPRINT_LEN); }

void world_devices(size_t count)
{
	if (count <= world.count)
		return;
	world.devices = realloc(world.devices, count * sizeof *world.devices);
	world.fingerprints = realloc(world.fingerprints, count * sizeof *world.fingerprints);
	if (!world.devices || !world.fingerprints)
		die("memory for identities", NULL);
	for (; world.count < count; world.count++) {
		char name[32];
		snprintf(name, sizeof name, "device-%zu", world.count);
		struct nh_cert_profile device = nh_cert_profile_device(nh_now_us(), YEAR_US);
		device.common_name = nh_slice_str(name);
		world.devices[world.count] = (struct identity){0};
		issue(device, &world.devices[world.count], world.fingerprints[world.count]);
	}
	qsort(world.fingerprints, count, sizeof *world.fingerprints, fingerprint_cmp);
}

void world_close(void)
{
	static const char *const names[] = {"cert.pem", "key.pem", "blob", "nginx.conf", "nginx.pid", "error.log"};
	char path[64];
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof path, "%s/%s", world.dir, names[i]);
		unlink(path);
	}
	rmdir(world.dir);
}

void pin(unsigned core)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sysconf(_SC_NPROCESSORS_ONLN) > (long)core && sched_setaffinity(0, sizeof set, &set) != 0)
		die("pinning to a core", NULL);
}

int64_t cpu_ns(pid_t pid)
{
	clockid_t clock;
	struct timespec t;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		die("CPU time", NULL);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t status_kib(pid_t pid, const char *field)
{
	char path[64], line[256];
	uint64_t kib = 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "r");
	if (!f)
		die(path, NULL);
	while (fgets(line, sizeof line, f))
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtoull(line + strlen(field) + 1, NULL, 10);
	fclose(f);
	return kib * 1024;
}

uint64_t anon_bytes(pid_t pid) { return status_kib(pid, "RssAnon"); }
uint64_t peak_bytes(pid_t pid) { return status_kib(pid, "VmHWM"); }

void peak_reset(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pid);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "5", 1) != 1)
		die(path, NULL);
	close(fd);
}
