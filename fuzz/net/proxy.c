/*
 * A proxy's address as an owner writes it (the first line), and what the proxy answers to CONNECT (the rest), in two pieces and in one: the verdicts agree, and nothing of
 * the address gets into a message.
 */
#include "base/arena.h"
#include "client_int.h"
#include "fuzz.h"

static nh_rc take(nh_slice bytes, size_t cut)
{
	struct proxy_answer a = {0};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = proxy_take(&a, nh_slice_sub(bytes, 0, cut), &err);
	if (rc == NH_EAGAIN)
		rc = proxy_take(&a, nh_slice_skip(bytes, cut), &err);
	NH_ASSERT(rc == NH_OK || rc == NH_EAGAIN || (rc == NH_EIO && err.msg[0]));
	nh_buf_fini(&a.head);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char secret[] = "hunter2";
	nh_slice address, answer;
	struct nh_proxy *proxy;
	struct nh_err err = NH_ERR_INIT;
	struct nh_http_url url;
	NH_AUTO_BUF struct nh_buf request = NH_BUF_INIT, with_secret = NH_BUF_INIT;
	nh_slice_cut(nh_slice_of(data, size), '\n', &address, &answer);
	nh_buf_printf(&with_secret, "http://%s:%.*s", secret, NH_ARG(address));
	if (nh_proxy_new(nh_buf_slice(&with_secret), address, &proxy, &err) != NH_OK && nh_slice_find(address, nh_slice_str(secret)) < 0)
		NH_ASSERT(!strstr(err.msg, secret));
	nh_proxy_free(proxy);
	if (nh_proxy_new(address, answer, &proxy, NULL) == NH_OK && nh_http_url_parse(NH_LIT("https://device.example/"), &url, NULL) == NH_OK) {
		const struct proxy_route *route = proxy_for(proxy, &url);
		if (route) {
			proxy_put_connect(&request, route, "device.example", 443);
			NH_ASSERT(nh_slice_ends(nh_buf_slice(&request), NH_LIT("\r\n\r\n")) && nh_slice_find(nh_buf_slice(&request), NH_LIT("\r\n\r\n")) == (ptrdiff_t)request.len - 4);
		}
	}
	nh_proxy_free(proxy);
	nh_rc whole = take(answer, answer.len), split = take(answer, answer.len / 2);
	/* In pieces a proxy may be believed that says more later: that is the server's part then, and TLS judges it. */
	NH_ASSERT(whole == split || split == NH_OK);
	return 0;
}
