/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is counted, once: the lists below make the counters' names, the statistics registers' rows
 * and the values that `exitless stats` shows.
 */
#ifndef EXITLESS_NIC_E1000_STATS_H
#define EXITLESS_NIC_E1000_STATS_H

#include <stdint.h>

/* What one direction counts as the chip's statistics registers do (octets include the FCS). */
#define E1000_COUNTERS(X)                                                                          \
	X(packets)                                                                                 \
	X(octets)                                                                                  \
	X(broadcasts)                                                                              \
	X(multicasts)                                                                              \
	X(size_64)                                                                                 \
	X(size_127)                                                                                \
	X(size_255)                                                                                \
	X(size_511)                                                                                \
	X(size_1023)                                                                               \
	X(size_1522)

/* Good frames that went into the guest's memory, and why others did not. */
#define E1000_RX_COUNTERS(X)                                                                       \
	X(total_packets)                                                                           \
	X(total_octets)                                                                            \
	X(no_buffer)                                                                               \
	X(waited)                                                                                  \
	X(oversize)                                                                                \
	X(disabled)                                                                                \
	X(filtered)                                                                                \
	X(vlan_filtered)                                                                           \
	X(bad_segment)                                                                             \
	X(bad_ring)                                                                                \
	X(bad_buffer)                                                                              \
	X(null_buffer)                                                                             \
	X(segmented)                                                                               \
	X(csum_filled)                                                                             \
	X(overruns)

/* What the guest's transmit rings held. */
#define E1000_TX_COUNTERS(X)                                                                       \
	X(tso_packets)                                                                             \
	X(tso_failed)                                                                              \
	X(descriptors)                                                                             \
	X(bad_ring)                                                                                \
	X(bad_buffer)                                                                              \
	X(bad_length)                                                                              \
	X(bad_context)                                                                             \
	X(bad_checksum)                                                                            \
	X(bad_descriptor)                                                                          \
	X(too_many_pieces)                                                                         \
	X(unfinished)                                                                              \
	X(link_down)                                                                               \
	X(looped)                                                                                  \
	X(rate_limited)

#define E1000_COUNTER_FIELD(name) uint64_t name;

struct e1000_counters {
	E1000_COUNTERS(E1000_COUNTER_FIELD)
};

struct e1000_rx_counters {
	struct e1000_counters good;
	E1000_RX_COUNTERS(E1000_COUNTER_FIELD)
};

struct e1000_tx_counters {
	struct e1000_counters good;
	E1000_TX_COUNTERS(E1000_COUNTER_FIELD)
};

/* Statistics registers, in offset order: name, offset, meaning. STAT_NONE ones never count. */
#define E1000_STATISTICS(X)                                                                        \
	X(CRCERRS, 0x4000)                                                                         \
	X(ALGNERRC, 0x4004)                                                                        \
	X(SYMERRS, 0x4008)                                                                         \
	X(RXERRC, 0x400c)                                                                          \
	X(MPC, 0x4010)                                                                             \
	X(SCC, 0x4014)                                                                             \
	X(ECOL, 0x4018)                                                                            \
	X(MCC, 0x401c)                                                                             \
	X(LATECOL, 0x4020)                                                                         \
	X(COLC, 0x4028)                                                                            \
	X(DC, 0x4030)                                                                              \
	X(TNCRS, 0x4034)                                                                           \
	X(SEC, 0x4038)                                                                             \
	X(CEXTERR, 0x403c)                                                                         \
	X(RLEC, 0x4040)                                                                            \
	X(XONRXC, 0x4048)                                                                          \
	X(XONTXC, 0x404c)                                                                          \
	X(XOFFRXC, 0x4050)                                                                         \
	X(XOFFTXC, 0x4054)                                                                         \
	X(FCRUC, 0x4058)                                                                           \
	X(PRC64, 0x405c)                                                                           \
	X(PRC127, 0x4060)                                                                          \
	X(PRC255, 0x4064)                                                                          \
	X(PRC511, 0x4068)                                                                          \
	X(PRC1023, 0x406c)                                                                         \
	X(PRC1522, 0x4070)                                                                         \
	X(GPRC, 0x4074)                                                                            \
	X(BPRC, 0x4078)                                                                            \
	X(MPRC, 0x407c)                                                                            \
	X(GPTC, 0x4080)                                                                            \
	X(GORCL, 0x4088)                                                                           \
	X(GORCH, 0x408c)                                                                           \
	X(GOTCL, 0x4090)                                                                           \
	X(GOTCH, 0x4094)                                                                           \
	X(RNBC, 0x40a0)                                                                            \
	X(RUC, 0x40a4)                                                                             \
	X(RFC, 0x40a8)                                                                             \
	X(ROC, 0x40ac)                                                                             \
	X(RJC, 0x40b0)                                                                             \
	X(MGTPRC, 0x40b4)                                                                          \
	X(MGTPDC, 0x40b8)                                                                          \
	X(MGTPTC, 0x40bc)                                                                          \
	X(TORL, 0x40c0)                                                                            \
	X(TORH, 0x40c4)                                                                            \
	X(TOTL, 0x40c8)                                                                            \
	X(TOTH, 0x40cc)                                                                            \
	X(TPR, 0x40d0)                                                                             \
	X(TPT, 0x40d4)                                                                             \
	X(PTC64, 0x40d8)                                                                           \
	X(PTC127, 0x40dc)                                                                          \
	X(PTC255, 0x40e0)                                                                          \
	X(PTC511, 0x40e4)                                                                          \
	X(PTC1023, 0x40e8)                                                                         \
	X(PTC1522, 0x40ec)                                                                         \
	X(MPTC, 0x40f0)                                                                            \
	X(BPTC, 0x40f4)                                                                            \
	X(TSCTC, 0x40f8)                                                                           \
	X(TSCTFC, 0x40fc)                                                                          \
	X(IAC, 0x4100)                                                                             \
	X(ICRXPTC, 0x4104)                                                                         \
	X(ICRXATC, 0x4108)                                                                         \
	X(ICTXPTC, 0x410c)                                                                         \
	X(ICTXATC, 0x4110)                                                                         \
	X(ICTXQEC, 0x4118)                                                                         \
	X(ICTXQMTC, 0x411c)                                                                        \
	X(ICRXDMTC, 0x4120)                                                                        \
	X(ICRXOC, 0x4124)

#define E1000_STAT_ENUM(name, offset) STAT_##name,
enum e1000_stat { E1000_STATISTICS(E1000_STAT_ENUM) E1000_N_STATS };

/* One read handler per statistics register; they are rows of the register table. */
#define E1000_STAT_DECLARE(name, offset) uint32_t e1000_read_##name(void *dev, unsigned index);
E1000_STATISTICS(E1000_STAT_DECLARE)

#endif
