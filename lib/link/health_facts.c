/*
 * What the kernel says about this machine's health: the standard metrics, and which network interfaces it has. What cannot be read is left out. [worker]
 * source: reference/device-protocol "12.2"; proc(5)
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "base/encode.h"
#include "base/file.h"
#include "extras_int.h"

#define TEXT_MAX ((size_t)64 << 10)
#define INTERFACES_MAX 16
#define KIB_PER_MIB 1024

static bool read_text(const char *root, const char *path, struct nh_buf *out)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_buf_clear(out);
	return nh_file_read(nh_arena_printf(&arena, "%s%s", root, path), TEXT_MAX, out, NULL) == NH_OK;
}

static nh_slice word(nh_slice *rest)
{
	nh_slice word;
	while (rest->len > 0 && (rest->ptr[0] == ' ' || rest->ptr[0] == '\t' || rest->ptr[0] == '\n'))
		*rest = nh_slice_skip(*rest, 1);
	nh_slice_cut(*rest, ' ', &word, rest);
	return nh_slice_trim(word);
}

static void set(json_t *metrics, const char *name, double value) { json_object_set_new(metrics, name, json_real(value)); }
static void set_whole(json_t *metrics, const char *name, uint64_t value) { json_object_set_new(metrics, name, json_integer((json_int_t)value)); }
static double percent(uint64_t part, uint64_t whole) { return whole ? (double)(part * 1000 / whole) / 10 : 0; }

/* "cpu  user nice system idle iowait irq softirq steal …"; since the last report, at first since boot. */
static void cpu_usage(nh_slice text, struct cpu_times *last, json_t *metrics)
{
	enum { IDLE = 3, IOWAIT = 4, FIELDS = 8 };
	struct cpu_times now = {0};
	if (!nh_slice_eq_str(word(&text), "cpu"))
		return;
	for (int i = 0; i < FIELDS; i++) {
		uint64_t ticks;
		if (nh_parse_u64(word(&text), 0, UINT64_MAX >> 16, &ticks) != NH_OK)
			break;
		now.total += ticks;
		now.busy += i == IDLE || i == IOWAIT ? 0 : ticks;
	}
	if (now.total > last->total && now.busy >= last->busy)
		set(metrics, "cpu_usage_percent", percent(now.busy - last->busy, now.total - last->total));
	*last = now;
}

static void load(nh_slice text, json_t *metrics)
{
	static const char *const names[] = {"load_1min", "load_5min", "load_15min"};
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		NH_AUTO_JSON json_t *v = NULL;
		if (nh_json_parse(word(&text), 32, &v, NULL) == NH_OK && json_is_number(v))
			set(metrics, names[i], json_number_value(v));
	}
}

static void memory(nh_slice rest, json_t *metrics)
{
	uint64_t total = 0, available = 0;
	while (rest.len > 0) {
		nh_slice line, name, value;
		nh_slice_cut(rest, '\n', &line, &rest);
		nh_slice_cut(line, ':', &name, &value);
		uint64_t *field = nh_slice_eq_str(name, "MemTotal") ? &total : nh_slice_eq_str(name, "MemAvailable") ? &available : NULL;
		if (field && nh_parse_u64(word(&value), 0, UINT64_MAX >> 16, field) != NH_OK)
			*field = 0;
	}
	if (total == 0 || available > total)
		return;
	set_whole(metrics, "mem_size_mb", total / KIB_PER_MIB);
	set_whole(metrics, "mem_used_mb", (total - available) / KIB_PER_MIB);
	set(metrics, "mem_used_percent", percent(total - available, total));
}

/* Used space as df counts it: what only root may use is not there. */
static void disk_space(const char *path, json_t *metrics)
{
	struct statvfs fs;
	if (statvfs(path, &fs) != 0 || fs.f_blocks == 0)
		return;
	uint64_t block = fs.f_frsize ? fs.f_frsize : fs.f_bsize, used = fs.f_blocks - fs.f_bfree;
	set_whole(metrics, "disk_total_kb", fs.f_blocks * block / 1024);
	set_whole(metrics, "disk_available_kb", fs.f_bavail * block / 1024);
	set(metrics, "disk_used_percentage", percent(used, used + fs.f_bavail));
}

/* Of the zone that names the processor, else of the first. */
static void temperature(const char *root, json_t *metrics)
{
	NH_AUTO_BUF struct nh_buf type = NH_BUF_INIT, text = NH_BUF_INIT;
	int64_t best = INT64_MIN, milli;
	for (int i = 0; i < 32; i++) {
		char path[80];
		snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/type", i);
		if (!read_text(root, path, &type))
			break;
		bool cpu = nh_slice_find(nh_buf_slice(&type), NH_LIT("cpu")) >= 0 || nh_slice_find(nh_buf_slice(&type), NH_LIT("x86_pkg")) >= 0;
		snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", i);
		if ((best != INT64_MIN && !cpu) || !read_text(root, path, &text) || nh_parse_i64(nh_slice_trim(nh_buf_slice(&text)), -300000, 1000000, &milli) != NH_OK)
			continue;
		best = milli;
		if (cpu)
			break;
	}
	if (best != INT64_MIN)
		set(metrics, "cpu_temp", (double)best / 1000);
}

static void interface(const char *root, const char *name, json_t *metrics, json_t *connectivity)
{
	static const char *const counters[][2] = {{"rx_bytes", "bytes_received_total"}, {"tx_bytes", "bytes_sent_total"}};
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	char path[320], metric[160];
	snprintf(path, sizeof path, "/sys/class/net/%s/operstate", name);
	if (read_text(root, path, &text))
		json_object_set_new(connectivity, name, json_pack("{s:o}", "state", nh_json_new_text(nh_slice_trim(nh_buf_slice(&text)))));
	for (size_t i = 0; i < NH_ARRAY_LEN(counters); i++) {
		uint64_t value;
		snprintf(path, sizeof path, "/sys/class/net/%s/statistics/%s", name, counters[i][0]);
		snprintf(metric, sizeof metric, "%.100s_%s", name, counters[i][1]);
		if (read_text(root, path, &text) && nh_parse_u64(nh_slice_trim(nh_buf_slice(&text)), 0, INT64_MAX, &value) == NH_OK)
			set_whole(metrics, metric, value);
	}
}

static void interfaces(const char *root, json_t *metrics, json_t *connectivity)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	DIR *dir = opendir(nh_arena_printf(&arena, "%s/sys/class/net", root));
	const struct dirent *entry;
	for (int count = 0; dir && count < INTERFACES_MAX && (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lo") == 0 || !nh_utf8_valid(nh_slice_str(entry->d_name)))
			continue;
		interface(root, entry->d_name, metrics, connectivity);
		count++;
	}
	if (dir)
		closedir(dir);
}

void health_facts(const char *root, const char *disk, struct cpu_times *last, json_t *metrics, json_t *connectivity)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (read_text(root, "/proc/stat", &text))
		cpu_usage(nh_buf_slice(&text), last, metrics);
	if (read_text(root, "/proc/loadavg", &text))
		load(nh_buf_slice(&text), metrics);
	if (read_text(root, "/proc/meminfo", &text))
		memory(nh_buf_slice(&text), metrics);
	temperature(root, metrics);
	disk_space(disk, metrics);
	interfaces(root, metrics, connectivity);
}
