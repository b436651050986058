/*
 * Commands that are one request: everything about them is in their row. Flags with `sends` become the query of a GET or members of a body, arguments fill the
 * route; the answer is shown by its view.
 *
 * source: reference/user-api-and-cli "18.7"
 */
#include "base/encode.h"
#include "cli_int.h"

#define PAGES_MAX 100000
#define NAMED_MAX 5 /* flags that a message lists */

/* ---- patterns -------------------------------------------------------------------------------------------------------------- */

static const char *value_of(struct nh_cli *c, nh_slice token, bool route)
{
	bool serial = nh_slice_starts(token, NH_LIT("s"));
	nh_slice digit = nh_slice_skip(token, serial);
	if (nh_slice_eq_str(token, "org"))
		return c->org;
	if (nh_slice_eq_str(token, "product"))
		return c->product;
	if (digit.len != 1 || digit.ptr[0] < '1' || digit.ptr[0] - '0' > c->arg_count)
		return NULL;
	const char *arg = c->args[digit.ptr[0] - '1'];
	if (!serial)
		return arg;
	const char *decimal = cli_serial_decimal(c, arg);
	return route ? decimal : cli_serial_hex(c, nh_slice_str(decimal));
}

/* A token is a colon and the letters or digits after it. */
char *cli_fill(struct nh_cli *c, const char *pattern, bool route)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	while (*pattern) {
		size_t n = 0;
		while (*pattern == ':' && ((pattern[n + 1] >= 'a' && pattern[n + 1] <= 'z') || (pattern[n + 1] >= '0' && pattern[n + 1] <= '9')))
			n++;
		const char *value = n ? value_of(c, nh_slice_of(pattern + 1, n), route) : NULL;
		if (value && route)
			nh_uri_put(&b, nh_slice_str(value));
		else if (value)
			nh_buf_put_str(&b, value);
		else
			nh_buf_put_u8(&b, (uint8_t)*pattern);
		pattern += value ? n + 1 : 1;
	}
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

/* ---- flags ----------------------------------------------------------------------------------------------------------------- */

/* "on|off" as "on or off"; NULL: any value is fine. */
static const char *other_than(struct nh_cli *c, const struct cli_flag *f, const char *text)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_slice word, rest = nh_slice_str(f->value);
	bool more = nh_slice_chr(rest, '|') >= 0, any = more;
	while (more) {
		more = nh_slice_cut(rest, '|', &word, &rest);
		if (nh_slice_eq_str(word, text))
			return NULL;
		nh_buf_printf(&b, "%s%.*s", b.len == 0 ? "" : more ? ", " : " or ", NH_ARG(word));
	}
	return any ? nh_arena_str(&c->arena, nh_buf_slice(&b)) : NULL;
}

/* The flag's value as JSON; *out NULL: not given. */
static nh_rc flag_value(struct nh_cli *c, const struct cli_flag *f, json_t **out, struct nh_err *err)
{
	const char *text = f->kind == CLI_LIST || f->kind == CLI_FLAG ? NULL : cli_text(c, f->name), *words = text ? other_than(c, f, text) : NULL;
	bool given = text != NULL, on = false;
	uint64_t number = 0;
	*out = NULL;
	if (words)
		return NH_FAIL(err, NH_EINVAL, "invalid --%s \"%.60s\" (use %s)", f->name, text, words);
	if (f->kind == CLI_NUMBER && text && nh_parse_u64(nh_slice_str(text), 1, INT64_MAX, &number) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "--%s needs a number from 1, not '%.60s'", f->name, text);
	if (f->kind == CLI_BOOL)
		NH_TRY(cli_bool(c, f->name, &given, &on, err));
	if (f->kind == CLI_FLAG && cli_on(c, f->name))
		*out = json_true();
	else if (f->kind == CLI_LIST && cli_list(c, f->name)->count)
		*out = cli_text_array(cli_list(c, f->name));
	else if (given)
		*out = f->kind == CLI_BOOL ? json_boolean(on) : f->kind == CLI_NUMBER ? json_integer((json_int_t)number) : nh_json_new_text(nh_slice_str(text));
	return NH_OK;
}

void cli_put_query(struct nh_buf *query, const char *name, const char *value)
{
	nh_buf_put_str(query, query->len ? "&" : "");
	nh_uri_put(query, nh_slice_str(name));
	nh_buf_put_u8(query, '=');
	nh_uri_put(query, nh_slice_str(value));
}

nh_rc cli_put_query_flags(struct nh_cli *c, struct nh_buf *query, struct nh_err *err)
{
	for (const struct cli_flag *f = c->command->flags; f && f->name; f++) {
		NH_AUTO_JSON json_t *value = NULL;
		if (f->sends)
			NH_TRY(flag_value(c, f, &value, err));
		if (value)
			cli_put_query(query, f->sends, f->kind == CLI_FLAG ? "true" : cli_text(c, f->name));
	}
	return NH_OK;
}

/* Sets "a.b" of the body, making the objects on the way. Takes the value. */
static void set_member(json_t *body, const char *path, json_t *take_value)
{
	nh_slice word, rest;
	while (nh_slice_cut(nh_slice_str(path), '.', &word, &rest)) {
		json_t *inner = json_object_getn(body, (const char *)word.ptr, word.len);
		if (!inner) {
			inner = json_object();
			json_object_setn_new(body, (const char *)word.ptr, word.len, inner);
		}
		body = inner;
		path += word.len + 1;
	}
	json_object_set_new(body, path, take_value);
}

nh_rc cli_put_body_flags(struct nh_cli *c, json_t *body, struct nh_err *err)
{
	for (const struct cli_flag *f = c->command->flags; f && f->name; f++) {
		json_t *value = NULL;
		if (f->sends)
			NH_TRY(flag_value(c, f, &value, err));
		if (value)
			set_member(body, f->sends, value);
	}
	return NH_OK;
}

nh_rc cli_put_own_password(struct nh_cli *c, json_t *body, struct nh_err *err)
{
	struct nh_buf password = NH_BUF_INIT;
	nh_rc rc = cli_password(c, "Password: ", &password, err);
	if (password.len)
		json_object_set_new(body, "current_password", nh_json_new_text(nh_buf_slice(&password)));
	nh_buf_wipe(&password);
	return rc;
}

/* An update without anything to update: which flags there are. */
static nh_rc nothing(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	size_t count = 0, i = 0;
	for (const struct cli_flag *f = c->command->flags; f && f->name; f++)
		count += f->sends != NULL;
	for (const struct cli_flag *f = c->command->flags; f && f->name; f++)
		if (f->sends && i++ < NAMED_MAX)
			nh_buf_printf(&b, "%s--%s", i == 1 ? "" : i < count ? ", " : count == 2 ? " or " : ", or ", f->name);
	nh_buf_put_str(&b, count > NAMED_MAX ? ", or another flag of its --help" : "");
	return NH_FAIL(err, NH_EINVAL, "nothing to update: provide %s", nh_buf_cstr(&b));
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------ */

static const struct cli_shape pagination_shape[] = {
	{"page", SHAPE_INT, .from = "page_number"}, {"page_size", SHAPE_INT}, {"total_pages", SHAPE_INT}, {"total_count", SHAPE_INT, .from = "total_entries"}, {NULL}};

/* One page; *rows and *pagination (new references): what it holds. */
static nh_rc get_page(struct nh_cli *c, const char *route, const char *query, const char *name, const char *value, const struct cli_shape *shape, json_t **rows,
		      json_t **pagination, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	NH_AUTO_BUF struct nh_buf q = NH_BUF_INIT;
	nh_buf_put_str(&q, query);
	if (name)
		cli_put_query(&q, name, value);
	NH_TRY(cli_api(c, &(struct cli_request){"GET", route, nh_buf_cstr(&q)}, &answer, err));
	*rows = cli_shape_list(shape, json_object_get(answer, "data"));
	*pagination = json_incref(json_object_get(answer, "pagination"));
	return NH_OK;
}

/* From a cursor where the server has them: such pages cost the same wherever they begin, and nothing comes twice. Others are numbered. */
static nh_rc get_all(struct nh_cli *c, const char *route, const char *query, const struct cli_shape *shape, json_t *out, struct nh_err *err)
{
	const char *name = "pagination[after]", *value = "";
	for (int64_t page = 2; page <= PAGES_MAX; page++) {
		NH_AUTO_JSON json_t *rows = NULL;
		NH_AUTO_JSON json_t *pagination = NULL;
		NH_TRY(get_page(c, route, query, name, value, shape, &rows, &pagination, err));
		json_array_extend(out, rows);
		if (*cli_get(pagination, "next")) {
			value = nh_arena_str(&c->arena, nh_json_text(pagination, "next"));
		} else if (nh_json_int(pagination, "total_pages", 0) >= page) {
			name = "pagination[page]";
			value = nh_arena_printf(&c->arena, "%lld", (long long)page);
		} else {
			break;
		}
	}
	return NH_OK;
}

static nh_rc list_all(struct nh_cli *c, const struct cli_view *view, const char *route, struct nh_buf *query, struct nh_err *err)
{
	NH_AUTO_JSON json_t *list = json_pack("{s:[]}", "data");
	if (cli_text(c, "page"))
		return NH_FAIL(err, NH_EINVAL, "--all and --page exclude each other");
	if (!cli_text(c, "page-size"))
		cli_put_query(query, "pagination[page_size]", "100"); /* the most a server gives */
	NH_TRY(get_all(c, route, nh_buf_cstr(query), view->shape, json_object_get(list, "data"), err));
	return cli_view_list(c, view, list);
}

nh_rc cli_list_with(struct nh_cli *c, const struct cli_action *action, const char *query, struct nh_err *err)
{
	const struct cli_view *view = action->view;
	const char *route = cli_fill(c, action->route, true);
	NH_AUTO_BUF struct nh_buf q = NH_BUF_INIT;
	NH_AUTO_JSON json_t *list = NULL;
	NH_AUTO_JSON json_t *pagination = NULL;
	NH_TRY(cli_put_query_flags(c, &q, err));
	nh_buf_printf(&q, "%s%s", q.len && *query ? "&" : "", query);
	if (view->pages && cli_on(c, "all"))
		return list_all(c, view, route, &q, err);
	NH_TRY(get_page(c, route, nh_buf_cstr(&q), NULL, NULL, view->shape, &list, &pagination, err));
	if (view->pages) {
		NH_AUTO_JSON json_t *paged = json_pack("{s:O}", "data", list);
		if (json_is_object(pagination))
			json_object_set_new(paged, "pagination", cli_shape_object(pagination_shape, pagination));
		return cli_view_list(c, view, paged);
	}
	NH_TRY(cli_view_list(c, view, list));
	if (*cli_get(pagination, "next") && cli_flag_named(c->command->flags, NH_LIT("before")))
		cli_note(c, "There is more: --before %s\n", cli_get(pagination, "next"));
	return NH_OK;
}

nh_rc cli_show_with(struct nh_cli *c, const struct cli_action *a, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	NH_TRY(cli_put_query_flags(c, &query, err));
	NH_TRY(cli_api(c, &(struct cli_request){"GET", cli_fill(c, a->route, true), nh_buf_cstr(&query)}, &answer, err));
	NH_AUTO_JSON json_t *object = cli_shape_object(a->view->shape, json_object_get(answer, "data"));
	return cli_view_one(c, a->view, object);
}

static nh_rc make_body(struct nh_cli *c, const struct cli_action *a, json_t **out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	bool put = nh_slice_eq_str(NH_LIT("PUT"), a->method), has_flags = false;
	*out = NULL;
	for (const struct cli_flag *f = c->command->flags; f && f->name; f++)
		has_flags |= f->sends != NULL;
	if (a->password)
		NH_TRY(cli_put_own_password(c, body, err));
	bool remove = nh_slice_eq_str(NH_LIT("DELETE"), a->method); /* its flags are its query */
	for (size_t i = 0; i < NH_ARRAY_LEN(a->takes); i++)
		if (a->takes[i])
			json_object_set_new(body, a->takes[i], nh_json_new_text(nh_slice_str(c->args[i])));
	if (!remove)
		NH_TRY(cli_put_body_flags(c, body, err));
	if (put && has_flags && json_object_size(body) == 0)
		return nothing(c, err);
	if ((!has_flags || remove) && json_object_size(body) == 0)
		return NH_OK; /* nothing to send */
	*out = a->wrap ? json_pack("{s:O}", a->wrap, body) : json_incref(body);
	return NH_OK;
}

nh_rc cli_send_with(struct nh_cli *c, const struct cli_action *a, struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	json_t *body = NULL;
	if (a->asks)
		NH_TRY(cli_confirm(c, a->refuses ? a->refuses : "delete", cli_on(c, "yes"), err, cli_fill(c, a->asks, false)));
	if (nh_slice_eq_str(NH_LIT("DELETE"), a->method))
		NH_TRY(cli_put_query_flags(c, &query, err));
	NH_TRY(make_body(c, a, &body, err));
	NH_TRY(cli_api(c, &(struct cli_request){a->method, cli_fill(c, a->route, true), nh_buf_cstr(&query), body}, a->view ? &answer : NULL, err));
	NH_AUTO_JSON json_t *object = a->view ? cli_shape_object(a->view->shape, json_object_get(answer, "data")) : NULL;
	if (a->view && c->format != CLI_TABLE)
		return cli_view_one(c, a->view, object);
	if (a->says)
		cli_out(c, "%s\n", cli_fill(c, a->says, false));
	return a->view && a->details ? cli_view_one(c, a->view, object) : NH_OK;
}

nh_rc cli_run_list(struct nh_cli *c, struct nh_err *err) { return cli_list_with(c, c->command->action, "", err); }
nh_rc cli_run_show(struct nh_cli *c, struct nh_err *err) { return cli_show_with(c, c->command->action, err); }
nh_rc cli_run_send(struct nh_cli *c, struct nh_err *err) { return cli_send_with(c, c->command->action, err); }
