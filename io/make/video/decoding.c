/* The decoder loop: sends packets, receives frames, and counts damage on the way. */
#include "video/inside.h"

/* Limit of errors on the frames still inside the decoder at the end. No decoder holds more frames, so with more errors
 * it is stuck. */
enum { MAX_DAMAGED = 64 };

void vj_decoding_begin(vj_video *v, vj_decoding *d, int64_t first, int wanted_only)
{
    *d = (vj_decoding){.next = first, .retries = MAX_DAMAGED, .wanted_only = wanted_only, .key_pts = AV_NOPTS_VALUE};
    avcodec_flush_buffers(v->decoder);
}

/* Record that the packet sent last could not be decoded. */
static void note_error(vj_video *v, vj_decoding *d)
{
    d->errors++;
    d->faults++;
    if (d->next <= v->packet_count) vj_packets_damage(v, d->next - 1);
}

/*
 * The decoder lacks a frame on which the packet sent last depends. Ignored for a key frame, which depends on none, and
 * for frames shown before the last key frame: if decoding started there, they are expected to lack frames.
 */
static void note_lost_reference(vj_video *v, vj_decoding *d)
{
    v->lost_reference = 0;
    if (d->next > v->packet_count) return;
    const vj_packet *packet = &v->packets[d->next - 1];
    if (packet->flags & AV_PKT_FLAG_KEY) return;
    if (packet->pts != AV_NOPTS_VALUE && d->key_pts != AV_NOPTS_VALUE && packet->pts < d->key_pts) return;
    d->faults++;
    vj_packets_damage(v, d->next - 1);
}

/* A part of the picture in the packet sent last could not be decoded, and is black. */
static void note_lost_strip(vj_video *v, vj_decoding *d)
{
    v->lost_strip = 0;
    d->faults++;
    if (d->next > 0 && d->next <= v->packet_count) v->packets[d->next - 1].damaged = 1;
}

/* Send the next packet; after the last, send NULL to get the frames still inside the decoder. Returns 0, or an AVERROR
 * if decoding cannot go on. */
static int send_next(vj_video *v, vj_decoding *d)
{
    AVPacket *packet = NULL;
    if (d->next < v->packet_count) {
        int error = vj_packets_get(v, d->next, &packet);
        if (error < 0) return error;
        if (v->packets[d->next].flags & AV_PKT_FLAG_KEY) d->key_pts = v->packets[d->next].pts;
        int skip = d->wanted_only && !v->packets[d->next].wanted;
        v->decoder->skip_frame = skip ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
        if (v->decoder->codec_id == AV_CODEC_ID_MJPEG && !v->info.is_image && !skip && vj_photo_is_damaged(packet)) {
            d->faults++;
            v->packets[d->next].damaged = 1;
        }
    }
    d->ended = !packet;
    d->next++;
    int error = avcodec_send_packet(v->decoder, packet);
    if (error == AVERROR(ENOMEM)) return error;
    if (error < 0) note_error(v, d);
    return 0;
}

int vj_decoding_next(vj_video *v, vj_decoding *d)
{
    for (;;) {
        int error = avcodec_receive_frame(v->decoder, v->frame);
        if (v->lost_reference) note_lost_reference(v, d);
        if (v->lost_strip) note_lost_strip(v, d);
        if (error >= 0) return 1;
        if (error == AVERROR_EOF) return 0;
        if (error == AVERROR(ENOMEM)) return error;
        if (error != AVERROR(EAGAIN)) {
            note_error(v, d);
            if (d->ended && d->retries-- > 0) continue;
        }
        if (d->ended) return 0;
        error = send_next(v, d);
        if (error < 0) return error;
    }
}
