/* A scratch folder and the paths in it, for the tests of this room. */
#pragma once

#include <stdio.h>

static char dir[64];

/* One of four paths that take turns. */
static const char *in_dir(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}
