/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds members of structures in BTF (Documentation/bpf/btf.rst) by name and type. Compiles in the
 * kernel and in user space, where the tests feed it the BTF of saved kernels. Pure functions over
 * the caller's memory; whatever is in there, nothing outside of it is read.
 */
#ifndef EXITLESS_BTF_MATCH_H
#define EXITLESS_BTF_MATCH_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <string.h>
typedef __u32 u32;
typedef __u16 u16;
typedef __u8 u8;
#endif

/* One .BTF section. A module's has the kernel's as @base, and continues its numbers. */
struct btf_image {
	const struct btf_image *base;
	const u8 *types, *strings;
	u32 types_bytes, strings_bytes;
	u32 first_id, n_ids;
	u32 first_string;
};

enum btf_kind_wanted {
	BTF_WANT_INT,	 /* an integer of one of the sizes in the bit mask */
	BTF_WANT_PTR,	 /* a pointer; to struct @target, unless that is NULL */
	BTF_WANT_STRUCT, /* struct @target itself */
	BTF_WANT_UNION,	 /* union @target itself */
};

struct btf_want {
	const char *container; /* a structure's name */
	const char *member;    /* direct, or inside of anonymous members */
	enum btf_kind_wanted kind;
	const char *target;
	u32 sizes; /* bit n: n bytes are fine (integers) */
};

struct btf_found {
	u32 offset; /* bytes from the container's start */
	u32 bytes;  /* of an integer; 8 for pointers */
};

/* -EINVAL if that is not BTF. @data stays the caller's and must outlive the image. */
int btf_image_init(struct btf_image *image, const struct btf_image *base, const void *data,
		   u32 bytes);
/* -ENOENT: no such structure or member; -EINVAL: it is there, but its type is another. Where a
 * name is defined more than once, the first definition counts. */
int btf_match(const struct btf_image *image, const struct btf_want *want, struct btf_found *found);
/* A structure's size, or -ENOENT. */
int btf_struct_bytes(const struct btf_image *image, const char *name);

#endif
