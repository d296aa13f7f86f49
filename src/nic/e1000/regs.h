/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Register offsets and bits of the 8254x and 82574 families, in the names of Intel's manuals
 * (8254x Software Developer's Manual, chapter 13; 82574 datasheet, chapter 10).
 */
#ifndef EXITLESS_NIC_E1000_REGS_H
#define EXITLESS_NIC_E1000_REGS_H

#include "base/util.h"

#define E1000_BAR_BYTES 0x20000

/* general */
#define CTRL	     0x00000
#define CTRL_FD	     BIT(0)
#define CTRL_GIO_MD  BIT(2) /* 82574: no DMA from now on */
#define CTRL_ASDE    BIT(5)
#define CTRL_SLU     BIT(6)
#define CTRL_SPEED   (3u << 8)
#define CTRL_FRCSPD  BIT(11)
#define CTRL_FRCDPX  BIT(12)
#define CTRL_RST     BIT(26)
#define CTRL_VME     BIT(30)
#define CTRL_PHY_RST BIT(31)

#define STATUS		 0x00008
#define STATUS_FD	 BIT(0)
#define STATUS_LU	 BIT(1)
#define STATUS_1000	 (2u << 6)
#define STATUS_ASDV_1000 (2u << 8)
#define STATUS_PHYRA	 BIT(10)
#define STATUS_GIO_EN	 BIT(19)

#define EECD	     0x00010
#define EECD_SK	     BIT(0)
#define EECD_CS	     BIT(1)
#define EECD_DI	     BIT(2)
#define EECD_DO	     BIT(3)
#define EECD_REQ     BIT(6)
#define EECD_GNT     BIT(7)
#define EECD_PRES    BIT(8)
#define EECD_AUTO_RD BIT(9)

#define EERD			0x00014
#define EERD_START		BIT(0)
#define CTRL_EXT		0x00018
#define CTRL_EXT_EE_RST		BIT(13)
#define CTRL_EXT_EIAME		BIT(24)
#define CTRL_EXT_IAME		BIT(27)
#define CTRL_EXT_INT_TIMERS_CLR BIT(29)
#define FLA			0x0001c
#define MDIC			0x00020
#define MDIC_OP_WRITE		1u
#define MDIC_OP_READ		2u
#define MDIC_READY		BIT(28)
#define MDIC_INT_EN		BIT(29)
#define MDIC_ERROR		BIT(30)
#define FCAL			0x00028
#define FCAH			0x0002c
#define FCT			0x00030
#define VET			0x00038

/* interrupts */
#define ICR   0x000c0
#define ITR   0x000c4
#define ICS   0x000c8
#define IMS   0x000d0
#define IMC   0x000d8
#define EIAC  0x000dc
#define IAM   0x000e0
#define IVAR  0x000e4
#define EITR0 0x000e8

#define ICR_TXDW     BIT(0)
#define ICR_TXQE     BIT(1)
#define ICR_LSC	     BIT(2)
#define ICR_RXDMT0   BIT(4)
#define ICR_RXO	     BIT(6)
#define ICR_RXT0     BIT(7)
#define ICR_MDAC     BIT(9)
#define ICR_SRPD     BIT(16)
#define ICR_ACK	     BIT(17)
#define ICR_MNG	     BIT(18)
#define ICR_RXQ0     BIT(20)
#define ICR_TXQ0     BIT(22)
#define ICR_OTHER    BIT(24)
#define ICR_ASSERTED BIT(31)
/* what sets OTHER as well in MSI-X mode */
#define ICR_OTHER_CAUSES (ICR_LSC | ICR_RXO | ICR_MDAC | ICR_SRPD | ICR_ACK | ICR_MNG)
/* what has a field in IVAR, at bits 4 * (n - 20) */
#define ICR_MSIX_CAUSES (0x1fu << 20)

/* receive and transmit control */
#define RCTL		0x00100
#define RCTL_EN		BIT(1)
#define RCTL_SBP	BIT(2)
#define RCTL_UPE	BIT(3)
#define RCTL_MPE	BIT(4)
#define RCTL_LPE	BIT(5)
#define RCTL_LBM(x)	(((x) >> 6) & 3)
#define RCTL_LBM_MAC	1
#define RCTL_RDMTS(x)	(((x) >> 8) & 3)
#define RCTL_DTYP(x)	(((x) >> 10) & 3)
#define RCTL_DTYP_SPLIT 1
#define RCTL_MO(x)	(((x) >> 12) & 3)
#define RCTL_BAM	BIT(15)
#define RCTL_BSIZE(x)	(((x) >> 16) & 3)
#define RCTL_VFE	BIT(18)
#define RCTL_CFIEN	BIT(19)
#define RCTL_CFI	BIT(20)
#define RCTL_BSEX	BIT(25)
#define RCTL_SECRC	BIT(26)
#define RCTL_FLXBUF(x)	(((x) >> 27) & 0xf)

#define FCTTV	    0x00170
#define TXCW	    0x00178
#define RXCW	    0x00180
#define TCTL	    0x00400
#define TCTL_EN	    BIT(1)
#define TCTL_PSP    BIT(3)
#define TIPG	    0x00410
#define AIT	    0x00458
#define LEDCTL	    0x00e00
#define EXTCNF_CTRL 0x00f00
#define EXTCNF_SIZE 0x00f08
#define POEMB	    0x00f10
#define PBA	    0x01000
#define PBS	    0x01008
#define EEMNGCTL    0x01010
#define EEWR	    0x0102c
#define FLOP	    0x0103c

/* the page of the receive rings */
#define RX_PAGE	  0x02000
#define FCRTL	  0x02160
#define FCRTH	  0x02168
#define PSRCTL	  0x02170
#define RDBAL(n)  (0x02800 + 0x100 * (n))
#define RDBAH(n)  (0x02804 + 0x100 * (n))
#define RDLEN(n)  (0x02808 + 0x100 * (n))
#define RDH(n)	  (0x02810 + 0x100 * (n))
#define RDT(n)	  (0x02818 + 0x100 * (n))
#define RDTR	  0x02820
#define RADV	  0x0282c
#define DELAY_FPD BIT(31) /* in RDTR and TIDV: at once */

/* the page of the transmit rings */
#define TX_PAGE	 0x03000
#define TDBAL(n) (0x03800 + 0x100 * (n))
#define TDBAH(n) (0x03804 + 0x100 * (n))
#define TDLEN(n) (0x03808 + 0x100 * (n))
#define TDH(n)	 (0x03810 + 0x100 * (n))
#define TDT(n)	 (0x03818 + 0x100 * (n))
#define TIDV	 0x03820
#define TADV	 0x0382c

#define RING_BASE_MASK	0xfffffff0u
#define RING_LEN_MASK	0x000fff80u
#define RING_PTR_MASK	0x0000ffffu
#define RING_DESC_BYTES 16

/* receive filters and offloads */
#define RXCSUM	     0x05000
#define RXCSUM_IPOFL BIT(8)
#define RXCSUM_TUOFL BIT(9)
#define RXCSUM_PCSD  BIT(13)
#define RFCTL	     0x05008
#define RFCTL_EXTEN  BIT(15)
#define MTA	     0x05200
#define RAL(n)	     (0x05400 + 8 * (n))
#define RAH(n)	     (0x05404 + 8 * (n))
#define RAH_AV	     BIT(31)
#define N_RAR	     16
#define VFTA	     0x05600
#define MRQC	     0x05818
#define MANC	     0x05820
#define GCR	     0x05b00
#define FACTPS	     0x05b30
#define SWSM	     0x05b50
#define SWSM_SMBI    BIT(0)
#define SWSM_SWESMBI BIT(1)
#define FWSM	     0x05b54
#define SW_FW_SYNC   0x05b5c
#define GCR2	     0x05b64
#define PBACLR	     0x05b68
#define RETA	     0x05c00
#define RSSRK	     0x05c80

/* transmit descriptor, lower (64-bit: command in the upper half of the second quadword's low) */
#define TXD_DTYP(lower)	 (((lower) >> 20) & 0xf)
#define TXD_DTYP_CONTEXT 0
#define TXD_DTYP_DATA	 1
#define TXD_LEN_LEGACY	 0x0000ffffu
#define TXD_LEN_DATA	 0x000fffffu
#define TXD_EOP		 BIT(24)
#define TXD_IC		 BIT(26) /* legacy */
#define TXD_TSE		 BIT(26) /* data */
#define TXD_RS		 BIT(27)
#define TXD_DEXT	 BIT(29)
#define TXD_VLE		 BIT(30)
#define TXD_IDE		 BIT(31)
#define TXD_TUCMD_TCP	 BIT(24)
#define TXD_TUCMD_IP	 BIT(25)
#define TXD_POPTS_IXSM	 BIT(8) /* of the upper dword */
#define TXD_POPTS_TXSM	 BIT(9)
#define TXD_STA_DD	 BIT(0)

/* receive descriptor: status (same bits in all formats), errors, header status */
#define RXD_DD	       BIT(0)
#define RXD_EOP	       BIT(1)
#define RXD_IXSM       BIT(2)
#define RXD_VP	       BIT(3)
#define RXD_UDPCS      BIT(4)
#define RXD_TCPCS      BIT(5)
#define RXD_IPCS       BIT(6)
#define RXD_PIF	       BIT(7)
#define RXD_IPIDV      BIT(9) /* extended */
#define RXD_TYPE_SHIFT 16     /* extended */
#define RXD_HDRSP      BIT(15)

#endif
