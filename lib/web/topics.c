/*
 * The table of topics: what may be joined on which socket, what people may say there and in which shape it reaches the device. No state, no sockets: bytes of strangers are judged
 * here, so all of this is fuzzed.
 *
 * Devices of all ages listen at the other end, and some crash on a message that lacks a member, so that known events are passed on only where they are whole.
 * source: reference/user-api-and-cli "16.2" to "16.4"; reference/device-protocol "11.2", "12.4"
 */
#include "base/encode.h"
#include "web_int.h"

#define FILE_NAME_MAX 255

/* ---- shapes ---------------------------------------------------------------------------------------------------------------- */

static bool shape_chat(json_t *payload, const struct web_person *person, const char **why)
{
	json_object_set_new(payload, "name", nh_json_new_text(person->name));
	return true;
}

/* What follows the last separator, of whichever system; false where that names no file. source: reference/device-protocol "11.2" */
static bool base_name(nh_slice *name)
{
	for (size_t i = name->len; i-- > 0;) {
		if (name->ptr[i] == '/' || name->ptr[i] == '\\') {
			*name = nh_slice_skip(*name, i + 1);
			break;
		}
	}
	for (size_t i = 0; i < name->len; i++) {
		if (name->ptr[i] < 0x20 || name->ptr[i] == 0x7f)
			return false;
	}
	return name->len > 0 && name->len <= FILE_NAME_MAX && !nh_slice_eq_str(*name, ".") && !nh_slice_eq_str(*name, "..");
}

static bool shape_name(json_t *payload, const char **why)
{
	nh_slice name = nh_json_text(payload, "filename");
	if (!base_name(&name)) {
		*why = "upload refused: this is no name of a file";
		return false;
	}
	json_object_set_new(payload, "filename", nh_json_new_text(name));
	return true;
}

static bool shape_file(json_t *payload, const struct web_person *person, const char **why)
{
	json_object_set_new(payload, "uploaded_by", json_integer(person->id));
	return shape_name(payload, why);
}

static bool shape_chunk(json_t *payload, const struct web_person *person, const char **why)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(CHUNK_MAX);
	if (nh_b64_decode(nh_json_text(payload, "data"), NH_B64_STD, &bytes) != NH_OK || !nh_buf_ok(&bytes)) {
		*why = "upload refused: a piece of a file is at most 64 KiB in base64";
		return false;
	}
	return shape_name(payload, why);
}

/* ---- the tables ------------------------------------------------------------------------------------------------------------- */

static const struct web_event console_events[] = {
	{"dn", WEB_TO_DEVICE, .text = "data"},
	{"window_size", WEB_TO_DEVICE, .numbers = {"height", "width"}},
	{"message", WEB_TO_PEOPLE, .shape = shape_chat},
	{"file-data/start", WEB_TO_DEVICE, .text = "filename", .shape = shape_file},
	{"file-data", WEB_TO_DEVICE, .text = "filename", .shape = shape_chunk},
	{"file-data/stop", WEB_TO_DEVICE, .text = "filename", .shape = shape_file},
	{NULL, WEB_TO_DEVICE},
};

static const struct web_event shell_events[] = {
	{"input", WEB_TO_DEVICE, .text = "data"},
	{"window_size", WEB_TO_DEVICE, .numbers = {"rows", "cols"}},
	{NULL, WEB_IGNORE},
};

static const struct web_event no_events[] = {{NULL, WEB_IGNORE}};

static const struct web_topic topics[] = {
	{"user:console:identifier-", WEB_SOCKET_API, NH_CONVERSATION_CONSOLE, NH_RELAY_CONSOLE, .output = "up", .metadata = true, .farewell = true, .events = console_events},
	{"user:local_shell:identifier-", WEB_SOCKET_API, NH_CONVERSATION_SHELL, NH_RELAY_SHELL, .output = "output", .events = shell_events},
	{"device:", WEB_SOCKET_EVENTS, NH_CONVERSATION_EVENTS, NH_RELAY_EVENTS, .events = no_events},
};

const struct web_topic *web_topic_find(web_socket socket, nh_slice name, nh_slice *identifier)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(topics); i++) {
		nh_slice prefix = nh_slice_str(topics[i].prefix);
		if ((topics[i].sockets & socket) && nh_slice_starts(name, prefix)) {
			*identifier = nh_slice_skip(name, prefix.len);
			return &topics[i];
		}
	}
	return NULL;
}

static bool whole(const struct web_event *e, const json_t *payload)
{
	if (e->text && !json_is_string(json_object_get(payload, e->text)))
		return false;
	for (size_t i = 0; i < NH_ARRAY_LEN(e->numbers); i++) {
		if (e->numbers[i] && !json_is_integer(json_object_get(payload, e->numbers[i])))
			return false;
	}
	return true;
}

web_verdict web_topic_judge(const struct web_topic *topic, const struct web_person *person, nh_slice event, json_t *payload, const char **why)
{
	const struct web_event *e = topic->events;
	while (e->name && !nh_slice_eq_str(event, e->name))
		e++;
	/* The protocol's own events are never a matter between two who speak it with us. */
	if (event.len == 0 || nh_slice_starts(event, NH_LIT("phx_")) || !json_is_object(payload) || !whole(e, payload))
		return WEB_IGNORE;
	if (e->shape && !e->shape(payload, person, why))
		return WEB_REFUSE;
	return e->verdict;
}
