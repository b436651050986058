/*
 * The first account: made when the database has no user. Its password is random, lies in a file of mode 0600, and is shown only on a terminal.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/password.h"
#include "hub/accounts.h"
#include "hubd.h"

#define ADMIN_NAME "admin"
#define ADMIN_EMAIL "admin@localhost"

struct call {
	struct hubd *h;
	struct nh_arena *arena;
	struct nh_new_user input;
	bool any, created;
};

static struct nh_ctx context(struct call *call, struct nh_tx *tx, struct nh_effects *effects)
{
	return (struct nh_ctx){.tx = tx, .arena = call->arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &call->h->hub, .effects = effects};
}

static nh_rc any_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	struct nh_ctx ctx = context(call, tx, NULL);
	return nh_users_any(&ctx, &call->any, err);
}

static nh_rc create_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct call *call = arg;
	struct nh_effects effects = {0};
	struct nh_ctx ctx = context(call, tx, &effects);
	struct nh_user user;
	return nh_user_bootstrap(&ctx, &call->input, &call->created, &user, err);
}

static nh_rc create(struct call *call, struct nh_buf *password, struct nh_err *err)
{
	json_t *errors = NULL;
	const char *path = nh_arena_printf(call->arena, "%s/admin-password", call->h->settings->data_dir);
	uint8_t bytes[18];
	nh_rng_fill(&nh_rng_system, bytes, sizeof bytes);
	nh_b64_put(password, nh_slice_of(bytes, sizeof bytes), NH_B64_URL_NOPAD);
	explicit_bzero(bytes, sizeof bytes);
	nh_rc rc = nh_user_prepare(call->arena, NH_LIT(ADMIN_NAME), NH_LIT(ADMIN_EMAIL), nh_buf_slice(password), &nh_password_cost_default, &call->input, &errors, err);
	json_decref(errors);
	NH_TRY(rc);
	call->input.server_admin = true;
	/* The file first: a password that nobody knows would lock everybody out. */
	size_t len = password->len;
	nh_buf_put_u8(password, '\n');
	NH_TRY(nh_file_write_atomic(path, nh_buf_slice(password), 0600, err));
	nh_buf_truncate(password, len);
	NH_TRY(nh_db_write(call->h->db, create_tx, call, err));
	call->h->first_start = call->created;
	if (!call->created)
		return NH_OK;
	NH_LOG(NH_LOG_INFO, "admin.created", NH_STR("email", ADMIN_EMAIL), NH_STR("password_file", path));
	if (isatty(STDOUT_FILENO))
		printf("Administrator %s, password %s (also in %s)\n", ADMIN_EMAIL, nh_buf_cstr(password), path);
	return NH_OK;
}

nh_rc admin_bootstrap(struct hubd *h, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct call call = {.h = h, .arena = &arena};
	NH_TRY(nh_db_read(h->db, any_tx, &call, err));
	if (call.any)
		return NH_OK;
	struct nh_buf password = NH_BUF_INIT;
	nh_rc rc = create(&call, &password, err);
	nh_buf_wipe(&password);
	return rc;
}
