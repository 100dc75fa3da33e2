/*
 * Checks *_forward.h5: position tables, target, encoder, predictor, losses and gradients, computed on packed rows as in
 * training; and pixel.h5: the same network predicting pixels.
 */
#include "model/positions.h"
#include "parity/kinds.h"
#include "parity/network.h"

static void compare_device(vj_fixture *f, const vj_values *want, const float *device, int64_t count,
                           vj_quantity quantity)
{
    if (want)
        vj_fixture_compare(f, want->name, vj_fixture_download(f, device, count), count, want,
                           vj_fixture_tolerance(f, quantity));
}

static void compare_loss(vj_fixture *f, const vj_values *want, double got, vj_quantity quantity)
{
    if (want) vj_fixture_compare(f, want->name, &got, 1, want, vj_fixture_tolerance(f, quantity));
}

/* Compare the rows of mask `i` in a packed matrix of width D, whose lists have `lengths`. The file has them in the same
 * order. */
static void compare_rows(vj_fixture *f, const vj_parity_network *n, const vj_values *want, vj_array packed,
                         const int32_t *lengths, int i, int D, vj_quantity quantity)
{
    int64_t first = 0, rows = 0;
    for (int s = 0; s < (i + 1) * n->batch; s++) *(s < i * n->batch ? &first : &rows) += lengths[s];
    const vj_array device = {(char *)packed.data + first * D * vj_type_bytes(packed.type), packed.type};
    if (want)
        vj_fixture_compare(f, want->name, vj_fixture_download_operand(f, device, rows * D), rows * D, want,
                           vj_fixture_tolerance(f, quantity));
}

static void check_positions(vj_fixture *f, const char *name, const vj_network *net, int width)
{
    const vj_values *want = vj_fixture_array(f, "positions/%s", name);
    const int64_t count = (int64_t)net->tokens * width;
    double *table = vj_fixture_take(f, count * (int64_t)sizeof *table);
    vj_positions_video(table, width, net->grid, net->shape.uniform_power);
    if (want) vj_fixture_compare(f, want->name, table, count, want, vj_within(1e-12));
}

/* Compare intermediate results of the first clip of mask 0, which show where outputs begin to differ. */
static void check_debug(vj_fixture *f, const vj_parity_network *n)
{
    const vj_model *m = n->model;
    const vj_network *net = &m->net;
    const int D = net->shape.width;
    const int64_t context = n->lists.contexts[0], target = n->lists.targets[0];
    float *tokens = vj_fixture_device(f, (int64_t)net->tokens * D);
    vj_linear_forward(m->be, vj_f32(tokens), m->patches, vj_f32(m->trained.weights + net->patch_weight),
                      m->trained.weights + net->patch_bias, NULL, 0, net->tokens, D, net->patch_values);
    compare_device(f, vj_fixture_array(f, "debug/patch_tokens"), tokens, (int64_t)net->tokens * D, VJ_TOL_FEATURES);
    compare_device(f, vj_fixture_array(f, "debug/mask0_encoder_input"), m->context.memory.x[0], context * D,
                   VJ_TOL_FEATURES);
    for (int l = 0; l < net->shape.depth; l++)
        compare_device(f, vj_fixture_array(f, "debug/mask0_after_block%d", l), m->context.memory.x[l + 1], context * D,
                       VJ_TOL_FEATURES);
    compare_device(f, vj_fixture_array(f, "debug/mask0_predictor_input"), m->predictor.memory.x[0],
                   (context + target) * net->shape.predictor_width, VJ_TOL_FEATURES);
}

static void check_gradients(vj_fixture *f, const vj_parity_network *n, vj_quantity quantity)
{
    const vj_tolerance each = vj_fixture_tolerance(f, quantity);
    vj_parity_network_compare(n, f, "f64/gradients/encoder", VJ_ENCODER, n->model->trained.gradient, each, each);
    vj_parity_network_compare(n, f, "f64/gradients/predictor", VJ_PREDICTOR, n->model->trained.gradient, each, each);
}

static double mean(const double *values, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++) sum += values[i];
    return sum / count;
}

static vj_status check_forward(vj_fixture *f, vj_parity_network *n)
{
    vj_model *m = n->model;
    const int D = m->net.shape.width;
    double losses[VJ_MAX_MASKS], penalty;
    VJ_TRY(vj_parity_network_run(n, losses, &penalty));

    check_positions(f, "encoder", &m->net, D);
    check_positions(f, "predictor", &m->net, m->net.shape.predictor_width);
    if (vj_fixture_has(f, "debug")) check_debug(f, n);
    const int64_t all = (int64_t)n->batch * m->net.tokens * D;
    compare_device(f, vj_fixture_array(f, "f64/outputs/target_full"), m->target.features, all, VJ_TOL_FEATURES);
    compare_device(f, vj_fixture_array(f, "f64/outputs/target_norm"), m->target.values, all, VJ_TOL_FEATURES);
    for (int i = 0; i < n->masks; i++) {
        compare_rows(f, n, vj_fixture_array(f, "f64/outputs/mask%d/encoder", i), m->context.encoded, n->lists.contexts,
                     i, D, VJ_TOL_FEATURES);
        compare_rows(f, n, vj_fixture_array(f, "f64/outputs/mask%d/predictor", i), vj_f32(m->predictor.predicted),
                     n->lists.targets, i, m->net.out, VJ_TOL_PREDICTION);
        compare_loss(f, vj_fixture_array(f, "f64/outputs/mask%d/loss", i), losses[i], VJ_TOL_LOSS);
    }
    compare_loss(f, vj_fixture_array(f, "f64/outputs/loss"), mean(losses, n->masks), VJ_TOL_LOSS);
    compare_loss(f, vj_fixture_array(f, "f64/outputs/spread_penalty"), penalty, VJ_TOL_PENALTY);
    check_gradients(f, n, VJ_TOL_GRADIENT);

    m->settings.loss_exp = 2;
    VJ_TRY(vj_parity_network_run(n, losses, &penalty));
    compare_loss(f, vj_fixture_array(f, "f64/outputs/loss_exp2"), mean(losses, n->masks), VJ_TOL_LOSS_SQUARE);
    return VJ_OK;
}

static vj_status check_pixel(vj_fixture *f, vj_parity_network *n)
{
    vj_model *m = n->model;
    double losses[VJ_MAX_MASKS], penalty;
    VJ_TRY(vj_parity_network_run(n, losses, &penalty));
    const vj_values *target = vj_fixture_array(f, "f64/targets_normalised");
    const int64_t all = (int64_t)n->batch * m->net.tokens * m->net.out;
    if (target) /* no product in it */
        vj_fixture_compare(f, target->name, vj_fixture_download(f, m->target.values, all), all, target,
                           vj_within(1e-5));
    for (int i = 0; i < n->masks; i++) {
        compare_rows(f, n, vj_fixture_array(f, "f64/mask%d/predictor", i), vj_f32(m->predictor.predicted),
                     n->lists.targets, i, m->net.out, VJ_TOL_PREDICTION);
        compare_loss(f, vj_fixture_array(f, "f64/mask%d/loss", i), losses[i], VJ_TOL_LOSS_SQUARE);
    }
    compare_loss(f, vj_fixture_array(f, "f64/loss"), mean(losses, n->masks), VJ_TOL_LOSS_SQUARE);
    check_gradients(f, n, VJ_TOL_GRADIENT_SQUARE);

    m->settings.normalise_pixels = 0;
    VJ_TRY(vj_parity_network_run(n, losses, &penalty));
    compare_loss(f, vj_fixture_array(f, "f64/loss_unnormalised_targets"), mean(losses, n->masks), VJ_TOL_LOSS_SQUARE);
    return VJ_OK;
}

static vj_status check(vj_fixture *f, vj_objective objective)
{
    vj_parity_network n;
    vj_status status = vj_parity_network_create(&n, f, objective);
    if (status == VJ_OK && n.model)
        status = objective == VJ_OBJECTIVE_PIXEL ? check_pixel(f, &n) : check_forward(f, &n);
    vj_parity_network_release(&n);
    return status;
}

vj_status vj_parity_forward(vj_fixture *f)
{
    return check(f, VJ_OBJECTIVE_FEATURE);
}

vj_status vj_parity_pixel(vj_fixture *f)
{
    return check(f, VJ_OBJECTIVE_PIXEL);
}
