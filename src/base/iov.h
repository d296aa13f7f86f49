/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of (address, length) pieces. Any thread; nothing is allocated. */
#ifndef EXITLESS_BASE_IOV_H
#define EXITLESS_BASE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Bytes in the first @n pieces. */
size_t iov_len(const struct iovec *iov, unsigned n);

/* Copies up to @len bytes from offset @skip of the list into @buf (or from @buf into the list);
 * returns the bytes copied, less than @len where the list ends. */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t skip, void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t skip, const void *buf, size_t len);

/* Copies up to @len bytes from offset @src_skip of one list to offset @dst_skip of the other. */
size_t iov_copy(const struct iovec *dst, unsigned n_dst, size_t dst_skip, const struct iovec *src,
		unsigned n_src, size_t src_skip, size_t len);

/* Writes into @out (room for @max) the pieces of @iov that cover @len bytes from @skip. Returns how
 * many, or -E2BIG when @max is too small, -ERANGE when the list ends before. */
int iov_slice(const struct iovec *iov, unsigned n, size_t skip, size_t len, struct iovec *out,
	      unsigned max);

#endif
