/*
 * nh-bench-archive: what an archive costs at least. `read ARCHIVE MEMBER` reads the file once, inflates the member and takes its BLAKE2b-256;
 * `write FILE` takes the BLAKE2b-256 of a file and deflates it at level 9, writing nothing. Plain zlib and libsodium in a loop; prints the bytes.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PIECE 131072u
#define HEADER 30u /* of a ZIP member, before its name */

static unsigned char in[PIECE], out[PIECE];

static void die(const char *what)
{
	fprintf(stderr, "nh-bench-archive: %s\n", what);
	exit(1);
}

/* Where the member's data begins in the first piece. */
static unsigned char *member_data(size_t len, const char *member)
{
	unsigned char *name = memmem(in, len, member, strlen(member));
	if (!name || name < in + HEADER)
		die("the member does not begin in the first piece");
	return name + strlen(member) + (name[-2] | name[-1] << 8);
}

static unsigned long long read_archive(FILE *f, const char *member)
{
	unsigned long long total = 0;
	z_stream z = {0};
	crypto_generichash_state hash;
	unsigned char digest[32];
	size_t len = fread(in, 1, sizeof in, f);
	z.next_in = member_data(len, member);
	z.avail_in = (unsigned)(in + len - z.next_in);
	inflateInit2(&z, -MAX_WBITS);
	crypto_generichash_init(&hash, NULL, 0, sizeof digest);
	for (int rc = Z_OK; rc == Z_OK;) {
		if (z.avail_in == 0) {
			z.next_in = in;
			z.avail_in = (unsigned)fread(in, 1, sizeof in, f);
		}
		z.next_out = out;
		z.avail_out = sizeof out;
		rc = inflate(&z, Z_NO_FLUSH);
		if (rc != Z_OK && rc != Z_STREAM_END)
			die("the member does not inflate");
		crypto_generichash_update(&hash, out, sizeof out - z.avail_out);
		total += sizeof out - z.avail_out;
	}
	crypto_generichash_final(&hash, digest, sizeof digest);
	while (fread(in, 1, sizeof in, f) > 0)
		continue;
	inflateEnd(&z);
	return total;
}

static unsigned long long write_member(FILE *f)
{
	unsigned long long total = 0;
	z_stream z = {0};
	crypto_generichash_state hash;
	unsigned char digest[32];
	deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	crypto_generichash_init(&hash, NULL, 0, sizeof digest);
	for (size_t n = 1; n > 0;) {
		n = fread(in, 1, sizeof in, f);
		crypto_generichash_update(&hash, in, n);
		z.next_in = in;
		z.avail_in = (unsigned)n;
		do {
			z.next_out = out;
			z.avail_out = sizeof out;
			deflate(&z, n ? Z_NO_FLUSH : Z_FINISH);
			total += sizeof out - z.avail_out;
		} while (z.avail_out == 0);
	}
	crypto_generichash_final(&hash, digest, sizeof digest);
	deflateEnd(&z);
	return total;
}

int main(int argc, char **argv)
{
	if (sodium_init() < 0 || argc < 3)
		die("usage: nh-bench-archive read ARCHIVE MEMBER | write FILE");
	FILE *f = fopen(argv[2], "rb");
	if (!f)
		die("cannot open the file");
	printf("%llu\n", strcmp(argv[1], "read") == 0 && argc == 4 ? read_archive(f, argv[3]) : write_member(f));
	fclose(f);
	return 0;
}
