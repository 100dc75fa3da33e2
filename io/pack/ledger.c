/* Rows of the ledger, escaping, and the file. */
#include "pack/ledger.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/file.h"
#include "parallel/parallel.h"

const char *vj_ledger_verdict_name(int verdict)
{
    if (verdict == VJ_LEDGER_DAMAGED) return "damaged";
    if (verdict == VJ_LEDGER_SHORT) return "short";
    return vj_video_verdict_name((vj_video_verdict)verdict);
}

/* ------------------------------------------------------------------------------------------------ text */

/* Bytes of the UTF-8 character at `s` that may stand as it is, 0: escape one byte. */
static int plain_character(const unsigned char *s)
{
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f && s[0] != '\\';
    int length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (int i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xc2 && s[1] < 0xa0) return 0;                                      /* C1 controls */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90)) return 0;   /* longer than needed */
    if ((s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90)) return 0; /* surrogates, beyond Unicode */
    return length;
}

char *vj_ledger_escape(const char *text)
{
    char *escaped = malloc(4 * strlen(text) + 1), *to = escaped;
    if (!escaped) return NULL;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int length = plain_character(s);
        if (length > 0) {
            memcpy(to, s, (size_t)length);
            to += length;
            s += length;
        } else {
            to += *s == '\\' ? sprintf(to, "\\\\") : sprintf(to, "\\x%02x", *s);
            s++;
        }
    }
    *to = '\0';
    return escaped;
}

/* A CSV field of escaped text, quoted (RFC 4180); free() it. */
static char *csv_field(const char *text)
{
    char *escaped = vj_ledger_escape(text);
    char *field = escaped ? malloc(2 * strlen(escaped) + 3) : NULL, *to = field;
    if (field) {
        *to++ = '"';
        for (const char *s = escaped; *s; s++) {
            if (*s == '"') *to++ = '"';
            *to++ = *s;
        }
        strcpy(to, "\"");
    }
    free(escaped);
    return field;
}

/* ------------------------------------------------------------------------------------------------ rows */

static const char header[] =
    "source,path,verdict,reason,codec,container,width,height,fps,frames,corrupt,missing,clips,bytes,seconds\n";

vj_status vj_ledger_add(vj_ledger *l, const vj_ledger_row *row)
{
    const vj_video_info *info = &row->info;
    char *path = csv_field(row->path), *reason = csv_field(row->reason), *line = NULL;
    int length = -1;
    if (path && reason)
        length = asprintf(
            &line,
            "%" PRId64 ",%s,%s,%s,%s,%s,%d,%d,%.6g,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%.3f\n",
            row->source, path, vj_ledger_verdict_name(row->verdict), reason, info->codec, info->container, info->width,
            info->height, info->fps, info->frames, info->corrupt, info->missing, row->clips, row->bytes, row->seconds);
    if (length >= 0 && l->bytes + length > l->room) {
        int64_t room = 2 * (l->bytes + length) + 4096;
        char *grown = realloc(l->text, (size_t)room);
        if (grown) {
            l->text = grown;
            l->room = room;
        }
    }
    int fits = length >= 0 && l->bytes + length <= l->room;
    if (fits) {
        memcpy(l->text + l->bytes, line, (size_t)length);
        l->bytes += length;
        l->verdicts[row->verdict]++;
    }
    if (length >= 0) free(line);
    free(path);
    free(reason);
    return fits ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the ledger");
}

/* ------------------------------------------------------------------------------------------------ the file */

/* Rank r's rows on rank 0, [size]; its own are borrowed. Collective. */
static vj_status gather(const vj_ledger *l, char **text, int64_t *bytes, MPI_Comm comm)
{
    enum { TAG = 1 };
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    vj_status status = l->bytes <= INT_MAX
                           ? VJ_OK
                           : vj_raise(VJ_ERR_STATE, "the ledger of one rank is larger than 2 GB: use more ranks");
    VJ_TRY(vj_agree(comm, status));
    MPI_Gather(&l->bytes, 1, MPI_INT64_T, bytes, 1, MPI_INT64_T, 0, comm);
    if (rank == 0) {
        text[0] = l->text;
        for (int r = 1; r < size; r++) {
            text[r] = malloc((size_t)bytes[r] + 1);
            if (!text[r]) status = vj_raise(VJ_ERR_MEMORY, "no memory for the ledger");
        }
    }
    VJ_TRY(vj_agree(comm, status));
    if (rank != 0) MPI_Send(l->text, (int)l->bytes, MPI_CHAR, 0, TAG, comm);
    for (int r = 1; rank == 0 && r < size; r++)
        MPI_Recv(text[r], (int)bytes[r], MPI_CHAR, r, TAG, comm, MPI_STATUS_IGNORE);
    return VJ_OK;
}

/* Rank after rank. */
static vj_status write_rows(const char *store, char *const *text, const int64_t *bytes, int size)
{
    char path[VJ_PATH + 32], part[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/ledger.csv", store);
    snprintf(part, sizeof part, "%s/ledger.csv.part", store);
    FILE *f = fopen(part, "w");
    if (!f) return vj_raise(VJ_ERR_IO, "create %s", part);
    fputs(header, f);
    for (int r = 0; r < size; r++)
        if (bytes[r] > 0) fwrite(text[r], 1, (size_t)bytes[r], f);
    int good = fflush(f) == 0 && !ferror(f);
    if (fclose(f) != 0 || !good) return vj_raise(VJ_ERR_IO, "write %s", part);
    return vj_file_publish(part, path);
}

vj_status vj_ledger_write(vj_ledger *l, const char *store, MPI_Comm comm)
{
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    char **text = calloc((size_t)size, sizeof *text);
    int64_t *bytes = calloc((size_t)size, sizeof *bytes);
    vj_status status = text && bytes ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the ledger");
    status = vj_agree(comm, status);
    if (status == VJ_OK) status = gather(l, text, bytes, comm);
    if (status == VJ_OK) {
        if (rank == 0) status = write_rows(store, text, bytes, size);
        status = vj_agree(comm, status);
        MPI_Allreduce(MPI_IN_PLACE, l->verdicts, VJ_LEDGER_VERDICTS, MPI_INT64_T, MPI_SUM, comm);
    }
    for (int r = 1; text && r < size; r++) free(text[r]);
    free(text);
    free(bytes);
    return status;
}

void vj_ledger_release(vj_ledger *l)
{
    free(l->text);
    *l = (vj_ledger){0};
}
