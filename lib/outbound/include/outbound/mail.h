/*
 * Mails: takes what the hub has queued (hub/mails.h), words it as text and HTML, and hands it to an SMTP server, or writes one file a mail into a folder, for development. One thread of its own does
 * that, so neither a loop nor a worker ever waits for somebody's mail server; a mail that cannot be sent now is tried again later, and the log says so without saying what is in it.
 *
 * TLS is always demanded of an SMTP server (from the first byte, or by STARTTLS), and its certificate checked.
 *
 * thread: new and free by main; wake any. source: reference/server-behaviour "9.6", "13.6"; RFC 5321, RFC 5322, RFC 2045 to 2047
 */
#pragma once

#include "hub/hub.h"
#include "hub/mails.h"

struct nh_mailer;

/* How mails look. Strings are borrowed while the mailer lives; none is NULL, empty ones are legal but for the first three. */
struct nh_mail_style {
	const char *from_email, *sender; /* "no-reply@nerves-hub.org", "NervesHub" */
	const char *platform;            /* before each subject */
	const char *support_address;     /* who helps; empty: the administrator */
	const char *signoff;             /* last line; may be empty */
};

/* All borrowed while the mailer lives. One of server and folder is set. */
struct nh_mailer_config {
	struct nh_db *db;
	const struct nh_hub_config *hub;
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	struct nh_mail_style style;
	const char *folder;              /* writes TIME-ID-KIND.eml there, TIME in µs; NULL or empty: none */
	const char *server;              /* SMTP host; NULL or empty: none */
	unsigned port;
	const char *username, *password; /* empty: no authentication */
	bool ssl;                        /* TLS from the first byte, not by STARTTLS */
	const char *tls_versions;        /* "tlsv1.2,tlsv1.3"; empty: what the library thinks right. Checked by nh_mailer_new */
	const char *ca_file;             /* empty: the system's */
	uint64_t retry_ms;               /* pause after a first failure, doubled each time up to an hour; 0 = 30 000 */
};

/* nh_mailer_new - starts the thread. NH_EINVAL: tls_versions, or an address that no mail can come from; NH_EIO: no thread. config is copied. */
nh_rc nh_mailer_new(const struct nh_mailer_config *config, struct nh_mailer **out, struct nh_err *err);
void nh_mailer_wake(struct nh_mailer *mailer); /* a mail was queued. NULL legal. Any thread */
void nh_mailer_free(struct nh_mailer *mailer); /* cuts off what is being sent: it is sent at the next start. NULL legal */

struct nh_mailer_stats {
	uint64_t sent, failed, given_up; /* since start; failed: tries */
};
void nh_mailer_stats(const struct nh_mailer *mailer, struct nh_mailer_stats *out); /* any thread; NULL legal: zeros */

/*
 * nh_mail_put - appends the whole message (RFC 5322, CRLF). boundary: of letters and digits, in no text. NH_EINVAL: an address that cannot stand in a header. Pure, any thread.
 */
nh_rc nh_mail_put(struct nh_buf *out, const struct nh_mail_style *style, const struct nh_mail *mail, int64_t now_us, const char *boundary, struct nh_err *err);
