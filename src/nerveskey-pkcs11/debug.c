/*
 * What the module does, on standard error, for people whose program says only "object not found": set NERVESKEY_DEBUG. Names of functions and results, messages about chips; never data, keys or PINs.
 */
#include "module.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool enabled;

void debug_load(void)
{
	const char *value = secure_getenv("NERVESKEY_DEBUG");
	__atomic_store_n(&enabled, value && *value && strcmp(value, "0") != 0, __ATOMIC_RELAXED);
}

[[gnu::format(printf, 1, 0)]] static void line(const char *fmt, va_list ap)
{
	char text[1024];
	int n = vsnprintf(text, sizeof text, fmt, ap);
	if (n < 0)
		return;
	/* what a chip or a file says must not forge lines */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ')
			*c = ' ';
	/* one write, so that lines of threads and processes don't mix */
	dprintf(STDERR_FILENO, "nerveskey-pkcs11[%ld]: %s\n", (long)getpid(), text);
}

CK_RV debug_call(const char *function, CK_RV rv)
{
	debug_say("%s: %s", function, error_name(rv));
	return rv;
}

void debug_say(const char *fmt, ...)
{
	if (!__atomic_load_n(&enabled, __ATOMIC_RELAXED))
		return;
	va_list ap;
	va_start(ap, fmt);
	line(fmt, ap);
	va_end(ap);
}

void debug_complain(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line(fmt, ap);
	va_end(ap);
}
