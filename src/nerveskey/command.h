/*
 * What the files of the nerveskey command share: the running command with its options, how it ends, and helpers for input, output and the chip.
 */
#pragma once

#include "base/json.h"
#include "base/option.h"
#include "nerveskey/nerveskey.h"

/* Exit statuses; nerveskey(1) lists them, scripts depend on them. */
typedef enum status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,          /* none of the others */
	STATUS_USAGE = 2,           /* the command line */
	STATUS_NO_CHIP = 3,         /* no such bus, or nothing answers */
	STATUS_NOT_PROVISIONED = 4, /* a blank chip; or what was asked for is not stored */
	STATUS_PROVISIONED = 5,     /* already done: nothing left to do */
	STATUS_FOREIGN = 6,         /* locked for ever to another layout */
	STATUS_REFUSED = 7,         /* input that must not or cannot be used; nothing was written */
	STATUS_IO = 8,              /* bus, chip or file failed */
	STATUS_INTERRUPTED = 9,     /* provisioning stopped, nothing irreversible was done */
	STATUS_BURNT = 10,          /* provisioning stopped after something irreversible; it can be resumed */
	STATUS_UNTRUE = 11,         /* a signature, certificate or self test does not hold */
	STATUS_UNFINISHED = 12,     /* provisioning was begun and not finished */
	STATUS_LATCHED = 13,        /* a key of a volatile layout that was not unlocked */
} status;
const char *status_name(status s); /* "no-chip"; a literal */

/* Every option of every command; which of them a command takes is in its row. */
struct options {
	const char *bus, *address;
	bool json, help, version, yes, scan, aux;
	const char *signer_cert, *signer_key, *serial, *board, *user_data, *activation_key, *encryption_key, *receipt, *receipts;
	bool volatile_key, der, pem, chain, in_chip;
	const char *output, *format, *encoding, *digest, *signature, *public_key, *put, *payload, *audience;
	struct nh_option_list claims;
	uint64_t lifetime_ms, wait_ms, years;
};

struct flag {
	const char *name; /* NULL ends the table */
	char letter;
	nh_option_kind kind;
	size_t target;    /* in struct options */
	const char *value, *help;
	uint64_t min, max;
	const char *env;
};
#define AT(field) offsetof(struct options, field)

struct app;
struct command {
	const char *path, *args; /* "settings get", "[KEY]"; NULL ends the table */
	int min_args, max_args;
	const struct flag *flags; /* NULL: none of its own */
	nh_rc (*run)(struct app *app, struct nh_err *err);
	const char *help;
};
/* One table a subject, NULL ends the list. */
extern const struct command chip_commands[], check_commands[], provision_commands[], batch_commands[], certificate_commands[], settings_commands[], sign_commands[];

struct app {
	const struct command *command;
	struct options o;
	char **args;
	int arg_count;
	struct nh_nerveskey *key; /* app_open's */
	status status;            /* set by commands that know better than the code */
	bool latched;             /* app_provisioned: the key does not work before nerveskey unlock */
	bool secret;              /* output is for its owner alone */
};

/* command.c: finds and runs the command; the exit status. */
int command_main(int argc, char **argv);
/* Sets the exit status and hands the code on. */
nh_rc app_fail(struct app *app, status s, nh_rc rc);

/* app.c: the chip. Opens where --bus and --address say. */
nh_rc app_open(struct app *app, struct nh_err *err);
/* The bus with another address than its name says. */
void spec_with_address(const char *spec, const char *address, struct nh_buf *out);
const char *app_bus(const struct app *app);
nh_rc app_info(struct app *app, struct nh_nerveskey_info *out, struct nh_err *err); /* opens, reads */
/* The same, and the chip must be provisioned; a missing slot lock is told on standard error. */
nh_rc app_provisioned(struct app *app, struct nh_nerveskey_info *out, struct nh_err *err);
status state_status(const struct nh_nerveskey_state *s);

/* app.c: signers of --signer-cert and --signer-key. */
struct signer {
	struct nh_buf der;
	struct nh_p256_key key;
};
nh_rc signer_load(struct app *app, struct signer *out, struct nh_err *err);
void signer_fini(struct signer *s);

/* io.c. Text or file of an argument: "-" is standard input, "@FILE" a file, anything else itself. At most max bytes. */
nh_rc input_file(struct app *app, const char *path, size_t max, struct nh_buf *out, struct nh_err *err);
nh_rc input_hex(struct app *app, const char *argument, const char *what, size_t max, struct nh_buf *out, struct nh_err *err); /* HEX or @FILE of bytes */
nh_rc input_public_key(struct app *app, const char *path, uint8_t out[NH_P256_PUBLIC_LEN], struct nh_err *err); /* PEM or DER: key or certificate */
/* To --output or standard output, as they are. */
nh_rc output_bytes(struct app *app, nh_slice bytes, struct nh_err *err);
/* By --format: hex, base64 or binary. fallback where it was not given. */
nh_rc output_formatted(struct app *app, nh_slice bytes, const char *fallback, struct nh_err *err);
/* A file that must not be there yet. NH_ECONFLICT: "Refusing to overwrite". */
nh_rc file_create(struct app *app, const char *path, nh_slice bytes, unsigned mode, struct nh_err *err);
void print_json(const json_t *take_value); /* pretty, releases it */
[[gnu::format(printf, 2, 3)]] void print_row(const char *label, const char *fmt, ...); /* "label     text" */
[[gnu::format(printf, 1, 2)]] void note(const char *fmt, ...);                        /* to standard error */

/* facts.c: things as JSON and as text. */
json_t *json_hex(const uint8_t *bytes, size_t len);
json_t *json_time(int64_t at_s);
json_t *info_json(const struct app *app, const struct nh_nerveskey_info *info);
void info_print(const struct app *app, const struct nh_nerveskey_info *info);
const char *kind_text(nh_nerveskey_kind kind);
const char *stage_text(const struct nh_nerveskey_state *s);
json_t *certificate_json(nh_slice der);              /* facts; null for what is none */
void certificate_print(const char *title, nh_slice der);
json_t *plan_json(const struct nh_nerveskey_plan *plan, nh_slice signer_der);
void plan_print(const struct nh_nerveskey_plan *plan, nh_slice signer_der);
/* For the factory's database: everything about the device that is not secret. */
json_t *receipt_json(const struct nh_nerveskey_info *info, nh_slice device_der, nh_slice signer_der);

/* cmd_provision.c, for the line too: provisions the open chip; on_step shows progress. Signals wait until it is done. */
nh_rc provision_now(struct app *app, const struct nh_nerveskey_order *order, bool progress, struct nh_nerveskey_receipt *receipt, struct nh_err *err);
/* Which exit status a provisioning that failed has. */
status provision_status(nh_rc rc, const struct nh_nerveskey_receipt *receipt);
