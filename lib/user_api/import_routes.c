/*
 * Importing devices: a file that streams through, entry by entry, in transactions of at most NH_IMPORT_BATCH. What memory holds is one batch, who was there already, and the answer.
 *
 * Batches that were committed stay where a later one fails: the same file again changes nothing of them. A dry run rolls each back.
 *
 * source: reference/user-api-and-cli "11.6"; reference/server-behaviour "9.7" "14.3"
 */
#include <stdlib.h>

#include "api_int.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/map.h"
#include "hub/import.h"
#include "hub/overview.h"

#define SIGNER_MAX ((size_t)16 << 10)

/* Lives from begin to the handler (or abort), beyond the request's own structures; has arenas of its own. */
struct import {
	struct nh_user_api *api;
	struct nh_arena arena;       /* of the whole import */
	struct nh_actor actor;
	struct nh_product product;
	nh_slice tags;
	bool dry_run;
	struct nh_records records;
	struct nh_import_reader reader;
	struct nh_cert *signer;
	struct nh_map *seen;         /* identifiers; the value is the line */
	/* one batch */
	struct nh_arena batch;
	struct nh_import_device devices[NH_IMPORT_BATCH];
	struct nh_import_outcome outcomes[NH_IMPORT_BATCH];
	size_t count;
	bool rolled_back;
	struct nh_effects effects;
	/* results */
	uint64_t entries, counts[NH_IMPORT_RESULTS];
	struct nh_buf results;       /* JSON objects with commas between them */
	struct nh_err err;
};

static void import_free(struct import *m)
{
	if (!m)
		return;
	nh_records_fini(&m->records);
	nh_cert_free(m->signer);
	nh_map_free(m->seen);
	nh_buf_fini(&m->results);
	nh_arena_fini(&m->batch);
	nh_arena_fini(&m->arena);
	free(m);
}

/* ---- a batch ------------------------------------------------------------------------------------------------------------- */

static struct nh_ctx context(struct import *m, struct nh_tx *tx)
{
	const struct nh_user_api_config *config = &m->api->config;
	return (struct nh_ctx){.tx = tx, .arena = &m->batch, .clock = config->clock, .rng = config->rng, .config = config->hub, .effects = &m->effects};
}

static nh_rc apply(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct import *m = arg;
	struct nh_ctx ctx = context(m, tx);
	m->effects = (struct nh_effects){0}; /* a repeated transaction starts again */
	m->rolled_back = false;
	NH_TRY(nh_import_apply(&ctx, &m->actor, &m->product, m->tags, m->devices, m->count, m->outcomes, err));
	m->rolled_back = m->dry_run;
	return m->dry_run ? NH_FAIL(err, NH_ECLOSED, "a dry run") : NH_OK;
}

static void note_result(struct import *m, const struct nh_import_device *d, const struct nh_import_outcome *o)
{
	nh_buf_printf(&m->results, "%s{\"line\":%llu,\"identifier\":", m->results.len ? "," : "", (unsigned long long)d->line);
	if (d->identifier.ptr)
		nh_json_put_string(&m->results, d->identifier);
	else
		nh_buf_put_str(&m->results, "null");
	nh_buf_printf(&m->results, ",\"result\":\"%s\",\"reason\":", nh_import_result_name(o->result));
	if (o->result == NH_IMPORT_FAILED)
		nh_json_put_string(&m->results, nh_slice_str(o->reason));
	else
		nh_buf_put_str(&m->results, "null");
	nh_buf_put_u8(&m->results, '}');
	m->counts[o->result]++;
}

static nh_rc flush(struct import *m, struct nh_err *err)
{
	const struct nh_user_api_config *config = &m->api->config;
	if (m->count == 0)
		return NH_OK;
	nh_rc rc = nh_db_write(config->db, apply, m, err);
	if (rc != NH_OK && !m->rolled_back)
		return rc;
	if (rc == NH_OK && m->effects.count > 0 && config->effects)
		config->effects(config->effects_ctx, &m->effects);
	for (size_t i = 0; i < m->count; i++)
		note_result(m, &m->devices[i], &m->outcomes[i]);
	m->count = 0;
	nh_arena_reset(&m->batch);
	return nh_buf_check(&m->results, "the answer", err);
}

/* A second one would say something else in a dry run than in earnest. */
static void check_seen(struct import *m, struct nh_import_device *d)
{
	if (d->problem)
		return;
	uintptr_t line = (uintptr_t)nh_map_get(m->seen, d->identifier);
	if (line)
		d->problem = nh_arena_printf(&m->batch, "identifier comes twice: line %llu has it already", (unsigned long long)line);
	else
		nh_map_put(m->seen, d->identifier, (void *)(uintptr_t)d->line);
}

static nh_rc each(void *ctx, const struct nh_record *record, struct nh_err *err)
{
	struct import *m = ctx;
	struct nh_import_device *d = &m->devices[m->count];
	nh_rc rc = nh_import_read(&m->reader, &m->batch, record, d, err);
	if (rc == NH_ENOTFOUND) /* the CSV's first line */
		return NH_OK;
	NH_TRY(rc);
	if (++m->entries > NH_IMPORT_ENTRIES_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "more than %u entries: please import the file in parts; the first %u are done", NH_IMPORT_ENTRIES_MAX, NH_IMPORT_ENTRIES_MAX - NH_IMPORT_ENTRIES_MAX % NH_IMPORT_BATCH);
	check_seen(m, d);
	return ++m->count == NH_IMPORT_BATCH ? flush(m, err) : NH_OK;
}

/* ---- the body ------------------------------------------------------------------------------------------------------------ */

static nh_rc refuse(struct call *call, const char *field, const char *text, struct nh_err *err)
{
	json_decref(call->errors);
	call->errors = json_pack("{s:[s]}", field, text);
	return NH_FAIL(err, NH_EINVAL, "%s %s", field, text);
}

/* Of the head, as existing clients send it, or of the query. */
static nh_slice option(const struct call *call, const char *name)
{
	nh_slice text = nh_request_header(call->req, name);
	return text.len > 0 ? text : nh_json_text(call->params, name);
}

static nh_rc read_format(struct call *call, nh_import_format *out, struct nh_err *err)
{
	nh_slice name = option(call, "format"), kind, rest;
	nh_slice_cut(nh_request_header(call->req, "content-type"), ';', &kind, &rest);
	*out = nh_slice_ieq(nh_slice_trim(kind), NH_LIT("text/csv"))               ? NH_IMPORT_CSV
	       : nh_slice_ieq(nh_slice_trim(kind), NH_LIT("application/x-ndjson")) ? NH_IMPORT_NERVESKEY
	                                                                           : NH_IMPORT_TRUST_AND_GO;
	if (name.len == 0 || nh_import_format_find(name, out))
		return NH_OK;
	return refuse(call, "format", "must be microchip_trust_and_go, csv or nerveskey", err);
}

static nh_rc read_signer(struct call *call, struct import *m, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(SIGNER_MAX);
	nh_slice text = nh_request_header(call->req, "manifest-certificate");
	if (text.len == 0)
		return NH_OK;
	if (nh_b64_decode(text, NH_B64_STD, &bytes) == NH_OK && nh_buf_ok(&bytes) &&
	    (nh_cert_parse_pem(nh_buf_slice(&bytes), &m->signer, NULL) == NH_OK || nh_cert_parse_der(nh_buf_slice(&bytes), &m->signer, NULL) == NH_OK)) {
		m->reader.signer = m->signer;
		return NH_OK;
	}
	return refuse(call, "manifest-certificate", "must be a certificate, PEM or DER in base64", err);
}

static nh_rc read_options(struct call *call, struct import *m, struct nh_err *err)
{
	const char *text;
	nh_slice dry_run = nh_json_text(call->params, "dry_run");
	NH_TRY(read_format(call, &m->reader.format, err));
	NH_TRY(read_signer(call, m, err));
	m->dry_run = nh_slice_eq_str(dry_run, "true");
	if (dry_run.len > 0 && !m->dry_run && !nh_slice_eq_str(dry_run, "false"))
		return refuse(call, "dry_run", "must be true or false", err);
	m->tags = nh_arena_copy(&m->arena, option(call, "tags"));
	NH_AUTO_JSON json_t *value = nh_json_new_text(m->tags), *tags = nh_tags_read(value, &text);
	return tags ? NH_OK : refuse(call, "tags", text, err);
}

static nh_rc import_begin(struct nh_request *req, struct nh_response *res, void **stream)
{
	struct call call;
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&call, req, res, req->route->extra))
		return NH_EINVAL;
	struct import *m = nh_xcalloc(1, sizeof(*m));
	nh_rc rc = call_transact(&call, NULL, false, &err);
	if (rc == NH_OK)
		rc = read_options(&call, m, &err);
	if (rc != NH_OK) {
		import_free(m);
		call_close(&call, rc, &err);
		return rc;
	}
	m->api = call.api;
	m->actor = call.actor;
	m->actor.name = nh_arena_copy(&m->arena, call.actor.name);
	m->product = call.product;
	m->product.name = nh_arena_copy(&m->arena, call.product.name);
	m->product.org_name = nh_arena_copy(&m->arena, call.product.org_name);
	m->seen = nh_map_new();
	m->records = (struct nh_records){.form = nh_import_format_form(m->reader.format), .each = each, .ctx = m};
	*stream = m;
	call_leave(&call);
	return NH_OK;
}

static nh_rc import_data(void *worker, void *stream, nh_slice bytes)
{
	struct import *m = stream;
	return nh_records_feed(&m->records, bytes, &m->err);
}

static void import_abort(void *worker, void *stream)
{
	import_free(stream);
}

const struct nh_body_sink import_sink = {import_begin, import_data, import_abort};

/* ---- the end ------------------------------------------------------------------------------------------------------------- */

struct import_call {
	struct call call; /* first */
	struct import *import;
};

static nh_rc notify(struct call *call, struct nh_err *err)
{
	struct import *m = ((struct import_call *)call)->import;
	NH_AUTO_JSON json_t *figures = json_object();
	for (unsigned i = 0; i < NH_IMPORT_RESULTS; i++)
		json_object_set_new(figures, nh_import_result_name((nh_import_result)i), json_integer((json_int_t)m->counts[i]));
	char *text = nh_arena_printf(call->arena, "%llu devices were made, %llu failed", (unsigned long long)m->counts[NH_IMPORT_CREATED], (unsigned long long)m->counts[NH_IMPORT_FAILED]);
	char *key = nh_arena_printf(call->arena, "import:%lld", (long long)nh_ctx_now(&call->ctx));
	return nh_notification_add(&call->ctx, call->product.id, m->counts[NH_IMPORT_FAILED] ? NH_NOTIFY_WARNING : NH_NOTIFY_INFO, key, NH_LIT("Import of devices"), nh_slice_str(text), figures, err);
}

static nh_rc finish(struct import_call *c, struct nh_err *err)
{
	struct import *m = c->import;
	nh_rc rc = c->call.req->stream_rc;
	if (rc == NH_OK)
		rc = nh_records_end(&m->records, &m->err);
	if (rc == NH_OK)
		rc = flush(m, &m->err);
	if (rc == NH_OK)
		return m->dry_run ? call_transact(&c->call, NULL, false, err) : call_transact(&c->call, notify, true, err);
	if (rc == NH_EFORMAT || rc == NH_EINVAL || rc == NH_ETOOBIG) {
		c->call.errors = json_pack("{s:o}", "detail", nh_json_new_text(nh_slice_str(m->err.msg)));
		c->call.status = rc == NH_ETOOBIG ? 413 : 422;
	}
	return nh_err_set(err, rc, __FILE__, __LINE__, "%s", m->err.msg);
}

static void answer(struct import_call *c)
{
	const struct import *m = c->import;
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	nh_buf_printf(&body, "{\"data\":{\"dry_run\":%s", m->dry_run ? "true" : "false");
	for (unsigned i = 0; i < NH_IMPORT_RESULTS; i++)
		nh_buf_printf(&body, ",\"%s\":%llu", nh_import_result_name((nh_import_result)i), (unsigned long long)m->counts[i]);
	nh_buf_put_str(&body, ",\"results\":[");
	nh_buf_put_slice(&body, nh_buf_slice(&m->results));
	nh_buf_put_str(&body, "]}}");
	send_common_headers(c->call.req, c->call.res);
	nh_response_send(c->call.res, c->call.endpoint->success, "application/json; charset=utf-8", nh_buf_slice(&body));
}

void handle_import(struct nh_request *req, struct nh_response *res)
{
	struct import_call c = {.import = req->stream};
	struct nh_err err = NH_ERR_INIT;
	if (call_open(&c.call, req, res, req->route->extra)) {
		nh_rc rc = finish(&c, &err);
		if (rc == NH_OK)
			answer(&c);
		call_close(&c.call, rc, &err);
	}
	import_free(c.import);
}

static const char *const words_formats[] = {"microchip_trust_and_go", "csv", "nerveskey", NULL}, *const words_truth[] = {"true", "false", NULL},
                         *const words_results[] = {"created", "updated", "unchanged", "failed", NULL};
#define OPTIONS                                                                                                                                                       \
	{"format", FIELD_TEXT, FIELD_OPTIONAL, .words = words_formats, .about = "Otherwise by the type of the body, else `microchip_trust_and_go`"},                  \
	{"tags", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of every device that is made, with commas between them"}
static SHAPE(import_query, "ImportQuery", OPTIONS, {"dry_run", FIELD_TEXT, FIELD_OPTIONAL, .words = words_truth, .about = "`true`: say what would happen, and do nothing"});
static SHAPE(import_headers, "ImportHeaders", OPTIONS,
             {"manifest-certificate", FIELD_TEXT, FIELD_OPTIONAL, .about = "PEM or DER, in base64: each entry of a Microchip manifest must be signed by its key; otherwise signatures are not looked at"});
static SHAPE(import_result, "ImportResult", {"line", FIELD_INTEGER, .about = "Where the entry begins"}, {"identifier", FIELD_TEXT, FIELD_NULLABLE},
             {"result", FIELD_TEXT, .words = words_results}, {"reason", FIELD_TEXT, FIELD_NULLABLE, .about = "Of `failed`"});
static SHAPE(import_report, "ImportReport", {"dry_run", FIELD_BOOLEAN}, {"created", FIELD_INTEGER}, {"updated", FIELD_INTEGER, .about = "Were there, and got their certificate"},
             {"unchanged", FIELD_INTEGER}, {"failed", FIELD_INTEGER}, {"results", FIELD_OBJECT, FIELD_LIST, &import_result, .about = "One for each entry, in order"});
static const char *const import_media[] = {"application/json", "text/csv", "application/x-ndjson", NULL};
static const struct answer import_answers[] = {{413, .about = "More than 100000 entries, or over 256 MiB"}, {0}};
const struct endpoint ep_device_import = {.scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_IMPORT, .write = true, .success = 201, .query = &import_query, .headers = &import_headers,
                                          .body_media = import_media, .data = &import_report, .also = import_answers, .tag = "Devices"};
