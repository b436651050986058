/*
 * Body decoder: by length, chunked, or until the connection ends. A state machine over bytes for the chunk framing, views for the data. Chunk
 * extensions are skipped within a cap, trailers are checked for form and dropped.
 *
 * source: RFC 9112 6, 7
 */
#include "net/http_parser.h"

#define CHUNK_LINE_MAX 256
#define TRAILER_MAX 4096
#define CHUNK_DIGITS_MAX 15 /* less than 2^60: sums cannot overflow */

enum state {
	ST_DATA,         /* LENGTH, UNTIL_CLOSE and the data of a chunk */
	ST_SIZE,
	ST_EXTENSION,
	ST_SIZE_LF,
	ST_DATA_CR,
	ST_DATA_LF,
	ST_TRAILER,      /* at the start of a trailer line */
	ST_TRAILER_NAME,
	ST_TRAILER_LINE,
	ST_TRAILER_LF,
	ST_END_LF,
	ST_DONE,
};

void nh_http_body_init(struct nh_http_body *b, nh_http_framing framing, uint64_t content_length, uint64_t max_bytes)
{
	*b = (struct nh_http_body){.framing = framing, .max_bytes = max_bytes};
	if (framing == NH_HTTP_CHUNKED)
		b->state = ST_SIZE;
	else if (framing == NH_HTTP_LENGTH)
		b->left = content_length;
	if (framing == NH_HTTP_NO_BODY || (framing == NH_HTTP_LENGTH && content_length == 0))
		b->state = ST_DONE;
}

static nh_rc too_big(const struct nh_http_body *b, struct nh_err *err)
{
	return NH_FAIL(err, NH_ETOOBIG, "body over %llu bytes", (unsigned long long)b->max_bytes);
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Framing bytes cost the sender, and are capped, line by line. */
static nh_rc count_byte(struct nh_http_body *b, uint16_t max, struct nh_err *err)
{
	if (++b->line_len > max)
		return NH_FAIL(err, NH_ETOOBIG, max == TRAILER_MAX ? "trailers over 4096 bytes" : "chunk size line over 256 bytes");
	return NH_OK;
}

static nh_rc size_digit(struct nh_http_body *b, uint8_t c, struct nh_err *err)
{
	int digit = hex_digit(c);
	if (digit >= 0) {
		if (++b->digits > CHUNK_DIGITS_MAX)
			return NH_FAIL(err, NH_EFORMAT, "chunk size with too many digits");
		b->left = b->left << 4 | (unsigned)digit;
		return NH_OK;
	}
	if (b->digits == 0 || (c != ';' && c != '\r'))
		return NH_FAIL(err, NH_EFORMAT, "chunk without a size");
	b->state = c == ';' ? ST_EXTENSION : ST_SIZE_LF;
	return NH_OK;
}

static nh_rc expect_lf(struct nh_http_body *b, uint8_t c, enum state next, struct nh_err *err)
{
	if (c != '\n')
		return NH_FAIL(err, NH_EFORMAT, "carriage return without line feed in the chunk framing");
	b->state = (uint8_t)next;
	return NH_OK;
}

static nh_rc chunk_begins(struct nh_http_body *b, struct nh_err *err)
{
	if (b->max_bytes && b->left > b->max_bytes - b->total)
		return too_big(b, err);
	b->line_len = 0;
	b->digits = 0;
	if (b->left == 0)
		b->state = ST_TRAILER;
	return NH_OK;
}

/* One byte of chunk framing. */
static nh_rc frame_byte(struct nh_http_body *b, uint8_t c, struct nh_err *err)
{
	switch ((enum state)b->state) {
	case ST_SIZE:
		NH_TRY(count_byte(b, CHUNK_LINE_MAX, err));
		return size_digit(b, c, err);
	case ST_EXTENSION:
		NH_TRY(count_byte(b, CHUNK_LINE_MAX, err));
		if (c == '\r')
			b->state = ST_SIZE_LF;
		else if ((c < 0x20 && c != '\t') || c == 0x7f)
			return NH_FAIL(err, NH_EFORMAT, "control character in a chunk extension");
		return NH_OK;
	case ST_SIZE_LF:
		NH_TRY(expect_lf(b, c, ST_DATA, err));
		return chunk_begins(b, err);
	case ST_DATA_CR:
		if (c != '\r')
			return NH_FAIL(err, NH_EFORMAT, "chunk longer than its size");
		b->state = ST_DATA_LF;
		return NH_OK;
	case ST_DATA_LF:
		return expect_lf(b, c, ST_SIZE, err);
	case ST_TRAILER:
		NH_TRY(count_byte(b, TRAILER_MAX, err));
		if (c == '\r')
			b->state = ST_END_LF;
		else if (!nh_http_is_token_char(c))
			return NH_FAIL(err, NH_EFORMAT, "invalid trailer");
		else
			b->state = ST_TRAILER_NAME;
		return NH_OK;
	case ST_TRAILER_NAME:
		NH_TRY(count_byte(b, TRAILER_MAX, err));
		if (c == ':')
			b->state = ST_TRAILER_LINE;
		else if (!nh_http_is_token_char(c))
			return NH_FAIL(err, NH_EFORMAT, "invalid trailer name");
		return NH_OK;
	case ST_TRAILER_LINE:
		NH_TRY(count_byte(b, TRAILER_MAX, err));
		if (c == '\r')
			b->state = ST_TRAILER_LF;
		else if ((c < 0x20 && c != '\t') || c == 0x7f)
			return NH_FAIL(err, NH_EFORMAT, "control character in a trailer");
		return NH_OK;
	case ST_TRAILER_LF:
		return expect_lf(b, c, ST_TRAILER, err);
	case ST_END_LF:
		return expect_lf(b, c, ST_DONE, err);
	case ST_DATA:
	case ST_DONE:
		break;
	}
	return NH_FAIL(err, NH_EINTERNAL, "body decoder in state %u", b->state);
}

/* Data at in[*consumed]: gives one view. */
static nh_rc take_data(struct nh_http_body *b, nh_slice in, size_t *consumed, nh_slice *data, struct nh_err *err)
{
	size_t n = in.len - *consumed;
	bool bounded = b->framing != NH_HTTP_UNTIL_CLOSE;
	if (bounded && n > b->left)
		n = (size_t)b->left;
	if (b->max_bytes && n > b->max_bytes - b->total)
		return too_big(b, err);
	*data = nh_slice_sub(in, *consumed, n);
	*consumed += n;
	b->total += n;
	if (bounded) {
		b->left -= n;
		if (b->left == 0)
			b->state = b->framing == NH_HTTP_CHUNKED ? ST_DATA_CR : ST_DONE;
	}
	return NH_OK;
}

nh_rc nh_http_body_feed(struct nh_http_body *b, nh_slice in, size_t *consumed, nh_slice *data, bool *done, struct nh_err *err)
{
	*consumed = 0;
	*data = NH_SLICE_EMPTY;
	*done = false;
	if (b->framing == NH_HTTP_LENGTH && b->max_bytes && b->total + b->left > b->max_bytes)
		return too_big(b, err);
	while (b->state != ST_DONE && *consumed < in.len) {
		if (b->state == ST_DATA) {
			if (data->len > 0)
				return NH_OK; /* one piece a call */
			NH_TRY(take_data(b, in, consumed, data, err));
			continue;
		}
		NH_TRY(frame_byte(b, in.ptr[*consumed], err));
		(*consumed)++;
	}
	*done = b->state == ST_DONE;
	return NH_OK;
}

nh_rc nh_http_body_eof(const struct nh_http_body *b)
{
	return b->state == ST_DONE || b->framing == NH_HTTP_UNTIL_CLOSE ? NH_OK : NH_ECLOSED;
}
