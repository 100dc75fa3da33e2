/* Opens clips and encoders, and returns batches to encode. */
#include "probe/frozen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/number.h"
#include "base/rng.h"
#include "base/sort.h"
#include "ckpt/ckpt.h"
#include "model/flops.h"
#include "parallel/parallel.h"
#include "train/alike.h"
#include "train/checkpoint.h"
#include "train/precision.h"
#include "train/stop.h"

/* ------------------------------------------------------------------------------------------------ the clips */

vj_status vj_frozen_split_paths(vj_strings *paths, const char *text)
{
    const char *whole = text;
    for (paths->count = 0; *text;) {
        int length = (int)strcspn(text, ",");
        if (paths->count == VJ_MAX_LIST || length == 0 || length >= VJ_PATH)
            return vj_raise(VJ_ERR_USAGE, "'%s' is no list of at most %d paths with commas between them", whole,
                            VJ_MAX_LIST);
        snprintf(paths->item[paths->count++], VJ_PATH, "%.*s", length, text);
        text += length + (text[length] == ',');
    }
    return VJ_OK;
}

static vj_status choose(vj_frozen *f)
{
    int64_t all = vj_clips_count(f->clips), limit = f->config->embed.limit;
    f->n = limit > 0 && limit < all ? limit : all;
    f->chosen = vj_calloc(f->n, sizeof *f->chosen);
    if (!f->chosen) return vj_raise(VJ_ERR_MEMORY, "no memory to choose %lld clips", (long long)f->n);
    for (int64_t i = 0; i < f->n; i++)
        f->chosen[i] = f->n < all ? vj_permute((uint64_t)f->config->run.seed, 0, all, i) : i;
    vj_sort_integers(f->chosen, f->n);
    return VJ_OK;
}

vj_status vj_frozen_show(vj_frozen *f, const char *setting, const char *stores)
{
    const vj_config *c = f->config;
    const int frames = vj_clips_frames(f->clips);
    f->images = frames == 1 && c->data.frames > 1;
    if (f->images) return vj_eval_views_init(&f->shown, c, f->clips, false);
    if (frames == c->data.frames) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s%s%s holds %d frames a clip, data.frames is %lld", setting, *setting ? ": " : "",
                    stores, frames, (long long)c->data.frames);
}

vj_status vj_frozen_open_clips(vj_frozen *f, const vj_config *config, const char *stores, MPI_Comm comm)
{
    vj_strings paths;
    *f =
        (vj_frozen){.comm = comm, .rank = vj_comm_rank(comm), .size = vj_comm_size(comm), .batch = config->embed.batch};
    f->config = f->own = vj_calloc(1, sizeof *f->own);
    if (!f->own) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    *f->own = *config;
    VJ_TRY(vj_frozen_split_paths(&paths, stores));
    VJ_TRY(vj_clips_open(&f->clips, &paths, comm));
    VJ_TRY(vj_frozen_show(f, "", stores));
    return choose(f);
}

/* Plan to show images: `plan` gets items instead of an order. */
static vj_status show_images(vj_frozen *f, vj_loader_plan *plan, int64_t begin)
{
    free(f->items);
    f->items = vj_calloc(plan->samples + 1, sizeof *f->items);
    if (!f->items) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of %lld images", (long long)plan->samples);
    for (int64_t i = 0; i < plan->samples; i++) f->items[i].clip = f->chosen[begin + i];
    plan->items = f->items;
    plan->shown = &f->shown;
    return VJ_OK;
}

static vj_status show_clips(const vj_frozen *f, vj_loader_plan *plan, int64_t begin)
{
    plan->view = vj_view_centre;
    plan->marks = f->marks;
    return vj_order_create_once(&plan->order, f->chosen + begin, plan->samples);
}

vj_status vj_frozen_start(vj_frozen *f, int64_t begin, int64_t end)
{
    vj_loader_plan plan = {.be = f->be,
                           .batch = f->batch,
                           .last = f->batch,
                           .stop = (end - begin + f->batch - 1) / f->batch,
                           .samples = end - begin};
    vj_loader_stop(f->loader);
    f->loader = NULL;
    vj_config *c = vj_calloc(1, sizeof *c);
    if (!c) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    *c = *f->config;
    c->data.read_ahead = 1;
    c->data.verify = 1.0;
    c->data.cache[0] = '\0';
    vj_status status = f->images ? show_images(f, &plan, begin) : show_clips(f, &plan, begin);
    if (status == VJ_OK) status = vj_loader_start(&f->loader, f->clips, c, &plan);
    free(c);
    return status;
}

vj_status vj_frozen_next(vj_frozen *f, vj_batch *batch, double *wait_s)
{
    VJ_TRY(vj_loader_next(f->loader, batch, wait_s));
    for (int64_t i = 0; batch->damaged && i < batch->count; i++) { /* images are always marked */
        if (!batch->damaged[i]) continue;
        if (!f->marks)
            return vj_raise(VJ_ERR_FORMAT, "clip %lld is damaged: vjepa-inspect --verify lists what is; pack it again",
                            (long long)batch->clips[i]);
        int64_t *more = realloc(f->damaged, sizeof *more * (size_t)(f->damaged_count + 1));
        if (!more) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of damaged clips");
        f->damaged = more;
        f->damaged[f->damaged_count++] = batch->clips[i];
    }
    return VJ_OK;
}

vj_status vj_frozen_leave_out(vj_frozen *f, int64_t *count, uint64_t *failed)
{
    int64_t *all, total, kept = 0;
    VJ_TRY(vj_gather_numbers(&all, &total, f->damaged, f->damaged_count, f->comm));
    f->damaged_count = 0;
    *count = total;
    vj_sort_integers(all, total);
    for (int64_t i = 0; i < f->n; i++) {
        const int64_t clip = f->chosen[i];
        const bool out = vj_sorted_find(all, total, clip) >= 0;
        for (int l = 0; out && l < vj_clips_label_count(f->clips); l++)
            failed[l] += vj_clips_labels(f->clips, clip)[l] >= 0;
        if (!out) f->chosen[kept++] = clip;
    }
    free(all);
    const int64_t before = f->n;
    f->n = kept;
    if ((kept == 0 || vj_too_damaged(total, before)) && f->rank == 0)
        return vj_agree(f->comm,
                        vj_raise(VJ_ERR_FORMAT,
                                 "%lld of %lld clips are damaged; more than 10 and more than 1 %%, or all, are "
                                 "too many: vjepa-inspect --verify lists what is damaged; pack them again",
                                 (long long)total, (long long)before));
    return vj_agree(f->comm, VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ encoders */

/* Parse "random:published:7" into rule and seed; *random is 0 for a text that does not begin with "random:". */
static vj_status parse_random(const char *text, int64_t default_seed, int *random, vj_init *init, int64_t *seed)
{
    static const struct {
        const char *name;
        vj_init init;
    } rules[] = {{"published", VJ_INIT_PUBLISHED}, {"fan_in", VJ_INIT_FAN_IN}};
    *random = strncmp(text, "random:", 7) == 0;
    if (!*random) return VJ_OK;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        size_t length = strlen(rules[i].name);
        const char *rest = text + 7 + length;
        if (strncmp(text + 7, rules[i].name, length) != 0 || (*rest && *rest != ':')) continue;
        *init = rules[i].init;
        *seed = default_seed;
        if (!*rest) return VJ_OK;
        if (vj_parse_whole(rest + 1, INT64_MIN, INT64_MAX, seed)) return VJ_OK;
    }
    return vj_raise(VJ_ERR_USAGE, "'%s' is neither random:published[:SEED] nor random:fan_in[:SEED]", text);
}

static vj_status find_newest(char encoder[VJ_PATH])
{
    char newest[VJ_PATH];
    struct stat info;
    if (!*encoder)
        return vj_raise(VJ_ERR_USAGE,
                        "the name of the encoder is empty: is it a variable of the shell that is not set?");
    if (strncmp(encoder, "random:", 7) == 0 || stat(encoder, &info) != 0 || !S_ISDIR(info.st_mode)) return VJ_OK;
    for (size_t length = strlen(encoder); length > 1 && encoder[length - 1] == '/';) encoder[--length] = '\0';
    VJ_TRY(vj_ckpt_latest(encoder, newest, VJ_ALONE));
    if (!*newest)
        return vj_raise(VJ_ERR_USAGE,
                        "%s is a folder without a checkpoint, step_*.h5: an encoder is a checkpoint, or the folder of "
                        "a run, which stands for its newest checkpoint",
                        encoder);
    vj_log("encoder %s: its newest checkpoint is %s", encoder, newest);
    strcpy(encoder, newest);
    return VJ_OK;
}

vj_status vj_frozen_find_encoder(char encoder[VJ_PATH], MPI_Comm comm)
{
    VJ_TRY(vj_agree(comm, vj_comm_rank(comm) == 0 ? find_newest(encoder) : VJ_OK));
    vj_broadcast(encoder, VJ_PATH, comm);
    return VJ_OK;
}

void vj_frozen_describe_encoder(const vj_config *config, const char *encoder, char *text, size_t bytes)
{
    int random;
    int64_t seed;
    vj_init init;
    if (parse_random(encoder, config->run.seed, &random, &init, &seed) == VJ_OK && random)
        snprintf(text, bytes, "random %s seed %lld", init == VJ_INIT_PUBLISHED ? "published" : "fan_in",
                 (long long)seed);
    else
        snprintf(text, bytes, "%s", encoder);
}

static vj_status open_encoder(vj_frozen *f, const char *text)
{
    int random;
    int64_t seed;
    vj_init init;
    const vj_shape shape = vj_shape_from(f->config);
    vj_encoder **encoder = &f->encoder[f->count];
    VJ_TRY(parse_random(text, f->config->run.seed, &random, &init, &seed));
    vj_status status = vj_encoder_open(encoder, &shape, f->batch, f->be, f->tensor);
    if (status == VJ_OK) f->count++;
    if (status == VJ_OK && f->clips) status = vj_encoder_accept_frames(*encoder, vj_clips_largest_bytes(f->clips));
    VJ_TRY(vj_agree(f->comm, status));
    if (!random) return vj_checkpoint_load_encoder(text, *encoder, f->comm);
    vj_encoder_init_weights(*encoder, init, seed);
    return VJ_OK;
}

vj_status vj_frozen_open_encoders(vj_frozen *f, const vj_strings *encoders)
{
    int random;
    int64_t seed;
    vj_init init;
    const vj_place place = vj_place_of(f->comm);
    vj_place_log(&place, f->comm, "");
    for (int i = 0; i < encoders->count; i++)
        VJ_TRY(parse_random(encoders->item[i], f->config->run.seed, &random, &init, &seed));
    if (f->own) VJ_TRY(vj_precision_choose(f->own, f->comm));
    VJ_TRY(vj_backend_open_alike(&f->be, f->config->train.backend, vj_precision_of(f->config), &place, f->comm));
    VJ_TRY(vj_products_choose(&f->products, f->be, f->config->train.products, f->comm));
    for (int i = 0; i < encoders->count; i++) VJ_TRY(open_encoder(f, encoders->item[i]));
    return VJ_OK;
}

void vj_frozen_release(vj_frozen *f)
{
    vj_loader_stop(f->loader);
    for (int i = 0; i < f->count; i++) vj_encoder_close(f->encoder[i]);
    vj_backend_close(f->be);
    vj_clips_close(f->clips);
    free(f->chosen);
    free(f->damaged);
    free(f->items);
    free(f->own);
    *f = (vj_frozen){0};
}

/* Copy a whole tensor to the host; in a group it is assembled from the shares on rank 0. work: [VJ_ASSEMBLE_WORK] in a
 * group. */
static void download_tensor(const vj_encoder *e, const vj_param *p, float *host, float *work)
{
    const float *held = e->weights + p->offset;
    if (p->shares <= 1) {
        vj_download(e->be, host, held, p->count * (int64_t)sizeof *host);
        return;
    }
    for (int64_t first = 0; first < p->whole; first += VJ_ASSEMBLE_MAX) {
        const int64_t last = p->whole - first < VJ_ASSEMBLE_MAX ? p->whole : first + VJ_ASSEMBLE_MAX;
        vj_tensor_assemble(e->tensor, e->be, p, held, first, last, 0, host + first, work);
    }
}

vj_status vj_frozen_digest(const vj_encoder *encoder, uint64_t *digest)
{
    const vj_params *params = &encoder->net.params;
    const vj_shape *s = &encoder->net.shape;
    const int64_t shape[] = {s->frames, s->height, s->width_px, s->patch, s->tubelet, s->width, s->depth, s->heads};
    int64_t largest = 1;
    for (int i = 0; i < params->count; i++)
        if (params->item[i].whole > largest) largest = params->item[i].whole;
    float *host = vj_calloc(largest, sizeof *host), *work = vj_calloc(VJ_ASSEMBLE_WORK, sizeof *work);
    if (!host || !work) {
        free(host);
        free(work);
        return vj_raise(VJ_ERR_MEMORY, "no memory for a tensor of %lld numbers", (long long)largest);
    }
    *digest = XXH3_64bits(shape, sizeof shape);
    for (int i = 0; i < params->count; i++) {
        const vj_param *p = &params->item[i];
        download_tensor(encoder, p, host, work);
        *digest = XXH3_64bits_withSeed(host, (size_t)p->whole * sizeof *host, *digest);
    }
    free(host);
    free(work);
    return vj_sync(encoder->be);
}

void vj_frozen_describe_preprocessing(const vj_frozen *f, char *text, size_t bytes)
{
    const vj_config *c = f->config;
    char view[128];
    if (f->images)
        vj_eval_views_describe(&f->shown, view, sizeof view);
    else
        snprintf(view, sizeof view, "%lld frames, centre crop %lld", (long long)c->data.frames,
                 (long long)c->data.crop);
    snprintf(text, bytes, "%s, mean [%g, %g, %g], std [%g, %g, %g], %s", view, c->data.mean[0], c->data.mean[1],
             c->data.mean[2], c->data.std[0], c->data.std[1], c->data.std[2], c->train.precision);
}

/* Looks for words that vj_eval_views_describe() writes for images. */
bool vj_frozen_showed_images(const char *preprocessing)
{
    return strstr(preprocessing, " equal frames of ") != NULL;
}

void vj_frozen_grid(const vj_encoder *encoder, uint64_t grid[3])
{
    const vj_grid *g = &encoder->net.grid;
    grid[0] = (uint64_t)g->t;
    grid[1] = (uint64_t)g->y;
    grid[2] = (uint64_t)g->x;
}

/* ------------------------------------------------------------------------------------------------ passes */

/*
 * What rank 0 of a group sends to the others before each pass; count 0: there is no further pass. The others answer
 * with the requests that they got meanwhile, which rank 0 takes over, and whether their device has failed.
 */
typedef struct {
    int64_t encoder, count;
} order;

static void give_order(vj_frozen *f, order *o, vj_status status)
{
    int answer[VJ_REQUESTS + 1] = {0}, all[VJ_REQUESTS + 1];
    volatile sig_atomic_t *asked = vj_stop_requests();
    vj_broadcast(o, (int64_t)sizeof *o, f->tensor->comm);
    for (int i = 0; f->tensor->rank > 0 && i < VJ_REQUESTS; i++) {
        answer[i] = asked[i];
        if (answer[i] != VJ_WHY_NONE) asked[i] = VJ_WHY_NONE; /* a request that arrives meanwhile is kept */
    }
    answer[VJ_REQUESTS] = (int)status;
    MPI_Reduce(answer, all, VJ_REQUESTS + 1, MPI_INT, MPI_MAX, 0, f->tensor->comm);
    if (f->tensor->rank > 0) return;
    for (int i = 0; i < VJ_REQUESTS; i++)
        if (all[i] != VJ_WHY_NONE) asked[i] = all[i];
    if (all[VJ_REQUESTS] != VJ_OK) f->lost = (vj_status)all[VJ_REQUESTS];
}

static const float *run_shared(vj_frozen *f, const order *o)
{
    vj_encoder *e = f->encoder[o->encoder];
    const vj_shape *s = &e->net.shape;
    const int64_t clip = (int64_t)s->channels * s->frames * s->height * s->width_px;
    vj_tensor_broadcast(f->tensor, f->be, e->pixels, o->count * clip);
    return vj_encoder_run(e, e->pixels, o->count);
}

const float *vj_frozen_encode(vj_frozen *f, int i, const vj_batch *batch)
{
    const vj_input clips = {batch->pixels, batch->frames, batch->views, f->config->data.mean, f->config->data.std};
    order o = {i, batch->count};
    const float *pixels = vj_encoder_upload(f->encoder[i], &clips, batch->count);
    if (!f->tensor) return vj_encoder_run(f->encoder[i], pixels, batch->count);
    give_order(f, &o, VJ_OK);
    return run_shared(f, &o);
}

double vj_frozen_flops(const vj_frozen *f, int64_t clips)
{
    return (double)(clips * f->count) * vj_encoder_flops(&f->encoder[0]->net) / (f->tensor ? f->tensor->size : 1);
}

void vj_frozen_log_time(const vj_frozen *f, const char *what, int64_t clips)
{
    char time[32];
    const double flops = (double)(clips * f->count) * vj_encoder_flops(&f->encoder[0]->net);
    if (f->products.gflops > 0.0)
        vj_log("%s about %s in products alone", what, vj_duration(1e-9 * flops / (f->products.gflops * f->size), time));
}

vj_status vj_frozen_follow(vj_frozen *f)
{
    vj_status status = VJ_OK;
    for (order o = {0, 0};;) {
        give_order(f, &o, status);
        if (o.count == 0) return status;
        (void)run_shared(f, &o);
        const vj_status now = vj_sync(f->be);
        if (status == VJ_OK) status = now;
    }
}

void vj_frozen_dismiss(vj_frozen *f)
{
    order o = {0, 0};
    if (f->tensor) give_order(f, &o, VJ_OK);
}
