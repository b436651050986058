/*
 * A chip that says anything: configuration, one-time zone, slots and public key are the input's bytes, and everything that reads a NervesKey reads it. Texts that come out are printable, certificates that come out
 * verify, reading writes nothing, and repair locks nothing but what lacks its last lock.
 *
 * Input: configuration (128), one-time zone (64), public key (64), slots in order (1208); what is missing is zero.
 */
#include "atecc/packet.h"
#include "base/cursor.h"
#include "nerveskey/nerveskey.h"

struct image {
	uint8_t config[NH_ATECC_CONFIG_LEN], otp[NH_ATECC_OTP_LEN], public_key[NH_P256_PUBLIC_LEN];
	uint8_t slots[NH_ATECC_SLOTS][NH_ATECC_SLOT_MAX + NH_ATECC_BLOCK];
	struct nh_buf answer;
	bool burning; /* a lock or a new key was asked for */
};

static void take(struct nh_rd *r, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len && nh_rd_left(r); i++)
		out[i] = nh_rd_u8(r);
}

static void answer_read(struct image *image, const struct nh_atecc_packet *p)
{
	size_t len = p->param1 & 0x80 ? NH_ATECC_BLOCK : NH_ATECC_WORD;
	unsigned slot = p->param2 >> 3 & 15, at = (p->param2 >> 8) * 32u + (p->param2 & 7u) * 4u;
	const uint8_t *zone = image->slots[slot];
	size_t size = nh_atecc_slot_len(slot) + NH_ATECC_BLOCK;
	if ((p->param1 & 3) != NH_ATECC_ZONE_DATA) {
		zone = p->param1 & 1 ? image->otp : image->config;
		size = p->param1 & 1 ? sizeof image->otp : sizeof image->config;
		at = (p->param2 & 0x1F) * 4u;
	}
	NH_ASSERT(at + len <= size); /* the driver never asks beyond a zone */
	nh_atecc_response_put(&image->answer, nh_slice_of(zone + at, len));
}

static nh_rc chip_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct image *image = ctx;
	struct nh_atecc_packet p;
	static const uint8_t refused = NH_ATECC_EXECUTION_ERROR;
	if (bytes.len < 2 || nh_atecc_packet_parse(nh_slice_skip(bytes, 1), &p) != NH_OK)
		return NH_OK;
	nh_buf_clear(&image->answer);
	image->burning |= p.opcode == NH_ATECC_LOCK || p.opcode == NH_ATECC_WRITE || (p.opcode == NH_ATECC_GENKEY && p.param1 == 4);
	if (p.opcode == NH_ATECC_READ)
		answer_read(image, &p);
	else if (p.opcode == NH_ATECC_GENKEY)
		nh_atecc_response_put(&image->answer, nh_slice_of(image->public_key, sizeof image->public_key));
	else
		nh_atecc_response_put(&image->answer, nh_slice_of(&refused, 1));
	return NH_OK;
}

static nh_rc chip_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct image *image = ctx;
	for (size_t i = 0; i < len; i++)
		out[i] = i < image->answer.len ? image->answer.ptr[i] : 0xFF;
	return NH_OK;
}

static nh_rc chip_wake(void *ctx, struct nh_err *err)
{
	struct image *image = ctx;
	static const uint8_t awake = NH_ATECC_AFTER_WAKE;
	nh_buf_clear(&image->answer);
	nh_atecc_response_put(&image->answer, nh_slice_of(&awake, 1));
	return NH_OK;
}

static void chip_delay(void *ctx, uint32_t us) {}
static nh_rc chip_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err) { return NH_OK; }
static void chip_unlock(void *ctx) {}
static void chip_close(void *ctx) {}

static void check_text(const char *text)
{
	NH_ASSERT(nh_utf8_valid(nh_slice_str(text)));
	for (size_t i = 0; text[i]; i++)
		NH_ASSERT((uint8_t)text[i] >= 0x20 && text[i] != 0x7F);
}

static void read_all(struct nh_nerveskey *key, struct image *image)
{
	struct nh_nerveskey_info info;
	struct nh_err err = NH_ERR_INIT;
	NH_ASSERT(nh_nerveskey_info_read(key, &info, &err) == NH_OK);
	check_text(info.manufacturer_serial);
	check_text(info.otp.board_name);
	check_text(info.mac);
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_nerveskey_slot_describe(info.config, slot, &text);
		nh_buf_truncate(&text, text.len - 1); /* the line's end */
		check_text(nh_buf_cstr(&text));
	}
	for (unsigned pair = 0; pair < 2; pair++) {
		NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT;
		struct nh_nerveskey_certificate c;
		if (nh_nerveskey_signer_certificate(key, (nh_nerveskey_pair)pair, &signer, &err) == NH_OK && info.state.kind != NH_NERVESKEY_TRUST_AND_GO) {
			NH_ASSERT(nh_nerveskey_certificate_parse(nh_buf_slice(&signer), &c, &err) == NH_OK);
			NH_ASSERT(nh_nerveskey_certificate_check(nh_buf_slice(&signer), c.public_key, &err) == NH_OK);
		}
		if (nh_nerveskey_device_certificate(key, (nh_nerveskey_pair)pair, &device, &err) == NH_OK) {
			NH_ASSERT(nh_nerveskey_certificate_parse(nh_buf_slice(&device), &c, &err) == NH_OK);
			NH_ASSERT(memcmp(c.public_key, image->public_key, sizeof c.public_key) == 0);
		}
	}
	NH_AUTO_BUF struct nh_buf settings = NH_BUF_INIT;
	NH_IGNORE(nh_nerveskey_settings_read(key, &settings, &err));
	NH_ASSERT(settings.len <= NH_NERVESKEY_SETTINGS_MAX && !image->burning);
	NH_IGNORE(nh_nerveskey_repair(key, &err));
	NH_ASSERT(!image->burning || info.state.stage == NH_NERVESKEY_STAGE_KEY_OPEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct nh_atecc_transport_ops ops = {chip_wake, chip_write, chip_read, chip_delay, chip_lock, chip_unlock, chip_close};
	static struct image image;
	struct nh_rd r = nh_rd_of(nh_slice_of(data, size));
	struct nh_atecc *chip = NULL;
	struct nh_nerveskey *key = NULL;
	image = (struct image){0};
	take(&r, image.config, sizeof image.config);
	take(&r, image.otp, sizeof image.otp);
	take(&r, image.public_key, sizeof image.public_key);
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		take(&r, image.slots[slot], nh_atecc_slot_len(slot));
	nh_atecc_new((struct nh_atecc_transport){.ops = &ops, .ctx = &image, .name = "any chip", .address = NH_ATECC_ADDRESS}, &chip);
	nh_nerveskey_new(chip, &key);
	read_all(key, &image);
	nh_nerveskey_close(key);
	nh_buf_fini(&image.answer);
	return 0;
}
