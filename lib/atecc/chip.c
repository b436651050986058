/*
 * Transactions and exchanges with one chip: waking it, sending a packet, looking for the answer, deciding what a missing or garbled one means.
 *
 * The chip forgets: its watchdog puts it to sleep 0.7 to 1.7 s after a wake whatever it does. Long transactions therefore send it to idle and wake it again now and then, which keeps
 * TempKey and starts the watchdog anew.
 *
 * source: reference/nerveskey "2.3" to "2.5", "3.4", "3.5", "17"
 */
#include "chip_int.h"

#include <stdio.h>
#include <stdlib.h>

#define WAKE_ATTEMPTS 5u
#define RECOVER_ATTEMPTS 25u     /* the chip may still be at work on what it was told */
#define WAKE_RETRY_US 10000u
#define WAKE_WAIT_US 1500u       /* tWHI */
#define LOCK_TIMEOUT_MS 5000u
#define POLL_FIRST_US 1000u
#define POLL_NEXT_US 2000u
#define AWAKE_MAX_US 300000u     /* then idle and wake: the watchdog's shortest time less the longest signature of any chip in its fast mode */
#define BYTE_US 90u              /* on the wire at 100 kHz */
#define RESENDS 3u
#define REREADS 2u
#define BUS_ERRORS 5u            /* in one wait for an answer */
#define USUAL_REPLY 64u
#define HINT_MAX 192u

/* Longest execution in milliseconds: twice what the slowest model and clock divider need, since the 608B promises nothing, and no less than 50. */
static const struct command_info {
	uint8_t opcode;
	uint16_t limit_ms;
	const char *name;
} commands[] = {
	{NH_ATECC_READ, 50, "Read"},
	{NH_ATECC_MAC, 110, "MAC"},
	{NH_ATECC_HMAC, 50, "HMAC"},
	{NH_ATECC_WRITE, 100, "Write"},
	{NH_ATECC_GENDIG, 70, "GenDig"},
	{NH_ATECC_NONCE, 60, "Nonce"},
	{NH_ATECC_LOCK, 100, "Lock"},
	{NH_ATECC_RANDOM, 50, "Random"},
	{NH_ATECC_DERIVE_KEY, 100, "DeriveKey"},
	{NH_ATECC_UPDATE_EXTRA, 50, "UpdateExtra"},
	{NH_ATECC_COUNTER, 50, "Counter"},
	{NH_ATECC_CHECK_MAC, 80, "CheckMac"},
	{NH_ATECC_INFO, 50, "Info"},
	{NH_ATECC_GENKEY, 1306, "GenKey"},
	{NH_ATECC_SIGN, 1330, "Sign"},
	{NH_ATECC_ECDH, 1062, "ECDH"},
	{NH_ATECC_VERIFY, 2170, "Verify"},
	{NH_ATECC_PRIV_WRITE, 100, "PrivWrite"},
	{NH_ATECC_SHA, 150, "SHA"},
	{NH_ATECC_AES, 60, "AES"},
	{NH_ATECC_KDF, 330, "KDF"},
	{NH_ATECC_SELF_TEST, 4650, "SelfTest"},
	{NH_ATECC_SECURE_BOOT, 960, "SecureBoot"},
};

static const struct command_info *command_info_of(uint8_t opcode)
{
	static const struct command_info unknown = {.limit_ms = 2500, .name = "command"};
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		if (commands[i].opcode == opcode)
			return &commands[i];
	return &unknown;
}

/* What a status that is the end of it comes out as. */
static const struct {
	uint8_t status;
	nh_rc rc;
} status_codes[] = {
	{NH_ATECC_MISCOMPARE, NH_EAUTH},
	{NH_ATECC_PARSE_ERROR, NH_EUNSUPPORTED},
	{NH_ATECC_ECC_FAULT, NH_EINTERNAL},
	{NH_ATECC_SELF_TEST_ERROR, NH_EINTERNAL},
	{NH_ATECC_HEALTH_TEST_ERROR, NH_EINTERNAL},
	{NH_ATECC_EXECUTION_ERROR, NH_EPERM},
};

nh_rc nh_atecc_fail(const struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err, nh_rc rc, const char *fmt, ...)
{
	char text[384];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!c)
		return NH_FAIL(err, rc, "%s: %s", chip->transport.name, text);
	return NH_FAIL(err, rc, "%s: %s %02x %04x: %s", chip->transport.name, command_info_of(c->opcode)->name, c->param1, c->param2, text);
}

/* What the transport knows of its bus; "" where that is nothing. */
static const char *hint_of(const struct nh_atecc *chip, struct nh_buf *room)
{
	if (chip->transport.ops->hint)
		chip->transport.ops->hint(chip->transport.ctx, room);
	return nh_buf_cstr(room);
}

/* ---- the life of a chip and of a transaction */

void nh_atecc_new(struct nh_atecc_transport take_transport, struct nh_atecc **out)
{
	struct nh_atecc *chip = calloc(1, sizeof *chip);
	NH_ASSERT(chip);
	chip->transport = take_transport;
	*out = chip;
}

void nh_atecc_free(struct nh_atecc *chip)
{
	if (!chip)
		return;
	nh_atecc_end(chip); /* nothing where no transaction is open */
	nh_atecc_transport_close(&chip->transport);
	free(chip);
}

const struct nh_atecc_transport *nh_atecc_transport_of(const struct nh_atecc *chip) { return &chip->transport; }
uint8_t nh_atecc_last_status(const struct nh_atecc *chip) { return chip->last_status; }

static void wait_us(struct nh_atecc *chip, uint32_t us)
{
	chip->transport.ops->delay_us(chip->transport.ctx, us);
	chip->awake_us += us;
}

static nh_rc send_bytes(struct nh_atecc *chip, nh_slice bytes, struct nh_err *err)
{
	chip->awake_us += (uint32_t)(bytes.len + 1) * BYTE_US;
	return chip->transport.ops->write(chip->transport.ctx, bytes, err);
}

static nh_rc receive_bytes(struct nh_atecc *chip, uint8_t *out, size_t len, struct nh_err *err)
{
	chip->awake_us += (uint32_t)(len + 1) * BYTE_US;
	return chip->transport.ops->read(chip->transport.ctx, out, len, err);
}

/* Sleep, idle or reset. Whether anybody hears it makes no difference: an unheard chip is asleep or will be. */
static void send_word_address(struct nh_atecc *chip, nh_atecc_word_address word)
{
	uint8_t byte = (uint8_t)word;
	NH_IGNORE(send_bytes(chip, nh_slice_of(&byte, 1), NULL));
}

/* Another try may mend it; what else a transport reports (permission, a recording's end) is final. */
static bool transient(nh_rc rc) { return rc == NH_EAGAIN || rc == NH_EIO || rc == NH_ETIMEOUT; }

/* The pulse and the chip's answer to it. NH_EAGAIN: none, or another one. */
static nh_rc wake_once(struct nh_atecc *chip, struct nh_err *err)
{
	uint8_t answer[4] = {0};
	nh_slice payload;
	NH_TRY(chip->transport.ops->wake(chip->transport.ctx, err));
	chip->awake_us = 0;
	wait_us(chip, WAKE_WAIT_US);
	NH_TRY(receive_bytes(chip, answer, sizeof answer, err));
	/* A failed self-test is seen with this CRC too, which the chip's own rule does not give. source: reference/nerveskey "2.3" */
	if (memcmp(answer, "\x04\x07\xc4\x40", sizeof answer) == 0)
		memmove(answer + 2, "\x40\xc2", 2);
	if (nh_atecc_response_parse(nh_slice_of(answer, sizeof answer), &payload) != NH_OK || payload.len != 1)
		return NH_EAGAIN;
	chip->last_status = payload.ptr[0];
	if (payload.ptr[0] == NH_ATECC_SELF_TEST_ERROR)
		return nh_atecc_fail(chip, NULL, err, NH_EINTERNAL, "woke up and reports a failed self-test: the chip is damaged");
	return payload.ptr[0] == NH_ATECC_AFTER_WAKE ? NH_OK : NH_EAGAIN;
}

static nh_rc wake(struct nh_atecc *chip, unsigned attempts, struct nh_err *err)
{
	struct nh_err seen = NH_ERR_INIT;
	nh_rc rc = NH_EAGAIN;
	for (unsigned attempt = 0; attempt < attempts; attempt++) {
		if (attempt > 0)
			wait_us(chip, WAKE_RETRY_US);
		send_word_address(chip, NH_ATECC_SLEEP); /* traffic for others may have woken it at any time before */
		rc = wake_once(chip, &seen);
		if (!transient(rc))
			break;
	}
	if (rc == NH_OK || rc == NH_EINTERNAL) {
		if (rc != NH_OK && err)
			*err = seen;
		return rc;
	}
	if (rc != NH_EAGAIN)
		return nh_atecc_fail(chip, NULL, err, rc, "%s", seen.msg);
	NH_AUTO_BUF struct nh_buf hint = NH_BUF_MAX(HINT_MAX);
	return nh_atecc_fail(chip, NULL, err, NH_ENOTFOUND,
			     "no answer to wake. Check the wiring, that the bus runs at 100 kHz (not 400), and the address: blank parts and NervesKeys have 0x%02x, Trust&Go parts 0x%02x.%s",
			     NH_ATECC_ADDRESS, NH_ATECC_ADDRESS_TNG, hint_of(chip, &hint));
}

nh_rc nh_atecc_begin(struct nh_atecc *chip, struct nh_err *err)
{
	NH_ASSERT(!chip->open);
	NH_TRY_CTX(chip->transport.ops->lock(chip->transport.ctx, LOCK_TIMEOUT_MS, err), err, "%s", chip->transport.name);
	chip->open = true;
	nh_rc rc = wake(chip, WAKE_ATTEMPTS, err);
	if (rc != NH_OK)
		nh_atecc_end(chip);
	return rc;
}

void nh_atecc_end(struct nh_atecc *chip)
{
	if (!chip->open)
		return;
	send_word_address(chip, NH_ATECC_SLEEP);
	chip->transport.ops->unlock(chip->transport.ctx);
	chip->open = false;
}

nh_rc nh_atecc_detect(struct nh_atecc *chip, struct nh_err *err)
{
	NH_TRY(nh_atecc_begin(chip, err));
	nh_atecc_end(chip);
	return NH_OK;
}

nh_rc nh_atecc_transaction_open(struct nh_atecc *chip, bool *own, struct nh_err *err)
{
	*own = !chip->open;
	return *own ? nh_atecc_begin(chip, err) : NH_OK;
}

void nh_atecc_transaction_close(struct nh_atecc *chip, bool own)
{
	if (own)
		nh_atecc_end(chip);
}

/* ---- one exchange */

/* Nothing is known of the command's fate. rc: what it comes to in the end. */
static nh_rc lost(struct nh_atecc *chip, nh_rc rc)
{
	chip->trouble = rc;
	return NH_EAGAIN;
}

/* Starts the watchdog anew where it may be near; TempKey stays. */
static nh_rc keep_awake(struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err)
{
	send_word_address(chip, NH_ATECC_IDLE);
	nh_rc rc = wake_once(chip, err);
	if (rc == NH_OK || !transient(rc))
		return rc;
	return lost(chip, nh_atecc_fail(chip, c, err, NH_EIO, "the chip fell asleep in the middle of a transaction"));
}

/* Writes the packet. */
static nh_rc send_command(struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err)
{
	struct nh_err seen = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf packet = NH_BUF_INIT;
	nh_buf_put_u8(&packet, NH_ATECC_COMMAND);
	if (nh_atecc_packet_put(&packet, c->opcode, c->param1, c->param2, c->data) != NH_OK)
		return nh_atecc_fail(chip, c, err, NH_EINVAL, "%zu bytes of data: a command carries up to %u", c->data.len, NH_ATECC_DATA_MAX);
	nh_rc rc = nh_buf_check(&packet, "packet", err);
	if (rc == NH_OK)
		rc = send_bytes(chip, nh_buf_slice(&packet), &seen);
	explicit_bzero(packet.ptr, packet.len); /* may carry a key */
	if (rc == NH_OK)
		return NH_OK;
	if (rc == NH_EAGAIN)
		return lost(chip, nh_atecc_fail(chip, c, err, NH_EIO, "the chip did not acknowledge the command: asleep, unplugged, or the transfer was cut"));
	rc = nh_atecc_fail(chip, c, err, rc, "%s", seen.msg);
	return transient(rc) ? lost(chip, rc) : rc;
}

/*
 * Looks for the answer until the command's time is over; a busy chip does not acknowledge. got: as many bytes as asked. A bus that fails now and then is asked again: giving up in the middle
 * would leave a chip at work that hears nothing.
 */
static nh_rc await_answer(struct nh_atecc *chip, const struct nh_atecc_command *c, uint8_t *got, size_t len, struct nh_err *err)
{
	uint32_t limit_us = command_info_of(c->opcode)->limit_ms * 1000u, waited_us = POLL_FIRST_US;
	struct nh_err seen = NH_ERR_INIT;
	unsigned errors = 0;
	for (wait_us(chip, POLL_FIRST_US);; waited_us += POLL_NEXT_US) {
		nh_rc rc = receive_bytes(chip, got, len, &seen);
		if (rc == NH_OK)
			return NH_OK;
		if (!transient(rc))
			return nh_atecc_fail(chip, c, err, rc, "%s", seen.msg);
		if (rc != NH_EAGAIN && ++errors == BUS_ERRORS)
			return lost(chip, nh_atecc_fail(chip, c, err, rc, "%s", seen.msg));
		if (waited_us >= limit_us)
			return lost(chip, nh_atecc_fail(chip, c, err, NH_ETIMEOUT, "no answer within %u ms", limit_us / 1000));
		wait_us(chip, POLL_NEXT_US);
	}
}

/* The answer's payload, a view into got. A garbled one is still in the chip: it is read again before the command counts as lost. */
static nh_rc take_answer(struct nh_atecc *chip, const struct nh_atecc_command *c, uint8_t got[NH_ATECC_RESPONSE_MAX], size_t first_len, nh_slice *payload, struct nh_err *err)
{
	NH_TRY(await_answer(chip, c, got, first_len, err));
	for (unsigned attempt = 0;; attempt++) {
		nh_rc rc = nh_atecc_response_parse(nh_slice_of(got, first_len), payload);
		/* Longer than expected: the rest follows where the first read stopped. */
		if (rc == NH_EAGAIN && receive_bytes(chip, got + first_len, got[0] - first_len, NULL) == NH_OK)
			rc = nh_atecc_response_parse(nh_slice_of(got, got[0]), payload);
		if (rc == NH_OK)
			return NH_OK;
		if (attempt == REREADS)
			break;
		send_word_address(chip, NH_ATECC_RESET);
		NH_TRY(await_answer(chip, c, got, first_len, err));
	}
	NH_AUTO_BUF struct nh_buf hint = NH_BUF_MAX(HINT_MAX);
	return lost(chip, nh_atecc_fail(chip, c, err, NH_EFORMAT, "garbled answers (CRC). Does another program or driver use the chip, or are the wires long?%s", hint_of(chip, &hint)));
}

/* A status that is not success. NH_EAGAIN with *resend: nothing was executed and nothing is lost. */
static nh_rc judge_status(struct nh_atecc *chip, const struct nh_atecc_command *c, uint8_t status, bool *resend, struct nh_err *err)
{
	*resend = status == NH_ATECC_CRC_ERROR || status == NH_ATECC_WATCHDOG;
	for (size_t i = 0; i < NH_ARRAY_LEN(status_codes); i++)
		if (status_codes[i].status == status)
			return nh_atecc_fail(chip, c, err, status_codes[i].rc, "%s (status 0x%02X)", nh_atecc_status_text(status), status);
	const char *advice = status == NH_ATECC_CRC_ERROR     ? ". Does another program or driver use the chip?"
			     : status == NH_ATECC_AFTER_WAKE ? ". The bus cuts transfers short, or another program uses the chip without taking the bus"
							     : "";
	NH_AUTO_BUF struct nh_buf hint = NH_BUF_MAX(HINT_MAX);
	return lost(chip, nh_atecc_fail(chip, c, err, status == NH_ATECC_WATCHDOG ? NH_ETIMEOUT : NH_EIO, "%s (status 0x%02X)%s%s", nh_atecc_status_text(status), status, advice,
					*advice ? hint_of(chip, &hint) : ""));
}

/* reply_len exactly, or any length up to it where got_len is set. */
static nh_rc exchange(struct nh_atecc *chip, const struct nh_atecc_command *c, size_t *got_len, struct nh_err *err)
{
	uint8_t got[NH_ATECC_RESPONSE_MAX] = {0};
	bool resend = true, any = got_len;
	nh_rc rc = NH_EAGAIN;
	NH_ASSERT(chip->open);
	for (unsigned attempt = 0; resend && attempt < RESENDS; attempt++) {
		nh_slice payload = NH_SLICE_EMPTY;
		size_t expected = any ? USUAL_REPLY : c->reply ? c->reply_len : 1;
		resend = false;
		/* Sooner before a Nonce, so that what follows it finds time without an idle in between. */
		if (chip->awake_us > (c->opcode == NH_ATECC_NONCE ? AWAKE_MAX_US / 2 : AWAKE_MAX_US) || (attempt > 0 && chip->last_status == NH_ATECC_WATCHDOG))
			NH_TRY(keep_awake(chip, c, err));
		NH_TRY(send_command(chip, c, err));
		NH_TRY(take_answer(chip, c, got, expected + 3, &payload, err));
		chip->last_status = payload.len == 1 ? payload.ptr[0] : NH_ATECC_SUCCESS;
		if (chip->last_status != NH_ATECC_SUCCESS) {
			rc = judge_status(chip, c, chip->last_status, &resend, err);
			continue;
		}
		if (any ? payload.len > c->reply_len : payload.len != expected) {
			rc = lost(chip, nh_atecc_fail(chip, c, err, NH_EFORMAT, "answered with %zu bytes: expected %zu", payload.len, expected));
			break;
		}
		if (any)
			*got_len = payload.len;
		if (c->reply)
			memmove(c->reply, payload.ptr, payload.len);
		rc = NH_OK;
	}
	explicit_bzero(got, sizeof got); /* may be a shared secret */
	return rc;
}

nh_rc nh_atecc_exchange(struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err) { return exchange(chip, c, NULL, err); }

nh_rc nh_atecc_exchange_any(struct nh_atecc *chip, const struct nh_atecc_command *c, size_t *reply_len, struct nh_err *err)
{
	*reply_len = 0;
	return exchange(chip, c, reply_len, err);
}

nh_rc nh_atecc_recover(struct nh_atecc *chip, struct nh_err *err) { return wake(chip, RECOVER_ATTEMPTS, err); }

nh_rc nh_atecc_restart(struct nh_atecc *chip, struct nh_err *err)
{
	NH_ASSERT(chip->open);
	return wake(chip, WAKE_ATTEMPTS, err);
}

/* ---- repeating */

nh_rc nh_atecc_sequence(struct nh_atecc *chip, nh_atecc_step step, void *arg, struct nh_err *err)
{
	bool own;
	NH_TRY(nh_atecc_transaction_open(chip, &own, err));
	nh_rc rc = NH_EAGAIN;
	for (unsigned attempt = 0; rc == NH_EAGAIN && attempt < NH_ATECC_ATTEMPTS; attempt++) {
		if (attempt > 0 && (rc = nh_atecc_recover(chip, NULL)) != NH_OK) {
			rc = NH_EAGAIN; /* err still says what began it */
			break;
		}
		rc = step(chip, arg, err);
	}
	nh_atecc_transaction_close(chip, own);
	return rc != NH_EAGAIN ? rc : chip->trouble;
}

static nh_rc step_one(struct nh_atecc *chip, void *arg, struct nh_err *err) { return nh_atecc_exchange(chip, arg, err); }

nh_rc nh_atecc_repeatable(struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err)
{
	struct nh_atecc_command copy = *c;
	return nh_atecc_sequence(chip, step_one, &copy, err);
}
