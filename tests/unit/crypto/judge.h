/*
 * What tests need that have another program judge certificates: files and shell lines in the current folder, and certificates signed in one call.
 */
#pragma once

#include "test_base.h"

#include "base/file.h"
#include "base/process.h"
#include "crypto/pki.h"

static inline void save(const char *name, nh_slice bytes) { assert_int_equal(nh_file_write_atomic(name, bytes, 0600, NULL), NH_OK); }

/* Runs a shell line in the temporary folder; stdout to out. Fails the test unless it ends with 0. */
static inline void shell(const char *line, struct nh_buf *out)
{
	struct nh_err e = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf errout = NH_BUF_INIT;
	int status = -1;
	struct nh_process p = {.argv = (const char *const[]){"sh", "-c", line, NULL}, .timeout_ms = 60000};
	if (nh_process_run(&p, &status, out, &errout, &e) != NH_OK || status != 0)
		fail_msg("%s: %d %s %s", line, status, e.msg, nh_buf_cstr(&errout));
}

static inline bool contains(const struct nh_buf *b, const char *text) { return nh_slice_find(nh_buf_slice(b), nh_slice_str(text)) >= 0; }

static inline void assert_contains(const struct nh_buf *b, const char *text)
{
	if (!contains(b, text))
		fail_msg("'%s' not in: %s", text, nh_buf_cstr(b));
}

static inline struct nh_cert *issue(const struct nh_cert_profile *p, const struct nh_key *key, const struct nh_cert *issuer, const struct nh_key *issuer_key)
{
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	struct nh_cert *out = NULL;
	assert_int_equal(nh_key_put_spki(&spki, key, &e), NH_OK);
	if (nh_cert_issue(&der, p, nh_buf_slice(&spki), issuer, issuer_key, &nh_rng_system, &e) != NH_OK)
		fail_msg("%s", e.msg);
	if (nh_cert_parse_der(nh_buf_slice(&der), &out, &e) != NH_OK)
		fail_msg("%s", e.msg);
	return out;
}
