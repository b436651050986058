/*
 * What a request says beside its path, as one JSON object: the body (JSON or a form) and the query. A name that stands in both is the body's; one of the path is asked for by name and
 * so comes before either. Forms and queries may nest: a[b]=c is {"a":{"b":"c"}}, a[]=c is {"a":["c"]}.
 *
 * Also here: browsers' and proxies' POST that means another method, said by the body's member "_method".
 *
 * source: reference/user-api-and-cli "1"
 */
#include "api_int.h"

#define BODY_MAX ((size_t)8 << 20)
#define FORM_MAX 1000000
#define NAMES_MAX 1024 /* of one form or query, nested ones included */
#define DEPTH_MAX 4
#define NAME_MAX_BYTES 255
#define METHOD "_method"

static bool type_is(nh_slice content_type, const char *type)
{
	nh_slice head, rest;
	nh_slice_cut(content_type, ';', &head, &rest);
	return nh_slice_ieq(nh_slice_trim(head), nh_slice_str(type));
}

static bool type_is_json(nh_slice content_type)
{
	nh_slice head, rest;
	nh_slice_cut(content_type, ';', &head, &rest);
	head = nh_slice_trim(head);
	return nh_slice_ieq(head, NH_LIT("application/json")) || (nh_slice_starts(head, NH_LIT("application/")) && nh_slice_ends(head, NH_LIT("+json")));
}

/* ---- forms and queries --------------------------------------------------------------------------------------------------- */

/* The member of `in` that is to hold what follows: an array where that begins with "[]". NULL: something else stands there. */
static json_t *open_member(json_t *in, const char *key, bool list)
{
	json_t *member = json_object_get(in, key);
	if (!member) {
		member = list ? json_array() : json_object();
		json_object_set_new(in, key, member);
	}
	return (list ? json_is_array(member) : json_is_object(member)) ? member : NULL;
}

/* name: the outermost first, then what stands in brackets. A name that is no such notation is taken as it is. */
static nh_rc put_pair(struct nh_arena *arena, json_t *in, nh_slice name, nh_slice value)
{
	nh_slice head = name, rest, part;
	bool nested = nh_slice_cut(name, '[', &head, &rest) && head.len > 0 && nh_slice_ends(rest, NH_LIT("]"));
	if (!nested)
		head = name;
	for (unsigned depth = 0; nested; depth++) {
		if (depth == DEPTH_MAX || !nh_slice_cut(rest, ']', &part, &rest))
			return NH_EFORMAT;
		in = open_member(in, nh_arena_str(arena, head), part.len == 0);
		if (!in)
			return NH_EFORMAT;
		if (part.len == 0) /* a[]: nothing may follow */
			return rest.len == 0 && json_array_append_new(in, nh_json_new_text(value)) == 0 ? NH_OK : NH_EFORMAT;
		head = part;
		nested = rest.len > 0;
		if (nested && rest.ptr[0] != '[')
			return NH_EFORMAT;
		rest = nh_slice_skip(rest, 1);
	}
	const char *key = nh_arena_str(arena, head);
	const json_t *there = json_object_get(in, key);
	if (json_is_object(there) || json_is_array(there))
		return NH_EFORMAT;
	return json_object_set_new(in, key, nh_json_new_text(value)) == 0 ? NH_OK : NH_EFORMAT;
}

/* NULL: malformed. */
static json_t *read_pairs(struct nh_arena *arena, nh_slice text)
{
	json_t *out = json_object();
	for (size_t count = 0; count < NAMES_MAX; count++) {
		nh_slice name, value;
		bool has = false;
		if (nh_http_query_next(&text, arena, &name, &value, &has) != NH_OK)
			break;
		if (!has)
			return out;
		if (!nh_utf8_valid(name) || !nh_utf8_valid(value) || name.len > NAME_MAX_BYTES || nh_slice_chr(name, '\0') >= 0)
			break;
		if (name.len > 0 && put_pair(arena, out, name, value) != NH_OK)
			break;
	}
	json_decref(out);
	return NULL;
}

/* ---- both together ------------------------------------------------------------------------------------------------------- */

static nh_rc read_body(const struct nh_request *req, json_t **out, struct nh_err *err)
{
	nh_slice type = nh_request_header(req, "content-type");
	*out = NULL;
	if (req->body.len == 0)
		return NH_OK;
	if (type_is_json(type))
		return nh_json_parse(req->body, BODY_MAX, out, err);
	if (!type_is(type, "application/x-www-form-urlencoded"))
		return NH_OK;
	if (req->body.len > FORM_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "a form is at most %d bytes", FORM_MAX);
	*out = read_pairs(req->arena, req->body);
	return *out ? NH_OK : NH_FAIL(err, NH_EFORMAT, "malformed form");
}

nh_rc read_params(struct call *call, struct nh_err *err)
{
	struct nh_request *req = call->req;
	call->params = NULL;
	NH_TRY(read_body(req, &call->params, err));
	if (call->params && !json_is_object(call->params)) {
		call->body_is_list = true;
		call->params = json_pack("{s:o}", "_json", call->params);
	}
	if (!call->params)
		call->params = json_object();
	NH_AUTO_JSON json_t *query = read_pairs(req->arena, req->query);
	if (!query)
		return NH_FAIL(err, NH_EFORMAT, "malformed query");
	json_object_del(query, METHOD); /* the body's to say */
	json_object_update_missing(call->params, query);
	if (req->method != NH_HTTP_POST) /* it has been heard */
		json_object_del(call->params, METHOD);
	return NH_OK;
}

const json_t *body_members(const struct call *call)
{
	const json_t *inner = call->endpoint->nested ? json_object_get(call->params, call->endpoint->nested) : NULL;
	return json_is_object(inner) ? inner : call->params;
}

/* ---- another method ------------------------------------------------------------------------------------------------------ */

bool change_method(struct call *call)
{
	static const nh_http_method methods[] = {NH_HTTP_PUT, NH_HTTP_PATCH, NH_HTTP_DELETE};
	nh_slice wanted = nh_json_text(call->params, METHOD);
	struct nh_request *req = call->req;
	for (size_t i = 0; req->method == NH_HTTP_POST && i < NH_ARRAY_LEN(methods); i++) {
		if (!nh_slice_ieq(wanted, nh_slice_str(nh_http_method_name(methods[i]))) || !nh_request_reroute(req, nh_user_api_routes, methods[i]))
			continue;
		req->method = methods[i];
		return true;
	}
	return false;
}

/* Stands behind all other routes, so that what comes here is a POST to a path that has none. */
void handle_other_post(struct nh_request *req, struct nh_response *res)
{
	static const struct endpoint any = {.anonymous = true};
	struct call call;
	if (!call_open(&call, req, res, &any))
		return;
	bool changed = change_method(&call);
	call_leave(&call);
	if (changed)
		req->route->handle(req, res);
	else
		nh_user_api_fault(req, res, 404, "Not Found");
}
