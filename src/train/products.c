/*
 * Chooses what computes matrix products: all ranks time the candidates and rank 0 decides, because replicas must round
 * alike.
 */
#include "train/products.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "train/alike.h"

/* a library whose rate is below this share of the fastest is probably not the one that was meant */
#define SLOW_CHOICE 0.6
#define SLOW_RANK   0.5 /* share of the mean rate below which a rank is reported as slow */

/* The candidate in use: "own" also if train.products names the instruction set of "own", or a library in bf16. */
static int in_use(const vj_backend *be, const vj_product_rate *rates, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(rates[i].name, vj_backend_products(be)) == 0) return i;
    return 0;
}

/* "own avx512", "avx2", "onednn 2.6.3" */
static const char *title(const vj_product_rate *rate, char text[72])
{
    const bool once = strcmp(rate->name, rate->detail) == 0;
    snprintf(text, 72, "%.15s%s%.47s", rate->name, once ? "" : " ", once ? "" : rate->detail);
    return text;
}

static int fastest(const vj_product_rate *rates, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (rates[i].gflops > rates[best].gflops) best = i;
    return best;
}

/* Return whether these rates would leave the choice as it is, without a warning. */
static bool content_with(const vj_backend *be, bool choose, const vj_product_rate *rates, int count)
{
    const int now = in_use(be, rates, count);
    if (choose) return vj_product_rates_pick(rates, count) == now;
    return rates[now].gflops >= SLOW_CHOICE * rates[fastest(rates, count)].gflops;
}

/*
 * Own kernels are the same if their instruction set is, whether they are called "own" or by its name; libraries if
 * their version is.
 */
static bool same(const vj_product_rate *a, const vj_product_rate *b)
{
    const bool own_a = strcmp(a->name, "own") == 0 || strcmp(a->name, a->detail) == 0;
    const bool own_b = strcmp(b->name, "own") == 0 || strcmp(b->name, b->detail) == 0;
    return strcmp(a->detail, b->detail) == 0 && (own_a ? own_b : strcmp(a->name, b->name) == 0);
}

/*
 * Keep only the candidates that all ranks have, in the order of rank 0, so that mean rates can be compared and "auto"
 * chooses nothing that a rank lacks. The candidate in use is among them, since vj_kernels_agree() has succeeded.
 */
static void keep_common(vj_product_rate *rates, int *count, MPI_Comm comm)
{
    vj_product_rate first[VJ_PRODUCT_CANDIDATES] = {0}, mine[VJ_PRODUCT_CANDIDATES];
    int at[VJ_PRODUCT_CANDIDATES], common[VJ_PRODUCT_CANDIDATES];
    memcpy(first, rates, (size_t)*count * sizeof *rates);
    memcpy(mine, rates, (size_t)*count * sizeof *rates);
    MPI_Bcast(first, (int)sizeof first, MPI_BYTE, 0, comm);
    for (int f = 0; f < VJ_PRODUCT_CANDIDATES; f++) {
        at[f] = 0;
        while (at[f] < *count && !same(&first[f], &mine[at[f]])) at[f]++;
        common[f] = at[f] < *count;
    }
    MPI_Allreduce(MPI_IN_PLACE, common, VJ_PRODUCT_CANDIDATES, MPI_INT, MPI_MIN, comm);
    *count = 0;
    for (int f = 0; f < VJ_PRODUCT_CANDIDATES; f++)
        if (common[f]) rates[(*count)++] = mine[at[f]];
}

/*
 * Replace each rate by its mean over the ranks; this rank's own are in `mine`. If the rates would change the choice or
 * cause a warning, all candidates are timed once more and the better of both counts, because on a busy node a few
 * milliseconds may be disturbed by anything.
 */
static vj_status measure(vj_backend *be, bool choose, vj_product_rate *rates, int *count,
                         double mine[VJ_PRODUCT_CANDIDATES], MPI_Comm comm)
{
    int size, again = 1;
    MPI_Comm_size(comm, &size);
    for (int i = 0; i < VJ_PRODUCT_CANDIDATES; i++) mine[i] = 0;
    for (int look = 0; look < 2 && again; look++) {
        double sums[VJ_PRODUCT_CANDIDATES];
        MPI_Barrier(comm);
        VJ_TRY(vj_agree(comm, vj_backend_time_products(be, rates, VJ_PRODUCT_CANDIDATES, count)));
        keep_common(rates, count, comm);
        for (int i = 0; i < *count; i++)
            if (rates[i].gflops > mine[i]) mine[i] = rates[i].gflops;
        memcpy(sums, mine, sizeof sums);
        vj_sum_doubles(comm, sums, VJ_PRODUCT_CANDIDATES);
        for (int i = 0; i < *count; i++) rates[i].gflops = sums[i] / size;
        again = !content_with(be, choose, rates, *count);
        MPI_Bcast(&again, 1, MPI_INT, 0, comm);
    }
    return VJ_OK;
}

static void put_rates(vj_products *p, const vj_product_rate *rates, int count, int chosen, int size)
{
    char name[72];
    const char *before = " (";
    const size_t bytes = sizeof p->rates;
    size_t used = (size_t)snprintf(p->rates, bytes, "%s %.0f GFLOP/s%s", title(&rates[chosen], name),
                                   rates[chosen].gflops, size > 1 ? " a rank" : "");
    for (int i = 0; i < count; i++) {
        if (i == chosen || used >= bytes) continue;
        used += (size_t)snprintf(p->rates + used, bytes - used, "%s%s %.0f", before, title(&rates[i], name),
                                 rates[i].gflops);
        before = ", ";
    }
    if (count > 1 && used < bytes) snprintf(p->rates + used, bytes - used, ")");
}

static void put_warning(vj_products *p, const vj_product_rate *rates, int count, int chosen)
{
    char slow[72], fast[72];
    const int best = fastest(rates, count);
    p->warning[0] = '\0';
    if (rates[chosen].gflops >= SLOW_CHOICE * rates[best].gflops) return;
    snprintf(p->warning, sizeof p->warning,
             "products by %s run at %.0f GFLOP/s, %.0f %% of the %.0f that %s reaches here: set train.products to %s "
             "or auto%s",
             title(&rates[chosen], slow), rates[chosen].gflops, 100.0 * rates[chosen].gflops / rates[best].gflops,
             rates[best].gflops, title(&rates[best], fast), rates[best].name,
             getenv("VJ_PRODUCTS") ? " and unset VJ_PRODUCTS" : "");
}

/* Warn of the slowest rank, if its rate is far below the mean. */
static void put_straggler(vj_products *p, double mine, double mean, MPI_Comm comm)
{
    struct {
        double gflops;
        int rank;
    } slowest = {.gflops = mine};
    char host[MPI_MAX_PROCESSOR_NAME];
    int length;
    MPI_Comm_rank(comm, &slowest.rank);
    MPI_Get_processor_name(host, &length);
    MPI_Allreduce(MPI_IN_PLACE, &slowest, 1, MPI_DOUBLE_INT, MPI_MINLOC, comm);
    MPI_Bcast(host, MPI_MAX_PROCESSOR_NAME, MPI_CHAR, slowest.rank, comm);
    p->straggler[0] = '\0';
    if (slowest.gflops >= SLOW_RANK * mean) return;
    snprintf(p->straggler, sizeof p->straggler,
             "rank %d on %.64s multiplies at %.0f GFLOP/s, the mean of all ranks is %.0f: every step waits for it",
             slowest.rank, host, slowest.gflops, mean);
}

vj_status vj_products_choose(vj_products *p, vj_backend *be, const char *wanted, MPI_Comm comm)
{
    vj_product_rate rates[VJ_PRODUCT_CANDIDATES];
    double mine[VJ_PRODUCT_CANDIDATES];
    char name[sizeof rates->name];
    int count = 0, size;
    const bool choose = strcmp(wanted, "auto") == 0;
    MPI_Comm_size(comm, &size);
    if (!choose) VJ_TRY(vj_agree(comm, vj_backend_set_products(be, wanted)));
    VJ_TRY(vj_kernels_agree(be, comm));
    VJ_TRY(measure(be, choose, rates, &count, mine, comm));
    if (choose) {
        snprintf(name, sizeof name, "%s", rates[vj_product_rates_pick(rates, count)].name);
        MPI_Bcast(name, sizeof name, MPI_CHAR, 0, comm);
        VJ_TRY(vj_agree(comm, vj_backend_set_products(be, name)));
        VJ_TRY(vj_kernels_agree(be, comm));
    }
    const int chosen = in_use(be, rates, count);
    p->gflops = rates[chosen].gflops;
    put_rates(p, rates, count, chosen, size);
    put_warning(p, rates, count, chosen);
    put_straggler(p, mine[chosen], rates[chosen].gflops, comm);
    return VJ_OK;
}

void vj_products_log(const vj_products *p)
{
    vj_log("products: %s", p->rates);
    if (p->warning[0]) vj_log("WARNING: %s", p->warning);
    if (p->straggler[0]) vj_log("WARNING: %s", p->straggler);
}

char *vj_products_config_text(const vj_config *config, const vj_backend *be)
{
    vj_config *settled = vj_calloc(1, sizeof *settled);
    if (!settled) return NULL;
    *settled = *config;
    snprintf(settled->train.products, sizeof settled->train.products, "%s", vj_backend_products(be));
    char *text = vj_config_text(settled);
    free(settled);
    return text;
}
