/* Commands that hash, encrypt or authorize with secrets in slots: every answer against the host's own computation, every right against its refusal. */
#include "chip_host.h"

#include <nettle/hmac.h>

/* Slots of the chip under test. */
enum {
	PLAIN = 3,     /* clear read and write */
	SECRET = 4,    /* never read, never written; MAC allowed */
	NO_MAC = 5,    /* as SECRET, for checking only */
	WRAPPED = 6,   /* read and written encrypted with SECRET */
	RANDOM_ONLY = 7,
	WEAK_AUTH = 9, /* needs SECRET's CheckMac before */
	LIMITED = 10,
	ROLLED = 11, ROLLED_MAC = 12, DERIVED = 13,
	PASSWORD = 14, /* a right answer hands over SECRET */
	PRIVATE = 0,
	PRIVATE_WRAPPED = 1,
};
static const uint16_t slot_configs[NH_ATECC_SLOTS] = {
	[PRIVATE] = 0x2087, [PRIVATE_WRAPPED] = 0x4487, [2] = 0x0F0F, [PLAIN] = 0x0F0F, [SECRET] = 0x8F80, [NO_MAC] = 0x8F90, [WRAPPED] = 0x44C4, [RANDOM_ONLY] = 0x8F80,
	[8] = 0x0F0F, [WEAK_AUTH] = 0x8F80, [LIMITED] = 0x8FA0, [ROLLED] = 0x2080, [ROLLED_MAC] = 0xA080, [DERIVED] = 0x3480, [PASSWORD] = 0x8F84, [15] = 0x8FA0,
};
static const uint16_t key_configs[NH_ATECC_SLOTS] = {
	[PRIVATE] = 0x0033, [PRIVATE_WRAPPED] = 0x0033, [2] = 0x001C, [PLAIN] = 0x001C, [SECRET] = 0x001C, [NO_MAC] = 0x001C, [WRAPPED] = 0x001C, [RANDOM_ONLY] = 0x005C,
	[8] = 0x003C, [WEAK_AUTH] = 0x049C, [LIMITED] = 0x003C, [ROLLED] = 0x003C, [ROLLED_MAC] = 0x003C, [DERIVED] = 0x003C, [PASSWORD] = 0x003C, [15] = 0x001C,
};

static void start(struct bench *b, nh_chip_model model) { bench_configured(b, model, true, slot_configs, key_configs); }
static void restart(struct bench *b) { nh_chip_write(b->chip, NH_LIT("\x01")); nh_chip_wake(b->chip); }
static const uint8_t *slot_of(const struct bench *b, unsigned slot) { return nh_chip_state_of(b->chip)->slots[slot]; }
static const uint8_t challenge[32] = "a challenge of 32 bytes, exactly";

/* key ‖ second ‖ 08 mode slot 00 ‖ OTP[0:8] OTP[8:3] ‖ SN[8] SN[4:7] SN[0:1] SN[2:3] */
static void mac_expected(const uint8_t *first, const uint8_t *second, uint8_t mode, unsigned slot, uint8_t out[32])
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	say_bytes(&message, first, 32);
	say_bytes(&message, second, 32);
	nh_buf_put_u8(&message, 0x08);
	nh_buf_put_u8(&message, mode);
	nh_buf_put_u8(&message, (uint8_t)slot);
	nh_buf_put_u8(&message, 0);
	say_hex(&message, (mode & 0x30) != 0 ? "a0a1a2a3a4a5a6a7" : "0000000000000000");
	say_hex(&message, (mode & 0x10) != 0 ? "a8a9aa" : "000000");
	say_hex(&message, (mode & 0x40) != 0 ? "ee89abcdef01234567" : "ee0000000001230000");
	assert_int_equal(message.len, 88);
	digest_of(&message, out);
}

static void mac(void **state)
{
	struct bench b;
	uint8_t want[32], temp[32];
	start(&b, NH_CHIP_508A);
	static const uint8_t inclusions[] = {0x00, 0x10, 0x20, 0x30, 0x40, 0x60};
	for (size_t i = 0; i < NH_ARRAY_LEN(inclusions); i++) {
		mac_expected(slot_of(&b, SECRET), challenge, inclusions[i], SECRET, want);
		assert_int_equal(bench_run(&b, NH_ATECC_MAC, inclusions[i], SECRET, nh_slice_of(challenge, 32)), 0);
		assert_reply(&b, want, 32);
		host_nonce(&b, temp);
		mac_expected(slot_of(&b, SECRET), temp, inclusions[i] | 0x01, SECRET, want);
		assert_int_equal(bench_run(&b, NH_ATECC_MAC, inclusions[i] | 0x01, SECRET, NH_SLICE_EMPTY), 0);
		assert_reply(&b, want, 32);
		host_pass(&b, challenge);
		mac_expected(challenge, challenge, inclusions[i] | 0x07, SECRET, want);
		assert_int_equal(bench_run(&b, NH_ATECC_MAC, inclusions[i] | 0x07, SECRET, NH_SLICE_EMPTY), 0);
		assert_reply(&b, want, 32);
	}
	bench_stop(&b);
}

static void mac_refused(void **state)
{
	struct bench b;
	uint8_t temp[32];
	start(&b, NH_CHIP_608B);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "08010400"); /* TempKey empty */
	host_nonce(&b, temp);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "08050400"); /* not passed through */
	assert_status(&b, 0, "08010400");
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "08010400"); /* used up */
	host_pass(&b, challenge);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "08050500"); /* NoMac */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "08050700"); /* ReqRandom */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "08050000"); /* a private key */
	assert_status(&b, NH_ATECC_PARSE_ERROR, "08051000");
	assert_status(&b, NH_ATECC_PARSE_ERROR, "08000400");     /* challenge missing */
	assert_status(&b, NH_ATECC_PARSE_ERROR, "08880400");
	host_nonce(&b, temp);
	assert_status(&b, 0, "08010700");
	bench_stop(&b);
}

/* CheckMac with a fresh nonce, as host: 0 right, else the byte is spoilt. */
static uint8_t check_mac(struct bench *b, unsigned slot, uint8_t spoil)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT, data = NH_BUF_INIT;
	uint8_t temp[32], response[32];
	host_nonce(b, temp);
	say_bytes(&message, slot_of(b, slot), 32);
	say_bytes(&message, temp, 32);
	say_hex(&message, "d1d2d3d4" "0000000000000000" "d5d6d7" "ee" "d8d9dadb" "0123" "dcdd");
	assert_int_equal(message.len, 88);
	digest_of(&message, response);
	response[31] ^= spoil;
	nh_buf_fill(&data, 0, 32);
	nh_buf_put(&data, response, 32);
	say_hex(&data, "d1d2d3d4" "d5d6d7" "d8d9dadb" "dcdd");
	return bench_run(b, NH_ATECC_CHECK_MAC, 0x01, (uint16_t)slot, nh_buf_slice(&data));
}

static void authorization(void **state)
{
	struct bench b;
	start(&b, NH_CHIP_608B);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, WEAK_AUTH, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(check_mac(&b, SECRET, 1), NH_ATECC_MISCOMPARE);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, WEAK_AUTH, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(check_mac(&b, NO_MAC, 0), NH_ATECC_SUCCESS); /* right, but another key */
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, WEAK_AUTH, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(check_mac(&b, SECRET, 0), NH_ATECC_SUCCESS);
	assert_status(&b, 0, "30020000");
	assert_int_equal(b.reply[1], 0x04 | SECRET << 3);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, WEAK_AUTH, nh_slice_of(challenge, 32)), 0);
	assert_int_equal(check_mac(&b, SECRET, 1), NH_ATECC_MISCOMPARE); /* a wrong one takes it back */
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, WEAK_AUTH, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(check_mac(&b, SECRET, 0), NH_ATECC_SUCCESS);
	restart(&b);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, WEAK_AUTH, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	bench_stop(&b);
}

/* A challenge that the host chose proves nothing: the answer could be an old one. */
static void authorization_replayed(void **state)
{
	struct bench b;
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT, data = NH_BUF_INIT;
	uint8_t response[32];
	start(&b, NH_CHIP_608B);
	say_bytes(&message, slot_of(&b, SECRET), 32);
	say_bytes(&message, challenge, 32);
	say_hex(&message, "000000000000000000000000000000ee00000000" "0123" "0000");
	digest_of(&message, response);
	nh_buf_put(&data, challenge, 32);
	nh_buf_put(&data, response, 32);
	nh_buf_fill(&data, 0, 13);
	assert_int_equal(bench_run(&b, NH_ATECC_CHECK_MAC, 0x00, SECRET, nh_buf_slice(&data)), NH_ATECC_SUCCESS);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, WEAK_AUTH, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	bench_stop(&b);
}

static void password(void **state)
{
	struct bench b;
	uint8_t want[32];
	start(&b, NH_CHIP_508A);
	assert_int_equal(check_mac(&b, PASSWORD, 0), NH_ATECC_SUCCESS);
	mac_expected(slot_of(&b, SECRET), challenge, 0x06, PASSWORD, want); /* TempKey is SECRET now */
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0x06, PASSWORD, nh_slice_of(challenge, 32)), 0);
	assert_reply(&b, want, 32);
	bench_stop(&b);
}

static void hmac_508a(void **state)
{
	struct bench b;
	uint8_t temp[32], want[32];
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	struct hmac_sha256_ctx ctx;
	start(&b, NH_CHIP_508A);
	host_nonce(&b, temp);
	nh_buf_fill(&message, 0, 32);
	say_bytes(&message, temp, 32);
	say_hex(&message, "11400400" "0000000000000000000000" "ee89abcdef01234567");
	hmac_sha256_set_key(&ctx, 32, slot_of(&b, SECRET));
	hmac_sha256_update(&ctx, message.len, message.ptr);
	hmac_sha256_digest(&ctx, 32, want);
	assert_status(&b, 0, "11400400");
	assert_reply(&b, want, 32);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "11400400");
	host_nonce(&b, temp);
	assert_status(&b, 0, "11020400"); /* a bit without meaning */
	bench_stop(&b);
	start(&b, NH_CHIP_608B);
	assert_status(&b, NH_ATECC_PARSE_ERROR, "11400400");
	bench_stop(&b);
}

/* A slot that is read and written only under a session key. */
/* The challenge as an encrypted write of WRAPPED takes it, in a session with SECRET. */
static void seal(struct bench *b, uint8_t data[64])
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	uint8_t temp[32];
	host_nonce(b, temp);
	host_gendig(b, SECRET, slot_of(b, SECRET), temp);
	say_bytes(&message, temp, 32);
	say_hex(&message, "12c23000" SN_8_0_1 ZEROS_25);
	say_bytes(&message, challenge, 32);
	digest_of(&message, data + 32);
	for (size_t i = 0; i < 32; i++)
		data[i] = challenge[i] ^ temp[i];
}

static void encrypted_slot(void **state)
{
	struct bench b;
	uint8_t temp[32], want[32], data[64];
	start(&b, NH_CHIP_608A);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "02823000");
	host_nonce(&b, temp);
	host_gendig(&b, SECRET, slot_of(&b, SECRET), temp);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "02023000"); /* a word would leak the key's use */
	assert_status(&b, 0, "02823000");
	for (size_t i = 0; i < 32; i++)
		want[i] = slot_of(&b, WRAPPED)[i] ^ temp[i];
	assert_reply(&b, want, 32);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "02823000"); /* once */
	host_pass(&b, challenge); /* a nonce that the host chose is no session */
	memcpy(temp, challenge, 32);
	host_gendig(&b, SECRET, slot_of(&b, SECRET), temp);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "02823000");
	host_nonce(&b, temp);
	host_gendig(&b, PLAIN, slot_of(&b, PLAIN), temp);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "02823000"); /* another key */

	for (unsigned wrong = 0; wrong < 2; wrong++) {
		seal(&b, data);
		data[40] ^= wrong ? 0 : 1;
		assert_int_equal(bench_run(&b, NH_ATECC_WRITE, 0xC2, WRAPPED << 3, nh_slice_of(data, 64)), wrong ? NH_ATECC_SUCCESS : NH_ATECC_MISCOMPARE);
		assert_int_equal(memcmp(slot_of(&b, WRAPPED), challenge, 32) == 0, wrong);
		assert_int_equal(bench_run(&b, NH_ATECC_WRITE, 0xC2, WRAPPED << 3, nh_slice_of(data, 64)), NH_ATECC_EXECUTION_ERROR); /* the session is over */
	}
	assert_int_equal(bench_run(&b, NH_ATECC_WRITE, 0x82, WRAPPED << 3, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_WRITE, 0x42, WRAPPED << 3, nh_slice_of(data, 64)), NH_ATECC_PARSE_ERROR);
	bench_stop(&b);
}

/* ---- GenDig: the value seen through a MAC of TempKey */

static void assert_temp_key(struct bench *b, const uint8_t temp[32], bool from_input)
{
	uint8_t want[32];
	uint8_t mode = from_input ? 0x06 : 0x02;
	mac_expected(temp, challenge, mode, SECRET, want);
	assert_int_equal(bench_run(b, NH_ATECC_MAC, mode, SECRET, nh_slice_of(challenge, 32)), 0);
	assert_reply(b, want, 32);
}

static void gendig_zones(void **state)
{
	static const struct {
		const char *command; /* without data */
		const char *data, *head, *tail; /* message: value ‖ head ‖ serial ‖ tail ‖ TempKey */
		unsigned from; /* where the value is: 0 configuration, 1 OTP, 2 slot, 3 zeros */
		unsigned at;
	} rows[] = {
		{"15000100", "", "15000100", ZEROS_25, 0, 32},
		{"15010100", "", "15010100", ZEROS_25, 1, 32},
		{"15020400", "", "15020400", ZEROS_25, 2, SECRET},
		{"15020400", "01020304", "15020400", ZEROS_25, 2, SECRET},
		{"15040100", "", "15040100", "00" "05000000" "0000000000000000000000000000000000000000", 3, 0},
		{"15050600", "", "15050600", "00" "c444" "1c00" "01" "00000000000000000000000000000000000000", 3, 0},
	};
	struct bench b;
	start(&b, NH_CHIP_608B);
	for (unsigned i = 0; i < 5; i++)
		assert_status(&b, 0, "24010100");
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
		static const uint8_t zeros[32];
		char command[64];
		uint8_t temp[32];
		const struct nh_chip_state *chip = nh_chip_state_of(b.chip);
		const uint8_t *const values[] = {chip->config + rows[i].at, chip->otp + rows[i].at % 64, chip->slots[rows[i].at % 16], zeros};
		host_nonce(&b, temp);
		say_bytes(&message, values[rows[i].from], 32);
		say_hex(&message, rows[i].head);
		say_hex(&message, SN_8_0_1);
		say_hex(&message, rows[i].tail);
		say_bytes(&message, temp, 32);
		assert_int_equal(message.len, 96);
		digest_of(&message, temp);
		snprintf(command, sizeof(command), "%s%s", rows[i].command, rows[i].data);
		assert_status(&b, 0, command);
		assert_temp_key(&b, temp, false);
	}
	bench_stop(&b);
}

static void gendig_shared(void **state)
{
	struct bench b;
	for (unsigned i = 0; i < 4; i++) {
		NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
		uint8_t temp[32];
		unsigned reversed = i & 1;
		start(&b, i & 2 ? NH_CHIP_608B : NH_CHIP_508A);
		host_nonce(&b, temp);
		say_bytes(&message, reversed ? temp : challenge, 32);
		say_hex(&message, "15030700" SN_8_0_1 ZEROS_25);
		say_bytes(&message, reversed ? challenge : temp, 32);
		digest_of(&message, temp);
		assert_int_equal(bench_run(&b, NH_ATECC_GENDIG, 3, (uint16_t)(reversed << 15 | 7), nh_slice_of(challenge, 32)), 0);
		assert_temp_key(&b, temp, false);
		bench_stop(&b);
	}
}

static void gendig_no_mac(void **state)
{
	struct bench b;
	uint8_t temp[32];
	start(&b, NH_CHIP_508A);
	host_nonce(&b, temp);
	assert_status(&b, NH_ATECC_PARSE_ERROR, "15020500"); /* NoMac needs OtherData */
	assert_status(&b, 0, "15020500c1c2c3c4");
	assert_status(&b, 0, "30020000");
	assert_int_equal(b.reply[0], 0x80 | 0x20 | NO_MAC);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "08010400"); /* and TempKey cannot be had out by MAC */
	assert_status(&b, NH_ATECC_PARSE_ERROR, "1503070000");
	bench_stop(&b);
}

static void gendig_refused(void **state)
{
	struct bench b;
	uint8_t temp[32];
	start(&b, NH_CHIP_508A);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "15020400"); /* TempKey empty */
	host_nonce(&b, temp);
	static const char *const illegal[] = {"15000400", "15010200", "15021000", "1502040001", "15030000", "15040000", "15050000", "1500000001020304"};
	for (size_t i = 0; i < NH_ARRAY_LEN(illegal); i++)
		assert_status(&b, NH_ATECC_PARSE_ERROR, illegal[i]);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "15020000"); /* a private key */
	host_pass(&b, challenge);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "15020700"); /* ReqRandom */
	bench_stop(&b);
}

/* ---- keys made of keys */

static void derive(struct bench *b, unsigned target, unsigned parent, bool with_mac)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	uint8_t temp[32], mac_bytes[32], want[32];
	host_nonce(b, temp);
	say_bytes(&message, slot_of(b, parent), 32);
	nh_buf_put_u8(&message, 0x1C);
	nh_buf_put_u8(&message, 0);
	nh_buf_put_u8(&message, (uint8_t)target);
	nh_buf_put_u8(&message, 0);
	say_hex(&message, SN_8_0_1);
	nh_p256_sha256(nh_buf_slice(&message), mac_bytes);
	say_hex(&message, ZEROS_25);
	say_bytes(&message, temp, 32);
	digest_of(&message, want);
	if (with_mac) {
		assert_int_equal(bench_run(b, NH_ATECC_DERIVE_KEY, 0, (uint16_t)target, NH_SLICE_EMPTY), NH_ATECC_EXECUTION_ERROR);
		mac_bytes[0] ^= 1;
		assert_int_equal(bench_run(b, NH_ATECC_DERIVE_KEY, 0, (uint16_t)target, nh_slice_of(mac_bytes, 32)), NH_ATECC_MISCOMPARE);
		mac_bytes[0] ^= 1;
	}
	assert_int_equal(bench_run(b, NH_ATECC_DERIVE_KEY, 0, (uint16_t)target, with_mac ? nh_slice_of(mac_bytes, 32) : NH_SLICE_EMPTY), 0);
	assert_memory_equal(slot_of(b, target), want, 32);
}

static void derive_key(void **state)
{
	struct bench b;
	uint8_t temp[32];
	start(&b, NH_CHIP_508A);
	derive(&b, ROLLED, ROLLED, false);
	derive(&b, ROLLED_MAC, ROLLED_MAC, true);
	derive(&b, DERIVED, SECRET, false);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "1c000b00"); /* TempKey used up */
	host_nonce(&b, temp);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "1c040b00"); /* not passed through */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "1c000400"); /* WriteConfig */
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "1c000000"); /* a private key's slot */
	assert_status(&b, NH_ATECC_PARSE_ERROR, "1c001000");
	bench_stop(&b);
}

/* What the vendor's own tests do with a part whose data zone is still open. */
static void data_unlocked(void **state)
{
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		struct bench b;
		uint8_t data[64];
		bench_configured(&b, (nh_chip_model)model, false, slot_configs, key_configs);
		derive(&b, ROLLED, ROLLED, false);
		seal(&b, data);
		data[40] ^= 1;
		assert_int_equal(bench_run(&b, NH_ATECC_WRITE, 0xC2, WRAPPED << 3, nh_slice_of(data, 64)), NH_ATECC_MISCOMPARE);
		seal(&b, data);
		assert_int_equal(bench_run(&b, NH_ATECC_WRITE, 0xC2, WRAPPED << 3, nh_slice_of(data, 64)), NH_ATECC_SUCCESS);
		assert_memory_equal(slot_of(&b, WRAPPED), challenge, 32);
		assert_int_equal(bench_run(&b, NH_ATECC_WRITE, 0xC2, WRAPPED << 3, nh_slice_of(data, 64)), NH_ATECC_EXECUTION_ERROR); /* the session is over */
		bench_stop(&b);
	}
}

static void priv_write(void **state)
{
	struct bench b;
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	struct nh_p256_key key;
	uint8_t temp[32], more[32], data[68] = {0}, plain[36] = {0};
	bench_configured(&b, NH_CHIP_508A, false, slot_configs, key_configs);
	nh_p256_generate(&b.rng, &key);
	memcpy(data + 4, key.scalar, 32);
	assert_int_equal(bench_run(&b, NH_ATECC_PRIV_WRITE, 0, PRIVATE, nh_slice_of(data, 68)), 0); /* clear, while data is open */
	assert_status(&b, 0, "40000000");
	assert_reply(&b, key.public_key, 64);
	memset(data, 0, sizeof(data));
	assert_int_equal(bench_run(&b, NH_ATECC_PRIV_WRITE, 0, PRIVATE, nh_slice_of(data, 68)), NH_ATECC_EXECUTION_ERROR); /* zero is no key */
	assert_int_equal(bench_run(&b, NH_ATECC_PRIV_WRITE, 0, PLAIN, nh_slice_of(data, 68)), NH_ATECC_EXECUTION_ERROR);
	bench_stop(&b);

	start(&b, NH_CHIP_508A);
	memcpy(plain + 4, key.scalar, 32);
	memcpy(data, plain, 36);
	assert_int_equal(bench_run(&b, NH_ATECC_PRIV_WRITE, 0, PRIVATE_WRAPPED, nh_slice_of(data, 68)), NH_ATECC_EXECUTION_ERROR);
	for (unsigned right = 0; right < 2; right++) {
		host_nonce(&b, temp);
		host_gendig(&b, SECRET, slot_of(&b, SECRET), temp);
		say_bytes(&message, temp, 32);
		say_hex(&message, "46400100" SN_8_0_1 "000000000000000000000000000000000000000000");
		say_bytes(&message, plain, 36);
		digest_of(&message, data + 36);
		nh_p256_sha256(nh_slice_of(temp, 32), more);
		for (size_t i = 0; i < 36; i++)
			data[i] = plain[i] ^ (i < 32 ? temp[i] : more[i - 32]);
		data[36] ^= right ? 0 : 1;
		assert_int_equal(bench_run(&b, NH_ATECC_PRIV_WRITE, 0x40, PRIVATE_WRAPPED, nh_slice_of(data, 68)), right ? NH_ATECC_SUCCESS : NH_ATECC_MISCOMPARE);
	}
	assert_status(&b, 0, "40000100");
	assert_reply(&b, key.public_key, 64);
	host_nonce(&b, temp);
	host_gendig(&b, SECRET, slot_of(&b, SECRET), temp);
	assert_int_equal(bench_run(&b, NH_ATECC_PRIV_WRITE, 0x40, PRIVATE, nh_slice_of(data, 68)), NH_ATECC_EXECUTION_ERROR); /* WriteConfig forbids it */
	bench_stop(&b);
}

/* ---- uses */

static void limited_uses(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	start(&b, NH_CHIP_608B);
	chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	memcpy(chip.config + 52, "\x00\x00\x00\x07\xff\xff\xff\xff", 8); /* 2 097 149: two uses are left */
	bench_start(&b, &chip, 0, false);
	assert_status(&b, 0, "24000000");
	assert_memory_equal(b.reply, "\xfd\xff\x1f\x00", 4);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, LIMITED, nh_slice_of(challenge, 32)), 0);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, 15, nh_slice_of(challenge, 32)), 0); /* the same counter */
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, LIMITED, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, SECRET, nh_slice_of(challenge, 32)), 0);
	assert_status(&b, NH_ATECC_EXECUTION_ERROR, "24010000");
	bench_stop(&b);
}

/* Slot 15 of a 508A has 128 uses of its own. */
static void limited_uses_508a(void **state)
{
	struct bench b;
	start(&b, NH_CHIP_508A);
	for (unsigned i = 0; i < 128; i++)
		assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, 15, nh_slice_of(challenge, 32)), 0);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, 15, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, LIMITED, nh_slice_of(challenge, 32)), 0);
	bench_stop(&b);
}

static void count_match(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	start(&b, NH_CHIP_608B);
	chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	chip.config[18] = 0x31; /* enabled, the limit is in slot 3 */
	bench_start(&b, &chip, 0, false);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, LIMITED, nh_slice_of(challenge, 32)), 0); /* two halves that differ: the first one counts, and it is far away */
	assert_status(&b, 0, "128218000200000002000000000000000000000000000000000000000000000000000000");
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, LIMITED, nh_slice_of(challenge, 32)), 0);
	assert_int_equal(bench_run(&b, NH_ATECC_MAC, 0, LIMITED, nh_slice_of(challenge, 32)), NH_ATECC_EXECUTION_ERROR);
	assert_status(&b, 0, "24000000");
	assert_memory_equal(b.reply, "\x02\x00\x00\x00", 4); /* a refusal does not count */
	bench_stop(&b);
}

/* ---- the latch, with the worked values of the vectors */

struct fixed {
	const uint8_t *bytes;
};
static void fixed_fill(void *ctx, void *out, size_t len) { memcpy(out, ((struct fixed *)ctx)->bytes, len); }

static void latch(void **state)
{
	NH_AUTO_JSON json_t *vectors = vectors_load();
	const json_t *worked = json_object_get(vectors, "volatile_authorisation");
	uint8_t rand_out[32], config[NH_ATECC_CONFIG_LEN], key[32];
	struct nh_chip_state chip;
	struct nh_chip *c;
	struct bench b;
	start(&b, NH_CHIP_608B);
	chip = *nh_chip_state_of(b.chip);
	bench_stop(&b);
	assert_int_equal(nh_hex_decode_fixed(nh_json_text(worked, "rand_out"), rand_out, 32), NH_OK);
	assert_int_equal(nh_hex_decode_fixed(nh_json_text(worked, "key_32"), key, 32), NH_OK);
	assert_int_equal(nh_hex_decode_fixed(nh_json_text(json_object_get(vectors, "transcript_volatile_608b"), "config"), config, sizeof(config)), NH_OK);
	memcpy(chip.config, config, sizeof(config));
	chip.config[86] = chip.config[87] = 0;
	memcpy(chip.slots[1], key, 32);
	struct fixed source = {rand_out};
	struct nh_rng rng = {fixed_fill, &source};
	struct nh_chip_config env = {.rng = &rng};
	nh_chip_new(&env, &chip, &c);
	b = (struct bench){.chip = c};
	nh_chip_wake(c);
	assert_status(&b, 0, "30040300");
	assert_memory_equal(b.reply, "\0\0\0\0", 4); /* refused: nobody has proved anything */
	const json_t *auth = json_object_get(json_object_get(vectors, "transcript_volatile_608b"), "auth");
	for (size_t i = 1; i < json_array_size(auth); i++) {
		NH_AUTO_BUF struct nh_buf want = NH_BUF_INIT;
		hex_bytes(json_string_value(json_array_get(json_array_get(auth, i), 1)), &want);
		(void)bench_hex(&b, json_string_value(json_array_get(json_array_get(auth, i), 0)));
		assert_reply(&b, want.ptr, want.len);
	}
	nh_chip_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mac),
		cmocka_unit_test(mac_refused),
		cmocka_unit_test(authorization),
		cmocka_unit_test(authorization_replayed),
		cmocka_unit_test(password),
		cmocka_unit_test(hmac_508a),
		cmocka_unit_test(encrypted_slot),
		cmocka_unit_test(gendig_zones),
		cmocka_unit_test(gendig_shared),
		cmocka_unit_test(gendig_no_mac),
		cmocka_unit_test(gendig_refused),
		cmocka_unit_test(derive_key),
		cmocka_unit_test(data_unlocked),
		cmocka_unit_test(priv_write),
		cmocka_unit_test(limited_uses),
		cmocka_unit_test(limited_uses_508a),
		cmocka_unit_test(count_match),
		cmocka_unit_test(latch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
