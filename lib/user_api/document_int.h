/*
 * What the OpenAPI document and the page of the same share: how a route is told of. Private to document*.c.
 */
#pragma once

#include "api_int.h"

#define ANSWERS_MAX 24

/* The tables whose routes are described, in their order; NULL at the end. */
extern const struct nh_route *const document_tables[];

const struct endpoint *document_endpoint(const struct nh_route *route);
/* "/api/orgs/:org_name/x" as "/api/orgs/{org_name}/x". */
void document_put_path(struct nh_buf *out, const char *path);
/* The next parameter of a path; *path goes on behind it. rest: it takes all segments that are left. */
bool document_next_parameter(nh_slice *path, nh_slice *name, bool *rest);
/* In small letters, with _ for all but letters and digits. */
void document_put_word(struct nh_buf *out, nh_slice word);
/* Method and fixed words, and a last parameter: "get_orgs_products_by_product_name". */
void document_put_operation_id(struct nh_buf *out, const struct nh_route *route);
/* Every answer that the route can give, by ascending status; of the same status the more special one first. Returns their number. */
size_t document_answers(const struct nh_route *route, struct answer out[ANSWERS_MAX]);
/* {"$ref":…} to the shape's schema, which is put into schemas with all that it refers to. */
json_t *document_refer(json_t *schemas, const struct shape *shape);
/* The schema of one member. */
json_t *document_schema(json_t *schemas, const struct field *field);
/* The schema of an object with the members of both; either may be NULL. */
json_t *document_object(json_t *schemas, const struct field *first, const struct field *second);
/* The schema of {"errors":…}, which is put into schemas. */
json_t *document_errors(json_t *schemas);
