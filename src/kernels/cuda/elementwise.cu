/* Elementwise kernels. Memory bandwidth limits them, so each access is 16 bytes. */
#include "kernels/cuda/lanes.cuh"

/* out[i] = f(a[i], b[i]), W elements per thread; only the first `inputs` of a and b are read. out may be a or b. */
template <int W, int inputs, class Out, class F>
__global__ void __launch_bounds__(THREADS) map_kernel(Out *out, const float *a, const float *b, F f, int64_t n)
{
    const int64_t i = global_thread() * W;
    if (i >= n) return;
    float u[W] = {}, v[W] = {};
    if constexpr (inputs > 0) load_part<W>(u, a + i, n - i);
    if constexpr (inputs > 1) load_part<W>(v, b + i, n - i);
    VJ_UNROLL
    for (int k = 0; k < W; k++) u[k] = f(u[k], v[k]);
    store_part<W>(out + i, u, n - i);
}

template <int inputs, class Out, class F>
static void map(vj_backend *be, const char *what, Out *out, const float *a, const float *b, F f, int64_t n)
{
    if (aligned_to(16, out, a, b))
        launch_threads(be, what, map_kernel<4, inputs, Out, F>, groups_of(n, 4), out, a, b, f, n);
    else
        launch_threads(be, what, map_kernel<1, inputs, Out, F>, n, out, a, b, f, n);
}

namespace
{
struct constant {
    float value;
    VJ_MEMBER float operator()(float, float) const { return value; }
};
struct times {
    float factor;
    VJ_MEMBER float operator()(float x, float) const { return x * factor; }
};
struct sum {
    VJ_MEMBER float operator()(float y, float x) const { return y + x; }
};
struct same {
    VJ_MEMBER float operator()(float x, float) const { return x; }
};
struct gelu_of {
    VJ_MEMBER float operator()(float x, float) const { return gelu(x); }
};
struct gelu_gradient_of {
    VJ_MEMBER float operator()(float dy, float x) const
    {
        float value;
        return dy * gelu_slope(x, &value);
    }
};
} /* namespace */

void vj_cuda_fill(vj_backend *be, float *x, float value, int64_t n)
{
    map<0>(be, "fill", x, (const float *)NULL, (const float *)NULL, constant{value}, n);
}

void vj_cuda_scale(vj_backend *be, float *x, float factor, int64_t n)
{
    map<1>(be, "scale", x, x, (const float *)NULL, times{factor}, n);
}

void vj_cuda_add(vj_backend *be, float *y, const float *x, int64_t n)
{
    map<2>(be, "add", y, y, x, sum{}, n);
}

void vj_cuda_round_bf16(vj_backend *be, uint16_t *y, const float *x, int64_t n)
{
    map<1>(be, "round_bf16", y, x, (const float *)NULL, same{}, n);
}

void vj_cuda_gelu_forward(vj_backend *be, float *y, const float *x, int64_t n)
{
    map<1>(be, "gelu_forward", y, x, (const float *)NULL, gelu_of{}, n);
}

void vj_cuda_gelu_backward(vj_backend *be, float *dx, const float *dy, const float *x, int64_t n)
{
    map<2>(be, "gelu_backward", dx, dy, x, gelu_gradient_of{}, n);
}
