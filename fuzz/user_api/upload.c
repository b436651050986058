/*
 * Uploads of firmware and archives as they arrive: a multipart body in pieces of any size through the route's sink into the object store, inspection of the archive, the
 * row. The first byte chooses the size of the pieces, the second who asks, for what, and whether the peer goes away in the middle; then the body with the
 * boundary "b". Where the body is no form, it is the archive inside one: archives as they are serve as inputs.
 */
#include "world.h"

#define FORM_HEAD "--b\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"x.fw\"\r\n\r\n"
#define FORM_TAIL "\r\n--b--\r\n"

struct input {
	size_t piece;
	fuzz_person person;
	bool cut, archive;
	nh_slice body;
};

static bool count_object(void *ctx, const char *key, uint64_t size)
{
	++*(size_t *)ctx;
	return true;
}

/* False where the peer went away, so that nobody is there to be answered. */
static bool stream(struct nh_request *req, struct nh_response *res, const struct input *in)
{
	const struct nh_body_sink *sink = req->route->sink;
	nh_slice rest = in->cut ? nh_slice_sub(in->body, 0, in->body.len / 2) : in->body;
	req->stream_rc = NH_OK;
	for (; rest.len > 0 && req->stream_rc == NH_OK; rest = nh_slice_skip(rest, in->piece))
		req->stream_rc = sink->data(NULL, req->stream, nh_slice_sub(rest, 0, in->piece));
	if (in->cut)
		sink->abort(NULL, req->stream);
	else
		req->route->handle(req, res);
	return !in->cut;
}

static void play(void *arg)
{
	const struct input *in = arg;
	struct fuzz_api *w = fuzz_api_world();
	struct fuzz_ask a;
	size_t objects = 0;
	bool answered = true;
	fuzz_api_begin(w, in->body);
	fuzz_ask_open(w, &a, in->person, in->archive ? NH_LIT("POST /api/orgs/acme/products/-/archives") : NH_LIT("POST /api/orgs/acme/products/-/firmwares"));
	struct nh_request *req = &a.ex.request;
	fuzz_ask_header(&a, "content-type", NH_LIT("multipart/form-data; boundary=b"));
	if (req->route->sink->begin(req, &a.ex.response, &req->stream) == NH_OK)
		answered = stream(req, &a.ex.response, in);
	if (answered) {
		fuzz_ask_check(&a);
		fuzz_ask_check_role(&a);
	}
	/* What was refused leaves nothing; what was taken is there. */
	FUZZ_CHECK(nh_objects_list(w->objects, "", count_object, &objects, NULL) == NH_OK, "objects");
	FUZZ_CHECK(objects == (a.ex.response.status == 201), "%zu objects after %u", objects, a.ex.response.status);
	fuzz_ask_close(&a);
	fuzz_api_end(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice in = nh_slice_of(data, size);
	struct fuzz_api *w = fuzz_api_world();
	uint8_t piece = fuzz_byte(&in), how = fuzz_byte(&in);
	NH_AUTO_BUF struct nh_buf form = NH_BUF_INIT;
	bool plain = !nh_slice_starts(in, NH_LIT("--b")), archive = how & 0x10;
	if (plain)
		nh_buf_printf(&form, FORM_HEAD, archive ? "archive" : "firmware");
	nh_buf_put_slice(&form, in);
	if (plain)
		nh_buf_put_str(&form, FORM_TAIL);
	struct input input = {.piece = piece ? (size_t)piece * 7 : SIZE_MAX / 2, .person = (fuzz_person)(how & 3), .cut = (how & 0xc) == 0xc, .archive = archive, .body = nh_buf_slice(&form)};
	fuzz_db_play(w->db, play, &input);
	return 0;
}
