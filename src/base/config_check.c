/* Derives settings from others, and refuses combinations that contradict each other. */
#include <stdlib.h>
#include <string.h>

#include "base/settings.h"

/* docs/method.md, section 3 */
static const struct {
    const char *name;
    int64_t width, depth, heads;
    double mlp_ratio;
} sizes[] = {
    {"tiny", 192, 12, 3, 4.0},    {"small", 384, 12, 6, 4.0},  {"base", 768, 12, 12, 4.0},
    {"large", 1024, 24, 16, 4.0}, {"huge", 1280, 32, 16, 4.0}, {"giant", 1408, 40, 16, 48.0 / 11.0},
};

/* Write the place where a setting was given, for messages: "jobs/x.yaml:12: ", "--set ", or "" for a default. */
static void place(const vj_config *config, int line, char text[VJ_PATH + 16])
{
    if (line > 0)
        snprintf(text, VJ_PATH + 16, "%s:%d: ", config->origin.file, line);
    else
        strcpy(text, line < 0 ? "--set " : "");
}

int vj_config_origin(const vj_config *config, const char *key)
{
    const vj_setting *row = vj_setting_find(key);
    VJ_ASSERT(row != NULL);
    return config->origin.line[row - vj_settings];
}

/*
 * Report that two settings contradict each other. The message begins with the place of the first one, or if that has
 * its default, of the second.
 */
__attribute__((format(printf, 4, 5))) static vj_status refuse(const vj_config *config, const char *key,
                                                              const char *other, const char *format, ...)
{
    char where[VJ_PATH + 16], message[1024], also[32] = "";
    int line = vj_config_origin(config, key), other_line = vj_config_origin(config, other);
    place(config, line ? line : other_line, where);
    if (line && other_line > 0) snprintf(also, sizeof also, " (line %d)", other_line);
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return vj_raise(VJ_ERR_USAGE, "%s%s: %s%s", where, key, message, also);
}

/* `key` must be a multiple of `other`. */
static vj_status multiple(const vj_config *config, const char *key, int64_t value, const char *other, int64_t unit)
{
    if (value % unit == 0) return VJ_OK;
    return refuse(config, key, other, "%lld is not a multiple of %s, %lld", (long long)value, other, (long long)unit);
}

/* Set a value from model.size, unless it was given; then it must agree with model.size. */
static vj_status derive(const vj_config *config, const char *key, int64_t *value, int64_t from_size)
{
    if (*value == 0) *value = from_size;
    if (*value == from_size) return VJ_OK;
    return refuse(config, key, "model.size", "%lld contradicts model.size %s, which has %lld; use model.size custom",
                  (long long)*value, config->model.size, (long long)from_size);
}

static vj_status derive_model(vj_config *config)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (strcmp(config->model.size, sizes[i].name) != 0) continue;
        VJ_TRY(derive(config, "model.width", &config->model.width, sizes[i].width));
        VJ_TRY(derive(config, "model.depth", &config->model.depth, sizes[i].depth));
        VJ_TRY(derive(config, "model.heads", &config->model.heads, sizes[i].heads));
        if (config->model.mlp_ratio == 0.0) config->model.mlp_ratio = sizes[i].mlp_ratio;
        if (config->model.mlp_ratio == sizes[i].mlp_ratio) return VJ_OK;
        return refuse(config, "model.mlp_ratio", "model.size",
                      "%.17g contradicts model.size %s, which has %.17g; use model.size custom",
                      config->model.mlp_ratio, config->model.size, sizes[i].mlp_ratio);
    }
    if (config->model.width == 0) return refuse(config, "model.width", "model.size", "model.size custom needs it");
    if (config->model.depth == 0) return refuse(config, "model.depth", "model.size", "model.size custom needs it");
    if (config->model.heads == 0) return refuse(config, "model.heads", "model.size", "model.size custom needs it");
    if (config->model.mlp_ratio == 0.0) config->model.mlp_ratio = 4.0;
    return VJ_OK;
}

/* Each axis of a position table holds pairs of a sine and a cosine (docs/method.md, section 2). */
static vj_status check_width(const vj_config *config, const char *key, int64_t width)
{
    if (width % 2 != 0)
        return refuse(config, key, key, "%lld is odd; position tables need an even width", (long long)width);
    if (!config->model.uniform_power && width % 8 != 0)
        return refuse(config, key, "model.uniform_power",
                      "%lld is not a multiple of 8, which model.uniform_power false needs", (long long)width);
    return VJ_OK;
}

static vj_status check_model(const vj_config *config)
{
    VJ_TRY(multiple(config, "model.width", config->model.width, "model.heads", config->model.heads));
    VJ_TRY(check_width(config, "model.width", config->model.width));
    if ((int64_t)((double)config->model.width * config->model.mlp_ratio) < 1)
        return refuse(config, "model.mlp_ratio", "model.width", "leaves no hidden unit of model.width");
    VJ_TRY(multiple(config, "predictor.width", config->predictor.width, "predictor.heads", config->predictor.heads));
    VJ_TRY(check_width(config, "predictor.width", config->predictor.width));
    VJ_TRY(multiple(config, "data.crop", config->data.crop, "model.patch", config->model.patch));
    return multiple(config, "data.frames", config->data.frames, "model.tubelet", config->model.tubelet);
}

static vj_status refuse_generator(const vj_config *config, int i, const char *message)
{
    char where[VJ_PATH + 16];
    place(config, vj_config_origin(config, "mask.generators") ? config->origin.generator_line[i] : 0, where);
    return vj_raise(VJ_ERR_USAGE, "%smask.generators[%d].%s", where, i, message);
}

static vj_status check_generator(const vj_config *config, int i)
{
    const vj_mask_settings *mask = &config->mask.generator[i];
    int64_t side = config->data.crop / config->model.patch, cells = side * side;
    int64_t kept = (int64_t)((double)cells * (1.0 - mask->ratio));

    if (mask->kind == VJ_MASK_CAUSAL && !(mask->max_temporal_keep < 1.0))
        return refuse_generator(config, i, "max_temporal_keep: kind causal needs it below 1");
    if (mask->kind == VJ_MASK_CAUSAL && config->data.frames == config->model.tubelet)
        return refuse_generator(config, i, "kind: causal needs data.frames of at least two model.tubelet");
    if (mask->kind == VJ_MASK_MULTIBLOCK && mask->max_temporal_keep != 1.0)
        return refuse_generator(config, i, "max_temporal_keep: below 1 is kind causal, not multiblock");
    if (mask->kind == VJ_MASK_TUBE && (kept < 1 || kept >= cells))
        return refuse_generator(config, i,
                                "ratio: leaves no context or no target on the grid of data.crop / model.patch");
    return VJ_OK;
}

static vj_status check_masks(const vj_config *config)
{
    if (config->mask.count < 1)
        return refuse(config, "mask.generators", "mask.generators", "none is given; at least one mask is needed");
    for (int i = 0; i < config->mask.count; i++) VJ_TRY(check_generator(config, i));
    return VJ_OK;
}

/*
 * The pixel baseline is a mean squared error without a target encoder. Refuse settings that it ignores, so that they do
 * not seem to have an effect.
 */
static vj_status check_objective(const vj_config *config)
{
    bool pixel = config->objective.kind == VJ_OBJECTIVE_PIXEL;
    if (pixel && config->objective.loss_exp != 1.0)
        return refuse(config, "objective.loss_exp", "objective.kind",
                      "does not apply to objective.kind pixel, a mean squared error; leave it at 1");
    if (pixel && config->objective.reg_coeff != 0.0)
        return refuse(config, "objective.reg_coeff", "objective.kind",
                      "does not apply to objective.kind pixel; leave it at 0");
    if (!pixel && !config->objective.normalise_pixels)
        return refuse(config, "objective.normalise_pixels", "objective.kind",
                      "false does not apply to objective.kind feature");
    return VJ_OK;
}

static vj_status check_training(const vj_config *config)
{
    int64_t steps = config->train.epochs * config->train.steps_per_epoch;
    VJ_TRY(multiple(config, "train.batch", config->train.batch, "train.microbatch", config->train.microbatch));
    if (strcmp(config->train.precision, "bf16") == 0 &&
        (strcmp(config->train.products, "onednn") == 0 || strcmp(config->train.products, "cblas") == 0))
        return refuse(config, "train.products", "train.precision",
                      "%s multiplies in fp32; with train.precision bf16 there are own and auto",
                      config->train.products);
    if (config->train.stop_after > steps)
        return refuse(config, "train.stop_after", "train.epochs",
                      "%lld is more than train.epochs * train.steps_per_epoch, %lld",
                      (long long)config->train.stop_after, (long long)steps);
    if (config->train.rollback_loss != 0.0 && config->train.rollback_loss <= 1.0)
        return refuse(config, "train.rollback_loss", "train.rollback_loss",
                      "%.17g would call usual losses bad; give more than 1, or 0 for no bound",
                      config->train.rollback_loss);
    if (config->train.rollback_rank > 0.0 && config->log.rank_every == 0)
        return refuse(config, "train.rollback_rank", "log.rank_every", "needs log.rank_every above 0");
    if (config->checkpoint.every > 0)
        return multiple(config, "checkpoint.keep_every", config->checkpoint.keep_every, "checkpoint.every",
                        config->checkpoint.every);
    return VJ_OK;
}

static vj_status refuse_dataset(const vj_config *config, int i, const char *message)
{
    char where[VJ_PATH + 16];
    place(config, config->origin.dataset_line[i], where);
    return vj_raise(VJ_ERR_USAGE, "%spack.datasets[%d].%s", where, i, message);
}

static vj_status check_dataset(const vj_config *config, int i)
{
    const vj_dataset_settings *dataset = &config->pack.dataset[i];
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    bool walked = dataset->format == VJ_LIST_FOLDER || dataset->format == VJ_LIST_IMAGENET;
    if (!*dataset->name || dataset->name[strspn(dataset->name, letters)])
        return refuse_dataset(config, i, "name: letters, digits, . _ and - make a name");
    if (walked && !*dataset->root)
        return refuse_dataset(config, i, "root: formats folder and imagenet need it, the folder to walk");
    if (!walked && !*dataset->list)
        return refuse_dataset(config, i, "list: is missing; formats folder and imagenet do without");
    return VJ_OK;
}

static vj_status check_pack(const vj_config *config)
{
    if (config->pack.short_side > 0 && config->pack.short_side < 8)
        return refuse(config, "pack.short_side", "pack.short_side",
                      "%lld is too small for a clip; give 8 or more, or 0 for frames that keep their size",
                      (long long)config->pack.short_side);
    for (int i = 0; i < config->pack.dataset_count; i++) VJ_TRY(check_dataset(config, i));
    if (config->pack.dataset_count > 0 && config->pack.lists.count > 0)
        return refuse(config, "pack.lists", "pack.datasets", "stands beside pack.datasets; make it one of them");
    return VJ_OK;
}

double vj_config_io_patience_s(const vj_config *config)
{
    static const double usual_s = 300.0; /* by then file servers and clients have usually recovered from a failover */
    const double watchdog_s = config->run.watchdog_s;
    if (config->data.io_patience_s >= 0.0) return config->data.io_patience_s;
    return watchdog_s > 0.0 && 0.5 * watchdog_s < usual_s ? 0.5 * watchdog_s : usual_s;
}

/* The watchdog must not end a rank that waits for a file system for no longer than data.io_patience_s. */
static vj_status check_patience(const vj_config *config)
{
    if (config->run.watchdog_s <= 0.0 || config->data.io_patience_s < config->run.watchdog_s) return VJ_OK;
    return refuse(config, "data.io_patience_s", "run.watchdog_s",
                  "%.17g is not less than run.watchdog_s, %.17g, which would end the job meanwhile; leave it at -1, or "
                  "raise run.watchdog_s",
                  config->data.io_patience_s, config->run.watchdog_s);
}

/* Probes and their predictions are named by these lists, so nothing may stand in one twice. */
static vj_status check_names(const vj_config *config, const char *key, const vj_strings *names)
{
    for (int i = 1; i < names->count; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(names->item[i], names->item[k]) == 0)
                return refuse(config, key, key, "%s is named twice", names->item[i]);
    return VJ_OK;
}

static vj_status check_numbers(const vj_config *config, const char *key, const double *numbers, int count)
{
    char name[32], other[32];
    for (int i = 1; i < count; i++)
        for (int k = 0; k < i; k++) {
            snprintf(name, sizeof name, "%g", numbers[i]);
            snprintf(other, sizeof other, "%g", numbers[k]);
            if (strcmp(name, other) == 0) return refuse(config, key, key, "%s is given twice", name);
        }
    return VJ_OK;
}

double vj_config_probe_decay(const vj_config *config, bool images)
{
    if (config->probe.weight_decay != VJ_AUTO) return config->probe.weight_decay;
    return images && config->evaluate.preset == VJ_PRESET_CODE ? 0.001 : 0.01;
}

int64_t vj_config_copies(const vj_config *config, bool *centre)
{
    static const char prefix[] = "stored:";
    const char *text = config->probe.features, *number = text + strlen(prefix);
    *centre = strcmp(text, "stored") == 0;
    if (*centre) return 1;
    if (strcmp(text, "online") == 0) return 0;
    if (strncmp(text, prefix, strlen(prefix)) != 0 || strlen(number) > 7 || number[strspn(number, "0123456789")])
        return -1;
    const long long copies = atoll(number); /* at most seven digits */
    return copies >= 1 && copies <= 1000000 ? copies : -1;
}

static vj_status check_probe(const vj_config *config)
{
    bool centre;
    if (vj_config_copies(config, &centre) < 0)
        return refuse(config, "probe.features", "probe.features",
                      "'%s' is none of online, stored and stored:K with a number K from 1 to 1000000",
                      config->probe.features);
    if (config->evaluate.short_side > 0 && config->evaluate.short_side < config->data.crop)
        return refuse(config, "evaluate.short_side", "data.crop", "%lld is less than data.crop, %lld",
                      (long long)config->evaluate.short_side, (long long)config->data.crop);
    if (config->evaluate.sweep_more && config->evaluate.sweep_lr_count == 0 && config->evaluate.sweep_wd_count == 0)
        return refuse(config, "evaluate.sweep_more", "evaluate.sweep_lr",
                      "adds to the combinations of a sweep: give evaluate.sweep_lr or evaluate.sweep_wd");
    if (config->probe.pooling.count == 0)
        return refuse(config, "probe.pooling", "probe.pooling", "is empty; name attentive, average or both");
    if (config->probe.labels_count == 0)
        return refuse(config, "probe.labels", "probe.labels", "is empty; give at least one share, [100]");
    VJ_TRY(check_names(config, "probe.tasks", &config->probe.tasks));
    VJ_TRY(check_names(config, "probe.pooling", &config->probe.pooling));
    VJ_TRY(check_numbers(config, "probe.labels", config->probe.labels, config->probe.labels_count));
    VJ_TRY(check_numbers(config, "evaluate.sweep_lr", config->evaluate.sweep_lr, config->evaluate.sweep_lr_count));
    return check_numbers(config, "evaluate.sweep_wd", config->evaluate.sweep_wd, config->evaluate.sweep_wd_count);
}

/* Every file that a program writes holds the settings, as one attribute: HDF5 takes less than 64 KiB. */
static vj_status check_watch(const vj_config *config)
{
    if (config->watch.every == 0) return VJ_OK;
    if (config->watch.train.count == 0 || config->watch.validation.count == 0)
        return refuse(config, "watch.every", config->watch.train.count == 0 ? "watch.train" : "watch.validation",
                      "needs labelled clip stores, watch.train and watch.validation");
    return VJ_OK;
}

static vj_status check_length(const vj_config *config)
{
    char *text = vj_config_text(config);
    if (!text) return vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
    const size_t bytes = strlen(text);
    free(text);
    if (bytes <= VJ_CONFIG_BYTES) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE,
                    "the settings are %zu bytes of text, at most %d can be kept in files: use shorter paths", bytes,
                    VJ_CONFIG_BYTES);
}

vj_status vj_config_check(vj_config *config)
{
    VJ_TRY(check_pack(config));
    VJ_TRY(derive_model(config));
    if (config->predictor.heads == 0) config->predictor.heads = config->model.heads;
    VJ_TRY(check_model(config));
    VJ_TRY(check_masks(config));
    VJ_TRY(check_objective(config));
    VJ_TRY(check_training(config));
    VJ_TRY(check_patience(config));
    VJ_TRY(check_probe(config));
    VJ_TRY(check_watch(config));
    return check_length(config);
}
