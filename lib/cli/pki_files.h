/*
 * Keys and certificates on disk, shared by `nh ca` and `nh device certificates`. Private to cli.
 */
#pragma once

#include "cli_int.h"
#include "crypto/pki.h"

struct cli_authority {
	struct nh_cert *cert;
	struct nh_key *key;
};

#define CLI_AUTO_AUTHORITY __attribute__((cleanup(cli_authority_fini)))
void cli_authority_fini(struct cli_authority *a);
/* A key in a PEM file (a password is asked for where it has one), or in a token: pkcs11: URI, or a file that holds one. The PIN comes from the URI, NERVES_HUB_PIN or a prompt. */
nh_rc cli_key_open(struct nh_cli *c, const char *where, struct nh_key **out, struct nh_err *err);
/* A CA and its key (cli_key_open): checked to be a CA, and to belong together. */
nh_rc cli_authority_load(struct nh_cli *c, const char *cert_path, const char *key_place, struct cli_authority *out, struct nh_err *err);
/* The CA that `nh ca generate` called `name`. */
nh_rc cli_authority_named(struct nh_cli *c, const char *name, struct cli_authority *out, struct nh_err *err);

nh_rc cli_cert_load(const char *path, struct nh_cert **out, struct nh_err *err);
nh_rc cli_key_save(const char *path, const struct nh_key *key, struct nh_err *err);            /* 0600, never overwrites */
/* Issues for `key` (issuer NULL: self-signed) and parses the result. */
nh_rc cli_issue(const struct nh_cert_profile *profile, const struct nh_key *key, const struct cli_authority *issuer, struct nh_cert **out,
		struct nh_err *err);
/* A device's certificate as `nh device certificates generate` makes it; issuer NULL: self-signed. 31 years, or --valid-for. */
nh_rc cli_issue_device(struct nh_cli *c, const char *device, const struct nh_key *key, const struct cli_authority *issuer, struct nh_cert **out, struct nh_err *err);
nh_rc cli_register_certificate(struct nh_cli *c, const char *device, const struct nh_cert *cert, struct nh_err *err);
json_t *cli_pem_base64(const struct nh_cert *cert); /* JSON string: base64 of the PEM text, as the server takes certificates */
nh_rc cli_validity(const struct nh_cli *c, int64_t *out_us, struct nh_err *err); /* --valid-for, 31 years without */
char *cli_stamp(struct nh_cli *c, const char *format);                           /* UTC, strftime */
/* The moment as a name, "2026-01-31-12-00-00", that no file <folder>/<name><suffix> has: for a second one in the same second the next is waited for. */
char *cli_fresh_stamp(struct nh_cli *c, const char *folder, const char *suffix);
