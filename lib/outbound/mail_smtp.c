/*
 * One message to an SMTP server, by libcurl: TLS from the first byte or by STARTTLS and never without, certificate checked, bounded in time.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "mail_int.h"

#define CONNECT_MS 10000L
#define ALL_MS 60000L

/* ---- versions of TLS ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	long least, most;
} versions[] = {
	{"tlsv1.2", CURL_SSLVERSION_TLSv1_2, CURL_SSLVERSION_MAX_TLSv1_2},
	{"tlsv1.3", CURL_SSLVERSION_TLSv1_3, CURL_SSLVERSION_MAX_TLSv1_3},
};

/* From the least to the most that is named; TLS 1.0 and 1.1, which upstream would still take, are no names here. */
static nh_rc tls_versions(const char *text, long *out, struct nh_err *err)
{
	size_t least = NH_ARRAY_LEN(versions), most = 0;
	nh_slice item, rest = nh_slice_str(text);
	while (rest.len > 0) {
		size_t i = 0;
		nh_slice_cut(rest, ',', &item, &rest);
		while (i < NH_ARRAY_LEN(versions) && !nh_slice_ieq(nh_slice_trim(item), nh_slice_str(versions[i].name)))
			i++;
		if (i == NH_ARRAY_LEN(versions))
			return NH_FAIL(err, NH_EINVAL, "SMTP_TLS_VERSIONS holds '%.*s'; expected tlsv1.2, tlsv1.3 or both", NH_ARG(item));
		least = i < least ? i : least;
		most = i > most ? i : most;
	}
	*out = least == NH_ARRAY_LEN(versions) ? CURL_SSLVERSION_TLSv1_2 : versions[least].least | versions[most].most;
	return NH_OK;
}

nh_rc mail_smtp_check(const struct nh_mailer_config *config, struct nh_err *err)
{
	long ignored;
	return tls_versions(config->tls_versions, &ignored, err);
}

/* ---- sending -------------------------------------------------------------------------------------------------------------- */

struct upload {
	nh_slice rest;
	const bool *stopping;
};

static size_t on_read(char *into, size_t size, size_t count, void *ctx)
{
	struct upload *u = ctx;
	nh_slice part = nh_slice_sub(u->rest, 0, size * count);
	memcpy(into, part.ptr ? part.ptr : (const uint8_t *)"", part.len);
	u->rest = nh_slice_skip(u->rest, part.len);
	return part.len;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) { return __atomic_load_n(((struct upload *)ctx)->stopping, __ATOMIC_ACQUIRE); }

static void set_up(CURL *curl, const struct nh_mailer_config *c, const char *url, const char *from, struct curl_slist *to, struct upload *upload, long tls)
{
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* none of the environment's */
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USE_SSL, (long)CURLUSESSL_ALL);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, tls);
	if (*c->ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca_file);
	if (*c->username) {
		curl_easy_setopt(curl, CURLOPT_USERNAME, c->username);
		curl_easy_setopt(curl, CURLOPT_PASSWORD, c->password);
	}
	curl_easy_setopt(curl, CURLOPT_MAIL_FROM, from);
	curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, to);
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, upload);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, upload);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ALL_MS);
}

/* A refusal of the recipient or the message is for good; one of our name and password, or a server that is away, is not. */
static nh_rc judge(CURLcode code, long status, const struct nh_mailer_config *c, bool *for_good, struct nh_err *err)
{
	*for_good = status >= 550 && status < 560 && code != CURLE_LOGIN_DENIED && code != CURLE_USE_SSL_FAILED;
	nh_rc rc = code == CURLE_LOGIN_DENIED ? NH_EAUTH : code == CURLE_OPERATION_TIMEDOUT ? NH_ETIMEOUT : NH_EIO;
	return NH_FAIL(err, rc, "%s:%u: %s (last answer %ld)", c->server, c->port, curl_easy_strerror(code), status);
}

nh_rc mail_smtp_send(const struct nh_mailer_config *c, nh_slice to, nh_slice message, const bool *stopping, bool *for_good, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct upload upload = {message, stopping};
	long tls, status = 0;
	*for_good = false;
	NH_TRY(tls_versions(c->tls_versions, &tls, err));
	const char *url = nh_arena_printf(&arena, "%s://%s:%u", c->ssl ? "smtps" : "smtp", c->server, c->port);
	const char *from = nh_arena_printf(&arena, "<%s>", c->style.from_email);
	struct curl_slist *list = curl_slist_append(NULL, nh_arena_printf(&arena, "<%.*s>", NH_ARG(to)));
	CURL *curl = curl_easy_init();
	CURLcode code = CURLE_OUT_OF_MEMORY;
	if (curl && list) {
		set_up(curl, c, url, from, list, &upload, tls);
		code = curl_easy_perform(curl);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	}
	curl_easy_cleanup(curl);
	curl_slist_free_all(list);
	return code == CURLE_OK ? NH_OK : judge(code, status, c, for_good, err);
}
