/*
 * Migrations as the program carries them, made from db/migrations at build time. Private to store.
 */
#pragma once

#include "base/err.h"

struct nh_migration {
	unsigned version; /* from 1, without gaps */
	const char *name;
	const char *checksum; /* SHA-256 of the file, hex */
	const char *sql;      /* with type macros: db/README.md */
};

extern const struct nh_migration nh_migrations[];
extern const unsigned nh_migration_count;
