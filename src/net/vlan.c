/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VLANs of a switch that knows them (IEEE 802.1Q). Inside, a frame's VLAN is a number beside it; a
 * tag in the sender's bytes is taken out on the way in, which is a move within the packet's private
 * head, and put beside the frame on the way out where the port wants it.
 */
#include "net/private.h"

#define TPID	 0x8100
#define TAG_LEN	 4u
#define VID_MASK 0x0fff

/* Takes the tag at offset 12 out of the head. */
static void tag_take(struct packet *packet)
{
	struct offload *off = &packet->off;

	packet->tagged = true;
	packet->vlan_tci = load_be16(packet->head + 14);
	memmove(packet->head + 12, packet->head + 16, packet->head_len - 16u);
	packet->head_len -= TAG_LEN;
	packet->pieces[0].iov_len -= TAG_LEN;
	packet->len -= TAG_LEN;
	if (off->flags & OFFLOAD_NEEDS_CSUM)
		off->csum_start -= TAG_LEN;
	if (off->gso)
		off->hdr_len -= TAG_LEN;
}

int vlan_in(const struct port_rules *rules, struct packet *packet)
{
	unsigned vid;

	if (!packet->tagged && load_be16(packet->head + 12) == TPID) {
		/* a frame without its type, or one whose checksum starts in the tag */
		if (packet->len < PACKET_LEN_MIN + TAG_LEN ||
		    (packet->off.flags & OFFLOAD_NEEDS_CSUM &&
		     packet->off.csum_start < PACKET_LEN_MIN + TAG_LEN))
			return -1;
		tag_take(packet);
	}
	vid = packet->tagged ? packet->vlan_tci & VID_MASK : 0;
	if (vid == VID_MASK)
		return -1;
	if (!vid) { /* untagged, or a priority only */
		vid = rules->pvid;
		return rules->trunk && !vid ? -1 : (int)vid;
	}
	return vlan_member(rules, (uint16_t)vid) ? (int)vid : -1;
}

void vlan_out(const struct port_rules *rules, struct packet *packet, uint16_t vid)
{
	packet->tagged = rules->trunk && vid != rules->pvid;
	packet->vlan_tci = (uint16_t)((packet->vlan_tci & ~VID_MASK) | vid);
}
