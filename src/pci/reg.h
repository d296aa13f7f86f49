/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The register engine. A device model is a table with one row per register, in offset order, in the
 * datasheet's names; a handler only where an access has a side effect. The engine knows read-only,
 * read-write, write-1-to-clear and clear-on-read bits, accesses of any width and alignment, and
 * refuses a table with overlapping, misaligned or out-of-range rows. Reset, register dumps and fuzz
 * dictionaries come from the same table.
 *
 * Registers are 32 bits, at offsets that are multiples of 4. An access of another width or
 * alignment is split into 32-bit registers with byte enables: a write changes only the enabled
 * bytes (handlers see the merged value), a read has its side effect once for each register it
 * touches. Unknown offsets read as 0 and ignore writes; both are counted.
 *
 * A part of the bank may live in memory shared with the guest (doorbell pages): reg_bank_share().
 * The guest changes such registers without any handler running, so their rows must have none and
 * the device applies the rw masks itself when it reads them.
 *
 * Locking is the device's: it calls the engine with whatever lock its handlers need.
 */
#ifndef EXITLESS_PCI_REG_H
#define EXITLESS_PCI_REG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reg_bank;

struct reg {
	const char *name;
	uint32_t offset;
	unsigned count;	 /* array length; 0 means 1 */
	unsigned stride; /* bytes between elements; 0 means 4 */
	uint32_t reset;
	uint32_t rw;  /* bits a write stores */
	uint32_t w1c; /* bits a written 1 clears */
	uint32_t rc;  /* bits that a read clears */
	bool keep;    /* survives reg_bank_reset(); only reg_bank_init() loads it */
	/* After the store. @index: array element. @old: the value before, @written: what was
	 * written (after merging of byte enables, before masks). */
	void (*wrote)(void *dev, unsigned index, uint32_t old, uint32_t written);
	/* Instead of the plain load: returns the value, does the side effects. rc is still applied.
	 */
	uint32_t (*read)(void *dev, unsigned index);
};

struct reg_table {
	const struct reg *rows;
	size_t n_rows;
	uint32_t size; /* of the bank in bytes, a multiple of 4, at most 16 MiB */
};

/* Checks @table and builds the O(1) index. @dev is what handlers get. Returns NULL with errno set:
 * EINVAL for a bad table (then *why, if not NULL, names the row), ENOMEM. The table is borrowed. */
struct reg_bank *reg_bank_new(const struct reg_table *table, void *dev, const char **why);
void reg_bank_free(struct reg_bank *bank);

/* Moves [@offset, @offset + @len) to @mem, which the guest may share; contents are carried over.
 * Both multiples of 4096. -EINVAL when a row inside has a handler or a side effect. */
int reg_bank_share(struct reg_bank *bank, uint32_t offset, uint32_t len, void *mem);

/* All registers that are not .keep to their reset values; no handlers run. */
void reg_bank_reset(struct reg_bank *bank);

/* Guest accesses of 1..8 (or any) bytes anywhere; out of range: reads 0, writes are ignored. */
void reg_bank_read(struct reg_bank *bank, uint64_t offset, void *buf, size_t len);
void reg_bank_write(struct reg_bank *bank, uint64_t offset, const void *buf, size_t len);

/* The model's own plain access: no handlers, no masks. @offset is a multiple of 4 in the bank.
 * Single relaxed machine accesses, so shared pages may be read like this too. */
uint32_t reg_get(const struct reg_bank *bank, uint32_t offset);
void reg_set(struct reg_bank *bank, uint32_t offset, uint32_t value);

/* Calls @row for each register (array elements each on their own, as "RAL[3]"), in offset order. */
void reg_bank_dump(const struct reg_bank *bank,
		   void (*row)(void *arg, const char *name, uint32_t offset, uint32_t value),
		   void *arg);

struct reg_stats {
	uint64_t reads, writes, unknown_reads, unknown_writes;
};
void reg_bank_stats(const struct reg_bank *bank, struct reg_stats *stats);

#endif
