/* Memory, the time of touching it, and the window of a node (parallel/window_memory.h) between simulated ranks. */
#include "machine.h"

#include <simgrid/actor.h>
#include <simgrid/cond.h>
#include <simgrid/engine.h>
#include <simgrid/mutex.h>
#include <smpi/smpi.h>

#include "base/tree_sum.h"
#include "parallel/window_memory.h"

/* Address space of every rank; only what MPI copies for itself inside of collectives is ever touched. */
static const size_t memory_bytes = (size_t)8 << 30;
static const int64_t small_bytes = 1 << 16; /* tables of the code, which it does read, are smaller */

static float *memory;
static double rate_bytes_s = 1e9, owed_s;
static double last_news_s; /* when a counter was last set, by this rank */

void simulated_memory_rate(double bytes_s)
{
    rate_bytes_s = bytes_s;
}

float *simulated_memory(void)
{
    if (!memory) memory = SMPI_SHARED_MALLOC(memory_bytes);
    return memory;
}

void simulated_touch(double bytes)
{
    owed_s += bytes / rate_bytes_s;
}

void simulated_work(double seconds)
{
    const double all = owed_s + seconds;
    owed_s = 0;
    if (all > 0) sg_actor_sleep_for(all);
}

void *simulated_copy(void *to, const void *from, size_t bytes)
{
    (void)from;
    simulated_touch(2.0 * (double)bytes);
    return to;
}

void *simulated_calloc(int64_t count, int64_t bytes)
{
    return count * bytes > small_bytes ? simulated_memory() : vj_calloc(count, bytes);
}

void simulated_free(void *p)
{
    if (p != memory) free(p);
}

void vj_tree_sum(float *out, const float *const *in, int count, int64_t n, int threads)
{
    (void)out, (void)in, (void)threads;
    simulated_touch((count + 1.0) * (double)n * sizeof(float));
}

/* ------------------------------------------------------------------------------------------------ the window */

/* Of a node, made by its first rank. */
typedef struct {
    sg_mutex_t mutex;
    sg_cond_t changed;
} node_bell;

struct vj_flags {
    node_bell *bell;
    int64_t counter[VJ_FLAGS];
};

vj_flags *vj_window_counters(void)
{
    return vj_calloc(1, sizeof(vj_flags));
}

/* All ranks are in one address space: they tell one another where their counters are. */
bool vj_window_share(vj_window *w, MPI_Comm comm, int64_t floats, char trouble[VJ_WINDOW_TROUBLE])
{
    (void)comm, (void)floats, (void)trouble;
    node_bell *bell = NULL;
    if (w->node_size == 1) return true;
    if (w->node_rank == 0) {
        bell = vj_calloc(1, sizeof *bell);
        VJ_ASSERT(bell);
        bell->mutex = sg_mutex_init();
        bell->changed = sg_cond_init();
    }
    MPI_Bcast(&bell, sizeof bell, MPI_BYTE, 0, w->node);
    vj_flags *mine = vj_window_counters();
    VJ_ASSERT(mine);
    mine->bell = bell;
    MPI_Allgather(&mine, sizeof mine, MPI_BYTE, w->flags, sizeof mine, MPI_BYTE, w->node);
    for (int r = 0; r < w->node_size; r++) w->memory[r] = simulated_memory();
    return true;
}

void vj_window_unshare(vj_window *w)
{
    MPI_Barrier(w->node);
    free(w->flags[w->node_rank]);
}

void vj_window_tell(const vj_window *w, int flag, int64_t value)
{
    vj_flags *mine = w->flags[w->node_rank];
    simulated_work(0);
    if (mine->counter[flag] == value) return;
    mine->counter[flag] = value;
    last_news_s = simgrid_get_clock();
    if (!mine->bell) return;
    sg_mutex_lock(mine->bell->mutex);
    sg_cond_notify_all(mine->bell->changed);
    sg_mutex_unlock(mine->bell->mutex);
}

int64_t vj_window_least(const vj_window *w, int flag)
{
    int64_t least = INT64_MAX;
    for (int r = 0; r < w->node_size; r++)
        if (w->flags[r]->counter[flag] < least) least = w->flags[r]->counter[flag];
    return least;
}

/* Look again after a thirtieth of the time since the last news, so that waiting costs few events and is exact to that.
 */
void vj_window_idle(const vj_window *w)
{
    const double since_s = simgrid_get_clock() - last_news_s;
    (void)w;
    simulated_work(since_s > 3e-5 ? since_s / 30 : 1e-6);
}

void vj_window_wait(const vj_window *w, int flag, int64_t value)
{
    node_bell *bell = w->flags[w->node_rank]->bell;
    simulated_work(0);
    if (!bell) return;
    sg_mutex_lock(bell->mutex);
    while (vj_window_least(w, flag) < value) sg_cond_wait(bell->changed, bell->mutex);
    sg_mutex_unlock(bell->mutex);
}
