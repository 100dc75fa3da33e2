/*
 * Folders as manifests: all regular files below one, and links to regular files, in the order of their bytes. Links to
 * folders are not followed, so a walk ends, and stays where it was sent; but the folder itself may be a link, and so
 * may the classes of an imagenet folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pack/listing.h"

typedef struct {
    vj_listing *listing;
    int classes;              /* the folders right below the root are classes */
    int class;                /* number of the one that is walked */
    int64_t links, others;    /* links to folders, and what is no file: not taken */
    char path[VJ_MEDIA_PATH]; /* below the root */
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

/* The names in an open folder but for . and .., sorted. */
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

static vj_status walk_folder(walk *w, int parent, const char *name, size_t length, int depth);

static vj_status take_file(walk *w)
{
    vj_listing *l = w->listing;
    int label;
    if (w->classes && w->class < 0) { /* beside the folders of the classes */
        w->others++;
        return VJ_OK;
    }
    vj_listing_begin(l);
    if (w->classes) {
        VJ_TRY(vj_listing_label(l, NULL, 0, l->label_name, &label));
        l->media.labels[label] = w->class;
    }
    return vj_listing_add(l, NULL, 0, w->path, NULL);
}

/* One name in a folder that is `depth` below the root; `length` bytes of w->path lead to the folder. */
static vj_status take_name(walk *w, int folder, const char *name, size_t length, int depth, int *next_class)
{
    struct stat st, at_end = {0};
    size_t bytes = strlen(name);
    if (length + bytes + 2 > sizeof w->path)
        return vj_raise(VJ_ERR_FORMAT, "a path in %s is longer than %d bytes: %.80s...", w->listing->folder,
                        VJ_MEDIA_PATH - 1, w->path);
    strcpy(w->path + length, name);
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return vj_raise(VJ_ERR_IO, "look at %s%s", w->listing->folder, w->path);
    int link = S_ISLNK(st.st_mode), class = w->classes && depth == 0;
    if (link && fstatat(folder, name, &at_end, 0) != 0) at_end.st_mode = 0; /* it leads nowhere */
    if (S_ISREG(st.st_mode) || (link && S_ISREG(at_end.st_mode))) return take_file(w);
    if (S_ISDIR(st.st_mode) || (class && link && S_ISDIR(at_end.st_mode))) {
        if (class) w->class = (*next_class)++;
        w->path[length + bytes] = '/';
        w->path[length + bytes + 1] = '\0';
        vj_status status = walk_folder(w, folder, name, length + bytes + 1, depth + 1);
        if (class) w->class = -1;
        return status;
    }
    w->links += link && S_ISDIR(at_end.st_mode);
    w->others += !(link && S_ISDIR(at_end.st_mode));
    return VJ_OK;
}

static vj_status walk_folder(walk *w, int parent, const char *name, size_t length, int depth)
{
    char **names = NULL;
    int64_t count = 0;
    int next_class = 0, fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        vj_status failed = vj_raise(VJ_ERR_IO, "open folder %s%s", w->listing->folder, w->path);
        if (fd >= 0) (void)close(fd); /* only read */
        return failed;
    }
    vj_status status = read_names(folder, w->path, &names, &count);
    for (int64_t i = 0; i < count && status == VJ_OK; i++)
        status = take_name(w, fd, names[i], length, depth, &next_class);
    free_names(names, count);
    (void)closedir(folder); /* only read */
    return status;
}

vj_status vj_listing_walk(vj_listing *l)
{
    walk *w = vj_calloc(1, sizeof *w);
    if (!w) return vj_raise(VJ_ERR_MEMORY, "no memory to walk %s", l->folder);
    w->listing = l;
    w->classes = l->settings->format == VJ_LIST_IMAGENET;
    w->class = -1;
    vj_status status = walk_folder(w, AT_FDCWD, l->folder, 0, 0);
    if (status == VJ_OK && w->links > 0)
        vj_warn("%s: %lld links to folders were not followed", l->folder, (long long)w->links);
    if (status == VJ_OK && w->others > 0)
        vj_warn("%s: %lld entries were passed over: no regular files%s", l->folder, (long long)w->others,
                w->classes ? ", or not in the folder of a class" : "");
    free(w);
    return status;
}
