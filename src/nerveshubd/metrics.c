/*
 * GET /metrics in Prometheus' text format: counters that the parts keep anyway, one row each; families with a label, and histograms, one function each. Every name, its type, unit and meaning
 * stand in docs/guides/monitoring.md, which a test holds against this page. Answered on the loop from memory: what must be counted in the database or in /proc is sampled by upkeep.c.
 *
 * source: Prometheus "Exposition formats", "Metric and label naming"
 */
#include "hubd.h"

#include <stdio.h>
#include <sys/resource.h>

#include "delta_jobs.h"

typedef enum metric_kind { COUNTER, GAUGE, HISTOGRAM } metric_kind;

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

struct metric {
	const char *name, *help;
	metric_kind kind;
	uint64_t value;
};

/* The lines before the samples of a name; "process_…" belongs to the conventions of all programs, the rest begins with our own word. */
static void head(struct nh_buf *out, const char *name, const char *help, metric_kind kind)
{
	nh_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind_names[kind]);
}

static void put(struct nh_buf *out, const struct metric *m)
{
	char name[80];
	snprintf(name, sizeof name, "nerveshub_%s", m->name);
	head(out, name, m->help, m->kind);
	nh_buf_printf(out, "%s %llu\n", name, (unsigned long long)m->value);
}

static void put_seconds(struct nh_buf *out, uint64_t us) { nh_buf_printf(out, "%llu.%06llu", (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000)); }

/* label: `kind="telemetry"`, without a comma; empty where there is none. scale: microseconds that one of the histogram's units is. */
static void put_scaled(struct nh_buf *out, const char *name, const char *label, const struct nh_histogram *h, uint64_t scale)
{
	uint64_t sum = 0;
	const char *comma = *label ? "," : "", *open = *label ? "{" : "", *close = *label ? "}" : "";
	for (size_t i = 0; i < NH_HISTOGRAM_BUCKETS; i++) {
		sum += h->buckets[i];
		nh_buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, label, comma, (double)(nh_histogram_ends_us[i] * scale) / 1e6, (unsigned long long)sum);
	}
	/* Read while it grows: never less than what the buckets hold. */
	uint64_t count = h->count > sum ? h->count : sum;
	nh_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n%s_sum%s%s%s ", name, label, comma, (unsigned long long)count, name, open, label, close);
	put_seconds(out, h->sum_us * scale);
	nh_buf_printf(out, "\n%s_count%s%s%s %llu\n", name, open, label, close, (unsigned long long)count);
}

static void put_histogram(struct nh_buf *out, const char *name, const char *label, const struct nh_histogram *h) { put_scaled(out, name, label, h, 1); }

static uint64_t counted(const int64_t *count) { return (uint64_t)__atomic_load_n(count, __ATOMIC_RELAXED); }

static void put_expiring(struct nh_buf *out, const struct hubd *h)
{
	const struct nh_expiring_counts *expiring = &h->figures.expiring;
	const struct metric rows[] = {
		{"authority_certificates_expiring", "Certificates of the authority that end within CERTIFICATE_WARN_DAYS", GAUGE, counted(&expiring->issued)},
		{"ca_certificates_expiring", "Device CAs that end within CERTIFICATE_WARN_DAYS", GAUGE, counted(&expiring->cas)},
		{"device_certificates_expiring", "Certificates of devices that end within CERTIFICATE_WARN_DAYS", GAUGE, counted(&expiring->devices)},
		{"authority_not_after_timestamp_seconds", "When the authority's own certificate ends, seconds since 1970; 0: there is none", GAUGE,
		 h->authority ? (uint64_t)(nh_authority_cert(h->authority)->not_after_us / NH_US_PER_S) : 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		put(out, &rows[i]);
}

static void put_mails(struct nh_buf *out, const struct hubd *h)
{
	struct nh_mailer_stats mails;
	nh_mailer_stats(h->mailer, &mails);
	const struct metric rows[] = {
		{"mails_sent_total", "Mails that the mail server took", COUNTER, mails.sent},
		{"mails_failed_total", "Tries to send a mail that failed", COUNTER, mails.failed},
		{"mails_given_up_total", "Mails that were never sent", COUNTER, mails.given_up},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		put(out, &rows[i]);
}

static void put_webhooks(struct nh_buf *out, const struct hubd *h)
{
	struct nh_webhooks_stats webhooks;
	nh_webhooks_stats(h->webhooks, &webhooks);
	const struct metric rows[] = {
		{"webhook_deliveries_total", "Deliveries that endpoints of webhooks took", COUNTER, webhooks.delivered},
		{"webhook_failures_total", "Tries to deliver that failed and are repeated", COUNTER, webhooks.failed},
		{"webhook_deaths_total", "Deliveries that were given up", COUNTER, webhooks.died},
		{"webhooks_disabled_total", "Webhooks that were switched off because their endpoint failed for days or is gone", COUNTER, webhooks.disabled},
		{"webhook_deliveries_waiting", "Deliveries that wait, in the database, some seconds ago", GAUGE, webhooks.waiting},
		{"webhook_deliveries_dead", "Deliveries that were given up and not sent anew, in the database, some seconds ago", GAUGE, webhooks.dead},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		put(out, &rows[i]);
}

static void put_deltas(struct nh_buf *out)
{
	struct delta_stats deltas;
	delta_stats(&deltas);
	const struct metric rows[] = {
		{"deltas_built_total", "Deltas that were built and checked", COUNTER, deltas.built},
		{"deltas_refused_total", "Pairs of firmware that have no delta, or none that is smaller", COUNTER, deltas.refused},
		{"deltas_failed_total", "Deltas that could not be built", COUNTER, deltas.failed},
		{"deltas_timed_out_total", "Deltas whose building took too long", COUNTER, deltas.timed_out},
		{"deltas_discarded_total", "Deltas that nobody waited for any more when they were built", COUNTER, deltas.discarded},
		{"delta_saved_bytes_total", "Bytes by which the built deltas are smaller than their firmware", COUNTER, deltas.saved_bytes},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		put(out, &rows[i]);
	head(out, "nerveshub_delta_build_seconds_total", "Time that builders of deltas ran", COUNTER);
	nh_buf_put_str(out, "nerveshub_delta_build_seconds_total ");
	put_seconds(out, deltas.busy_ms * 1000);
	nh_buf_put_u8(out, '\n');
}

/* ---- the process ------------------------------------------------------------------------------------------------------------ */

/* source: Prometheus "Writing client libraries", "Process metrics" */
static void put_process(struct nh_buf *out, const struct hubd *h)
{
	const struct process_figures *p = &h->figures.process;
	struct rusage used = {0};
	struct rlimit files = {0};
	getrusage(RUSAGE_SELF, &used);
	getrlimit(RLIMIT_NOFILE, &files);
	const struct metric rows[] = {
		{"process_open_fds", "Descriptors in use, some seconds ago", GAUGE, counted(&p->open_fds)},
		{"process_max_fds", "Descriptors that there may be", GAUGE, files.rlim_cur},
		{"process_resident_memory_bytes", "Memory in use, some seconds ago", GAUGE, counted(&p->resident_bytes)},
		{"process_virtual_memory_bytes", "Addresses in use, some seconds ago", GAUGE, counted(&p->virtual_bytes)},
		{"process_start_time_seconds", "When the process began, seconds since 1970", GAUGE, (uint64_t)(h->started_us / NH_US_PER_S)},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		head(out, rows[i].name, rows[i].help, rows[i].kind);
		nh_buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
	}
	head(out, "process_cpu_seconds_total", "CPU time used", COUNTER);
	nh_buf_put_str(out, "process_cpu_seconds_total ");
	put_seconds(out, (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec));
	nh_buf_put_u8(out, '\n');
	head(out, "nerveshub_build_info", "1; the label names the version", GAUGE);
	nh_buf_put_str(out, "nerveshub_build_info{version=\"" NH_VERSION "\"} 1\n");
}

/* ---- durations and answers --------------------------------------------------------------------------------------------------- */

static void put_durations(struct nh_buf *out, const struct nh_server_stats *net, const struct nh_device_api_stats *devices, const struct nh_db_stats *db)
{
	static const char requests[] = "nerveshub_http_request_duration_seconds";
	head(out, requests, "From the complete head of a request until its answer begins; of a transfer, until the whole file is taken or the first byte goes out", HISTOGRAM);
	put_histogram(out, requests, "class=\"answer\"", &net->request_us[NH_REQUEST_ANSWER]);
	put_histogram(out, requests, "class=\"transfer\"", &net->request_us[NH_REQUEST_TRANSFER]);
	head(out, "nerveshub_database_write_duration_seconds", "A write, as its caller waits: for its turn, its statements, and that it is durable", HISTOGRAM);
	put_histogram(out, "nerveshub_database_write_duration_seconds", "", &db->write_us);
	head(out, "nerveshub_database_read_duration_seconds", "A read, as its caller waits", HISTOGRAM);
	put_histogram(out, "nerveshub_database_read_duration_seconds", "", &db->read_us);
	head(out, "nerveshub_device_join_duration_seconds", "From a device's join until it is answered", HISTOGRAM);
	put_histogram(out, "nerveshub_device_join_duration_seconds", "", &devices->join_us);
	head(out, "nerveshub_update_duration_seconds", "From sending an update until its device joined with the firmware", HISTOGRAM);
	put_scaled(out, "nerveshub_update_duration_seconds", "", &devices->update_ms, 1000);
	head(out, "nerveshub_http_responses_total", "Answers by the first digit of their status", COUNTER);
	for (unsigned i = 0; i < NH_ARRAY_LEN(net->responses); i++)
		nh_buf_printf(out, "nerveshub_http_responses_total{status=\"%uxx\"} %llu\n", i + 1, (unsigned long long)net->responses[i]);
}

/* ---- jobs of the scheduler ---------------------------------------------------------------------------------------------------- */

static void put_job_runs(struct nh_buf *out, const struct hubd *h)
{
	struct job_stats s;
	head(out, "nerveshub_job_runs_total", "Runs of jobs on this server, by kind and what came of them; given_up: jobs whose last attempt failed", COUNTER);
	for (size_t i = 0; i < scheduler_kinds(); i++) {
		scheduler_stats(h, i, &s);
		nh_buf_printf(out, "nerveshub_job_runs_total{kind=\"%s\",result=\"done\"} %llu\n", s.kind, (unsigned long long)s.done);
		nh_buf_printf(out, "nerveshub_job_runs_total{kind=\"%s\",result=\"failed\"} %llu\n", s.kind, (unsigned long long)s.failed);
		nh_buf_printf(out, "nerveshub_job_runs_total{kind=\"%s\",result=\"given_up\"} %llu\n", s.kind, (unsigned long long)s.given_up);
	}
	head(out, "nerveshub_job_busy_seconds_total", "Time that jobs took on this server", COUNTER);
	for (size_t i = 0; i < scheduler_kinds(); i++) {
		scheduler_stats(h, i, &s);
		nh_buf_printf(out, "nerveshub_job_busy_seconds_total{kind=\"%s\"} ", s.kind);
		put_seconds(out, s.busy_us);
		nh_buf_put_u8(out, '\n');
	}
}

/* Of all servers of the database. */
static void put_job_rows(struct nh_buf *out, const struct hubd *h)
{
	static const struct {
		const char *name, *help;
		size_t offset;
		int64_t unit;
	} gauges[] = {
		{"nerveshub_jobs_waiting", "Jobs that wait, in the database, some seconds ago", offsetof(struct job_figures, waiting), 1},
		{"nerveshub_jobs_running", "Jobs that some server runs, some seconds ago", offsetof(struct job_figures, running), 1},
		{"nerveshub_jobs_given_up", "Jobs that failed too often and stay to be looked at, some seconds ago", offsetof(struct job_figures, given_up), 1},
		{"nerveshub_job_late_seconds", "How long the oldest job that may run has waited, some seconds ago", offsetof(struct job_figures, late_us), NH_US_PER_S},
	};
	struct job_stats s;
	for (size_t g = 0; g < NH_ARRAY_LEN(gauges); g++) {
		head(out, gauges[g].name, gauges[g].help, GAUGE);
		for (size_t i = 0; i < scheduler_kinds(); i++) {
			scheduler_stats(h, i, &s);
			int64_t value = (int64_t)counted((const int64_t *)(const void *)((const char *)&h->figures.jobs[i] + gauges[g].offset));
			nh_buf_printf(out, "%s{kind=\"%s\"} %lld\n", gauges[g].name, s.kind, (long long)(value / gauges[g].unit));
		}
	}
}

/* ---- the page ----------------------------------------------------------------------------------------------------------------- */

static void put_storage(struct nh_buf *out, const struct hubd *h, const struct nh_db_stats *db)
{
	struct nh_pool_stats pool;
	struct nh_objects_stats objects;
	nh_pool_stats(h->pool, &pool);
	nh_objects_stats(h->objects, &objects);
	const struct metric rows[] = {
		{"database_available", "1 while reading and writing the database work", GAUGE, db->available},
		{"database_reads_total", "Read transactions", COUNTER, db->reads},
		{"database_writes_total", "Write functions", COUNTER, db->writes},
		{"database_commits_total", "Write transactions made durable; with SQLite one holds many writes", COUNTER, db->commits},
		{"database_errors_total", "Reads and writes that failed because the database was away, damaged or full", COUNTER, db->errors},
		{"database_retries_total", "Writes run again after a collision (PostgreSQL)", COUNTER, db->retries},
		{"database_reopened_total", "Repairs after a failed write (SQLite), connections opened (PostgreSQL)", COUNTER, db->reopened},
		{"objects_available", "1 while reading and writing the firmware storage work", GAUGE, objects.available},
		{"objects_errors_total", "Calls of the firmware storage that failed because it was away, damaged or full", COUNTER, objects.errors},
		{"storage_full_total", "Calls of database and firmware storage that found no room", COUNTER, db->full + objects.full},
		{"worker_queue_length", "Pieces of work that wait for a worker", GAUGE, pool.queued},
		{"worker_queue_waiting", "Pieces of work that wait for a place in the queue", GAUGE, pool.waiting},
		{"workers_busy", "Pieces of work on workers", GAUGE, pool.running},
		{"work_total", "Pieces of work given to workers", COUNTER, pool.submitted},
		{"work_refused_total", "Pieces of work that found the queue full and waited", COUNTER, pool.refused},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		put(out, &rows[i]);
}

static void metrics(struct nh_request *req, struct nh_response *res)
{
	const struct hubd *h = req->app;
	struct nh_server_stats net;
	struct nh_device_api_stats devices;
	struct nh_db_stats db;
	struct nh_relay_stats relay;
	struct nh_web_stats web;
	nh_server_stats(h->server, &net);
	nh_device_api_stats(h->device_api, &devices);
	nh_db_stats(h->db, &db);
	nh_relay_stats(h->relay, &relay);
	nh_web_stats(h->web, &web);
	const struct metric rows[] = {
		{"connections", "Open connections", GAUGE, net.connections},
		{"handshakes_running", "TLS handshakes in progress", GAUGE, net.handshaking},
		{"connections_parked", "Connections waiting for their handshake", GAUGE, net.parked},
		{"connections_silent", "Connections that have not said a byte", GAUGE, net.silent},
		{"handshakes_stalled", "TLS handshakes that wait for their peer and keep nobody out", GAUGE, net.stalled},
		{"handshake_queue_max", "Connections that may wait for a handshake: what the machine can finish in time", GAUGE, net.queue_max},
		{"websockets", "Open WebSockets", GAUGE, net.websockets},
		{"answers_pending", "HTTP answers that wait for somebody else, a device for instance", GAUGE, net.later},
		{"connections_accepted_total", "Connections accepted", COUNTER, net.accepted},
		{"connections_refused_total", "Connections closed at once, over a limit", COUNTER, net.refused},
		{"connections_refused_rate_total", "Connections refused over the connect-rate setting", COUNTER, net.refused_rate},
		{"connections_refused_capacity_total", "Connections refused because more wait for a handshake than can be done in time", COUNTER, net.refused_capacity},
		{"connections_refused_full_total", "Connections refused because no place was left", COUNTER, net.refused_full},
		{"connections_abandoned_total", "Connections closed by their peer before anything began", COUNTER, net.abandoned},
		{"connections_silent_evicted_total", "Silent connections closed to make room", COUNTER, net.silent_evicted},
		{"connections_silent_expired_total", "Silent connections closed after their time", COUNTER, net.silent_expired},
		{"accept_paused_total", "Times accepting rested because no descriptor was left", COUNTER, net.accept_pauses},
		{"handshakes_stalled_ended_total", "TLS handshakes ended because their peer did not go on", COUNTER, net.stalled_ended},
		{"slow_peers_ended_total", "Bodies and responses ended because their peer was too slow", COUNTER, net.slow_ended},
		{"websockets_unread_ended_total", "WebSockets ended because their peer did not read", COUNTER, net.unread_ended},
		{"handshakes_total", "TLS handshakes completed", COUNTER, net.handshakes},
		{"handshake_failures_total", "TLS handshakes failed or refused", COUNTER, net.handshake_failures},
		{"http_requests_total", "HTTP requests", COUNTER, net.requests},
		{"messages_received_total", "WebSocket messages received", COUNTER, net.messages_in},
		{"messages_sent_total", "WebSocket messages sent", COUNTER, net.messages_out},
		{"network_received_bytes_total", "Bytes received, without TLS", COUNTER, net.bytes_in},
		{"network_sent_bytes_total", "Bytes sent, without TLS", COUNTER, net.bytes_out},
		{"devices_connected", "Devices connected to this process", GAUGE, devices.devices},
		{"device_joins_total", "Joins of the device channel", COUNTER, devices.joins},
		{"device_refusals_total", "Devices refused", COUNTER, devices.refused},
		{"device_messages_total", "Messages of devices", COUNTER, devices.messages},
		{"device_replaced_total", "Connections replaced by a newer one of the same device", COUNTER, devices.replaced},
		{"device_pushes_total", "Messages pushed to devices", COUNTER, devices.pushes},
		{"device_pushes_lost_total", "Messages whose connection ended before they could be pushed", COUNTER, devices.pushes_lost},
		{"device_unavailable_total", "Devices told to come back later because the database was away or full", COUNTER, devices.unavailable},
		{"device_disconnects_pending", "Ends of connections not yet written to the database", GAUGE, devices.disconnects_pending},
		{"presence_batches_total", "Transactions that wrote beginnings and ends of connections, and signs of life", COUNTER, devices.presence_batches},
		{"device_unknown_events_total", "Messages of devices under a name that means nothing", COUNTER, devices.unknown_events},
		{"device_ignored_total", "Messages of devices that mean nothing under a known name, come too late or are too large", COUNTER, devices.ignored},
		{"device_unmatched_topics_total", "Messages of devices to topics that they have not joined", COUNTER, devices.unmatched_topics},
		{"device_extensions_refused_total", "Messages for extensions that the device may not use", COUNTER, devices.extensions_refused},
		{"device_log_lines_dropped_total", "Log lines of devices beyond five a second", COUNTER, devices.log_lines_dropped},
		{"device_connecting_code_failed_total", "Devices whose connecting code failed", COUNTER, devices.connecting_code_failed},
		{"device_floods_total", "Times a device was not read for a moment because it said too much", COUNTER, devices.floods},
		{"device_reconnects_refused_total", "Connections refused because their device connects too often", COUNTER, devices.reconnects_refused},
		{"clock_steps_total", "Jumps of the wall clock by more than ten seconds", COUNTER, devices.clock_steps},
		{"relay_devices", "Channels of devices that people can join", GAUGE, relay.devices},
		{"relay_viewers", "Channels that people have joined", GAUGE, relay.viewers},
		{"relay_questions", "Questions that wait for a device's answer", GAUGE, relay.questions},
		{"relay_scrollback_bytes", "Memory of all scrollbacks", GAUGE, relay.scrollback_bytes},
		{"relay_messages_total", "Messages between devices and people", COUNTER, relay.messages},
		{"relay_messages_lost_total", "Messages that somebody read too slowly to get", COUNTER, relay.lost},
		{"user_sockets", "Open WebSockets of people", GAUGE, web.sockets},
		{"user_sockets_refused_total", "WebSockets refused for their token or version", COUNTER, web.refused},
		{"user_joins_total", "Consoles, shells and event streams joined by people", COUNTER, web.joins},
		{"user_join_refusals_total", "Joins of people refused", COUNTER, web.join_refusals},
		{"user_permissions_ended_total", "Conversations ended because their permission had", COUNTER, web.ended},
		{"certificates_known", "Device certificates in the memory index", GAUGE, devices.certificates_known},
	};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		put(&out, &rows[i]);
	put_storage(&out, h, &db);
	put_expiring(&out, h);
	put_mails(&out, h);
	put_deltas(&out);
	put_webhooks(&out, h);
	head(&out, "nerveshub_handshake_cost_seconds", "Mean CPU time of a TLS handshake", GAUGE);
	nh_buf_printf(&out, "nerveshub_handshake_cost_seconds %.9f\n", (double)net.handshake_cost_ns / 1e9);
	put_durations(&out, &net, &devices, &db);
	put_job_runs(&out, h);
	put_job_rows(&out, h);
	put_process(&out, h);
	nh_response_send(res, 200, "text/plain; version=0.0.4; charset=utf-8", nh_buf_slice(&out));
}

const struct nh_route metrics_routes[] = {
	{.method = NH_HTTP_GET, .path = "/metrics", .handle = metrics, .where = NH_ON_LOOP, .summary = "Counters, Prometheus text"},
	{0},
};
