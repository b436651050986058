/* What a configuration must hold, and the URL it leads to. source: reference/device-protocol "2.2" */
#include "firmware/keys.h"
#include "link_int.h"

static bool is_set(const char *s) { return s && *s; }

bool link_key_valid(nh_slice text)
{
	struct nh_fw_public_key key;
	return text.len >= 43 && text.len <= 44 && nh_fw_public_key_decode(text, &key, NULL) == NH_OK;
}

nh_rc link_config_url(const struct nh_link_config *c, struct nh_arena *arena, nh_slice *out, struct nh_err *err)
{
	nh_slice host = nh_slice_trim(nh_slice_str(c->host));
	bool has_scheme = nh_slice_find(host, NH_LIT("://")) >= 0;
	const char *text = has_scheme ? nh_arena_str(arena, host) : nh_arena_printf(arena, "wss://%.*s", NH_ARG(host));
	struct nh_http_url url;
	struct nh_err why = NH_ERR_INIT;
	if (host.len == 0)
		return NH_FAIL(err, NH_EINVAL, "no server is configured (host)");
	if (host.len > LINK_URL_MAX)
		return NH_FAIL(err, NH_EINVAL, "the server's address is longer than %d characters", LINK_URL_MAX);
	if (nh_http_url_parse(nh_slice_str(text), &url, &why) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "server '%s': %s", c->host, why.msg);
	bool v6 = nh_slice_chr(url.host, ':') >= 0;
	if (c->transport == NH_LINK_POLL) {
		const char *question = nh_slice_eq_str(url.path, "/") ? "/device/update" : nh_arena_str(arena, url.path);
		*out = nh_slice_str(nh_arena_printf(arena, "%s://%s%.*s%s:%u%s", url.tls ? "https" : "http", v6 ? "[" : "", NH_ARG(url.host), v6 ? "]" : "", (unsigned)url.port, question));
		return NH_OK;
	}
	const char *path = nh_slice_eq_str(url.path, "/") ? (c->secret ? "/device-socket/websocket" : "/socket/websocket") : nh_arena_str(arena, url.path);
	*out = nh_slice_str(nh_arena_printf(arena, "%s://%s%.*s%s:%u%s?%s", url.tls ? "wss" : "ws", v6 ? "[" : "", NH_ARG(url.host), v6 ? "]" : "", (unsigned)url.port, path,
					    url.query.len ? nh_arena_str(arena, url.query) : c->msgpack ? "vsn=3.0.0" : "vsn=2.0.0"));
	if (!link_config_codec(*out))
		return NH_FAIL(err, NH_EINVAL, "server '%s': no wire format of that vsn (1.0.0, 2.0.0 or 3.0.0)", c->host);
	return NH_OK;
}

bool link_config_secure(nh_slice url) { return nh_slice_starts(url, NH_LIT("wss:")) || nh_slice_starts(url, NH_LIT("https:")); }

static nh_rc check_proxy(const struct nh_link_config *c, struct nh_err *err)
{
	struct nh_proxy *proxy = NULL;
	nh_rc rc = c->proxy ? nh_proxy_new(nh_slice_str(c->proxy), nh_slice_str(c->proxy_bypass), &proxy, err) : NH_OK;
	nh_proxy_free(proxy);
	return rc;
}

const struct nh_phoenix_codec *link_config_codec(nh_slice url)
{
	nh_slice query, part, vsn = NH_SLICE_EMPTY;
	nh_slice_cut(url, '?', &part, &query);
	while (query.len > 0) {
		nh_slice_cut(query, '&', &part, &query);
		if (nh_slice_starts(part, NH_LIT("vsn=")))
			vsn = nh_slice_skip(part, 4);
	}
	return nh_phoenix_codec_for_vsn(vsn);
}

nh_rc nh_link_config_check(const struct nh_link_config *c, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice url;
	bool token = is_set(c->pkcs11), element = is_set(c->nerveskey), secret = c->secret || c->secret_key;
	bool cert = c->key_pem.len > 0 || (c->cert_pem.len > 0 && !token);
	NH_ASSERT(c->platform && c->platform->read_state);
	NH_TRY(link_config_url(c, &arena, &url, err));
	if (cert + secret + element + token > 1)
		return NH_FAIL(err, NH_EINVAL, "more than one of certificate, shared secret, NervesKey and PKCS#11 token is configured; a device has one identity");
	if (!cert && !secret && !element && !token)
		return NH_FAIL(err, NH_EINVAL, "no identity is configured: give a certificate and its key, a NervesKey, a PKCS#11 token, or a shared secret");
	if (cert && (c->cert_pem.len == 0 || c->key_pem.len == 0))
		return NH_FAIL(err, NH_EINVAL, "%s", c->cert_pem.len ? "a certificate without its key" : "a key without its certificate");
	if (secret && c->transport == NH_LINK_POLL)
		return NH_FAIL(err, NH_EINVAL, "polling needs a certificate: servers answer the questions of a device with a shared secret on a channel only");
	if (!secret && !link_config_secure(url))
		return NH_FAIL(err, NH_EINVAL, "a certificate needs TLS: use wss:// instead of ws://");
	if (secret && (!is_set(c->secret) || !is_set(c->secret_key) || !is_set(c->identifier)))
		return NH_FAIL(err, NH_EINVAL, "a shared secret needs its key (nhp_… or nhd_…), the secret and the device's identifier");
	if (secret && !nh_slice_starts(nh_slice_str(c->secret_key), NH_LIT("nhp_")) && !nh_slice_starts(nh_slice_str(c->secret_key), NH_LIT("nhd_")))
		return NH_FAIL(err, NH_EINVAL, "shared secret key '%s' starts neither with nhp_ nor with nhd_", c->secret_key);
	if (c->public_key_count > LINK_KEYS_MAX)
		return NH_FAIL(err, NH_EINVAL, "more than %d firmware public keys", LINK_KEYS_MAX);
	for (size_t i = 0; i < c->public_key_count; i++)
		if (!link_key_valid(nh_slice_str(c->public_keys[i])))
			return NH_FAIL(err, NH_EINVAL, "firmware public key '%s' is not 32 bytes in base64", c->public_keys[i]);
	if (c->fetch != NH_LINK_STREAMING && !is_set(c->cache_dir))
		return NH_FAIL(err, NH_EINVAL, "downloads that are kept in files need a folder for them");
	if (c->backoff.delays_ms && c->backoff.count == 0)
		return NH_FAIL(err, NH_EINVAL, "an empty list of reconnect delays");
	return check_proxy(c, err);
}
