/* Reading and parsing media lists. */
#include "pack/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "parallel/parallel.h"

/* ------------------------------------------------------------------------------------------------ CSV */

enum { FIELDS = VJ_MAX_LABELS + 1 };

typedef struct {
    const char *name;
    char *at, *end;
    int64_t line, next_line; /* of the record read last, and of the next one */
    char *field[FIELDS];
    int fields;
} csv;

static vj_status complain(const csv *c, const char *what)
{
    return vj_raise(VJ_ERR_FORMAT, "%s:%lld: %s", c->name, (long long)c->line, what);
}

/* Take one field, unquoted in place. *more: a comma followed, so there is another. */
static vj_status read_field(csv *c, char **field, int *more)
{
    char *to = *field = c->at;
    int quoted = c->at < c->end && *c->at == '"';
    if (quoted) {
        c->at++;
        for (;;) {
            if (c->at == c->end) return complain(c, "a quoted field has no closing quote");
            if (*c->at == '"' && !(c->at + 1 < c->end && c->at[1] == '"')) break;
            if (*c->at == '"') c->at++;
            if (*c->at == '\n') c->next_line++;
            *to++ = *c->at++;
        }
        c->at++;
    } else {
        while (c->at < c->end && *c->at != ',' && *c->at != '\n' && *c->at != '\r') *to++ = *c->at++;
    }
    /* The terminator may land on the delimiter, so that is looked at first. */
    *more = c->at < c->end && *c->at == ',';
    if (!*more && c->at < c->end && *c->at == '\r') c->at++;
    if (!*more && c->at < c->end && *c->at != '\n')
        return complain(c, quoted ? "text follows a closing quote" : "a carriage return inside a line");
    if (c->at < c->end) c->at++;
    *to = '\0';
    return VJ_OK;
}

/* The next record that is not an empty line; fields 0 at the end. */
static vj_status read_record(csv *c)
{
    c->fields = 0;
    while (c->at < c->end && (*c->at == '\n' || *c->at == '\r')) c->next_line += *c->at++ == '\n';
    if (c->at == c->end) return VJ_OK;
    c->line = c->next_line++;
    int more = 1;
    while (more) {
        if (c->fields == FIELDS) return complain(c, "more than 9 fields");
        VJ_TRY(read_field(c, &c->field[c->fields++], &more));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ rows */

static vj_status label_from(const csv *c, const char *text, int32_t *label)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < -1 || value > INT32_MAX)
        return vj_raise(VJ_ERR_FORMAT, "%s:%lld: label \"%.60s\" is not a whole number (0, 1, ...; -1 for none)",
                        c->name, (long long)c->line, text);
    *label = (int32_t)value;
    return VJ_OK;
}

static vj_status grow(vj_media_list *l)
{
    if (l->count < l->room) return VJ_OK;
    int64_t room = l->room ? 2 * l->room : 1024;
    char **path = realloc(l->path, (size_t)room * sizeof *path);
    if (path) l->path = path;
    int32_t *labels = realloc(l->labels, (size_t)room * (VJ_MAX_LABELS * sizeof *labels));
    if (labels) l->labels = labels;
    if (!path || !labels) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of %lld files", (long long)room);
    l->room = room;
    return VJ_OK;
}

static vj_status add(vj_media_list *l, const csv *c, const char *path, char *const *labels)
{
    if (*path == '\0') return complain(c, "the path is empty");
    VJ_TRY(grow(l));
    for (int k = 0; k < l->label_count; k++)
        VJ_TRY(label_from(c, labels[k], &l->labels[l->count * l->label_count + k]));
    const char *slash = strrchr(c->name, '/');
    int folder = *path == '/' || !slash ? 0 : (int)(slash + 1 - c->name);
    if (asprintf(&l->path[l->count], "%.*s%s", folder, c->name, path) < 0)
        return vj_raise(VJ_ERR_MEMORY, "no memory for a list of %lld files", (long long)l->count);
    l->count++;
    return VJ_OK;
}

/* The first list decides the names of the labels. */
static vj_status set_labels(vj_media_list *l, const csv *c, char *const *names, int count)
{
    int first = l->count == 0, same = count == l->label_count;
    for (int k = 0; k < count; k++) {
        if (*names[k] == '\0' || strlen(names[k]) >= VJ_LABEL_NAME)
            return complain(c, "a label's name is empty or longer than 63 bytes");
        if (first) strcpy(l->label_names[k], names[k]);
        same = same && strcmp(l->label_names[k], names[k]) == 0;
    }
    if (first) l->label_count = count;
    return first || same ? VJ_OK : complain(c, "its labels differ from those of the lists before it");
}

static vj_status parse_csv(vj_media_list *l, csv *c)
{
    VJ_TRY(read_record(c));
    VJ_TRY(set_labels(l, c, c->field + 1, c->fields - 1));
    for (;;) {
        VJ_TRY(read_record(c));
        if (c->fields == 0) return VJ_OK;
        if (c->fields != l->label_count + 1)
            return vj_raise(VJ_ERR_FORMAT, "%s:%lld: %d fields, the header has %d", c->name, (long long)c->line,
                            c->fields, l->label_count + 1);
        VJ_TRY(add(l, c, c->field[0], c->field + 1));
    }
}

static vj_status parse_published(vj_media_list *l, csv *c)
{
    char label_name[] = "label";
    VJ_TRY(set_labels(l, c, (char *[]){label_name}, 1));
    for (; c->at < c->end; c->line++) {
        char *line = c->at, *stop = memchr(line, '\n', (size_t)(c->end - line));
        if (!stop) stop = c->end;
        c->at = stop < c->end ? stop + 1 : stop;
        while (stop > line && (stop[-1] == '\r' || stop[-1] == ' ')) stop--;
        *stop = '\0';
        if (stop == line) continue;
        char *blank = strrchr(line, ' ');
        if (!blank) return complain(c, "expected \"path label\", or a first line path,LABEL,... (CSV)");
        *blank = '\0';
        VJ_TRY(add(l, c, line, (char *[]){blank + 1}));
    }
    return VJ_OK;
}

static int is_csv(const csv *c)
{
    size_t left = (size_t)(c->end - c->at);
    if (left >= 6 && memcmp(c->at, "\"path\"", 6) == 0) return 1;
    return left >= 5 && memcmp(c->at, "path", 4) == 0 && memchr(",\r\n", c->at[4], 3) != NULL;
}

/* text[bytes] may be written to: the last field's end mark goes there. */
vj_status vj_media_list_parse(vj_media_list *list, const char *name, char *text, int64_t bytes)
{
    csv c = {.name = name, .at = text, .end = text + bytes, .line = 1, .next_line = 1};
    if (memchr(text, '\0', (size_t)bytes)) return vj_raise(VJ_ERR_FORMAT, "%s is not a text file", name);
    if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) c.at += 3; /* some spreadsheets begin so */
    int64_t before = list->count;
    VJ_TRY(is_csv(&c) ? parse_csv(list, &c) : parse_published(list, &c));
    if (list->count == before) return vj_raise(VJ_ERR_FORMAT, "%s names no media file", name);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ files */

static vj_status read_text(const char *path, char **text, int64_t *bytes)
{
    struct stat st;
    if (stat(path, &st) != 0) return vj_raise(VJ_ERR_IO, "open the media list %s", path);
    if (!S_ISREG(st.st_mode)) { /* opening a FIFO would wait for its writer */
        errno = 0;
        return vj_raise(VJ_ERR_IO, "the media list %s is not a file", path);
    }
    FILE *f = fopen(path, "rb");
    if (!f) return vj_raise(VJ_ERR_IO, "open the media list %s", path);
    *bytes = st.st_size;
    *text = malloc((size_t)st.st_size + 1);
    vj_status status = *text ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the media list %s", path);
    if (status == VJ_OK && fread(*text, 1, (size_t)*bytes, f) != (size_t)*bytes)
        status = vj_raise(VJ_ERR_IO, "read the media list %s", path);
    fclose(f); /* only read */
    return status;
}

/* Rank 0's text to all, in pieces that an int counts. */
static vj_status share_text(char **text, int64_t *bytes, MPI_Comm comm)
{
    const int64_t piece = 1 << 30;
    MPI_Bcast(bytes, 1, MPI_INT64_T, 0, comm);
    if (!*text) *text = malloc((size_t)*bytes + 1);
    vj_status status = *text ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a media list");
    VJ_TRY(vj_agree(comm, status));
    for (int64_t at = 0; at < *bytes; at += piece)
        MPI_Bcast(*text + at, (int)(*bytes - at < piece ? *bytes - at : piece), MPI_BYTE, 0, comm);
    return VJ_OK;
}

/* Rank 0 parses first, so that a mistake in the list is reported once. */
static vj_status read_one(vj_media_list *l, const char *path, int rank, MPI_Comm comm)
{
    char *text = NULL;
    int64_t bytes = 0;
    vj_status status = vj_agree(comm, rank == 0 ? read_text(path, &text, &bytes) : VJ_OK);
    if (status == VJ_OK) status = share_text(&text, &bytes, comm);
    if (status == VJ_OK) {
        l->digest = XXH3_64bits_withSeed(text, (size_t)bytes, l->digest);
        status = vj_agree(comm, rank == 0 ? vj_media_list_parse(l, path, text, bytes) : VJ_OK);
    }
    if (status == VJ_OK && rank != 0) status = vj_media_list_parse(l, path, text, bytes);
    free(text);
    return status;
}

vj_status vj_media_list_read(vj_media_list *list, const vj_strings *paths, MPI_Comm comm)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    *list = (vj_media_list){0};
    if (paths->count == 0) {
        if (rank == 0) vj_raise(VJ_ERR_USAGE, "pack.lists names no media list");
        return VJ_ERR_USAGE;
    }
    for (int i = 0; i < paths->count; i++) VJ_TRY(read_one(list, paths->item[i], rank, comm));
    return VJ_OK;
}

void vj_media_list_release(vj_media_list *list)
{
    for (int64_t i = 0; i < list->count; i++) free(list->path[i]);
    free(list->path);
    free(list->labels);
    *list = (vj_media_list){0};
}
