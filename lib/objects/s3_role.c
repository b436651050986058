/*
 * Whose key signs: one that the operator wrote down, or the temporary one that the machine is lent by its cloud, asked for anew before it expires. Two places lend keys: a container's
 * agent (one GET), and an instance's metadata service (a token for talking to it, the role's name, the keys).
 *
 * Whoever signs takes the keys of the moment; they stay valid in that hand while the next ones arrive.
 *
 * source: Amazon EC2 User Guide "Retrieve security credentials from instance metadata" (IMDSv2); Amazon ECS Developer Guide "Task IAM role"; Amazon EKS User Guide "Pod Identity"
 */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "s3_int.h"

#define ANSWER_MAX ((size_t)64 << 10)
#define CONNECT_MS 2000L /* a machine of no cloud has nobody there, and the network may not say so */
#define TOTAL_MS 10000L
#define RENEW_BEFORE_US (INT64_C(240) * NH_US_PER_S) /* the next ones are there five minutes before; source: Amazon EC2 User Guide */
#define TOKEN_TTL "21600"
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"

struct s3_keys {
	unsigned refs; /* atomic */
	int64_t expires_us;
	struct sigv4_credentials credentials; /* of the texts below, and of the store's configuration */
	char *id, *secret, *token;
};

static void forget(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void s3_keys_put(struct s3_keys *keys)
{
	if (!keys || __atomic_sub_fetch(&keys->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	forget(keys->id);
	forget(keys->secret);
	forget(keys->token);
	free(keys);
}

const struct sigv4_credentials *s3_credentials(const struct s3_keys *keys) { return &keys->credentials; }

struct s3_keys *s3_keys_get(struct s3 *s)
{
	pthread_mutex_lock(&s->lock);
	struct s3_keys *keys = s->keys && s->keys->expires_us > nh_clock_now(&s->clock) ? s->keys : NULL;
	if (keys)
		__atomic_add_fetch(&keys->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&s->lock);
	return keys;
}

static void keys_set(struct s3 *s, nh_slice id, nh_slice secret, nh_slice token, int64_t expires_us)
{
	struct s3_keys *keys = nh_xcalloc(1, sizeof *keys);
	*keys = (struct s3_keys){.refs = 1, .expires_us = expires_us, .id = nh_xstrdup(id), .secret = nh_xstrdup(secret), .token = nh_xstrdup(token)};
	keys->credentials = (struct sigv4_credentials){nh_slice_str(keys->id), nh_slice_str(keys->secret), nh_slice_str(keys->token), nh_slice_str(s->config.region), NH_LIT("s3")};
	pthread_mutex_lock(&s->lock);
	struct s3_keys *old = s->keys;
	s->keys = keys;
	pthread_mutex_unlock(&s->lock);
	s3_keys_put(old);
}

void s3_keys_given(struct s3 *s) { keys_set(s, nh_slice_str(s->config.key_id), nh_slice_str(s->config.secret), s->config.session_token ? nh_slice_str(s->config.session_token) : NH_SLICE_EMPTY, INT64_MAX); }

/* ---- asking ------------------------------------------------------------------------------------------------------------------ */

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
	struct nh_buf *answer = ctx;
	nh_buf_put(answer, bytes, size * count);
	return nh_buf_ok(answer) ? size * count : 0;
}

/* header: "Name: value", or NULL. */
static nh_rc ask(const char *method, const char *url, const char *header, struct nh_buf *answer, struct nh_err *err)
{
	CURL *h = curl_easy_init();
	if (!h)
		return NH_FAIL(err, NH_ENOMEM, "no memory for a request");
	struct curl_slist *headers = header ? curl_slist_append(NULL, header) : NULL;
	long status = 0;
	nh_buf_clear(answer);
	answer->max = ANSWER_MAX;
	curl_easy_setopt(h, CURLOPT_URL, url);
	curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h, CURLOPT_PROXY, "");
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, TOTAL_MS);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, answer);
	CURLcode code = curl_easy_perform(h);
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(h);
	if (code != CURLE_OK)
		return NH_FAIL(err, NH_EIO, "no credentials are given for S3, and none are to be had at %s: %s", url, curl_easy_strerror(code));
	return status == 200 ? NH_OK : NH_FAIL(err, NH_EAUTH, "no credentials are given for S3, and %s answered with %ld", url, status);
}

static nh_rc take(struct s3 *s, const char *url, nh_slice document, struct nh_err *err)
{
	NH_AUTO_JSON json_t *keys = NULL;
	int64_t expires_us = 0;
	NH_TRY_CTX(nh_json_parse(document, ANSWER_MAX, &keys, err), err, "%s: ", url);
	nh_slice id = nh_json_text(keys, "AccessKeyId"), secret = nh_json_text(keys, "SecretAccessKey"), token = nh_json_text(keys, "Token"), until = nh_json_text(keys, "Expiration");
	if (id.len == 0 || secret.len == 0 || nh_time_parse_iso(until, &expires_us) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "%s lends no keys: its answer lacks one of AccessKeyId, SecretAccessKey and Expiration", url);
	keys_set(s, id, secret, token, expires_us);
	return NH_OK;
}

/* The container's agent wants to see what it gave the container, in a text or in a file that it renews. */
static nh_rc from_container(struct s3 *s, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf answer = NH_BUF_INIT, header = NH_BUF_INIT, token = NH_BUF_INIT;
	const struct nh_s3_role *role = &s->config.role;
	if (role->container_token_file)
		NH_TRY(nh_file_read(role->container_token_file, 16384, &token, err));
	else if (role->container_token)
		nh_buf_put_str(&token, role->container_token);
	nh_slice value = nh_slice_trim(nh_buf_slice(&token));
	if (value.len > 0)
		nh_buf_printf(&header, "Authorization: %.*s", NH_ARG(value));
	nh_rc rc = ask("GET", role->container_url, value.len > 0 ? nh_buf_cstr(&header) : NULL, &answer, err);
	rc = rc == NH_OK ? take(s, role->container_url, nh_buf_slice(&answer), err) : rc;
	nh_buf_wipe(&answer);
	return rc;
}

static nh_rc from_instance(struct s3 *s, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT, header = NH_BUF_INIT, answer = NH_BUF_INIT;
	const char *at = s->config.role.metadata_url;
	nh_slice name, rest;
	nh_buf_printf(&url, "%s/latest/api/token", at);
	NH_TRY(ask("PUT", nh_buf_cstr(&url), "X-aws-ec2-metadata-token-ttl-seconds: " TOKEN_TTL, &answer, err));
	nh_buf_printf(&header, "X-aws-ec2-metadata-token: %.*s", NH_ARG(nh_slice_trim(nh_buf_slice(&answer))));
	nh_buf_clear(&url);
	nh_buf_printf(&url, "%s" ROLES_PATH, at);
	NH_TRY(ask("GET", nh_buf_cstr(&url), nh_buf_cstr(&header), &answer, err));
	nh_slice_cut(nh_slice_trim(nh_buf_slice(&answer)), '\n', &name, &rest);
	nh_uri_put(&url, nh_slice_trim(name));
	nh_rc rc = ask("GET", nh_buf_cstr(&url), nh_buf_cstr(&header), &answer, err);
	rc = rc == NH_OK ? take(s, nh_buf_cstr(&url), nh_buf_slice(&answer), err) : rc;
	nh_buf_wipe(&answer);
	return rc;
}

/* ---- */

static bool due(struct s3 *s, bool *usable)
{
	int64_t now = nh_clock_now(&s->clock);
	pthread_mutex_lock(&s->lock);
	int64_t until = s->keys ? s->keys->expires_us : 0;
	pthread_mutex_unlock(&s->lock);
	*usable = until > now;
	return until != INT64_MAX && until - RENEW_BEFORE_US <= now;
}

nh_rc s3_keys_renew(struct s3 *s, struct nh_err *err)
{
	struct nh_err why = NH_ERR_INIT;
	bool usable;
	if (!due(s, &usable))
		return NH_OK;
	pthread_mutex_lock(&s->renewing);
	nh_rc rc = NH_OK;
	if (due(s, &usable)) {
		rc = s->config.role.container_url ? from_container(s, &why) : from_instance(s, &why);
		if (rc == NH_OK)
			nh_episode_fine(&s->lending);
		else
			nh_episode_failed(&s->lending, rc, why.msg);
	}
	pthread_mutex_unlock(&s->renewing);
	if (rc == NH_OK || usable)
		return NH_OK; /* what is there serves until it expires */
	if (err)
		*err = why;
	return rc;
}
