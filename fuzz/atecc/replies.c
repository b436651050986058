/*
 * Bytes as the chip's side of the bus under a fixed sequence of commands: acknowledged or not, right frames around any payload, or anything. An error has words, the bus is given back, and what
 * comes out as data is the payload of a right frame of that length.
 */
#include "atecc/chip.h"
#include "base/cursor.h"

struct chip_side {
	struct nh_rd bytes;
	bool locked;
	uint8_t payload[256]; /* of the last right frame */
	size_t payload_len;
};

/* 0 to 7, most of them good; where the input is over the chip is gone. */
static unsigned dice(struct chip_side *c) { return nh_rd_left(&c->bytes) ? nh_rd_u8(&c->bytes) % 8 : 0; }

static nh_rc chip_wake(void *ctx, struct nh_err *err)
{
	struct chip_side *c = ctx;
	NH_ASSERT(c->locked);
	return nh_rd_left(&c->bytes) && dice(c) == 1 ? NH_FAIL(err, NH_EIO, "wake") : NH_OK;
}

static nh_rc chip_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct chip_side *c = ctx;
	struct nh_atecc_packet packet;
	NH_ASSERT(c->locked && bytes.len > 0);
	NH_ASSERT(bytes.ptr[0] != NH_ATECC_COMMAND || nh_atecc_packet_parse(nh_slice_skip(bytes, 1), &packet) == NH_OK);
	unsigned d = dice(c);
	return d == 0 ? NH_EAGAIN : d == 1 ? NH_FAIL(err, NH_EIO, "write") : NH_OK;
}

static nh_rc chip_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct chip_side *c = ctx;
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	NH_ASSERT(c->locked && len > 0 && len <= NH_ATECC_RESPONSE_MAX);
	unsigned d = dice(c);
	if (d < 2)
		return d == 0 ? NH_EAGAIN : NH_FAIL(err, NH_EIO, "read");
	size_t want = d == 2 ? len : d < 5 && len > 3 ? len - 3 : 1;
	if (want > nh_rd_left(&c->bytes))
		want = nh_rd_left(&c->bytes);
	nh_slice given = nh_rd_bytes(&c->bytes, want);
	if (d == 2 || want == 0) {
		nh_buf_put_slice(&frame, given);
	} else {
		if (d == 5 && len == 4)
			given = NH_LIT("\x11"); /* so that waking is not left to luck */
		nh_atecc_response_put(&frame, given);
		c->payload_len = given.len;
		for (size_t i = 0; i < given.len; i++)
			c->payload[i] = given.ptr[i];
	}
	for (size_t i = 0; i < len; i++)
		out[i] = i < frame.len ? frame.ptr[i] : 0xFF;
	return NH_OK;
}

static void chip_delay(void *ctx, uint32_t us) {}

static nh_rc chip_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err)
{
	struct chip_side *c = ctx;
	NH_ASSERT(!c->locked);
	c->locked = true;
	return NH_OK;
}

static void chip_unlock(void *ctx)
{
	struct chip_side *c = ctx;
	NH_ASSERT(c->locked);
	c->locked = false;
}

static void chip_close(void *ctx) { NH_ASSERT(!((struct chip_side *)ctx)->locked); }

static const struct nh_atecc_transport_ops ops = {
	.wake = chip_wake, .write = chip_write, .read = chip_read, .delay_us = chip_delay, .lock = chip_lock, .unlock = chip_unlock, .close = chip_close};

static bool done(const struct chip_side *c, nh_rc rc, const struct nh_err *err)
{
	NH_ASSERT(!c->locked && rc != NH_EAGAIN);
	NH_ASSERT(rc == NH_OK || (err->rc == rc && err->msg[0]));
	return rc == NH_OK;
}

static void is_payload(const struct chip_side *c, const uint8_t *got, size_t len)
{
	NH_ASSERT(nh_slice_eq(nh_slice_of(got, len), nh_slice_of(c->payload, c->payload_len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chip_side c = {.bytes = nh_rd_of(nh_slice_of(data, size))};
	struct nh_err err = NH_ERR_INIT;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_atecc *chip;
	uint8_t a[NH_ATECC_SLOT_MAX] = {0}, digest[32] = {1};
	uint32_t value;
	size_t len;
	bool set;
	nh_atecc_new((struct nh_atecc_transport){.ops = &ops, .ctx = &c, .name = "fuzz", .address = 0x60}, &chip);
	while (nh_rd_left(&c.bytes)) {
		if (done(&c, nh_atecc_revision(chip, a, &err), &err))
			is_payload(&c, a, 4);
		if (done(&c, nh_atecc_sign(chip, 0, digest, a, &err), &err))
			is_payload(&c, a, 64);
		if (done(&c, nh_atecc_random(chip, a, &err), &err))
			is_payload(&c, a, 32);
		if (done(&c, nh_atecc_genkey(chip, 0, a, &err), &err))
			is_payload(&c, a, 64);
		done(&c, nh_atecc_read_config(chip, a, &err), &err);
		done(&c, nh_atecc_read_slot(chip, 8, a, 400, &err), &err);
		done(&c, nh_atecc_write_slot(chip, 9, nh_slice_of(a, 72), true, &err), &err);
		done(&c, nh_atecc_lock_config(chip, 1, &err), &err);
		done(&c, nh_atecc_lock_slot(chip, 0, &err), &err);
		done(&c, nh_atecc_counter(chip, 0, true, &value, &err), &err);
		done(&c, nh_atecc_latch_get(chip, &set, &err), &err);
		done(&c, nh_atecc_latch_unlock(chip, 1, digest, &rng, &err), &err);
		done(&c, nh_atecc_sha256(chip, nh_slice_of(a, 70), digest, &err), &err);
		if (done(&c, nh_atecc_raw(chip, NH_ATECC_KDF, 0, 0, NH_SLICE_EMPTY, a, &len, &err), &err))
			is_payload(&c, a, len);
	}
	nh_atecc_free(chip);
	return 0;
}
