/*
 * The inside of a simulated chip, shared by the files of this room: its registers, what a command is, and the questions every command asks of the configuration.
 *
 * Order of checks in a command, which decides the status that a driver sees: packet (0xFF), opcode, length and reserved mode bits (0x03, from the table in commands.c), addresses and
 * the rest of the parameters (0x03), locks, slot policy and registers (0x0F), mathematics (0x01, 0x05). A command that is refused changes nothing.
 * source: reference/nerveskey "15"
 */
#pragma once

#include "atecc/p256.h"
#include "chip/chip.h"

#define CFG_SERIAL_HEAD 0u  /* SN[0:3] */
#define CFG_REVISION 4u
#define CFG_SERIAL_TAIL 8u  /* SN[4:8] */
#define CFG_AES_ENABLE 13u
#define CFG_ADDRESS 16u
#define CFG_MODE_18 18u     /* OTPmode of the 508A, CountMatch of the 608 */
#define CFG_CHIP_MODE 19u
#define CFG_SLOT_CONFIG 20u
#define CFG_COUNTERS 52u
#define CFG_LAST_KEY_USE 68u
#define CFG_VOLATILE_KEY 69u
#define CFG_SECURE_BOOT 70u
#define CFG_KDF_IV_LOC 72u
#define CFG_KDF_IV_STR 73u
#define CFG_USER_EXTRA 84u
#define CFG_SELECTOR 85u
#define CFG_LOCK_VALUE 86u
#define CFG_LOCK_CONFIG 87u
#define CFG_SLOT_LOCKED 88u
#define CFG_CHIP_OPTIONS 90u
#define CFG_KEY_CONFIG 96u

#define UNLOCKED 0x55u

/* SlotConfig and KeyConfig. source: reference/nerveskey "4.3" */
#define SLOT_READ_KEY(config) ((config) & 0x0Fu)
#define SLOT_WRITE_KEY(config) ((config) >> 8 & 0x0Fu)
#define SLOT_WRITE_RULE(config) ((config) >> 12)
#define SLOT_NO_MAC 0x0010u
#define SLOT_LIMITED_USE 0x0020u
#define SLOT_ENCRYPT_READ 0x0040u
#define SLOT_SECRET 0x0080u
#define PRIVATE_EXTERNAL_SIGN 0x01u /* the ReadKey nibble of a private key's slot is a set of permissions */
#define PRIVATE_INTERNAL_SIGN 0x02u
#define PRIVATE_ECDH 0x04u
#define PRIVATE_ECDH_TO_SLOT 0x08u
#define KEY_PRIVATE 0x0001u
#define KEY_PUB_INFO 0x0002u
#define KEY_TYPE(config) ((config) >> 2 & 7u)
#define KEY_TYPE_P256 4u
#define KEY_TYPE_AES 6u
#define KEY_LOCKABLE 0x0020u
#define KEY_REQ_RANDOM 0x0040u
#define KEY_REQ_AUTH 0x0080u
#define KEY_AUTH_KEY(config) ((config) >> 8 & 0x0Fu)
#define KEY_DISABLE 0x1000u /* PersistentDisable of the 608 */

#define COUNTER_MAX 2097151u
#define NO_SLOT 0xFFu
#define SLOT_TEMP_KEY 0xFFFFu /* param2 of GenKey: the key lives in TempKey */

/* TempKey, and on the 608 the message digest buffer and the alternate key buffer, which use value, len and valid only. */
struct nh_chip_register {
	uint8_t value[64];
	uint8_t len; /* 32, or 64 where that much was loaded */
	bool valid;
	bool from_input; /* SourceFlag: passed through, not random */
	bool gen_dig, gen_key, no_mac;
	uint8_t key_id;
	bool private_key; /* GenKey put a private key here: of no use but for ECDH */
};

/* A SHA-256 in progress, which can be saved and loaded: state words, bytes counted, bytes that do not fill a block yet. */
struct nh_chip_sha {
	uint32_t words[8];
	uint64_t total;
	uint8_t block[64];
	uint8_t held;
	bool running;
	bool hmac;
	uint8_t opad[64]; /* the key of an HMAC, for its end */
};

typedef enum nh_chip_power { NH_CHIP_ASLEEP, NH_CHIP_IDLE, NH_CHIP_AWAKE } nh_chip_power;

struct nh_chip {
	struct nh_chip_config env;
	struct nh_chip_state state;
	bool dirty;
	/* until power fails */
	uint8_t address;
	bool latch;
	bool boot_forbidden; /* SecureBoot was told to do no more */
	/* until sleep */
	nh_chip_power power;
	struct nh_chip_register temp, digest, alternate;
	struct nh_chip_sha sha;
	uint8_t authorized; /* slot whose key a CheckMac has proved, or NO_SLOT */
	uint64_t awake_us, busy_us; /* woken at; busy until */
	uint8_t response[NH_ATECC_RESPONSE_MAX];
	size_t response_len, response_at;
	/* faults */
	struct {
		uint32_t skip, count, argument;
	} faults[NH_CHIP_FAULTS];
	uint32_t write_limit; /* bytes that still reach the array: NH_CHIP_FAULT_POWER_AT_BYTE */
};

#define ON_508A 1u
#define ON_608 2u
#define ON_ALL 3u
#define REPLY_MAX 148u
#define ANY_LENGTH 0xFFu

struct nh_chip_reply {
	uint8_t bytes[REPLY_MAX];
	size_t len; /* 0: the answer is the status */
};
typedef uint8_t (*nh_chip_run)(struct nh_chip *chip, const struct nh_atecc_packet *in, struct nh_chip_reply *out);
struct nh_chip_command {
	uint8_t opcode;
	uint8_t models;
	uint8_t modes_508a, modes_608; /* bits that param1 may have */
	uint8_t lengths[4];            /* of data that are allowed; the list ends with a second 0, or ANY_LENGTH alone: run looks itself */
	uint16_t ms_508a, ms_608[3];   /* longest execution; of the 608 by clock divider M0, M1, M2. source: reference/nerveskey "3.5" */
	nh_chip_run run;
};
/* The command behind an opcode, NULL where the chip has none such; whether it may look like this. */
const struct nh_chip_command *nh_chip_command_find(const struct nh_chip *chip, uint8_t opcode);
bool nh_chip_command_allows(const struct nh_chip *chip, const struct nh_chip_command *command, const struct nh_atecc_packet *in);
uint32_t nh_chip_command_ms(const struct nh_chip *chip, const struct nh_chip_command *command);

uint8_t nh_chip_run_read(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_write(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_lock(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_update_extra(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_counter(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_info(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_self_test(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_pause(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_random(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_nonce(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_gendig(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_genkey(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_priv_write(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_derive_key(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_ecdh(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_sign(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_verify(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_mac(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_check_mac(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_hmac(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_sha(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_aes(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_kdf(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);
uint8_t nh_chip_run_secure_boot(struct nh_chip *, const struct nh_atecc_packet *, struct nh_chip_reply *);

/* ---- chip.c */
void nh_chip_go_idle(struct nh_chip *chip);
/* Whether an armed fault strikes on this occasion; *argument (NULL legal) as armed. */
bool nh_chip_fault_strikes(struct nh_chip *chip, nh_chip_fault fault, uint32_t *argument);

/* ---- policy.c: questions to the configuration */
bool nh_chip_is_608(const struct nh_chip *chip);
bool nh_chip_config_locked(const struct nh_chip *chip);
bool nh_chip_data_locked(const struct nh_chip *chip);
bool nh_chip_slot_locked(const struct nh_chip *chip, unsigned slot);
uint16_t nh_chip_slot_config(const struct nh_chip *chip, unsigned slot);
uint16_t nh_chip_key_config(const struct nh_chip *chip, unsigned slot);
/* Is there a key pair whose private half never leaves; a P-256 public key by configuration; a slot of raw secret for SHA, HMAC, AES. */
bool nh_chip_is_private_slot(const struct nh_chip *chip, unsigned slot);
bool nh_chip_is_public_slot(const struct nh_chip *chip, unsigned slot);
/*
 * nh_chip_key_use - may the key in slot be used now? Authorization (ReqAuth), the latch (PersistentDisable), limited uses; a use is counted here, so ask after everything else.
 * 0, or NH_ATECC_EXECUTION_ERROR.
 */
uint8_t nh_chip_key_use(struct nh_chip *chip, unsigned slot);
/* As nh_chip_key_use, without counting. */
bool nh_chip_key_usable(const struct nh_chip *chip, unsigned slot);

/* Counters in the configuration zone. source: reference/nerveskey "4.6" */
uint32_t nh_chip_counter_get(const struct nh_chip *chip, unsigned counter);
void nh_chip_counter_set(struct nh_chip *chip, unsigned counter, uint32_t value);

/* ---- memory */
/* Changes bytes of the persistent state (to lies in chip->state), as far as the power lasts. */
void nh_chip_store(struct nh_chip *chip, void *to, const void *from, size_t len);
/* The private key of a slot; false where none is valid. Wipe it. */
bool nh_chip_key_load(const struct nh_chip *chip, unsigned slot, struct nh_p256_key *out);
void nh_chip_key_store(struct nh_chip *chip, unsigned slot, const uint8_t scalar[32]);
/* TempKey as a session key: a random nonce that GenDig has mixed with the key of slot `key`. */
bool nh_chip_session_with(const struct nh_chip *chip, unsigned key);
/* Public key in the padded form of a slot, 4 ‖ X ‖ 4 ‖ Y. */
void nh_chip_public_load(const struct nh_chip *chip, unsigned slot, uint8_t public_key[64]);

/* ---- io_protection.c: the 608's key between it and its host */
const uint8_t *nh_chip_io_key(const struct nh_chip *chip); /* 32 bytes; NULL where ChipOptions do not enable it */
/* May a secret be put out? protection: two bits of ChipOptions: 0 as one likes, 1 encrypted, else never. */
bool nh_chip_io_output_allowed(const struct nh_chip *chip, unsigned protection, bool encrypted);
void nh_chip_io_encrypt(struct nh_chip *chip, struct nh_chip_reply *out); /* in place, 32 or 64 bytes; the nonce is appended. Needs the key. */

/* ---- command_aes.c: the engine, for KDF */
bool nh_chip_aes_enabled(const struct nh_chip *chip);
void nh_chip_aes_block(const uint8_t key[16], bool decrypt, const uint8_t in[16], uint8_t out[16]);

/* ---- digest.c */
struct nh_chip_message {
	uint8_t bytes[320];
	size_t len;
};
/* Appends to a message that is going to be hashed; what does not fit is a bug. */
void nh_chip_say(struct nh_chip_message *message, const void *bytes, size_t len);
void nh_chip_say_byte(struct nh_chip_message *message, uint8_t byte);
void nh_chip_say_u16(struct nh_chip_message *message, uint16_t value); /* little-endian */
void nh_chip_say_zeros(struct nh_chip_message *message, size_t count);
/* opcode ‖ param1 ‖ param2, and SN[8] ‖ SN[0:1]: most messages have both. */
void nh_chip_say_command(struct nh_chip_message *message, const struct nh_atecc_packet *in);
void nh_chip_say_serial(struct nh_chip_message *message, const struct nh_chip *chip);
void nh_chip_hash(struct nh_chip_message *message, uint8_t out[32]); /* and wipes the message */
void nh_chip_random(struct nh_chip *chip, void *out, size_t len);   /* the fixed pattern until the configuration is locked */
void nh_chip_wipe(void *secret, size_t len);
void nh_chip_xor(uint8_t *bytes, const uint8_t *with, size_t len);
/* Fills a register with bytes that were computed or passed through; the flags are cleared but for from_input. */
void nh_chip_register_set(struct nh_chip_register *reg, const uint8_t *value, size_t len, bool from_input);
uint8_t nh_chip_register_flags(const struct nh_chip_register *reg); /* as Sign and Info show them: KeyID, SourceFlag, GenDigData, GenKeyData, NoMac */
void nh_chip_register_clear(struct nh_chip_register *reg);
