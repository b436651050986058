/*
 * Which addresses webhooks may go to: the public ones, and the networks that the administrator names.
 *
 * source: RFC 6890 and the registries of special-purpose addresses that it set up; RFC 4291 "2.5.5.2" (IPv4 in IPv6); RFC 6052 "2.1" (NAT64)
 */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/arena.h"
#include "base/encode.h"
#include "outbound/webhook.h"

#define V4_BITS 96 /* in front of an IPv4 address that is written as IPv6 */

struct range {
	const char *address;
	unsigned bits;
};

/* Of IPv4 all is public but these. */
static const struct range v4_special[] = {
	{"0.0.0.0", 8},       /* this network */
	{"10.0.0.0", 8},      /* private */
	{"100.64.0.0", 10},   /* behind a carrier's NAT */
	{"127.0.0.0", 8},     /* loopback */
	{"169.254.0.0", 16},  /* link-local, and the metadata of clouds */
	{"172.16.0.0", 12},   /* private */
	{"192.0.0.0", 24},    /* protocol assignments */
	{"192.0.2.0", 24},    /* documentation */
	{"192.88.99.0", 24},  /* relays of 6to4 */
	{"192.168.0.0", 16},  /* private */
	{"198.18.0.0", 15},   /* benchmarks */
	{"198.51.100.0", 24}, /* documentation */
	{"203.0.113.0", 24},  /* documentation */
	{"224.0.0.0", 4},     /* multicast */
	{"240.0.0.0", 4},     /* reserved, broadcast */
};

/* Of IPv6 nothing is public but 2000::/3 without these. */
static const struct range v6_public = {"2000::", 3};
static const struct range v6_special[] = {
	{"2001::", 23},     /* protocol assignments; Teredo */
	{"2001:db8::", 32}, /* documentation */
	{"2002::", 16},     /* 6to4 */
	{"3fff::", 20},     /* documentation */
};

/* Those that hold an IPv4 address in their last four bytes. */
static const struct range v4_within[] = {{"::ffff:0:0", 96}, {"64:ff9b::", 96}};

static bool within(const uint8_t *address, const uint8_t *network, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	if (memcmp(address, network, whole) != 0)
		return false;
	return rest == 0 || ((address[whole] ^ network[whole]) & (uint8_t)(0xff00 >> rest)) == 0;
}

static bool in_range(int family, const uint8_t *address, const struct range *range)
{
	uint8_t network[16];
	return inet_pton(family, range->address, network) == 1 && within(address, network, range->bits);
}

static bool in_any(int family, const uint8_t *address, const struct range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (in_range(family, address, &ranges[i]))
			return true;
	}
	return false;
}

/* As 16 bytes, IPv4 mapped whichever way it comes. false: neither kind. */
static bool normalize(const struct sockaddr *from, uint8_t out[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *v4 = NULL;
	if (from->sa_family == AF_INET) {
		v4 = (const uint8_t *)&((const struct sockaddr_in *)(const void *)from)->sin_addr;
	} else if (from->sa_family == AF_INET6) {
		const uint8_t *v6 = ((const struct sockaddr_in6 *)(const void *)from)->sin6_addr.s6_addr;
		memcpy(out, v6, 16);
		if (!in_any(AF_INET6, v6, v4_within, NH_ARRAY_LEN(v4_within)))
			return true;
		v4 = v6 + 12;
	} else {
		return false;
	}
	memcpy(out, mapped, sizeof mapped);
	memcpy(out + 12, v4, 4);
	return true;
}

bool nh_networks_allow(const struct nh_networks *networks, const struct sockaddr *address)
{
	uint8_t bytes[16];
	if (!normalize(address, bytes))
		return false;
	for (size_t i = 0; i < networks->count; i++) {
		if (within(bytes, networks->items[i].address, networks->items[i].bits))
			return true;
	}
	if (in_range(AF_INET6, bytes, &v4_within[0]))
		return !in_any(AF_INET, bytes + 12, v4_special, NH_ARRAY_LEN(v4_special));
	return in_range(AF_INET6, bytes, &v6_public) && !in_any(AF_INET6, bytes, v6_special, NH_ARRAY_LEN(v6_special));
}

static nh_rc parse_one(nh_slice text, struct nh_networks *out, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	nh_slice address, bits;
	uint64_t number = 0;
	bool given = nh_slice_cut(text, '/', &address, &bits);
	const char *name = nh_arena_str(&arena, address);
	bool is_v4 = inet_pton(AF_INET, name, &v4.sin_addr) == 1;
	unsigned most = is_v4 ? 32 : 128;
	bool good = is_v4 || inet_pton(AF_INET6, name, &v6.sin6_addr) == 1;
	if (good && given)
		good = nh_parse_u64(bits, 0, most, &number) == NH_OK;
	if (!good)
		return NH_FAIL(err, NH_EINVAL, "'%.*s' is no network; expected such as 10.0.0.0/8 or fd00::/8", NH_ARG(text));
	if (out->count == NH_NETWORKS_MAX)
		return NH_FAIL(err, NH_EINVAL, "more than %d networks", NH_NETWORKS_MAX);
	normalize(is_v4 ? (const struct sockaddr *)(const void *)&v4 : (const struct sockaddr *)(const void *)&v6, out->items[out->count].address);
	out->items[out->count++].bits = (given ? (unsigned)number : most) + (is_v4 ? V4_BITS : 0);
	return NH_OK;
}

nh_rc nh_networks_parse(nh_slice text, struct nh_networks *out, struct nh_err *err)
{
	*out = (struct nh_networks){0};
	while (text.len > 0) {
		nh_slice one;
		nh_slice_cut(text, ',', &one, &text);
		one = nh_slice_trim(one);
		if (one.len > 0)
			NH_TRY(parse_one(one, out, err));
	}
	return NH_OK;
}
