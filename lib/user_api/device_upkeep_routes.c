/*
 * What is done with a device now and then: typing into its console, bringing it back after it was deleted or forgetting it for good, its shared secrets, its names in other networks.
 *
 * source: reference/user-api-and-cli "11.4", "11.8"; reference/server-behaviour "1.3", "1.11"
 */
#include <stdlib.h>

#include "api_int.h"
#include "base/encode.h"
#include "base/log.h"
#include "hub/audit.h"

/* ---- deleted devices: opened by name, since there is no live one ---------------------------------------------------------- */

static nh_rc restore(struct call *call, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(nh_device_restore(&call->ctx, &call->actor, &call->product, param(call, "identifier"), &d, &call->errors, err));
	call->data = render_device(&d);
	return NH_OK;
}
const struct endpoint ep_device_restore = {
	.run = restore, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_RESTORE, .write = true, .success = 200, .data = &shape_device, .tag = "Devices"};

static nh_rc destroy(struct call *call, struct nh_err *err)
{
	return nh_device_destroy(&call->ctx, &call->actor, &call->product, param(call, "identifier"), err);
}
const struct endpoint ep_device_destroy = {.run = destroy, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_DESTROY, .write = true, .success = 204, .tag = "Devices"};

/* ---- shared secrets ---------------------------------------------------------------------------------------------------- */

static nh_rc secrets(struct call *call, struct nh_err *err)
{
	struct nh_shared_secret *list;
	size_t count = 0;
	NH_TRY(nh_device_secret_list(&call->ctx, &call->actor, &call->device, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_secret(&list[i]));
	return NH_OK;
}
const struct endpoint ep_device_secrets = {
	.run = secrets, .scope = SCOPE_DEVICE, .may = NH_MAY_SECRET_SEE, .success = 200, .data = &shape_secret, .list = true, .tag = "Devices"};

static nh_rc secret_create(struct call *call, struct nh_err *err)
{
	struct nh_shared_secret s;
	NH_TRY(nh_device_secret_create(&call->ctx, &call->actor, &call->device, &s, err));
	call->data = render_secret(&s);
	return NH_OK;
}
const struct endpoint ep_device_secret_create = {
	.run = secret_create, .scope = SCOPE_DEVICE, .may = NH_MAY_SECRET_CREATE, .write = true, .success = 201, .data = &shape_secret, .tag = "Devices"};

/* A key may hold '/', sent as it is or escaped; the rest of the path comes raw. */
static nh_rc secret_delete(struct call *call, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf key = NH_BUF_MAX(256);
	if (nh_uri_decode(param(call, "key"), false, &key) != NH_OK)
		return NH_FAIL(err, NH_ENOTFOUND, "no such shared secret");
	return nh_device_secret_deactivate(&call->ctx, &call->actor, &call->device, nh_buf_slice(&key), err);
}
const struct endpoint ep_device_secret_delete = {
	.run = secret_delete, .scope = SCOPE_DEVICE, .may = NH_MAY_SECRET_DEACTIVATE, .write = true, .success = 204, .tag = "Devices"};

/* ---- names in other networks ---------------------------------------------------------------------------------------------- */

static nh_rc identity_create(struct call *call, struct nh_err *err)
{
	struct nh_network_identity i;
	NH_TRY(nh_network_identity_assign(&call->ctx, &call->actor, &call->device, call->params, &i, &call->errors, err));
	call->data = render_network_identity(&i);
	return NH_OK;
}
static SHAPE(identity_body, "NetworkIdentityWanted", {"service", FIELD_TEXT, .words = words_services}, {"identifier", FIELD_TEXT},
             {"instance", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "`default` unless it is given"}, {"details", FIELD_MAP, FIELD_OPTIONAL | FIELD_NULLABLE});
const struct endpoint ep_identity_create = {.run = identity_create, .scope = SCOPE_DEVICE, .may = NH_MAY_IDENTITY_CREATE, .write = true, .success = 201, .body = &identity_body,
                                            .data = &shape_network_identity, .tag = "Devices"};

static nh_rc identity_delete(struct call *call, struct nh_err *err)
{
	return nh_network_identity_remove(&call->ctx, &call->actor, &call->device, param(call, "service"), param(call, "network_identifier"), err);
}
const struct endpoint ep_identity_delete = {.run = identity_delete, .scope = SCOPE_DEVICE, .may = NH_MAY_IDENTITY_DELETE, .write = true, .success = 204, .tag = "Devices"};

/* ---- typing ---------------------------------------------------------------------------------------------------------------- */

#define CODE_MAX_BYTES 16384

/* What marks, joins or colours the character before it, and so belongs to it. */
static const struct {
	uint32_t first, last;
} extending[] = {
	{0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x0610, 0x061a}, {0x064b, 0x065f}, {0x0900, 0x0903}, {0x093a, 0x094f}, {0x0e31, 0x0e31}, {0x0e34, 0x0e3a},
	{0x0e47, 0x0e4e}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200c, 0x200d}, {0x20d0, 0x20f0}, {0x302a, 0x302f}, {0x3099, 0x309a}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
	{0x1f3fb, 0x1f3ff}, {0xe0020, 0xe007f}, {0xe0100, 0xe01ef},
};
#define JOINER 0x200d

/* One code point of valid UTF-8. */
static uint32_t point_at(nh_slice text, size_t *len)
{
	uint8_t lead = text.ptr[0];
	*len = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	uint32_t point = *len == 1 ? lead : lead & (0xffu >> (*len + 1));
	for (size_t i = 1; i < *len && i < text.len; i++)
		point = point << 6 | (text.ptr[i] & 0x3f);
	return point;
}

/* How long the first character as people count them is: a code point, and what belongs to it. */
static size_t character_length(nh_slice text)
{
	size_t len, all;
	uint32_t last = point_at(text, &all);
	while (all < text.len) {
		uint32_t point = point_at(nh_slice_skip(text, all), &len);
		bool belongs = last == JOINER || (last == '\r' && point == '\n');
		for (size_t i = 0; i < NH_ARRAY_LEN(extending) && !belongs; i++)
			belongs = point >= extending[i].first && point <= extending[i].last;
		if (!belongs)
			break;
		last = point;
		all += len;
	}
	return all < text.len ? all : text.len;
}

struct typed {
	struct nh_relay *relay;
	struct nh_loop *loop;
	int64_t device_id;
	struct nh_buf text;
};

static nh_rc type(struct nh_relay_viewer *viewer, nh_slice character)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	nh_buf_put_str(&payload, "{\"data\":");
	nh_json_put_string(&payload, character);
	nh_buf_put_u8(&payload, '}');
	return nh_relay_viewer_say(viewer, NH_LIT("dn"), nh_buf_slice(&payload));
}

static void ignore_news(void *ctx, nh_relay_news news, nh_slice event, nh_slice payload, uint64_t lost) {}

/* [loop] Where no console is there, nobody reads it: the route answers the same. */
static void type_all(void *arg)
{
	struct typed *t = arg;
	struct nh_relay_viewer *viewer = nh_relay_viewer_join(t->relay, t->device_id, NH_RELAY_CONSOLE, t->loop, ignore_news, NULL);
	nh_slice rest = nh_buf_slice(&t->text);
	nh_rc rc = NH_OK;
	while (rest.len > 0 && rc == NH_OK) {
		size_t len = character_length(rest);
		rc = type(viewer, nh_slice_sub(rest, 0, len));
		rest = nh_slice_skip(rest, len);
	}
	if (rc == NH_OK)
		rc = type(viewer, NH_LIT("\r"));
	if (rc != NH_OK)
		NH_LOG(NH_LOG_DEBUG, "code.not_typed", NH_I("device", t->device_id), NH_STR("code", nh_rc_name(rc)));
	nh_relay_viewer_leave(viewer);
	nh_buf_wipe(&t->text);
	nh_buf_fini(&t->text);
	free(t);
}

static nh_slice code_of(const struct call *call)
{
	nh_slice code = nh_json_text(call->params, "code");
	return code.ptr ? code : nh_json_text(call->params, "body");
}

static nh_rc note_code(struct call *call, struct nh_err *err)
{
	nh_slice code = code_of(call);
	if (!code.ptr)
		return bad_request(call, err, "invalid request: code or body parameter required");
	if (code.len > CODE_MAX_BYTES) {
		call->errors = json_pack("{s:[o]}", "code", json_sprintf("should be at most %d byte(s)", CODE_MAX_BYTES));
		return NH_FAIL(err, NH_EINVAL, "code is too long");
	}
	return nh_audit_add(&call->ctx, &call->actor, call->device.org_id, NH_AUDIT_DEVICE, call->device.id, err, "%.*s sent code to the console of device %.*s",
	                    NH_ARG(call->actor.name), NH_ARG(call->device.identifier));
}

void handle_code(struct nh_request *req, struct nh_response *res)
{
	struct call call;
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&call, req, res, req->route->extra))
		return;
	nh_rc rc = call_transact(&call, note_code, true, &err);
	if (rc == NH_OK && call.api->loop) {
		struct typed *t = nh_xcalloc(1, sizeof(*t));
		*t = (struct typed){.relay = call.api->config.relay, .loop = call.api->loop, .device_id = call.device.id};
		nh_buf_put_slice(&t->text, code_of(&call));
		rc = nh_loop_post(call.api->loop, type_all, t);
		if (rc != NH_OK) {
			nh_buf_fini(&t->text);
			free(t);
			rc = NH_FAIL(&err, NH_EAGAIN, "the loop is busy");
		}
	}
	call_close(&call, rc, &err);
}

static SHAPE(code_body, "Code", {"code", FIELD_TEXT, FIELD_OPTIONAL, .about = "Typed into the device's console, and Enter behind it; or body"}, {"body", FIELD_TEXT, FIELD_OPTIONAL});
const struct endpoint ep_device_code = {.scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_CONSOLE, .write = true, .success = 204, .body = &code_body, .tag = "Devices"};
const struct endpoint ep_short_code = {.scope = SCOPE_DEVICE_ANYWHERE, .may = NH_MAY_DEVICE_CONSOLE, .write = true, .success = 204, .body = &code_body, .tag = "Devices (short URL)"};
