/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The e1000 family, private to its folder: one model, two chips (variants).
 *
 * Threads: registers are accessed by the control thread. Transmit queues are polled by the I/O core
 * that has them; frames are given to the receive side by any core. Registers that the data path
 * needs are read as single loads; those in the two shared pages are the guest's memory and are read
 * once per batch. Locks, outer first:
 *
 *   tx[n].lock   a transmit queue: its ring, head, contexts, counters
 *   rx_lock      both receive queues: rings, heads, counters, filters' results
 *   irq_lock     ICR, IMS and what decides when an interrupt goes out
 *
 * e1000_quiesce_tx()/_rx() take and drop a direction's locks after a change that stops it: when
 * they return, nothing of the device works with the old state.
 */
#ifndef EXITLESS_NIC_E1000_E1000_H
#define EXITLESS_NIC_E1000_E1000_H

#include "base/ring.h"
#include "core/core.h"
#include "memory/space.h"
#include "net/switch.h"
#include "nic/e1000/model.h"
#include "nic/e1000/regs.h"
#include "nic/e1000/stats.h"
#include "nic/nic.h"
#include "pci/function.h"
#include "pci/reg.h"

#include <pthread.h>

#define E1000_QUEUES	  2
#define E1000_VECTORS	  5
#define E1000_NVM_WORDS	  64
#define E1000_TX_HEADER	  256  /* bytes of a packet that we may rewrite; TSO headers fit */
#define E1000_TX_DESC_MAX 2048 /* taken in one poll */
#define E1000_PHY_PAGES	  8

enum e1000_chip { CHIP_82540EM = 1, CHIP_82574L = 2 };

struct e1000_tx_remote;
struct e1000_rx_remote;

struct e1000_variant {
	const char *model;
	enum e1000_chip chip;
	struct pci_ids ids;
	unsigned n_queues;		      /* each way */
	unsigned io_bar, flash_bar, msix_bar; /* 0: none */
	uint32_t io_bytes;
	uint16_t phy_id[2];
	uint16_t phy_status; /* PSSR when the link is up */
};

/* What a ring's page says, as read. */
struct e1000_ring_words {
	uint32_t tail, len, base;
};

/* A ring as one snapshot of its page says, validated; n is 0 for "empty, whatever the reason". */
struct e1000_ring {
	uint64_t base;
	uint32_t n; /* descriptors of 16 bytes */
	uint32_t tail;
	struct e1000_ring_words words;
};

/* Where a queue's registers are, and how far we are. Under the queue's lock. */
struct e1000_head {
	uint32_t *page;	    /* the shared page's word for TDH/RDH */
	uint32_t head;	    /* ours */
	uint32_t published; /* what we last stored to (or took from) the page */
};

/* A transmit context (8254x manual 3.3.6): one for TSO, one for checksums. */
struct e1000_context {
	uint8_t ipcss, ipcso, tucss, tucso, hdr_len;
	uint16_t ipcse, tucse, mss;
	bool tcp, ipv4, valid;
	uint32_t paylen;
};

struct e1000_tx {
	struct io_queue queue;
	struct e1000 *dev;
	unsigned index;
	/* What the last poll left undone (no EOP yet, ring not mapped): nothing to do before one of
	 * these changes. Core; recheck is set by the control thread. Together: an idle queue is
	 * looked at often. */
	int recheck;
	const uint32_t *ring_page;    /* the ring's registers, from TDBAL on */
	struct e1000_ring_words seen; /* the very words that the last poll went by */
	/* Done since the guest was told (irq.tx_told) of it, about. */
	unsigned told, untold;
	uint64_t untold_octets;
	char name[48];
	pthread_mutex_t lock;
	struct memory_reader ring_reader, data_reader;
	struct e1000_head head;
	struct e1000_context context[2]; /* [0] checksums, [1] TSO */
	bool dropping;			 /* until the next EOP */
	uint32_t first_csum;		 /* legacy: CSS of the first descriptor */
	/* The poll's results: descriptors to write back, all of them done. */
	unsigned n_done;
	uint32_t done[E1000_TX_DESC_MAX];
	struct e1000_tx_counters count;
	struct e1000_tx_remote *remote; /* NULL: memory has files (remote.h) */
};

struct e1000_rx_queue {
	struct memory_reader ring_reader, data_reader;
	struct e1000_head head;
	bool min_threshold; /* below RDMTS: told already */
};

/* Frames that wait for descriptors (rxwait.c). Under rx_lock. */
struct e1000_rx_wait {
	struct ring ring;  /* no data: nothing has waited yet */
	unsigned n;	   /* frames */
	uint32_t bytes;	   /* as the chip counts them */
	uint64_t since_ns; /* for how long nothing of it has been taken */
	struct io_timer timer;
};

struct e1000_irq {
	uint32_t icr, ims;
	uint32_t notified;		      /* bits of icr & ims that the guest was told of */
	uint64_t next_ns[E1000_VECTORS];      /* earliest next interrupt; [0] also for ITR */
	uint64_t rdtr_ns, radv_ns;	      /* deadlines of delayed RXT0; UINT64_MAX: none */
	uint64_t tidv_ns, tadv_ns;	      /* and TXDW; tadv_ns: tx_held's in MSI-X mode */
	uint32_t tx_held;		      /* MSI-X: TXQn that wait for more to report */
	unsigned tx_told;		      /* counts when they have been set; any thread */
	uint64_t timer_ns;		      /* what the timer is set to */
	uint64_t raised, messages, throttled; /* statistics */
	uint64_t cause[32];		      /* how often each cause was set */
};

/* The serial NVM part: Microwire (82540EM) or SPI (82574L). */
struct e1000_serial_nvm {
	bool selected, sk;
	unsigned bits_in;
	uint32_t shift_in;
	unsigned bits_out;
	uint16_t shift_out;
	bool reading, writing, enabled;
	unsigned address; /* SPI: of a byte */
};

struct e1000 {
	struct nic nic;
	const struct e1000_variant *variant;
	struct reg *rows; /* the variant's register table */
	struct reg_table table;
	bool trap_doorbells;
	uint8_t mac[6];
	uint32_t *rx_page, *tx_page;
	void *own_pages; /* trap_doorbells: what reg_bank_share() got */
	uint32_t ioaddr;

	/* control thread */
	uint16_t nvm[E1000_NVM_WORDS];
	struct e1000_serial_nvm serial_nvm;
	uint16_t phy[E1000_PHY_PAGES][32];
	bool host_link; /* the administrator's wish */
	uint64_t stat_base[E1000_N_STATS];
	uint64_t resets;

	/* written by the control thread, read by all */
	bool link; /* frames can pass */
	bool phy_loopback;

	struct e1000_tx tx[E1000_QUEUES];

	/* the guest's limit, and the time up to which what it has sent uses it up; atomic */
	uint64_t max_rate_bps, rate_next_ns;
	struct io_timer rate_timer;

	pthread_mutex_t rx_lock;
	struct e1000_rx_remote *rx_remote; /* NULL: memory has files (remote.h) */
	struct e1000_rx_queue rx[E1000_QUEUES];
	struct e1000_rx_wait rx_wait;
	struct e1000_rx_counters rx_count;
	uint32_t rx_causes; /* to be raised at the turn's end */
	struct io_flush rx_flush;
	uint64_t rxo_next_ns;

	pthread_mutex_t irq_lock;
	struct e1000_irq irq;
	struct io_timer timer;
};

static inline struct e1000 *e1000_of(struct nic *nic)
{
	return container_of(nic, struct e1000, nic);
}

/* Every register read of the data path. */
static inline uint32_t e1000_get(const struct e1000 *dev, uint32_t offset)
{
	return reg_get(dev->nic.regs, offset);
}

/* A word of the shared pages: the guest's memory. */
static inline uint32_t e1000_page(const struct e1000 *dev, uint32_t offset)
{
	const uint32_t *page = offset >= TX_PAGE ? dev->tx_page : dev->rx_page;

	return __atomic_load_n(page + (offset & 0xfff) / 4, __ATOMIC_ACQUIRE);
}

/* May the device do DMA? Bus mastering on, power state D0, no "GIO master disable". */
static inline bool e1000_dma_ok(const struct e1000 *dev)
{
	return pci_bus_master(dev->nic.pci) && !(e1000_get(dev, CTRL) & CTRL_GIO_MD);
}

/* chip.c: registers */
int e1000_regs_init(struct e1000 *dev);
void e1000_regs_done(struct e1000 *dev);
void e1000_bar_read(struct e1000 *dev, uint64_t offset, void *buf, size_t len);
void e1000_bar_write(struct e1000 *dev, uint64_t offset, const void *buf, size_t len);
/* All of the chip to its state after CTRL.RST; @function: NVM latches and PHY as well. */
void e1000_reset(struct e1000 *dev, bool function);
/* Return when the direction's queues have seen what was changed before. */
void e1000_quiesce_tx(struct e1000 *dev);
void e1000_quiesce_rx(struct e1000 *dev);

/* ring.c: what both directions need of a ring */
/* @bal: offset of the ring's first register. Adopts a head that the guest has written. */
void e1000_ring_load(struct e1000 *dev, uint32_t bal, struct e1000_head *head,
		     struct e1000_ring *ring);
void e1000_head_init(struct e1000_head *head, uint32_t *page);
/* Stores the private head to the page, unless the guest wrote it meanwhile: then takes that. */
void e1000_head_publish(struct e1000_head *head);

/* irq.c */
enum e1000_tx_urgency {
	E1000_TX_AT_ONCE,    /* a descriptor without IDE */
	E1000_TX_MUCH,	     /* all have IDE, but there is much to report: no longer than TIDV */
	E1000_TX_MAY_GATHER, /* all have IDE */
};
void e1000_irq_init(struct e1000 *dev);
void e1000_irq_reset(struct e1000 *dev);
/* Any thread: sets causes in ICR, and whatever follows from that. */
void e1000_irq_raise(struct e1000 *dev, uint32_t causes);
/* Data path: frames were received into queues of @causes (RXQn, RXDMT0), or descriptors written
 * back; chooses the cause for the mode in use and obeys the delay timers. */
void e1000_irq_rx(struct e1000 *dev, uint32_t causes, uint64_t now_ns);
void e1000_irq_tx(struct e1000 *dev, uint32_t causes, enum e1000_tx_urgency urgency,
		  uint64_t now_ns);
/* The mode, or the client's set-up, changed. */
void e1000_irq_state_changed(struct e1000 *dev);
/* Handlers of the register table. */
uint32_t e1000_read_ICR(void *dev, unsigned index);
uint32_t e1000_read_ICS(void *dev, unsigned index);
uint32_t e1000_read_IMS(void *dev, unsigned index);
void e1000_wrote_ICR(void *dev, unsigned index, uint32_t old, uint32_t written);
void e1000_wrote_ICS(void *dev, unsigned index, uint32_t old, uint32_t written);
void e1000_wrote_IMS(void *dev, unsigned index, uint32_t old, uint32_t written);
void e1000_wrote_IMC(void *dev, unsigned index, uint32_t old, uint32_t written);
void e1000_wrote_irq_config(void *dev, unsigned index, uint32_t old, uint32_t written);
void e1000_irq_timers_clear(struct e1000 *dev);

/* eeprom.c */
void e1000_nvm_init(struct e1000 *dev);
void e1000_nvm_reset(struct e1000 *dev);
uint32_t e1000_read_EECD(void *dev, unsigned index);
void e1000_wrote_EECD(void *dev, unsigned index, uint32_t old, uint32_t written);
void e1000_wrote_EERD(void *dev, unsigned index, uint32_t old, uint32_t written);
void e1000_wrote_EEWR(void *dev, unsigned index, uint32_t old, uint32_t written);

/* phy.c */
void e1000_phy_reset(struct e1000 *dev);
void e1000_wrote_MDIC(void *dev, unsigned index, uint32_t old, uint32_t written);
/* Works out link and loopback from the PHY and the administrator; raises LSC on a change. */
void e1000_link_update(struct e1000 *dev);

/* tx.c */
extern const struct io_queue_ops e1000_tx_ops;
void e1000_tx_init(struct e1000 *dev);
void e1000_tx_reset(struct e1000_tx *tx);
void e1000_tx_kick(struct e1000 *dev);
/* I/O core: the guest was given something that it may answer. */
void e1000_tx_expect(struct e1000 *dev, const struct io_turn *turn);
/* Bits per second; 0: no limit. Any thread. */
void e1000_tx_rate_set(struct e1000 *dev, uint64_t bps);

/* rx.c */
extern const struct net_sink_ops e1000_rx_ops;
void e1000_rx_init(struct e1000 *dev);
void e1000_rx_reset(struct e1000 *dev);
unsigned e1000_rx_give(struct e1000 *dev, struct packet *const *packets, unsigned n,
		       struct io_turn *turn);

/* rxwait.c; all but _kick() under rx_lock */
void e1000_rx_wait_init(struct e1000 *dev);
/* What waits is lost. Frees the memory. */
void e1000_rx_wait_clear(struct e1000 *dev);
/* The direction has been turned off: the same, counted. */
void e1000_rx_wait_stop(struct e1000 *dev);
/* Any thread: the guest has perhaps given descriptors. */
void e1000_rx_wait_kick(struct e1000 *dev);

/* filter.c */
enum e1000_verdict { E1000_ACCEPT, E1000_DROP_ADDRESS, E1000_DROP_VLAN };
/* @header: at least 14 bytes of the frame, or 18 when a tag stands in them. */
enum e1000_verdict e1000_filter(const struct e1000 *dev, uint32_t rctl, const uint8_t *header,
				bool tagged, uint16_t tci);
struct headers;
struct e1000_rss {
	unsigned queue, type;
	uint32_t hash;
};
void e1000_rss(const struct e1000 *dev, const uint8_t *header, const struct headers *h,
	       struct e1000_rss *rss);

/* stats.c */
void e1000_count_frame(struct e1000_counters *c, const uint8_t *dst, uint32_t len_with_fcs);
void e1000_stats_reset(struct e1000 *dev);
void e1000_stats(struct nic *nic, nic_stat_fn *stat, void *arg);

#endif
