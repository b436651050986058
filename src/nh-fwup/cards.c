/*
 * Memory cards by what sysfs says: /dev/sd[a-y] that are removable, and /dev/mmcblk0 to 15; 1 MiB at least.
 */
#include "cards.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/encode.h"
#include "base/file.h"
#include "output.h"

#define SECTOR 512u
#define BYTES_MIN (UINT64_C(1) << 20)

/* The number or "MAJ:MIN" in /sys/block/DISK/…; empty where there is none. */
static void attribute(const char *disk, const char *name, char out[32])
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, text = NH_BUF_INIT;
	nh_buf_printf(&path, "/sys/block/%s/%s", disk, name);
	out[0] = 0;
	if (nh_file_read(nh_buf_cstr(&path), 31, &text, NULL) == NH_OK)
		snprintf(out, 32, "%.*s", NH_ARG(nh_slice_trim(nh_buf_slice(&text))));
}

static bool is_device(const char *text, dev_t device)
{
	unsigned maj, min;
	return sscanf(text, "%u:%u", &maj, &min) == 2 && makedev(maj, min) == device;
}

/* Is the root file system on this disk or one of its partitions, which are folders in the disk's? */
static bool holds(const char *disk, dev_t root)
{
	char text[32];
	attribute(disk, "dev", text);
	bool found = is_device(text, root);
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_printf(&path, "/sys/block/%s", disk);
	DIR *dir = opendir(nh_buf_cstr(&path));
	for (struct dirent *e; dir && !found && (e = readdir(dir));) {
		if (strncmp(e->d_name, disk, strlen(disk)) != 0)
			continue;
		NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
		nh_buf_printf(&name, "%s/dev", e->d_name);
		attribute(disk, nh_buf_cstr(&name), text);
		found = is_device(text, root);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool is_card(const char *disk, dev_t root, struct card *out)
{
	char removable[32], size[32];
	uint64_t sectors;
	attribute(disk, "removable", removable);
	attribute(disk, "size", size);
	bool mmc = strncmp(disk, "mmcblk", 6) == 0;
	if ((!mmc && strcmp(removable, "1") != 0) || nh_parse_u64(nh_slice_str(size), BYTES_MIN / SECTOR, UINT64_MAX / SECTOR, &sectors) != NH_OK || holds(disk, root))
		return false;
	snprintf(out->path, sizeof out->path, "/dev/%s", disk);
	out->bytes = sectors * SECTOR;
	return true;
}

size_t cards_find(struct card cards[CARDS_MAX])
{
	struct stat st;
	dev_t root = stat("/", &st) == 0 ? st.st_dev : 0;
	size_t count = 0;
	char disk[16];
	for (char letter = 'a'; letter <= 'y' && count < CARDS_MAX; letter++) {
		snprintf(disk, sizeof disk, "sd%c", letter);
		count += is_card(disk, root, &cards[count]);
	}
	for (unsigned i = 0; i < 16 && count < CARDS_MAX; i++) {
		snprintf(disk, sizeof disk, "mmcblk%u", i);
		count += is_card(disk, root, &cards[count]);
	}
	return count;
}

nh_rc cards_choose(bool accept, bool ask, struct card *out, struct nh_err *err)
{
	struct card cards[CARDS_MAX];
	char answer[16] = "", size[32];
	size_t count = cards_find(cards);
	if (count == 0)
		return NH_FAIL(err, NH_ENOTFOUND, "No memory cards found. Try reinserting the card.");
	if (count > 1)
		return NH_FAIL(err, NH_ECONFLICT, "Too many memory cards found. Pick one with -d; -D lists them.");
	*out = cards[0];
	if (accept)
		return NH_OK;
	output_size_put(size, out->bytes);
	if (ask)
		fprintf(stderr, "Use %s memory card found at %s? [y/N] ", size, out->path);
	if (!ask || !fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
		return NH_FAIL(err, NH_EPERM, "The %s memory card at %s was not confirmed: answer y, or give -y or -d", size, out->path);
	return NH_OK;
}
