/*
 * libsodium must be initialised once before use; every file that uses it calls this first. thread: any.
 */
#pragma once

void nh_sodium_ready(void);
