/* The run folder: made, claimed, checked, complete. */
#include "train/run_folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/output.h"
#include "kernels/kernels.h"
#include "parallel/parallel.h"
#include "train/metrics.h"
#include "train/precision.h"

enum { NAME_BYTES = 32 };

static int is_first(MPI_Comm comm)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    return rank == 0;
}

static void name_in(const vj_config *c, const char *name, char path[VJ_PATH + NAME_BYTES])
{
    snprintf(path, VJ_PATH + NAME_BYTES, "%s/%s", c->run.dir, name);
}

static vj_status take(vj_lease **lease, const vj_config *c, bool make)
{
    struct stat info;
    if (*lease) return VJ_OK;
    if (make && mkdir(c->run.dir, 0777) != 0 && errno != EEXIST)
        return vj_raise(VJ_ERR_IO, "make the run folder %s (run.dir)", c->run.dir);
    if (!make && (stat(c->run.dir, &info) != 0 || !S_ISDIR(info.st_mode))) return VJ_OK;
    return vj_lease_take(lease, c->run.dir);
}

vj_status vj_run_folder_take(vj_lease **lease, const vj_config *c, bool make, MPI_Comm comm)
{
    return vj_agree(comm, is_first(comm) ? take(lease, c, make) : VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ what is there */

/* What a run's config.yaml begins with, and that of earlier releases. */
static const char config_begin[] = "# The settings of this run, written by vjepa-pretrain.\n";
static const char earlier_begin[] = "run:\n  dir: \"";

static bool is_there(const vj_config *c, const char *name)
{
    char path[VJ_PATH + NAME_BYTES];
    name_in(c, name, path);
    return access(path, F_OK) == 0;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat one, other;
    return a && stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static bool begins_with(const char *path, const char *begin)
{
    char text[64] = "";
    FILE *f = fopen(path, "r");
    if (!f) return false;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f); /* only read */
    return n >= strlen(begin) && memcmp(text, begin, strlen(begin)) == 0;
}

/* The files that a run writes to: are those that are there a run's? A configuration that is read is not written. */
static vj_status check_files(const vj_config *c, const char *config_path, bool resumes)
{
    char path[VJ_PATH + NAME_BYTES];
    name_in(c, "metrics.csv", path);
    VJ_TRY(vj_output_check_text(path, VJ_METRICS_CSV_BEGIN));
    name_in(c, "metrics.jsonl", path);
    VJ_TRY(vj_output_check_text(path, VJ_METRICS_JSONL_BEGIN));
    name_in(c, "config.yaml", path);
    if (resumes && is_same_file(config_path, path)) return VJ_OK;
    return begins_with(path, earlier_begin) ? VJ_OK : vj_output_check_text(path, config_begin);
}

/* A folder without a checkpoint: did a run in it have one? */
static vj_status look_without_checkpoint(const vj_config *c)
{
    char path[VJ_PATH + NAME_BYTES];
    int64_t step;
    name_in(c, "metrics.csv", path);
    VJ_TRY(vj_metrics_last(path, &step));
    if (!is_there(c, "latest") && !is_there(c, "complete")) return VJ_OK;
    return vj_raise(
        VJ_ERR_STATE,
        "run.dir %s is of a run that came to step %lld (metrics.csv)%s, but it holds no checkpoint: were the "
        "files step_*.h5 moved or cleaned away? Put one back to go on. To begin anew, give another run.dir, "
        "or remove the files latest and complete",
        c->run.dir, (long long)step, is_there(c, "complete") ? " and is complete" : "");
}

static vj_status look(const vj_config *c, const char *config_path)
{
    struct stat info;
    char path[VJ_PATH];
    VJ_TRY(vj_output_check_folder("run.dir", c->run.dir));
    if (stat(c->run.dir, &info) != 0) return VJ_OK;
    if (is_there(c, "pack.yaml") || is_there(c, "index.h5"))
        return vj_raise(VJ_ERR_USAGE, "run.dir %s is a clip store: a run has a folder of its own", c->run.dir);
    VJ_TRY(vj_ckpt_latest(c->run.dir, path, MPI_COMM_SELF));
    VJ_TRY(check_files(c, config_path, *path != '\0'));
    return *path ? VJ_OK : look_without_checkpoint(c);
}

vj_status vj_run_folder_look(const vj_config *c, const char *config_path, MPI_Comm comm)
{
    return vj_agree(comm, is_first(comm) ? look(c, config_path) : VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ two small files */

/* Write NAME in the folder: whole, and on disk when this returns, or not at all. */
static vj_status put_file(const vj_config *c, const char *name, const char *text)
{
    char path[VJ_PATH + NAME_BYTES];
    name_in(c, name, path);
    vj_file_remove_parts(c->run.dir, name); /* of killed writers; the folder's lease keeps living ones away */
    return vj_file_put_text(path, text);
}

static vj_status put_config(const vj_config *c)
{
    char *settings = vj_config_text(c), *text = NULL;
    if (!settings || asprintf(&text, "%s%s", config_begin, settings) < 0) {
        free(settings);
        return vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
    }
    vj_status status = put_file(c, "config.yaml", text);
    free(settings);
    free(text);
    return status;
}

static vj_status claim(const vj_config *c, const char *config_path, int finished)
{
    char path[VJ_PATH + NAME_BYTES];
    name_in(c, "complete", path);
    if (!finished && unlink(path) != 0 && errno != ENOENT)
        return vj_raise(VJ_ERR_IO, "remove %s: the run goes on", path);
    name_in(c, "config.yaml", path);
    if (!is_same_file(config_path, path)) return put_config(c);
    vj_log("%s is the configuration that is read here and stays as it is; the checkpoints say what settings they had",
           path);
    return VJ_OK;
}

vj_status vj_run_folder_claim(const vj_config *c, const char *config_path, int finished, MPI_Comm comm)
{
    return vj_agree(comm, is_first(comm) ? claim(c, config_path, finished) : VJ_OK);
}

void vj_run_folder_latest(const vj_config *c, int64_t step)
{
    char text[NAME_BYTES];
    snprintf(text, sizeof text, "step_%08lld.h5\n", (long long)step);
    if (put_file(c, "latest", text) != VJ_OK)
        vj_warn("%s/latest could not be written; the checkpoint itself is whole", c->run.dir);
}

vj_status vj_run_folder_complete(const vj_config *c, int64_t steps, MPI_Comm comm)
{
    char text[NAME_BYTES];
    snprintf(text, sizeof text, "%lld steps\n", (long long)steps);
    return vj_agree(comm, is_first(comm) ? put_file(c, "complete", text) : VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ the same run? */

/* What may not change inside a run, though the tensors would fit. Both were checked, so all that follows is derived. */
static const char *changed_setting(const vj_config *old, const vj_config *now)
{
    if (memcmp(&old->model, &now->model, sizeof now->model) != 0) return "model";
    if (memcmp(&old->predictor, &now->predictor, sizeof now->predictor) != 0) return "predictor";
    if (memcmp(&old->mask, &now->mask, sizeof now->mask) != 0) return "mask";
    if (memcmp(&old->objective, &now->objective, sizeof now->objective) != 0) return "objective";
    if (old->data.frames != now->data.frames || old->data.crop != now->data.crop || old->data.flip != now->data.flip ||
        memcmp(old->data.crop_scale, now->data.crop_scale, sizeof now->data.crop_scale) != 0 ||
        memcmp(old->data.crop_aspect, now->data.crop_aspect, sizeof now->data.crop_aspect) != 0 ||
        memcmp(old->data.mean, now->data.mean, sizeof now->data.mean) != 0 ||
        memcmp(old->data.std, now->data.std, sizeof now->data.std) != 0 || old->data.shuffle != now->data.shuffle ||
        (now->data.shuffle == VJ_SHUFFLE_BLOCK && old->data.block_shards != now->data.block_shards) ||
        memcmp(&old->data.weights, &now->data.weights, sizeof now->data.weights) != 0)
        return "data";
    return NULL;
}

/* The configuration that a checkpoint has, from its text. free(*config), also after a failure. */
static vj_status parse_settings(const char *text, const char *path, vj_config **config)
{
    vj_config *c = *config = vj_calloc(1, sizeof *c);
    if (!c) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    vj_config_defaults(c);
    VJ_TRY(vj_config_parse(c, path, text));
    return vj_config_check(c);
}

static vj_status check_settings(const vj_config *c, const char *text, const char *path)
{
    vj_config *old;
    vj_status status = parse_settings(text, path, &old);
    const char *changed = status == VJ_OK ? changed_setting(old, c) : NULL;
    if (changed)
        status = vj_raise(VJ_ERR_FORMAT,
                          "%s was trained with other settings of section %s: compare config.yaml in %s with "
                          "--print-config, or choose another run.dir",
                          path, changed, c->run.dir);
    if (status == VJ_OK && strcmp(old->train.products, c->train.products) != 0)
        vj_log("products by %s: %s was trained with %s, so what follows differs in its last bits from a run that was "
               "not interrupted",
               c->train.products, path, old->train.products);
    free(old);
    return status;
}

vj_status vj_run_folder_check(const vj_config *c, const vj_ckpt_state *s, const vj_ckpt_state *now, int64_t steps,
                              const char *path)
{
    if (s->seed != c->run.seed)
        return vj_raise(VJ_ERR_FORMAT, "%s was trained with run.seed %lld, this run has %lld", path, (long long)s->seed,
                        (long long)c->run.seed);
    if (s->samples != s->step * c->train.batch + s->skipped_samples || s->skipped_samples % c->train.batch != 0)
        return vj_raise(
            VJ_ERR_FORMAT, "%s has %lld steps of %lld samples in all, %lld of them skipped; train.batch is %lld", path,
            (long long)s->step, (long long)s->samples, (long long)s->skipped_samples, (long long)c->train.batch);
    if (s->store_fingerprint != now->store_fingerprint)
        return vj_raise(VJ_ERR_FORMAT, "%s was trained on clips with fingerprint %016llx, data.train has %016llx", path,
                        (unsigned long long)s->store_fingerprint, (unsigned long long)now->store_fingerprint);
    if (s->step > steps)
        return vj_raise(VJ_ERR_FORMAT, "%s has %lld steps, this run ends after %lld", path, (long long)s->step,
                        (long long)steps);
    return check_settings(c, s->config, path);
}

/* ------------------------------------------------------------------------------------------------ what auto took */

static vj_status keep(vj_config *c, const vj_config *old, const char *path, bool own_products)
{
    if (strcmp(c->train.precision, "auto") == 0 && strcmp(old->train.precision, "auto") != 0) {
        vj_precision_set(c, vj_precision_of(old));
        vj_log("precision: auto keeps to %s, with which %s was trained", c->train.precision, path);
    }
    if (own_products || strcmp(old->train.precision, c->train.precision) != 0) return VJ_OK;
    snprintf(c->train.products, sizeof c->train.products, "%s", old->train.products);
    if (!vj_products_present(c->train.products))
        return vj_raise(VJ_ERR_USAGE,
                        "%s was trained with products by %s, which this build or processor lacks. --set "
                        "train.products=own goes on with the own kernels, at the price of other last bits",
                        path, c->train.products);
    vj_log("products: auto keeps to %s, with which %s was trained", c->train.products, path);
    return VJ_OK;
}

static vj_status read_and_keep(vj_config *c, bool own_products, MPI_Comm comm)
{
    vj_config *old = NULL;
    vj_ckpt_state state;
    char path[VJ_PATH];
    VJ_TRY(vj_ckpt_latest(c->run.dir, path, comm));
    if (path[0] == '\0') return VJ_OK;
    VJ_TRY(vj_ckpt_read_state(path, &state, comm));
    vj_status status = parse_settings(state.config, path, &old);
    vj_ckpt_state_release(&state);
    if (status == VJ_OK) status = keep(c, old, path, own_products);
    free(old);
    return status;
}

vj_status vj_run_folder_keep(vj_config *c, MPI_Comm comm)
{
    int told = strcmp(c->train.products, "auto") != 0 || getenv("VJ_PRODUCTS");
    MPI_Allreduce(MPI_IN_PLACE, &told, 1, MPI_INT, MPI_MAX, comm); /* the environment may be one rank's own */
    if (told && strcmp(c->train.precision, "auto") != 0) return VJ_OK;
    return vj_agree(comm, read_and_keep(c, told, comm));
}
