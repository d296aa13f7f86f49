/* SPDX-License-Identifier: BSD-2-Clause */
/* kernel/host/btf_match.c: members by name and type, in BTF made here, whole and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "host/btf_match.h"

/* A BTF section as it grows. Types come before strings, as in the kernel's. */
struct blob {
	uint32_t types[256];
	char strings[512];
	uint32_t n_words, n_chars;
	uint8_t data[2048];
	uint32_t bytes;
	uint32_t base_chars;
};

static void blob_init(struct blob *b, uint32_t base_chars)
{
	memset(b, 0, sizeof(*b));
	b->base_chars = base_chars;
	b->n_chars = base_chars ? 0 : 1;
}

static uint32_t string(struct blob *b, const char *s)
{
	uint32_t at = b->n_chars;

	memcpy(b->strings + at, s, strlen(s) + 1);
	b->n_chars += strlen(s) + 1;
	return at + b->base_chars;
}

static void words(struct blob *b, const uint32_t *w, uint32_t n)
{
	memcpy(b->types + b->n_words, w, n * 4);
	b->n_words += n;
}
#define WORDS(b, ...) words(b, (uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

static void blob_done(struct blob *b)
{
	uint32_t header[6] = {
		0xeb9f | 1 << 16, 24, 0, b->n_words * 4, b->n_words * 4, b->n_chars
	};

	memcpy(b->data, header, 24);
	memcpy(b->data + 24, b->types, b->n_words * 4);
	memcpy(b->data + 24 + b->n_words * 4, b->strings, b->n_chars);
	b->bytes = 24 + b->n_words * 4 + b->n_chars;
}

enum { INT = 1u << 24, PTR = 2u << 24, STRUCT = 4u << 24, UNION = 5u << 24, TYPEDEF = 8u << 24 };

/* 1: int, 2: short, 3: typedef s16 of it, 4: struct vmcb of 4096 bytes, 5: a pointer to that */
static void kernel(struct blob *b)
{
	blob_init(b, 0);
	WORDS(b, string(b, "int"), INT, 4, 32 | 1u << 24);
	WORDS(b, string(b, "short"), INT, 2, 16 | 1u << 24);
	WORDS(b, string(b, "s16"), TYPEDEF, 2);
	WORDS(b, string(b, "vmcb"), STRUCT, 4096);
	WORDS(b, 0, PTR, 4);
	blob_done(b);
}

/* 6: struct vcpu_svm { struct vmcb *vmcb; union { int a; s16 isr; }; int bits:3; s16 count; } */
static void module(struct blob *b, const struct blob *k)
{
	blob_init(b, k->n_chars);
	WORDS(b, string(b, "vcpu_svm"), STRUCT | 1u << 31 | 4, 24);
	WORDS(b, string(b, "vmcb"), 5, 0);
	WORDS(b, 0, 7, 64);
	WORDS(b, string(b, "bits"), 1, 96 | 3u << 24);
	WORDS(b, string(b, "count"), 3, 128);
	WORDS(b, 0, UNION | 2, 4);
	WORDS(b, string(b, "a"), 1, 0, string(b, "isr"), 3, 0);
	blob_done(b);
}

static struct blob k, m;
static struct btf_image base, image;

static int setup(void **state)
{
	kernel(&k);
	module(&m, &k);
	assert_int_equal(btf_image_init(&base, NULL, k.data, k.bytes), 0);
	assert_int_equal(btf_image_init(&image, &base, m.data, m.bytes), 0);
	return 0;
}

static int match(const char *container, const char *member, enum btf_kind_wanted kind,
		 const char *target, u32 sizes, struct btf_found *found)
{
	struct btf_want want = { container, member, kind, target, sizes };

	return btf_match(&image, &want, found);
}

static void finds_members(void **state)
{
	struct btf_found f;

	assert_int_equal(image.first_id, 6);
	assert_int_equal(match("vcpu_svm", "vmcb", BTF_WANT_PTR, "vmcb", 0, &f), 0);
	assert_int_equal(f.offset, 0);
	assert_int_equal(match("vcpu_svm", "count", BTF_WANT_INT, NULL, 1u << 2 | 1u << 4, &f), 0);
	assert_int_equal(f.offset, 16);
	assert_int_equal(f.bytes, 2);
	assert_int_equal(match("vcpu_svm", "isr", BTF_WANT_INT, NULL, 1u << 2, &f), 0);
	assert_int_equal(f.offset, 8);
	assert_int_equal(btf_struct_bytes(&image, "vcpu_svm"), 24);
	assert_int_equal(btf_struct_bytes(&image, "vmcb"), 4096);
}

static void refuses_other_types(void **state)
{
	struct btf_found f = { 77, 77 };

	assert_int_equal(match("vcpu_svm", "count", BTF_WANT_INT, NULL, 1u << 4, &f), -EINVAL);
	assert_int_equal(match("vcpu_svm", "count", BTF_WANT_PTR, NULL, 0, &f), -EINVAL);
	assert_int_equal(match("vcpu_svm", "vmcb", BTF_WANT_PTR, "vmcs", 0, &f), -EINVAL);
	assert_int_equal(match("vcpu_svm", "vmcb", BTF_WANT_STRUCT, "vmcb", 0, &f), -EINVAL);
	assert_int_equal(match("vcpu_svm", "bits", BTF_WANT_INT, NULL, 1u << 4, &f), -EINVAL);
	assert_int_equal(match("vcpu_svm", "gone", BTF_WANT_PTR, NULL, 0, &f), -ENOENT);
	assert_int_equal(match("vcpu_vmx", "vmcb", BTF_WANT_PTR, NULL, 0, &f), -ENOENT);
	assert_int_equal(btf_struct_bytes(&image, "int"), -ENOENT);
	assert_int_equal(f.offset, 77);
}

/* Every byte wrong in turn, and every shorter section: no access outside (the sanitizers look). */
static void survives_broken_sections(void **state)
{
	struct btf_found f;
	struct btf_image broken;
	uint32_t i;

	for (i = 0; i < m.bytes; i++) {
		uint8_t *copy = malloc(m.bytes);
		struct btf_want want = { "vcpu_svm", "isr", BTF_WANT_INT, NULL, 1u << 2 };

		memcpy(copy, m.data, m.bytes);
		copy[i] ^= 0xff;
		if (!btf_image_init(&broken, &base, copy, m.bytes))
			(void)btf_match(&broken, &want, &f);
		free(copy);
		copy = malloc(i + 1);
		memcpy(copy, m.data, i);
		assert_int_equal(btf_image_init(&broken, &base, copy, i), -EINVAL);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(finds_members, setup),
		cmocka_unit_test_setup(refuses_other_types, setup),
		cmocka_unit_test_setup(survives_broken_sections, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
