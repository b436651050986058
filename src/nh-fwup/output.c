/*
 * Output of nh-fwup. Everything is written with write(2) in whole pieces, so that packets are not torn and nothing waits in a buffer when the process
 * that reads them is slow.
 */
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "firmware/framing.h"

static void write_all(int fd, nh_slice bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0 && errno != EINTR)
			return; /* nobody reads any more; the exit status still tells */
		if (n > 0)
			bytes = nh_slice_skip(bytes, (size_t)n);
	}
}

void output_bytes(nh_slice bytes)
{
	write_all(STDOUT_FILENO, bytes);
}

void output_aside(nh_slice bytes)
{
	write_all(STDERR_FILENO, bytes);
}

static void packet(const char type[2], unsigned value, nh_slice text)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_fw_packet_put(&b, type, (uint16_t)value, text);
	output_bytes(nh_buf_slice(&b));
}

static void line(const struct output *o, const char *text)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_buf_printf(&b, "%sfwup: %s\n", o->bar ? "\r\x1b[K" : "", text);
	output_bytes(nh_buf_slice(&b));
}

void output_message(void *output, const char *text)
{
	struct output *o = output;
	if (o->framing)
		packet(NH_FW_PACKET_WARNING, 0, nh_slice_str(text));
	else
		line(o, text);
}

void output_size_put(char out[32], uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t unit = 0;
	for (; value >= 1000 && unit + 1 < NH_ARRAY_LEN(units); unit++)
		value /= 1000;
	snprintf(out, 32, "%.2f %s", value, units[unit]);
}

static void put_success(struct output *o, struct nh_buf *b)
{
	uint64_t ms = nh_mono_ms() - o->start_ms;
	nh_buf_put_str(b, "\nSuccess!\n");
	if (o->out_bytes == 0)
		return;
	if (ms < 60000)
		nh_buf_printf(b, "Elapsed time: %llu.%03llu s\n", (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
	else
		nh_buf_printf(b, "Elapsed time: %llu min %02llu s\n", (unsigned long long)(ms / 60000), (unsigned long long)(ms / 1000 % 60));
}

void output_progress(void *output, unsigned percent)
{
	struct output *o = output;
	if (o->framing) {
		if (!o->quiet)
			packet(NH_FW_PACKET_PROGRESS, percent, NH_SLICE_EMPTY);
		return;
	}
	if (o->quiet)
		return;
	o->progressed = true;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	if (o->numeric) {
		nh_buf_printf(&b, "%u\n", percent);
	} else {
		static const char full[] = "====================================";
		o->bar = true;
		nh_buf_printf(&b, "\r%3u%% [%-36.*s]", percent, (int)(percent * 36 / 100), full);
		if (o->out_bytes > 0) {
			char in[32], out[32];
			output_size_put(in, o->in_bytes);
			output_size_put(out, o->out_bytes);
			/* The blanks wipe what a longer text left, and the cursor goes back over them. */
			nh_buf_printf(&b, " %s in / %s out     \b\b\b\b\b", in, out);
		}
	}
	output_bytes(nh_buf_slice(&b));
}

static void handshake(int status)
{
	uint8_t bytes[2] = {0x1a, (uint8_t)status}, rest[4096];
	write_all(STDOUT_FILENO, nh_slice_of(bytes, sizeof bytes));
	for (ssize_t n = 1; n > 0 || (n < 0 && errno == EINTR);)
		n = read(STDIN_FILENO, rest, sizeof rest);
}

int output_end(struct output *o, nh_rc rc, const struct nh_err *err, bool with_packet)
{
	int status = rc == NH_OK ? 0 : 1;
	if (rc != NH_OK && o->framing) {
		packet(NH_FW_PACKET_ERROR, 0, nh_slice_str(err->msg));
	} else if (rc != NH_OK) {
		if (o->progressed)
			write_all(STDERR_FILENO, NH_LIT("\n"));
		line(o, err->msg);
	} else if (o->framing && with_packet) {
		packet(NH_FW_PACKET_OK, 0, nh_buf_slice(&o->result));
	} else if (!o->framing) {
		if (o->bar)
			put_success(o, &o->result);
		output_bytes(nh_buf_slice(&o->result));
	}
	nh_buf_fini(&o->result);
	if (o->exit_handshake)
		handshake(status);
	return status;
}
