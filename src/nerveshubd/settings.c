/*
 * The settings table and its reader. A row says everything about a setting: flag, variable, kind, default, help; reading, `--help`,
 * `--check-config` and the man page follow the rows. It checks the form of values only; whether a port is free or a folder writable shows
 * when it is used.
 */
#include "settings.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/option.h"

typedef enum kind { TEXT, SECRET, PORT, NUMBER, POSITIVE, SIZE, DURATION, BOOL } kind;

struct row {
	const char *flag;
	const char *variable; /* name in the environment and in the file */
	const char *older;    /* second name that upstream also reads, or NULL */
	kind kind;
	size_t offset;
	const char *fallback;
	const char *value, *help;
	uint64_t plain_ms; /* a DURATION's number without a unit, where upstream counts in something else than seconds */
};

#define DURATION_MAX_MS UINT64_C(86400000)
#define FIELD(name) offsetof(struct settings, name)

static const struct row rows[] = {
	{"config", "NERVESHUB_CONFIG", NULL, TEXT, FIELD(config_file), "", "FILE", "read NAME=value lines from FILE"},
	{"data-dir", "NERVESHUB_DATA_DIR", NULL, TEXT, FIELD(data_dir), "", "DIR", "where everything is kept"},
	{"database", "DATABASE_URL", NULL, TEXT, FIELD(database_url), "", "URL", "sqlite:PATH or postgres://…; default: SQLite in the data directory"},
	{"database-timeout", "DATABASE_TIMEOUT", NULL, DURATION, FIELD(database_timeout_ms), "15s", "TIME", "how long PostgreSQL may take for one statement"},
	{"firmware-path", "FIRMWARE_UPLOAD_PATH", NULL, TEXT, FIELD(firmware_path), "", "DIR", "object store; default: objects/ in the data directory"},
	{"storage", "FIRMWARE_UPLOAD_BACKEND", NULL, TEXT, FIELD(storage), "local", "WHERE", "where objects lie: local (the folder above) or S3"},
	{"s3-host", "S3_HOST", NULL, TEXT, FIELD(s3_host), "", "URL", "S3 server, a name or a URL; default: Amazon's of the region"},
	{"s3-region", "S3_REGION", NULL, TEXT, FIELD(s3_region), "us-east-1", "NAME", "region that requests are signed for"},
	{"s3-bucket", "S3_BUCKET_NAME", NULL, TEXT, FIELD(s3_bucket), "", "NAME", "bucket, which exists already"},
	{"s3-bucket-as-host", "S3_BUCKET_AS_HOST", NULL, BOOL, FIELD(s3_bucket_as_host), "false", "BOOL", "is the bucket part of the host's name, and not of the path?"},
	{"s3-key-id", "S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID", TEXT, FIELD(s3_key_id), "", "ID", "access key of the bucket; without one: the keys that the machine's cloud lends its role"},
	{"s3-secret", "S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", SECRET, FIELD(s3_secret), "", "TEXT", "its secret"},
	{"s3-session-token", "AWS_SESSION_TOKEN", NULL, SECRET, FIELD(s3_session_token), "", "TEXT", "where the access key is a temporary one"},
	{"s3-metadata", "AWS_EC2_METADATA_SERVICE_ENDPOINT", NULL, TEXT, FIELD(s3_metadata), "http://169.254.169.254", "URL", "who lends an instance its role's keys, where no access key is given"},
	{"s3-container-path", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", NULL, TEXT, FIELD(s3_container_path), "", "PATH", "where a container's agent lends them instead, as the agent itself says it"},
	{"s3-container-url", "AWS_CONTAINER_CREDENTIALS_FULL_URI", NULL, TEXT, FIELD(s3_container_url), "", "URL", "the same with the agent's address"},
	{"s3-container-token", "AWS_CONTAINER_AUTHORIZATION_TOKEN", NULL, SECRET, FIELD(s3_container_token), "", "TEXT", "what the agent wants to see"},
	{"s3-container-token-file", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", NULL, TEXT, FIELD(s3_container_token_file), "", "FILE", "the same, read each time"},
	{"s3-ca", "S3_CA_FILE", NULL, TEXT, FIELD(s3_ca_file), "", "FILE", "certificates (PEM) that vouch for the S3 server; default: the system's"},
	{"bind", "NERVESHUB_BIND", NULL, TEXT, FIELD(bind_address), "0.0.0.0", "ADDRESS", "address to listen on (web and device)"},
	{"device-port", "DEVICE_PORT", NULL, PORT, FIELD(device_port), "4001", "PORT", "TLS port for devices"},
	{"web-port", "HTTP_PORT", "PORT", PORT, FIELD(web_port), "4000", "PORT", "port of the User API"},
	{"metrics-port", "METRICS_PORT", NULL, PORT, FIELD(metrics_port), "9568", "PORT", "port of /metrics, on 127.0.0.1 only"},
	{"web-host", "WEB_HOST", "HOST", TEXT, FIELD(web_host), "localhost", "HOST", "public host of the User API, in URLs"},
	{"web-scheme", "WEB_SCHEME", NULL, TEXT, FIELD(web_scheme), "", "SCHEME", "http or https in URLs; default: as the listener speaks"},
	{"web-url-port", "WEB_PORT", NULL, PORT, FIELD(web_url_port), "0", "PORT", "public port in URLs; 0 = the listening port"},
	{"device-host", "DEVICE_HOST", NULL, TEXT, FIELD(device_host), "", "HOST", "public host that devices reach; default: the web host"},
	{"download-url", "DOWNLOAD_URL", NULL, TEXT, FIELD(download_url), "", "URL", "where devices get firmware; default: the web host if it speaks https, else the device port"},
	{"device-cert", "DEVICE_SSL_CERTFILE", NULL, TEXT, FIELD(device_cert_file), "", "FILE", "PEM chain of the device port; default: development certificate"},
	{"device-key", "DEVICE_SSL_KEYFILE", NULL, TEXT, FIELD(device_key_file), "", "FILE", "PEM key of the device port"},
	{"web-cert", "WEB_SSL_CERTFILE", NULL, TEXT, FIELD(web_cert_file), "", "FILE", "PEM chain of the web port; default: plain HTTP"},
	{"web-key", "WEB_SSL_KEYFILE", NULL, TEXT, FIELD(web_key_file), "", "FILE", "PEM key of the web port"},
	{"ca-key", "CA_KEY", NULL, TEXT, FIELD(ca_key), "none", "WHICH", "key of the server's certificate authority: none, auto (made once in the data directory), a PEM file, or a pkcs11: URI"},
	{"ca-cert", "CA_CERTFILE", NULL, TEXT, FIELD(ca_cert_file), "", "FILE", "its certificate (PEM); default: made once in the data directory"},
	{"api-port", "API_PORT", NULL, PORT, FIELD(api_port), "4002", "PORT", "TLS port of the User API for client certificates of the authority; listens only where there is one"},
	{"certificate-warn-days", "CERTIFICATE_WARN_DAYS", NULL, POSITIVE, FIELD(certificate_warn_days), "30", "N", "days before their end that certificates are counted in log and metrics"},
	{"shared-secrets", "DEVICE_SHARED_SECRETS_ENABLED", NULL, BOOL, FIELD(shared_secrets), "true", "BOOL", "may devices identify themselves by shared secret?"},
	{"tls13", "DEVICE_ENABLE_TLS_13", NULL, BOOL, FIELD(tls13), "true", "BOOL", "offer TLS 1.3 beside 1.2 on the device port?"},
	{"default-lifo-queue", "DEFAULT_LIFO_DEPLOYMENT_QUEUE", NULL, BOOL, FIELD(lifo_by_default), "false", "BOOL", "new deployment groups update the devices first that were seen first the latest"},
	{"open-registrations", "OPEN_FOR_REGISTRATIONS", NULL, BOOL, FIELD(registrations), "false", "BOOL", "may anybody create an account?"},
	{"from-email", "FROM_EMAIL", NULL, TEXT, FIELD(from_email), "no-reply@nerves-hub.org", "ADDRESS", "who mails come from"},
	{"email-sender", "EMAIL_SENDER", NULL, TEXT, FIELD(email_sender), "NervesHub", "NAME", "the sender's name in mails"},
	{"platform-name", "SUPPORT_EMAIL_PLATFORM_NAME", NULL, TEXT, FIELD(platform_name), "NervesHub", "NAME", "what this server is called, in subjects of mails and in the API's document"},
	{"support-address", "SUPPORT_EMAIL_ADDRESS", NULL, TEXT, FIELD(support_address), "", "ADDRESS", "who helps, in mails; default: the administrator"},
	{"support-signoff", "SUPPORT_EMAIL_SIGNOFF", NULL, TEXT, FIELD(support_signoff), "", "TEXT", "the last line of mails"},
	{"smtp-server", "SMTP_SERVER", NULL, TEXT, FIELD(smtp_server), "", "HOST", "who takes mails; without one, and without a folder for them, no mail is sent"},
	{"smtp-port", "SMTP_PORT", NULL, PORT, FIELD(smtp_port), "587", "PORT", "its port"},
	{"smtp-username", "SMTP_USERNAME", NULL, TEXT, FIELD(smtp_username), "", "NAME", "account at the mail server; default: none is needed"},
	{"smtp-password", "SMTP_PASSWORD", NULL, SECRET, FIELD(smtp_password), "", "TEXT", "its password"},
	{"smtp-ssl", "SMTP_SSL", NULL, BOOL, FIELD(smtp_ssl), "false", "BOOL", "TLS from the first byte? Else STARTTLS, which is always demanded"},
	{"smtp-tls-versions", "SMTP_TLS_VERSIONS", NULL, TEXT, FIELD(smtp_tls_versions), "", "LIST", "tlsv1.2, tlsv1.3 or both; default: both"},
	{"smtp-ca", "SMTP_CA_FILE", NULL, TEXT, FIELD(smtp_ca_file), "", "FILE", "certificates (PEM) that vouch for the mail server; default: the system's"},
	{"mail-folder", "NERVESHUB_MAIL_FOLDER", NULL, TEXT, FIELD(mail_folder), "", "DIR", "write each mail into a file there and send none: for development"},
	{"mail-retry", "NERVESHUB_MAIL_RETRY", NULL, DURATION, FIELD(mail_retry_ms), "30s", "TIME", "pause after a mail could not be sent, doubled each time up to an hour, for a day"},
	{"oidc-issuer", "OIDC_ISSUER", NULL, TEXT, FIELD(oidc_issuer), "", "URL", "OpenID Connect issuer whose people may sign in, as it writes itself"},
	{"oidc-client-id", "OIDC_CLIENT_ID", NULL, TEXT, FIELD(oidc_client_id), "", "ID", "what the issuer calls this server"},
	{"oidc-client-secret", "OIDC_CLIENT_SECRET", NULL, SECRET, FIELD(oidc_client_secret), "", "TEXT", "its secret; none: a public client"},
	{"oidc-name", "OIDC_NAME", NULL, TEXT, FIELD(oidc_name), "", "NAME", "what people call the issuer; default: its host"},
	{"oidc-scopes", "OIDC_SCOPES", NULL, TEXT, FIELD(oidc_scopes), "openid email profile", "SCOPES", "what the issuer is asked to tell"},
	{"oidc-ca", "OIDC_CA_FILE", NULL, TEXT, FIELD(oidc_ca_file), "", "FILE", "certificates (PEM) that vouch for the issuer; default: the system's"},
	{"google-client-id", "GOOGLE_CLIENT_ID", NULL, TEXT, FIELD(google_client_id), "", "ID", "sign-in with Google, too; its people go to /auth/google"},
	{"google-client-secret", "GOOGLE_CLIENT_SECRET", NULL, SECRET, FIELD(google_client_secret), "", "TEXT", "its secret"},
	{"oidc-registration", "OIDC_REGISTRATION", NULL, TEXT, FIELD(oidc_registration), "", "BOOL", "do people whom an issuer signs in get an account? default: as OPEN_FOR_REGISTRATIONS"},
	{"oidc-domains", "OIDC_ALLOWED_DOMAINS", NULL, TEXT, FIELD(oidc_domains), "", "LIST", "domains of those who may sign in by an issuer, separated by commas; default: all"},
	{"oidc-link-by-email", "OIDC_LINK_BY_EMAIL", NULL, BOOL, FIELD(oidc_link_by_email), "false", "BOOL", "may an issuer's verified e-mail address open the account that has the same? Trust in the issuer's every address"},
	{"oidc-second-factor", "OIDC_SECOND_FACTOR", NULL, BOOL, FIELD(oidc_second_factor), "false", "BOOL", "is an account's second factor asked for after an issuer signed in, too?"},
	{"connect-rate", "DEVICE_CONNECT_RATE_LIMIT", NULL, NUMBER, FIELD(connect_rate), "0", "N", "device connections a second; 0 = what the machine can do"},
	{"max-handshakes", "NERVESHUB_MAX_HANDSHAKES", NULL, POSITIVE, FIELD(max_handshakes), "96", "N", "TLS handshakes an I/O thread works on at a time; others wait unread, in order of arrival"},
	{"max-stalled", "NERVESHUB_MAX_STALLED", NULL, POSITIVE, FIELD(max_stalled), "2048", "N", "handshakes of an I/O thread that may wait for their peer, of about 30 KiB each"},
	{"max-queued", "NERVESHUB_MAX_QUEUED", NULL, NUMBER, FIELD(max_queued), "0", "N", "connections of an I/O thread that may wait for a handshake; 0 = as many as it can finish in 15 s"},
	{"body-rate", "NERVESHUB_BODY_RATE", NULL, POSITIVE, FIELD(body_rate), "1000", "N", "bytes a second that an upload or a download must move on a minute's average"},
	{"firmware-max-size", "FIRMWARE_UPLOAD_MAX_SIZE", NULL, SIZE, FIELD(firmware_max_bytes), "200000000", "BYTES", "largest firmware accepted"},
	{"archive-max-size", "ARCHIVE_UPLOAD_MAX_SIZE", NULL, SIZE, FIELD(archive_max_bytes), "200000000", "BYTES", "largest archive accepted"},
	{"device-idle", "NERVESHUB_DEVICE_IDLE", NULL, DURATION, FIELD(device_idle_ms), "180s", "TIME", "a device that is silent for so long is gone; devices send heartbeats every 30 s"},
	{"device-connects", "DEVICE_CONNECTS_PER_MINUTE", NULL, NUMBER, FIELD(device_connects), "30", "N", "connections a minute of one device; beyond it is told to stay away for a while; 0 = no limit"},
	{"device-messages", "DEVICE_MESSAGES_PER_SECOND", NULL, NUMBER, FIELD(device_messages), "100", "N", "messages a second of one device (each 4 KiB of a long one count), ten seconds' worth at once; what exceeds it waits; 0 = no limit"},
	{"health-interval", "FEATURES_HEALTH_INTERVAL_MINUTES", NULL, DURATION, FIELD(health_every_ms), "60m", "TIME", "how often devices are asked for their health; plain numbers are minutes", 60000},
	{"permission-age", "NERVESHUB_PERMISSION_AGE", NULL, DURATION, FIELD(permission_age_ms), "10s", "TIME", "a user's permission to look on at a device is asked for again once it is so old"},
	{"orchestrator-interval", "ORCHESTRATOR_INTERVAL", NULL, DURATION, FIELD(orchestrator_interval_ms), "120s", "TIME", "how often each deployment group is looked at without a reason"},
	{"geo-resolver", "GEO_RESOLVER", NULL, TEXT, FIELD(geo_resolver), "none", "WHO", "where an address lies: none, static:LATITUDE,LONGITUDE, or maxmind:FILE"},
	{"clean-up-deleted-devices", "CLEAN_UP_SOFT_DELETED_DEVICES", NULL, BOOL, FIELD(clean_up_deleted_devices), "false", "BOOL", "forget devices for good that were deleted 12 days ago"},
	{"health-days", "HEALTH_CHECK_DAYS_TO_RETAIN", NULL, POSITIVE, FIELD(health_days), "7", "N", "days that health reports are kept; the latest of each device stays"},
	{"log-days", "EXTENSIONS_LOGGING_DAYS_TO_KEEP", NULL, POSITIVE, FIELD(log_days), "3", "N", "days that log lines of devices are kept"},
	{"connection-days", "DEVICE_CONNECTION_MAX_AGE_DAYS", NULL, POSITIVE, FIELD(connection_days), "30", "N", "days that connections are kept after their end"},
	{"firmware-days", "FIRMWARE_DAYS_TO_KEEP", NULL, NUMBER, FIELD(firmware_days), "0", "N", "days that firmware and archives are kept which no release names and no device runs; 0 = for ever"},
	{"firmware-newest", "FIRMWARE_NEWEST_TO_KEEP", NULL, NUMBER, FIELD(firmware_newest), "10", "N", "newest versions of each product, platform and architecture that are kept whatever their age"},
	{"webhook-networks", "WEBHOOK_NETWORKS", NULL, TEXT, FIELD(webhook_networks), "", "LIST", "private networks that webhooks may go to: 10.0.0.0/8,fd00::/8; default: public addresses only"},
	{"webhook-http", "WEBHOOK_HTTP", NULL, BOOL, FIELD(webhook_http), "false", "BOOL", "may webhooks go to http:// URLs, too? For laboratories"},
	{"webhook-ca", "WEBHOOK_CA_FILE", NULL, TEXT, FIELD(webhook_ca_file), "", "FILE", "certificates (PEM) that vouch for endpoints of webhooks; default: the system's"},
	{"webhook-timeout", "WEBHOOK_TIMEOUT", NULL, DURATION, FIELD(webhook_timeout_ms), "15s", "TIME", "how long an endpoint of a webhook may take for its answer"},
	{"webhook-give-up", "WEBHOOK_GIVE_UP", NULL, DURATION, FIELD(webhook_give_up_ms), "24h", "TIME", "how long the delivery of an event is tried; pauses are in proportion, from 5s to 6h of a day; an endpoint that fails three times as long is switched off"},
	{"webhook-waiting", "WEBHOOK_WAITING_MAX", NULL, POSITIVE, FIELD(webhook_waiting), "100000", "N", "deliveries of one webhook that may wait; the endpoint is told how many events are lost beyond"},
	{"delta-workers", "NERVESHUB_DELTA_WORKERS", NULL, POSITIVE, FIELD(delta_workers), "1", "N", "deltas that are built at a time, at most 8"},
	{"delta-memory", "NERVESHUB_DELTA_MEMORY", NULL, SIZE, FIELD(delta_memory), "1G", "SIZE", "memory that building a delta may use"},
	{"delta-timeout", "NERVESHUB_DELTA_TIMEOUT", NULL, DURATION, FIELD(delta_timeout_ms), "960s", "TIME", "how long building a delta may take; then devices get the whole firmware"},
	{"drain", "DEVICE_SOCKET_DRAINER_SHUTDOWN", NULL, DURATION, FIELD(drain_ms), "30000ms", "TIME", "how long a stop may take; plain numbers are milliseconds", 1},
	{"truncate-audit-logs", "TRUNCATE_AUDIT_LOGS_ENABLED", NULL, BOOL, FIELD(truncate_audit_logs), "false", "BOOL", "cut audit logs that are older than they have to be kept?"},
	{"audit-log-days", "TRUNCATE_AUDIT_LOGS_DEFAULT_DAYS_KEPT", NULL, POSITIVE, FIELD(audit_log_days), "30", "N", "days that is, where an organization has no number of its own"},
	{"job-speed", "NERVESHUB_JOB_SPEED", NULL, POSITIVE, FIELD(job_speed), "1", "N", "periodic work comes so many times as often, and what failed is tried again so much earlier: for tests"},
	{"job-lease", "NERVESHUB_JOB_LEASE", NULL, DURATION, FIELD(job_lease_ms), "60s", "TIME", "another server may take over a job whose server was silent for so long; at least 1s"},
	{"drain-delay", "NERVESHUB_DRAIN_DELAY", NULL, DURATION, FIELD(drain_delay_ms), "0s", "TIME", "how long a stop waits before it begins, while /status/ready says that this server is not: for a load balancer to notice"},
	{"loops", "NERVESHUB_LOOPS", NULL, NUMBER, FIELD(loops), "0", "N", "I/O threads; 0 = one a core"},
	{"workers", "NERVESHUB_WORKERS", NULL, NUMBER, FIELD(workers), "0", "N", "worker threads; 0 = 16 or four a core"},
	{"secret-key", "SECRET_KEY_BASE", NULL, SECRET, FIELD(secret_key), "", "TEXT", "signs URLs and tokens; default: made once in the data directory"},
	{"new-secret", "NERVESHUB_NEW_SECRET", NULL, BOOL, FIELD(new_secret), "false", "BOOL", "PostgreSQL: take this server's secret for the database's from now on; what was sealed with the old one is lost"},
	{"node-host", "NERVESHUB_NODE_HOST", NULL, TEXT, FIELD(node_host), "", "HOST", "several servers on one PostgreSQL: name or address by which the others reach this one; default: the address that the database sees; none: consoles do not lead to devices of other servers"},
	{"node-port", "NERVESHUB_NODE_PORT", NULL, PORT, FIELD(node_port), "0", "PORT", "its port for them; 0 = the kernel chooses, and the others find it in the database"},
	{"node-lease", "NERVESHUB_NODE_LEASE", NULL, DURATION, FIELD(node_lease_ms), "20s", "TIME", "several servers on one PostgreSQL: one that is silent for so long is taken for dead"},
	{"log-level", "LOG_LEVEL", NULL, TEXT, FIELD(log_level), "info", "LEVEL", "debug, info, warn or error"},
	{"log-format", "NERVESHUB_LOG_FORMAT", NULL, TEXT, FIELD(log_format), "logfmt", "FORMAT", "logfmt or json: how log lines are written"},
	{"ready-file", "NERVESHUB_READY_FILE", NULL, TEXT, FIELD(ready_file), "", "FILE", "written with the real ports once everything listens"},
};

#define ROWS NH_ARRAY_LEN(rows)

/* What the flags said, and where each value finally came from: for settings_explain. */
static const char *flag_values[ROWS];
static const char *origins[ROWS];
static bool flag_check, flag_help, flag_version;

static struct nh_option option_table[ROWS + 4];

static const struct nh_option *options(void)
{
	for (size_t i = 0; i < ROWS; i++)
		option_table[i] = (struct nh_option){.name = rows[i].flag, .kind = NH_OPT_TEXT, .target = &flag_values[i], .value = rows[i].value, .help = rows[i].help};
	option_table[ROWS] = (struct nh_option){.name = "check-config", .kind = NH_OPT_FLAG, .target = &flag_check, .help = "explain every setting and stop"};
	option_table[ROWS + 1] = (struct nh_option){.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &flag_help, .help = "this text"};
	option_table[ROWS + 2] = (struct nh_option){.name = "version", .letter = 'V', .kind = NH_OPT_FLAG, .target = &flag_version, .help = "print the version"};
	return option_table;
}

/* ---- the file: NAME=value lines, '#' comments, value optionally in double quotes ------------------------------------------ */

struct file_line {
	nh_slice name, value;
	bool used;
};

struct file_lines {
	struct file_line *items;
	size_t count;
};

#define CONFIG_MAX_BYTES (1u << 20)
#define CONFIG_MAX_LINES 1000

static nh_rc file_lines_read(const char *path, struct file_lines *lines, struct nh_arena *arena, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_TRY_CTX(nh_file_read(path, CONFIG_MAX_BYTES, &text, err), err, "--config");
	lines->items = NH_NEW_ARRAY(arena, CONFIG_MAX_LINES, struct file_line);
	nh_slice rest = nh_arena_copy(arena, nh_buf_slice(&text));
	for (unsigned number = 1; rest.len; number++) {
		nh_slice line, name, value;
		nh_slice_cut(rest, '\n', &line, &rest);
		line = nh_slice_trim(line);
		if (line.len == 0 || line.ptr[0] == '#')
			continue;
		if (!nh_slice_cut(line, '=', &name, &value))
			return NH_FAIL(err, NH_EINVAL, "%s line %u: expected NAME=value, found '%.*s'", path, number, NH_ARG(line));
		if (lines->count == CONFIG_MAX_LINES)
			return NH_FAIL(err, NH_ETOOBIG, "%s: more than %u settings", path, CONFIG_MAX_LINES);
		value = nh_slice_trim(value);
		if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
			value = nh_slice_sub(value, 1, value.len - 2);
		lines->items[lines->count++] = (struct file_line){.name = nh_slice_trim(name), .value = value};
	}
	return NH_OK;
}

static const char *file_lines_find(struct file_lines *lines, const char *name, struct nh_arena *arena)
{
	const char *found = NULL;
	for (size_t i = 0; name && i < lines->count; i++) {
		if (nh_slice_eq_str(lines->items[i].name, name)) {
			lines->items[i].used = true;
			found = nh_arena_str(arena, lines->items[i].value);
		}
	}
	return found;
}

/* ---- values --------------------------------------------------------------------------------------------------------------- */

static nh_rc assign(struct settings *s, const struct row *row, const char *text, const char *origin, struct nh_err *err)
{
	void *target = (char *)s + row->offset;
	nh_slice slice = nh_slice_str(text);
	const char *expected = NULL;
	uint64_t plain;
	switch (row->kind) {
	case TEXT:
	case SECRET:
		*(const char **)target = text;
		return NH_OK;
	case PORT:
		expected = "a port from 0 to 65535";
		if (nh_parse_u64(slice, 0, 65535, target) == NH_OK)
			return NH_OK;
		break;
	case NUMBER:
		expected = "a number from 0 to 1000000";
		if (nh_parse_u64(slice, 0, 1000000, target) == NH_OK)
			return NH_OK;
		break;
	case POSITIVE:
		expected = "a number from 1 to 1000000";
		if (nh_parse_u64(slice, 1, 1000000, target) == NH_OK)
			return NH_OK;
		break;
	case SIZE:
		expected = "a size such as 200000000 or 200M";
		if (nh_parse_size(slice, UINT64_C(1) << 40, target) == NH_OK)
			return NH_OK;
		break;
	case DURATION:
		expected = "a time such as 500ms, 30s or 2m";
		if (row->plain_ms && nh_parse_u64(slice, 0, DURATION_MAX_MS / row->plain_ms, &plain) == NH_OK) {
			*(uint64_t *)target = plain * row->plain_ms;
			return NH_OK;
		}
		if (nh_parse_duration_ms(slice, DURATION_MAX_MS, target) == NH_OK)
			return NH_OK;
		break;
	case BOOL:
		expected = "true or false";
		*(bool *)target = nh_slice_eq_str(slice, "true");
		if (*(bool *)target || nh_slice_eq_str(slice, "false"))
			return NH_OK;
		break;
	}
	return NH_FAIL(err, NH_EINVAL, "%s (from %s) is '%s'; expected %s", row->variable, origin, text, expected);
}

/* The first source that has a value wins; an empty environment variable counts as absent. */
static nh_rc resolve(struct settings *s, size_t i, struct file_lines *lines, struct nh_arena *arena, struct nh_err *err)
{
	const struct row *row = &rows[i];
	const char *env = getenv(row->variable);
	if (!(env && *env) && row->older)
		env = getenv(row->older);
	const char *in_file = file_lines_find(lines, row->variable, arena);
	if (!in_file)
		in_file = file_lines_find(lines, row->older, arena);
	const char *value = row->fallback;
	origins[i] = "default";
	if (flag_values[i]) {
		value = flag_values[i];
		origins[i] = "flag";
	} else if (env && *env) {
		value = env;
		origins[i] = "environment";
	} else if (in_file) {
		value = in_file;
		origins[i] = "file";
	}
	return assign(s, row, value, origins[i], err);
}

/* A root process keeps its data where the system expects it, a person's in the person's own place. */
static const char *default_data_dir(struct nh_arena *arena)
{
	const char *state = getenv("STATE_DIRECTORY"), *home = getenv("HOME");
	if (state && *state)
		return state;
	if (geteuid() == 0 || !home || !*home)
		return "/var/lib/nerveshub";
	return nh_arena_printf(arena, "%s/.local/share/nerveshub", home);
}

static void derive(struct settings *s, struct nh_arena *arena)
{
	if (!*s->data_dir)
		s->data_dir = default_data_dir(arena);
	if (!*s->database_url)
		s->database_url = nh_arena_printf(arena, "sqlite:%s/nerveshub.db", s->data_dir);
	if (!*s->firmware_path)
		s->firmware_path = nh_arena_printf(arena, "%s/objects", s->data_dir);
	s->spool = nh_arena_printf(arena, "%s/spool", s->data_dir);
	if (!*s->s3_host)
		s->s3_host = nh_arena_printf(arena, "https://s3.%s.amazonaws.com", s->s3_region);
	else if (!strstr(s->s3_host, "://"))
		s->s3_host = nh_arena_printf(arena, "https://%s", s->s3_host);
	if (!*s->device_host)
		s->device_host = s->web_host;
	if (!*s->web_scheme)
		s->web_scheme = *s->web_cert_file ? "https" : "http";
	if (!*s->oidc_registration)
		s->oidc_registration = s->registrations ? "true" : "false";
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	if (s->loops == 0)
		s->loops = cores > 0 ? (uint64_t)cores : 1;
	if (s->workers == 0)
		s->workers = cores > 4 ? (uint64_t)cores * 4 : 16;
}

static nh_rc check_pairs(const struct settings *s, struct nh_err *err)
{
	if (s->delta_workers > DELTA_WORKERS_MAX)
		return NH_FAIL(err, NH_EINVAL, "NERVESHUB_DELTA_WORKERS is %llu; expected at most %d", (unsigned long long)s->delta_workers, DELTA_WORKERS_MAX);
	if (!*s->device_cert_file != !*s->device_key_file)
		return NH_FAIL(err, NH_EINVAL, "DEVICE_SSL_CERTFILE and DEVICE_SSL_KEYFILE belong together; only one is set");
	if (!*s->web_cert_file != !*s->web_key_file)
		return NH_FAIL(err, NH_EINVAL, "WEB_SSL_CERTFILE and WEB_SSL_KEYFILE belong together; only one is set");
	if (*s->secret_key && strlen(s->secret_key) < 32)
		return NH_FAIL(err, NH_EINVAL, "SECRET_KEY_BASE needs at least 32 characters, not %zu", strlen(s->secret_key));
	if (strcmp(s->storage, "local") != 0 && strcmp(s->storage, "S3") != 0)
		return NH_FAIL(err, NH_EINVAL, "FIRMWARE_UPLOAD_BACKEND is '%s'; expected local or S3", s->storage);
	if (strcmp(s->storage, "S3") == 0 && !*s->s3_bucket)
		return NH_FAIL(err, NH_EINVAL, "FIRMWARE_UPLOAD_BACKEND=S3 needs S3_BUCKET_NAME");
	if (!*s->s3_key_id != !*s->s3_secret)
		return NH_FAIL(err, NH_EINVAL, "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY belong together; only one is set");
	if (!*s->oidc_issuer != !*s->oidc_client_id)
		return NH_FAIL(err, NH_EINVAL, "OIDC_ISSUER and OIDC_CLIENT_ID belong together; only one is set");
	if (strcmp(s->oidc_registration, "true") != 0 && strcmp(s->oidc_registration, "false") != 0)
		return NH_FAIL(err, NH_EINVAL, "OIDC_REGISTRATION is '%s'; expected true or false", s->oidc_registration);
	if (*s->smtp_server && *s->mail_folder)
		return NH_FAIL(err, NH_EINVAL, "SMTP_SERVER and NERVESHUB_MAIL_FOLDER are both set; mails go to one of them");
	if (!*s->smtp_username != !*s->smtp_password)
		return NH_FAIL(err, NH_EINVAL, "SMTP_USERNAME and SMTP_PASSWORD belong together; only one is set");
	if (strcmp(s->web_scheme, "http") != 0 && strcmp(s->web_scheme, "https") != 0)
		return NH_FAIL(err, NH_EINVAL, "WEB_SCHEME is '%s'; expected http or https", s->web_scheme);
	return NH_OK;
}

nh_rc settings_read(struct settings *s, int argc, char **argv, struct nh_arena *arena, struct nh_err *err)
{
	int rest = 0;
	struct file_lines lines = {0};
	NH_TRY(nh_option_parse(options(), argc, argv, &rest, err));
	if (rest > 0)
		return NH_FAIL(err, NH_EINVAL, "unexpected argument '%s'; see nerveshubd --help", argv[1]);
	*s = (struct settings){.check_config = flag_check, .help = flag_help, .version = flag_version};
	NH_TRY(resolve(s, 0, &lines, arena, err));
	if (*s->config_file)
		NH_TRY(file_lines_read(s->config_file, &lines, arena, err));
	for (size_t i = 1; i < ROWS; i++)
		NH_TRY(resolve(s, i, &lines, arena, err));
	for (size_t i = 0; i < lines.count; i++) {
		if (!lines.items[i].used)
			return NH_FAIL(err, NH_EINVAL, "%s: unknown setting '%.*s'; nerveshubd --check-config lists them", s->config_file, NH_ARG(lines.items[i].name));
	}
	derive(s, arena);
	return check_pairs(s, err);
}

static void put_value(struct nh_buf *out, const struct settings *s, const struct row *row)
{
	const void *field = (const char *)s + row->offset;
	switch (row->kind) {
	case TEXT: nh_buf_put_str(out, **(const char *const *)field ? *(const char *const *)field : "(none)"); break;
	case SECRET: nh_buf_put_str(out, **(const char *const *)field ? "(hidden)" : "(generated)"); break;
	case BOOL: nh_buf_put_str(out, *(const bool *)field ? "true" : "false"); break;
	case DURATION: nh_buf_printf(out, "%llums", (unsigned long long)*(const uint64_t *)field); break;
	case PORT:
	case NUMBER:
	case POSITIVE:
	case SIZE: nh_buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)field); break;
	}
}

/* postgres://user:password@host: the password stays out of sight. */
static void put_database(struct nh_buf *out, const char *url)
{
	nh_slice text = nh_slice_str(url);
	ptrdiff_t scheme = nh_slice_find(text, NH_LIT("://")), at = nh_slice_chr(text, '@');
	ptrdiff_t colon = scheme < 0 ? -1 : nh_slice_chr(nh_slice_skip(text, (size_t)scheme + 3), ':');
	if (scheme < 0 || at < 0 || colon < 0 || scheme + 3 + colon > at) {
		nh_buf_put_slice(out, text);
		return;
	}
	nh_buf_put_slice(out, nh_slice_sub(text, 0, (size_t)(scheme + 3 + colon)));
	nh_buf_put_str(out, ":(hidden)");
	nh_buf_put_slice(out, nh_slice_skip(text, (size_t)at));
}

/* pkcs11:…?pin-value=…: so does a PIN. */
static void put_key(struct nh_buf *out, const char *which)
{
	nh_slice place, rest;
	bool query = nh_slice_cut(nh_slice_str(which), '?', &place, &rest);
	nh_buf_put_slice(out, place);
	nh_buf_put_str(out, query ? "?(hidden)" : "");
}

void settings_explain(struct nh_buf *out, const struct settings *s)
{
	for (size_t i = 0; i < ROWS; i++) {
		nh_buf_printf(out, "%s=", rows[i].variable);
		if (rows[i].offset == FIELD(database_url))
			put_database(out, s->database_url);
		else if (rows[i].offset == FIELD(ca_key))
			put_key(out, s->ca_key);
		else
			put_value(out, s, &rows[i]);
		nh_buf_printf(out, "\n    from %s; --%s; %s\n", origins[i], rows[i].flag, rows[i].help);
	}
}

void settings_help(struct nh_buf *out)
{
	nh_buf_put_str(out, "usage: nerveshubd [options]\n\n"
		"The firmware-update server: devices, User API and orchestrator in one process. Without options it keeps everything in one\n"
		"data directory and makes what it needs there. Each option is also a variable of the environment or of the --config file;\n"
		"nerveshubd --check-config names them and shows their values.\n\n");
	nh_option_help(out, options());
}
