/* A simulated chip and its file; see chipfile.h. */
#include "chipfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"

#define STATE_MAX (64u * 1024u) /* bytes of a state file; a full one has under 10 000 */

static const struct {
	const char *option, *name;
	nh_chip_model model;
} models[] = {{"508a", "ATECC508A", NH_CHIP_508A}, {"608a", "ATECC608A", NH_CHIP_608A}, {"608b", "ATECC608B", NH_CHIP_608B}};

const char *chip_model_name(nh_chip_model model)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(models); i++)
		if (models[i].model == model)
			return models[i].name;
	return "unknown";
}

nh_rc chip_model_parse(const char *text, nh_chip_model *out, struct nh_err *err)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(models); i++)
		if (nh_slice_ieq(nh_slice_str(text), nh_slice_str(models[i].option)) || nh_slice_ieq(nh_slice_str(text), nh_slice_str(models[i].name))) {
			*out = models[i].model;
			return NH_OK;
		}
	return NH_FAIL(err, NH_EINVAL, "--model is 508a, 608a or 608b, not '%s'", text);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

nh_rc chip_address_parse(const char *text, uint8_t *out, struct nh_err *err)
{
	const char *p = text;
	int value = 0;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
		p += 2;
	for (; *p && value < 0x80 && hex_digit(*p) >= 0; p++)
		value = value * 16 + hex_digit(*p);
	if (*p || p == text || value < 0x03 || value > 0x77)
		return NH_FAIL(err, NH_EINVAL, "an address is 0x03 to 0x77 (7 bits, hexadecimal), not '%s'", text);
	*out = (uint8_t)value;
	return NH_OK;
}

nh_rc chip_serial_parse(const char *text, uint8_t out[NH_ATECC_SERIAL_LEN], struct nh_err *err)
{
	if (strlen(text) != 2 * NH_ATECC_SERIAL_LEN || strspn(text, "0123456789abcdefABCDEF") != 2 * NH_ATECC_SERIAL_LEN)
		return NH_FAIL(err, NH_EINVAL, "a chip's serial number is 18 hexadecimal digits (0123…EE), not '%s'", text);
	for (size_t i = 0; i < NH_ATECC_SERIAL_LEN; i++)
		out[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	return NH_OK;
}

void chip_serial_of(const struct nh_chip_state *state, uint8_t out[NH_ATECC_SERIAL_LEN])
{
	memcpy(out, state->config, 4);
	memcpy(out + 4, state->config + 8, 5);
}

static nh_rc save(const char *path, const struct nh_chip_state *state, struct nh_err *err)
{
	struct nh_buf text = NH_BUF_MAX(STATE_MAX);
	nh_chip_state_put(&text, state);
	nh_rc rc = nh_buf_check(&text, "state", err);
	if (rc == NH_OK)
		rc = nh_file_write_atomic(path, nh_buf_slice(&text), 0600, err);
	nh_buf_wipe(&text);
	return rc;
}

/* Takes FILE.lock, and writes our process id into it for the message that others get. */
static nh_rc take(const char *path, int *fd, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
	char holder[24] = "";
	nh_buf_printf(&name, "%s.lock", path);
	*fd = open(nh_buf_cstr(&name), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "%s: %s", nh_buf_cstr(&name), strerror(errno));
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0) {
		NH_AUTO_BUF struct nh_buf pid = NH_BUF_INIT;
		nh_buf_printf(&pid, "%ld\n", (long)getpid());
		if (ftruncate(*fd, 0) != 0 || pwrite(*fd, pid.ptr, pid.len, 0) != (ssize_t)pid.len)
			return NH_OK; /* only the message is poorer */
		return NH_OK;
	}
	ssize_t n = pread(*fd, holder, sizeof holder - 1, 0);
	holder[n > 0 ? strspn(holder, "0123456789") : 0] = 0;
	close(*fd);
	*fd = -1;
	return NH_FAIL(err, NH_ECONFLICT, "%s is in use by another nerveskey-sim%s%s: a chip is on one bus at a time", path, *holder ? ", process " : "", holder);
}

static nh_rc create_locked(const char *path, const struct chip_wish *wish, struct nh_err *err)
{
	struct nh_chip_state state;
	struct stat st;
	if (lstat(path, &st) == 0)
		return NH_FAIL(err, NH_ECONFLICT, "%s exists; a chip is not made twice", path);
	nh_chip_state_factory(wish->model, wish->personality, wish->has_serial ? wish->serial : NULL, &nh_rng_system, &state);
	if (wish->address) {
		state.address = wish->address;
		state.config[16] = (uint8_t)(wish->address << 1);
	}
	nh_rc rc = save(path, &state, err);
	explicit_bzero(&state, sizeof state);
	return rc;
}

nh_rc chip_file_create(const char *path, const struct chip_wish *wish, struct nh_err *err)
{
	int fd = -1;
	NH_TRY(take(path, &fd, err));
	nh_rc rc = create_locked(path, wish, err);
	close(fd);
	return rc;
}

nh_rc chip_file_read(const char *path, struct nh_chip_state *out, struct nh_err *err)
{
	struct nh_buf text = NH_BUF_MAX(STATE_MAX);
	nh_rc rc = nh_file_read(path, STATE_MAX, &text, err);
	if (rc == NH_OK && (rc = nh_chip_state_parse(nh_buf_slice(&text), out, err)) != NH_OK)
		rc = nh_err_prefix(err, rc, "%s is not a chip's state", path);
	nh_buf_wipe(&text);
	return rc;
}

nh_rc chip_file_open(const char *path, const struct nh_chip_config *config, struct chip_file **out, struct nh_err *err)
{
	struct nh_chip_state state;
	int fd = -1;
	*out = NULL;
	NH_TRY(take(path, &fd, err));
	nh_rc rc = chip_file_read(path, &state, err);
	struct chip_file *file = rc == NH_OK ? calloc(1, sizeof *file) : NULL;
	char *copy = file ? strdup(path) : NULL;
	if (rc != NH_OK || !copy) {
		free(file);
		close(fd);
		return rc != NH_OK ? rc : NH_FAIL(err, NH_ENOMEM, "out of memory");
	}
	*file = (struct chip_file){.path = copy, .lock_fd = fd, .config = config};
	nh_chip_new(config, &state, &file->chip);
	explicit_bzero(&state, sizeof state);
	*out = file;
	return NH_OK;
}

void chip_file_close(struct chip_file *file)
{
	if (!file)
		return;
	nh_chip_free(file->chip);
	close(file->lock_fd);
	free(file->path);
	free(file);
}

nh_rc chip_file_settle(struct chip_file *file, struct nh_err *err)
{
	return nh_chip_dirty(file->chip) ? save(file->path, nh_chip_state_of(file->chip), err) : NH_OK;
}

nh_rc chip_file_wipe(struct chip_file *file, struct nh_err *err)
{
	const struct nh_chip_state *old = nh_chip_state_of(file->chip);
	struct nh_chip_state state;
	uint8_t serial[NH_ATECC_SERIAL_LEN];
	chip_serial_of(old, serial);
	/* The last byte of the serial number is what tells a Trust&Go part from a blank one. */
	nh_chip_personality personality = serial[NH_ATECC_SERIAL_LEN - 1] == 0x01 ? NH_CHIP_TRUST_AND_GO : NH_CHIP_BLANK;
	nh_chip_state_factory(old->model, personality, serial, &nh_rng_system, &state);
	nh_rc rc = save(file->path, &state, err);
	if (rc == NH_OK) {
		nh_chip_free(file->chip);
		nh_chip_new(file->config, &state, &file->chip);
	}
	explicit_bzero(&state, sizeof state);
	return rc;
}
