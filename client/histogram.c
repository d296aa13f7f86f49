/* SPDX-License-Identifier: BSD-2-Clause */
#include "client/histogram.h"

#include <math.h>

/* The largest value that is counted at @index. */
static uint64_t upper_end(unsigned index)
{
	unsigned shift;

	if (index < 2u << HISTOGRAM_STEP_BITS)
		return index;
	shift = (index >> HISTOGRAM_STEP_BITS) - 1;
	index -= shift << HISTOGRAM_STEP_BITS;
	return ((uint64_t)(index + 1) << shift) - 1;
}

void histogram_add_even(struct histogram *h, double first, double step, uint64_t n)
{
	uint64_t i = 0;

	while (i < n) {
		double value = first + step * (double)i;
		unsigned index = histogram_index((uint64_t)value);
		uint64_t same = n - i;

		/* those that are counted there, too */
		if (step > 0 && index < ARRAY_SIZE(h->counts) - 1) {
			double ends = ceil(((double)upper_end(index) + 1 - value) / step);

			same = ends < (double)same ? MAX((uint64_t)ends, (uint64_t)1) : same;
		}
		h->counts[index] += same;
		h->sum +=
			(unsigned __int128)((double)same * (value + step * (double)(same - 1) / 2));
		i += same;
	}
	h->count += n;
	if (n)
		h->max = MAX(h->max, (uint64_t)(first + step * (double)(n - 1)));
}

uint64_t histogram_at(const struct histogram *h, double quantile)
{
	uint64_t wanted = (uint64_t)ceil(quantile * (double)h->count), seen = 0;

	if (!h->count)
		return 0;
	wanted = MAX(wanted, (uint64_t)1);
	for (unsigned i = 0; i < ARRAY_SIZE(h->counts); i++) {
		seen += h->counts[i];
		if (seen >= wanted)
			return MIN(upper_end(i), h->max);
	}
	return h->max;
}

double histogram_mean(const struct histogram *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

void histogram_clear(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	to->count += from->count;
	to->sum += from->sum;
	to->max = MAX(to->max, from->max);
	for (unsigned i = 0; i < ARRAY_SIZE(to->counts); i++)
		to->counts[i] += from->counts[i];
}
