/* Writes, reads and compares pack.yaml. */
#include "pack/recipe.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/output.h"
#include "clips/clips.h"

static const char section_name[] = "pack:\n";
/* The default of a setting that was added later. It is left out of the recipe, so that older stores still match. */
static const char later[] = "  overlap: false\n";

/* Clear settings that do not change what is packed: places of lists and store, and use of the machine. */
static void forget_circumstances(vj_config *config)
{
    config->pack.lists.count = config->pack.held_out_ids.count = config->pack.held_out_videos.count = 0;
    config->pack.dataset_count = 0;
    config->pack.store[0] = '\0';
    config->pack.workers = config->pack.buffer_mb = 0;
    config->pack.max_refused = 0;
}

static void put_digests(FILE *out, const vj_catalogue_summary *s)
{
    fputs(VJ_CLIPS_RECIPE_LINE, out);
    for (int i = 0; i < s->names.dataset_count; i++)
        fprintf(out, "  %s: [%" PRId64 ", %016" PRIx64 "]\n", s->names.dataset_names[i], s->of_dataset[i].files,
                s->of_dataset[i].digest);
    fprintf(out, "held_out_ids: [%" PRId64 ", %016" PRIx64 "]\n", s->held_out_ids, s->held_out_ids_digest);
    fprintf(out, "held_out_videos: [%" PRId64 ", %016" PRIx64 "]\n", s->held_out_videos, s->held_out_videos_digest);
    for (int l = 0; l < s->names.label_count; l++)
        if (s->classes[l].count > 0)
            fprintf(out, "classes of %s: [%" PRId64 ", %016" PRIx64 "]\n", s->names.label_names[l], s->classes[l].count,
                    s->classes[l].digest);
    fprintf(out, "all: %016" PRIx64 "\n", s->digest);
}

char *vj_recipe_text(const vj_config *config, const vj_catalogue_summary *summary)
{
    char *text = NULL;
    size_t bytes = 0;
    vj_config *only = malloc(sizeof *only);
    if (!only) return NULL;
    vj_config_defaults(only);
    only->pack = config->pack;
    forget_circumstances(only);
    char *all = vj_config_text(only), *section = all ? strstr(all, section_name) : NULL;
    free(only);
    FILE *out = section ? open_memstream(&text, &bytes) : NULL;
    if (out) {
        const char *end = section + strlen(section_name);
        while (*end == ' ') end += strcspn(end, "\n") + 1;
        char *left_out = strstr(section, later);
        if (left_out && left_out < end) {
            fwrite(section, 1, (size_t)(left_out - section), out);
            section = left_out + strlen(later);
        }
        fwrite(section, 1, (size_t)(end - section), out);
        put_digests(out, summary);
        if (fclose(out) != 0) {
            free(text);
            text = NULL;
        }
    }
    free(all);
    return text;
}

/* ------------------------------------------------------------------------------------------------ compared */

/* Describe the first line in which two texts differ, for a message. */
static void first_difference(const char *found, const char *wanted, char *text, size_t bytes)
{
    while (*found && *wanted) {
        size_t a = strcspn(found, "\n"), b = strcspn(wanted, "\n");
        if (a != b || memcmp(found, wanted, a) != 0) break;
        found += a + (found[a] == '\n');
        wanted += b + (wanted[b] == '\n');
    }
    found += strspn(found, " ");
    wanted += strspn(wanted, " ");
    snprintf(text, bytes, "\"%.*s\", now \"%.*s\"", (int)strcspn(found, "\n"), found, (int)strcspn(wanted, "\n"),
             wanted);
}

int vj_recipe_store_exists(const char *store)
{
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/index.h5", store);
    return access(path, F_OK) == 0;
}

/* Count the files of the folder whose names are `prefix`, a number and `suffix`. */
static vj_status find_numbered(const char *store, const char *prefix, const char *suffix, int64_t *count)
{
    DIR *folder = opendir(store);
    *count = 0;
    if (!folder) return vj_raise(VJ_ERR_IO, "open folder %s", store);
    for (const struct dirent *file; (file = readdir(folder)) != NULL;) {
        const char *name = file->d_name;
        size_t length = strlen(prefix);
        if (strncmp(name, prefix, length) != 0) continue;
        size_t digits = strspn(name + length, "0123456789");
        if (digits == 0 || strcmp(name + length + digits, suffix) != 0) continue;
        ++*count;
    }
    (void)closedir(folder); /* only read */
    return VJ_OK;
}

/* Remove unfinished files of killed jobs. The lease ensures that no other job is writing. */
static vj_status remove_parts(const char *store)
{
    DIR *folder = opendir(store);
    vj_status status = VJ_OK;
    if (!folder) return vj_raise(VJ_ERR_IO, "open folder %s", store);
    for (const struct dirent *file; status == VJ_OK && (file = readdir(folder)) != NULL;) {
        const char *name = file->d_name;
        const size_t length = strlen(name);
        const bool ours = strncmp(name, "shard-", 6) == 0 || strncmp(name, "index.h5.", 9) == 0 ||
                          strncmp(name, "ledger.csv.", 11) == 0 || strncmp(name, "pack.yaml.", 10) == 0 ||
                          strncmp(name, "catalogue.", 10) == 0;
        if (!ours || length < 5 || strcmp(name + length - 5, ".part") != 0) continue;
        if (unlinkat(dirfd(folder), name, 0) != 0) status = vj_raise(VJ_ERR_IO, "remove %s/%s", store, name);
    }
    (void)closedir(folder); /* only read */
    return status;
}

static vj_status read_recipe(const char *store, char **text)
{
    enum { MAX_BYTES = 65536 };
    char path[VJ_PATH + 32];
    *text = NULL;
    snprintf(path, sizeof path, "%s/pack.yaml", store);
    FILE *f = fopen(path, "r");
    if (!f) return VJ_OK;
    *text = vj_calloc(1, MAX_BYTES);
    if (*text) (*text)[fread(*text, 1, MAX_BYTES - 1, f)] = '\0'; /* a failed read gives a text that differs */
    fclose(f);                                                    /* only read */
    return *text ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
}

vj_status vj_recipe_check(const char *store, const char *recipe, int *done)
{
    char difference[512] = "no pack.yaml that says how it was made", *found;
    int finished = vj_recipe_store_exists(store);
    int64_t shards = 0;
    *done = 0;
    if (access(store, F_OK) != 0) return VJ_OK;
    if (!finished) VJ_TRY(find_numbered(store, "shard-", ".h5", &shards));
    if (!finished && shards == 0) return VJ_OK;
    VJ_TRY(read_recipe(store, &found));
    int same = found && strcmp(found, recipe) == 0;
    if (found) first_difference(found, recipe, difference, sizeof difference);
    free(found);
    *done = same && finished;
    if (same) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s holds %s, made otherwise: it has %s. Remove it or choose another pack.store",
                    store, finished ? "a clip store already" : "shards of a pack that was not finished", difference);
}

static int begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

vj_status vj_recipe_check_place(const char *store)
{
    char foreign[256] = "";
    int is_store = vj_clips_is_store(store), is_run = 0, has_recipe = 0;
    const int is_ours = is_store;
    VJ_TRY(vj_output_check_folder("pack.store", store));
    DIR *folder = opendir(store);
    if (!folder) return VJ_OK; /* does not exist */
    for (struct dirent *item; (item = readdir(folder)) != NULL;) {
        const char *name = item->d_name;
        if (!strcmp(name, "pack.yaml"))
            has_recipe = 1;
        else if (begins(name, "pack.yaml.") || begins(name, "catalogue.") || begins(name, "shard-") ||
                 !strcmp(name, "index.h5"))
            is_store = 1;
        else if (begins(name, "step_") || begins(name, "metrics."))
            is_run = 1;
        else if (*name != '.' && !begins(name, "lease"))
            snprintf(foreign, sizeof foreign, "%s", name);
    }
    closedir(folder); /* only read */
    if (has_recipe && !is_ours)
        return vj_raise(
            VJ_ERR_USAGE,
            "pack.store %s: its file pack.yaml was not written by vjepa-pack, which would replace it: a clip "
            "store is a folder of its own",
            store);
    if (is_run)
        return vj_raise(VJ_ERR_USAGE, "pack.store %s is a run folder: a clip store is a folder of its own", store);
    if (*foreign && !is_store)
        return vj_raise(VJ_ERR_USAGE, "pack.store %s holds other files (%s): a clip store is a folder of its own",
                        store, foreign);
    return VJ_OK;
}

vj_status vj_recipe_begin(const char *store, const char *recipe)
{
    char path[VJ_PATH + 32];
    VJ_TRY(remove_parts(store));
    snprintf(path, sizeof path, "%s/pack.yaml", store);
    return vj_file_put_text(path, recipe);
}
