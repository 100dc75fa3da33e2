/* Formats the summary of a pack. */
#include "pack/report.h"

#include <stdio.h>
#include <stdlib.h>

int64_t vj_pack_report_files(const vj_pack_report *r, int verdict)
{
    int64_t files = 0;
    for (int d = 0; d < VJ_MAX_LIST; d++) files += r->files[d][verdict];
    return files;
}

static void put_dataset(FILE *out, const vj_pack_report *r, int dataset, const char *name)
{
    int64_t files = 0, clips = 0;
    for (int v = 0; v < VJ_LEDGER_VERDICTS; v++) {
        files += r->files[dataset][v];
        clips += r->clips_of[dataset][v];
    }
    const int64_t missing = r->files[dataset][VJ_VIDEO_MISSING];
    fprintf(out, "  %s: %lld clips from %lld files, %lld of them found\n", name, (long long)clips, (long long)files,
            (long long)(files - missing));
    for (int v = 0; v < VJ_LEDGER_VERDICTS; v++)
        if (r->files[dataset][v] > 0)
            fprintf(out, "    %-16s %lld files%s%s\n", vj_ledger_verdict_name(v), (long long)r->files[dataset][v],
                    v == VJ_VIDEO_MISSING ? ", the first " : "", v == VJ_VIDEO_MISSING ? r->missing[dataset] : "");
}

char *vj_pack_report_text(const vj_pack_report *r, const vj_media_names *names)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    for (int d = 0; d < names->dataset_count; d++) put_dataset(out, r, d, names->dataset_names[d]);
    if (r->held_out_videos > 0)
        fprintf(out, "  compared with %lld held-out videos\n", (long long)(r->held_out_videos - r->held_out_unread));
    if (r->doubtful > 0)
        fprintf(out, "  %lld files may be copies of others, and are kept: \"may be a copy\" in the ledger\n",
                (long long)r->doubtful);
    if (r->held_out_unread > 0)
        fprintf(out, "  NOT compared with %lld held-out videos, which could not be decoded\n",
                (long long)r->held_out_unread);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}
