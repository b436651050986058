/*
 * A simulated chip and the file that is its silicon: what the file says survives power, so it is rewritten (beside, then renamed over) before anybody learns that it changed.
 * One process at a time holds a file: an advisory lock on FILE.lock, which stays behind empty-handed and is never removed.
 *
 * thread: main.
 */
#pragma once

#include "chip/chip.h"

/* What a new part should be. */
struct chip_wish {
	nh_chip_model model;
	nh_chip_personality personality;
	bool has_serial;
	uint8_t serial[NH_ATECC_SERIAL_LEN];
	uint8_t address; /* 7-bit; 0: the model's own */
};

struct chip_file {
	char *path;
	int lock_fd;
	const struct nh_chip_config *config; /* borrowed */
	struct nh_chip *chip;
};

/* chip_file_create - a part as it leaves the factory. NH_ECONFLICT: there is such a file; NH_EPERM NH_ENOSPC NH_EIO. */
nh_rc chip_file_create(const char *path, const struct chip_wish *wish, struct nh_err *err);
/* chip_file_read - what the file says, without taking it. NH_ENOTFOUND NH_EPERM NH_EFORMAT NH_EIO */
nh_rc chip_file_read(const char *path, struct nh_chip_state *out, struct nh_err *err);
/* chip_file_open - takes the file and powers the chip up. NH_ECONFLICT: another process holds it; else as chip_file_read. *out: chip_file_close. */
nh_rc chip_file_open(const char *path, const struct nh_chip_config *config, struct chip_file **out, struct nh_err *err);
void chip_file_close(struct chip_file *file); /* NULL legal */
/* chip_file_settle - writes the file where the chip's state changed. After an error the chip must not answer any more: it knows what the file doesn't. */
nh_rc chip_file_settle(struct chip_file *file, struct nh_err *err);
/* chip_file_wipe - back to the factory: same model, same serial number, unlocked, everything else gone. */
nh_rc chip_file_wipe(struct chip_file *file, struct nh_err *err);

/* Vocabulary of the command line and of "show". */
const char *chip_model_name(nh_chip_model model); /* "ATECC608B" */
nh_rc chip_model_parse(const char *text, nh_chip_model *out, struct nh_err *err);
nh_rc chip_address_parse(const char *text, uint8_t *out, struct nh_err *err); /* 0x03 to 0x77, hexadecimal */
nh_rc chip_serial_parse(const char *text, uint8_t out[NH_ATECC_SERIAL_LEN], struct nh_err *err); /* 18 hexadecimal digits */
void chip_serial_of(const struct nh_chip_state *state, uint8_t out[NH_ATECC_SERIAL_LEN]);
