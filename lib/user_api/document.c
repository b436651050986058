/*
 * What describes the API and the server to machines: the OpenAPI document, generated from the route table, a plain page of the same, and the health
 * check of load balancers. No request to any third party.
 *
 * source: reference/user-api-and-cli "1" (health), "15"
 */
#include "api_int.h"

/* "/api/orgs/:org_name/x" to "/api/orgs/{org_name}/x"; parameters are appended where wanted. */
static void put_template(struct nh_buf *out, const char *path, json_t *parameters)
{
	nh_slice rest = nh_slice_skip(nh_slice_str(path), 1), part;
	while (rest.len > 0) {
		nh_slice_cut(rest, '/', &part, &rest);
		nh_buf_put_u8(out, '/');
		if (part.len == 0 || (part.ptr[0] != ':' && part.ptr[0] != '*')) {
			nh_buf_put_slice(out, part);
			continue;
		}
		nh_slice name = nh_slice_skip(part, 1);
		nh_buf_printf(out, "{%.*s}", NH_ARG(name));
		if (parameters)
			json_array_append_new(parameters, json_pack("{s:o, s:s, s:b, s:{s:s}}", "name", nh_json_new_text(name), "in", "path", "required",
			                                            true, "schema", "type", "string"));
	}
}

static json_t *describe(const struct nh_route *route, json_t *parameters)
{
	const struct endpoint *e = route->extra;
	unsigned success = e && e->success ? e->success : 200;
	char status[16];
	for (int i = 2; i >= 0; i--, success /= 10)
		status[i] = (char)('0' + success % 10);
	status[3] = '\0';
	json_t *op = json_pack("{s:s, s:[s], s:O, s:{s:{s:s}}}", "summary", route->summary, "tags", e && e->tag ? e->tag : "Platform Status", "parameters",
	                       parameters, "responses", status, "description", "Success");
	if (!e || e->anonymous)
		json_object_set_new(op, "security", json_array());
	if (e && e->may != NH_MAY_NOTHING) {
		json_object_set_new(op, "x-action", json_string(nh_action_name(e->may)));
		json_object_set_new(op, "x-least-role", json_string(nh_role_name(nh_action_role(e->may))));
	}
	if (route->body == NH_BODY_STREAM)
		json_object_set_new(op, "requestBody",
		                    json_pack("{s:{s:{s:{s:s, s:{s:{s:s, s:s}}}}}}", "content", "multipart/form-data", "schema", "type", "object",
		                              "properties", file_kind_of(e)->noun, "type", "string", "format", "binary"));
	else if (route->method == NH_HTTP_POST || route->method == NH_HTTP_PUT || route->method == NH_HTTP_PATCH)
		json_object_set_new(op, "requestBody",
		                    json_pack("{s:{s:{s:{s:s}}}}", "content", "application/json", "schema", "type", "object"));
	return op;
}

static const char *method_key(nh_http_method method)
{
	static const struct {
		nh_http_method method;
		const char *key;
	} names[] = {{NH_HTTP_GET, "get"}, {NH_HTTP_POST, "post"}, {NH_HTTP_PUT, "put"}, {NH_HTTP_PATCH, "patch"}, {NH_HTTP_DELETE, "delete"}};
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		if (names[i].method == method)
			return names[i].key;
	}
	return "get";
}

void handle_openapi(struct nh_request *req, struct nh_response *res)
{
	const struct nh_user_api *api = req->app;
	NH_AUTO_JSON json_t *paths = json_object();
	for (const struct nh_route *r = nh_user_api_routes; r->path; r++) {
		NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
		NH_AUTO_JSON json_t *parameters = json_array();
		put_template(&path, r->path, parameters);
		json_t *item = json_object_get(paths, nh_buf_cstr(&path));
		if (!item) {
			item = json_object();
			json_object_set_new(paths, nh_buf_cstr(&path), item);
		}
		json_object_set_new(item, method_key(r->method), describe(r, parameters));
	}
	nh_slice title = nh_slice_str(nh_arena_printf(req->arena, "%s API", api->config.platform_name));
	NH_AUTO_JSON json_t *document = json_pack(
		"{s:s, s:{s:o, s:s, s:s}, s:[{s:s}], s:{s:{s:{s:s, s:s}}}, s:[{s:[]}], s:O}", "openapi", "3.0.0", "info", "title", nh_json_new_text(title),
		"version", "2.0.0", "description", "Manage organizations, products, firmware, devices and deployments.", "servers", "url",
		public_url(req), "components", "securitySchemes", "bearer_auth", "type", "http", "scheme", "bearer", "security", "bearer_auth", "paths",
		paths);
	send_json(req, res, 200, document);
}

void handle_docs(struct nh_request *req, struct nh_response *res)
{
	NH_AUTO_BUF struct nh_buf page = NH_BUF_INIT;
	nh_buf_put_str(&page, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>API</title>"
	                      "<h1>API</h1><p>Machine-readable: <a href=\"/api/openapi\">/api/openapi</a></p><table>");
	for (const struct nh_route *r = nh_user_api_routes; r->path; r++) {
		nh_buf_printf(&page, "<tr><td>%s<td><code>", nh_http_method_name(r->method));
		put_template(&page, r->path, NULL);
		nh_buf_printf(&page, "</code><td>%s", r->summary);
	}
	nh_buf_put_str(&page, "</table></html>\n");
	send_common_headers(req, res);
	nh_response_send(res, 200, "text/html; charset=utf-8", nh_buf_slice(&page));
}

void handle_swagger(struct nh_request *req, struct nh_response *res)
{
	nh_response_header(res, "location", NH_LIT("/api/docs"));
	nh_response_send(res, 302, NULL, NH_SLICE_EMPTY);
}

const struct endpoint ep_open = {.anonymous = true, .success = 200, .tag = "Platform Status"};

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
