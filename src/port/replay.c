/* SPDX-License-Identifier: BSD-2-Clause */
#include "port/replay.h"

#include "base/clock.h"
#include "base/util.h"
#include "net/packet.h"
#include "port/private.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>

static int frame_add(struct replay *replay, const uint8_t *bytes, uint32_t len, uint64_t at_ns)
{
	if (replay->n == replay->max) {
		size_t max = replay->max ? replay->max * 2 : 256;
		void *frames = realloc(replay->frames, max * sizeof(*replay->frames));

		if (!frames)
			return -ENOMEM;
		replay->frames = frames;
		replay->max = max;
	}
	if (replay->room - replay->used < len) {
		size_t room = MAX(replay->room * 2, (size_t)1 << 20);
		uint8_t *all = realloc(replay->bytes, room);

		if (!all)
			return -ENOMEM;
		replay->bytes = all;
		replay->room = room;
	}
	memcpy(replay->bytes + replay->used, bytes, len);
	if (replay->n)
		at_ns = MAX(at_ns, replay->frames[replay->n - 1].at_ns);
	replay->frames[replay->n++] =
		(struct replay_frame){ .offset = replay->used, .len = len, .at_ns = at_ns };
	replay->used += len;
	return 0;
}

static int frames_read(struct replay *replay, pcap_t *file, const char **why)
{
	uint64_t first_ns = 0, at_ns;
	struct pcap_pkthdr *header;
	const uint8_t *bytes;
	int got, err;

	while ((got = pcap_next_ex(file, &header, &bytes)) == 1) {
		if (header->caplen < PACKET_LEN_MIN || header->caplen > PACKET_LEN_MAX) {
			replay->skipped++;
			continue;
		}
		if (replay->used + header->caplen > REPLAY_BYTES_MAX) {
			*why = "the file to replay is too large";
			return -EFBIG;
		}
		/* tv_usec is in nanoseconds: the file was opened so */
		at_ns = (uint64_t)header->ts.tv_sec * NS_PER_S + (uint64_t)header->ts.tv_usec;
		if (!replay->n)
			first_ns = at_ns;
		err = frame_add(replay, bytes, header->caplen,
				at_ns > first_ns ? at_ns - first_ns : 0);
		if (err)
			return err;
	}
	if (got != PCAP_ERROR_BREAK) {
		*why = "the file to replay is broken";
		return -EINVAL;
	}
	return 0;
}

int replay_load(struct replay *replay, const char *path, double speed, unsigned loops,
		const char **why)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	pcap_t *file;
	int err;

	memset(replay, 0, sizeof(*replay));
	if (!(speed >= 0)) {
		*why = "replay_speed is 0 or more";
		return -EINVAL;
	}
	errno = 0;
	file = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, errbuf);
	if (!file) {
		err = errno ? -errno : -EINVAL;
		*why = err == -EINVAL ? "the file to replay is not one of pcap's"
				      : port_why("cannot read", path, err);
		return err;
	}
	if (pcap_datalink(file) != DLT_EN10MB) {
		*why = "the file to replay is not of Ethernet frames";
		err = -EINVAL;
	} else {
		err = frames_read(replay, file, why);
	}
	pcap_close(file);
	if (err) {
		replay_done(replay);
		return err;
	}
	replay->speed = speed;
	replay->loops_left = replay->n ? MAX(loops, 1u) : 0;
	return 0;
}

void replay_done(struct replay *replay)
{
	free(replay->frames);
	free(replay->bytes);
	memset(replay, 0, sizeof(*replay));
}

uint64_t replay_due_ns(const struct replay *replay, uint64_t now_ns)
{
	double after;

	if (!replay->loops_left)
		return UINT64_MAX;
	if (!replay->start_ns || replay->speed == 0)
		return now_ns;
	after = (double)replay->frames[replay->next].at_ns / replay->speed;
	return after > 1e18 ? UINT64_MAX - 1 : replay->start_ns + (uint64_t)after;
}

const struct replay_frame *replay_next(struct replay *replay, uint64_t now_ns)
{
	const struct replay_frame *frame;

	if (replay_due_ns(replay, now_ns) > now_ns)
		return NULL;
	if (!replay->start_ns)
		replay->start_ns = now_ns;
	frame = &replay->frames[replay->next++];
	if (replay->next == replay->n) {
		replay->next = 0;
		replay->start_ns = 0;
		replay->loops_left--;
	}
	return frame;
}
