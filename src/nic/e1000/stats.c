/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Statistics. The data path only counts up, each counter under its queue's lock; a clear-on-read
 * register is the difference to what the counter was at the last read, so that reading takes no
 * lock and loses nothing. A difference beyond 32 bits shows as 0xffffffff (8254x manual 13.7).
 */
#include "nic/e1000/e1000.h"

void e1000_count_frame(struct e1000_counters *c, const uint8_t *dst, uint32_t len)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	COUNT(c->packets, 1);
	COUNT(c->octets, len);
	if (unlikely(dst[0] & 1)) {
		if (!memcmp(dst, broadcast, 6))
			COUNT(c->broadcasts, 1);
		else
			COUNT(c->multicasts, 1);
	}
	if (len > 1023)
		COUNT(c->size_1522, 1);
	else if (len <= 64)
		COUNT(c->size_64, 1);
	else if (len <= 127)
		COUNT(c->size_127, 1);
	else if (len <= 255)
		COUNT(c->size_255, 1);
	else if (len <= 511)
		COUNT(c->size_511, 1);
	else
		COUNT(c->size_1023, 1);
}

/* A transmit counter over all queues. */
#define TX_SUM(dev, field)                                                                         \
	({                                                                                         \
		uint64_t tx_sum = 0;                                                               \
		for (unsigned tx_i = 0; tx_i < (dev)->variant->n_queues; tx_i++)                   \
			tx_sum += READ_ONCE((dev)->tx[tx_i].count.field);                          \
		tx_sum;                                                                            \
	})

static uint64_t counter(const struct e1000 *dev, enum e1000_stat stat)
{
	const struct e1000_rx_counters *rx = &dev->rx_count;

	switch (stat) {
	case STAT_MPC: return READ_ONCE(rx->no_buffer);
	case STAT_RNBC: return READ_ONCE(rx->waited) + READ_ONCE(rx->no_buffer);
	case STAT_ROC: return READ_ONCE(rx->oversize);
	case STAT_PRC64: return READ_ONCE(rx->good.size_64);
	case STAT_PRC127: return READ_ONCE(rx->good.size_127);
	case STAT_PRC255: return READ_ONCE(rx->good.size_255);
	case STAT_PRC511: return READ_ONCE(rx->good.size_511);
	case STAT_PRC1023: return READ_ONCE(rx->good.size_1023);
	case STAT_PRC1522: return READ_ONCE(rx->good.size_1522);
	case STAT_GPRC: return READ_ONCE(rx->good.packets);
	case STAT_BPRC: return READ_ONCE(rx->good.broadcasts);
	case STAT_MPRC: return READ_ONCE(rx->good.multicasts);
	case STAT_GORCL:
	case STAT_GORCH: return READ_ONCE(rx->good.octets);
	case STAT_TORL:
	case STAT_TORH: return READ_ONCE(rx->total_octets);
	case STAT_TPR: return READ_ONCE(rx->total_packets);
	case STAT_GPTC:
	case STAT_TPT: return TX_SUM(dev, good.packets);
	case STAT_GOTCL:
	case STAT_GOTCH:
	case STAT_TOTL:
	case STAT_TOTH: return TX_SUM(dev, good.octets);
	case STAT_PTC64: return TX_SUM(dev, good.size_64);
	case STAT_PTC127: return TX_SUM(dev, good.size_127);
	case STAT_PTC255: return TX_SUM(dev, good.size_255);
	case STAT_PTC511: return TX_SUM(dev, good.size_511);
	case STAT_PTC1023: return TX_SUM(dev, good.size_1023);
	case STAT_PTC1522: return TX_SUM(dev, good.size_1522);
	case STAT_MPTC: return TX_SUM(dev, good.multicasts);
	case STAT_BPTC: return TX_SUM(dev, good.broadcasts);
	case STAT_TSCTC: return TX_SUM(dev, tso_packets);
	case STAT_TSCTFC: return TX_SUM(dev, tso_failed);
	case STAT_IAC: return READ_ONCE(dev->irq.raised);
	case STAT_ICRXOC: return READ_ONCE(dev->irq.cause[6]);
	case STAT_ICRXDMTC: return READ_ONCE(dev->irq.cause[4]);
	case STAT_ICTXQEC: return READ_ONCE(dev->irq.cause[1]);
	default: return 0;
	}
}

static uint32_t stat_read(struct e1000 *dev, enum e1000_stat stat)
{
	uint64_t now = counter(dev, stat), since;

	switch (stat) {
	case STAT_GORCL:
	case STAT_GOTCL:
	case STAT_TORL:
	case STAT_TOTL: /* the high half, read next, clears both */
		return (uint32_t)(now - dev->stat_base[stat]);
	case STAT_GORCH:
	case STAT_GOTCH:
	case STAT_TORH:
	case STAT_TOTH:
		since = now - dev->stat_base[stat];
		dev->stat_base[stat] = now;
		dev->stat_base[stat - 1] = now;
		return (uint32_t)(since >> 32);
	default:
		since = now - dev->stat_base[stat];
		dev->stat_base[stat] = now;
		return since > UINT32_MAX ? UINT32_MAX : (uint32_t)since;
	}
}

#define STAT_READ(name, offset)                                                                    \
	uint32_t e1000_read_##name(void *dev, unsigned index)                                      \
	{                                                                                          \
		return stat_read(dev, STAT_##name);                                                \
	}
E1000_STATISTICS(STAT_READ)

void e1000_stats_reset(struct e1000 *dev)
{
	for (unsigned i = 0; i < E1000_N_STATS; i++)
		dev->stat_base[i] = counter(dev, i);
}

void e1000_stats(struct nic *nic, nic_stat_fn *stat, void *arg)
{
	struct e1000 *dev = e1000_of(nic);
	struct reg_stats regs;

#define SHOW_RX_GOOD(name) stat(arg, "rx_" #name, READ_ONCE(dev->rx_count.good.name));
#define SHOW_RX(name)	   stat(arg, "rx_" #name, READ_ONCE(dev->rx_count.name));
#define SHOW_TX_GOOD(name) stat(arg, "tx_" #name, TX_SUM(dev, good.name));
#define SHOW_TX(name)	   stat(arg, "tx_" #name, TX_SUM(dev, name));
	E1000_COUNTERS(SHOW_RX_GOOD)
	E1000_RX_COUNTERS(SHOW_RX)
	E1000_COUNTERS(SHOW_TX_GOOD)
	E1000_TX_COUNTERS(SHOW_TX)
	stat(arg, "rx_waiting", READ_ONCE(dev->rx_wait.n));
	stat(arg, "irq_raised", READ_ONCE(dev->irq.raised));
	stat(arg, "irq_throttled", READ_ONCE(dev->irq.throttled));
	reg_bank_stats(nic->regs, &regs);
	stat(arg, "reg_reads", regs.reads);
	stat(arg, "reg_writes", regs.writes);
	stat(arg, "reg_unknown_reads", regs.unknown_reads);
	stat(arg, "reg_unknown_writes", regs.unknown_writes);
	stat(arg, "resets", READ_ONCE(dev->resets));
}
