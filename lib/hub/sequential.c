/*
 * The sequential test, in logarithms: 40 failures in a row would overflow a double otherwise. The grid lies evenly in log-odds, from a little above what is tolerated to 95 %, so that small and large
 * excesses are found alike.
 */
#include "hub/sequential.h"

#include <math.h>

#define POINTS 16
#define FIRST_FACTOR 1.5  /* of the tolerated odds */
#define LAST_ODDS 19.0    /* 95 % */
#define LAST_FACTOR 8.0   /* the grid ends no lower than this */

double nh_sequential_log_mean(const double *log_e, size_t count)
{
	double most = -INFINITY, sum = 0;
	if (count == 0)
		return 0;
	for (size_t i = 0; i < count; i++)
		most = fmax(most, log_e[i]);
	for (size_t i = 0; i < count; i++)
		sum += exp(log_e[i] - most);
	return most + log(sum / (double)count);
}

double nh_sequential_log_e(int64_t failures, int64_t trials, double tolerated)
{
	double log_e[POINTS];
	if (!(tolerated > 0 && tolerated < 1) || trials <= 0 || failures < 0 || failures > trials)
		return 0;
	double odds = tolerated / (1 - tolerated), first = odds * FIRST_FACTOR, last = fmax(LAST_ODDS, odds * LAST_FACTOR);
	for (int i = 0; i < POINTS; i++) {
		double at = first * pow(last / first, (double)i / (POINTS - 1)), p = at / (1 + at);
		log_e[i] = (double)failures * log(p / tolerated) + (double)(trials - failures) * log((1 - p) / (1 - tolerated));
	}
	return nh_sequential_log_mean(log_e, POINTS);
}
