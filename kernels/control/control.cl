/*
 * Control kernels of a card that runs the paper's plain protocol (profile "paper"): they make the two frames that a
 * card sends of itself. Everything else of that profile is in the shell. See saf_frame.h for where frames go.
 */
#include "saf_frame.h"

/*
 * Discovery packet (paper, Figure 4 and Table I, 0x80EF): broadcast, payload is MAC 0, MAC 1, vendor id, product id.
 * Thirty bytes. The shell starts this kernel when it sees the first frame after link-up.
 */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void saf_discovery(const ulong mac0, const ulong mac1, const uint vendor_id, const uint product_id
                   SAF_OUTPUT_ARGUMENT(frame))
{
    SAF_PUT_DISCOVERY(frame, 0, saf_header_0(SAF_BROADCAST, mac0), true, false, 8);
    SAF_PUT_DISCOVERY(frame, 8, saf_header_1(mac0, SAF_ETHERTYPE_DISCOVERY) | mac0 >> 32, false, false, 8);
    SAF_PUT_DISCOVERY(frame, 16, mac0 << 32 | mac1 >> 16, false, false, 8);
    SAF_PUT_DISCOVERY(frame, 24,
                      (mac1 & 0xFFFFul) << 48 | (ulong)(vendor_id & 0xFFFFu) << 32
                          | (ulong)(product_id & 0xFFFFu) << 16,
                      false, true, 6);
}

/*
 * Result packets (paper, Table I, 0x80CB): length_bytes of an application kernel's output, cut into frames of
 * payload_bytes to the host, in order and without numbers. In emulation frame k lies at k * (14 + payload_bytes).
 */
__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void saf_result(__global const uchar *restrict data, const ulong host_mac, const ulong card_mac,
                const uint length_bytes, const uint payload_bytes
                SAF_OUTPUT_ARGUMENT(frames))
{
    ulong frame_at = 0;
    for (uint start = 0; start < length_bytes; start += payload_bytes) {
        const uint payload = min(payload_bytes, length_bytes - start);
        const uint total = SAF_HEADER_BYTES + payload;
        for (uint at = 0; at < total; at += 8) {
            ulong word = at == 0 ? saf_header_0(host_mac, card_mac)
                       : at == 8 ? saf_header_1(card_mac, SAF_ETHERTYPE_RESULT) : 0ul;
            const uint valid = min(8u, total - at);
#pragma unroll
            for (uint i = 0; i < 8; i++)
                if (i < valid && at + i >= SAF_HEADER_BYTES)
                    word |= (ulong)data[start + at + i - SAF_HEADER_BYTES] << (56 - 8 * i);
            SAF_PUT_RESULT(frames, frame_at + at, word, at == 0, at + 8 >= total, valid);
        }
        frame_at += SAF_HEADER_BYTES + payload_bytes;
    }
}

#ifdef INTELFPGA_CL

/* Joins both sources on the one I/O channel, whole frames at a time. Runs by itself from reset on. */
__kernel __attribute__((max_global_work_dim(0))) __attribute__((autorun))
void saf_transmit(void)
{
    bool in_result = false;
    bool in_discovery = false;
    while (true) {
        bool valid = false;
        ulong2 beat = (ulong2)(0ul, 0ul);
        if (!in_result) {
            beat = read_channel_nb_intel(saf_from_discovery, &valid);
            if (valid)
                in_discovery = !(beat.s1 & SAF_LAST);
        }
        if (!valid && !in_discovery) {
            beat = read_channel_nb_intel(saf_from_result, &valid);
            if (valid)
                in_result = !(beat.s1 & SAF_LAST);
        }
        if (valid)
            write_channel_intel(saf_tx, beat);
    }
}

#endif
