/*
 * The thread that sends mails: claims one, words it, hands it over, notes what became of it; then the next, or sleeps until one is due or somebody wakes it.
 */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "mail_int.h"
#include "store/db.h"

#define LEASE_US (120 * NH_US_PER_S) /* longer than one try may take */
#define RETRY_MS 30000
#define SLEEP_US (30 * NH_US_PER_S) /* another server of the database may have queued some */
#define OUTAGE_SLEEP_US (1 * NH_US_PER_S)

struct nh_mailer {
	struct nh_mailer_config config;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool woken; /* under the lock */
	bool stopping; /* atomic */
	struct nh_mailer_stats stats; /* relaxed atomics */
};

/* One turn: what the transactions share. */
struct turn {
	struct nh_mailer *m;
	struct nh_arena arena;
	struct nh_queued_mail mail;
	int64_t next_due_us;
	bool broken, given_up, for_good;
};

static struct nh_ctx context(struct turn *t, struct nh_tx *tx)
{
	const struct nh_mailer_config *c = &t->m->config;
	return (struct nh_ctx){.tx = tx, .arena = &t->arena, .clock = c->clock, .rng = c->rng, .config = c->hub};
}

static nh_rc claim_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	struct nh_ctx ctx = context(t, tx);
	return nh_mail_claim(&ctx, LEASE_US, &t->mail, &t->next_due_us, &t->broken, err);
}

static nh_rc done_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	struct nh_ctx ctx = context(t, tx);
	return nh_mail_done(&ctx, t->mail.id, err);
}

static nh_rc failed_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	struct nh_ctx ctx = context(t, tx);
	return nh_mail_failed(&ctx, &t->mail, (int64_t)t->m->config.retry_ms * 1000, t->for_good, &t->given_up, err);
}

/* ---- one mail ------------------------------------------------------------------------------------------------------------- */

/* Numbers of mails that are gone are given again; with the time the names sort, too. */
static nh_rc into_folder(struct turn *t, nh_slice message, struct nh_err *err)
{
	const char *folder = t->m->config.folder;
	NH_TRY(nh_dir_make(folder, 0700, err));
	const char *path = nh_arena_printf(&t->arena, "%s/%lld-%lld-%s.eml", folder, (long long)t->mail.inserted_at_us, (long long)t->mail.id, nh_mail_kind_name(t->mail.mail.kind));
	return nh_file_write_atomic(path, message, 0600, err);
}

static nh_rc hand_over(struct turn *t, struct nh_err *err)
{
	const struct nh_mailer_config *c = &t->m->config;
	uint8_t random[16];
	NH_AUTO_BUF struct nh_buf boundary = NH_BUF_INIT;
	struct nh_buf message = NH_BUF_INIT;
	nh_rng_fill(c->rng, random, sizeof random);
	nh_hex_put(&boundary, nh_slice_of(random, sizeof random));
	nh_rc rc = nh_mail_put(&message, &c->style, &t->mail.mail, nh_clock_now(c->clock), nh_buf_cstr(&boundary), err);
	t->for_good = rc != NH_OK;
	if (rc == NH_OK)
		rc = *c->folder ? into_folder(t, nh_buf_slice(&message), err)
				: mail_smtp_send(c, t->mail.mail.to, nh_buf_slice(&message), &t->m->stopping, &t->for_good, err);
	nh_buf_wipe(&message);
	return rc;
}

static void count(uint64_t *figure) { __atomic_fetch_add(figure, 1, __ATOMIC_RELAXED); }

static void send_claimed(struct turn *t)
{
	struct nh_err err = NH_ERR_INIT, why = NH_ERR_INIT;
	const char *kind = nh_mail_kind_name(t->mail.mail.kind);
	nh_rc rc = hand_over(t, &err);
	if (rc == NH_OK) {
		count(&t->m->stats.sent);
		NH_LOG(NH_LOG_INFO, "mail.sent", NH_I("mail", t->mail.id), NH_STR("kind", kind), NH_I("attempts", t->mail.attempts));
		if (nh_db_write(t->m->config.db, done_tx, t, &why) != NH_OK)
			NH_LOG(NH_LOG_WARN, "mail.not_noted", NH_I("mail", t->mail.id), NH_STR("why", why.msg));
		return;
	}
	count(&t->m->stats.failed);
	rc = nh_db_write(t->m->config.db, failed_tx, t, &why); /* where that fails, the lease ends some time */
	if (rc == NH_OK && t->given_up)
		count(&t->m->stats.given_up);
	NH_LOG(NH_LOG_WARN, rc == NH_OK && t->given_up ? "mail.given_up" : "mail.failed", NH_I("mail", t->mail.id), NH_STR("kind", kind), NH_I("attempts", t->mail.attempts),
	       NH_STR("why", err.msg));
}

/* How long to sleep; 0: there may be more. */
static int64_t turn(struct nh_mailer *m)
{
	struct turn t = {.m = m};
	struct nh_err err = NH_ERR_INIT;
	int64_t sleep = 0;
	nh_rc rc = nh_db_write(m->config.db, claim_tx, &t, &err);
	if (rc == NH_OK && t.broken) {
		NH_LOG(NH_LOG_WARN, "mail.unreadable", NH_STR("what", "a queued mail was dropped: it was sealed with another secret key"));
	} else if (rc == NH_OK) {
		send_claimed(&t);
	} else {
		int64_t wait = t.next_due_us ? t.next_due_us - nh_clock_now(m->config.clock) : SLEEP_US;
		sleep = rc != NH_ENOTFOUND ? OUTAGE_SLEEP_US : wait < 1000 ? 1000 : wait > SLEEP_US ? SLEEP_US : wait;
		if (rc != NH_ENOTFOUND && !nh_rc_outage(rc))
			NH_LOG(NH_LOG_ERROR, "mail.queue_failed", NH_STR("why", err.msg));
	}
	nh_arena_fini(&t.arena);
	return sleep;
}

/* ---- the thread ----------------------------------------------------------------------------------------------------------- */

static void rest(struct nh_mailer *m, int64_t us)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += us / NH_US_PER_S;
	until.tv_nsec += us % NH_US_PER_S * 1000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&m->lock);
	while (!m->woken && pthread_cond_timedwait(&m->changed, &m->lock, &until) != ETIMEDOUT)
		;
	m->woken = false;
	pthread_mutex_unlock(&m->lock);
}

static void *run(void *arg)
{
	struct nh_mailer *m = arg;
	nh_thread_background("mail");
	while (!__atomic_load_n(&m->stopping, __ATOMIC_ACQUIRE)) {
		int64_t sleep = turn(m);
		if (sleep > 0)
			rest(m, sleep);
	}
	return NULL;
}

void nh_mailer_wake(struct nh_mailer *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->woken = true;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static nh_rc check(const struct nh_mailer_config *config, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf probe = NH_BUF_INIT;
	const struct nh_mail self = {.kind = NH_MAIL_WELCOME, .to = nh_slice_str(config->style.from_email)};
	NH_TRY(mail_smtp_check(config, err));
	if (nh_mail_put(&probe, &config->style, &self, 0, "probe", NULL) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "FROM_EMAIL is '%s'; expected an address such as no-reply@example.com", config->style.from_email);
	return NH_OK;
}

nh_rc nh_mailer_new(const struct nh_mailer_config *config, struct nh_mailer **out, struct nh_err *err)
{
	pthread_condattr_t monotonic;
	*out = NULL;
	NH_TRY(check(config, err));
	curl_global_init(CURL_GLOBAL_DEFAULT);
	struct nh_mailer *m = nh_xcalloc(1, sizeof *m);
	m->config = *config;
	if (m->config.retry_ms == 0)
		m->config.retry_ms = RETRY_MS;
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&m->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	int failed = pthread_create(&m->thread, NULL, run, m);
	if (failed) {
		free(m);
		return NH_FAIL(err, nh_rc_from_errno(failed), "cannot start the thread that sends mails");
	}
	*out = m;
	return NH_OK;
}

void nh_mailer_free(struct nh_mailer *m)
{
	if (!m)
		return;
	__atomic_store_n(&m->stopping, true, __ATOMIC_RELEASE);
	nh_mailer_wake(m);
	pthread_join(m->thread, NULL);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void nh_mailer_stats(const struct nh_mailer *m, struct nh_mailer_stats *out)
{
	*out = (struct nh_mailer_stats){0};
	if (!m)
		return;
	out->sent = __atomic_load_n(&m->stats.sent, __ATOMIC_RELAXED);
	out->failed = __atomic_load_n(&m->stats.failed, __ATOMIC_RELAXED);
	out->given_up = __atomic_load_n(&m->stats.given_up, __ATOMIC_RELAXED);
}
