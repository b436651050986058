/*
 * nerveshubd with one thing more: SIGUSR1 pushes an event with 1 kB of payload to every device that is online, as one list of effects. Everything else is
 * the product's own code, started by its own settings. NH_BENCH_DEVICES says how many devices the database has; their ids are 1 to that.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "hubd.h"

#define PAYLOAD_BYTES 1000

static struct hubd hubd;
static uint64_t devices;

static void say_to_all(void *arg)
{
	NH_AUTO_ARENA struct nh_arena arena = {.cap_bytes = (size_t)1 << 30};
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	struct nh_effects effects = {.items = NH_NEW_ARRAY(&arena, devices, struct nh_effect), .count = devices, .cap = devices};
	nh_buf_put_str(&payload, "{\"text\":\"");
	nh_buf_fill(&payload, 'b', PAYLOAD_BYTES - payload.len - 2);
	nh_buf_put_str(&payload, "\"}");
	for (uint64_t i = 0; i < devices; i++)
		effects.items[i] = (struct nh_effect){.kind = NH_EFFECT_DEVICE_PUSH, .id = (int64_t)i + 1, .name = NH_LIT("bench"), .payload = nh_buf_slice(&payload)};
	nh_device_api_effects(hubd.device_api, &effects);
}

static void stop(void *loop) { nh_loop_stop(loop); }

static nh_rc announce(const struct settings *s, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	const struct nh_listener *l = hubd.listeners;
	nh_buf_printf(&text, "device=%u\nweb=%u\nmetrics=%u\n", l[LISTENER_DEVICE].port, l[LISTENER_WEB].port, l[LISTENER_METRICS].port);
	return nh_file_write_atomic(s->ready_file, nh_buf_slice(&text), 0644, err);
}

static nh_rc serve(const struct settings *s, struct nh_err *err)
{
	struct nh_signal *term = NULL, *say = NULL;
	struct nh_loop *loop = NULL;
	NH_TRY(nh_loop_new(&(struct nh_loop_config){.name = "main"}, &loop, err));
	NH_TRY(nh_signal_open(loop, SIGTERM, stop, loop, &term, err));
	NH_TRY(nh_signal_open(loop, SIGUSR1, say_to_all, NULL, &say, err));
	NH_TRY(hubd_open(s, &hubd, err));
	nh_rc rc = announce(s, err);
	if (rc == NH_OK)
		nh_loop_run(loop);
	hubd_close(&hubd);
	nh_signal_close(term);
	nh_signal_close(say);
	nh_loop_free(loop);
	return rc;
}

int main(int argc, char **argv)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct settings s;
	const char *text = getenv("NH_BENCH_DEVICES");
	signal(SIGPIPE, SIG_IGN);
	nh_log_set_level(NH_LOG_WARN);
	nh_rc rc = nh_parse_u64(nh_slice_str(text ? text : ""), 1, 1000000, &devices);
	if (rc != NH_OK)
		rc = NH_FAIL(&err, NH_EINVAL, "NH_BENCH_DEVICES: a number from 1 to 1000000");
	if (rc == NH_OK)
		rc = settings_read(&s, argc, argv, &arena, &err);
	if (rc == NH_OK)
		rc = serve(&s, &err);
	if (rc != NH_OK)
		fprintf(stderr, "nh-bench-server: %s\n", err.msg);
	return rc == NH_OK ? 0 : 1;
}
