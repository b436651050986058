/*
 * Wiring. Each step names what it needs; a failure takes down what stands. No rule and no protocol lives here.
 */
#include "hubd.h"

#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "nodes.h"

static bool https(const struct settings *s) { return strcmp(s->web_scheme, "https") == 0; }

/* Clients see the default ports left out. */
static void put_url(struct nh_buf *out, const char *scheme, const char *host, uint64_t port)
{
	bool usual = port == (strcmp(scheme, "https") == 0 ? 443 : 80);
	nh_buf_printf(out, "%s://%s", scheme, host);
	if (!usual)
		nh_buf_printf(out, ":%llu", (unsigned long long)port);
}

/* After binding, since the kernel may have chosen the ports, and before anybody is served. */
static void set_urls(struct hubd *h)
{
	const struct settings *s = h->settings;
	put_url(&h->web_url, s->web_scheme, s->web_host, s->web_url_port ? s->web_url_port : h->listeners[LISTENER_WEB].port);
	if (*s->download_url)
		nh_buf_put_str(&h->download_url, s->download_url);
	else if (https(s))
		nh_buf_put_slice(&h->download_url, nh_buf_slice(&h->web_url));
	else
		put_url(&h->download_url, "https", s->device_host, h->listeners[LISTENER_DEVICE].port);
	h->hub.download_base_url = nh_buf_cstr(&h->download_url);
	h->hub.web_url = nh_buf_cstr(&h->web_url);
}

/* Asked for, and not required: whoever has no certificate yet comes here to have one issued, as clients of old do. */
static nh_rc open_api_tls(struct hubd *h, nh_slice cert, nh_slice key, struct nh_err *err)
{
	if (!h->authority)
		return NH_OK;
	return nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = cert, .key_pem = key, .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify}, &h->api_tls, err);
}

static nh_rc open_tls(struct hubd *h, struct nh_err *err)
{
	const struct settings *s = h->settings;
	struct nh_tls_server_config device = {.cert_pem = nh_buf_slice(&h->identity.device_cert), .key_pem = nh_buf_slice(&h->identity.device_key),
					      .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify, .tls12_only = !s->tls13};
	NH_TRY(nh_tls_server_new(&device, &h->device_tls, err));
	if (!*s->web_cert_file)
		return open_api_tls(h, nh_buf_slice(&h->identity.device_cert), nh_buf_slice(&h->identity.device_key), err);
	struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	nh_rc rc = nh_file_read(s->web_cert_file, 1u << 20, &cert, err);
	if (rc == NH_OK)
		rc = nh_file_read(s->web_key_file, 1u << 20, &key, err);
	if (rc == NH_OK)
		rc = nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key), .tickets = true}, &h->web_tls, err);
	if (rc == NH_OK)
		rc = open_api_tls(h, nh_buf_slice(&cert), nh_buf_slice(&key), err);
	nh_buf_fini(&cert);
	nh_buf_wipe(&key);
	return rc;
}

static void wake_scheduler(void *h, nh_slice kind) { scheduler_wake(h, kind); }
static void wake_webhooks(void *h) { nh_webhooks_wake(((struct hubd *)h)->webhooks); }

void hubd_carry_out(struct hubd *h, const struct nh_effects *effects)
{
	for (size_t i = 0; i < effects->count; i++) {
		if (effects->items[i].kind == NH_EFFECT_MAIL)
			nh_mailer_wake(h->mailer);
	}
	nh_device_api_effects(h->device_api, effects);
}

static void carry_out(void *h, const struct nh_effects *effects) { hubd_carry_out(h, effects); }

static bool sends_mails(const struct settings *s) { return *s->smtp_server || *s->mail_folder; }

/* After the ports are known: links of mails name the web port. */
static nh_rc start_mailer(struct hubd *h, struct nh_err *err)
{
	const struct settings *s = h->settings;
	if (!sends_mails(s))
		return NH_OK;
	struct nh_mailer_config config = {.db = h->db, .hub = &h->hub, .clock = &nh_clock_system, .rng = &nh_rng_system, .folder = s->mail_folder, .server = s->smtp_server, .port = (unsigned)s->smtp_port,
					  .username = s->smtp_username, .password = s->smtp_password, .ssl = s->smtp_ssl, .tls_versions = s->smtp_tls_versions, .ca_file = s->smtp_ca_file,
					  .retry_ms = s->mail_retry_ms, .style = {.from_email = s->from_email, .sender = s->email_sender, .platform = s->platform_name,
					  .support_address = s->support_address, .signoff = s->support_signoff}};
	return nh_mailer_new(&config, &h->mailer, err);
}

static bool object_url(void *ctx, nh_slice object_key, uint64_t ttl_s, struct nh_buf *out)
{
	struct hubd *h = ctx;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	return nh_objects_url(h->objects, nh_arena_str(&arena, object_key), ttl_s, out, NULL) == NH_OK;
}

#define CONTAINER_HOST "http://169.254.170.2" /* of the agent that names only a path; source: Amazon ECS Developer Guide "Task IAM role" */

static nh_rc open_objects(struct hubd *h, struct nh_err *err)
{
	const struct settings *s = h->settings;
	if (strcmp(s->storage, "S3") != 0)
		return nh_objects_open_dir(s->firmware_path, &h->objects, err);
	NH_AUTO_BUF struct nh_buf relative = NH_BUF_INIT;
	nh_buf_printf(&relative, CONTAINER_HOST "%s", s->s3_container_path);
	const char *container_url = *s->s3_container_url ? s->s3_container_url : *s->s3_container_path ? nh_buf_cstr(&relative) : NULL;
	struct nh_s3_config config = {.endpoint = s->s3_host, .region = s->s3_region, .bucket = s->s3_bucket, .key_id = s->s3_key_id, .secret = s->s3_secret, .bucket_as_host = s->s3_bucket_as_host,
				      .session_token = *s->s3_session_token ? s->s3_session_token : NULL, .ca_file = *s->s3_ca_file ? s->s3_ca_file : NULL, .spool = s->spool};
	config.role = (struct nh_s3_role){.metadata_url = s->s3_metadata, .container_url = container_url, .container_token = *s->s3_container_token ? s->s3_container_token : NULL,
					  .container_token_file = *s->s3_container_token_file ? s->s3_container_token_file : NULL};
	h->hub.object_url = object_url;
	h->hub.object_url_ctx = h;
	return nh_objects_open_s3(&config, &h->objects, err);
}

/* "0 = no limit" of the settings. */
static unsigned limit(uint64_t n) { return n == 0 || n > UINT32_MAX ? UINT32_MAX : (unsigned)n; }

static nh_rc open_parts(struct hubd *h, struct nh_err *err)
{
	const struct settings *s = h->settings;
	NH_TRY(bootstrap(s, &h->identity, err));
	h->hub = (struct nh_hub_config){.secret_key = nh_buf_slice(&h->identity.secret), .node = nh_buf_slice(&h->identity.node), .download_ttl_s = 86400, .max_firmware_bytes = s->firmware_max_bytes,
					.max_archive_bytes = s->archive_max_bytes, .shared_secrets_enabled = s->shared_secrets, .registration_open = s->registrations, .lifo_by_default = s->lifo_by_default, .mails = sends_mails(s), .download_base_url = "",
					.webhooks = {.http = s->webhook_http, .give_up_us = (int64_t)s->webhook_give_up_ms * 1000, .waiting_max = (int64_t)s->webhook_waiting}};
	struct nh_db_config db = {.url = s->database_url, .connections = (unsigned)s->workers + 4 + SCHEDULER_THREADS + 1, /* who sends webhooks; */ /* and upkeep's, the mailer's, and that of who watches other servers */ .timeout_ms = s->database_timeout_ms, .statements = nh_store_statements};
	NH_TRY(nh_db_open(&db, &h->db, err));
	NH_TRY(nodes_open(h, err));
	NH_TRY(authority_open(h, err));
	NH_TRY(open_objects(h, err));
	NH_TRY(admin_bootstrap(h, err));
	NH_TRY(nh_pool_new(&(struct nh_pool_config){.threads = (unsigned)s->workers, .queue_max = 4096}, &h->pool, err));
	NH_TRY(geo_open(s->geo_resolver, &h->geo, err));
	h->relay = nh_relay_new();
	h->limiter = nh_limiter_new();
	h->device_api = nh_device_api_new(&(struct nh_device_api_config){.db = h->db, .objects = h->objects, .pool = h->pool, .relay = h->relay, .hub = &h->hub, .geo = geo_resolver(h->geo), .clock = &nh_clock_system,
									 .rng = &nh_rng_system, .idle_ms = s->device_idle_ms,
									 .health_every_ms = s->health_every_ms, .wake_scheduler = wake_scheduler, .wake_webhooks = wake_webhooks, .wake_ctx = h, .connects_per_minute = limit(s->device_connects), .messages_per_second = limit(s->device_messages)});
	h->user_api = nh_user_api_new(&(struct nh_user_api_config){.db = h->db, .objects = h->objects, .hub = &h->hub, .clock = &nh_clock_system, .rng = &nh_rng_system,
								   .relay = h->relay, .effects = carry_out, .effects_ctx = h, .limiter = h->limiter, .platform_name = s->platform_name,
								   .webhook_try = webhooks_try, .webhook_try_ctx = h});
	NH_TRY(issuers_open(h, err));
	h->web = nh_web_new(&(struct nh_web_config){.db = h->db, .pool = h->pool, .relay = h->relay, .hub = &h->hub, .clock = &nh_clock_system, .rng = &nh_rng_system,
						    .recheck_ms = s->permission_age_ms, .effects = carry_out, .effects_ctx = h, .limiter = h->limiter, .issuers = h->issuers, .issuer_count = h->issuer_count,
						    .identities = {.link_by_email = s->oidc_link_by_email, .registration = strcmp(s->oidc_registration, "true") == 0,
								   .domains = nh_slice_str(s->oidc_domains)},
						    .second_factor_always = s->oidc_second_factor});
	return open_tls(h, err);
}

static void set_listeners(struct hubd *h)
{
	const struct settings *s = h->settings;
	h->device_mounts[0] = (struct nh_mount){.routes = nh_device_api_routes, .app = h->device_api};
	h->device_mounts[1] = (struct nh_mount){.routes = status_routes, .app = h};
	h->web_mounts[0] = (struct nh_mount){.routes = nh_user_api_routes, .app = h->user_api, .fault = nh_user_api_fault};
	h->web_mounts[1] = (struct nh_mount){.routes = nh_device_api_web_routes, .app = h->device_api};
	h->web_mounts[2] = (struct nh_mount){.routes = nh_web_routes, .app = h->web};
	h->web_mounts[3] = (struct nh_mount){.routes = nh_web_form_routes, .app = h->web};
	h->web_mounts[4] = (struct nh_mount){.routes = status_routes, .app = h};
	h->web_mounts[5] = (struct nh_mount){.routes = nh_user_api_last_routes, .app = h->user_api, .fault = nh_user_api_fault};
	h->metrics_mounts[0] = (struct nh_mount){.routes = metrics_routes, .app = h};
	h->metrics_mounts[1] = (struct nh_mount){.routes = status_routes, .app = h};
	h->api_mounts[0] = (struct nh_mount){.routes = nh_user_api_routes, .app = h->user_api, .fault = nh_user_api_fault};
	h->api_mounts[1] = (struct nh_mount){.routes = nh_user_api_service_routes, .app = h->user_api, .fault = nh_user_api_fault};
	h->api_mounts[2] = (struct nh_mount){.routes = nh_user_api_root_routes(), .app = h->user_api, .fault = nh_user_api_fault};
	h->listeners[LISTENER_API] = (struct nh_listener){.name = "api", .address = s->bind_address, .port = (uint16_t)s->api_port, .tls = h->api_tls, .mounts = h->api_mounts,
		.verify = nh_user_api_verify, .verify_slow = nh_user_api_verify_slow, .verify_app = h->user_api};
	h->listeners[LISTENER_DEVICE] = (struct nh_listener){.name = "device", .address = s->bind_address, .port = (uint16_t)s->device_port, .tls = h->device_tls,
		.mounts = h->device_mounts, .verify = nh_device_api_verify, .verify_slow = nh_device_api_verify_slow, .verify_app = h->device_api,
		.connect_rate = (s->connect_rate + s->loops - 1) / s->loops};
	h->listeners[LISTENER_WEB] = (struct nh_listener){.name = "web", .address = s->bind_address, .port = (uint16_t)s->web_port, .tls = h->web_tls, .mounts = h->web_mounts,
		.reserve = 16};
	h->listeners[LISTENER_METRICS] = (struct nh_listener){.name = "metrics", .address = "127.0.0.1", .port = (uint16_t)s->metrics_port, .mounts = h->metrics_mounts,
		.reserve = 8};
}

/* What the last run left when it was cut off. An object store that is away for a while is no reason not to serve the rest: the job "objects" tries again. */
static void recover_objects(struct hubd *h)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_user_api_recover(h->user_api, &err);
	if (rc == NH_OK)
		rc = nh_user_api_sweep(h->user_api, NULL, &err);
	if (rc != NH_OK)
		NH_LOG(NH_LOG_WARN, "objects.sweep_failed", NH_STR("why", err.msg));
}

/* Behind those that stand at a place of their own. */
static nh_rc count_listeners(struct hubd *h, size_t *count, struct nh_err *err)
{
	*count = h->authority ? LISTENER_COUNT : LISTENER_API;
	nh_rc rc = nodes_listener(h, &h->listeners[*count], err);
	*count += rc == NH_OK;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc open_server(struct hubd *h, struct nh_err *err)
{
	size_t listeners = 0;
	set_listeners(h);
	NH_TRY(count_listeners(h, &listeners, err));
	const struct settings *s = h->settings;
	struct nh_server_config config = {.loops = (unsigned)s->loops, .pool = h->pool, .listeners = h->listeners, .listener_count = listeners,
		.max_handshakes = (unsigned)s->max_handshakes, .max_stalled = (unsigned)s->max_stalled, .max_queued = s->max_queued, .body_rate = s->body_rate};
	NH_TRY(nh_server_open(&config, &h->server, err));
	set_urls(h);
	NH_TRY(nh_device_api_start(h->device_api, h->server, err));
	nh_user_api_start(h->user_api, h->server);
	recover_objects(h);
	NH_TRY(nodes_start(h, err));
	NH_TRY(start_mailer(h, err));
	NH_TRY(webhooks_start(h, err));
	NH_TRY(scheduler_start(h, err));
	NH_TRY(upkeep_start(h, err));
	return nh_server_start(h->server, err);
}

static void take_down(struct hubd *h)
{
	upkeep_stop(h);
	scheduler_stop(h);
	nodes_stop(h); /* it carries effects out */
	nh_webhooks_stop(h->webhooks);
	nh_pool_free(h->pool);
	nh_webhooks_free(h->webhooks);
	nh_mailer_free(h->mailer);
	nh_server_free(h->server);
	nh_web_free(h->web);
	nh_limiter_free(h->limiter);
	issuers_close(h);
	nh_user_api_free(h->user_api);
	nh_device_api_free(h->device_api);
	nodes_close(h);
	nh_relay_free(h->relay);
	geo_close(h->geo);
	nh_tls_unref(h->device_tls);
	nh_tls_unref(h->web_tls);
	nh_tls_unref(h->api_tls);
	nh_authority_free(h->authority);
	nh_objects_close(h->objects);
	nh_db_close(h->db);
	scheduler_free(h);
	nh_buf_fini(&h->download_url);
	nh_buf_fini(&h->web_url);
	identity_fini(&h->identity);
}

nh_rc hubd_open(const struct settings *s, struct hubd *out, struct nh_err *err)
{
	*out = (struct hubd){.settings = s, .started_us = nh_now_us()};
	nh_rc rc = open_parts(out, err);
	if (rc == NH_OK)
		rc = open_server(out, err);
	if (rc != NH_OK)
		take_down(out);
	return rc;
}

void hubd_close(struct hubd *h)
{
	/* Whoever sends work here is told first, and given the time to notice. */
	__atomic_store_n(&h->draining, true, __ATOMIC_RELEASE);
	usleep((useconds_t)h->settings->drain_delay_ms * 1000);
	upkeep_stop(h);
	scheduler_stop(h);
	nh_device_api_stop(h->device_api);
	nh_server_drain(h->server, h->settings->drain_ms);
	nodes_stop(h);
	take_down(h);
}
