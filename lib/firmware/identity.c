/*
 * UUID and nickname of a firmware, both from one BLAKE2b-256 over a namespace and the bytes of meta.conf.
 *
 * The word list is data that devices and people compare, so it is fixed forever: word i has 3 + (i mod 5) letters.
 * source: reference/fwup-format "5", "Appendix A"
 */
#include "firmware/uuid.h"

#include <stdio.h>

#include "crypto/digest.h"

static const char words[256][8] = {
	"act", "able", "about", "absent", "abandon", "add", "away", "aisle", "advice", "address",
	"aim", "best", "anger", "annual", "analyst", "all", "bone", "armor", "assume", "apology",
	"arm", "cake", "beach", "barrel", "average", "ask", "chat", "bless", "bitter", "bargain",
	"bar", "club", "brick", "bronze", "blanket", "bid", "corn", "cabin", "camera", "capital",
	"boy", "dash", "chalk", "casual", "certain", "can", "dice", "civil", "cherry", "coconut",
	"cat", "drip", "cloud", "column", "conduct", "cup", "east", "craft", "credit", "crucial",
	"day", "fall", "curve", "debris", "cushion", "dry", "fine", "dream", "depend", "despair",
	"egg", "foil", "earth", "dinner", "dilemma", "era", "gain", "entry", "dragon", "dynamic",
	"fan", "glad", "exist", "energy", "emotion", "few", "grit", "field", "estate", "essence",
	"fix", "head", "focus", "expire", "exhibit", "fog", "hood", "gauge", "finger", "fatigue",
	"fox", "idea", "glove", "fossil", "forward", "gap", "jump", "grunt", "garlic", "genuine",
	"hat", "kiwi", "hello", "guitar", "gravity", "hip", "lazy", "inner", "horror", "illness",
	"ice", "link", "labor", "indoor", "initial", "job", "loop", "light", "invest", "jealous",
	"key", "math", "maple", "laptop", "lecture", "kid", "mind", "mimic", "lonely", "lottery",
	"lab", "name", "nasty", "margin", "mention", "mad", "nose", "offer", "middle", "monitor",
	"mix", "open", "owner", "motion", "network", "net", "pass", "piano", "nephew", "observe",
	"nut", "plug", "power", "online", "ostrich", "oak", "pulp", "purse", "palace", "peasant",
	"oil", "ramp", "ready", "phrase", "popular", "one", "ring", "round", "praise", "present",
	"pen", "safe", "scrap", "reason", "program", "pig", "seed", "shock", "relief", "pudding",
	"raw", "sign", "skill", "resist", "raccoon", "rug", "slot", "snack", "ripple", "release",
	"run", "soon", "spawn", "salute", "satisfy", "say", "step", "spray", "select", "session",
	"shy", "tape", "still", "silver", "slender", "spy", "text", "super", "sphere", "stomach",
	"tag", "tiny", "table", "street", "supreme", "tip", "trip", "tired", "symbol", "thunder",
	"toe", "undo", "trade", "ticket", "trigger", "toy", "visa", "truth", "travel", "uncover",
	"two", "wasp", "vague", "unfold", "utility", "van", "wild", "vivid", "valley", "vibrant",
	"web", "yard", "zebra", "voyage", "weather", "zoo",
};

static const uint8_t namespace_bytes[16] = {0x20, 0x53, 0xdf, 0xfb, 0xd5, 0x1e, 0x43, 0x10, 0xb9, 0x3b, 0x95, 0x6d, 0xa8, 0x9f, 0x9f, 0x34};

void nh_fw_identity_of(nh_slice meta_conf, struct nh_fw_identity *out)
{
	uint8_t hash[NH_BLAKE2B_256_LEN];
	struct nh_digest_stream *s = nh_digest_stream_new(NH_BLAKE2B_256);
	nh_digest_stream_update(s, nh_slice_of(namespace_bytes, sizeof namespace_bytes));
	nh_digest_stream_update(s, meta_conf);
	nh_digest_stream_final(s, hash);
	nh_digest_stream_free(s);
	/* Version 5; the variant bits stay as they fall, since the reference leaves them. */
	hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x50);

	struct nh_uuid uuid;
	for (size_t i = 0; i < sizeof uuid.bytes; i++)
		uuid.bytes[i] = hash[i];
	nh_uuid_format(&uuid, out->uuid);
	snprintf(out->nickname, sizeof out->nickname, "%s-%s", words[hash[0]], words[hash[1]]);
}
