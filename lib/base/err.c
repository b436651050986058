/*
 * Status codes and error records: formatting only. Keeps nothing, prints nothing, except for a failed assertion, which ends the process.
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"OK", "EINVAL", "ENOTFOUND", "EFORMAT", "ECONFLICT", "EPERM", "EAUTH", "ETOOBIG",
				    "EAGAIN", "ETIMEOUT", "ECLOSED", "EIO", "ENOSPC", "ENOMEM", "EUNSUPPORTED", "EINTERNAL"};

const char *nh_rc_name(nh_rc rc)
{
	size_t i = rc <= 0 ? (size_t)-(int)rc : NH_ARRAY_LEN(names);
	return i < NH_ARRAY_LEN(names) ? names[i] : "EUNKNOWN";
}

nh_rc nh_err_set(struct nh_err *err, nh_rc rc, const char *file, int line, const char *fmt, ...)
{
	if (!err)
		return rc;
	/* Format aside first: an argument may point into the record's old message. */
	char msg[sizeof err->msg];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	*err = (struct nh_err){.rc = rc, .file = file, .line = line};
	memcpy(err->msg, msg, sizeof msg);
	return rc;
}

nh_rc nh_err_prefix(struct nh_err *err, nh_rc rc, const char *fmt, ...)
{
	if (!err)
		return rc;
	char msg[sizeof err->msg], prefix[sizeof err->msg];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(prefix, sizeof prefix, fmt, ap);
	va_end(ap);
	int n = snprintf(msg, sizeof msg, "%s: ", prefix);
	size_t used = n < 0 ? 0 : (size_t)n < sizeof msg ? (size_t)n : sizeof msg - 1;
	snprintf(msg + used, sizeof msg - used, "%s", err->msg);
	memcpy(err->msg, msg, sizeof msg);
	if (err->rc == NH_OK)
		err->rc = rc;
	return err->rc;
}

void nh_assert_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expr);
	abort();
}
