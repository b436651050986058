/*
 * Settings of nerveshubd: one table of rows, each readable from a flag, the environment, an optional file and a default, in that order.
 * Names are upstream's wherever upstream has one. Nothing outside settings.c reads the environment.
 *
 * thread: main, before anything else starts. source: reference/server-behaviour "13", design/architecture "7. Endpoints"
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define DELTA_WORKERS_MAX 8

struct settings {
	const char *config_file;
	const char *data_dir;
	const char *database_url;
	uint64_t database_timeout_ms;
	const char *firmware_path;
	const char *storage, *spool;
	const char *s3_host, *s3_region, *s3_bucket, *s3_key_id, *s3_secret, *s3_session_token, *s3_ca_file;
	const char *s3_metadata, *s3_container_path, *s3_container_url, *s3_container_token, *s3_container_token_file; /* where keys are lent; empty: nowhere */
	bool s3_bucket_as_host;
	const char *bind_address;
	uint64_t device_port, web_port, metrics_port; /* what to listen on; 0 = the kernel chooses */
	const char *web_host, *web_scheme;
	uint64_t web_url_port;  /* in URLs; 0 = the listening port */
	const char *device_host;
	const char *download_url; /* without trailing slash; empty = derived from the listeners */
	const char *device_cert_file, *device_key_file; /* PEM; empty = the development certificate in the data directory */
	const char *web_cert_file, *web_key_file;       /* PEM; empty = plain HTTP */
	const char *ca_key, *ca_cert_file; /* "none": no authority; "auto": a key in the data directory */
	uint64_t api_port;                 /* listens only with an authority */
	uint64_t certificate_warn_days;
	bool shared_secrets;
	bool tls13;
	bool lifo_by_default;
	bool registrations;
	const char *from_email, *email_sender, *platform_name, *support_address, *support_signoff;
	const char *smtp_server, *smtp_username, *smtp_password, *smtp_tls_versions, *smtp_ca_file;
	uint64_t smtp_port;
	bool smtp_ssl;
	const char *mail_folder;    /* mails are written there and not sent; empty: none */
	uint64_t mail_retry_ms;
	const char *oidc_issuer, *oidc_client_id, *oidc_client_secret, *oidc_name, *oidc_scopes, *oidc_ca_file; /* empty issuer: none */
	const char *google_client_id, *google_client_secret; /* empty id: none */
	const char *oidc_registration;   /* "true" or "false" */
	const char *oidc_domains;
	bool oidc_link_by_email, oidc_second_factor;
	uint64_t connect_rate;      /* handshakes a second and loop; 0 = as fast as the machine does them */
	uint64_t max_handshakes, max_stalled, max_queued; /* of each loop; max_queued 0 = measured */
	uint64_t body_rate;         /* bytes a second */
	uint64_t firmware_max_bytes, archive_max_bytes;
	uint64_t orchestrator_interval_ms, device_idle_ms, health_every_ms;
	uint64_t device_connects;   /* a minute; 0 = no limit */
	uint64_t device_messages;   /* a second; 0 = no limit */
	uint64_t permission_age_ms; /* of somebody who looks on at a device; 0 = asked for at each message */
	const char *geo_resolver;   /* "none", "static:LATITUDE,LONGITUDE", "maxmind:FILE" */
	bool clean_up_deleted_devices;
	uint64_t health_days, log_days, connection_days; /* how long what devices told is kept */
	uint64_t firmware_days, firmware_newest; /* how long files that nobody uses are kept (0 = for ever), and how many of the newest versions whatever their age */
	const char *webhook_networks, *webhook_ca_file;
	bool webhook_http;
	uint64_t webhook_timeout_ms, webhook_give_up_ms, webhook_waiting;
	uint64_t delta_workers, delta_memory, delta_timeout_ms; /* builders of deltas at a time, and what each may use */
	uint64_t drain_ms, drain_delay_ms;
	bool truncate_audit_logs;
	uint64_t audit_log_days;
	uint64_t job_speed, job_lease_ms; /* periods and pauses of jobs are so many times shorter; how long a job is its server's without a word */
	uint64_t loops, workers;    /* 0 = from the number of cores */
	const char *secret_key;     /* empty = generated into the data directory */
	bool new_secret;
	const char *node_host;      /* empty = as the database sees it; "none" */
	uint64_t node_port;
	uint64_t node_lease_ms;     /* of which the beat is a quarter */
	const char *log_level, *log_format;
	const char *ready_file;     /* written with the real ports once everything listens; empty = none */

	bool check_config, help, version;
};

/*
 * settings_read - fills *s from flags, environment, file and defaults; strings live in arena.
 * NH_EINVAL: unknown flag or value of the wrong kind: one line that names it, where it came from and what is expected.
 * NH_ENOTFOUND/NH_EPERM: the file named by --config.
 */
nh_rc settings_read(struct settings *s, int argc, char **argv, struct nh_arena *arena, struct nh_err *err);
/* settings_explain - each setting, its value (secrets hidden), where it came from and what it does. */
void settings_explain(struct nh_buf *out, const struct settings *s);
void settings_help(struct nh_buf *out);
