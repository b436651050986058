/*
 * Shapes as JSON Schema (2020-12, the dialect of OpenAPI 3.1). No object has other members than those named, but for maps, whose names are somebody else's.
 *
 * source: OpenAPI 3.1.0 "Schema Object"; JSON Schema 2020-12
 */
#include "document_int.h"

static const char *const types[][2] = {
	[FIELD_TEXT] = {"string"},   [FIELD_INTEGER] = {"integer"},      [FIELD_NUMBER] = {"number"},         [FIELD_BOOLEAN] = {"boolean"},
	[FIELD_OBJECT] = {"object"}, [FIELD_ID] = {"integer", "string"}, [FIELD_TAGS] = {"array", "string"}, [FIELD_MAP] = {"object"},
	[FIELD_ANY] = {NULL},
};

static json_t *refer_to(const char *name) { return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", name)); }

json_t *document_refer(json_t *schemas, const struct shape *shape)
{
	if (!json_object_get(schemas, shape->name)) {
		json_object_set_new(schemas, shape->name, json_null()); /* its place, and the end of a circle */
		json_object_set_new(schemas, shape->name, document_object(schemas, shape->fields, NULL));
	}
	return refer_to(shape->name);
}

/* One value; never null, never a list of the field. */
static json_t *one_value(json_t *schemas, const struct field *f)
{
	if (f->kind == FIELD_OBJECT && f->of)
		return document_refer(schemas, f->of);
	json_t *out = json_object();
	const char *const *type = types[f->kind];
	if (type[0])
		json_object_set_new(out, "type", type[1] ? json_pack("[s, s]", type[0], type[1]) : json_string(type[0]));
	if (f->kind == FIELD_TAGS)
		json_object_set_new(out, "items", json_pack("{s:s}", "type", "string"));
	if (f->kind == FIELD_MAP)
		json_object_set_new(out, "additionalProperties", f->of ? document_refer(schemas, f->of) : json_true());
	if (f->words) {
		json_t *words = json_array();
		for (size_t i = 0; f->words[i]; i++)
			json_array_append_new(words, json_string(f->words[i]));
		json_object_set_new(out, "enum", words);
	}
	if (f->format)
		json_object_set_new(out, "format", json_string(f->format));
	return out;
}

/* Takes and returns. */
static json_t *or_null(json_t *schema)
{
	json_t *type = json_object_get(schema, "type"), *words = json_object_get(schema, "enum");
	if (!type)
		return json_object_get(schema, "$ref") ? json_pack("{s:[o, {s:s}]}", "anyOf", schema, "type", "null") : schema;
	if (json_is_array(type))
		json_array_append_new(type, json_string("null"));
	else
		json_object_set_new(schema, "type", json_pack("[O, s]", type, "null"));
	if (words)
		json_array_append_new(words, json_null());
	return schema;
}

json_t *document_schema(json_t *schemas, const struct field *f)
{
	json_t *out = one_value(schemas, f);
	if (f->flags & FIELD_LIST)
		out = json_pack("{s:s, s:o}", "type", "array", "items", out);
	if (f->flags & FIELD_NULLABLE)
		out = or_null(out);
	if (f->about)
		json_object_set_new(out, "description", json_string(f->about));
	return out;
}

json_t *document_object(json_t *schemas, const struct field *first, const struct field *second)
{
	const struct field *const sets[] = {first, second};
	json_t *properties = json_object(), *required = json_array();
	for (size_t i = 0; i < NH_ARRAY_LEN(sets); i++) {
		for (const struct field *f = sets[i]; f && f->name; f++) {
			json_object_set_new(properties, f->name, document_schema(schemas, f));
			if (!(f->flags & FIELD_OPTIONAL))
				json_array_append_new(required, json_string(f->name));
		}
	}
	json_t *out = json_pack("{s:s, s:o, s:b}", "type", "object", "properties", properties, "additionalProperties", false);
	if (json_array_size(required) > 0)
		json_object_set(out, "required", required);
	json_decref(required);
	return out;
}

/*
 * By hand, since it calls itself: {"errors":{"detail":"…"}}, or the members that are wrong, each with its texts, or with the members of what stands in it.
 * source: reference/user-api-and-cli "4"
 */
json_t *document_errors(json_t *schemas)
{
	static const char wrong[] = "WrongMembers", all[] = "Errors";
	if (!json_object_get(schemas, all)) {
		json_t *texts = json_pack("{s:s, s:{s:[{s:s}, o]}}", "type", "array", "items", "anyOf", "type", "string", refer_to(wrong));
		json_object_set_new(schemas, wrong,
		                    json_pack("{s:s, s:i, s:{s:{s:s, s:s}}, s:{s:[o, o]}}", "type", "object", "minProperties", 1, "properties", "detail", "type", "string",
		                              "description", "What to change, for people", "additionalProperties", "anyOf", texts, refer_to(wrong)));
		json_object_set_new(schemas, all,
		                    json_pack("{s:s, s:[s], s:{s:o}, s:b}", "type", "object", "required", "errors", "properties", "errors", refer_to(wrong), "additionalProperties", false));
	}
	return refer_to(all);
}
