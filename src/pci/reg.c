/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci/reg.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE	       4096u
#define BANK_BYTES_MAX (16u << 20)
#define NO_ROW	       0xffffu

struct reg_bank {
	const struct reg_table *table;
	void *dev;
	uint16_t *row_of; /* by offset / 4; NO_ROW where there is nothing */
	uint32_t **pages; /* each 4096 bytes of storage: our own, or shared with the guest */
	uint32_t *own;
	uint32_t n_pages;
	struct reg_stats stats;
};

static unsigned count_of(const struct reg *row)
{
	return row->count ? row->count : 1;
}

static unsigned stride_of(const struct reg *row)
{
	return row->stride ? row->stride : 4;
}

static bool row_is_sound(const struct reg_table *table, const struct reg *row)
{
	uint64_t end = row->offset + (uint64_t)(count_of(row) - 1) * stride_of(row) + 4;

	return row->name && row->offset % 4 == 0 && stride_of(row) % 4 == 0 && end <= table->size &&
	       !(row->rw & row->w1c);
}

static int index_rows(struct reg_bank *bank, const char **why)
{
	const struct reg_table *table = bank->table;

	for (size_t i = 0; i < table->n_rows; i++) {
		const struct reg *row = &table->rows[i];

		if (why)
			*why = row->name;
		if (!row_is_sound(table, row))
			return -EINVAL;
		for (unsigned n = 0; n < count_of(row); n++) {
			uint32_t at = row->offset + n * stride_of(row);

			if (bank->row_of[at / 4] != NO_ROW)
				return -EINVAL;
			bank->row_of[at / 4] = (uint16_t)i;
		}
	}
	return 0;
}

/* Whole pages of zeros at once: a packet memory has thousands of registers, and a guest may reset
 * the device as often as it likes. */
static void load_row(struct reg_bank *bank, const struct reg *row)
{
	uint32_t end = row->offset + count_of(row) * stride_of(row);
	bool zeros = !row->reset && stride_of(row) == 4;

	for (uint32_t at = row->offset; at < end;) {
		uint32_t *page = bank->pages[at / PAGE];

		if (zeros && at % PAGE == 0 && end - at >= PAGE && page == bank->own + at / 4) {
			memset(page, 0, PAGE);
			at += PAGE;
		} else {
			reg_set(bank, at, row->reset);
			at += stride_of(row);
		}
	}
}

static void load_resets(struct reg_bank *bank, bool all)
{
	for (size_t i = 0; i < bank->table->n_rows; i++) {
		const struct reg *row = &bank->table->rows[i];

		if (row->keep && !all)
			continue;
		load_row(bank, row);
	}
}

struct reg_bank *reg_bank_new(const struct reg_table *table, void *dev, const char **why)
{
	struct reg_bank *bank;
	int err = ENOMEM;

	if (why)
		*why = "the table";
	if (!table->size || table->size % 4 || table->size > BANK_BYTES_MAX ||
	    table->n_rows >= NO_ROW) {
		errno = EINVAL;
		return NULL;
	}
	bank = calloc(1, sizeof(*bank));
	if (!bank)
		return NULL;
	bank->table = table;
	bank->dev = dev;
	bank->n_pages = ALIGN_UP(table->size, PAGE) / PAGE;
	bank->row_of = malloc(table->size / 4 * sizeof(bank->row_of[0]));
	bank->pages = calloc(bank->n_pages, sizeof(bank->pages[0]));
	bank->own = calloc(bank->n_pages, PAGE);
	if (!bank->row_of || !bank->pages || !bank->own)
		goto fail;
	memset(bank->row_of, 0xff, table->size / 4 * sizeof(bank->row_of[0]));
	for (uint32_t i = 0; i < bank->n_pages; i++)
		bank->pages[i] = bank->own + i * (PAGE / 4);
	err = -index_rows(bank, why);
	if (err)
		goto fail;
	load_resets(bank, true);
	return bank;
fail:
	reg_bank_free(bank);
	errno = err;
	return NULL;
}

void reg_bank_free(struct reg_bank *bank)
{
	if (!bank)
		return;
	free(bank->row_of);
	free(bank->pages);
	free(bank->own);
	free(bank);
}

int reg_bank_share(struct reg_bank *bank, uint32_t offset, uint32_t len, void *mem)
{
	if (offset % PAGE || len % PAGE || !len || offset / PAGE + len / PAGE > bank->n_pages)
		return -EINVAL;
	for (uint32_t at = offset; at < offset + len && at < bank->table->size; at += 4) {
		const struct reg *row;

		if (bank->row_of[at / 4] == NO_ROW)
			continue;
		row = &bank->table->rows[bank->row_of[at / 4]];
		if (row->wrote || row->read || row->w1c || row->rc)
			return -EINVAL;
	}
	for (uint32_t i = 0; i < len / PAGE; i++) {
		uint32_t *to = (uint32_t *)mem + i * (PAGE / 4);
		uint32_t *from = bank->pages[offset / PAGE + i];

		for (unsigned w = 0; w < PAGE / 4; w++)
			WRITE_ONCE(to[w], from[w]);
		bank->pages[offset / PAGE + i] = to;
	}
	return 0;
}

void reg_bank_reset(struct reg_bank *bank)
{
	load_resets(bank, false);
}

uint32_t reg_get(const struct reg_bank *bank, uint32_t offset)
{
	return READ_ONCE(bank->pages[offset / PAGE][offset % PAGE / 4]);
}

void reg_set(struct reg_bank *bank, uint32_t offset, uint32_t value)
{
	WRITE_ONCE(bank->pages[offset / PAGE][offset % PAGE / 4], value);
}

static const struct reg *row_at(const struct reg_bank *bank, uint32_t offset)
{
	uint16_t row = bank->row_of[offset / 4];

	return row == NO_ROW ? NULL : &bank->table->rows[row];
}

static uint32_t read32(struct reg_bank *bank, uint32_t offset)
{
	const struct reg *row = row_at(bank, offset);
	uint32_t value;

	bank->stats.reads++;
	if (!row) {
		bank->stats.unknown_reads++;
		return 0;
	}
	if (row->read)
		value = row->read(bank->dev, (offset - row->offset) / stride_of(row));
	else
		value = reg_get(bank, offset);
	if (row->rc)
		reg_set(bank, offset, reg_get(bank, offset) & ~row->rc);
	return value;
}

/* @enable: the bits of the bytes that are written. */
static void write32(struct reg_bank *bank, uint32_t offset, uint32_t value, uint32_t enable)
{
	const struct reg *row = row_at(bank, offset);
	uint32_t old, written;

	bank->stats.writes++;
	if (!row) {
		bank->stats.unknown_writes++;
		return;
	}
	old = reg_get(bank, offset);
	/* bytes that are not enabled write back what is there, and no 1 to clear */
	written = (value & enable) | (old & ~enable & ~row->w1c);
	if (row->rw | row->w1c)
		reg_set(bank, offset,
			((old & ~row->rw) | (written & row->rw)) & ~(written & row->w1c));
	if (row->wrote)
		row->wrote(bank->dev, (offset - row->offset) / stride_of(row), old, written);
}

void reg_bank_read(struct reg_bank *bank, uint64_t offset, void *buf, size_t len)
{
	uint8_t *out = buf;

	while (len) {
		unsigned skip = offset % 4;
		size_t here = MIN(len, (size_t)(4 - skip));
		uint32_t value = 0;

		if (offset - skip < bank->table->size)
			value = read32(bank, (uint32_t)(offset - skip));
		memcpy(out, (uint8_t *)&value + skip, here);
		out += here;
		offset += here;
		len -= here;
	}
}

void reg_bank_write(struct reg_bank *bank, uint64_t offset, const void *buf, size_t len)
{
	const uint8_t *in = buf;

	while (len) {
		unsigned skip = offset % 4;
		size_t here = MIN(len, (size_t)(4 - skip));
		uint32_t value = 0, enable = 0;

		memcpy((uint8_t *)&value + skip, in, here);
		memset((uint8_t *)&enable + skip, 0xff, here);
		if (offset - skip < bank->table->size)
			write32(bank, (uint32_t)(offset - skip), value, enable);
		in += here;
		offset += here;
		len -= here;
	}
}

void reg_bank_dump(const struct reg_bank *bank,
		   void (*row)(void *arg, const char *name, uint32_t offset, uint32_t value),
		   void *arg)
{
	for (uint32_t at = 0; at < bank->table->size; at += 4) {
		const struct reg *reg = row_at(bank, at);
		char name[64];

		if (!reg)
			continue;
		if (count_of(reg) > 1)
			snprintf(name, sizeof(name), "%s[%u]", reg->name,
				 (at - reg->offset) / stride_of(reg));
		else
			snprintf(name, sizeof(name), "%s", reg->name);
		row(arg, name, at, reg_get(bank, at));
	}
}

void reg_bank_stats(const struct reg_bank *bank, struct reg_stats *stats)
{
	*stats = bank->stats;
}
