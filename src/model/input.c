/* Clips on their way to a network. */
#include "model/input.h"

#include <stdlib.h>

vj_status vj_frame_room_open(vj_frame_room *room, vj_backend *be, int64_t clips, int64_t clip_bytes, int buffers)
{
    VJ_ASSERT(buffers <= VJ_FRAME_BUFFERS);
    *room = (vj_frame_room){.be = be, .clips = clips, .clip_bytes = (clip_bytes + 63) / 64 * 64, .buffers = buffers};
    if (vj_device_is_host(be)) return VJ_OK;
    room->frames = vj_device_alloc(be, buffers * clips * room->clip_bytes);
    for (int i = 0; i < buffers; i++) room->read[i] = vj_event_create(be);
    room->views = vj_calloc(clips, sizeof *room->views);
    if (!room->frames) return VJ_ERR_MEMORY; /* reported by the device */
    return room->views ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the views of %lld clips", (long long)clips);
}

void vj_frame_room_close(vj_frame_room *room)
{
    if (room->frames) vj_device_free(room->be, room->frames);
    free(room->views);
    *room = (vj_frame_room){0};
}

static int64_t clip_values(const vj_shape *s)
{
    return (int64_t)s->channels * s->frames * s->height * s->width_px;
}

/* Copy the frames to the next buffer in VJ_LANE_COPY; kernels called afterwards wait for the copies. */
static const uint8_t *upload_frames(const vj_input *input, vj_frame_room *room, int64_t count, int T)
{
    room->buffer = (room->buffer + 1) % room->buffers;
    uint8_t *frames = room->frames + room->buffer * room->clips * room->clip_bytes;
    const vj_lane lane = vj_lane_enter(room->be, VJ_LANE_COPY);
    vj_event_follow(room->be, room->read[room->buffer]);
    for (int64_t i = 0; i < count; i++) {
        vj_clip_view *view = &room->views[i];
        *view = input->views[i];
        const int64_t bytes = (int64_t)T * view->height * view->width * 3;
        VJ_ASSERT(bytes <= room->clip_bytes);
        view->at = i * room->clip_bytes;
        vj_upload(room->be, frames + view->at, input->frames + input->views[i].at, bytes);
    }
    vj_event *there = vj_event_record(room->be);
    vj_lane_enter(room->be, lane);
    vj_event_follow(room->be, there);
    return frames;
}

void vj_input_upload(const vj_input *input, vj_frame_room *room, vj_backend *be, float *pixels, int64_t count,
                     const vj_shape *shape)
{
    if (input->pixels) {
        vj_upload(be, pixels, input->pixels, count * clip_values(shape) * (int64_t)sizeof(float));
        return;
    }
    VJ_ASSERT(room->frames && count <= room->clips && shape->channels == 3 && shape->height == shape->width_px);
    const uint8_t *frames = upload_frames(input, room, count, shape->frames);
    vj_crop_clips(be, pixels, frames, room->views, count, shape->frames, shape->height, input->mean, input->std);
    vj_event_record_again(be, room->read[room->buffer]);
}

vj_input vj_input_from(const vj_input *input, int64_t clips, const vj_shape *shape)
{
    vj_input rest = *input;
    if (input->pixels)
        rest.pixels += clips * clip_values(shape);
    else
        rest.views += clips;
    return rest;
}
