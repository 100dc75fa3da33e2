/*
 * Reads folders as manifests: all regular files below a folder, and links to regular files, in byte order of their
 * names. Links to folders are not followed, so a walk ends and does not leave the folder; but the folder itself may be
 * a link, and so may the class folders of an imagenet folder.
 *
 * The following are skipped with a warning: hidden files and folders, files and folders that operating and storage
 * systems create, clip stores and run folders, finished or not, and single files as our programs and job systems write
 * them. So the same command finds the same files again after it has written its own output next to them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/markup.h"
#include "base/progress.h"
#include "pack/escape.h"
#include "pack/listing.h"

typedef struct {
    vj_listing *listing;
    int classes;             /* the folders directly below the root are classes */
    int64_t links, others;   /* not taken: number of links to folders, and of other things that are no files */
    int64_t skipped, shown;  /* number of files and folders skipped as no media, and of those named in skipped_names */
    char skipped_names[512]; /* names of the first of them, with the reasons */
    dev_t scratch_device;    /* identify the scratch folder, which is not walked */
    ino_t scratch_inode;
    char path[VJ_MEDIA_PATH]; /* current path below the root */
    vj_progress_line line;
} walk;

/* ------------------------------------------------------------------------------------------------ one folder */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void free_names(char **names, int64_t count)
{
    for (int64_t i = 0; i < count; i++) free(names[i]);
    free(names);
}

/* Read the names in an open folder, sorted, without . and .. */
static vj_status read_names(DIR *folder, const char *shown, char ***names, int64_t *count)
{
    int64_t room = 0;
    vj_status status = VJ_OK;
    *names = NULL;
    *count = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry && errno != 0) status = vj_raise(VJ_ERR_IO, "read folder %s", shown);
        if (!entry) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (*count == room) {
            room = room ? 2 * room : 64;
            char **grown = realloc(*names, (size_t)room * sizeof **names);
            if (grown) *names = grown;
            if (!grown) status = VJ_ERR_MEMORY;
        }
        if (status == VJ_OK && !((*names)[*count] = strdup(entry->d_name))) status = VJ_ERR_MEMORY;
        if (status == VJ_ERR_MEMORY)
            vj_raise(VJ_ERR_MEMORY, "no memory for the %lld names in %s", (long long)*count, shown);
        if (status != VJ_OK) break;
        ++*count;
    }
    if (status == VJ_OK && *count > 0) qsort(*names, (size_t)*count, sizeof **names, by_bytes);
    return status;
}

/* ------------------------------------------------------------------------------------------------ no media */

/* Count the file or folder at w->path as skipped. */
static void skip(walk *w, const char *why)
{
    const size_t used = strlen(w->skipped_names), room = sizeof w->skipped_names - used;
    w->skipped++;
    int length = snprintf(w->skipped_names + used, room, "%s%s (%s)", used ? ", " : "", w->path, why);
    if (length >= (int)room)
        w->skipped_names[used] = '\0'; /* does not fit: counted, but not named */
    else
        w->shown++;
}

/* Return the length of a name without the suffix that vj_file_begin() gives to unfinished files. */
static size_t finished_length(const char *name)
{
    const size_t length = strlen(name), added = strlen(".12345678.part");
    const char *number = length > added ? name + length - added + 1 : NULL;
    return number && strcmp(number + 8, ".part") == 0 && number[-1] == '.' && strspn(number, "0123456789abcdef") == 8
               ? length - added
               : length;
}

static int ends_in(const char *name, const char *const *ends)
{
    const size_t length = finished_length(name);
    for (; *ends; ends++)
        if (length > strlen(*ends) && strncasecmp(name + length - strlen(*ends), *ends, strlen(*ends)) == 0) return 1;
    return 0;
}

/* Return why a file or folder of this name is no media; NULL: it may be media. */
static const char *no_media_by_name(const char *name, int is_folder)
{
    static const char *const system[] = {
        "__MACOSX",    "@eaDir",   "lost+found", "$RECYCLE.BIN",       "RECYCLER",  "System Volume Information",
        "#recycle",    "@Recycle", "#snapshot",  "@Recently-Snapshot", "Thumbs.db", "ehthumbs.db",
        "desktop.ini", NULL};
    static const char *const written[] = {".h5", ".yaml", ".csv", ".log", ".out", ".err", NULL};
    if (*name == '.') return "hidden";
    for (int i = 0; system[i]; i++)
        if (strcasecmp(name, system[i]) == 0) return "of the system";
    return !is_folder && ends_in(name, written) ? "no media" : NULL;
}

static int is_numbered(const char *name, const char *prefix)
{
    const size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 && strspn(name + length, "0123456789") > 0 &&
           strncmp(name + length + strspn(name + length, "0123456789"), ".h5", 3) == 0;
}

/* Return why a folder with these files in it is not a folder of media; NULL: it may be one. */
static const char *no_media_by_content(char *const *names, int64_t count)
{
    int config = 0, metrics = 0;
    for (int64_t i = 0; i < count; i++) {
        if (strncmp(names[i], "catalogue.data", 14) == 0 || is_numbered(names[i], "shard-")) return "a clip store";
        if (is_numbered(names[i], "step_")) return "a run folder";
        config |= strcmp(names[i], "config.yaml") == 0;
        metrics |= strcmp(names[i], "metrics.csv") == 0 || strcmp(names[i], "complete") == 0 ||
                   strcmp(names[i], "results.csv") == 0;
    }
    return config && metrics ? "a run folder" : NULL;
}

static int is_scratch(const walk *w, int fd)
{
    struct stat st;
    return w->scratch_inode != 0 && fstat(fd, &st) == 0 && st.st_ino == w->scratch_inode &&
           st.st_dev == w->scratch_device;
}

/* ------------------------------------------------------------------------------------------------ walking */

static vj_status walk_folder(walk *w, int parent, const char *name, size_t length, int depth, int *passed_over);

/* Set the class of an entry. A name that is not UTF-8, or has control characters, is escaped. */
static vj_status set_class(vj_listing *l, int label, const char *class)
{
    if (vj_utf8_is_name(class)) return vj_listing_set_class(l, NULL, 0, label, class);
    char *escaped = vj_escape(class);
    if (!escaped) return vj_raise(VJ_ERR_MEMORY, "no memory for the name of a class");
    vj_status status = vj_listing_set_class(l, NULL, 0, label, escaped);
    free(escaped);
    return status;
}

static vj_status take_file(walk *w)
{
    vj_listing *l = w->listing;
    char class[VJ_MEDIA_PATH];
    int label;
    if (w->classes && !strchr(w->path, '/')) { /* a file next to the class folders */
        w->others++;
        return VJ_OK;
    }
    vj_listing_begin(l);
    if (w->classes) {
        snprintf(class, sizeof class, "%.*s", (int)strcspn(w->path, "/"), w->path);
        VJ_TRY(vj_listing_label(l, NULL, 0, l->label_name, &label));
        VJ_TRY(vj_listing_fix_classes(l, label));
        VJ_TRY(set_class(l, label, class));
    }
    return vj_listing_add(l, NULL, 0, w->path, NULL);
}

/* Handle one name in a folder that is `depth` levels below the root. The first `length` bytes of w->path are the
 * folder, with a slash. */
static vj_status take_name(walk *w, int folder, const char *name, size_t length, int depth)
{
    struct stat st, at_end = {0};
    size_t bytes = strlen(name);
    if (vj_progress_line_is_due(&w->line, vj_now()))
        vj_log("looking for media in %s: %lld files so far", w->listing->folder, (long long)w->listing->count);
    if (length + bytes + 2 > sizeof w->path)
        return vj_raise(VJ_ERR_FORMAT, "a path in %s is longer than %d bytes: %.80s...", w->listing->folder,
                        VJ_MEDIA_PATH - 1, w->path);
    strcpy(w->path + length, name);
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return vj_raise(VJ_ERR_IO, "look at %s%s", w->listing->folder, w->path);
    const int link = S_ISLNK(st.st_mode), class = w->classes && depth == 0;
    if (link && fstatat(folder, name, &at_end, 0) != 0) at_end.st_mode = 0; /* its target does not exist */
    const int walked = S_ISDIR(st.st_mode) || (class && link && S_ISDIR(at_end.st_mode));
    const char *why = no_media_by_name(name, walked);
    if (why) {
        skip(w, why);
        return VJ_OK;
    }
    if (S_ISREG(st.st_mode) || (link && S_ISREG(at_end.st_mode))) return take_file(w);
    if (walked) {
        const int64_t files = w->listing->count;
        int passed_over = 0;
        VJ_TRY(walk_folder(w, folder, name, length + bytes, depth + 1, &passed_over));
        w->path[length + bytes] = '\0';
        if (class && !passed_over && w->listing->count == files) skip(w, "no media file in it");
        return VJ_OK;
    }
    w->links += link && S_ISDIR(at_end.st_mode);
    w->others += !(link && S_ISDIR(at_end.st_mode));
    return VJ_OK;
}

/* Walk the folder w->path [length]; empty for the root. *passed_over: whether it was skipped as no folder of media. */
static vj_status walk_folder(walk *w, int parent, const char *name, size_t length, int depth, int *passed_over)
{
    char **names = NULL;
    int64_t count = 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        vj_status failed = vj_raise(VJ_ERR_IO, "open folder %s%s", w->listing->folder, w->path);
        if (fd >= 0) (void)close(fd); /* only read */
        return failed;
    }
    vj_status status = read_names(folder, w->path, &names, &count);
    const char *why = status != VJ_OK || depth == 0 ? NULL
                      : is_scratch(w, fd)           ? "the store that is written"
                                                    : no_media_by_content(names, count);
    *passed_over = why != NULL;
    if (why) {
        skip(w, why);
    } else if (depth > 0) {
        w->path[length++] = '/'; /* take_name() left room for it */
        w->path[length] = '\0';
    }
    for (int64_t i = 0; i < count && status == VJ_OK && !why; i++) status = take_name(w, fd, names[i], length, depth);
    free_names(names, count);
    (void)closedir(folder); /* only read */
    return status;
}

vj_status vj_listing_walk(vj_listing *l)
{
    walk *w = vj_calloc(1, sizeof *w);
    if (!w) return vj_raise(VJ_ERR_MEMORY, "no memory to walk %s", l->folder);
    w->listing = l;
    w->line = vj_progress_line_begin();
    w->classes = l->settings->format == VJ_LIST_IMAGENET;
    struct stat scratch;
    int passed_over;
    if (stat(l->scratch, &scratch) == 0) {
        w->scratch_device = scratch.st_dev;
        w->scratch_inode = scratch.st_ino;
    }
    vj_status status = walk_folder(w, AT_FDCWD, l->folder, 0, 0, &passed_over);
    if (status == VJ_OK && w->links > 0)
        vj_warn("%s: %lld links to folders were not followed", l->folder, (long long)w->links);
    if (status == VJ_OK && w->skipped > 0)
        vj_warn("%s: %lld files and folders were passed over, they are no media%s: %s%s", l->folder,
                (long long)w->skipped, w->classes ? " and no classes" : "", w->skipped_names,
                w->shown < w->skipped ? ", ..." : "");
    if (status == VJ_OK && w->others > 0)
        vj_warn("%s: %lld entries were passed over: no regular files%s", l->folder, (long long)w->others,
                w->classes ? ", or not in the folder of a class" : "");
    free(w);
    return status;
}
