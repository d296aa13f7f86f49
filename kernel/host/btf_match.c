// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* See btf_match.h. Types have no index in BTF: every search walks them, which a module's load can
 * afford. */
#include "btf_match.h"

#define BTF_MAGIC   0xeb9f
#define RESOLVE_MAX 32 /* typedefs, const and volatile in a row */
#define NESTED_MAX  8  /* anonymous structures in one another */

enum {
	KIND_INT = 1,
	KIND_PTR = 2,
	KIND_ARRAY = 3,
	KIND_STRUCT = 4,
	KIND_UNION = 5,
	KIND_ENUM = 6,
	KIND_TYPEDEF = 8,
	KIND_VOLATILE = 9,
	KIND_CONST = 10,
	KIND_RESTRICT = 11,
	KIND_FUNC_PROTO = 13,
	KIND_VAR = 14,
	KIND_DATASEC = 15,
	KIND_DECL_TAG = 17,
	KIND_TYPE_TAG = 18,
	KIND_ENUM64 = 19,
	KIND_MAX = 19,
};

struct header {
	u16 magic;
	u8 version, flags;
	u32 hdr_len, type_off, type_len, str_off, str_len;
};

struct type {
	u32 name, info, size; /* size, or the type that is referred to */
};

struct member {
	u32 name, type, offset;
};

static u32 type_kind(const struct type *t)
{
	return (t->info >> 24) & 0x1f;
}

static u32 type_n(const struct type *t)
{
	return t->info & 0xffff;
}

/* Bytes that follow the common part. */
static u32 type_more(const struct type *t)
{
	u32 n = type_n(t);

	switch (type_kind(t)) {
	case KIND_INT:
	case KIND_VAR:
	case KIND_DECL_TAG:
		return 4;
	case KIND_ARRAY:
		return 12;
	case KIND_STRUCT:
	case KIND_UNION:
	case KIND_DATASEC:
	case KIND_ENUM64:
		return n * 12;
	case KIND_ENUM:
	case KIND_FUNC_PROTO:
		return n * 8;
	default:
		return 0;
	}
}

/* The type at *offset, which moves past it; NULL at the end or where the section is broken. */
static const struct type *type_next(const struct btf_image *image, u32 *offset)
{
	const struct type *t;
	u32 left = image->types_bytes - *offset;

	if (left < sizeof(*t))
		return NULL;
	t = (const struct type *)(image->types + *offset);
	if (type_kind(t) > KIND_MAX || type_more(t) > left - sizeof(*t))
		return NULL;
	*offset += sizeof(*t) + type_more(t);
	return t;
}

static const char *string_at(const struct btf_image *image, u32 at)
{
	if (image->base && at < image->first_string)
		return string_at(image->base, at);
	at -= image->first_string;
	return at < image->strings_bytes ? (const char *)image->strings + at : "";
}

static const struct type *type_by_id(const struct btf_image *image, u32 id)
{
	const struct type *t = NULL;
	u32 offset = 0;

	if (image->base && id < image->first_id)
		return type_by_id(image->base, id);
	if (!id || id - image->first_id >= image->n_ids)
		return NULL;
	for (id -= image->first_id;; id--) {
		t = type_next(image, &offset);
		if (!t || !id)
			return t;
	}
}

/* Through typedefs and qualifiers. */
static const struct type *type_resolve(const struct btf_image *image, u32 id)
{
	const struct type *t = type_by_id(image, id);
	u32 i;

	for (i = 0; t && i < RESOLVE_MAX; i++) {
		switch (type_kind(t)) {
		case KIND_TYPEDEF:
		case KIND_VOLATILE:
		case KIND_CONST:
		case KIND_RESTRICT:
		case KIND_TYPE_TAG:
			t = type_by_id(image, t->size);
			break;
		default:
			return t;
		}
	}
	return NULL;
}

int btf_image_init(struct btf_image *image, const struct btf_image *base, const void *data,
		   u32 bytes)
{
	const struct header *h = data;
	u32 offset = 0, body;

	if (bytes < sizeof(*h) || h->magic != BTF_MAGIC || h->version != 1 ||
	    h->hdr_len < sizeof(*h) || h->hdr_len > bytes)
		return -EINVAL;
	body = bytes - h->hdr_len;
	if (h->type_off > body || h->type_len > body - h->type_off || h->str_off > body ||
	    h->str_len > body - h->str_off || h->type_off % 4 || h->hdr_len % 4)
		return -EINVAL;
	memset(image, 0, sizeof(*image));
	image->base = base;
	image->types = (const u8 *)data + h->hdr_len + h->type_off;
	image->types_bytes = h->type_len;
	image->strings = (const u8 *)data + h->hdr_len + h->str_off;
	image->strings_bytes = h->str_len;
	if (!h->str_len || image->strings[h->str_len - 1])
		return -EINVAL;
	image->first_id = base ? base->first_id + base->n_ids : 1;
	image->first_string = base ? base->first_string + base->strings_bytes : 0;
	while (type_next(image, &offset))
		image->n_ids++;
	return offset == image->types_bytes ? 0 : -EINVAL;
}

static const struct type *struct_find(const struct btf_image *image, const char *name)
{
	const struct type *t;
	u32 offset = 0;

	while ((t = type_next(image, &offset)))
		if (type_kind(t) == KIND_STRUCT && !strcmp(string_at(image, t->name), name))
			return t;
	return image->base ? struct_find(image->base, name) : NULL;
}

int btf_struct_bytes(const struct btf_image *image, const char *name)
{
	const struct type *t = struct_find(image, name);

	return t ? (int)t->size : -ENOENT;
}

static int type_check(const struct btf_image *image, u32 id, const struct btf_want *want,
		      u32 *bytes)
{
	const struct type *t = type_resolve(image, id);
	u32 kind = want->kind == BTF_WANT_UNION ? KIND_UNION : KIND_STRUCT;

	if (!t)
		return -EINVAL;
	if (want->kind == BTF_WANT_INT) {
		if (type_kind(t) != KIND_INT || t->size > 31 || !(want->sizes & (1u << t->size)))
			return -EINVAL;
		*bytes = t->size;
		return 0;
	}
	if (want->kind == BTF_WANT_PTR) {
		if (type_kind(t) != KIND_PTR)
			return -EINVAL;
		*bytes = 8;
		if (!want->target)
			return 0;
		t = type_resolve(image, t->size);
	} else if (t) {
		*bytes = t->size;
	}
	return t && type_kind(t) == kind && !strcmp(string_at(image, t->name), want->target)
		       ? 0
		       : -EINVAL;
}

static int member_find(const struct btf_image *image, const struct type *in,
		       const struct btf_want *want, u32 base_bits, u32 depth,
		       struct btf_found *found)
{
	const struct member *m = (const struct member *)(in + 1);
	bool bitfields = in->info >> 31;
	u32 i;

	for (i = 0; i < type_n(in); i++, m++) {
		u32 bits = base_bits + (bitfields ? m->offset & 0xffffff : m->offset);
		const char *name = string_at(image, m->name);
		const struct type *t;
		int err;

		if (!strcmp(name, want->member)) {
			u32 bytes;

			if (bits % 8 || (bitfields && m->offset >> 24))
				return -EINVAL;
			err = type_check(image, m->type, want, &bytes);
			if (!err) {
				found->offset = bits / 8;
				found->bytes = bytes;
			}
			return err;
		}
		if (*name || depth == NESTED_MAX)
			continue;
		t = type_resolve(image, m->type);
		if (!t || (type_kind(t) != KIND_STRUCT && type_kind(t) != KIND_UNION))
			continue;
		err = member_find(image, t, want, bits, depth + 1, found);
		if (err != -ENOENT)
			return err;
	}
	return -ENOENT;
}

int btf_match(const struct btf_image *image, const struct btf_want *want, struct btf_found *found)
{
	const struct type *t = struct_find(image, want->container);

	return t ? member_find(image, t, want, 0, 0, found) : -ENOENT;
}
