/*
 * Status codes and the error record every room shares.
 *
 * A function that can fail returns nh_rc. One that crosses a room's border takes a caller-owned `struct nh_err *err` last
 * (NULL is legal) and fills it at the place where the failure is noticed. Nothing is kept per thread, so nothing is ever stale.
 * The message is for people who run or operate the program: it names the thing, the value, what was expected and what to do;
 * it never holds a secret. These codes never go on a wire: each edge maps them by a table.
 *
 * thread: any.  source: design/conventions "Errors"
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum [[nodiscard]] nh_rc {
	NH_OK = 0,
	NH_EINVAL = -1,      /* the caller's or user's input is not acceptable */
	NH_ENOTFOUND = -2,   /* no such thing, or none the actor may see */
	NH_EFORMAT = -3,     /* bytes do not have the format they should have */
	NH_ECONFLICT = -4,   /* exists already, or changed meanwhile */
	NH_EPERM = -5,       /* known, but not allowed */
	NH_EAUTH = -6,       /* who it is could not be established (signature, password, certificate) */
	NH_ETOOBIG = -7,     /* over a cap */
	NH_EAGAIN = -8,      /* not now: queue full, would block, need more bytes */
	NH_ETIMEOUT = -9,    /* a deadline passed */
	NH_ECLOSED = -10,    /* the other side went away, or the object is closing */
	NH_EIO = -11,        /* the operating system or the database failed to read or write */
	NH_ENOSPC = -12,     /* disk or quota full */
	NH_ENOMEM = -13,     /* no memory */
	NH_EUNSUPPORTED = -14, /* well-formed, but this version does not do it */
	NH_EINTERNAL = -15,  /* a bug of ours, or a dependency broke its contract */
} nh_rc;

struct nh_err {
	nh_rc rc;
	const char *file; /* borrowed literal: __FILE__ of the place that noticed */
	int line;
	char msg[512];
};

#define NH_ERR_INIT ((struct nh_err){0})

/*
 * nh_rc_outage - does the code say that the environment failed (disk, database, memory, queues), so that the same call may succeed later? Edges answer such
 * with "try again" and leave the log to the one who noticed: base/episode.h.
 */
static inline bool nh_rc_outage(nh_rc rc)
{
	return rc == NH_EIO || rc == NH_ENOSPC || rc == NH_EAGAIN || rc == NH_ENOMEM;
}

/* nh_rc_name - the code's name without the prefix, for logs ("ENOTFOUND"). Returns a literal, never NULL. */
const char *nh_rc_name(nh_rc rc);

/* nh_err_set - fills *err (NULL legal) and returns rc. Use NH_FAIL. The message is cut at the record's size. */
[[gnu::format(printf, 5, 6)]] nh_rc nh_err_set(struct nh_err *err, nh_rc rc, const char *file, int line, const char *fmt, ...);

/* nh_err_prefix - puts "text: " in front of err's message (NULL err legal); returns err's code, or rc where err is NULL. */
[[gnu::format(printf, 3, 4)]] nh_rc nh_err_prefix(struct nh_err *err, nh_rc rc, const char *fmt, ...);

/* NH_FAIL(err, code, "format", ...) - evaluates to code. */
#define NH_FAIL(err, code, ...) nh_err_set((err), (code), __FILE__, __LINE__, __VA_ARGS__)

/* NH_TRY(call) - returns the call's code from the enclosing function unless it is NH_OK. The only macros that return are these two. */
#define NH_TRY(call)                               \
	do {                                       \
		nh_rc nh_try_rc_ = (call);         \
		if (nh_try_rc_ != NH_OK)           \
			return nh_try_rc_;         \
	} while (0)

/* NH_TRY_CTX(call, err, "format", ...) - as NH_TRY, and prefixes the message on the way up. */
#define NH_TRY_CTX(call, err, ...)                                              \
	do {                                                                    \
		nh_rc nh_try_rc_ = (call);                                      \
		if (nh_try_rc_ != NH_OK)                                        \
			return nh_err_prefix((err), nh_try_rc_, __VA_ARGS__);   \
	} while (0)

/* NH_IGNORE(call) - the one way to drop a code on purpose; say why in a comment beside it. */
#define NH_IGNORE(call) ((void)(call))

/* NH_ASSERT - programmer errors only; prints and aborts, in every build. Input never reaches one. */
[[gnu::noreturn]] void nh_assert_failed(const char *expr, const char *file, int line);
#define NH_ASSERT(expr) ((expr) ? (void)0 : nh_assert_failed(#expr, __FILE__, __LINE__))

#define NH_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
