/*
 * Signed files, firmware or archives: how they are inspected, signed, sent and fetched. Private to cli.
 */
#pragma once

#include "cli_int.h"

struct cli_package {
	const char *noun;       /* "firmware", which is the name of the form's part, too */
	const char *collection; /* where they are below a product: "firmwares" */
	const char *suffix;     /* of files: "fw" */
};

/* Shows what the file says of itself on stderr. NH_EINVAL: it is for another product. A file that cannot be read as one is warned of: the server judges. */
nh_rc cli_package_inspect(struct nh_cli *c, const struct cli_package *kind, const char *path, struct nh_err *err);
/* Signs with the key of --key, or of the environment; in and out may be the same. */
nh_rc cli_package_sign(struct nh_cli *c, const struct cli_package *kind, const char *in, const char *out, struct nh_err *err);
/* Signs a copy, unless --skip-signing, and uploads that. *answer: the server's document. */
nh_rc cli_package_upload(struct nh_cli *c, const struct cli_package *kind, const char *path, json_t **answer, struct nh_err *err);
/* The first argument is its UUID; --file says where to. Nothing half ever has the final name. */
nh_rc cli_package_download(struct nh_cli *c, const struct cli_package *kind, struct nh_err *err);

#define CLI_SIGN_FLAGS                                                                       \
	{"key", 0, CLI_TEXT, "LOCAL-KEY", "sign with this key"},                             \
	{"password", 0, CLI_TEXT, "PASSWORD", "of the signing key"}
#define CLI_UPLOAD_FLAGS CLI_SIGN_FLAGS, {"skip-signing", 0, CLI_FLAG, NULL, "upload the file as it is"}
extern const struct cli_flag cli_download_flags[];
