/*
 * Route matching: a request's segments against the templates of the listener's mounts, in order; the first match wins. Tables have a few dozen
 * rows, so a walk costs less than the TLS record that carried the request.
 */
#include "server_int.h"

#define SEGMENTS_MAX 24

static bool match(const char *template, const nh_slice *segments, size_t count, nh_slice path, struct nh_request *req)
{
	nh_slice rest = nh_slice_str(template), part;
	size_t i = 0;
	req->param_count = 0;
	while (rest.len) {
		nh_slice_cut(rest, '/', &part, &rest);
		if (part.len == 0)
			continue;
		if (part.ptr[0] == '*') {
			/* Everything behind, raw: files whose names hold no escapes. */
			nh_slice raw = path;
			for (size_t skipped = 0; skipped < i && raw.len; skipped++) {
				raw = nh_slice_skip(raw, 1);
				ptrdiff_t slash = nh_slice_chr(raw, '/');
				raw = slash < 0 ? NH_SLICE_EMPTY : nh_slice_skip(raw, (size_t)slash);
			}
			if (i >= count || req->param_count == NH_PARAMS_MAX)
				return false;
			req->params[req->param_count++] = nh_slice_skip(raw, 1);
			return true;
		}
		if (i == count)
			return false;
		if (part.ptr[0] == ':') {
			NH_ASSERT(req->param_count < NH_PARAMS_MAX);
			req->params[req->param_count++] = segments[i];
		} else if (!nh_slice_eq(part, segments[i])) {
			return false;
		}
		i++;
	}
	return i == count;
}

static bool method_fits(nh_http_method route, nh_http_method asked) { return route == asked || (route == NH_HTTP_GET && asked == NH_HTTP_HEAD); }

/* Several mounts may have the path: each method is named once. */
static void allow_method(struct nh_buf *allow, const char *name)
{
	nh_slice rest = nh_buf_slice(allow), item;
	while (rest.len > 0) {
		nh_slice_cut(rest, ',', &item, &rest);
		if (nh_slice_eq_str(nh_slice_trim(item), name))
			return;
	}
	nh_buf_printf(allow, "%s%s", allow->len ? ", " : "", name);
}

nh_rc route_find(const struct nh_listener *listener, const struct nh_http_request_head *head, struct exchange *ex, struct nh_buf *allow)
{
	nh_slice segments[SEGMENTS_MAX];
	size_t count = 0;
	if (nh_http_path_segments(head->path, &ex->arena, segments, SEGMENTS_MAX, &count) != NH_OK)
		return NH_EFORMAT;
	for (const struct nh_mount *mount = listener->mounts; mount->routes; mount++) {
		for (const struct nh_route *route = mount->routes; route->path; route++) {
			if (!match(route->path, segments, count, head->path, &ex->request))
				continue;
			ex->mount = mount;
			if (method_fits(route->method, head->method)) {
				ex->request.route = route;
				ex->request.app = mount->app;
				return NH_OK;
			}
			allow_method(allow, nh_http_method_name(route->method));
			if (route->method == NH_HTTP_GET)
				allow_method(allow, "HEAD");
		}
	}
	ex->request.param_count = 0;
	return allow->len ? NH_EPERM : NH_ENOTFOUND;
}

bool nh_request_reroute(struct nh_request *req, const struct nh_route *routes, nh_http_method method)
{
	nh_slice segments[SEGMENTS_MAX];
	struct nh_request tried = *req;
	size_t count = 0;
	if (nh_http_path_segments(req->path, req->arena, segments, SEGMENTS_MAX, &count) != NH_OK)
		return false;
	for (const struct nh_route *route = routes; route->path; route++) {
		if (!method_fits(route->method, method) || !match(route->path, segments, count, req->path, &tried))
			continue;
		*req = tried;
		req->route = route;
		return true;
	}
	return false;
}

nh_slice nh_request_param(const struct nh_request *req, const char *name)
{
	nh_slice rest = nh_slice_str(req->route ? req->route->path : ""), part;
	size_t i = 0;
	while (rest.len) {
		nh_slice_cut(rest, '/', &part, &rest);
		if (part.len == 0 || (part.ptr[0] != ':' && part.ptr[0] != '*'))
			continue;
		if (i < req->param_count && nh_slice_eq_str(nh_slice_skip(part, 1), name))
			return req->params[i];
		i++;
	}
	return NH_SLICE_EMPTY;
}

nh_slice nh_request_header(const struct nh_request *req, const char *name) { return nh_http_header_get(req->headers, name); }
