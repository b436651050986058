/* Commands of the curve and the 608's engines: GenKey, Sign, Verify, ECDH, SHA, AES, KDF, SecureBoot; counters and the bytes that are written once. */
#include "chip_host.h"

#include <nettle/hmac.h>

enum {
	SIGNER = 0,      /* signs what it is given, ECDH to the bus */
	ATTEST = 1,      /* internal signatures only */
	ECDH_SLOT = 2,   /* ECDH to slot 3 */
	ECDH_TARGET = 3,
	HIDDEN = 4,      /* its public key may not be computed; GenKey not after the data lock */
	AES_SLOT = 5,
	IO_SLOT = 6,
	SECRET = 7,
	STORE = 8,
	PUBLIC = 9,      /* verifies as it is */
	PARENT = 10,
	CHILD = 11,      /* to be validated by PARENT, writable while it is not valid */
};
static const uint16_t slot_configs[NH_ATECC_SLOTS] = {
	[SIGNER] = 0x2087, [ATTEST] = 0x2082, [ECDH_SLOT] = 0x208C, [ECDH_TARGET] = 0x0F0F, [HIDDEN] = 0x0087, [AES_SLOT] = 0x0F0F, [IO_SLOT] = 0x8F80, [SECRET] = 0x8F80,
	[STORE] = 0x0F0F, [PUBLIC] = 0x0F0F, [PARENT] = 0x0F0F, [CHILD] = 0x1F0A, [12] = 0x0F0F, [13] = 0x0F0F, [14] = 0x0F0F, [15] = 0x0F0F,
};
static const uint16_t key_configs[NH_ATECC_SLOTS] = {
	[SIGNER] = 0x0033, [ATTEST] = 0x0033, [ECDH_SLOT] = 0x0033, [ECDH_TARGET] = 0x001C, [HIDDEN] = 0x0031, [AES_SLOT] = 0x0018, [IO_SLOT] = 0x001C, [SECRET] = 0x001C,
	[STORE] = 0x003C, [PUBLIC] = 0x0030, [PARENT] = 0x0030, [CHILD] = 0x0032, [12] = 0x003C, [13] = 0x003C, [14] = 0x003C, [15] = 0x003C,
};
static const uint8_t digest[32] = "the digest of something, 32 byte";

static void start(struct bench *b, nh_chip_model model) { bench_configured(b, model, true, slot_configs, key_configs); }
static const uint8_t *slot_of(const struct bench *b, unsigned slot) { return nh_chip_state_of(b->chip)->slots[slot]; }

static void create(struct bench *b, unsigned slot, uint8_t public_key[64])
{
	assert_int_equal(bench_run(b, NH_ATECC_GENKEY, 0x04, (uint16_t)slot, NH_SLICE_EMPTY), 0);
	assert_int_equal(b->reply_len, 64);
	memcpy(public_key, b->reply, 64);
}

/* A public key in the padded form of a slot. */
static void store_public(struct bench *b, unsigned slot, const uint8_t public_key[64])
{
	uint8_t padded[96] = {0};
	memcpy(padded + 4, public_key, 32);
	memcpy(padded + 40, public_key + 32, 32);
	for (unsigned block = 0; block < 3; block++)
		assert_int_equal(bench_run(b, NH_ATECC_WRITE, 0x82, (uint16_t)(block << 8 | slot << 3), nh_slice_of(padded + (size_t)block * 32, 32)), 0);
}

static void genkey(void **state)
{
	struct bench b;
	uint8_t first[64], second[64];
	start(&b, NH_CHIP_508A);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "40000000"); /* no key yet */
	create(&b, SIGNER, first);
	assert_int_equal(nh_p256_public_check(first), NH_OK);
	assert_status(&b, 0, "40000000");
	assert_reply(&b, first, 64);
	assert_status(&b, 0, "40000000000000"); /* three bytes of OtherData: some drivers send them */
	assert_reply(&b, first, 64);
	create(&b, SIGNER, second);
	assert_memory_not_equal(first, second, 64);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "40040400"); /* WriteConfig forbids it after the data lock */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "40040300"); /* no private key's slot */
	assert_status(&b, NH_ATECC_PARSE_ERROR, "40041000");
	assert_status(&b, NH_ATECC_PARSE_ERROR, "4004ffff");
	assert_status(&b, 0, "30010000");
	assert_int_equal(b.reply[0], 1);
	assert_status(&b, 0, "30010100");
	assert_int_equal(b.reply[0], 0);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "30010300");
	assert_status(&b, 0, "17020000");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "40040000"); /* locked */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "17020000");
	assert_status(&b, 0, "40000000");
	assert_reply(&b, second, 64);
	bench_stop(&b);
	bench_configured(&b, NH_CHIP_608B, false, slot_configs, key_configs);
	create(&b, HIDDEN, first); /* before the data lock, WriteConfig does not matter */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "40000400");
	bench_stop(&b);
}

static void sign_external(void **state)
{
	struct bench b;
	uint8_t key[64], other[64];
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		start(&b, (nh_chip_model)model);
		create(&b, SIGNER, key);
		create(&b, ATTEST, other);
		assert_status(&b, NH_ATECC_EXECUTION_ERROR, "41800000"); /* TempKey empty */
		host_pass(&b, digest);
		assert_status(&b, NH_ATECC_EXECUTION_ERROR, "41800100"); /* internal only */
		assert_status(&b, NH_ATECC_EXECUTION_ERROR, "41800200"); /* may not sign */
		assert_status(&b, NH_ATECC_EXECUTION_ERROR, "41800400"); /* may, but no key is there */
		assert_status(&b, NH_ATECC_PARSE_ERROR, "41801000");
		assert_status(&b, 0, "41800000");
		assert_int_equal(nh_p256_verify(key, nh_slice_of(digest, 32), b.reply), NH_OK);
		assert_status(&b, NH_ATECC_EXECUTION_ERROR, "41800000"); /* TempKey used up */
		assert_int_equal(bench_run(&b, NH_ATECC_NONCE, 0x43, 0, nh_slice_of(digest, 32)), model == NH_CHIP_508A ? NH_ATECC_PARSE_ERROR : 0);
		assert_int_equal(bench_hex(&b, "41a00000"), model == NH_CHIP_508A ? NH_ATECC_PARSE_ERROR : 0);
		if (model != NH_CHIP_508A)
			assert_int_equal(nh_p256_verify(key, nh_slice_of(digest, 32), b.reply), NH_OK);
		bench_stop(&b);
	}
}

/* The chip vouches for a key of its own: GenKey's digest in TempKey, signed together with the configuration. */
static void attestation(struct bench *b, const uint8_t parent[64], unsigned slot, const uint8_t subject[64], const char *mode, const char *tail)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	char command[16];
	uint8_t temp[32], want[32];
	host_nonce(b, temp);
	assert_int_equal(bench_run(b, NH_ATECC_GENKEY, 0x08, (uint16_t)slot, NH_SLICE_EMPTY), 0);
	assert_reply(b, subject, 64);
	say_bytes(&message, temp, 32);
	nh_buf_put_u8(&message, 0x40);
	nh_buf_put_u8(&message, 0x08);
	nh_buf_put_u8(&message, (uint8_t)slot);
	nh_buf_put_u8(&message, 0);
	say_hex(&message, SN_8_0_1 ZEROS_25);
	say_bytes(&message, subject, 64);
	digest_of(&message, temp);
	say_bytes(&message, temp, 32);
	say_hex(&message, "41");
	say_hex(&message, mode);
	say_hex(&message, "0100" "8720" "3300" "40" "0000");
	say_hex(&message, tail);
	assert_int_equal(message.len, 55);
	digest_of(&message, want);
	snprintf(command, sizeof(command), "41%s0100", mode);
	assert_status(b, 0, command);
	assert_int_equal(nh_p256_verify(parent, nh_slice_of(want, 32), b->reply), NH_OK);
}

static void sign_internal(void **state)
{
	struct bench b;
	uint8_t key[64], attest[64], temp[32];
	start(&b, NH_CHIP_508A);
	create(&b, SIGNER, key);
	create(&b, ATTEST, attest);
	attestation(&b, attest, SIGNER, key, "00", "ee" "00000000" "0123" "0000" "01" "00" "00");
	attestation(&b, attest, SIGNER, key, "40", "ee" "89abcdef" "0123" "4567" "01" "00" "00");
	assert_status(&b, 0, "17020000");
	attestation(&b, attest, SIGNER, key, "00", "ee" "00000000" "0123" "0000" "00" "00" "00");
	host_nonce(&b, temp);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "41000100"); /* a bare nonce says nothing */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "40080400");
	bench_stop(&b);
}

/* ---- Verify */

static void verify_external(void **state)
{
	struct bench b;
	uint8_t key[64], data[128];
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		start(&b, (nh_chip_model)model);
		create(&b, SIGNER, key);
		host_pass(&b, digest);
		assert_status(&b, 0, "41800000");
		memcpy(data, b.reply, 64);
		memcpy(data + 64, key, 64);
		assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 2, 4, nh_slice_of(data, 128)), NH_ATECC_EXECUTION_ERROR);
		host_pass(&b, digest);
		assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 2, 3, nh_slice_of(data, 128)), NH_ATECC_PARSE_ERROR);
		assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 2, 4, nh_slice_of(data, 128)), 0);
		host_pass(&b, digest);
		data[5] ^= 1;
		assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 2, 4, nh_slice_of(data, 128)), NH_ATECC_MISCOMPARE);
		host_pass(&b, digest);
		data[127] ^= 1; /* off the curve */
		assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 2, 4, nh_slice_of(data, 128)), NH_ATECC_EXECUTION_ERROR);
		bench_stop(&b);
	}
}

static void verify_stored(void **state)
{
	struct bench b;
	uint8_t key[64], signature[64];
	start(&b, NH_CHIP_608A);
	create(&b, SIGNER, key);
	host_pass(&b, digest);
	assert_status(&b, 0, "41800000");
	memcpy(signature, b.reply, 64);
	store_public(&b, PUBLIC, key);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0, PUBLIC, nh_slice_of(signature, 64)), NH_ATECC_EXECUTION_ERROR); /* TempKey empty */
	host_pass(&b, digest);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0, PUBLIC, nh_slice_of(signature, 64)), 0);
	host_pass(&b, digest);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0, STORE, nh_slice_of(signature, 64)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0, CHILD, nh_slice_of(signature, 64)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0, 16, nh_slice_of(signature, 64)), NH_ATECC_PARSE_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 1, PUBLIC, nh_slice_of(signature, 64)), NH_ATECC_PARSE_ERROR);
	/* the digest in the other register */
	assert_int_equal(bench_run(&b, NH_ATECC_NONCE, 0x43, 0, nh_slice_of(digest, 32)), 0);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0x20, PUBLIC, nh_slice_of(signature, 64)), 0);
	bench_stop(&b);
}

static void verify_mac(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	uint8_t key[64], data[128], want[32], nonce[32] = {9, 8, 7};
	start(&b, NH_CHIP_608B);
	chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	chip.config[90] = 0x02;
	chip.config[91] = IO_SLOT << 4;
	bench_start(&b, &chip, 0, false);
	create(&b, SIGNER, key);
	host_pass(&b, digest);
	assert_status(&b, 0, "41800000");
	memcpy(data, b.reply, 64);
	memcpy(data + 64, key, 64);
	host_pass(&b, digest);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0x82, 4, nh_slice_of(data, 128)), NH_ATECC_EXECUTION_ERROR); /* no nonce of the host's */
	assert_int_equal(bench_run(&b, NH_ATECC_NONCE, 0x43, 0, nh_slice_of(nonce, 32)), 0);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0xA2, 4, nh_slice_of(data, 128)), NH_ATECC_EXECUTION_ERROR); /* digest and nonce need 64 bytes */
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0x82, 4, nh_slice_of(data, 128)), 0);
	say_bytes(&message, slot_of(&b, IO_SLOT), 32);
	say_bytes(&message, digest, 32);
	say_bytes(&message, nonce, 32);
	say_bytes(&message, data, 64);
	say_hex(&message, "45820400");
	digest_of(&message, want);
	assert_reply(&b, want, 32);
	chip.config[90] = 0; /* no IO protection key */
	bench_stop(&b);
	bench_start(&b, &chip, 0, false);
	host_pass(&b, digest);
	assert_int_equal(bench_run(&b, NH_ATECC_NONCE, 0x43, 0, nh_slice_of(nonce, 32)), 0);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0x82, 4, nh_slice_of(data, 128)), NH_ATECC_EXECUTION_ERROR);
	bench_stop(&b);
}

/* A parent's chip signs internally that a key is good (or no longer); here one chip plays both. */
static uint8_t validate(struct bench *b, const struct nh_p256_key *parent, const uint8_t child[64], bool invalidate)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT, data = NH_BUF_INIT;
	uint8_t temp[32], want[32], signature[64];
	host_pass(b, digest);
	assert_status(b, 0, "40100b00c0c1c2");
	say_bytes(&message, digest, 32);
	say_hex(&message, "40c0c1c2" SN_8_0_1 ZEROS_25);
	say_bytes(&message, child, 64);
	digest_of(&message, temp);
	say_bytes(&message, temp, 32);
	say_hex(&message, "41" "01020304050607080910" "ee" "11121314" "0123" "151617");
	nh_buf_put_u8(&message, invalidate);
	nh_buf_put_u8(&message, 0x19);
	digest_of(&message, want);
	nh_p256_sign(parent, nh_slice_of(want, 32), &b->rng, signature);
	say_bytes(&data, signature, 64);
	say_hex(&data, "01020304050607080910" "11121314" "151617");
	nh_buf_put_u8(&data, invalidate);
	nh_buf_put_u8(&data, 0x19);
	return bench_run(b, NH_ATECC_VERIFY, invalidate ? 0x07 : 0x03, CHILD, nh_buf_slice(&data));
}

static void verify_validate(void **state)
{
	struct bench b;
	struct nh_p256_key parent, stranger;
	uint8_t child[64], signature[64];
	start(&b, NH_CHIP_508A);
	nh_p256_generate(&b.rng, &parent);
	nh_p256_generate(&b.rng, &stranger);
	create(&b, SIGNER, child);
	host_pass(&b, digest);
	assert_status(&b, 0, "41800000");
	memcpy(signature, b.reply, 64);
	store_public(&b, PARENT, parent.public_key);
	store_public(&b, CHILD, child);
	assert_status(&b, 0, "02025800");
	assert_int_equal(b.reply[0], 0xA0);
	assert_int_equal(validate(&b, &stranger, child, false), NH_ATECC_MISCOMPARE);
	assert_int_equal(validate(&b, &parent, child, false), 0);
	assert_status(&b, 0, "02025800");
	assert_int_equal(b.reply[0], 0x50);
	host_pass(&b, digest);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0, CHILD, nh_slice_of(signature, 64)), 0);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "128258000000000000000000000000000000000000000000000000000000000000000000"); /* valid: not writable */
	assert_int_equal(validate(&b, &parent, child, true), 0);
	assert_status(&b, 0, "02025800");
	assert_int_equal(b.reply[0], 0xA0);
	host_pass(&b, digest);
	assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 0, CHILD, nh_slice_of(signature, 64)), NH_ATECC_EXECUTION_ERROR);
	store_public(&b, CHILD, child);
	bench_stop(&b);
}

/* Everything that validation needs, one thing missing at a time; the parent's key is no point, so the last step says 0x0F as well: what is looked at is that nothing is used up before it. */
static void verify_validate_refused(void **state)
{
	static const struct {
		const char *temp_key; /* GenKey's digest */
		const char *head;     /* command, to be followed by signature and OtherData */
		uint8_t other_valid;
		bool reached; /* the signature was looked at: TempKey is gone */
	} rows[] = {
		{"40100b00000000", "45030b00", 0, true},
		{"40100b00000000", "45030b00", 1, false}, /* OtherData says the opposite of the mode */
		{"40100b00000000", "45070b00", 1, true},
		{"40100a00000000", "45030b00", 0, false}, /* the digest of another key */
		{"40100b00000000", "45030c00", 0, false},
		{"40100c00000000", "45030c00", 0, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct bench b;
		uint8_t data[83] = {0};
		NH_AUTO_BUF struct nh_buf command = NH_BUF_INIT;
		start(&b, NH_CHIP_608B);
		host_pass(&b, digest);
		bool digested = bench_hex(&b, rows[i].temp_key) == 0;
		assert_int_equal(digested, i + 1 < NH_ARRAY_LEN(rows)); /* slot 12 holds no key */
		hex_bytes(rows[i].head, &command);
		data[64 + 17] = rows[i].other_valid;
		assert_int_equal(bench_run(&b, command.ptr[0], command.ptr[1], command.ptr[2], nh_slice_of(data, sizeof(data))), NH_ATECC_EXECUTION_ERROR);
		assert_status(&b, 0, "30020000");
		assert_int_equal((b.reply[1] & 0x80) == 0, rows[i].reached);
		bench_stop(&b);
	}
}

/* A chain of three: a parent that needs a parent counts only once it is valid itself. */
static void verify_validate_chain(void **state)
{
	static const uint8_t other[19] = {0};
	struct bench b;
	struct nh_chip_state chip;
	uint8_t data[83] = {0};
	start(&b, NH_CHIP_608B);
	chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	chip.config[96 + 2 * PARENT] = 0x32;
	memcpy(data + 64, other, sizeof(other));
	for (unsigned valid = 0; valid < 2; valid++) {
		chip.key_validated = (uint16_t)(valid << PARENT);
		bench_start(&b, &chip, 0, false);
		host_pass(&b, digest);
		assert_status(&b, 0, "40100b00000000");
		assert_int_equal(bench_run(&b, NH_ATECC_VERIFY, 3, CHILD, nh_slice_of(data, sizeof(data))), NH_ATECC_EXECUTION_ERROR);
		assert_status(&b, 0, "30020000");
		assert_int_equal((b.reply[1] & 0x80) == 0, valid);
		bench_stop(&b);
	}
}

/* ---- ECDH */

static void ecdh(void **state)
{
	struct bench b;
	struct nh_p256_key host;
	uint8_t key[64], want[32], off_curve[64];
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		start(&b, (nh_chip_model)model);
		nh_p256_generate(&b.rng, &host);
		nh_slice peer = nh_slice_of(host.public_key, 64);
		create(&b, SIGNER, key);
		assert_int_equal(nh_p256_ecdh(&host, key, want), NH_OK);
		assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0, SIGNER, peer), 0);
		assert_reply(&b, want, 32);
		create(&b, ATTEST, key);
		assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0, ATTEST, peer), NH_ATECC_EXECUTION_ERROR);
		assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0, SECRET, peer), NH_ATECC_EXECUTION_ERROR);
		assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0, 16, peer), NH_ATECC_PARSE_ERROR);
		create(&b, ECDH_SLOT, key);
		assert_int_equal(nh_p256_ecdh(&host, key, want), NH_OK);
		assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0, ECDH_SLOT, peer), 0);
		assert_int_equal(b.reply_len, 1);
		assert_memory_equal(slot_of(&b, ECDH_TARGET), want, 32);
		memcpy(off_curve, host.public_key, 64);
		off_curve[63] ^= 1;
		assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0, SIGNER, nh_slice_of(off_curve, 64)), model == NH_CHIP_508A ? NH_ATECC_ECC_FAULT : NH_ATECC_EXECUTION_ERROR);
		bench_stop(&b);
	}
}

/* The 608 makes session keys in TempKey, and puts secrets out under the IO protection key. */
static void ecdh_608(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	struct nh_p256_key host;
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	uint8_t key[64], want[32], mask[32];
	start(&b, NH_CHIP_608B);
	nh_p256_generate(&b.rng, &host);
	nh_slice peer = nh_slice_of(host.public_key, 64);
	assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0x0D, 0, peer), NH_ATECC_EXECUTION_ERROR);
	assert_status(&b, 0, "4004ffff");
	memcpy(key, b.reply, 64);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "41800000"); /* a private key is no message */
	assert_int_equal(nh_p256_ecdh(&host, key, want), NH_OK);
	assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0x0D, 0, peer), 0);
	assert_reply(&b, want, 32);
	assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0x0F, 0, peer), NH_ATECC_EXECUTION_ERROR); /* no IO key enabled */
	chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	chip.config[90] = 0x02;
	chip.config[91] = IO_SLOT << 4 | 1; /* ECDH results encrypted only */
	bench_start(&b, &chip, 0, false);
	create(&b, SIGNER, key);
	assert_int_equal(nh_p256_ecdh(&host, key, want), NH_OK);
	assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0x0C, SIGNER, peer), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0x0E, SIGNER, peer), 0);
	assert_int_equal(b.reply_len, 64);
	say_bytes(&message, slot_of(&b, IO_SLOT), 32);
	say_bytes(&message, b.reply + 32, 16);
	digest_of(&message, mask);
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(b.reply[i] ^ mask[i], want[i]);
	bench_stop(&b);
}

/* ---- SHA */

static void sha_whole(struct bench *b, size_t len, bool hmac, const uint8_t *bytes, uint8_t want[32])
{
	size_t at = 0;
	assert_int_equal(hmac ? bench_run(b, NH_ATECC_SHA, 4, SECRET, NH_SLICE_EMPTY) : bench_run(b, NH_ATECC_SHA, 0, 0, NH_SLICE_EMPTY), 0);
	for (; len - at > 64; at += 64)
		assert_int_equal(bench_run(b, NH_ATECC_SHA, 1, 64, nh_slice_of(bytes + at, 64)), 0);
	uint8_t end = hmac && nh_chip_state_of(b->chip)->model == NH_CHIP_508A ? 5 : 2;
	assert_int_equal(bench_run(b, NH_ATECC_SHA, end, (uint16_t)(len - at), nh_slice_of(bytes + at, len - at)), 0);
	assert_reply(b, want, 32);
}

static void sha(void **state)
{
	static const size_t lens[] = {0, 1, 55, 56, 63, 64, 65, 128, 200};
	uint8_t bytes[200], want[32];
	struct bench b;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		start(&b, (nh_chip_model)model);
		for (size_t i = 0; i < NH_ARRAY_LEN(lens); i++) {
			struct hmac_sha256_ctx ctx;
			nh_p256_sha256(nh_slice_of(bytes, lens[i]), want);
			sha_whole(&b, lens[i], false, bytes, want);
			hmac_sha256_set_key(&ctx, 32, slot_of(&b, SECRET));
			hmac_sha256_update(&ctx, lens[i], bytes);
			hmac_sha256_digest(&ctx, 32, want);
			sha_whole(&b, lens[i], true, bytes, want);
		}
		assert_status(&b, NH_ATECC_EXECUTION_ERROR, "47020000"); /* nothing begun */
		assert_status(&b, NH_ATECC_PARSE_ERROR, "4704100000");
		bench_stop(&b);
	}
}

/* The digest in a register signs at once; a context that left the chip goes on where it was. */
static void sha_608(void **state)
{
	struct bench b;
	uint8_t key[64], want[32], context[99];
	size_t context_len;
	start(&b, NH_CHIP_608A);
	create(&b, SIGNER, key);
	nh_p256_sha256(NH_LIT("hello"), want);
	assert_status(&b, 0, "47000000");
	assert_status(&b, 0, "4742050068656c6c6f");
	assert_status(&b, 0, "41a00000");
	assert_int_equal(nh_p256_verify(key, nh_slice_of(want, 32), b.reply), NH_OK);
	assert_status(&b, 0, "47000000");
	assert_status(&b, 0, "47c2000068656c6c6f"); /* the length left out, as one driver does */
	assert_reply(&b, want, 32);
	assert_status(&b, 0, "47000000");
	assert_status(&b, 0, "47010300" "68656c");
	assert_status(&b, 0, "47060000");
	context_len = b.reply_len;
	memcpy(context, b.reply, context_len);
	assert_status(&b, 0, "47000000");
	assert_int_equal(bench_run(&b, NH_ATECC_SHA, 7, (uint16_t)context_len, nh_slice_of(context, context_len)), 0);
	assert_status(&b, 0, "47c20200" "6c6f");
	assert_reply(&b, want, 32);
	context[32] ^= 1; /* held bytes and count disagree */
	assert_int_equal(bench_run(&b, NH_ATECC_SHA, 7, (uint16_t)context_len, nh_slice_of(context, context_len)), NH_ATECC_EXECUTION_ERROR);
	assert_status(&b, 0, "47040700");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "47060000"); /* an HMAC's context would be the key */
	assert_status(&b, NH_ATECC_PARSE_ERROR, "47820000");
	store_public(&b, PUBLIC, key);
	nh_p256_sha256(nh_slice_of(key, 64), want);
	assert_status(&b, 0, "47000000");
	assert_status(&b, 0, "47030900");
	assert_status(&b, 0, "47c20000");
	assert_reply(&b, want, 32);
	bench_stop(&b);
	start(&b, NH_CHIP_508A);
	assert_status(&b, 0, "47000000");
	assert_status(&b, NH_ATECC_PARSE_ERROR, "47060000");
	assert_status(&b, NH_ATECC_PARSE_ERROR, "47420000");
	bench_stop(&b);
}

/* ---- AES, KDF. Values of FIPS 197 C.1, SP 800-38D (test case 2 of the GCM specification), RFC 4231. */

static void aes(void **state)
{
	struct bench b;
	start(&b, NH_CHIP_608B);
	assert_status(&b, 0, "12822800" "000102030405060708090a0b0c0d0e0f" "00000000000000000000000000000000");
	NH_AUTO_BUF struct nh_buf plain = NH_BUF_INIT, cipher = NH_BUF_INIT;
	hex_bytes("00112233445566778899aabbccddeeff", &plain);
	hex_bytes("69c4e0d86a7b0430d8cdb78070b4c55a", &cipher);
	assert_int_equal(bench_run(&b, NH_ATECC_AES, 0, AES_SLOT, nh_buf_slice(&plain)), 0);
	assert_reply(&b, cipher.ptr, 16);
	assert_int_equal(bench_run(&b, NH_ATECC_AES, 1, AES_SLOT, nh_buf_slice(&cipher)), 0);
	assert_reply(&b, plain.ptr, 16);
	assert_int_equal(bench_run(&b, NH_ATECC_AES, 0, SECRET, nh_buf_slice(&plain)), NH_ATECC_EXECUTION_ERROR); /* no AES key by configuration */
	assert_int_equal(bench_run(&b, NH_ATECC_AES, 0x80, AES_SLOT, nh_buf_slice(&plain)), NH_ATECC_EXECUTION_ERROR); /* behind the slot's end */
	assert_int_equal(bench_run(&b, NH_ATECC_AES, 0, NH_ATECC_SLOTS, nh_buf_slice(&plain)), NH_ATECC_PARSE_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_AES, 0, 0xFFFF, nh_buf_slice(&plain)), NH_ATECC_EXECUTION_ERROR);
	assert_status(&b, 0, "16230000" "0000000000000000000000000000000000000000000000000000000000000000" "000102030405060708090a0b0c0d0e0f" "00000000000000000000000000000000");
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(bench_run(&b, NH_ATECC_AES, 0x80, 0xFFFF, nh_buf_slice(&plain)), 0); /* the third of four keys */
		assert_reply(&b, cipher.ptr, 16);
	}
	assert_status(&b, 0, "51030000" "66e94bd4ef8a2c3b884cfa59ca342b2e" "0388dace60b6a392f328c2b971b2fe78");
	nh_buf_clear(&cipher);
	hex_bytes("5e2ec746917062882c85b0685353deb7", &cipher);
	assert_reply(&b, cipher.ptr, 16);
	bench_stop(&b);
}

static void kdf_hash(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT;
	struct hmac_sha256_ctx ctx;
	uint8_t mac[32];
	start(&b, NH_CHIP_608B);
	chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	chip.config[72] = 2; /* KdfIvLoc, KdfIvStr */
	memcpy(chip.config + 73, "iv", 2);
	bench_start(&b, &chip, 0, false);
	/* PRF: a published vector of TLS 1.2's P_SHA256 */
	assert_status(&b, 0, "16030000" "9bbe436ba940f017b17652849a71db35" "00000000000000000000000000000000");
	hex_bytes("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab", &want);
	assert_status(&b, 0, "56100000" "0001001a" "74657374206c6162656c" "a0ba9f936cda311827a6f796ffd5198c");
	assert_reply(&b, want.ptr, 64);
	assert_status(&b, 0, "56100000" "0000001a" "74657374206c6162656c" "a0ba9f936cda311827a6f796ffd5198c");
	assert_reply(&b, want.ptr, 32);
	assert_status(&b, 0, "56080003" "0000001a" "74657374206c6162656c" "a0ba9f936cda311827a6f796ffd5198c"); /* into slot 3 */
	assert_memory_equal(slot_of(&b, 3), want.ptr, 32);
	assert_status(&b, 0, "56080003" "0002001a" "74657374206c6162656c" "a0ba9f936cda311827a6f796ffd5198c");
	/* HKDF: HMAC with the source as key */
	hmac_sha256_set_key(&ctx, 32, slot_of(&b, SECRET));
	hmac_sha256_update(&ctx, 5, (const uint8_t *)"hello");
	hmac_sha256_digest(&ctx, 32, mac);
	assert_status(&b, 0, "56520700" "02000005" "68656c6c6f");
	assert_reply(&b, mac, 32);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "56520700" "03000005" "68656c6c6f"); /* the two bytes are not at their place */
	assert_status(&b, 0, "56520700" "03000005" "6865697600");
	assert_status(&b, NH_ATECC_PARSE_ERROR, "56520700" "02000006" "68656c6c6f");
	assert_status(&b, NH_ATECC_PARSE_ERROR, "56620700" "02000005" "68656c6c6f");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "56520000" "02000005" "68656c6c6f"); /* a private key's slot */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "56480000" "02000005" "68656c6c6f");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "56130000" "00000005" "68656c6c6f"); /* nothing in the alternate key buffer */
	bench_stop(&b);
}

static void kdf_aes_and_protection(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT, message = NH_BUF_INIT;
	uint8_t mask[32], reply[96];
	static const char command[] = "56100000" "00000000" "00112233445566778899aabbccddeeff", encrypted[] = "56340000" "00000000" "00112233445566778899aabbccddeeff";
	static const char aes_command[] = "56300000" "00000000" "00112233445566778899aabbccddeeff";
	start(&b, NH_CHIP_608B);
	chip = *nh_chip_state_of(b.chip);
	assert_status(&b, 0, "16030000" "000102030405060708090a0b0c0d0e0f" "00000000000000000000000000000000");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, aes_command); /* ChipOptions do not allow AES here */
	assert_status(&b, NH_ATECC_PARSE_ERROR, command);
	bench_stop(&b);
	chip.config[90] = 0x06;
	chip.config[91] = IO_SLOT << 4;
	bench_start(&b, &chip, 0, false);
	assert_status(&b, 0, "16030000" "000102030405060708090a0b0c0d0e0f" "00000000000000000000000000000000");
	hex_bytes("69c4e0d86a7b0430d8cdb78070b4c55a" "00000000000000000000000000000000", &want);
	assert_status(&b, 0, aes_command);
	assert_reply(&b, want.ptr, 32);
	assert_status(&b, 0, encrypted);
	assert_int_equal(b.reply_len, 64);
	memcpy(reply, b.reply, 64);
	say_bytes(&message, slot_of(&b, IO_SLOT), 32);
	say_bytes(&message, reply + 32, 16);
	digest_of(&message, mask);
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(reply[i] ^ mask[i], want.ptr[i]);
	bench_stop(&b);
	chip.config[91] = IO_SLOT << 4 | 0x04; /* results of KDF encrypted only */
	bench_start(&b, &chip, 0, false);
	assert_status(&b, 0, "16030000" "000102030405060708090a0b0c0d0e0f" "00000000000000000000000000000000");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, aes_command);
	assert_status(&b, 0, encrypted);
	bench_stop(&b);
}

/* ---- SecureBoot */

struct boot {
	struct bench bench;
	struct nh_p256_key author;
	uint8_t data[96]; /* digest ‖ signature */
};

static void boot_start(struct boot *t, uint16_t config)
{
	struct nh_chip_state chip;
	start(&t->bench, NH_CHIP_608B);
	chip = *nh_chip_state_of(t->bench.chip);
	nh_p256_generate(&t->bench.rng, &t->author);
	bench_stop(&t->bench);
	chip.config[70] = (uint8_t)config;
	chip.config[71] = (uint8_t)(config >> 8);
	chip.config[90] = 0x02;
	chip.config[91] = IO_SLOT << 4;
	bench_start(&t->bench, &chip, 0, false);
	store_public(&t->bench, PUBLIC, t->author.public_key);
	memcpy(t->data, digest, 32);
	nh_p256_sign(&t->author, nh_slice_of(digest, 32), &t->bench.rng, t->data + 32);
}

static uint8_t boot(struct boot *t, uint8_t mode, size_t len) { return bench_run(&t->bench, NH_ATECC_SECURE_BOOT, mode, 0, nh_slice_of(t->data, len)); }

static void secure_boot(void **state)
{
	struct boot t;
	for (uint16_t kept = 2; kept <= 3; kept++) { /* the signature, the digest */
		boot_start(&t, (uint16_t)(PUBLIC << 12 | STORE << 8 | 0x08 | kept));
		assert_int_equal(boot(&t, 6, 32), NH_ATECC_MISCOMPARE); /* nothing good is kept yet */
		assert_int_equal(boot(&t, 5, 96), 0);
		assert_status(&t.bench, 0, "30040000");
		assert_int_equal(t.bench.reply[0], 1); /* the latch opens */
		assert_int_equal(boot(&t, 7, 96), 0);
		assert_memory_equal(slot_of(&t.bench, STORE), kept == 3 ? t.data : t.data + 32, kept == 3 ? 32 : 64);
		assert_int_equal(boot(&t, 6, 32), 0);
		t.data[0] ^= 1;
		assert_int_equal(boot(&t, 5, 96), NH_ATECC_MISCOMPARE);
		assert_int_equal(boot(&t, 6, 32), NH_ATECC_MISCOMPARE);
		assert_int_equal(boot(&t, 4, 96), NH_ATECC_PARSE_ERROR);
		assert_int_equal(boot(&t, 5, 32), NH_ATECC_PARSE_ERROR);
		assert_int_equal(boot(&t, 0x46, 32), NH_ATECC_MISCOMPARE); /* and no more until power fails */
		t.data[0] ^= 1;
		assert_int_equal(boot(&t, 5, 96), NH_ATECC_EXECUTION_ERROR);
		nh_chip_power_cycle(t.bench.chip);
		nh_chip_wake(t.bench.chip);
		assert_int_equal(boot(&t, 5, 96), 0);
		bench_stop(&t.bench);
	}
	boot_start(&t, (uint16_t)(PUBLIC << 12 | STORE << 8));
	assert_int_equal(boot(&t, 5, 96), NH_ATECC_EXECUTION_ERROR); /* disabled */
	bench_stop(&t.bench);
}

static void secure_boot_encrypted(void **state)
{
	struct boot t;
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	uint8_t temp[32], session[32], want[32];
	boot_start(&t, (uint16_t)(PUBLIC << 12 | STORE << 8 | 0x10 | 3));
	assert_int_equal(boot(&t, 5, 96), NH_ATECC_EXECUTION_ERROR); /* only with a nonce */
	host_nonce(&t.bench, temp);
	say_bytes(&message, slot_of(&t.bench, IO_SLOT), 32);
	say_bytes(&message, temp, 32);
	digest_of(&message, session);
	for (size_t i = 0; i < 32; i++)
		t.data[i] ^= session[i];
	assert_int_equal(boot(&t, 0x85, 96), 0);
	say_bytes(&message, session, 32);
	say_bytes(&message, digest, 32);
	say_bytes(&message, t.data + 32, 64);
	say_hex(&message, "80850000");
	digest_of(&message, want);
	assert_reply(&t.bench, want, 32);
	assert_int_equal(boot(&t, 0x85, 96), NH_ATECC_EXECUTION_ERROR); /* the nonce is used up */
	bench_stop(&t.bench);
}

/* ---- counters and bytes that are written once */

static void counters(void **state)
{
	static const struct {
		uint32_t value;
		const char *bytes;
	} rows[] = {{0, "ffffffff00000000"}, {1, "7fffffff00000000"}, {15, "0001ffff00000000"}, {16, "0000ffff00000000"}, {17, "00007fff00000000"}, {31, "0000000100000000"},
		    {32, "ffff000000010000"}, {33, "7fff000000010000"}, {47, "0001000000010000"}, {48, "0000ffff00010001"}, {2097150, "00000003ffffffff"}, {2097151, "00000001ffffffff"}};
	struct bench b;
	start(&b, NH_CHIP_608B);
	for (uint32_t value = 0; value < 70; value++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
			NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT;
			hex_bytes(rows[i].bytes, &want);
			if (rows[i].value == value)
				assert_memory_equal(nh_chip_state_of(b.chip)->config + 60, want.ptr, 8);
		}
		assert_status(&b, 0, "24000100");
		assert_int_equal(b.reply[0], value);
		assert_status(&b, 0, "24010100");
		assert_int_equal(b.reply[0], value + 1);
	}
	assert_status(&b, NH_ATECC_PARSE_ERROR, "24000200");
	assert_memory_equal(nh_chip_state_of(b.chip)->config + 52, "\xff\xff\xff\xff\0\0\0\0", 8); /* the other one */
	struct nh_chip_state chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		hex_bytes(rows[i].bytes, &bytes);
		memcpy(chip.config + 52, bytes.ptr, 8);
		bench_start(&b, &chip, 0, false);
		assert_status(&b, 0, "24000000");
		assert_int_equal(b.reply[0] | b.reply[1] << 8 | b.reply[2] << 16, rows[i].value);
		assert_int_equal(bench_hex(&b, "24010000"), rows[i].value == 2097151 ? NH_ATECC_EXECUTION_ERROR : 0);
		bench_stop(&b);
	}
}

static void written_once(void **state)
{
	struct bench b;
	bench_factory(&b, NH_CHIP_508A);
	assert_status(&b, NH_ATECC_PARSE_ERROR, "20000101");
	assert_status(&b, 0, "20001200");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "20001300");
	assert_status(&b, 0, "20011400");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "20011500");
	assert_memory_equal(nh_chip_state_of(b.chip)->config + 84, "\x12\x14\x55\x55", 4);
	bench_stop(&b);
	bench_factory(&b, NH_CHIP_608B);
	assert_status(&b, 0, "773b0000");
	assert_int_equal(b.reply_len, 1);
	assert_status(&b, NH_ATECC_PARSE_ERROR, "01000000");
	bench_stop(&b);
}

/* Pause: whoever is not meant goes to rest. */
static void pause_508a(void **state)
{
	struct bench b;
	NH_AUTO_BUF struct nh_buf packet = NH_BUF_INIT;
	bench_factory(&b, NH_CHIP_508A);
	assert_status(&b, 0, "01000000");
	nh_buf_put_u8(&packet, NH_ATECC_COMMAND);
	assert_int_equal(nh_atecc_packet_put(&packet, 0x01, 0x05, 0, NH_SLICE_EMPTY), NH_OK);
	assert_true(nh_chip_write(b.chip, nh_buf_slice(&packet)));
	assert_false(bench_fetch(&b));
	nh_chip_wake(b.chip);
	assert_status(&b, 0, "30000000");
	bench_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(genkey),
		cmocka_unit_test(sign_external),
		cmocka_unit_test(sign_internal),
		cmocka_unit_test(verify_external),
		cmocka_unit_test(verify_stored),
		cmocka_unit_test(verify_mac),
		cmocka_unit_test(verify_validate),
		cmocka_unit_test(verify_validate_refused),
		cmocka_unit_test(verify_validate_chain),
		cmocka_unit_test(ecdh),
		cmocka_unit_test(ecdh_608),
		cmocka_unit_test(sha),
		cmocka_unit_test(sha_608),
		cmocka_unit_test(aes),
		cmocka_unit_test(kdf_hash),
		cmocka_unit_test(kdf_aes_and_protection),
		cmocka_unit_test(secure_boot),
		cmocka_unit_test(secure_boot_encrypted),
		cmocka_unit_test(counters),
		cmocka_unit_test(written_once),
		cmocka_unit_test(pause_508a),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
