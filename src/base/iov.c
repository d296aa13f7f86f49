/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/iov.h"

#include "base/util.h"

#include <errno.h>

size_t iov_len(const struct iovec *iov, unsigned n)
{
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

size_t iov_copy(const struct iovec *dst, unsigned n_dst, size_t dst_skip, const struct iovec *src,
		unsigned n_src, size_t src_skip, size_t len)
{
	size_t done = 0;

	while (n_dst && dst_skip >= dst->iov_len) {
		dst_skip -= dst->iov_len;
		dst++, n_dst--;
	}
	while (n_src && src_skip >= src->iov_len) {
		src_skip -= src->iov_len;
		src++, n_src--;
	}
	while (done < len && n_dst && n_src) {
		size_t n = MIN(dst->iov_len - dst_skip, src->iov_len - src_skip);

		n = MIN(n, len - done);
		memcpy((char *)dst->iov_base + dst_skip, (const char *)src->iov_base + src_skip, n);
		done += n;
		dst_skip += n;
		src_skip += n;
		while (n_dst && dst_skip == dst->iov_len) {
			dst_skip = 0;
			dst++, n_dst--;
		}
		while (n_src && src_skip == src->iov_len) {
			src_skip = 0;
			src++, n_src--;
		}
	}
	return done;
}

size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t skip, void *buf, size_t len)
{
	struct iovec dst = { buf, len };

	return iov_copy(&dst, 1, 0, iov, n, skip, len);
}

size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t skip, const void *buf, size_t len)
{
	struct iovec src = { (void *)buf, len };

	return iov_copy(iov, n, skip, &src, 1, 0, len);
}

int iov_slice(const struct iovec *iov, unsigned n, size_t skip, size_t len, struct iovec *out,
	      unsigned max)
{
	unsigned used = 0;

	for (; n && skip >= iov->iov_len; iov++, n--)
		skip -= iov->iov_len;
	for (; len; iov++, n--, skip = 0) {
		if (!n)
			return -ERANGE;
		if (iov->iov_len == skip)
			continue;
		if (used == max)
			return -E2BIG;
		out[used].iov_base = (char *)iov->iov_base + skip;
		out[used].iov_len = MIN(len, iov->iov_len - skip);
		len -= out[used++].iov_len;
	}
	return (int)used;
}
