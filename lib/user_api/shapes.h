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
	FIELD_ID,     /* an integer, or the same as a text: see client_quirks.c */
	FIELD_TAGS,   /* a list of texts, or one text with commas between them */
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

/* An answer that only some endpoints give, beside the one of success and those that every endpoint of its kind can give. */
struct answer {
	unsigned status;           /* 0 at the end */
	const char *media;         /* "text/plain", "": no body; NULL: JSON, or nothing */
	const struct shape *whole; /* of JSON: all of it. NULL: the usual {"errors":…} from 400 on, no body below */
	const char *about;
};

/* `static SHAPE(id, "Name", {"member", FIELD_TEXT}, …);` in a route's file, without static in shapes.c. */
#define SHAPE(id, name_, ...) const struct shape id = {.name = (name_), .fields = (const struct field[]){__VA_ARGS__, {.name = NULL}}}

/* ---- shapes.c: what render.c renders, and what several routes read or answer ---------------------------------------------- */
extern const struct shape
	shape_org, shape_user, shape_member, shape_product, shape_key, shape_secret, shape_ca, shape_certificate, shape_firmware, shape_archive, shape_script, shape_script_row, shape_device,
	shape_group, shape_health, shape_log_line, shape_network_identity, shape_iroh_endpoint, shape_past_connection, shape_extensions, shape_status,
	shape_pages, /* beside a list with numbered pages */
	shape_next,  /* beside a list that goes on with what the answer names */
	shape_page_wanted, shape_extensions_change,
	shape_group_change; /* deployment_routes.c: the body that changes a group */

/* In the query of a list with numbered pages. */
#define SHAPE_PAGE_QUERY {"pagination", FIELD_OBJECT, FIELD_OPTIONAL, &shape_page_wanted}

/* ---- answers of routes that hand out a file ---------------------------------------------------------------------------------- */
extern const struct answer file_answers[];

/* ---- words that several shapes use ------------------------------------------------------------------------------------------ */
extern const char *const words_roles[], *const words_services[], *const words_interfaces[], *const words_tag_operators[];
