/* A frozen encoder for evaluation. */
#include <stdlib.h>

#include "model/model.h"

static void take_memory(vj_encoder *e, vj_arena *arena)
{
    const int64_t rows = e->clips * e->net.tokens;
    const int64_t values = e->clips * e->net.grid_tokens * e->net.patch_values;
    e->pixels = vj_arena_floats(arena, values);
    e->patches = vj_arena_array(arena, values, e->stack.type);
    e->features = vj_arena_floats(arena, rows * e->net.shape.width);
    e->offset = vj_arena_ints(arena, e->clips + 1);
    vj_stack_kept_take(&e->stack, &e->net.encoder, arena, rows);
    vj_stack_work_take(&e->stack, &e->net.encoder, arena, rows);
}

static vj_status allocate(vj_encoder *e, float *weights, uint16_t *rounded)
{
    const vj_type type = vj_backend_precision(e->be) == VJ_BF16 ? VJ_TYPE_BF16 : VJ_TYPE_F32;
    VJ_TRY(vj_stack_memory_create(&e->stack, &e->net.encoder, type, 0, VJ_RECOMPUTE_NONE));
    vj_arena arena = {0};
    take_memory(e, &arena);
    e->memory = vj_device_alloc(e->be, arena.peak);
    e->borrowed = weights != NULL;
    e->weights = weights ? weights : vj_device_alloc(e->be, e->net.params.total * (int64_t)sizeof(float));
    e->table = vj_network_table(&e->net, e->be, e->net.shape.width);
    if (!e->memory || !e->weights || !e->table) return VJ_ERR_MEMORY; /* reported by the device */
    e->rounded = rounded;
    if (!rounded) VJ_TRY(vj_weights_rounded_alloc(e->be, vj_stack_block_elements(&e->net.encoder), &e->rounded_block));
    arena = (vj_arena){.base = (char *)e->memory};
    take_memory(e, &arena);

    int32_t *offset = vj_calloc(e->clips + 1, sizeof *offset);
    if (!offset) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld clips", (long long)e->clips);
    for (int64_t i = 0; i <= e->clips; i++) offset[i] = (int32_t)(i * e->net.tokens);
    vj_upload(e->be, e->offset, offset, (e->clips + 1) * (int64_t)sizeof *offset);
    free(offset);
    return vj_sync(e->be);
}

static vj_status open_encoder(vj_encoder **encoder, const vj_shape *shape, int64_t clips, vj_backend *be,
                              float *weights, uint16_t *rounded, vj_tensor *tensor)
{
    vj_encoder *e = *encoder = vj_calloc(1, sizeof *e);
    if (!e) return vj_raise(VJ_ERR_MEMORY, "no memory for the encoder");
    e->be = be;
    e->clips = clips;
    e->tensor = tensor;
    vj_network_describe(&e->net, shape, 1, tensor);
    return allocate(e, weights, rounded);
}

vj_status vj_encoder_open(vj_encoder **encoder, const vj_shape *shape, int64_t clips, vj_backend *be, vj_tensor *tensor)
{
    return open_encoder(encoder, shape, clips, be, NULL, NULL, tensor);
}

vj_status vj_encoder_open_over(vj_encoder **encoder, const vj_shape *shape, int64_t clips, vj_backend *be,
                               float *weights, uint16_t *rounded)
{
    return open_encoder(encoder, shape, clips, be, weights, rounded, NULL);
}

int64_t vj_encoder_bytes(const vj_shape *shape, int64_t clips, vj_precision precision)
{
    vj_encoder e = {.clips = clips};
    vj_arena arena = {0};
    vj_network_describe(&e.net, shape, 1, NULL);
    const vj_type type = precision == VJ_BF16 ? VJ_TYPE_BF16 : VJ_TYPE_F32;
    if (vj_stack_memory_create(&e.stack, &e.net.encoder, type, 0, VJ_RECOMPUTE_NONE) == VJ_OK) take_memory(&e, &arena);
    vj_stack_memory_release(&e.stack);
    vj_network_release(&e.net);
    return arena.peak;
}

void vj_encoder_close(vj_encoder *e)
{
    if (!e) return;
    vj_frame_room_close(&e->room);
    for (int l = 1; e->stack.copy && l <= e->net.encoder.depth; l++) vj_device_free(e->be, e->stack.copy[l]);
    vj_device_free(e->be, e->memory);
    if (!e->borrowed) vj_device_free(e->be, e->weights);
    vj_device_free(e->be, e->rounded_block);
    vj_device_free(e->be, e->table);
    vj_stack_memory_release(&e->stack);
    vj_network_release(&e->net);
    free(e);
}

void vj_encoder_init_weights(vj_encoder *e, vj_init init, int64_t seed)
{
    vj_params_init_weights(&e->net.params, e->be, e->weights, init, 1, seed);
}

vj_status vj_encoder_accept_frames(vj_encoder *e, int64_t clip_bytes)
{
    vj_frame_room_close(&e->room);
    return vj_frame_room_open(&e->room, e->be, e->clips, clip_bytes, VJ_FRAME_BUFFERS);
}

const float *vj_encoder_upload(vj_encoder *e, const vj_input *clips, int64_t count)
{
    VJ_ASSERT(count <= e->clips);
    vj_input_upload(clips, &e->room, e->be, e->pixels, count, &e->net.shape);
    return e->pixels;
}

const float *vj_encoder_run(vj_encoder *e, const float *pixels, int64_t count)
{
    const vj_shape *s = &e->net.shape;
    const int64_t N = e->net.tokens;
    VJ_ASSERT(count <= e->clips);
    vj_patchify(e->be, e->patches, pixels, count, s->channels, s->frames, s->height, s->width_px, s->tubelet, s->patch);
    const vj_rows rows = {.rows = count * N,
                          .longest = N,
                          .segments = (int)count,
                          .offset = e->offset,
                          .squares = (double)count * (double)(N * N)};
    const vj_encoder_pass all = {.clips = count, .patches = e->patches, .rows = &rows, .features = vj_f32(e->features)};
    vj_network_encode(&e->net, e->be, (vj_weights){e->weights, e->rounded, e->rounded_block, 0}, e->table, &e->stack,
                      &all);
    return e->features;
}

/* Rows of all tokens of clips to the host. */
static vj_status download(vj_encoder *e, float *to, const float *rows, int64_t count)
{
    vj_download(e->be, to, rows, count * e->net.tokens * e->net.shape.width * (int64_t)sizeof(float));
    return vj_sync(e->be);
}

vj_status vj_encoder_download(vj_encoder *e, float *features, int64_t count)
{
    return download(e, features, e->features, count);
}

vj_status vj_encoder_keep_layer(vj_encoder *e, int layer)
{
    VJ_ASSERT(layer >= 1 && layer <= e->net.encoder.depth);
    float **copy = &e->stack.copy[layer];
    if (!*copy) *copy = vj_device_alloc(e->be, e->clips * e->net.tokens * e->net.shape.width * (int64_t)sizeof **copy);
    return *copy ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

vj_status vj_encoder_download_layer(vj_encoder *e, int layer, float *stream, int64_t count)
{
    VJ_ASSERT(e->stack.copy[layer]);
    return download(e, stream, e->stack.copy[layer], count);
}
