/*
 * Checks *_step<k>.h5: weights after k updates on one batch. The file holds no inputs. They come from the forward
 * fixture in the same folder that has the same sizes and, to the last digits, the loss before the first update.
 */
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "parity/kinds.h"
#include "parity/network.h"
#include "train/optimizer.h"
#include "train/schedules.h"

/* ------------------------------------------------------------------------------------------------ the start */

/* Return how well a file fits as the start of `f`: the difference of the losses; infinite if it cannot be. */
static double distance(vj_fixture *f, double first_loss, const char *path)
{
    static const char *const same[] = {"frames",    "height",      "width", "channels", "tubelet",      "patch",
                                       "dim",       "depth",       "heads", "pred_dim", "pred_depth",   "pred_heads",
                                       "mlp_ratio", "mask_tokens", "masks", "batch",    "uniform_power"};
    vj_fixture other;
    htri_t is_hdf5;
    H5E_BEGIN_TRY
    {
        is_hdf5 = H5Fis_hdf5(path);
    }
    H5E_END_TRY
    if (is_hdf5 <= 0 || vj_fixture_open(&other, path, f->be) != VJ_OK) return INFINITY;
    double result = INFINITY;
    if (vj_fixture_has(&other, "inputs/clips") && vj_fixture_has(&other, "f64/outputs/loss")) {
        result = fabs(vj_fixture_array(&other, "f64/outputs/loss")->value[0] - first_loss);
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
            double a, b;
            if (!vj_fixture_has_attribute(&other, "/", same[i]) || !vj_fixture_has_attribute(f, "/", same[i]) ||
                !vj_fixture_numbers(&other, "/", same[i], &a, 1) || !vj_fixture_numbers(f, "/", same[i], &b, 1) ||
                a != b)
                result = INFINITY;
        }
    }
    vj_fixture_close(&other);
    return result;
}

static vj_status find_start(vj_fixture *f, double first_loss, char best[VJ_PATH])
{
    char folder[VJ_PATH], path[2 * VJ_PATH];
    snprintf(folder, sizeof folder, "%s", f->path);
    char *slash = strrchr(folder, '/');
    snprintf(slash ? slash + 1 : folder, 3, "%s", slash ? "" : "./");
    DIR *dir = opendir(folder);
    if (!dir) return vj_raise(VJ_ERR_IO, "read folder %s", folder);
    double least = INFINITY;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *end = strrchr(entry->d_name, '.');
        if (!end || strcmp(end, ".h5") != 0) continue;
        snprintf(path, sizeof path, "%s%s", folder, entry->d_name);
        const double found = distance(f, first_loss, path);
        if (found < least && strlen(path) < VJ_PATH) {
            least = found;
            strcpy(best, path);
        }
    }
    closedir(dir);
    if (!(least <= 1e-9))
        return vj_raise(
            VJ_ERR_FORMAT,
            "%s: found no forward fixture in %s with its sizes (attributes frames to uniform_power) and its "
            "first loss, expected one with a loss of %.12f",
            f->path, folder, first_loss);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the updates */

static bool read_settings(vj_fixture *f, vj_config *config)
{
    config->optimizer.predictor_lr_scale = 1;
    config->train.steps_per_epoch = config->train.batch = config->train.microbatch = 1;
    return vj_fixture_number_within(f, "/", "beta1", &config->optimizer.beta1, 0, 1 - DBL_EPSILON) &&
           vj_fixture_number_within(f, "/", "beta2", &config->optimizer.beta2, 0, 1 - DBL_EPSILON) &&
           vj_fixture_number_within(f, "/", "adam_eps", &config->optimizer.eps, 0, 1) &&
           vj_fixture_numbers(f, "/", "clip_grad", &config->optimizer.clip_grad, 1);
}

/* Values recorded before each update: loss, gradient norms of encoder and predictor. */
typedef struct {
    double *loss, *norm[2];
} history;

static vj_status update(vj_parity_network *n, vj_optimizer *optimizer, const vj_config *config,
                        const vj_values *const schedule[3], int64_t k, history *past)
{
    double losses[VJ_MAX_MASKS], penalty, norm[2];
    VJ_TRY(vj_parity_network_run(n, losses, &penalty));
    vj_optimizer_download_norms(optimizer);
    VJ_TRY(vj_sync(n->model->be));
    vj_optimizer_norms(optimizer, norm);
    past->loss[k] = 0;
    for (int i = 0; i < n->masks; i++) past->loss[k] += losses[i] / n->masks;
    for (int part = 0; part < 2; part++) past->norm[part][k] = norm[part];
    const vj_update u = {
        .update = k + 1,
        .lr = schedule[0]->value[k],
        .weight_decay = schedule[1]->value[k],
        .ema = schedule[2]->value[k],
        .clip = {vj_schedule_clip_factor(config, k + 1, norm[0]), vj_schedule_clip_factor(config, k + 1, norm[1])}};
    vj_optimizer_update(optimizer, &u);
    return vj_sync(n->model->be);
}

static void compare_history(vj_fixture *f, const char *name, const double *got, int64_t updates, vj_quantity quantity)
{
    const vj_values *want = vj_fixture_array(f, "f64/%s", name);
    if (want) vj_fixture_compare(f, want->name, got, updates, want, vj_fixture_tolerance(f, quantity));
}

/*
 * Compare weights after the updates. Rounding errors add up over updates; the bounds in the README are for five. Adam
 * moves a weight by about lr in an update, whatever the size of its gradient, so bounds on the root mean square are in
 * units of the sum of the learning rates; for the target, in units of the part of it that the moving average takes
 * over. The target takes over that part of the error of the weights, and each of its updates rounds four times (two
 * products, their sum, and 1 - ema).
 */
static void compare_weights(vj_fixture *f, const vj_parity_network *n, const vj_values *const schedule[3])
{
    enum { ROUNDINGS = 4 };
    const double more = fmax(1, (double)schedule[0]->count / 5);
    double way = 0, target_way = 0, taken = 0;
    for (int64_t k = 0; k < schedule[0]->count; k++) {
        way += schedule[0]->value[k];
        target_way += (1 - schedule[2]->value[k]) * (way - target_way);
        taken += 1 - schedule[2]->value[k];
    }
    vj_tolerance each = vj_fixture_tolerance(f, VJ_TOL_WEIGHT), bias = vj_fixture_tolerance(f, VJ_TOL_WEIGHT_QKV_BIAS);
    vj_tolerance target = vj_fixture_tolerance(f, VJ_TOL_TARGET_WEIGHT);
    each.absolute *= more, bias.absolute *= more, target.absolute *= more;
    target.absolute = fmax(target.absolute, fmin(1, taken) * each.absolute);
    target.of_largest = (double)schedule[0]->count * ROUNDINGS * FLT_EPSILON / 2;
    each.rms *= way, bias.rms *= way, target.rms *= target_way;
    const vj_model *m = n->model;
    vj_parity_network_compare(n, f, "f64/weights/encoder", VJ_ENCODER, m->trained.weights, each, bias);
    vj_parity_network_compare(n, f, "f64/weights/predictor", VJ_PREDICTOR, m->trained.weights, each, bias);
    vj_parity_network_compare(n, f, "f64/weights/target", VJ_ENCODER, m->trained.target, target, target);
}

static void compare_results(vj_fixture *f, const vj_parity_network *n, const vj_optimizer *optimizer,
                            const vj_values *const schedule[3])
{
    compare_weights(f, n, schedule);
    if (!vj_fixture_has(f, "adam")) return;
    const float *m1 = optimizer->first_moment, *m2 = optimizer->second_moment;
    const vj_tolerance first = vj_fixture_tolerance(f, VJ_TOL_FIRST_MOMENT);
    const vj_tolerance second = vj_fixture_tolerance(f, VJ_TOL_SECOND_MOMENT);
    vj_parity_network_compare(n, f, "adam/encoder_first_moment", VJ_ENCODER, m1, first, first);
    vj_parity_network_compare(n, f, "adam/predictor_first_moment", VJ_PREDICTOR, m1, first, first);
    vj_parity_network_compare(n, f, "adam/encoder_second_moment", VJ_ENCODER, m2, second, second);
    vj_parity_network_compare(n, f, "adam/predictor_second_moment", VJ_PREDICTOR, m2, second, second);
}

static vj_status run_updates(vj_fixture *f, vj_parity_network *n, vj_optimizer *optimizer, const vj_config *config,
                             const vj_values *const schedule[3])
{
    const int64_t updates = schedule[0]->count;
    history past;
    past.loss = vj_fixture_take(f, updates * (int64_t)sizeof(double));
    for (int part = 0; part < 2; part++) past.norm[part] = vj_fixture_take(f, updates * (int64_t)sizeof(double));
    for (int64_t k = 0; k < updates; k++) VJ_TRY(update(n, optimizer, config, schedule, k, &past));
    compare_history(f, "loss", past.loss, updates, VJ_TOL_STEP_LOSS);
    compare_history(f, "grad_norm_encoder", past.norm[VJ_ENCODER], updates, VJ_TOL_GRADIENT_NORM);
    compare_history(f, "grad_norm_predictor", past.norm[VJ_PREDICTOR], updates, VJ_TOL_GRADIENT_NORM);
    compare_results(f, n, optimizer, schedule);
    return VJ_OK;
}

static vj_status run_from(vj_fixture *f, vj_fixture *start, const vj_config *config, const vj_values *const schedule[3])
{
    vj_parity_network n;
    vj_optimizer *optimizer = NULL;
    vj_layout alone;
    vj_status status = vj_layout_open(&alone, MPI_COMM_SELF, 1);
    if (status == VJ_OK) status = vj_parity_network_create(&n, start, VJ_OBJECTIVE_FEATURE);
    if (status == VJ_OK && n.model) status = vj_optimizer_open(&optimizer, &n.model->trained, config, &alone);
    if (status == VJ_OK && n.model) status = run_updates(f, &n, optimizer, config, schedule);
    vj_optimizer_close(optimizer);
    vj_parity_network_release(&n);
    vj_layout_close(&alone);
    return status;
}

vj_status vj_parity_step(vj_fixture *f)
{
    vj_config *config = vj_fixture_take(f, sizeof *config);
    const vj_values *loss = vj_fixture_array(f, "f64/loss");
    const vj_values *const schedule[3] = {vj_fixture_array(f, "schedule/lr"),
                                          vj_fixture_array(f, "schedule/weight_decay"),
                                          vj_fixture_array(f, "schedule/ema")};
    if (!read_settings(f, config) || !loss || !schedule[0] || !schedule[1] || !schedule[2]) return VJ_OK;
    for (int i = 0; i < 3; i++)
        if (!vj_fixture_expect_count(f, schedule[i], loss->count)) return VJ_OK;
    char path[VJ_PATH];
    VJ_TRY(find_start(f, loss->value[0], path));
    printf("  starts from %s\n", path);
    vj_fixture start;
    vj_status status = vj_fixture_open(&start, path, f->be);
    if (status == VJ_OK) status = run_from(f, &start, config, schedule);
    f->failed += start.failed;
    vj_fixture_close(&start);
    return status;
}
