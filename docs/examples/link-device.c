/*
 * A device in 60 lines: link-device CONFIG-FILE, the file as nerveshub-link(8) has it. Installs what the server sends on the disk it names; ends where others would reboot.
 *
 * cc -o link-device link-device.c $(pkg-config --cflags --libs libnerveshub-link)
 */
#include <nerveshub-link.h>
#include <poll.h>
#include <stdio.h>

struct device {
	struct nhl *nhl;
	bool reboot;
};

static void on_event(void *ctx, const struct nhl_event *e)
{
	printf("%s %s%s", e->name, e->version, e->text);
	if (e->kind == NHL_UPDATE_PROGRESS)
		printf(" %u %%", e->percent);
	printf("\n");
	fflush(stdout);
}

static enum nhl_decision on_decide(void *ctx, const struct nhl_offer *offer, struct nhl_answer *answer)
{
	printf("offered %s %s, %llu bytes\n", offer->product, offer->version, (unsigned long long)offer->size_bytes);
	return NHL_APPLY;
}

static void on_reboot(void *ctx, const char *why)
{
	struct device *d = ctx;
	printf("reboot: %s\n", why);
	d->reboot = true;
	nhl_close(d->nhl);
}

int main(int argc, char **argv)
{
	struct device d = {0};
	struct nhl_error error;
	struct nhl_handlers handlers = {.size = sizeof handlers, .ctx = &d, .event = on_event, .decide = on_decide, .reboot = on_reboot};
	struct nhl_options *options = nhl_options_new();
	nhl_options_set(options, "config", argc > 1 ? argv[1] : "/etc/nerveshub-link.conf");
	nhl_options_handlers(options, &handlers);
	int rc = nhl_new(options, &d.nhl, &error);
	nhl_options_free(options);
	if (rc != NHL_OK) {
		fprintf(stderr, "link-device: %s\n", error.text);
		return 1;
	}
	while (nhl_process(d.nhl)) {
		struct pollfd fd = {.fd = nhl_fd(d.nhl), .events = POLLIN}; /* and whatever else the program waits for */
		poll(&fd, 1, nhl_timeout_ms(d.nhl));
	}
	nhl_free(d.nhl);
	return d.reboot ? 0 : 1;
}
