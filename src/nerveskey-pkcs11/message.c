/*
 * From what an application gives to the 32 bytes that ECDSA on P-256 signs: hashed here, or a digest it made itself, of which the leftmost 32 bytes count; a shorter one gets zeros in front.
 *
 * source: reference/nerveskey "14.4"
 */
#include "module.h"

void message_begin(struct message *msg, bool hashed)
{
	*msg = (struct message){.hashed = hashed};
	sha256_init(&msg->hash);
}

void message_add(struct message *msg, nh_slice bytes)
{
	if (bytes.len == 0)
		return;
	if (msg->hashed) {
		sha256_update(&msg->hash, bytes.len, bytes.ptr);
		return;
	}
	size_t room = sizeof msg->head - msg->len, take = bytes.len < room ? bytes.len : room;
	memcpy(msg->head + msg->len, bytes.ptr, take);
	msg->len += take;
}

void message_end(struct message *msg, uint8_t digest[32])
{
	if (msg->hashed) {
		sha256_digest(&msg->hash, 32, digest);
		return;
	}
	memset(digest, 0, 32);
	memcpy(digest + 32 - msg->len, msg->head, msg->len);
}
