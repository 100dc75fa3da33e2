/*
 * What sums over the data ranks and the exchange of weights make a step longer. Gradients are summed bucket by bucket
 * while the last backward pass makes them (parallel/gradient_sum.c). Of a bucket's way some work takes computing away;
 * the rest goes on beside it, by machines of which the busiest sets the pace; and the last bucket's way nothing hides.
 * tests/scaling/model.sh holds this against the simulation of the same code. Read time_buckets() first.
 */
#include <math.h>

#include "plan/forecast.h"
#include "train/peers.h"

/* Open MPI 4 broadcasts what is long in pieces of so many bytes, of which each costs a message. */
static const double broadcast_piece = 8192;

/* Bytes that are touched in memory for a byte that is summed, as cluster.sum_gb_s counts it; of weights that come back.
 */
static const double touched_in_sum = 3, touched_in_gather = 2;

/* A mean bucket of gradients. */
typedef struct {
    double count;     /* of a step */
    double taken_s;   /* from computing: sums and messages of processors; on GPUs the kernels that sum over the links */
    double pace_s;    /* of the busiest machine that works beside computing, or is taken from it */
    double through_s; /* from the last rank that has made it until all have its sum, without taken_s */
} buckets;

/* What the formulas are made of. */
typedef struct {
    const vj_machine *m;
    double nodes, beside;    /* data ranks of a tensor group's place on one node */
    double bytes;            /* of a rank's part of a bucket */
    double own;              /* of it, what ranks of one node get the sum of: all, or their slices */
    double network_s;        /* all tensor groups' buckets at a time */
    double messages, post_s; /* that a rank sends, and their cost */
} bucket;

static bucket mean_bucket(const vj_train_layout *l, const vj_machine *m, double vector, double count)
{
    const double nodes = l->nodes, bytes = vector / count / l->tensor;
    bucket b = {.m = m, .nodes = nodes, .beside = (double)l->node_ranks / l->tensor, .bytes = bytes, .own = 1};
    if (l->zero) b.own = fmin(1, count / nodes);
    if (nodes == 1) return b;
    /* The parts of its sum go to all nodes, or to the node whose ranks' slices they are. */
    b.network_s = (1 + b.own) * (nodes - 1) / nodes * bytes * l->tensor / m->network_bytes_s;
    b.messages = l->zero ? nodes : 2 * (nodes - 1);
    b.post_s = b.messages * m->message_s;
    return b;
}

/* Processors sum and send between their products; the network works beside them. A sum is copied to the node's others,
 * or to the one whose slice it is, which is seldom one of this node. */
static void on_processors(buckets *all, const bucket *b, int tensor, bool zero)
{
    const double s = b->beside, copies = (s - 1) / s * (zero ? 1 / (b->nodes * s) : 1);
    const double touched = (s + 1) / s + 2 * copies + (b->nodes > 1 ? (b->nodes + 1) / b->nodes / s : 0);
    all->taken_s = touched / touched_in_sum * b->bytes * tensor / b->m->sum_bytes_s + b->post_s;
    all->pace_s = fmax(all->taken_s, b->network_s);
    all->through_s = b->network_s + (b->nodes > 1 ? 2 * b->m->message_s : 0);
}

/* The lanes of train/peers.h; the host posts messages. Where MPI cannot take the GPU's memory, a rank's share of the
 * node's sum is copied to the host, arrivals and its part of the sum of all nodes back, there, and what others made. */
static void on_gpus(buckets *all, const bucket *b, bool zero)
{
    const double s = b->beside, link = b->bytes / s / b->m->gpu_link_bytes_s;
    const double deliver_s = zero ? b->own * link : (s - 1) * link;
    const bool staged = b->nodes > 1 && !b->m->gpu_to_gpu;
    const double copied = 2 + b->own * (b->nodes - 1) / b->nodes;
    const double copy_s = staged ? copied * b->bytes / s / b->m->gpu_host_bytes_s : 0;
    all->taken_s = (s - 1) * link;
    all->through_s = deliver_s + copy_s + b->network_s + b->post_s + (b->nodes > 1 ? 2 * b->m->message_s : 0);
    all->pace_s = fmax(fmax(all->taken_s + deliver_s, copy_s), fmax(b->network_s, b->post_s));
    if (b->nodes > 1) all->pace_s = fmax(all->pace_s, (all->taken_s + all->through_s) / VJ_SUM_SLOTS);
}

/* What the sums of a step cost beyond computing that takes backward_s; 0: they begin when all is computed. */
static double time_buckets(const buckets *all, double backward_s)
{
    const double hidden_s = backward_s / all->count + all->taken_s; /* for each bucket */
    return all->count * all->taken_s + all->through_s + fmax(0, (all->count - 1) * (all->pace_s - hidden_s));
}

/* Weights that come back node after node, through memory that the ranks of a node share (parallel/group.c). */
static double time_gather_on_processors(const vj_train_layout *l, const vj_machine *m, double back)
{
    const double beside = (double)l->node_ranks / l->tensor;
    const double shared_s = beside > 1 ? touched_in_gather / touched_in_sum * back / m->sum_bytes_s : 0;
    if (l->nodes == 1) return shared_s;
    return shared_s + back / m->network_bytes_s + m->message_s * back / l->tensor / beside / broadcast_piece;
}

/*
 * From GPU to GPU on a node, and in rounds between nodes, in each of which every GPU has a piece for the other nodes
 * (parallel/device_gather.c). A round's arrivals go to the GPU and on to its neighbours one after the other, and the
 * next piece is copied to the host behind them.
 */
static double time_gather_on_gpus(const vj_train_layout *l, const vj_machine *m, double back)
{
    const double n = l->nodes, s = (double)l->node_ranks / l->tensor, mine = back / l->tensor;
    const double piece = (double)l->bucket_floats * sizeof(float) / s / n, rounds = mine / n / s / piece;
    const double link_s = (s - 1) * piece / m->gpu_link_bytes_s;
    if (l->nodes == 1) return rounds * link_s;
    const double host_s = m->gpu_to_gpu ? 0 : piece / m->gpu_host_bytes_s;
    const double network_s = (n - 1) * piece * l->node_ranks / m->network_bytes_s, post_s = (n - 1) * m->message_s;
    const double device_s = host_s + (n - 1) * fmax(host_s, link_s) + fmin(host_s, link_s);
    const double way_s = device_s + network_s + post_s + 2 * m->message_s;
    const double pace_s = fmax(fmax(device_s, way_s / VJ_SUM_SLOTS), fmax(network_s, post_s));
    return rounds * link_s + way_s + (rounds - 1) * pace_s; /* its own slice goes to the neighbours first */
}

void vj_train_layout_time_sums(vj_train_layout *l, const vj_config *c, const vj_train_work *w, const vj_machine *m)
{
    const double word = sizeof(float), floats = (double)w->weight_floats[l->tensor];
    const double vector = l->tensor * floats * word;
    const double gathered = (double)w->gathered_bytes[l->tensor][m->gpus > 0];
    const double back = l->zero ? l->tensor * gathered : 0;
    const int64_t mb = c->parallel.bucket_mb;
    l->bucket_floats = m->gpus ? vj_peers_bucket(mb, l->nodes) : mb << 18;
    if (l->data_ranks == 1) return;
    buckets all = {.count = ceil(floats / (double)l->bucket_floats)};
    const bucket b = mean_bucket(l, m, vector, all.count);
    if (m->gpus)
        on_gpus(&all, &b, l->zero);
    else
        on_processors(&all, &b, l->tensor, l->zero);
    /* Each node sums its part for all, and each gives the others what it summed, or updated. */
    l->network_bytes = (l->nodes - 1.0) / l->nodes * (vector + (l->zero ? back : vector));
    l->messages = b.messages * all.count;
    /* Reproducible sums of several microbatches are summed over the ranks when all are there. */
    const bool waits = c->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE && l->microbatches > 1;
    const double backward_s = l->compute_s / (double)l->microbatches * 2 / 3;
    l->sum_s = time_buckets(&all, waits ? 0 : backward_s);
    if (l->zero) l->sum_s += m->gpus ? time_gather_on_gpus(l, m, back) : time_gather_on_processors(l, m, back);
}
