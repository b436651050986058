/*
 * Is something failing more often than it may? A test that may be looked at after every single outcome, for as long as one likes, and still raises a false alarm with a probability of at most alpha
 * over the whole run: a mixture e-process for a sequence of trials of which each fails with probability at most p0.
 *
 *	E(k, n) = mean over i of (p_i / p0)^k ((1 - p_i) / (1 - p0))^(n - k),   p_i > p0 on a fixed grid
 *
 * Where each trial fails with probability at most p0, whatever happened before, E is a supermartingale that begins at 1, and by Ville's inequality it ever reaches 1 / alpha with probability at
 * most alpha. It is a function of two counters, so nothing but them is kept. A trial may be counted in n when it begins and in k when it has failed: E grows with k and falls with n, so
 * what is still open counts as well and the test only becomes slower, never wrong.
 *
 * The mean of several such values is one again: several signals are watched under one alpha. Pure. thread: any.
 * source: Howard, Ramdas, McAuliffe, Sekhon: Time-uniform, nonparametric, nonasymptotic confidence sequences, 2021; Ville 1939
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * nh_sequential_log_e - ln E. failures 0 to trials; tolerated within (0, 1): outside of it, or without trials, 0 (no evidence).
 */
double nh_sequential_log_e(int64_t failures, int64_t trials, double tolerated);
/* nh_sequential_log_mean - ln of the mean of exp(log_e[i]); count 0: 0. */
double nh_sequential_log_mean(const double *log_e, size_t count);
