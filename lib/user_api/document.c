/*
 * The OpenAPI document, made of the route tables and their shapes when it is first asked for, and the health check of load balancers. What a route answers beyond its success follows from what it
 * is (who may ask, what it reads, whether it writes) and from what its endpoint adds. The same as a page is document_page.c's, shapes as schemas are document_schema.c's.
 *
 * source: reference/user-api-and-cli "1" (health), "15"; OpenAPI 3.1.0
 */
#include <stdio.h>
#include <stdlib.h>

#include "document_int.h"

/* ---- routes of other rooms ------------------------------------------------------------------------------------------------ */

static const struct answer socket_answers[] = {
	{403, "", NULL, "No valid token, or an unknown version"},
	{426, "text/plain", NULL, "The request was no upgrade"},
	{503, "", NULL, "Busy or out of order for the moment"},
	{0},
};
static SHAPE(socket_query, "SocketQuery", {"token", FIELD_TEXT, .about = "An API token"},
             {"vsn", FIELD_TEXT, FIELD_OPTIONAL, .about = "The version of Phoenix messages: 1.0.0, 2.0.0 or, with MessagePack, 3.0.0"});
static const struct endpoint ep_socket = {
	.anonymous = true, .fixed = true, .success = 101, .media = "", .tag = "WebSockets", .query = &socket_query, .also = socket_answers};

static const struct nh_route sockets[] = {
	{.method = NH_HTTP_GET, .path = "/api/socket/websocket", .summary = "Consoles and shells of devices, as a WebSocket", .extra = &ep_socket},
	{.method = NH_HTTP_GET, .path = "/events-socket/websocket", .summary = "Events of devices, as a WebSocket", .extra = &ep_socket},
	{.path = NULL},
};

const struct nh_route *const document_tables[] = {nh_user_api_routes, sockets, NULL};

/* ---- paths ---------------------------------------------------------------------------------------------------------------- */

const struct endpoint *document_endpoint(const struct nh_route *route) { return route->extra; }

static bool is_parameter(nh_slice part) { return part.len > 0 && (part.ptr[0] == ':' || part.ptr[0] == '*'); }

bool document_next_parameter(nh_slice *path, nh_slice *name, bool *rest)
{
	nh_slice part;
	while (path->len > 0) {
		nh_slice_cut(*path, '/', &part, path);
		if (!is_parameter(part))
			continue;
		*name = nh_slice_skip(part, 1);
		*rest = part.ptr[0] == '*';
		return true;
	}
	return false;
}

void document_put_path(struct nh_buf *out, const char *path)
{
	nh_slice left = nh_slice_skip(nh_slice_str(path), 1), part;
	while (left.len > 0) {
		nh_slice_cut(left, '/', &part, &left);
		nh_slice name = nh_slice_skip(part, 1);
		if (is_parameter(part))
			nh_buf_printf(out, "/{%.*s}", NH_ARG(name));
		else
			nh_buf_printf(out, "/%.*s", NH_ARG(part));
	}
}

void document_put_word(struct nh_buf *out, nh_slice word)
{
	for (size_t i = 0; i < word.len; i++) {
		uint8_t c = word.ptr[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		nh_buf_put_u8(out, plain ? c : c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : '_');
	}
}

void document_put_operation_id(struct nh_buf *out, const struct nh_route *route)
{
	nh_slice left = nh_slice_skip(nh_slice_str(route->path), 1), part;
	document_put_word(out, nh_slice_str(nh_http_method_name(route->method)));
	while (left.len > 0) {
		nh_slice_cut(left, '/', &part, &left);
		if (is_parameter(part) ? left.len > 0 : nh_slice_eq_str(part, "api"))
			continue;
		nh_buf_put_str(out, is_parameter(part) ? "_by_" : "_");
		document_put_word(out, is_parameter(part) ? nh_slice_skip(part, 1) : part);
	}
}

/* ---- answers -------------------------------------------------------------------------------------------------------------- */

static bool reads(const struct nh_route *r, const struct endpoint *e) { return !e->fixed; }
static bool writes(const struct nh_route *r, const struct endpoint *e) { return e->write || r->body == NH_BODY_STREAM; }
static bool asks_who(const struct nh_route *r, const struct endpoint *e) { return !e->anonymous; }
static bool judges(const struct nh_route *r, const struct endpoint *e) { return reads(r, e) && (writes(r, e) || e->query || e->body); }

static bool takes_body(const struct nh_route *r, const struct endpoint *e)
{
	return reads(r, e) && (e->body || r->method == NH_HTTP_POST || r->method == NH_HTTP_PUT || r->method == NH_HTTP_PATCH);
}

static bool names_something(const struct nh_route *r, const struct endpoint *e)
{
	nh_slice path = nh_slice_str(r->path), name;
	bool rest;
	return reads(r, e) && document_next_parameter(&path, &name, &rest);
}

static const struct {
	struct answer answer;
	const char *name; /* in the document */
	bool (*happens)(const struct nh_route *route, const struct endpoint *endpoint);
} usual[] = {
	{{400, .about = "The request cannot be understood"}, "BadRequest", reads},
	{{401, .about = "Nobody is signed in, or that role may not do it"}, "Unauthorized", asks_who},
	{{404, .about = "What the path names does not exist for who asks"}, "NotFound", names_something},
	{{406, .about = "The Accept header allows neither JSON nor text"}, "NotAcceptable", reads},
	{{409, .about = "Something else stands in the way"}, "Conflict", writes},
	{{413, .about = "Too large"}, "TooLarge", takes_body},
	{{422, .about = "A member or a parameter is not acceptable"}, "Unprocessable", judges},
	{{500, .about = "A defect of the server"}, "Defect", reads},
	{{503, .about = "Busy or out of order for the moment"}, "Unavailable", reads},
	{{507, .about = "The server's disk is full"}, "NoSpace", writes},
};

/* As which the document has the answer once for all; NULL: it is the endpoint's own. */
static const char *usual_name(const struct answer *a)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(usual); i++) {
		if (usual[i].answer.status == a->status && usual[i].answer.about == a->about)
			return usual[i].name;
	}
	return NULL;
}

static size_t insert(struct answer *list, size_t count, const struct answer *answer)
{
	size_t at = count;
	for (; at > 0 && list[at - 1].status > answer->status; at--)
		list[at] = list[at - 1];
	list[at] = *answer;
	return count + 1;
}

static bool has_status(const struct answer *list, size_t count, unsigned status)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i].status == status)
			return true;
	}
	return false;
}

size_t document_answers(const struct nh_route *route, struct answer out[ANSWERS_MAX])
{
	const struct endpoint *e = document_endpoint(route);
	size_t count = insert(out, 0, &(struct answer){.status = e->success, .media = e->media, .about = "Success"});
	for (const struct answer *a = e->also; a && a->status && count < ANSWERS_MAX; a++)
		count = insert(out, count, a);
	for (size_t i = 0; i < NH_ARRAY_LEN(usual); i++) {
		if (count < ANSWERS_MAX && usual[i].happens(route, e) && !has_status(out, count, usual[i].answer.status))
			count = insert(out, count, &usual[i].answer);
	}
	return count;
}

/* ---- one operation -------------------------------------------------------------------------------------------------------- */

static void add_parameter(json_t *list, const char *in, const struct field *f, json_t *take_schema)
{
	json_t *parameter = json_pack("{s:s, s:s, s:b, s:o}", "name", f->name, "in", in, "required", !(f->flags & FIELD_OPTIONAL), "schema", take_schema);
	if (f->about)
		json_object_set_new(parameter, "description", json_string(f->about));
	if (f->kind == FIELD_OBJECT || f->kind == FIELD_MAP)
		json_object_update_new(parameter, json_pack("{s:s, s:b}", "style", "deepObject", "explode", true));
	json_array_append_new(list, parameter);
}

static json_t *parameters(json_t *schemas, const struct nh_route *route)
{
	const struct endpoint *e = document_endpoint(route);
	const struct {
		const struct shape *shape;
		const char *in;
	} places[] = {{e->query, "query"}, {e->headers, "header"}};
	json_t *list = json_array();
	nh_slice path = nh_slice_str(route->path), name;
	bool rest;
	while (document_next_parameter(&path, &name, &rest)) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_buf_put_slice(&text, name);
		add_parameter(list, "path", &(struct field){nh_buf_cstr(&text), FIELD_TEXT, .about = rest ? "All of the path that is left; it may hold slashes" : NULL},
		              json_pack("{s:s}", "type", "string"));
		if (rest)
			json_object_set_new(json_array_get(list, json_array_size(list) - 1), "x-rest", json_true());
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(places); i++) {
		for (const struct field *f = places[i].shape ? places[i].shape->fields : NULL; f && f->name; f++)
			add_parameter(list, places[i].in, f, document_schema(schemas, f));
	}
	return list;
}

static bool body_needed(const struct endpoint *e)
{
	for (const struct field *f = e->body->fields; f->name; f++) {
		if (!(f->flags & FIELD_OPTIONAL))
			return true;
	}
	return e->body_list;
}

static json_t *upload_body(const struct endpoint *e)
{
	const char *noun = file_kind_of(e)->noun;
	return json_pack("{s:b, s:{s:{s:{s:s, s:[s], s:{s:{}}}}}}", "required", true, "content", "multipart/form-data", "schema", "type", "object", "required", noun,
	                 "properties", noun);
}

static json_t *any_body(const struct endpoint *e)
{
	json_t *content = json_object();
	for (size_t i = 0; e->body_media[i]; i++)
		json_object_set_new(content, e->body_media[i], json_object());
	return json_pack("{s:b, s:o}", "required", true, "content", content);
}

static json_t *request_body(json_t *schemas, const struct nh_route *route)
{
	const struct endpoint *e = document_endpoint(route);
	if (e->body_media)
		return any_body(e);
	if (route->body == NH_BODY_STREAM)
		return upload_body(e);
	if (!e->body)
		return NULL;
	json_t *schema = document_refer(schemas, e->body);
	if (e->nested)
		schema = json_pack("{s:[o, o]}", "anyOf", schema, document_object(schemas, (const struct field[]){{e->nested, FIELD_OBJECT, 0, e->body}, {NULL}}, NULL));
	if (e->body_list)
		schema = json_pack("{s:s, s:o}", "type", "array", "items", schema);
	json_t *content = json_pack("{s:{s:o}}", "application/json", "schema", schema);
	if (!e->body_list)
		json_object_set_new(content, "application/x-www-form-urlencoded", json_pack("{s:O}", "schema", schema));
	return json_pack("{s:b, s:o}", "required", body_needed(e), "content", content);
}

static json_t *data_schema(json_t *schemas, const struct endpoint *e)
{
	const struct field data[] = {{"data", FIELD_OBJECT, e->list ? FIELD_LIST : 0, e->data}, {NULL}};
	return document_object(schemas, data, e->beside ? e->beside->fields : NULL);
}

static json_t *media_content(const char *media)
{
	if (!*media)
		return NULL;
	bool text = nh_slice_starts(nh_slice_str(media), NH_LIT("text/")), object = nh_slice_eq_str(nh_slice_str(media), "application/json");
	return text ? json_pack("{s:{s:{s:s}}}", media, "schema", "type", "string") : object ? json_pack("{s:{s:{s:s}}}", media, "schema", "type", "object") : json_pack("{s:{}}", media);
}

/* NULL: no body. */
static json_t *content(json_t *schemas, const struct endpoint *e, const struct answer *a)
{
	if (a->media)
		return media_content(a->media);
	if (a->status < 400 && !a->whole && (a->status != e->success || !e->data))
		return NULL;
	json_t *schema = a->whole ? document_refer(schemas, a->whole) : a->status == e->success ? data_schema(schemas, e) : document_errors(schemas);
	return json_pack("{s:{s:o}}", "application/json", "schema", schema);
}

static json_t *responses(json_t *schemas, const struct nh_route *route)
{
	struct answer answers[ANSWERS_MAX];
	size_t count = document_answers(route, answers);
	json_t *out = json_object();
	for (size_t i = 0; i < count; i++) {
		char status[16];
		const char *shared = usual_name(&answers[i]);
		snprintf(status, sizeof(status), "%u", answers[i].status);
		if (shared) {
			json_object_set_new(out, status, json_pack("{s:o}", "$ref", json_sprintf("#/components/responses/%s", shared)));
			continue;
		}
		json_t *body = content(schemas, document_endpoint(route), &answers[i]), *response = json_object_get(out, status);
		if (!response) {
			response = json_pack("{s:s}", "description", answers[i].about ? answers[i].about : "");
			json_object_set_new(out, status, response);
		}
		json_t *bodies = json_object_get(response, "content");
		if (body && bodies)
			json_object_update_new(bodies, body);
		else if (body)
			json_object_set_new(response, "content", body);
	}
	return out;
}

/* The answers that many routes share. */
static json_t *usual_responses(json_t *schemas)
{
	json_t *out = json_object();
	for (size_t i = 0; i < NH_ARRAY_LEN(usual); i++)
		json_object_set_new(out, usual[i].name, json_pack("{s:s, s:{s:{s:o}}}", "description", usual[i].answer.about, "content", "application/json", "schema",
		                                                 document_errors(schemas)));
	return out;
}

static json_t *operation(json_t *schemas, const struct nh_route *route)
{
	const struct endpoint *e = document_endpoint(route);
	NH_AUTO_BUF struct nh_buf id = NH_BUF_INIT;
	document_put_operation_id(&id, route);
	json_t *op = json_pack("{s:s, s:s, s:[s], s:o, s:o}", "operationId", nh_buf_cstr(&id), "summary", route->summary, "tags", e->tag, "parameters",
	                       parameters(schemas, route), "responses", responses(schemas, route));
	if (e->anonymous)
		json_object_set_new(op, "security", json_array());
	if (e->may != NH_MAY_NOTHING)
		json_object_update_new(op, json_pack("{s:s, s:s}", "x-action", nh_action_name(e->may), "x-least-role", nh_role_name(nh_action_role(e->may))));
	json_t *body = request_body(schemas, route);
	if (body)
		json_object_set_new(op, "requestBody", body);
	return op;
}

/* ---- the document --------------------------------------------------------------------------------------------------------- */

static void add_operation(json_t *paths, json_t *schemas, const struct nh_route *route)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, method = NH_BUF_INIT;
	document_put_path(&path, route->path);
	document_put_word(&method, nh_slice_str(nh_http_method_name(route->method)));
	if (!json_object_get(paths, nh_buf_cstr(&path)))
		json_object_set_new(paths, nh_buf_cstr(&path), json_object());
	json_object_set_new(json_object_get(paths, nh_buf_cstr(&path)), nh_buf_cstr(&method), operation(schemas, route));
}

static json_t *document(const struct nh_user_api *api)
{
	json_t *paths = json_object(), *schemas = json_object();
	for (size_t i = 0; document_tables[i]; i++) {
		for (const struct nh_route *r = document_tables[i]; r->path; r++)
			add_operation(paths, schemas, r);
	}
	json_t *info = json_pack("{s:o, s:s, s:s}", "title", json_sprintf("%s API", api->config.platform_name), "version", "2.0.0", "description",
	                         "Manage organizations, products, firmware, devices and deployments. Members of a request that are not named here are ignored, except where a "
	                         "route says otherwise; answers have none. A body may be a form, too: a[b]=c is a member of a member, a[]=c one of a list. What stands in the "
	                         "body may as well stand in the query; the body's comes first. A POST whose body has a member _method with PUT, PATCH or DELETE is a request "
	                         "of that method.");
	json_t *security = json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:s}}", "bearer", "type", "http", "scheme", "bearer", "description", "An API token: nhu_…", "certificate", "type",
	                             "mutualTLS", "description", "A client certificate of the server's authority, at its port for those");
	return json_pack("{s:s, s:o, s:[{s:s}], s:[{s:[]}, {s:[]}], s:o, s:{s:o, s:o, s:o}}", "openapi", "3.1.0", "info", info, "servers", "url", "/", "security", "bearer",
	                 "certificate", "paths", paths, "components", "responses", usual_responses(schemas), "schemas", schemas, "securitySchemes", security);
}

/* The same for everybody, and a good deal of work for one whom nobody knows: made once. */
struct document_cache {
	pthread_mutex_t lock;
	struct nh_buf text; /* empty: not made yet; after that it never changes */
};

struct document_cache *document_cache_new(void)
{
	struct document_cache *cache = nh_xcalloc(1, sizeof(*cache));
	NH_ASSERT(pthread_mutex_init(&cache->lock, NULL) == 0);
	return cache;
}

void document_cache_free(struct document_cache *cache)
{
	pthread_mutex_destroy(&cache->lock);
	nh_buf_fini(&cache->text);
	free(cache);
}

void handle_openapi(struct nh_request *req, struct nh_response *res)
{
	const struct nh_user_api *api = req->app;
	struct document_cache *cache = api->document;
	pthread_mutex_lock(&cache->lock);
	if (cache->text.len == 0) {
		NH_AUTO_JSON json_t *value = document(api);
		nh_json_put(&cache->text, value);
	}
	nh_slice text = nh_buf_slice(&cache->text);
	pthread_mutex_unlock(&cache->lock);
	send_common_headers(req, res);
	nh_response_send(res, 200, "application/json; charset=utf-8", text);
}

const struct endpoint ep_openapi = {.anonymous = true, .fixed = true, .success = 200, .media = "application/json", .tag = "Platform Status"};

/* ---- is the server alive? ------------------------------------------------------------------------------------------------- */

static nh_rc look(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_ctx ctx = {.tx = tx, .arena = ((struct nh_request *)arg)->arena};
	bool any;
	return nh_users_any(&ctx, &any, err);
}

void handle_alive(struct nh_request *req, struct nh_response *res)
{
	const struct nh_user_api *api = req->app;
	send_common_headers(req, res);
	if (nh_db_read(api->config.db, look, req, NULL) == NH_OK)
		nh_response_send(res, 200, "text/plain; charset=utf-8", NH_LIT("Hello, Friend!"));
	else
		nh_response_send(res, 500, "text/plain; charset=utf-8", NH_LIT("Sorry, Friend :("));
}

static const struct answer dead[] = {{500, "text/plain", NULL, "The database is out of reach"}, {0}};
const struct endpoint ep_alive = {.anonymous = true, .fixed = true, .success = 200, .media = "text/plain", .tag = "Platform Status", .also = dead};
