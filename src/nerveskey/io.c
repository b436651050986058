/*
 * Bytes in and out of the command: files, standard input and output, their forms.
 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/pem.h"

nh_rc input_file(struct app *app, const char *path, size_t max, struct nh_buf *out, struct nh_err *err)
{
	/* The kernel's name for it keeps one way of reading, with its cap. */
	nh_rc rc = nh_file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, max, out, err);
	return rc == NH_OK ? rc : app_fail(app, STATUS_REFUSED, rc);
}

nh_rc input_hex(struct app *app, const char *argument, const char *what, size_t max, struct nh_buf *out, struct nh_err *err)
{
	if (argument[0] == '@')
		NH_TRY(input_file(app, argument + 1, 65536, out, err));
	else if (nh_hex_decode(nh_slice_str(argument), out) != NH_OK)
		return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "%s: expected hexadecimal digits or @FILE", what));
	return out->len <= max ? NH_OK : app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "%s has %zu bytes, at most %zu are possible", what, out->len, max));
}

nh_rc input_public_key(struct app *app, const char *path, uint8_t out[NH_P256_PUBLIC_LEN], struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, block = NH_BUF_INIT;
	struct nh_nerveskey_certificate cert;
	nh_slice label = NH_SLICE_EMPTY, rest;
	NH_TRY(input_file(app, path, 65536, &text, err));
	nh_rc rc = nh_pem_find(nh_buf_slice(&text), &label, &block, &rest);
	nh_slice der = rc == NH_OK ? nh_buf_slice(&block) : nh_buf_slice(&text);
	if (nh_p256_spki_parse(der, out) == NH_OK)
		return NH_OK;
	if (nh_nerveskey_certificate_parse(der, &cert, NULL) == NH_OK) {
		memcpy(out, cert.public_key, NH_P256_PUBLIC_LEN);
		return NH_OK;
	}
	return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "%s holds neither a P-256 public key nor a certificate with one (PEM or DER)", path));
}

static nh_rc write_all(int fd, nh_slice bytes, const char *name, struct nh_err *err)
{
	while (bytes.len) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NH_FAIL(err, nh_rc_from_errno(errno), "cannot write %s: %s", name, strerror(errno));
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return NH_OK;
}

nh_rc output_bytes(struct app *app, nh_slice bytes, struct nh_err *err)
{
	fflush(stdout);
	nh_rc rc = app->o.output && strcmp(app->o.output, "-") != 0 ? nh_file_write_atomic(app->o.output, bytes, app->secret ? 0600 : 0644, err) : write_all(STDOUT_FILENO, bytes, "standard output", err);
	return rc == NH_OK ? rc : app_fail(app, STATUS_IO, rc);
}

nh_rc output_formatted(struct app *app, nh_slice bytes, const char *fallback, struct nh_err *err)
{
	const char *format = app->o.format ? app->o.format : fallback;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (strcmp(format, "binary") == 0)
		return output_bytes(app, bytes, err);
	if (strcmp(format, "hex") == 0)
		nh_hex_put(&text, bytes);
	else if (strcmp(format, "base64") == 0)
		nh_b64_put(&text, bytes, NH_B64_STD);
	else
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--format is hex, base64 or binary, not '%.40s'", format));
	nh_buf_put_u8(&text, '\n');
	return output_bytes(app, nh_buf_slice(&text), err);
}

nh_rc file_create(struct app *app, const char *path, nh_slice bytes, unsigned mode, struct nh_err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
	if (fd < 0 && errno == EEXIST)
		return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_ECONFLICT, "Refusing to overwrite %s. Please remove or change the name", path));
	if (fd < 0)
		return app_fail(app, STATUS_IO, NH_FAIL(err, nh_rc_from_errno(errno), "cannot create %s: %s", path, strerror(errno)));
	nh_rc rc = write_all(fd, bytes, path, err);
	if (rc == NH_OK && fsync(fd) != 0)
		rc = NH_FAIL(err, nh_rc_from_errno(errno), "cannot write %s: %s", path, strerror(errno));
	close(fd);
	if (rc == NH_OK)
		return rc;
	unlink(path);
	return app_fail(app, STATUS_IO, rc);
}

void print_json(const json_t *take_value)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put_pretty(&text, take_value);
	fwrite(text.ptr, 1, text.len, stdout);
	json_decref((json_t *)(uintptr_t)take_value);
}

void print_row(const char *label, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	printf("%-22s ", label);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
}

void note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}
