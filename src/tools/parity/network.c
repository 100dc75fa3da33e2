/* Makes models from fixtures, and compares their tensors. */
#include "parity/network.h"

#include <string.h>

/* A file without ln_eps has the eps of the networks that are trained here. */
static bool read_shape(vj_fixture *f, vj_shape *s, int *batch, int *masks)
{
    double ratio, eps = VJ_SHAPE_EPS;
    if (!vj_fixture_ints(f, "/", "frames", &s->frames, 1) || !vj_fixture_ints(f, "/", "height", &s->height, 1) ||
        !vj_fixture_ints(f, "/", "width", &s->width_px, 1) || !vj_fixture_ints(f, "/", "channels", &s->channels, 1) ||
        !vj_fixture_ints(f, "/", "tubelet", &s->tubelet, 1) || !vj_fixture_ints(f, "/", "patch", &s->patch, 1) ||
        !vj_fixture_ints(f, "/", "dim", &s->width, 1) || !vj_fixture_ints(f, "/", "depth", &s->depth, 1) ||
        !vj_fixture_ints(f, "/", "heads", &s->heads, 1) ||
        !vj_fixture_ints(f, "/", "pred_dim", &s->predictor_width, 1) ||
        !vj_fixture_ints(f, "/", "pred_depth", &s->predictor_depth, 1) ||
        !vj_fixture_ints(f, "/", "pred_heads", &s->predictor_heads, 1) ||
        !vj_fixture_ints(f, "/", "mask_tokens", &s->mask_tokens, 1) ||
        !vj_fixture_ints(f, "/", "uniform_power", &s->uniform_power, 1) ||
        !vj_fixture_numbers(f, "/", "mlp_ratio", &ratio, 1) ||
        (vj_fixture_has_attribute(f, "/", "ln_eps") && !vj_fixture_numbers(f, "/", "ln_eps", &eps, 1)) ||
        !vj_fixture_ints(f, "/", "batch", batch, 1) || !vj_fixture_ints(f, "/", "masks", masks, 1))
        return false;
    s->eps = (float)eps;
    s->hidden = (int)(s->width * ratio);
    s->predictor_hidden = (int)(s->predictor_width * ratio);
    return true;
}

/* Read the index lists inputs/mask<i>/{context,target} [batch, length] to segments i * batch + b. */
static vj_status read_lists(vj_parity_network *n, vj_fixture *f, int tokens, bool *complete)
{
    VJ_TRY(vj_mask_lists_create(&n->lists, n->masks, n->batch, tokens));
    for (int i = 0; i < n->masks; i++)
        for (int side = 0; side < 2; side++) {
            const vj_values *list = vj_fixture_array(f, "inputs/mask%d/%s", i, side ? "target" : "context");
            if (!list) {
                *complete = false;
                continue;
            }
            const int64_t length =
                list->ndim == 2 && list->dim[1] >= 1 && list->dim[1] <= tokens ? list->dim[1] : tokens;
            if (!vj_fixture_expect(f, list, 2, (const int64_t[]){n->batch, length})) {
                *complete = false;
                continue;
            }
            for (int64_t k = 0; k < list->count; k++)
                if (!(list->value[k] >= 0 && list->value[k] < tokens))
                    return vj_raise(VJ_ERR_FORMAT, "%s: %s: found token %g, expected 0 to %d", f->path, list->name,
                                    list->value[k], tokens - 1);
            for (int b = 0; b < n->batch; b++) {
                const int64_t segment = (int64_t)i * n->batch + b;
                int32_t *to = (side ? n->lists.target : n->lists.context) + segment * tokens;
                (side ? n->lists.targets : n->lists.contexts)[segment] = (int32_t)list->dim[1];
                for (int64_t k = 0; k < list->dim[1]; k++) to[k] = (int32_t)list->value[b * list->dim[1] + k];
            }
        }
    return VJ_OK;
}

static bool upload_weights(vj_parity_network *n, vj_fixture *f, const char *group, vj_network_part part, float *flat)
{
    const vj_params *ps = &n->model->net.params;
    bool complete = true;
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        if (p->part != part) continue;
        const vj_values *array = vj_fixture_array(f, "%s/%s", group, p->name);
        if (!vj_fixture_expect_count(f, array, p->count)) {
            complete = false;
            continue;
        }
        vj_upload(f->be, flat + p->offset, vj_fixture_floats(f, array), p->count * (int64_t)sizeof *flat);
    }
    return complete;
}

static bool read_settings(vj_fixture *f, vj_objective objective, vj_objective_settings *settings)
{
    *settings = (vj_objective_settings){.loss_exp = 2, .normalise_pixels = 1, .separate = true};
    return objective == VJ_OBJECTIVE_PIXEL || (vj_fixture_numbers(f, "/", "loss_exp", &settings->loss_exp, 1) &&
                                               vj_fixture_numbers(f, "/", "reg_coeff", &settings->reg_coeff, 1));
}

/* Check the attributes before anything is sized by them. */
static vj_status check_shape(const vj_parity_network *n, const vj_fixture *f, const vj_shape *s)
{
    const int split = s->uniform_power ? 1 : 8;
    const struct {
        const char *name;
        int value, most, divisor;
    } sizes[] = {{"batch", n->batch, 1 << 16, 1},
                 {"masks", n->masks, VJ_MAX_MASKS, 1},
                 {"mask_tokens", s->mask_tokens, VJ_MAX_MASKS, 1},
                 {"channels", s->channels, 1 << 16, 1},
                 {"tubelet", s->tubelet, 1 << 16, 1},
                 {"patch", s->patch, 1 << 16, 1},
                 {"frames", s->frames, 1 << 16, s->tubelet},
                 {"height", s->height, 1 << 16, s->patch},
                 {"width", s->width_px, 1 << 16, s->patch},
                 {"depth", s->depth, 1 << 16, 1},
                 {"heads", s->heads, 1 << 16, 1},
                 {"dim", s->width, 1 << 16, s->heads},
                 {"dim", s->width, 1 << 16, split},
                 {"pred_depth", s->predictor_depth, 1 << 16, 1},
                 {"pred_heads", s->predictor_heads, 1 << 16, 1},
                 {"pred_dim", s->predictor_width, 1 << 16, s->predictor_heads},
                 {"pred_dim", s->predictor_width, 1 << 16, split}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].most || sizes[i].value % sizes[i].divisor != 0)
            return vj_raise(VJ_ERR_FORMAT, "%s: attribute %s: found %d, expected 1 to %d, in multiples of %d", f->path,
                            sizes[i].name, sizes[i].value, sizes[i].most, sizes[i].divisor);
    if (!(s->eps > 0) || s->hidden < 1 || s->predictor_hidden < 1)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s: attributes ln_eps and mlp_ratio: found %g and a hidden layer of %d, expected "
                        "more than 0",
                        f->path, (double)s->eps, s->hidden);
    return VJ_OK;
}

vj_status vj_parity_network_create(vj_parity_network *n, vj_fixture *f, vj_objective objective)
{
    *n = (vj_parity_network){0};
    vj_shape shape = {.objective = objective};
    vj_objective_settings settings;
    if (!read_shape(f, &shape, &n->batch, &n->masks) || !read_settings(f, objective, &settings)) return VJ_OK;
    VJ_TRY(check_shape(n, f, &shape));

    const int tokens = vj_grid_tokens(vj_shape_grid(&shape));
    const vj_values *clips = vj_fixture_array(f, "inputs/clips");
    bool complete = clips != NULL;
    const int64_t clips_dim[] = {n->batch, shape.channels, shape.frames, shape.height, shape.width_px};
    if (clips) complete = vj_fixture_expect(f, clips, 5, clips_dim);
    VJ_TRY(read_lists(n, f, tokens, &complete));
    if (!complete) return VJ_OK;
    n->clips = vj_fixture_floats(f, clips);

    vj_ragged_bounds bounds = {.masks = n->masks, .clips = n->batch};
    for (int64_t s = 0; s < (int64_t)n->masks * n->batch; s++) {
        bounds.context += n->lists.contexts[s];
        bounds.target += n->lists.targets[s];
    }
    bounds.predictor = bounds.context + bounds.target;
    VJ_TRY(vj_model_create(&n->model, &shape, &settings, &bounds, NULL, f->be));
    complete = upload_weights(n, f, "weights/encoder", VJ_ENCODER, n->model->trained.weights) && complete;
    complete = upload_weights(n, f, "weights/predictor", VJ_PREDICTOR, n->model->trained.weights) && complete;
    if (objective == VJ_OBJECTIVE_FEATURE)
        complete = upload_weights(n, f, "weights/target", VJ_ENCODER, n->model->trained.target) && complete;
    if (!complete) {
        vj_model_destroy(n->model);
        n->model = NULL;
    }
    return VJ_OK;
}

void vj_parity_network_release(vj_parity_network *n)
{
    vj_model_destroy(n->model);
    vj_mask_lists_release(&n->lists);
    *n = (vj_parity_network){0};
}

vj_status vj_parity_network_run(vj_parity_network *n, double *losses, double *penalty)
{
    VJ_TRY(vj_model_microbatch(n->model, &(vj_input){.pixels = n->clips}, &n->lists, n->batch, 0));
    double asked[VJ_MAX_MASKS + 1];
    vj_model_download_losses(n->model, asked);
    VJ_TRY(vj_sync(n->model->be));
    vj_model_losses(n->model, asked, losses, penalty);
    for (int i = 0; i < n->masks; i++) losses[i] *= n->masks;
    return VJ_OK;
}

/* Compare the middle third of a qkv bias: the keys. */
static void compare_key_bias(vj_fixture *f, const double *got, const vj_values *want, double absolute)
{
    vj_values keys = *want;
    snprintf(keys.name, sizeof keys.name, "%.180s keys", want->name);
    keys.count = want->count / 3;
    keys.value += keys.count;
    vj_fixture_compare(f, keys.name, got + keys.count, keys.count, &keys, vj_within(absolute));
}

void vj_parity_network_compare(const vj_parity_network *n, vj_fixture *f, const char *group, vj_network_part part,
                               const float *flat, vj_tolerance each, vj_tolerance qkv_bias)
{
    const vj_params *ps = &n->model->net.params;
    int known = 0;
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        if (p->part != part) continue;
        known++;
        const vj_values *want = vj_fixture_array(f, "%s/%s", group, p->name);
        if (!want) continue;
        const double *got = vj_fixture_download(f, flat + p->offset, p->count);
        const bool is_qkv_bias = strstr(p->name, "qkv.bias");
        vj_fixture_compare(f, want->name, got, p->count, want, is_qkv_bias ? qkv_bias : each);
        if (is_qkv_bias && qkv_bias.of_norm > 0 && want->count == p->count)
            compare_key_bias(f, got, want, qkv_bias.absolute);
    }
    const vj_names names = vj_fixture_children(f, group);
    if (names.count > known) vj_fixture_fail(f, group, "found tensors that the network has not, expected only its own");
}
