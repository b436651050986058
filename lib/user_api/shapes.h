/*
 * What goes in and comes out of the API's routes, as data. The OpenAPI document is made of it, and the tests hold every request and every answer of the whole run against that
 * document: a member that is rendered and not named here, or named and of another type, fails a test.
 *
 * A shape stands beside what renders or reads it: that of an object which several routes answer in shapes.c, that of one route's body or query in the route's file. Private to user_api.
 *
 * source: reference/user-api-and-cli "5", "15"
 */
#pragma once

#include <stdbool.h>

typedef enum field_kind {
	FIELD_TEXT,
	FIELD_INTEGER,
	FIELD_NUMBER,
	FIELD_BOOLEAN,
	FIELD_OBJECT, /* of its shape; without a shape: any members */
	FIELD_MAP,    /* any names, each value of the shape (or, without one, anything) */
	FIELD_ANY,    /* any JSON value */
} field_kind;

enum {
	FIELD_LIST = 1,     /* an array of it */
	FIELD_NULLABLE = 2, /* may be null */
	FIELD_OPTIONAL = 4, /* may be absent */
};

struct shape;

struct field {
	const char *name;
	field_kind kind;
	unsigned flags;
	const struct shape *of;   /* of FIELD_OBJECT and FIELD_MAP */
	const char *const *words; /* all legal texts, NULL at the end; NULL: any */
	const char *format;       /* "date-time", "uuid", "email", …, as JSON Schema names them; NULL: none */
	const char *about;        /* one line for people; NULL where the name says it */
};

struct shape {
	const char *name;           /* as which other documents refer to it, in words without blanks: "DeviceCertificate" */
	const struct field *fields; /* name NULL at the end */
};

#define SHAPE(id, name_, ...)                                                  \
	static const struct field id##_fields[] = {__VA_ARGS__, {.name = NULL}}; \
	const struct shape id = {.name = (name_), .fields = id##_fields}
