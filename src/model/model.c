/* The training network: memory, and the microbatch, which reads like docs/method.md, sections 3 to 6. */
#include "model/model.h"

#include <stdlib.h>

#define VJ_TARGET_EPS                                                                                                  \
    1e-5f /* the target's norm has torch's default, unlike the networks' (docs/method.md, section 17, number 3) */
#define VJ_PIXEL_EPS 1e-6f

/* Place the memory that does not move: index arrays are filled before the activations are placed. */
static vj_status take_fixed(vj_model *m, vj_arena *arena)
{
    m->losses = vj_arena_take(arena, (m->bounds.masks + 1) * (int64_t)sizeof *m->losses);
    return vj_ragged_take(&m->packing, &m->bounds, arena);
}

bool vj_model_copies_are_brief(const vj_model *m)
{
    return m->rounds && m->settings.microbatches == 1 && !m->settings.copies_stay;
}

/*
 * The encoder's part of the gradient has no contents until the context encoder's backward pass begins to write it,
 * unless the microbatch adds to it. Memory that processes of the host share is not used for activations: it has no huge
 * pages.
 */
static bool lends_gradient(const vj_model *m, bool accumulate)
{
    return !accumulate && !m->settings.separate && !m->trained.gradient_is_shared;
}

static void lend_gradient(const vj_model *m, vj_arena *arena, bool accumulate)
{
    if (lends_gradient(m, accumulate))
        vj_arena_lend(arena, m->trained.gradient, m->net.params.encoder_total * (int64_t)sizeof(float));
}

/* The same of the bf16 copy of the encoder's weights, between the context encoder's forward and backward pass. */
static void lend_copy(const vj_model *m, vj_arena *arena)
{
    if (vj_model_copies_are_brief(m) && !m->settings.separate)
        vj_arena_lend(arena, m->trained.rounded_weights, m->net.params.encoder_total * (int64_t)sizeof(uint16_t));
}

/* Let what is taken next use the memory of what was taken since `before`. */
static void use_again(const vj_model *m, vj_arena *arena, const vj_arena *before)
{
    if (!m->settings.separate) vj_arena_go_back(arena, before);
}

/* Clips and the target encoder. Only patches and targets outlive it. */
static void place_target(vj_model *m, vj_arena *arena, int64_t rows)
{
    const vj_network *net = &m->net;
    m->pixels = vj_arena_floats(arena, rows * net->patch_values);
    if (net->shape.objective == VJ_OBJECTIVE_PIXEL) return;
    m->target.features = vj_arena_floats(arena, rows * net->shape.width);
    vj_stack_kept_take(&m->target.memory, &net->encoder, arena, rows);
    vj_stack_work_take(&m->target.memory, &net->encoder, arena, rows);
}

/* The predictor, forward and backward. The rows that are picked, and the loss, come between its blocks' two passes. */
static void place_predictor(vj_model *m, vj_arena *arena, const vj_ragged_bounds *b)
{
    const vj_network *net = &m->net;
    const int64_t Dp = net->shape.predictor_width;
    const vj_type type = m->predictor.memory.type;
    vj_stack_kept_take(&m->predictor.memory, &net->predictor, arena, b->predictor);
    m->predictor.dpicked = vj_arena_floats(arena, b->target * Dp); /* added to the blocks' gradient */

    const vj_arena before = *arena;
    m->predictor.embedded = vj_arena_floats(arena, b->context * Dp);
    m->predictor.picked = vj_arena_floats(arena, b->target * Dp);
    m->predictor.picked_norm = vj_arena_array(arena, b->target * Dp, type);
    m->predictor.picked_mean = vj_arena_floats(arena, b->target);
    m->predictor.picked_rstd = vj_arena_floats(arena, b->target);
    m->predictor.predicted = vj_arena_floats(arena, b->target * net->out);
    m->predictor.dpredicted = vj_arena_floats(arena, b->target * net->out);
    m->predictor.dpredicted_copy = (vj_array){0};
    if (type == VJ_TYPE_BF16) m->predictor.dpredicted_copy = vj_arena_array(arena, b->target * net->out, type);
    m->predictor.dpicked_norm = vj_arena_floats(arena, b->target * Dp);
    use_again(m, arena, &before);

    vj_stack_work_take(&m->predictor.memory, &net->predictor, arena, b->predictor);
    vj_stack_scratch_take(&m->predictor.scratch, &net->predictor, arena, b->predictor, type);
}

/* What the context encoder needs only while it runs: before the predictor's forward pass, after its backward pass. */
static void place_context_work(vj_model *m, vj_arena *arena, const vj_ragged_bounds *b)
{
    const vj_network *net = &m->net;
    const int64_t D = net->shape.width;
    vj_stack_scratch_take(&m->context.scratch, &net->encoder, arena, b->context, m->context.memory.type);
    const vj_arena before = *arena;
    m->context.tokens =
        vj_arena_floats(arena, b->clips * net->tokens * D);       /* before the first block and after all backward */
    m->context.dencoded = vj_arena_floats(arena, b->context * D); /* before the last block's backward pass */
    use_again(m, arena, &before);
    vj_stack_work_take(&m->context.memory, &net->encoder, arena, b->context);
}

/*
 * Place everything that a microbatch with these rows needs. The arena is reserved for the largest masks possible, but
 * only what the drawn masks need is ever touched. Passes that are not alive at the same time share memory.
 */
static void place(vj_model *m, vj_arena *arena, const vj_ragged_bounds *b, bool accumulate)
{
    const vj_network *net = &m->net;
    const int64_t D = net->shape.width, rows = b->clips * net->tokens;
    const int pixels = net->shape.objective == VJ_OBJECTIVE_PIXEL;
    const vj_type type = m->context.memory.type;

    m->patches = vj_arena_array(arena, rows * net->patch_values, pixels ? VJ_TYPE_F32 : type); /* pixels: targets too */
    m->target.values = vj_arena_floats(arena, rows * net->out);
    const vj_arena before = *arena;
    lend_gradient(m, arena, accumulate);
    place_target(m, arena, rows);
    use_again(m, arena, &before);

    vj_stack_kept_take(&m->context.memory, &net->encoder, arena, b->context);
    m->context.encoded = vj_arena_array(arena, b->context * D, type);
    m->context.mean = vj_arena_floats(arena, b->context);
    m->context.rstd = vj_arena_floats(arena, b->context);
    m->predictor.dembedded = vj_arena_floats(arena, b->context * net->shape.predictor_width);
    const vj_arena kept = *arena;
    lend_gradient(m, arena, accumulate);
    lend_copy(m, arena);
    place_predictor(m, arena, b);
    use_again(m, arena, &kept);
    place_context_work(m, arena, b);
}

vj_objective_settings vj_objective_from(const vj_config *c, int data_ranks, int64_t microbatches)
{
    const int pixels = c->objective.kind == VJ_OBJECTIVE_PIXEL;
    return (vj_objective_settings){.loss_exp = pixels ? 2.0 : c->objective.loss_exp, /* mean of squares */
                                   .reg_coeff = c->objective.reg_coeff,
                                   .normalise_pixels = c->objective.normalise_pixels,
                                   .recompute = (vj_recompute)c->train.recompute,
                                   .microbatches = microbatches,
                                   .copies_stay = c->parallel.zero && data_ranks > 1};
}

vj_status vj_model_sketch(vj_model **model, const vj_shape *shape, const vj_objective_settings *settings,
                          const vj_ragged_bounds *bounds, vj_tensor *tensor, bool host, vj_precision precision)
{
    vj_model *m = *model = vj_calloc(1, sizeof *m);
    if (!m) return vj_raise(VJ_ERR_MEMORY, "no memory for the model");
    m->settings = *settings;
    m->bounds = *bounds;
    m->rounds = vj_weights_are_rounded(host, precision);
    vj_network_describe(&m->net, shape, 0, tensor);
    const vj_params *ps = &m->net.params;
    for (int i = 0; i < ps->count; i++) m->by_rows.count += ps->item[i].by_rows ? ps->item[i].count : 0;

    const vj_type type = precision == VJ_BF16 ? VJ_TYPE_BF16 : VJ_TYPE_F32;
    VJ_TRY(vj_stack_memory_create(&m->target.memory, &m->net.encoder, type, 0, VJ_RECOMPUTE_NONE));
    VJ_TRY(vj_stack_memory_create(&m->context.memory, &m->net.encoder, type, 1, m->settings.recompute));
    VJ_TRY(vj_stack_memory_create(&m->predictor.memory, &m->net.predictor, type, 1, m->settings.recompute));
    vj_arena fixed = {0}, all = {0};
    VJ_TRY(take_fixed(m, &fixed));
    place(m, &all, &m->bounds, true);
    m->bytes.fixed = fixed.peak;
    m->bytes.largest = all.peak;
    return VJ_OK;
}

int64_t vj_model_rounded_weights(const vj_model *m)
{
    const vj_params *ps = &m->net.params;
    if (!m->rounds) return 0;
    if (vj_model_copies_are_brief(m)) return ps->total + vj_stack_block_elements(&m->net.encoder);
    return ps->total + (m->net.shape.objective == VJ_OBJECTIVE_FEATURE ? ps->encoder_total : 0);
}

/* Allocate what vj_model_rounded_weights() counts. */
static vj_status allocate_copies(vj_model *m)
{
    const vj_params *ps = &m->net.params;
    VJ_TRY(vj_weights_rounded_alloc(m->be, ps->total, &m->trained.rounded_weights));
    if (vj_model_copies_are_brief(m))
        return vj_weights_rounded_alloc(m->be, vj_stack_block_elements(&m->net.encoder), &m->rounded_block);
    if (!m->trained.target) return VJ_OK;
    return vj_weights_rounded_alloc(m->be, ps->encoder_total, &m->trained.rounded_target);
}

static vj_status allocate(vj_model *m)
{
    const vj_params *ps = &m->net.params;
    const int64_t word = (int64_t)sizeof(float);
    m->trained.params = &m->net.params;
    m->trained.tensor = m->net.tensor;
    m->fixed = vj_device_alloc(m->be, m->bytes.fixed);
    if (vj_device_is_host(m->be)) VJ_TRY(vj_model_reserve(m, m->bytes.largest));
    m->trained.weights = vj_device_alloc(m->be, ps->total * word);
    m->trained.gradient = vj_device_alloc(m->be, ps->total * word);
    if (m->by_rows.count > 0) m->by_rows.packed = vj_device_alloc(m->be, m->by_rows.count * word);
    m->table = vj_network_table(&m->net, m->be, m->net.shape.width);
    m->predictor.table = vj_network_table(&m->net, m->be, m->net.shape.predictor_width);
    if (m->net.shape.objective == VJ_OBJECTIVE_FEATURE)
        m->trained.target = vj_device_alloc(m->be, ps->encoder_total * word);
    if (!m->fixed || !m->trained.weights || !m->trained.gradient || !m->table || !m->predictor.table ||
        (m->net.shape.objective == VJ_OBJECTIVE_FEATURE && !m->trained.target) ||
        (m->by_rows.count > 0 && !m->by_rows.packed))
        return VJ_ERR_MEMORY; /* reported by the device */
    VJ_TRY(allocate_copies(m));

    VJ_TRY(take_fixed(m, &(vj_arena){.base = m->fixed}));
    vj_fill(m->be, m->trained.weights, 0.0f, ps->total);
    vj_fill(m->be, m->trained.gradient, 0.0f, ps->total);
    if (m->trained.target) vj_fill(m->be, m->trained.target, 0.0f, ps->encoder_total);
    vj_fill(m->be, (float *)m->losses, 0.0f, 2 * (m->bounds.masks + 1));
    return vj_sync(m->be);
}

vj_status vj_model_create(vj_model **model, const vj_shape *shape, const vj_objective_settings *settings,
                          const vj_ragged_bounds *bounds, vj_tensor *tensor, vj_backend *be)
{
    VJ_TRY(vj_model_sketch(model, shape, settings, bounds, tensor, vj_device_is_host(be), vj_backend_precision(be)));
    (*model)->be = (*model)->trained.be = be;
    return allocate(*model);
}

void vj_model_destroy(vj_model *m)
{
    if (!m) return;
    void *const device[] = {m->fixed,
                            m->activations,
                            m->trained.weights,
                            m->trained.gradient,
                            m->trained.target,
                            m->trained.rounded_weights,
                            m->trained.rounded_target,
                            m->rounded_block,
                            m->by_rows.packed,
                            m->table,
                            m->predictor.table};
    for (size_t i = 0; m->be && i < sizeof device / sizeof device[0]; i++) vj_device_free(m->be, device[i]);
    vj_frame_room_close(&m->room);
    vj_ragged_release(&m->packing);
    vj_stack_memory_release(&m->context.memory);
    vj_stack_memory_release(&m->predictor.memory);
    vj_stack_memory_release(&m->target.memory);
    vj_network_release(&m->net);
    free(m);
}

void vj_model_init_weights(vj_model *m, vj_init init, int zero_mask_tokens, int64_t seed)
{
    vj_params_init_weights(&m->net.params, m->be, m->trained.weights, init, zero_mask_tokens, seed);
    if (m->trained.target) vj_copy(m->be, m->trained.target, m->trained.weights, m->net.params.encoder_total);
    m->trained.copies_updated = false;
}

static vj_weights weights_of(const vj_model *m)
{
    return (vj_weights){.exact = m->trained.weights, .rounded = m->trained.rounded_weights};
}

/* Compute the targets: the target encoder's normalised features of all tokens, or the clip's own tubelets. */
static void make_target(vj_model *m, int64_t clips)
{
    const vj_network *net = &m->net;
    const int64_t rows = clips * net->tokens;
    if (net->shape.objective == VJ_OBJECTIVE_FEATURE) {
        const vj_encoder_pass all = {
            .clips = clips, .patches = m->patches, .rows = &m->packing.clips, .features = vj_f32(m->target.features)};
        const vj_weights weights = {m->trained.target, m->trained.rounded_target, m->rounded_block, 0};
        vj_network_encode(net, m->be, weights, m->table, &m->target.memory, &all);
        vj_layernorm_forward(m->be, vj_f32(m->target.values), NULL, NULL, m->target.features, NULL, NULL, rows,
                             net->shape.width, VJ_TARGET_EPS);
    } else if (m->settings.normalise_pixels) {
        vj_normalise_rows(m->be, m->target.values, m->patches.data, rows, net->patch_values, VJ_PIXEL_EPS);
    } else {
        vj_copy(m->be, m->target.values, m->patches.data, rows * net->patch_values);
    }
}

/* Run the context encoder on the visible tokens of all masks. */
static vj_encoder_pass context_of(const vj_model *m, int64_t clips)
{
    return (vj_encoder_pass){.clips = clips,
                             .patches = m->patches,
                             .rows = &m->packing.context,
                             .picked = m->packing.context_token,
                             .tokens = m->context.tokens,
                             .features = m->context.encoded,
                             .mean = m->context.mean,
                             .rstd = m->context.rstd};
}

/* Run the predictor on context features and mask tokens, and project the rows of the targets. */
static void predict(vj_model *m)
{
    const vj_network *net = &m->net;
    const vj_ragged *p = &m->packing;
    const vj_weights weights = weights_of(m);
    const float *w = weights.exact;
    const int D = net->shape.width, Dp = net->shape.predictor_width;
    vj_linear_forward(m->be, vj_f32(m->predictor.embedded), m->context.encoded,
                      vj_weight_matrix(weights, net->embed_weight), w + net->embed_bias, NULL, 0, p->context.rows, Dp,
                      D);
    vj_predictor_input_forward(m->be, m->predictor.memory.x[0], m->predictor.embedded, w + net->mask_token,
                               m->predictor.table, p->source, p->position, p->predictor.rows, Dp);
    vj_stack_forward(&net->predictor, m->be, weights, &m->predictor.memory, &p->predictor);
    /* The final norm works on rows, so the targets' rows are picked before it. */
    vj_gather_rows(m->be, m->predictor.picked, m->predictor.memory.x[net->predictor.depth], p->target_row, p->targets,
                   Dp);
    vj_layernorm_forward(m->be, m->predictor.picked_norm, m->predictor.picked_mean, m->predictor.picked_rstd,
                         m->predictor.picked, w + net->predictor.norm_weight, w + net->predictor.norm_bias, p->targets,
                         Dp, net->shape.eps);
    vj_linear_forward(m->be, vj_f32(m->predictor.predicted), m->predictor.picked_norm,
                      vj_weight_matrix(weights, net->out_weight), w + net->out_bias, NULL, 0, p->targets, net->out, Dp);
}

static void measure_loss(vj_model *m, int64_t batch)
{
    const vj_ragged *p = &m->packing;
    const int masks = m->bounds.masks;
    const double spread = 1.0 / ((double)batch * m->net.out), coeff = m->settings.reg_coeff;
    vj_prediction_loss(m->be, m->losses, m->predictor.dpredicted, m->predictor.predicted, m->target.values,
                       p->target_token, p->weight, p->group, p->targets, m->net.out, m->settings.loss_exp);
    vj_spread_penalty(m->be, m->losses + masks, coeff != 0.0 ? m->predictor.dpredicted : NULL, m->predictor.predicted,
                      p->target_offset, masks, p->context.segments / masks, m->net.out,
                      coeff != 0.0 ? coeff * spread : spread);
}

/* Sums over the gradient include the gaps between tensors, which therefore must be zero. */
static void clear_gaps(vj_model *m)
{
    const vj_params *ps = &m->net.params;
    for (int i = 0; i < ps->count && ps->item[i].part == VJ_ENCODER; i++) {
        const vj_param *p = &ps->item[i];
        const bool last = i + 1 == ps->count || p[1].part != VJ_ENCODER;
        const int64_t end = p->offset + p->count, next = last ? ps->encoder_total : p[1].offset;
        if (next > end) vj_fill(m->be, m->trained.gradient + end, 0.0f, next - end);
    }
}

/* The context encoder's backward pass, which takes back what was lent to the predictor's activations. */
static void backward_context(vj_model *m, int64_t clips, int accumulate)
{
    const vj_encoder_pass context = context_of(m, clips);
    vj_weights weights = weights_of(m);
    if (m->rounded_block) {
        weights = (vj_weights){.exact = m->trained.weights, .block = m->rounded_block};
        m->trained.copies_updated = false;
    }
    if (lends_gradient(m, accumulate)) clear_gaps(m);
    vj_network_backward(&m->net, m->be, weights, m->trained.gradient, &m->context.memory, &m->context.scratch, &context,
                        m->context.dencoded, accumulate, &m->trained.hook);
}

static void backward(vj_model *m, int64_t clips, int accumulate)
{
    const vj_network *net = &m->net;
    const vj_ragged *p = &m->packing;
    const vj_weights weights = weights_of(m);
    const float *w = weights.exact;
    float *g = m->trained.gradient;
    const int D = net->shape.width, Dp = net->shape.predictor_width;
    const vj_array none = {0};

    vj_array dpredicted = vj_f32(m->predictor.dpredicted);
    vj_linear_backward_bias(m->be, g + net->out_bias, dpredicted, accumulate, p->targets, net->out);
    if (m->predictor.dpredicted_copy.data) { /* rounded once for both products */
        vj_round_bf16(m->be, m->predictor.dpredicted_copy.data, m->predictor.dpredicted, p->targets * net->out);
        dpredicted = m->predictor.dpredicted_copy;
    }
    vj_linear_backward_weight(m->be, g + net->out_weight, NULL, dpredicted, m->predictor.picked_norm, accumulate,
                              p->targets, net->out, Dp);
    vj_gradient_made(&m->trained.hook, m->be, net->out_weight);
    vj_linear_backward_input(m->be, vj_f32(m->predictor.dpicked_norm), dpredicted,
                             vj_weight_matrix(weights, net->out_weight), p->targets, net->out, Dp);
    vj_layernorm_backward(m->be, m->predictor.dpicked, none, none, g + net->predictor.norm_weight,
                          g + net->predictor.norm_bias, NULL, vj_f32(m->predictor.dpicked_norm), m->predictor.picked,
                          m->predictor.picked_mean, m->predictor.picked_rstd, w + net->predictor.norm_weight, NULL, 0,
                          accumulate, p->targets, Dp);
    vj_gradient_made(&m->trained.hook, m->be, net->predictor.norm_weight);
    vj_fill(m->be, m->predictor.scratch.dx, 0.0f, p->predictor.rows * Dp);
    vj_scatter_add_rows(m->be, m->predictor.scratch.dx, m->predictor.dpicked, p->target_row, p->targets, Dp);
    vj_stack_backward(&net->predictor, m->be, weights, g, &m->predictor.memory, &p->predictor, &m->predictor.scratch,
                      accumulate, &m->trained.hook);
    vj_predictor_input_backward(m->be, m->predictor.dembedded, g + net->mask_token, m->predictor.scratch.dx, p->source,
                                p->predictor.rows, Dp, net->shape.mask_tokens, accumulate);

    vj_linear_backward_weight(m->be, g + net->embed_weight, g + net->embed_bias, vj_f32(m->predictor.dembedded),
                              m->context.encoded, accumulate, p->context.rows, Dp, D);
    vj_gradient_made(&m->trained.hook, m->be, net->embed_weight);
    vj_linear_backward_input(m->be, vj_f32(m->context.dencoded), vj_f32(m->predictor.dembedded),
                             vj_weight_matrix(weights, net->embed_weight), p->context.rows, Dp, D);
    backward_context(m, clips, accumulate);
}

int64_t vj_model_activations(vj_model *m, const vj_mask_lists *lists, bool accumulate)
{
    vj_ragged_bounds rows = {.masks = m->bounds.masks, .clips = lists->clips};
    for (int64_t i = 0; i < lists->masks * lists->clips; i++) {
        rows.context += lists->contexts[i];
        rows.target += lists->targets[i];
    }
    rows.predictor = rows.context + rows.target;
    vj_arena arena = m->arena;
    place(m, &arena, &rows, accumulate);
    if (arena.peak > m->bytes.used) m->bytes.used = arena.peak;
    return arena.peak;
}

int vj_model_frame_buffers(const vj_model *m)
{
    return m->settings.microbatches == 1 ? 1 : VJ_FRAME_BUFFERS;
}

vj_status vj_model_accept_frames(vj_model *m, int64_t clip_bytes)
{
    vj_frame_room_close(&m->room);
    return vj_frame_room_open(&m->room, m->be, m->bounds.clips, clip_bytes, vj_model_frame_buffers(m));
}

int64_t vj_model_reserved(const vj_model *m, int64_t bytes)
{
    const int64_t more = bytes + bytes / VJ_RESERVE_SHARE;
    return more < m->bytes.largest ? more : m->bytes.largest;
}

vj_status vj_model_reserve(vj_model *m, int64_t bytes)
{
    if (bytes <= m->bytes.allocated) return VJ_OK;
    vj_device_free(m->be, m->activations); /* no microbatch reads what the one before has left in it */
    m->bytes.allocated = vj_model_reserved(m, bytes);
    m->activations = vj_device_alloc(m->be, m->bytes.allocated);
    if (!m->activations) m->bytes.allocated = 0;
    m->arena = (vj_arena){.base = (char *)m->activations};
    return m->activations ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

vj_status vj_model_touch(vj_model *m, int64_t bytes)
{
    VJ_TRY(vj_model_reserve(m, bytes));
    vj_fill(m->be, m->activations, 0.0f, bytes / (int64_t)sizeof(float));
    return VJ_OK;
}

/* Place the activations of a microbatch in memory that is large enough. */
static vj_status place_activations(vj_model *m, const vj_mask_lists *lists, bool accumulate)
{
    if (vj_model_activations(m, lists, accumulate) <= m->bytes.allocated) return VJ_OK;
    VJ_TRY(vj_model_reserve(m, m->bytes.used));
    vj_model_activations(m, lists, accumulate);
    return VJ_OK;
}

vj_status vj_model_microbatch(vj_model *m, const vj_input *clips, const vj_mask_lists *lists, int64_t batch,
                              int accumulate)
{
    const vj_shape *s = &m->net.shape;
    const int64_t n = lists->clips;
    /* |d|^e / e is the feature loss; the pixel baseline is the plain mean of squares. */
    const double share = (s->objective == VJ_OBJECTIVE_PIXEL ? m->settings.loss_exp : 1.0) / m->net.out;
    VJ_ASSERT(!accumulate || m->settings.microbatches != 1);
    vj_phase_enter(m->be, VJ_PHASE_DATA);
    VJ_TRY(place_activations(m, lists, accumulate));
    vj_ragged_fill(&m->packing, &m->bounds, m->be, lists, s->mask_tokens, batch, share);
    /* The bf16 copies of the weights serve all microbatches of a step. */
    if (!accumulate) vj_trainable_round(&m->trained);
    vj_input_upload(clips, &m->room, m->be, m->pixels, n, s);
    vj_patchify(m->be, m->patches, m->pixels, n, s->channels, s->frames, s->height, s->width_px, s->tubelet, s->patch);

    vj_phase_enter(m->be, VJ_PHASE_TARGET);
    make_target(m, n);
    vj_phase_enter(m->be, VJ_PHASE_CONTEXT);
    const vj_encoder_pass context = context_of(m, n);
    vj_network_encode(&m->net, m->be, weights_of(m), m->table, &m->context.memory, &context);
    vj_phase_enter(m->be, VJ_PHASE_PREDICTOR);
    predict(m);
    measure_loss(m, batch);
    vj_phase_enter(m->be, VJ_PHASE_BACKWARD);
    backward(m, n, accumulate);
    vj_phase_enter(m->be, VJ_PHASE_OTHER);
    return VJ_OK;
}

/*
 * Copy gradients that are partial sums over own rows between the flat vector and m->by_rows.packed, where they are
 * contiguous.
 */
static void pack_by_rows(vj_model *m, bool back)
{
    const vj_params *ps = &m->net.params;
    int64_t at = 0;
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        if (!p->by_rows) continue;
        float *flat = m->trained.gradient + p->offset, *packed = m->by_rows.packed + at;
        vj_copy(m->be, back ? flat : packed, back ? packed : flat, p->count);
        at += p->count;
    }
}

void vj_model_complete_gradient(vj_model *m)
{
    if (m->by_rows.count == 0) return;
    pack_by_rows(m, false);
    vj_tensor_sum(m->net.tensor, m->be, m->by_rows.packed, m->by_rows.count);
    pack_by_rows(m, true);
}

void vj_model_download_losses(vj_model *m, double *downloaded)
{
    const int masks = m->bounds.masks;
    vj_download_later(m->be, downloaded, m->losses, (masks + 1) * (int64_t)sizeof *m->losses);
    vj_fill(m->be, (float *)m->losses, 0.0f, 2 * (masks + 1));
}

void vj_model_losses(const vj_model *m, const double *downloaded, double *by_mask, double *penalty)
{
    const int masks = m->bounds.masks;
    for (int i = 0; i < masks; i++) by_mask[i] = downloaded[i];
    *penalty = m->settings.reg_coeff != 0.0 ? downloaded[masks] / m->settings.reg_coeff : downloaded[masks];
}
