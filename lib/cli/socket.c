/*
 * Phoenix channels from the side of a person: one WebSocket, JSON V2, a heartbeat. Every channel's join has the ref "1", which so is also its join_ref; nothing else has.
 *
 * source: reference/user-api-and-cli "16.1"
 */
#include <stdlib.h>

#include "base/encode.h"
#include "loop/loop.h"
#include "net/client.h"
#include "net/tls.h"
#include "phoenix/phoenix.h"
#include "socket.h"

#define HEARTBEAT_MS 30000          /* half of what servers allow; source: user-api-and-cli "16.1" */
#define SILENCE_MS 75000            /* without even an answer to a heartbeat: the server or the way to it is gone */
#define MESSAGE_MAX ((size_t)2 << 20)
#define JOIN_REF "1"

struct cli_socket {
	struct cli_socket_events events;
	struct nh_ws_client *client;
	struct nh_timer *heartbeat;
	struct nh_proxy *proxy;
	const char *uri; /* for messages */
	unsigned long long ref, settle_ref;
};

/* ---- out ------------------------------------------------------------------------------------------------------------------- */

static void send_message(struct cli_socket *s, const char *join_ref, const char *ref, const char *topic, const char *event, const json_t *payload)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	struct nh_phoenix_message m = {.topic = nh_slice_str(topic), .event = nh_slice_str(event), .payload = (json_t *)payload, .ref = nh_phoenix_ref_text(nh_slice_str(ref)),
				       .join_ref = join_ref ? nh_phoenix_ref_text(nh_slice_str(join_ref)) : NH_PHOENIX_NO_REF};
	nh_phoenix_json_v2.encode(&frame, &m);
	NH_IGNORE(nh_ws_client_send(s->client, NH_WS_TEXT, nh_buf_slice(&frame))); /* on_close tells of the end */
}

static const char *next_ref(struct cli_socket *s, char text[24])
{
	snprintf(text, 24, "%llu", ++s->ref);
	return text;
}

static void beat(void *ctx)
{
	struct cli_socket *s = ctx;
	char ref[24];
	send_message(s, NULL, next_ref(s, ref), "phoenix", "heartbeat", NULL);
}

void cli_socket_join(struct cli_socket *s, const char *topic) { send_message(s, JOIN_REF, JOIN_REF, topic, "phx_join", NULL); }

void cli_socket_leave(struct cli_socket *s, const char *topic)
{
	char ref[24];
	send_message(s, JOIN_REF, next_ref(s, ref), topic, "phx_leave", NULL);
}

void cli_socket_push(struct cli_socket *s, const char *topic, const char *event, json_t *take_payload)
{
	char ref[24];
	send_message(s, JOIN_REF, next_ref(s, ref), topic, event, take_payload);
	json_decref(take_payload);
}

/* What a server does for one socket it does in order: the answer to a heartbeat says that the rest was taken. */
void cli_socket_settle(struct cli_socket *s)
{
	beat(s);
	s->settle_ref = s->ref;
}

size_t cli_socket_unsent(const struct cli_socket *s) { return nh_ws_client_pending(s->client); }
void cli_socket_pause(struct cli_socket *s, bool paused) { nh_ws_client_pause(s->client, paused); }
void cli_socket_goodbye(struct cli_socket *s) { nh_ws_client_shutdown(s->client, NH_WS_CLOSE_NORMAL, NH_SLICE_EMPTY); }

/* ---- in -------------------------------------------------------------------------------------------------------------------- */

static void on_reply(struct cli_socket *s, const struct nh_phoenix_message *m)
{
	const json_t *response = NULL;
	bool ok = false, answer = nh_phoenix_reply(m, &ok, &response);
	uint64_t ref = 0;
	if (answer && nh_slice_eq_str(m->topic, "phoenix")) {
		bool settled = s->settle_ref && nh_parse_u64(m->ref.text, 1, UINT64_MAX, &ref) == NH_OK && ref == s->settle_ref;
		if (settled) {
			s->settle_ref = 0;
			s->events.on_settled(s->events.ctx);
		}
	} else if (answer && nh_slice_eq_str(m->ref.text, JOIN_REF)) {
		const char *reason = cli_get(response, "reason");
		s->events.on_join(s->events.ctx, m->topic, ok ? NULL : *reason ? reason : "no reason was given");
	}
}

static void on_message(void *ctx, nh_ws_opcode opcode, nh_slice data)
{
	struct cli_socket *s = ctx;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_phoenix_message m = {0};
	if (opcode != NH_WS_TEXT || nh_phoenix_json_v2.decode(&arena, data, MESSAGE_MAX, &m, NULL) != NH_OK)
		return; /* not for us */
	switch (nh_phoenix_kind_of(&m)) {
	case NH_PHOENIX_EVENT: s->events.on_event(s->events.ctx, m.topic, m.event, m.payload); break;
	case NH_PHOENIX_REPLY: on_reply(s, &m); break;
	case NH_PHOENIX_CLOSED:
	case NH_PHOENIX_ERROR: s->events.on_left(s->events.ctx, m.topic); break;
	}
	nh_phoenix_message_fini(&m);
}

static void on_open(void *ctx, const struct nh_http_response_head *head)
{
	struct cli_socket *s = ctx;
	nh_timer_start(s->heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
	s->events.on_open(s->events.ctx);
}

static nh_rc why_closed(const struct cli_socket *s, const struct nh_ws_client_closed *closed, struct nh_err *err)
{
	if (closed->status == 401 || closed->status == 403)
		return NH_FAIL(err, NH_EAUTH, "%.200s does not accept the token: run `nh user auth`, or look at NERVES_HUB_TOKEN", s->uri);
	if (closed->status)
		return NH_FAIL(err, NH_EIO, "%.200s answers %u where consoles are: is it a NervesHub server?", s->uri, closed->status);
	if (closed->rc == NH_OK)
		return NH_FAIL(err, NH_ECLOSED, "the server closed the connection (%u%s)", closed->code, closed->code == 1012 ? ", it restarts" : closed->code == 1008 ? ", the token is not valid any more" : "");
	if (closed->rc == NH_ETIMEOUT)
		return NH_FAIL(err, NH_ETIMEOUT, "the connection to %.200s was lost: no answer", s->uri);
	return NH_FAIL(err, closed->rc, "the connection to %.200s failed: %s", s->uri, closed->err.msg);
}

static void on_close(void *ctx, const struct nh_ws_client_closed *closed)
{
	struct cli_socket *s = ctx;
	struct nh_err err = NH_ERR_INIT;
	nh_timer_stop(s->heartbeat);
	NH_IGNORE(why_closed(s, closed, &err)); /* err is what it is for */
	s->events.on_end(s->events.ctx, &err);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

void cli_socket_close(struct cli_socket *s)
{
	if (!s)
		return;
	nh_ws_client_close(s->client);
	nh_timer_close(s->heartbeat);
	nh_proxy_free(s->proxy);
	free(s);
}

/* Below the server's address, whatever path the API has there. The token goes into the query: where sockets look for it. */
static nh_rc make_url(struct nh_cli *c, const char *path, struct nh_buf *out, struct nh_err *err)
{
	char *api = NULL;
	NH_TRY(cli_api_url(c, "", &api, err));
	nh_slice base = nh_slice_str(api);
	if (nh_slice_ends(base, NH_LIT("/api/")))
		base = nh_slice_sub(base, 0, base.len - 4);
	nh_buf_printf(out, "%.*s%s?vsn=2.0.0&token=", NH_ARG(base), path);
	nh_uri_put(out, nh_slice_str(c->token));
	return NH_OK;
}

/* The rules of api.c. */
static nh_rc make_tls(struct nh_cli *c, struct nh_tls **out, struct nh_err *err)
{
	const char *ca = c->io->env("SSL_CERT_FILE");
	struct nh_tls_client_config config = {.ca_paths = &ca, .ca_path_count = 1};
	*out = NULL;
	if (!ca || !*ca || !nh_slice_starts(nh_slice_str(c->uri), NH_LIT("https://")))
		return NH_OK;
	NH_TRY_CTX(nh_tls_client_new(&config, out, err), err, "SSL_CERT_FILE %.200s", ca);
	return NH_OK;
}

nh_rc cli_socket_open(struct nh_cli *c, struct nh_loop *loop, const char *path, const struct cli_socket_events *events, struct cli_socket **out, struct nh_err *err)
{
	struct nh_buf url = NH_BUF_INIT;
	struct nh_tls *tls = NULL;
	struct nh_proxy *proxy = NULL;
	*out = NULL;
	if (!c->token || !*c->token)
		return NH_FAIL(err, NH_EAUTH, "consoles and events need a token, a certificate is not enough: run `nh user auth` or set NERVES_HUB_TOKEN");
	NH_TRY(make_tls(c, &tls, err));
	nh_rc rc = nh_proxy_new(NH_LIT("environment"), NH_SLICE_EMPTY, &proxy, err);
	if (rc == NH_OK)
		rc = make_url(c, path, &url, err);
	if (rc == NH_OK) {
		struct cli_socket *s = nh_xcalloc(1, sizeof *s);
		*s = (struct cli_socket){.events = *events, .uri = c->uri, .proxy = proxy, .ref = 1, .heartbeat = nh_timer_new(loop, beat, s)};
		struct nh_ws_client_config config = {.url = nh_buf_slice(&url), .tls = tls, .max_message_bytes = MESSAGE_MAX, .idle_timeout_ms = SILENCE_MS, .proxy = proxy};
		struct nh_ws_client_events own = {.on_open = on_open, .on_message = on_message, .on_close = on_close, .ctx = s};
		proxy = NULL;
		rc = nh_ws_client_open(loop, &config, &own, &s->client, err);
		if (rc == NH_OK)
			*out = s;
		else
			cli_socket_close(s);
	}
	nh_buf_wipe(&url);
	nh_proxy_free(proxy);
	nh_tls_unref(tls);
	return rc;
}
