/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts (8254x manual 3.2.7 and 13.4.17 on; 82574 datasheet 7.4 and 10.2.4).
 *
 * ICR holds the causes, IMS which of them may interrupt. What goes out depends on the mode that the
 * client set up:
 *
 *   INTx    the line is high while icr & ims; a new assertion waits for ITR
 *   MSI     a message when a cause rises in icr & ims, also subject to ITR
 *   MSI-X   a message per cause that rises, to the vector in IVAR, subject to that vector's EITR;
 *           then EIAC's bits are cleared in ICR and IMS, so that the driver re-arms by IMS
 *
 * Throttling delays and never drops: what waits stays out of `notified`, and the timer looks again.
 * RDTR/RADV and TIDV/TADV delay the cause itself, and only without MSI-X. With it, transmit
 * interrupts that may be delayed (IDE) gather for some of the receive vector's intervals while
 * these are long. One timer serves all deadlines. Everything is under irq_lock, which may be taken
 * under any queue's lock.
 */
#include "nic/e1000/e1000.h"

#include "base/clock.h"

#define NEVER	      UINT64_MAX
#define ITR_UNIT_NS   256
#define DELAY_UNIT_NS 1024
/* RXQ0's EITR from which on the driver means throughput: Linux's values are 50 us, and 71 to 250 */
#define BULK_ITR       250u
#define TX_HOLD_ITR    4
#define TX_HOLD_MAX_NS (500 * NS_PER_US)

static void irq_forget_delays(struct e1000_irq *irq)
{
	irq->rdtr_ns = irq->radv_ns = NEVER;
	irq->tidv_ns = irq->tadv_ns = NEVER;
	irq->tx_held = 0;
	memset(irq->next_ns, 0, sizeof(irq->next_ns));
}

static bool is_msix(const struct e1000 *dev)
{
	return pci_irq_mode(dev->nic.pci) == PCI_IRQ_MSIX;
}

/* Sets the timer to the earliest of what is waited for. */
static void irq_timer_update(struct e1000 *dev, uint64_t wanted_ns)
{
	struct e1000_irq *irq = &dev->irq;

	wanted_ns = MIN(wanted_ns, irq->rdtr_ns);
	wanted_ns = MIN(wanted_ns, irq->radv_ns);
	wanted_ns = MIN(wanted_ns, irq->tidv_ns);
	wanted_ns = MIN(wanted_ns, irq->tadv_ns);
	if (wanted_ns == irq->timer_ns)
		return;
	irq->timer_ns = wanted_ns;
	io_timer_set(&dev->timer, wanted_ns);
}

/* May @vector go out now? If not, *wait_ns is lowered to when. Counts the interval from now. */
static bool irq_unthrottled(struct e1000 *dev, unsigned vector, uint32_t interval, uint64_t now,
			    uint64_t *wait_ns)
{
	struct e1000_irq *irq = &dev->irq;

	interval &= 0xffff;
	if (interval && now < irq->next_ns[vector]) {
		*wait_ns = MIN(*wait_ns, irq->next_ns[vector]);
		COUNT(irq->throttled, 1);
		return false;
	}
	irq->next_ns[vector] = now + (uint64_t)interval * ITR_UNIT_NS;
	return true;
}

static void irq_send_msix(struct e1000 *dev, uint64_t now, uint64_t *wait_ns)
{
	struct e1000_irq *irq = &dev->irq;
	uint32_t new = irq->icr & irq->ims &ICR_MSIX_CAUSES & ~irq->notified;
	uint32_t ivar = e1000_get(dev, IVAR), eiac = e1000_get(dev, EIAC);
	uint32_t ctrl_ext = e1000_get(dev, CTRL_EXT), sent_vectors = 0;

	for (; new; new &= new - 1) {
		unsigned bit = (unsigned)__builtin_ctz(new);
		unsigned entry = ivar >> (4 * (bit - 20)) & 0xf, vector = entry & 7;
		uint32_t cause = BIT(bit);

		if (!(entry & 8) || vector >= E1000_VECTORS) {
			irq->notified |= cause; /* leads nowhere */
			continue;
		}
		/* two causes of one vector that rise together are one message */
		if (!(sent_vectors & BIT(vector))) {
			if (!irq_unthrottled(dev, vector, e1000_get(dev, EITR0 + 4 * vector), now,
					     wait_ns))
				continue;
			sent_vectors |= BIT(vector);
			pci_irq_message(dev->nic.pci, vector);
			COUNT(irq->raised, 1);
		}
		irq->notified |= cause;
		if (ctrl_ext & CTRL_EXT_EIAME)
			irq->ims &= ~(e1000_get(dev, IAM) & cause);
		if (eiac & cause) {
			irq->icr &= ~cause;
			irq->ims &= ~cause;
		}
	}
}

/* Sends or asserts what follows from icr & ims. */
static void irq_update(struct e1000 *dev, uint64_t now)
{
	struct e1000_irq *irq = &dev->irq;
	struct pci_function *pci = dev->nic.pci;
	int mode = pci_irq_mode(pci);
	uint64_t wait_ns = NEVER;
	uint32_t pending = irq->icr & irq->ims;

	irq->notified &= pending;
	if (mode == PCI_IRQ_MSIX) {
		irq_send_msix(dev, now, &wait_ns);
		irq->notified &= irq->icr & irq->ims;
	} else if (mode == PCI_IRQ_MSI) {
		if (pending & ~irq->notified &&
		    irq_unthrottled(dev, 0, e1000_get(dev, ITR), now, &wait_ns)) {
			irq->notified = pending;
			pci_irq_message(pci, 0);
			COUNT(irq->raised, 1);
		}
	} else if (!pending) {
		if (pci_intx_get(pci))
			pci_intx_set(pci, false);
	} else if (!pci_intx_get(pci) &&
		   irq_unthrottled(dev, 0, e1000_get(dev, ITR), now, &wait_ns)) {
		irq->notified = pending;
		pci_intx_set(pci, true);
		COUNT(irq->raised, 1);
	}
	irq_timer_update(dev, wait_ns);
}

/* Under irq_lock: causes into ICR. */
static void irq_set_causes(struct e1000 *dev, uint32_t causes)
{
	struct e1000_irq *irq = &dev->irq;

	causes &= ~ICR_ASSERTED;
	if (causes & ICR_OTHER_CAUSES && dev->variant->chip == CHIP_82574L && is_msix(dev))
		causes |= ICR_OTHER;
	irq->icr |= causes;
	for (uint32_t left = causes; left; left &= left - 1) {
		unsigned bit = (unsigned)__builtin_ctz(left);

		COUNT(irq->cause[bit], 1);
	}
}

void e1000_irq_raise(struct e1000 *dev, uint32_t causes)
{
	pthread_mutex_lock(&dev->irq_lock);
	irq_set_causes(dev, causes);
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}

/* Frames were stored: RXQn in MSI-X mode; otherwise RXT0, after RDTR (restarted by each frame) or
 * RADV (since the first), whichever ends earlier. */
void e1000_irq_rx(struct e1000 *dev, uint32_t causes, uint64_t now_ns)
{
	struct e1000_irq *irq = &dev->irq;
	uint32_t rdtr, radv, now_causes = causes & ~ICR_MSIX_CAUSES;

	pthread_mutex_lock(&dev->irq_lock);
	if (is_msix(dev)) {
		now_causes = causes;
	} else if (causes & ICR_MSIX_CAUSES) {
		rdtr = e1000_page(dev, RDTR) & 0xffff;
		radv = e1000_page(dev, RADV) & 0xffff;
		if (!rdtr) {
			now_causes |= ICR_RXT0;
		} else {
			irq->rdtr_ns = now_ns + (uint64_t)rdtr * DELAY_UNIT_NS;
			if (radv && irq->radv_ns == NEVER)
				irq->radv_ns = now_ns + (uint64_t)radv * DELAY_UNIT_NS;
		}
	}
	irq_set_causes(dev, now_causes);
	irq_update(dev, now_ns);
	pthread_mutex_unlock(&dev->irq_lock);
}

/*
 * Linux re-arms the transmit vector by a write that traps, and learns from the interrupt only that
 * memory can be freed. So one that may be delayed waits for more, for some times as long as the
 * driver lets received frames wait, once it has made that long: its traffic is bulk. 0: it does
 * not.
 */
static uint64_t tx_hold_ns(struct e1000 *dev, uint32_t causes)
{
	uint32_t ivar = e1000_get(dev, IVAR), rx = ivar & 0xf, tx, interval;

	tx = ivar >> (causes & ICR_TXQ0 ? 8 : 12) & 0xf;
	if (!(rx & 8) || (rx & 7) >= E1000_VECTORS || tx == rx || !(e1000_page(dev, TIDV) & 0xffff))
		return 0;
	interval = e1000_get(dev, EITR0 + 4 * (rx & 7)) & 0xffff;
	if (interval < BULK_ITR)
		return 0;
	return MIN((uint64_t)TX_HOLD_ITR * interval * ITR_UNIT_NS, TX_HOLD_MAX_NS);
}

/* The guest is told of what was held. */
static uint32_t irq_tx_release(struct e1000_irq *irq)
{
	uint32_t held = irq->tx_held;

	irq->tx_held = 0;
	irq->tadv_ns = NEVER;
	WRITE_ONCE(irq->tx_told, irq->tx_told + 1);
	return held;
}

/* What is to be set now of @causes. */
static uint32_t irq_tx_msix(struct e1000 *dev, uint32_t causes, enum e1000_tx_urgency urgency,
			    uint64_t now_ns)
{
	struct e1000_irq *irq = &dev->irq;
	uint32_t queues = causes & ICR_MSIX_CAUSES;
	uint64_t hold_ns = 0;

	if (!queues)
		return causes;
	if (urgency == E1000_TX_MAY_GATHER)
		hold_ns = tx_hold_ns(dev, causes);
	if (hold_ns) {
		irq->tx_held |= queues;
		if (irq->tadv_ns == NEVER)
			irq->tadv_ns = now_ns + hold_ns;
		return causes & ~queues;
	}
	return causes | irq_tx_release(irq);
}

/* Descriptors were written back. */
void e1000_irq_tx(struct e1000 *dev, uint32_t causes, enum e1000_tx_urgency urgency,
		  uint64_t now_ns)
{
	struct e1000_irq *irq = &dev->irq;
	uint32_t tidv, tadv, now_causes = causes & ~ICR_MSIX_CAUSES;

	pthread_mutex_lock(&dev->irq_lock);
	if (is_msix(dev)) {
		now_causes = irq_tx_msix(dev, causes, urgency, now_ns);
	} else if (causes & ICR_MSIX_CAUSES) {
		tidv = e1000_page(dev, TIDV) & 0xffff;
		tadv = e1000_page(dev, TADV) & 0xffff;
		if (urgency == E1000_TX_AT_ONCE || !tidv) {
			now_causes |= ICR_TXDW;
			irq->tidv_ns = irq->tadv_ns = NEVER;
		} else {
			irq->tidv_ns = now_ns + (uint64_t)tidv * DELAY_UNIT_NS;
			if (tadv && irq->tadv_ns == NEVER)
				irq->tadv_ns = now_ns + (uint64_t)tadv * DELAY_UNIT_NS;
		}
	}
	irq_set_causes(dev, now_causes);
	irq_update(dev, now_ns);
	pthread_mutex_unlock(&dev->irq_lock);
}

static void irq_fire(struct io_timer *timer, struct io_turn *turn)
{
	struct e1000 *dev = container_of(timer, struct e1000, timer);
	struct e1000_irq *irq = &dev->irq;
	uint64_t now = time_now_ns();

	pthread_mutex_lock(&dev->irq_lock);
	irq->timer_ns = NEVER;
	if (now >= MIN(irq->rdtr_ns, irq->radv_ns)) {
		irq->rdtr_ns = irq->radv_ns = NEVER;
		irq_set_causes(dev, ICR_RXT0);
	}
	if (now >= MIN(irq->tidv_ns, irq->tadv_ns)) {
		uint32_t held = irq_tx_release(irq);

		irq->tidv_ns = NEVER;
		irq_set_causes(dev, is_msix(dev) ? held : ICR_TXDW);
	}
	irq_update(dev, now);
	pthread_mutex_unlock(&dev->irq_lock);
}

void e1000_irq_init(struct e1000 *dev)
{
	dev->timer.fire = irq_fire;
	dev->timer.deadline_ns = NEVER;
	dev->irq.timer_ns = NEVER;
	irq_forget_delays(&dev->irq);
}

void e1000_irq_reset(struct e1000 *dev)
{
	struct e1000_irq *irq = &dev->irq;

	pthread_mutex_lock(&dev->irq_lock);
	irq->icr = irq->ims = irq->notified = 0;
	irq_forget_delays(irq);
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}

void e1000_irq_state_changed(struct e1000 *dev)
{
	pthread_mutex_lock(&dev->irq_lock);
	dev->irq.notified = 0;
	if (pci_irq_mode(dev->nic.pci) != PCI_IRQ_INTX && pci_intx_get(dev->nic.pci))
		pci_intx_set(dev->nic.pci, false);
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}

void e1000_irq_timers_clear(struct e1000 *dev)
{
	pthread_mutex_lock(&dev->irq_lock);
	irq_set_causes(dev, dev->irq.tx_held);
	irq_forget_delays(&dev->irq);
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}

/* ---- registers --------------------------------------------------------------------------- */

uint32_t e1000_read_ICR(void *opaque, unsigned index)
{
	struct e1000 *dev = opaque;
	struct e1000_irq *irq = &dev->irq;
	bool asserted;
	uint32_t value;

	pthread_mutex_lock(&dev->irq_lock);
	value = irq->icr;
	asserted = value & irq->ims;
	if (dev->variant->chip == CHIP_82540EM) {
		irq->icr = 0;
	} else {
		/* 82574 datasheet 10.2.4.1: causes that are masked are not lost by a read that
		 * was made for another device on the line */
		if (!irq->ims || asserted)
			irq->icr = 0;
		if (asserted) {
			value |= ICR_ASSERTED;
			if (e1000_get(dev, CTRL_EXT) & CTRL_EXT_IAME && !is_msix(dev))
				irq->ims &= ~e1000_get(dev, IAM);
		}
	}
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
	return value;
}

void e1000_wrote_ICR(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;
	struct e1000_irq *irq = &dev->irq;

	pthread_mutex_lock(&dev->irq_lock);
	if (dev->variant->chip == CHIP_82574L) {
		if (irq->icr & irq->ims && e1000_get(dev, CTRL_EXT) & CTRL_EXT_IAME &&
		    !is_msix(dev))
			irq->ims &= ~e1000_get(dev, IAM);
		/* drivers that clear OTHER mean what is behind it too */
		if (written & ICR_OTHER)
			written |= ICR_OTHER_CAUSES;
	}
	irq->icr &= ~written;
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}

uint32_t e1000_read_ICS(void *opaque, unsigned index)
{
	struct e1000 *dev = opaque;
	uint32_t value;

	pthread_mutex_lock(&dev->irq_lock);
	value = dev->irq.icr;
	pthread_mutex_unlock(&dev->irq_lock);
	return value;
}

uint32_t e1000_read_IMS(void *opaque, unsigned index)
{
	struct e1000 *dev = opaque;
	uint32_t value;

	pthread_mutex_lock(&dev->irq_lock);
	value = dev->irq.ims;
	pthread_mutex_unlock(&dev->irq_lock);
	return value;
}

void e1000_wrote_ICS(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	e1000_irq_raise(opaque, written);
}

void e1000_wrote_IMS(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;

	pthread_mutex_lock(&dev->irq_lock);
	dev->irq.ims |= written & ~ICR_ASSERTED;
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}

void e1000_wrote_IMC(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;

	pthread_mutex_lock(&dev->irq_lock);
	dev->irq.ims &= ~written;
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}

/* IVAR, ITR, EITR: what waits may now go elsewhere, or earlier. */
void e1000_wrote_irq_config(void *opaque, unsigned index, uint32_t old, uint32_t written)
{
	struct e1000 *dev = opaque;

	if (old == written)
		return;
	pthread_mutex_lock(&dev->irq_lock);
	if (dev->irq.tx_held && !tx_hold_ns(dev, dev->irq.tx_held))
		irq_set_causes(dev, irq_tx_release(&dev->irq));
	irq_update(dev, time_now_ns());
	pthread_mutex_unlock(&dev->irq_lock);
}
