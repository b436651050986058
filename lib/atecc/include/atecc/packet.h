/*
 * The vocabulary of ATECC508A, 608A and 608B chips, which the driver and the simulated chip share: word addresses, opcodes, zones, status codes, sizes, and
 * packets with their CRC. Sans-IO: bytes in, bytes out.
 *
 * thread: any.  source: reference/nerveskey "2.4", "3", "4.1", "4.2"
 */
#pragma once

#include "base/buf.h"

/* First byte of every I2C write to the chip. */
typedef enum nh_atecc_word_address {
	NH_ATECC_RESET = 0x00, /* read pointer back to the response's begin */
	NH_ATECC_SLEEP = 0x01,
	NH_ATECC_IDLE = 0x02,
	NH_ATECC_COMMAND = 0x03,
} nh_atecc_word_address;

typedef enum nh_atecc_opcode {
	NH_ATECC_READ = 0x02,
	NH_ATECC_MAC = 0x08,
	NH_ATECC_HMAC = 0x11,
	NH_ATECC_WRITE = 0x12,
	NH_ATECC_GENDIG = 0x15,
	NH_ATECC_NONCE = 0x16,
	NH_ATECC_LOCK = 0x17,
	NH_ATECC_RANDOM = 0x1B,
	NH_ATECC_DERIVE_KEY = 0x1C,
	NH_ATECC_UPDATE_EXTRA = 0x20,
	NH_ATECC_COUNTER = 0x24,
	NH_ATECC_CHECK_MAC = 0x28,
	NH_ATECC_INFO = 0x30,
	NH_ATECC_GENKEY = 0x40,
	NH_ATECC_SIGN = 0x41,
	NH_ATECC_ECDH = 0x43,
	NH_ATECC_VERIFY = 0x45,
	NH_ATECC_PRIV_WRITE = 0x46,
	NH_ATECC_SHA = 0x47,
	NH_ATECC_AES = 0x51,
	NH_ATECC_KDF = 0x56,
	NH_ATECC_SELF_TEST = 0x77,
	NH_ATECC_SECURE_BOOT = 0x80,
} nh_atecc_opcode;

typedef enum nh_atecc_zone { NH_ATECC_ZONE_CONFIG = 0, NH_ATECC_ZONE_OTP = 1, NH_ATECC_ZONE_DATA = 2 } nh_atecc_zone;

/* source: reference/nerveskey "3.4" */
typedef enum nh_atecc_status {
	NH_ATECC_SUCCESS = 0x00,
	NH_ATECC_MISCOMPARE = 0x01,
	NH_ATECC_PARSE_ERROR = 0x03,
	NH_ATECC_ECC_FAULT = 0x05,
	NH_ATECC_SELF_TEST_ERROR = 0x07,
	NH_ATECC_HEALTH_TEST_ERROR = 0x08,
	NH_ATECC_EXECUTION_ERROR = 0x0F,
	NH_ATECC_AFTER_WAKE = 0x11,
	NH_ATECC_WATCHDOG = 0xEE,
	NH_ATECC_CRC_ERROR = 0xFF,
} nh_atecc_status;
/* In words, for messages ("execution error: not allowed in the chip's present state or configuration"); a literal, never NULL. */
const char *nh_atecc_status_text(uint8_t status);

#define NH_ATECC_ADDRESS 0x60u       /* 7-bit I2C addresses: blank parts and NervesKey */
#define NH_ATECC_ADDRESS_TNG 0x35u   /* Trust&Go */
#define NH_ATECC_ADDRESS_TFLX 0x36u  /* TrustFLEX */
#define NH_ATECC_ADDRESS_KIT 0x58u   /* some pre-configured kits */

#define NH_ATECC_CONFIG_LEN 128u
#define NH_ATECC_OTP_LEN 64u
#define NH_ATECC_SLOTS 16u
#define NH_ATECC_SLOT_MAX 416u
#define NH_ATECC_SERIAL_LEN 9u
#define NH_ATECC_BLOCK 32u
#define NH_ATECC_WORD 4u
#define NH_ATECC_DATA_MAX 148u       /* data bytes of one command: the largest count byte is 155 */
#define NH_ATECC_RESPONSE_MAX 155u   /* with count and CRC */
/* Bytes of a data slot: 36 (0-7), 416 (8), 72 (9-15); 0 for slot > 15. */
size_t nh_atecc_slot_len(unsigned slot);

/* Param2 of Read and Write. config and OTP: byte is an offset in the zone, slot unused. source: reference/nerveskey "4.2" */
uint16_t nh_atecc_address(nh_atecc_zone zone, unsigned slot, unsigned byte);

/* CRC-16 as the chip computes it (poly 0x8005, bits least significant first, no reflection of the result). Sent low byte first. */
uint16_t nh_atecc_crc16(nh_slice bytes);
/* The same over several pieces: begin with 0. */
uint16_t nh_atecc_crc16_more(uint16_t crc, nh_slice bytes);

/* nh_atecc_packet_put - appends count, opcode, params, data and CRC (no word address). NH_EINVAL: data over NH_ATECC_DATA_MAX. */
nh_rc nh_atecc_packet_put(struct nh_buf *out, uint8_t opcode, uint8_t param1, uint16_t param2, nh_slice data);

struct nh_atecc_packet {
	uint8_t opcode, param1;
	uint16_t param2;
	nh_slice data; /* view into the packet */
};
/* nh_atecc_packet_parse - the chip's side: bytes behind the word address, exactly one packet. NH_EFORMAT: count or CRC wrong. */
nh_rc nh_atecc_packet_parse(nh_slice bytes, struct nh_atecc_packet *out);

/*
 * nh_atecc_response_parse - the driver's side: at least one whole response at the begin of bytes (what follows is filling and ignored). payload: view without count and CRC.
 * NH_EFORMAT: count impossible or CRC wrong; NH_EAGAIN: fewer bytes than the count says.
 */
nh_rc nh_atecc_response_parse(nh_slice bytes, nh_slice *payload);
/* nh_atecc_response_put - the chip's side: appends count, payload (1 to NH_ATECC_RESPONSE_MAX - 3 bytes), CRC. */
void nh_atecc_response_put(struct nh_buf *out, nh_slice payload);
