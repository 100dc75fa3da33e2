/* Sends the counts of all ranks to rank 0, which prints the progress line. */
#include "pack/progress.h"

#include <stdlib.h>

enum { TAG = 2, SEND_EVERY_S = 1, SPEAK_EVERY_S = 5, COUNTS = sizeof(vj_pack_progress_counts) / sizeof(double) };

vj_status vj_pack_progress_begin(vj_pack_progress *p, int64_t total, MPI_Comm comm)
{
    *p = (vj_pack_progress){.comm = comm, .total = total, .begin_s = vj_now(), .request = MPI_REQUEST_NULL};
    MPI_Comm_rank(comm, &p->rank);
    MPI_Comm_size(comm, &p->size);
    p->next_s = p->begin_s + (p->rank == 0 ? SPEAK_EVERY_S : SEND_EVERY_S);
    p->of_rank = calloc((size_t)p->size, sizeof *p->of_rank);
    return p->of_rank ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the counts of %d ranks", p->size);
}

static void send_counts(vj_pack_progress *p)
{
    int done;
    MPI_Test(&p->request, &done, MPI_STATUS_IGNORE);
    if (!done) return; /* rank 0 has not received the last counts; send later */
    p->sent = p->mine;
    MPI_Isend(&p->sent, COUNTS, MPI_DOUBLE, 0, TAG, p->comm, &p->request);
}

static void receive_counts(vj_pack_progress *p)
{
    for (;;) {
        int waiting;
        MPI_Status from;
        MPI_Iprobe(MPI_ANY_SOURCE, TAG, p->comm, &waiting, &from);
        if (!waiting) return;
        MPI_Recv(&p->of_rank[from.MPI_SOURCE], COUNTS, MPI_DOUBLE, from.MPI_SOURCE, TAG, p->comm, MPI_STATUS_IGNORE);
    }
}

static vj_pack_progress_counts sum(const vj_pack_progress *p)
{
    vj_pack_progress_counts all = {0};
    for (int r = 0; r < p->size; r++) {
        all.files += p->of_rank[r].files;
        all.bytes += p->of_rank[r].bytes;
        all.clips += p->of_rank[r].clips;
        all.begun += p->of_rank[r].begun;
        all.finished += p->of_rank[r].finished;
    }
    return all;
}

static void speak(vj_pack_progress *p)
{
    double now = vj_now(), spent = now - p->begin_s;
    char text[32], left[32];
    if (now < p->next_s) return;
    p->next_s = now + SPEAK_EVERY_S;
    vj_pack_progress_counts all = sum(p);
    const double done = all.files + all.begun;
    vj_duration(done > 0 ? spent * ((double)p->total - done) / done : 0, left);
    if (done == 0)
        vj_log("packed none of %lld files in %s", (long long)p->total, vj_duration(spent, text));
    else if (all.files == 0) /* long films */
        vj_log("packed none of %lld files in %s; %.0f %% of all are decoded, about %s left", (long long)p->total,
               vj_duration(spent, text), 100.0 * done / (double)p->total, left);
    else
        vj_log("packed %.0f of %lld files, %.0f clips: %.1f files/s, %.1f MB/s, about %s left", all.files,
               (long long)p->total, all.clips, all.files / spent, all.bytes / 1e6 / spent, left);
}

void vj_pack_progress_wait(vj_pack_progress *p, double begun)
{
    p->mine.begun = begun;
    if (p->rank == 0) {
        p->of_rank[0] = p->mine;
        receive_counts(p);
        speak(p);
    } else if (vj_now() >= p->next_s) {
        p->next_s = vj_now() + SEND_EVERY_S;
        send_counts(p);
    }
}

void vj_pack_progress_add(vj_pack_progress *p, int64_t bytes, int64_t clips)
{
    p->mine.files++;
    p->mine.bytes += (double)bytes;
    p->mine.clips += (double)clips;
    vj_pack_progress_wait(p, p->mine.begun > 1 ? p->mine.begun - 1 : 0);
}

void vj_pack_progress_end(vj_pack_progress *p, vj_pack_progress_counts *all)
{
    p->mine.finished = 1;
    p->mine.begun = 0;
    p->of_rank[0] = p->mine;
    if (p->rank != 0) {
        MPI_Wait(&p->request, MPI_STATUS_IGNORE);
        MPI_Send(&p->mine, COUNTS, MPI_DOUBLE, 0, TAG, p->comm);
    }
    while (p->rank == 0 && sum(p).finished < p->size) {
        receive_counts(p);
        speak(p);
        vj_sleep(0.02); /* leave the core to ranks that still work */
    }
    *all = sum(p);
    free(p->of_rank);
    p->of_rank = NULL;
}
