/* Creates, claims and checks the run folder, and marks it as complete. */
#include "train/run_folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/output.h"
#include "clips/clips.h"
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
    return vj_lease_acquire(lease, c->run.dir);
}

vj_status vj_run_folder_lock(vj_lease **lease, const vj_config *c, bool make, MPI_Comm comm)
{
    return vj_agree(comm, is_first(comm) ? take(lease, c, make) : VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ what is there */

/* The beginning of a run's config.yaml, and that of earlier releases. */
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

/*
 * Check that the files to which a run writes, if they exist, were written by a run. config.yaml is not checked if it is
 * the file that this program reads as its configuration.
 */
static vj_status check_files(const vj_config *c, const char *config_path, bool resumes)
{
    char path[VJ_PATH + NAME_BYTES];
    name_in(c, "metrics.csv", path);
    VJ_TRY(vj_output_check_text(path, VJ_METRICS_CSV_BEGIN));
    name_in(c, "metrics.jsonl", path);
    VJ_TRY(vj_output_check_text(path, VJ_METRICS_JSONL_BEGIN));
    name_in(c, "config.yaml", path);
    VJ_TRY(vj_output_check_file("run.dir", path));
    if (resumes && is_same_file(config_path, path)) return VJ_OK;
    return begins_with(path, earlier_begin) ? VJ_OK : vj_output_check_text(path, config_begin);
}

/* Refuse a folder without checkpoints if a run has written some there before. */
static vj_status refuse_lost_checkpoints(const vj_config *c)
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

static vj_status accept(const vj_config *c, const char *config_path)
{
    struct stat info;
    char path[VJ_PATH];
    enum { ROOM = 40 }; /* of a checkpoint's temporary name, /step_1000000000000.h5.01234567.part */
    if (strlen(c->run.dir) + ROOM > VJ_PATH)
        return vj_raise(VJ_ERR_USAGE,
                        "run.dir: the path has %zu bytes, at most %d leave room for the names of files in it: %s",
                        strlen(c->run.dir), VJ_PATH - ROOM, c->run.dir);
    VJ_TRY(vj_output_check_folder("run.dir", c->run.dir));
    VJ_TRY(vj_clips_check_output("run.dir", c->run.dir));
    if (stat(c->run.dir, &info) != 0) return VJ_OK;
    VJ_TRY(vj_ckpt_latest(c->run.dir, path, MPI_COMM_SELF));
    VJ_TRY(check_files(c, config_path, *path != '\0'));
    return *path ? VJ_OK : refuse_lost_checkpoints(c);
}

vj_status vj_run_folder_accept(const vj_config *c, const char *config_path, MPI_Comm comm)
{
    return vj_agree(comm, is_first(comm) ? accept(c, config_path) : VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ two small files */

/* Write the file `name` in the folder. When this returns it is complete and on disk, or absent. */
static vj_status put_file(const vj_config *c, const char *name, const char *text)
{
    char path[VJ_PATH + NAME_BYTES];
    name_in(c, name, path);
    /* temporary files of killed writers; the folder's lease excludes living ones */
    vj_file_remove_parts(c->run.dir, name);
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

static vj_status claim(const vj_config *c, const char *config_path)
{
    char path[VJ_PATH + NAME_BYTES];
    name_in(c, "complete", path);
    if (unlink(path) != 0 && errno != ENOENT) return vj_raise(VJ_ERR_IO, "remove %s: the run goes on", path);
    name_in(c, "config.yaml", path);
    if (!is_same_file(config_path, path)) return put_config(c);
    vj_log("%s is the configuration that is read here and stays as it is; the checkpoints say what settings they had",
           path);
    return VJ_OK;
}

vj_status vj_run_folder_claim(const vj_config *c, const char *config_path, MPI_Comm comm)
{
    return vj_agree(comm, is_first(comm) ? claim(c, config_path) : VJ_OK);
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

/*
 * A run does not go on from the older checkpoint by itself: it would throw away the work since then, and perhaps the
 * newest one only has to be copied or mounted again.
 */
vj_status vj_run_folder_advise(vj_status status, const char *path, MPI_Comm comm)
{
    char older[VJ_PATH];
    if (status != VJ_ERR_FORMAT || !is_first(comm)) return status;
    vj_ckpt_before(path, older);
    if (older[0])
        vj_warn(
            "if there is no good copy of %s, move it away: the same command then goes on from the checkpoint before "
            "it, %s",
            path, older);
    else
        vj_warn("there is no checkpoint before %s: put a good copy in its place, or give another run.dir to begin anew",
                path);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the same run? */

/* Settings that may not change within a run, although the tensors would fit. */
typedef struct {
    const vj_config *now;
    char *old_value[VJ_MAX_SETTINGS]; /* [count] the settings of one configuration as YAML; owned */
    int count, at;
    char key[64], was[256], is[256]; /* the first setting that differs; key "": none */
} comparison;

static bool must_stay(const char *key, const vj_config *c)
{
    static const char *const sections[] = {"model.", "predictor.", "mask.", "objective."};
    static const char *const data[] = {"data.frames", "data.crop", "data.crop_scale", "data.crop_aspect", "data.flip",
                                       "data.mean",   "data.std",  "data.shuffle",    "data.weights"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strncmp(key, sections[i], strlen(sections[i])) == 0) return true;
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        if (strcmp(key, data[i]) == 0) return true;
    return c->data.shuffle == VJ_SHUFFLE_BLOCK && strcmp(key, "data.block_shards") == 0;
}

static void keep_value(void *user, const char *key, const char *value, const char *help)
{
    comparison *c = user;
    (void)help;
    c->old_value[c->count] = must_stay(key, c->now) ? strdup(value) : NULL;
    c->count++;
}

static void keep_any(void *user, const char *key, const char *value, const char *help)
{
    comparison *c = user;
    (void)key, (void)help;
    c->old_value[c->count++] = strdup(value);
}

static void compare_value(void *user, const char *key, const char *value, const char *help)
{
    comparison *c = user;
    const char *was = c->old_value[c->at++];
    (void)help;
    if (!was || c->key[0] || strcmp(was, value) == 0) return;
    snprintf(c->key, sizeof c->key, "%s", key);
    snprintf(c->was, sizeof c->was, "%s", was);
    snprintf(c->is, sizeof c->is, "%s", value);
}

/* For vj_config_each(): log a setting that may change within a run, and has. */
static void log_change(void *user, const char *key, const char *value, const char *help)
{
    comparison *c = user;
    (void)help;
    const char *was = c->old_value[c->at++];
    if (was && strcmp(was, value) != 0) vj_log("%s is now %s; up to here it was %s", key, value, was);
}

/* Log the settings of these sections, which change what is learned from here on, if they differ. */
static void log_changes(const vj_config *old, const vj_config *now)
{
    comparison c = {.now = now};
    vj_config_each(old, "optimizer", keep_any, &c);
    vj_config_each(old, "train", keep_any, &c);
    vj_config_each(now, "optimizer", log_change, &c);
    vj_config_each(now, "train", log_change, &c);
    for (int i = 0; i < c.count; i++) free(c.old_value[i]);
}

/* Both configurations have passed vj_config_check(), so derived settings are compared too. */
static void compare_settings(comparison *c, const vj_config *old, const vj_config *now)
{
    static const char *const sections[] = {"data", "model", "predictor", "mask", "objective"};
    *c = (comparison){.now = now};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) vj_config_each(old, sections[i], keep_value, c);
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) vj_config_each(now, sections[i], compare_value, c);
    for (int i = 0; i < c->count; i++) free(c->old_value[i]);
}

/* Refuse a checkpoint of another run; the message says what differs, and the value in both. */
static vj_status refuse_run(const char *path, const char *what, const char *was, const char *is)
{
    return vj_raise(VJ_ERR_FORMAT, "%s was trained with %s %s, this run has %s: give it the same, or another run.dir",
                    path, what, was, is);
}

/* Parse the configuration text of a checkpoint. free(*config), also after a failure. */
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
    comparison changed = {0};
    vj_status status = parse_settings(text, path, &old);
    if (status == VJ_OK) compare_settings(&changed, old, c);
    if (changed.key[0]) status = refuse_run(path, changed.key, changed.was, changed.is);
    if (status == VJ_OK && strcmp(old->train.products, c->train.products) != 0)
        vj_log("products by %s: %s was trained with %s, so what follows differs in its last bits from a run that was "
               "not interrupted",
               c->train.products, path, old->train.products);
    if (status == VJ_OK) log_changes(old, c);
    free(old);
    return status;
}

static vj_status refuse_number(const char *path, const char *what, int64_t was, int64_t is)
{
    char texts[2][32];
    snprintf(texts[0], sizeof texts[0], "%lld", (long long)was);
    snprintf(texts[1], sizeof texts[1], "%lld", (long long)is);
    return refuse_run(path, what, texts[0], texts[1]);
}

vj_status vj_run_folder_check(const vj_config *c, const vj_ckpt_state *s, const vj_ckpt_state *now, int64_t steps,
                              const char *path)
{
    const int64_t trained = s->samples - s->skipped_samples, batch = s->step > 0 ? trained / s->step : 0;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char own_name[NAME_BYTES];
    snprintf(own_name, sizeof own_name, "step_%08lld.h5", (long long)s->step);
    if (strcmp(name, own_name) != 0)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s is the checkpoint of step %lld, so it was renamed or copied here: call it %s, or move it "
                        "away",
                        path, (long long)s->step, own_name);
    if (s->seed != c->run.seed) return refuse_number(path, "run.seed", s->seed, c->run.seed);
    if (trained != s->step * c->train.batch) return refuse_number(path, "train.batch", batch, c->train.batch);
    if (s->skipped_samples % c->train.batch != 0)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s has skipped %lld samples, which is no whole number of batches of %lld: it is damaged", path,
                        (long long)s->skipped_samples, (long long)c->train.batch);
    if (s->store_fingerprint != now->store_fingerprint)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s was trained on other clips: their fingerprint is %016llx, that of data.train is %016llx "
                        "(vjepa-inspect prints it). Give it the same stores in the same order, or another run.dir",
                        path, (unsigned long long)s->store_fingerprint, (unsigned long long)now->store_fingerprint);
    if (s->step > steps)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s has %lld steps, this run ends after %lld (train.epochs, train.steps_per_epoch, "
                        "train.stop_after): let it end later, or choose another run.dir",
                        path, (long long)s->step, (long long)steps);
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
    VJ_TRY(vj_run_folder_advise(vj_ckpt_read_state(path, &state, comm), path, comm));
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
