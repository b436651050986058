/*
 * A device with an installer of its own: link-installer CONFIG-FILE UUID VERSION ARCHIVE. UUID and VERSION say what runs; new firmware is kept as the file ARCHIVE, which exists only once all of it is
 * there and verified. Ends where others would reboot.
 *
 * cc -o link-installer link-installer.c $(pkg-config --cflags --libs libnerveshub-link)
 */
#include <nerveshub-link.h>
#include <poll.h>
#include <stdio.h>

struct device {
	struct nhl *nhl;
	const char *archive;
	char partial[4096];
	FILE *file;
};

static int failed(struct nhl_error *why, const char *what)
{
	snprintf(why->text, sizeof why->text, "cannot %s the archive: %m", what);
	return NHL_FAILED;
}

static int install_open(void *ctx, const struct nhl_offer *offer, struct nhl_error *why)
{
	struct device *d = ctx;
	d->file = fopen(d->partial, "wb");
	return d->file ? NHL_OK : failed(why, "create");
}

static int install_write(void *ctx, const void *bytes, size_t len, struct nhl_error *why)
{
	struct device *d = ctx;
	return fwrite(bytes, 1, len, d->file) == len ? NHL_OK : failed(why, "write");
}

static int install_finish(void *ctx, struct nhl_error *why)
{
	struct device *d = ctx;
	return fclose(d->file) == 0 && rename(d->partial, d->archive) == 0 ? NHL_OK : failed(why, "keep");
}

static void install_abort(void *ctx)
{
	struct device *d = ctx;
	fclose(d->file);
	remove(d->partial);
}

static void on_event(void *ctx, const struct nhl_event *e)
{
	printf("%s %s\n", e->name, e->text);
	fflush(stdout);
}

static void on_reboot(void *ctx, const char *why) { nhl_close(((struct device *)ctx)->nhl); }

static int start(char **argv, struct device *d)
{
	struct nhl_error error;
	struct nhl_handlers handlers = {.size = sizeof handlers, .ctx = d, .event = on_event, .reboot = on_reboot, .install_open = install_open, .install_write = install_write,
					.install_finish = install_finish, .install_abort = install_abort};
	struct nhl_options *options = nhl_options_new();
	nhl_options_set(options, "config", argv[1]);
	nhl_options_firmware(options, "nerves_fw_uuid", argv[2]);
	nhl_options_firmware(options, "nerves_fw_version", argv[3]);
	nhl_options_firmware(options, "nerves_fw_product", "Thermo Widget");
	nhl_options_firmware(options, "nerves_fw_platform", "fixture_board");
	nhl_options_firmware(options, "nerves_fw_architecture", "aarch64");
	nhl_options_handlers(options, &handlers);
	int rc = nhl_new(options, &d->nhl, &error);
	nhl_options_free(options);
	if (rc != NHL_OK)
		fprintf(stderr, "link-installer: %s\n", error.text);
	return rc;
}

int main(int argc, char **argv)
{
	struct device d = {.archive = argc == 5 ? argv[4] : ""};
	snprintf(d.partial, sizeof d.partial, "%s.partial", d.archive);
	if (argc != 5 || start(argv, &d) != NHL_OK)
		return 1;
	while (nhl_process(d.nhl))
		poll(&(struct pollfd){.fd = nhl_fd(d.nhl), .events = POLLIN}, 1, nhl_timeout_ms(d.nhl));
	nhl_free(d.nhl);
	return 0;
}
