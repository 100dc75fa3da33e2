/* The decoder loop: sends packets, receives frames, and counts damage on the way. */
#include "video/inside.h"

/* Errors on the frames still inside the decoder at the end; no decoder holds more frames, so beyond it is stuck. */
enum { MOST_DAMAGED = 64 };

void vj_decoding_begin(vj_video *v, vj_decoding *d, int64_t first, int wanted_only)
{
    *d = (vj_decoding){.next = first, .retries = MOST_DAMAGED, .wanted_only = wanted_only, .key_pts = AV_NOPTS_VALUE};
    avcodec_flush_buffers(v->decoder);
}

/* The packet sent last could not be decoded. */
static void note_error(vj_video *v, vj_decoding *d)
{
    d->errors++;
    d->faults++;
    if (d->next <= v->packet_count) vj_packets_damage(v, d->next - 1);
}

/*
 * The decoder has missed a frame that the packet sent last is made from. A key frame does without; and where decoding
 * starts at one, frames shown before it are expected to miss some.
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

/* A packet of NULL, after the last, asks for the frames still inside the decoder. AVERROR only if nothing can go on. */
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
