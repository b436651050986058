/*
 * The description of the routes, without a server: that nothing is forgotten in it, and that nothing in it contradicts itself. Whether it is true is seen where the server runs
 * (tests/integration/openapi.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "document_int.h"

#define SHAPES_MAX 512

static bool same(const char *a, const char *b) { return nh_slice_eq(nh_slice_str(a), nh_slice_str(b)); }

/* ---- shapes --------------------------------------------------------------------------------------------------------------- */

struct shapes {
	const struct shape *items[SHAPES_MAX];
	size_t count;
};

static void check_name(const char *name)
{
	assert_true(*name >= 'A' && *name <= 'Z');
	for (const char *c = name; *c; c++)
		assert_true((*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z'));
	assert_false(same(name, "Errors") || same(name, "WrongMembers")); /* document_errors' */
}

static void check_field(const struct shape *shape, const struct field *f)
{
	for (const struct field *other = shape->fields; other < f; other++) {
		if (same(other->name, f->name))
			fail_msg("%s has two members %s", shape->name, f->name);
	}
	bool good = f->kind <= FIELD_ANY && (!f->of || f->kind == FIELD_OBJECT || f->kind == FIELD_MAP) && (!(f->words || f->format) || f->kind == FIELD_TEXT) &&
		    (!f->about || *f->about) && (!f->words || f->words[0]) && !(f->flags & ~(unsigned)(FIELD_LIST | FIELD_NULLABLE | FIELD_OPTIONAL));
	if (!good)
		fail_msg("%s.%s is described in a way that means nothing", shape->name, f->name);
}

/* Once for each shape that anything refers to. */
static void collect(struct shapes *all, const struct shape *shape)
{
	for (size_t i = 0; i < all->count; i++) {
		if (all->items[i] == shape)
			return;
		if (same(all->items[i]->name, shape->name))
			fail_msg("two shapes are called %s", shape->name);
	}
	assert_true(all->count < SHAPES_MAX);
	all->items[all->count++] = shape;
	check_name(shape->name);
	for (const struct field *f = shape->fields; f->name; f++) {
		check_field(shape, f);
		if (f->of)
			collect(all, f->of);
	}
}

static void test_shapes(void **state)
{
	static struct shapes all;
	for (size_t t = 0; document_tables[t]; t++) {
		for (const struct nh_route *r = document_tables[t]; r->path; r++) {
			const struct endpoint *e = r->extra;
			const struct shape *const used[] = {e->query, e->headers, e->body, e->data, e->beside};
			for (size_t i = 0; i < NH_ARRAY_LEN(used); i++) {
				if (used[i])
					collect(&all, used[i]);
			}
			for (const struct answer *a = e->also; a && a->status; a++) {
				if (a->whole)
					collect(&all, a->whole);
			}
		}
	}
	assert_true(all.count > 60);
}

/* ---- routes --------------------------------------------------------------------------------------------------------------- */

/* What a route answers has a shape, or is said to have none. */
static const char *flaw(const struct nh_route *r)
{
	const struct endpoint *e = r->extra;
	bool writes = r->method != NH_HTTP_GET;
	if (!r->summary || !*r->summary || !e->tag)
		return "has no summary or no tag";
	if (e->success < 100 || e->success > 399)
		return "has no status of success";
	bool bare = e->success == 204 || (e->success == 202 && !e->data && !e->media); /* done; or taken on, and there is nothing to say yet */
	if (bare ? e->data || e->media : !e->data == !e->media)
		return "answers data or something else, and just one of them";
	if ((e->list || e->beside) && !e->data)
		return "has a list of nothing, or something beside nothing";
	if ((e->body || e->body_list || e->nested) && (!writes || !e->body))
		return "has a body where none is read";
	if (e->fixed && (e->body || e->write || !e->anonymous))
		return "answers whatever is asked with, and is not open";
	return NULL;
}

static void test_routes(void **state)
{
	size_t count = 0;
	for (size_t t = 0; document_tables[t]; t++) {
		for (const struct nh_route *r = document_tables[t]; r->path; r++, count++) {
			const char *why = r->extra ? flaw(r) : "has no endpoint";
			if (why)
				fail_msg("%s %s %s", nh_http_method_name(r->method), r->path, why);
		}
	}
	assert_true(count > 90);
}

static void test_answers(void **state)
{
	for (size_t t = 0; document_tables[t]; t++) {
		for (const struct nh_route *r = document_tables[t]; r->path; r++) {
			struct answer answers[ANSWERS_MAX];
			size_t count = document_answers(r, answers);
			assert_in_range(count, 1, ANSWERS_MAX - 1);
			for (size_t i = 1; i < count; i++)
				assert_true(answers[i - 1].status <= answers[i].status);
		}
	}
}

/* ---- names ---------------------------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	static const struct {
		struct nh_route route;
		const char *path, *id;
	} table[] = {
		{{.method = NH_HTTP_GET, .path = "/api/orgs"}, "/api/orgs", "get_orgs"},
		{{.method = NH_HTTP_POST, .path = "/api/orgs/:org_name/users/invite"}, "/api/orgs/{org_name}/users/invite", "post_orgs_users_invite"},
		{{.method = NH_HTTP_GET, .path = "/api/orgs/:org_name/keys/:name"}, "/api/orgs/{org_name}/keys/{name}", "get_orgs_keys_by_name"},
		{{.method = NH_HTTP_DELETE, .path = "/api/x/*key"}, "/api/x/{key}", "delete_x_by_key"},
		{{.method = NH_HTTP_GET, .path = "/api/docs/style.css"}, "/api/docs/style.css", "get_docs_style_css"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, id = NH_BUF_INIT;
		document_put_path(&path, table[i].route.path);
		document_put_operation_id(&id, &table[i].route);
		assert_string_equal(nh_buf_cstr(&path), table[i].path);
		assert_string_equal(nh_buf_cstr(&id), table[i].id);
	}
}

/* ---- schemas -------------------------------------------------------------------------------------------------------------- */

static SHAPE(inner, "Inner", {"x", FIELD_INTEGER});
static const char *const words[] = {"on", "off", NULL};

static void test_schemas(void **state)
{
	static const struct {
		struct field field;
		const char *schema;
	} table[] = {
		{{"f", FIELD_TEXT}, "{\"type\":\"string\"}"},
		{{"f", FIELD_TEXT, FIELD_NULLABLE}, "{\"type\":[\"string\",\"null\"]}"},
		{{"f", FIELD_TEXT, FIELD_NULLABLE, .words = words}, "{\"type\":[\"string\",\"null\"],\"enum\":[\"on\",\"off\",null]}"},
		{{"f", FIELD_TEXT, .format = "uuid", .about = "It"}, "{\"type\":\"string\",\"format\":\"uuid\",\"description\":\"It\"}"},
		{{"f", FIELD_INTEGER, FIELD_LIST}, "{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}"},
		{{"f", FIELD_INTEGER, FIELD_LIST | FIELD_NULLABLE}, "{\"type\":[\"array\",\"null\"],\"items\":{\"type\":\"integer\"}}"},
		{{"f", FIELD_ID}, "{\"type\":[\"integer\",\"string\"]}"},
		{{"f", FIELD_TAGS, FIELD_NULLABLE}, "{\"type\":[\"array\",\"string\",\"null\"],\"items\":{\"type\":\"string\"}}"},
		{{"f", FIELD_OBJECT, 0, &inner}, "{\"$ref\":\"#/components/schemas/Inner\"}"},
		{{"f", FIELD_OBJECT, FIELD_NULLABLE, &inner}, "{\"anyOf\":[{\"$ref\":\"#/components/schemas/Inner\"},{\"type\":\"null\"}]}"},
		{{"f", FIELD_MAP}, "{\"type\":\"object\",\"additionalProperties\":true}"},
		{{"f", FIELD_MAP, 0, &inner}, "{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/components/schemas/Inner\"}}"},
		{{"f", FIELD_ANY, FIELD_NULLABLE}, "{}"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_JSON json_t *schemas = json_object(), *schema = document_schema(schemas, &table[i].field);
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_json_put(&text, schema);
		assert_string_equal(nh_buf_cstr(&text), table[i].schema);
		if (table[i].field.of) {
			NH_AUTO_BUF struct nh_buf all = NH_BUF_INIT;
			nh_json_put(&all, schemas);
			assert_string_equal(nh_buf_cstr(&all), "{\"Inner\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\"}},\"additionalProperties\":false,\"required\":[\"x\"]}}");
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes), cmocka_unit_test(test_routes), cmocka_unit_test(test_answers), cmocka_unit_test(test_names), cmocka_unit_test(test_schemas),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
