/* Finds the kind of each path, and adds the sections of all kinds. */
#include "report/inputs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "h5/h5.h"
#include "report/inside.h"
#include "report/pages.h"
#include "report/runs.h"

/* The kinds, in the order of their sections; a path belongs to the first that accepts it. Ends with NULL. */
static const vj_input_kind *const kinds_of_inputs[] = {
    &vj_runs, &vj_page_clips, &vj_page_campaigns, &vj_page_analyses, &vj_page_benches, &vj_page_scaling, NULL};

static int kind_of(const char *path)
{
    int kind = 0;
    while (kinds_of_inputs[kind] && !kinds_of_inputs[kind]->is(path)) kind++;
    return kind;
}

/* Return whether a file begins like HDF5 but cannot be opened. */
static bool is_damaged(const char *path)
{
    hid_t file = -1;
    if (!vj_page_begins(path, "\x89HDF\r\n")) return false;
    H5E_BEGIN_TRY
    {
        file = vj_h5_open_file(path); /* without locks, which a file system may lack */
    }
    H5E_END_TRY
    if (file >= 0) H5Fclose(file); /* only read */
    return file < 0;
}

/* Note why a file or folder is not shown. errno must be that of the failed access. */
static void note_refused(vj_document *document, const char *path)
{
    if (errno == ENOENT || errno == ENOTDIR)
        vj_document_note(document, "%s is not there.", path);
    else
        vj_document_note(document, "%s cannot be read: %s.", path, strerror(errno));
}

/* Add one section with all paths of no kind, so that a mistyped path is noticed. */
static void note_unknown(vj_document *document, const char *const *paths, const int *kinds, int count)
{
    bool section = false;
    for (int i = 0; i < count; i++) {
        if (kinds_of_inputs[kinds[i]]) continue;
        if (!section) vj_document_section(document, "Not shown");
        section = true;
        struct stat info;
        if (stat(paths[i], &info) != 0 || access(paths[i], S_ISDIR(info.st_mode) ? R_OK | X_OK : R_OK) != 0)
            note_refused(document, paths[i]);
        else if (S_ISREG(info.st_mode) && info.st_size == 0)
            vj_document_note(document, "%s is empty.", paths[i]);
        else if (is_damaged(paths[i]))
            vj_document_note(document, "%s cannot be read: it is an HDF5 file, but damaged, or a part is missing.",
                             paths[i]);
        else
            vj_document_note(document, "%s is nothing that this report knows; --help lists what it knows.", paths[i]);
    }
}

int vj_inputs_add(vj_document *document, const vj_inputs *all)
{
    const char *const *paths = all->paths;
    const int count = all->count;
    int shown = 0;
    int *kinds = vj_report_memory(count, sizeof *kinds);
    const char **of_kind = vj_report_memory(count, sizeof *of_kind);
    for (int i = 0; i < count; i++) kinds[i] = kind_of(paths[i]);
    for (int k = 0; kinds_of_inputs[k]; k++) {
        int n = 0;
        for (int i = 0; i < count; i++)
            if (kinds[i] == k) of_kind[n++] = paths[i];
        if (n > 0) shown += kinds_of_inputs[k]->add(document, of_kind, n, all);
    }
    note_unknown(document, paths, kinds, count);
    free(kinds);
    free(of_kind);
    return shown;
}
