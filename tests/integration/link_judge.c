/*
 * A program for test_link_library.py that judges: link_judge CONFIG-FILE apply|install|ignore|reschedule|nonsense good|bad. It runs firmware for the first time, decides and finds as told, and says what
 * happens. Compiled from what was installed.
 */
#include <nerveshub-link.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

struct judge {
	struct nhl *nhl;
	const char *decision, *verdict;
};

static void say(const char *what, const char *text)
{
	printf("%s %s\n", what, text);
	fflush(stdout);
}

static void on_event(void *ctx, const struct nhl_event *e)
{
	say(e->name, e->text);
	if (e->kind == NHL_UPDATE_RESCHEDULED)
		printf("for %llu ms\n", (unsigned long long)e->delay_ms);
	fflush(stdout);
}

static enum nhl_decision on_decide(void *ctx, const struct nhl_offer *offer, struct nhl_answer *answer)
{
	const struct judge *j = ctx;
	snprintf(answer->reason, sizeof answer->reason, "%s is %s", offer->version, offer->platform);
	answer->delay_ms = 7200000;
	return strcmp(j->decision, "apply") == 0 || strcmp(j->decision, "install") == 0 ? NHL_APPLY : strcmp(j->decision, "ignore") == 0 ? NHL_IGNORE : strcmp(j->decision, "reschedule") == 0 ? NHL_RESCHEDULE : (enum nhl_decision)77;
}

static enum nhl_verdict on_validate(void *ctx, struct nhl_error *why)
{
	const struct judge *j = ctx;
	snprintf(why->text, sizeof why->text, "it smells");
	return strcmp(j->verdict, "bad") == 0 ? NHL_BAD : NHL_GOOD;
}

/* With "apply" it never gets as far as writing, with "install" no further. */
static int install_open(void *ctx, const struct nhl_offer *offer, struct nhl_error *why)
{
	snprintf(why->text, sizeof why->text, "no room for %s", offer->version);
	return strcmp(((struct judge *)ctx)->decision, "install") == 0 ? NHL_OK : NHL_FAILED;
}

static int install_write(void *ctx, const void *bytes, size_t len, struct nhl_error *why)
{
	say("wrote", "");
	snprintf(why->text, sizeof why->text, "the disk is full");
	return NHL_FAILED;
}

static int install_finish(void *ctx, struct nhl_error *why) { return NHL_FAILED; }
static void install_abort(void *ctx) { say("aborted", ""); }

static void on_reboot(void *ctx, const char *why)
{
	say("reboot", why);
	nhl_close(((struct judge *)ctx)->nhl);
}

int main(int argc, char **argv)
{
	static const char *const firmware[][2] = {{"nerves_fw_uuid", "00000000-0000-4000-8000-000000000001"}, {"nerves_fw_version", "6.0.0"}, {"nerves_fw_product", "Thermo Widget"},
						  {"nerves_fw_platform", "fixture_board"}, {"nerves_fw_architecture", "aarch64"}, {"nerves_fw_validated", "0"}};
	struct judge j = {.decision = argv[2], .verdict = argv[3]};
	struct nhl_handlers handlers = {.size = sizeof handlers, .ctx = &j, .event = on_event, .decide = on_decide, .validate = on_validate, .reboot = on_reboot, .install_open = install_open,
					.install_write = install_write, .install_finish = install_finish, .install_abort = install_abort};
	struct nhl_options *options = nhl_options_new();
	nhl_options_set(options, "config", argv[1]);
	nhl_options_handlers(options, &handlers);
	for (size_t i = 0; i < sizeof firmware / sizeof firmware[0]; i++)
		nhl_options_firmware(options, firmware[i][0], firmware[i][1]);
	int rc = nhl_new(options, &j.nhl, NULL);
	nhl_options_free(options);
	while (rc == NHL_OK && nhl_process(j.nhl))
		poll(&(struct pollfd){.fd = nhl_fd(j.nhl), .events = POLLIN}, 1, nhl_timeout_ms(j.nhl));
	nhl_free(j.nhl);
	return rc != NHL_OK;
}
