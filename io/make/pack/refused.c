/* Handles verdicts whose cause may be temporary. */
#include "pack/refused.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/progress.h"

bool vj_refused_counts(int verdict)
{
    return verdict == VJ_VIDEO_MISSING || verdict == VJ_VIDEO_UNREADABLE || verdict == VJ_VIDEO_TIMED_OUT ||
           verdict == VJ_VIDEO_OUT_OF_MEMORY;
}

/* A crash of the decoder may have another cause than the file; if it crashes again, the file is the cause. */
bool vj_refused_decode_again(int verdict)
{
    return (vj_refused_counts(verdict) && verdict != VJ_VIDEO_MISSING) || verdict == VJ_VIDEO_CRASHED;
}

void vj_refused_add(vj_refused *r, int dataset, int verdict, const char *path, const char *reason)
{
    if (!vj_refused_counts(verdict)) return;
    const int at = dataset == VJ_SOURCE_HELD_OUT ? VJ_MAX_LIST : dataset;
    if (r->of[at].files++ > 0) return;
    snprintf(r->of[at].example, sizeof r->of[at].example, "%.300s (%s%s%.150s)", path, vj_ledger_verdict_name(verdict),
             *reason ? ": " : "", reason);
}

/* Return the root of the first entry of a dataset, for a message. */
static const char *root_of(const vj_config *config, const char *name)
{
    for (int i = 0; i < config->pack.dataset_count; i++)
        if (strcmp(config->pack.dataset[i].name, name) == 0 && config->pack.dataset[i].root[0])
            return config->pack.dataset[i].root;
    return "the list's folder";
}

vj_status vj_refused_check(const vj_refused *r, const vj_pack_plan *plan)
{
    const vj_catalogue_summary *s = plan->summary;
    const double share = plan->config->pack.max_refused;
    for (int i = 0; i <= VJ_MAX_LIST; i++) {
        if (r->of[i].files == 0) continue;
        const int held_out = i == VJ_MAX_LIST;
        const int64_t files = held_out ? s->held_out_videos : s->of_dataset[i].files;
        const double allowed = share > 0 && share * (double)files < 1 ? 1 : share * (double)files;
        if ((double)r->of[i].files <= allowed) continue;
        const char *name = held_out ? "held_out_videos" : s->names.dataset_names[i];
        char host[256] = "";
        (void)gethostname(host, sizeof host - 1); /* only for the message */
        errno = 0;
        return vj_raise(VJ_ERR_IO,
                        "%s: %lld of %lld files could not be had on %s, more than pack.max_refused=%g allows, as %s; "
                        "their root: %s. Nothing is known of the files themselves: see that they can be read there, "
                        "and start again; or, if they are gone for good, raise pack.max_refused",
                        name, (long long)r->of[i].files, (long long)files, host, share, r->of[i].example,
                        held_out ? "the list's folder" : root_of(plan->config, name));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ made again */

static vj_status can_be_opened(const vj_pack_plan *plan, const vj_catalogue *catalogue, int64_t source, int *can)
{
    vj_pack_source found;
    vj_video_verdict verdict;
    char reason[VJ_VIDEO_REASON];
    int64_t bytes;
    int fd;
    VJ_TRY(vj_catalogue_find(catalogue, source, &found));
    VJ_TRY(vj_regular_open(found.path, plan->config->pack.max_file_mb * 1000000, &fd, &bytes, &verdict, reason));
    if (fd >= 0) close(fd);
    *can = !vj_refused_counts((int)verdict);
    return VJ_OK;
}

static vj_status forget_shard(const vj_pack_plan *plan, const vj_catalogue *catalogue, int64_t shard, int64_t *removed)
{
    vj_shard_tables tables;
    int again = 0;
    vj_status status = vj_shard_tables_read(&tables, plan->config->pack.store, shard, plan->clips);
    for (int64_t i = 0; status == VJ_OK && i < tables.files && !again; i++)
        if (tables.file[i].verdict == VJ_VIDEO_MISSING || tables.file[i].verdict == VJ_VIDEO_UNREADABLE)
            status = can_be_opened(plan, catalogue, tables.file[i].source, &again);
    vj_shard_tables_release(&tables);
    if (status == VJ_OK && again) status = vj_shard_remove(plan->config->pack.store, shard);
    *removed += status == VJ_OK && again;
    return status;
}

vj_status vj_refused_forget(const vj_pack_plan *plan, int64_t *removed)
{
    vj_catalogue catalogue;
    *removed = 0;
    vj_status status = vj_catalogue_open(&catalogue, plan->config->pack.store, plan->layout->sources);
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t shard = 0; status == VJ_OK && shard < plan->layout->shards; shard++) {
        status = forget_shard(plan, &catalogue, shard, removed);
        vj_progress_line_log(&line, "looking for shards to make again",
                             (double)(shard + 1) / (double)plan->layout->shards, vj_now());
    }
    vj_catalogue_close(&catalogue);
    return status;
}

/* ------------------------------------------------------------------------------------------------ roots */

static vj_status check_folder(const char *path, const char *list)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) return VJ_OK;
        errno = ENOTDIR;
    }
    return vj_raise(VJ_ERR_IO, "the folder %s of %s is not to be seen from here: nothing was packed", path, list);
}

/* Check the folder that a list's paths refer to: `root`, or else the list's folder. A list may be a folder itself. */
static vj_status check_list(const char *list, const char *root)
{
    char folder[VJ_PATH];
    struct stat st;
    const char *slash = strrchr(list, '/');
    if (*root) return check_folder(root, *list ? list : "pack.datasets");
    if (stat(list, &st) == 0 && S_ISDIR(st.st_mode)) return VJ_OK;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - list) + 1 : 1, slash ? list : ".");
    return check_folder(folder, list);
}

vj_status vj_refused_check_roots(const vj_config *config)
{
    for (int i = 0; i < config->pack.dataset_count; i++)
        VJ_TRY(check_list(config->pack.dataset[i].list, config->pack.dataset[i].root));
    for (int i = 0; i < config->pack.lists.count; i++) VJ_TRY(check_list(config->pack.lists.item[i], ""));
    for (int i = 0; i < config->pack.held_out_videos.count; i++)
        VJ_TRY(check_list(config->pack.held_out_videos.item[i], ""));
    return VJ_OK;
}
