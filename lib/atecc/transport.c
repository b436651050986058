/*
 * Names of transports: which kind, which bus, which address.
 * source: reference/nerveskey "2.1", "2.7"
 */
#include "atecc/transport.h"

#include <errno.h>
#include <time.h>

#include "atecc/packet.h"
#include "base/encode.h"
#include "transport_int.h"

#define PATH_LEN_MAX 4096u
#define ADDRESS_MIN 0x03u
#define ADDRESS_MAX 0x77u
#define BUS_MAX 1048575u /* minors of character devices */

void nh_atecc_sleep_us(void *ctx, uint32_t us)
{
	struct timespec left = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* "0x60" or "96"; "0xC0", which as a 7-bit address does not exist, is 0x60 in the 8-bit notation of data sheets. */
static bool address_parse(nh_slice text, uint8_t *out)
{
	uint64_t n = 0;
	if (nh_slice_starts(text, NH_LIT("0x")) || nh_slice_starts(text, NH_LIT("0X"))) {
		nh_slice digits = nh_slice_skip(text, 2);
		uint8_t byte;
		if (digits.len != 2 || nh_hex_decode_fixed(digits, &byte, 1) != NH_OK)
			return false;
		n = byte;
	} else if (nh_parse_u64(text, 0, 0xFF, &n) != NH_OK) {
		return false;
	}
	if (n > ADDRESS_MAX && n % 2 == 0)
		n /= 2;
	*out = (uint8_t)n;
	return n >= ADDRESS_MIN && n <= ADDRESS_MAX;
}

/* Cuts "@ADDRESS" from the end of *text. An @ followed by anything but a number belongs to a path. */
static nh_rc address_cut(nh_slice *text, uint8_t *address, struct nh_err *err)
{
	size_t at = text->len;
	while (at > 0 && text->ptr[at - 1] != '@')
		at--;
	if (at == 0)
		return NH_OK;
	nh_slice number = nh_slice_skip(*text, at);
	uint64_t any;
	if (!nh_slice_starts(number, NH_LIT("0x")) && !nh_slice_starts(number, NH_LIT("0X")) && nh_parse_u64(number, 0, UINT64_MAX, &any) != NH_OK)
		return NH_OK;
	if (!address_parse(number, address))
		return NH_FAIL(err, NH_EINVAL, "address %.*s: expected a 7-bit I2C address, 0x%02x to 0x%02x", NH_ARG(number), ADDRESS_MIN, ADDRESS_MAX);
	*text = nh_slice_sub(*text, 0, at - 1);
	return NH_OK;
}

/* Cuts "?address=…" from the end of a URI's rest. */
static nh_rc query_cut(nh_slice *text, uint8_t *address, struct nh_err *err)
{
	nh_slice path, query;
	if (!nh_slice_cut(*text, '?', &path, &query))
		return NH_OK;
	if (!nh_slice_starts(query, NH_LIT("address=")) || !address_parse(nh_slice_skip(query, 8), address))
		return NH_FAIL(err, NH_EINVAL, "\"?%.*s\": expected ?address= and a 7-bit I2C address, 0x%02x to 0x%02x", NH_ARG(query), ADDRESS_MIN, ADDRESS_MAX);
	*text = path;
	return NH_OK;
}

/* Opens what open makes of path, with everything filled in that messages use. */
static nh_rc open_as(nh_rc (*open)(const char *, struct nh_atecc_transport *, struct nh_err *), const char *what, const char *path, uint8_t address, struct nh_atecc_transport *out,
		     struct nh_err *err)
{
	struct nh_buf name = NH_BUF_INIT;
	*out = (struct nh_atecc_transport){.address = address};
	if (address)
		nh_buf_printf(&name, "%s%s address 0x%02x", what, path, address);
	else
		nh_buf_printf(&name, "%s%s", what, path); /* a recording brings its own */
	nh_slice fits = nh_slice_sub(nh_buf_slice(&name), 0, sizeof out->name - 1);
	memmove(out->name, fits.ptr, fits.len);
	nh_buf_fini(&name);
	nh_rc rc = open(path, out, err);
	if (rc != NH_OK)
		*out = (struct nh_atecc_transport){0};
	return rc;
}

static nh_rc path_take(nh_slice text, struct nh_buf *path, struct nh_err *err)
{
	if (text.len == 0 || text.len > PATH_LEN_MAX || nh_slice_chr(text, 0) >= 0)
		return NH_FAIL(err, NH_EINVAL, "a path has 1 to %u bytes", PATH_LEN_MAX);
	nh_buf_put_slice(path, text);
	return nh_buf_check(path, "path", err);
}

/* ---- one function a form: rest is what follows the prefix */

static nh_rc i2c_number(nh_slice rest, uint8_t address, struct nh_atecc_transport *out, struct nh_err *err)
{
	uint64_t bus;
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	if (nh_parse_u64(rest, 0, BUS_MAX, &bus) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "I2C bus \"%.*s\": expected its number, as in i2c-1", NH_ARG(rest));
	nh_buf_printf(&path, "/dev/i2c-%u", (unsigned)bus);
	return open_as(nh_atecc_i2c_open, "", nh_buf_cstr(&path), address, out, err);
}

static nh_rc open_i2c(nh_slice rest, struct nh_atecc_transport *out, struct nh_err *err)
{
	uint8_t address = NH_ATECC_ADDRESS;
	NH_TRY(address_cut(&rest, &address, err));
	return i2c_number(rest, address, out, err);
}

static nh_rc open_i2c_uri(nh_slice rest, struct nh_atecc_transport *out, struct nh_err *err)
{
	uint8_t address = NH_ATECC_ADDRESS;
	NH_TRY(query_cut(&rest, &address, err));
	return i2c_number(rest, address, out, err);
}

static nh_rc open_sim(nh_slice rest, struct nh_atecc_transport *out, struct nh_err *err)
{
	uint8_t address = NH_ATECC_ADDRESS;
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	NH_TRY(address_cut(&rest, &address, err));
	NH_TRY(path_take(rest, &path, err));
	return open_as(nh_atecc_sim_open, "simulator ", nh_buf_cstr(&path), address, out, err);
}

static nh_rc open_sim_uri(nh_slice rest, struct nh_atecc_transport *out, struct nh_err *err)
{
	uint8_t address = NH_ATECC_ADDRESS;
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	NH_TRY(query_cut(&rest, &address, err));
	if (rest.len > PATH_LEN_MAX || rest.len == 0 || rest.ptr[0] != '/' || nh_uri_decode(rest, false, &path) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "nerveskey+sim://%.*s: expected an absolute path, as in nerveskey+sim:///run/nerveskey.sock", NH_ARG(rest));
	return open_as(nh_atecc_sim_open, "simulator ", nh_buf_cstr(&path), address, out, err);
}

static nh_rc open_record(nh_slice rest, struct nh_atecc_transport *out, struct nh_err *err)
{
	nh_slice file, spec;
	struct nh_atecc_transport inner;
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, inner_spec = NH_BUF_INIT;
	if (!nh_slice_cut(rest, ',', &file, &spec) || nh_slice_starts(spec, NH_LIT("record:")))
		return NH_FAIL(err, NH_EINVAL, "record:%.*s: expected record:FILE,BUS", NH_ARG(rest));
	NH_TRY(path_take(file, &path, err));
	NH_TRY(path_take(spec, &inner_spec, err));
	NH_TRY(nh_atecc_transport_open(nh_buf_cstr(&inner_spec), &inner, err));
	return nh_atecc_record_open(nh_buf_cstr(&path), inner, out, err);
}

static nh_rc open_replay(nh_slice rest, struct nh_atecc_transport *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	NH_TRY(path_take(rest, &path, err));
	return open_as(nh_atecc_replay_open, "recording ", nh_buf_cstr(&path), 0, out, err);
}

static const struct {
	const char *prefix;
	nh_rc (*open)(nh_slice rest, struct nh_atecc_transport *out, struct nh_err *err);
} forms[] = {
	{"i2c-", open_i2c},
	{"i2c:", open_i2c},
	{"/dev/i2c-", open_i2c},
	{"nerveskey://i2c-", open_i2c_uri},
	{"sim:", open_sim},
	{"nerveskey+sim://", open_sim_uri},
	{"record:", open_record},
	{"replay:", open_replay},
};

nh_rc nh_atecc_transport_open(const char *spec, struct nh_atecc_transport *out, struct nh_err *err)
{
	nh_slice text = nh_slice_str(spec);
	*out = (struct nh_atecc_transport){0};
	for (size_t i = 0; i < NH_ARRAY_LEN(forms); i++)
		if (nh_slice_starts(text, nh_slice_str(forms[i].prefix)))
			return forms[i].open(nh_slice_skip(text, strlen(forms[i].prefix)), out, err);
	return NH_FAIL(err, NH_EINVAL, "bus \"%.200s\": expected i2c-1, /dev/i2c-1@0x60, sim:PATH, replay:FILE or record:FILE,BUS", spec);
}

void nh_atecc_transport_close(struct nh_atecc_transport *t)
{
	if (t->ops)
		t->ops->close(t->ctx);
	*t = (struct nh_atecc_transport){0};
}
