/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/util.h"
#include "net/packet.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct packet_batch batch;
static uint8_t bytes[PACKET_LEN_MAX + 1];

static int setup(void **state)
{
	packet_batch_init(&batch);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 + (i >> 8));
	return 0;
}

/* Whatever the pieces, the sealed packet holds the same bytes, the first ones in its head. */
static void seals(void **state)
{
	static const uint32_t cuts[] = { 1, 2, 7, 13, 63, 64, 65, 100, 4000 };
	static const uint32_t lens[] = { 14, 15, 60, 63, 64, 65, 127, 128, 1514 };
	static uint8_t got[2000];

	for (unsigned c = 0; c < ARRAY_SIZE(cuts); c++) {
		for (unsigned l = 0; l < ARRAY_SIZE(lens); l++) {
			uint32_t len = lens[l];
			struct packet *packet;

			packet_batch_init(&batch);
			packet = packet_begin(&batch);
			if (len / cuts[c] + 1 > PACKET_PIECES_MAX)
				continue;
			for (uint32_t at = 0; at < len; at += cuts[c])
				assert_int_equal(packet_add(&batch, packet, bytes + at,
							    MIN(cuts[c], len - at)),
						 0);
			assert_int_equal(packet_seal(&batch, packet), 0);
			assert_int_equal(packet->head_len, MIN(len, 64u));
			assert_ptr_equal(packet->pieces[0].iov_base, packet->head);
			assert_int_equal(packet_copy(packet, 0, got, sizeof(got)), len);
			assert_memory_equal(got, bytes, len);
			for (unsigned i = 0; i < packet->n_pieces; i++)
				assert_true(packet->pieces[i].iov_len);
			assert_int_equal(batch.n, 1);
			assert_int_equal(batch.n_pieces, packet->n_pieces);
		}
	}
}

static void head_is_private(void **state)
{
	struct packet *packet = packet_begin(&batch);
	uint8_t got[80];

	packet_add(&batch, packet, bytes, 80);
	assert_int_equal(packet_seal(&batch, packet), 0);
	memset(bytes, 0xaa, 80);
	packet_copy(packet, 0, got, 80);
	assert_int_equal(got[63], (uint8_t)(63 * 31));
	assert_int_equal(got[64], 0xaa);
}

static void limits(void **state)
{
	struct packet *packet = packet_begin(&batch);

	assert_int_equal(packet_add(&batch, packet, bytes, 13), 0);
	assert_int_equal(packet_add(&batch, packet, bytes, 0), 0);
	assert_int_equal(packet_seal(&batch, packet), -EINVAL);
	assert_int_equal(batch.n, 0);

	packet = packet_begin(&batch);
	assert_int_equal(packet_add(&batch, packet, bytes, PACKET_LEN_MAX), 0);
	assert_int_equal(packet_add(&batch, packet, bytes, 1), -E2BIG);
	assert_int_equal(packet_add(&batch, packet, bytes, UINT32_MAX), -E2BIG);
	assert_int_equal(packet_seal(&batch, packet), 0);

	packet = packet_begin(&batch);
	for (unsigned i = 0; i < PACKET_PIECES_MAX; i++)
		assert_int_equal(packet_add(&batch, packet, bytes, 1), 0);
	assert_int_equal(packet_add(&batch, packet, bytes, 1), -E2BIG);
	packet->off.gso = 77;
	assert_int_equal(packet_seal(&batch, packet), -EINVAL);
	assert_int_equal(batch.n, 1);

	/* until packets or pieces run out; never beyond the arrays */
	packet_batch_init(&batch);
	while ((packet = packet_begin(&batch))) {
		packet_add(&batch, packet, bytes, 60);
		assert_int_equal(packet_seal(&batch, packet), 0);
	}
	assert_int_equal(batch.n, PACKET_BATCH);
	packet_batch_init(&batch);
	while ((packet = packet_begin(&batch))) {
		for (unsigned i = 0; i < PACKET_PIECES_MAX; i++)
			packet_add(&batch, packet, bytes, 100);
		assert_int_equal(packet_seal(&batch, packet), 0);
	}
	assert_true(batch.n < PACKET_BATCH && batch.n >= 7);
	assert_true(batch.n_pieces <= PACKET_BATCH_PIECES);
}

static void header_lengths(void **state)
{
	struct packet *packet = packet_begin(&batch);

	bytes[34 + 12] = 0x80;
	packet_add(&batch, packet, bytes, 20);
	packet_add(&batch, packet, bytes + 20, 1000);
	packet->off = (struct offload){ .flags = OFFLOAD_NEEDS_CSUM,
					.gso = OFFLOAD_GSO_TCPV4,
					.hdr_len = 512,
					.gso_size = 100,
					.csum_start = 34,
					.csum_offset = 16 };
	packet_hdr_len_set(packet);
	assert_int_equal(packet->off.hdr_len, 66);
	packet->off.csum_start = 1015;
	packet_hdr_len_set(packet);
	assert_int_equal(packet->off.hdr_len, 0);
	assert_int_equal(packet_seal(&batch, packet), -EINVAL);
	packet->off.csum_start = 0xffff;
	packet_hdr_len_set(packet);
	assert_int_equal(packet->off.hdr_len, 0);
	packet->off.gso = OFFLOAD_GSO_UDP_L4;
	packet_hdr_len_set(packet);
	assert_int_equal(packet->off.hdr_len, 0);
	packet->off.csum_start = 34;
	packet_hdr_len_set(packet);
	assert_int_equal(packet->off.hdr_len, 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(seals, setup),
		cmocka_unit_test_setup(head_is_private, setup),
		cmocka_unit_test_setup(limits, setup),
		cmocka_unit_test_setup(header_lengths, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
