// The kernels of the encoder and of its training, for CUDA devices of compute capability 8.0 and later.
//
// Documents are packed: document d has the rows starts[d] .. starts[d + 1]. Numbers T are float, bf16 or half;
// sums, norms, maxima and gradients of weights are float. `calls.rs` and `documents.rs` launch them; they are
// tested against the plain formula next to each caller. One file, since what is shared is compiled into each.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef __nv_bfloat16 bf16;

// --- numbers

template <typename T> __device__ __forceinline__ float wide(T x);
template <> __device__ __forceinline__ float wide(float x) { return x; }
template <> __device__ __forceinline__ float wide(bf16 x) { return __bfloat162float(x); }
template <> __device__ __forceinline__ float wide(half x) { return __half2float(x); }

template <typename T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow(float x) { return __float2bfloat16(x); }
template <> __device__ __forceinline__ half narrow(float x) { return __float2half(x); }

// Two neighbours, read and written at once.
template <typename T> struct __align__(2 * sizeof(T)) Pair {
    T x, y;
};

template <typename T> __device__ __forceinline__ float2 load2(const T *from) {
    Pair<T> pair = *reinterpret_cast<const Pair<T> *>(from);
    return make_float2(wide(pair.x), wide(pair.y));
}

template <typename T> __device__ __forceinline__ void store2(T *to, float x, float y) {
    Pair<T> pair = {narrow<T>(x), narrow<T>(y)};
    *reinterpret_cast<Pair<T> *>(to) = pair;
}

// Two neighbours as the matrix units take them.
template <typename T> __device__ __forceinline__ u32 packed(float x, float y) {
    Pair<T> pair = {narrow<T>(x), narrow<T>(y)};
    return *reinterpret_cast<u32 *>(&pair);
}

__device__ __forceinline__ float warp_sum(float x) {
    for (int at = 16; at > 0; at >>= 1) x += __shfl_xor_sync(~0u, x, at);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (int at = 16; at > 0; at >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, at));
    return x;
}

// As `nn::dropout`: the finaliser of splitmix64.
__device__ __forceinline__ u64 mixed(u64 x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

__device__ __forceinline__ float kept(u64 key, u64 at, u64 limit, float factor) {
    return mixed(key + at) >> 40 < limit ? 0.0f : factor;
}

// --- norms: a warp a row, its numbers in registers; a lane has PAIRS pairs, PAIRS · 64 ≥ h, even h

// The norm of a row in registers.
template <typename T, int PAIRS>
__device__ __forceinline__ void norm_row(float2 *x, T *out, const float *scale, const float *shift, int h,
                                         float epsilon) {
    int lane = threadIdx.x & 31;
    float sum = 0.0f;
#pragma unroll
    for (int at = 0; at < PAIRS; at++) sum += x[at].x + x[at].y;
    float mean = warp_sum(sum) / h, squares = 0.0f;
#pragma unroll
    for (int at = 0; at < PAIRS; at++) {
        if ((at * 32 + lane) * 2 >= h) continue;
        squares += (x[at].x - mean) * (x[at].x - mean) + (x[at].y - mean) * (x[at].y - mean);
    }
    float factor = rsqrtf(warp_sum(squares) / h + epsilon);
#pragma unroll
    for (int at = 0; at < PAIRS; at++) {
        int column = (at * 32 + lane) * 2;
        if (column >= h) continue;
        float2 s = load2(scale + column), t = load2(shift + column);
        store2(out + column, (x[at].x - mean) * factor * s.x + t.x, (x[at].y - mean) * factor * s.y + t.y);
    }
}

// out = norm(x + bias + residual) · scale + shift; bias and residual may be null.
// Grid: ⌈rows / 4⌉ blocks of 4 warps.
template <typename T, int PAIRS>
__device__ __forceinline__ void norm(const T *x, const float *bias, const T *residual, const float *scale,
                                     const float *shift, T *out, int rows, int h, float epsilon) {
    int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (row >= rows) return;
    float2 values[PAIRS];
#pragma unroll
    for (int at = 0; at < PAIRS; at++) {
        int column = (at * 32 + lane) * 2;
        values[at] = make_float2(0.0f, 0.0f);
        if (column >= h) continue;
        values[at] = load2(x + (size_t)row * h + column);
        if (bias) {
            float2 b = load2(bias + column);
            values[at].x += b.x, values[at].y += b.y;
        }
        if (residual) {
            float2 r = load2(residual + (size_t)row * h + column);
            values[at].x += r.x, values[at].y += r.y;
        }
    }
    norm_row<T, PAIRS>(values, out + (size_t)row * h, scale, shift, h, epsilon);
}

// The sum of a word's, a place's and the first token type's embedding, normed: [rows, h]. Grid as norm.
template <typename T, int PAIRS>
__device__ __forceinline__ void embed(const u32 *ids, const u32 *places, const T *words, const T *positions,
                                      const T *types, const float *scale, const float *shift, T *out, int rows, int h,
                                      float epsilon) {
    int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (row >= rows) return;
    float2 values[PAIRS];
#pragma unroll
    for (int at = 0; at < PAIRS; at++) {
        int column = (at * 32 + lane) * 2;
        values[at] = make_float2(0.0f, 0.0f);
        if (column >= h) continue;
        float2 word = load2(words + (size_t)ids[row] * h + column);
        float2 place = load2(positions + (size_t)places[row] * h + column);
        values[at] = make_float2(word.x + place.x, word.y + place.y);
        if (types) {
            float2 type = load2(types + column);
            values[at].x += type.x, values[at].y += type.y;
        }
    }
    norm_row<T, PAIRS>(values, out + (size_t)row * h, scale, shift, h, epsilon);
}

// dx, and for each block its part of the gradients of scale and shift: parts [blocks, 2, h].
// With n = (x − mean)/σ and d = g · scale: dx = (d − mean(d) − n · mean(d · n))/σ. Blocks of 4 warps share the rows.
template <typename T, int PAIRS>
__device__ __forceinline__ void norm_backward(const T *x, const float *scale, const T *g, T *dx, float *parts, int rows,
                                              int h, float epsilon) {
    __shared__ float sums[2][PAIRS * 64];
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    float2 dscale[PAIRS], dshift[PAIRS];
#pragma unroll
    for (int at = 0; at < PAIRS; at++) dscale[at] = dshift[at] = make_float2(0.0f, 0.0f);
    for (int row = blockIdx.x * 4 + warp; row < rows; row += gridDim.x * 4) {
        float2 n[PAIRS], d[PAIRS];
        float sum = 0.0f;
#pragma unroll
        for (int at = 0; at < PAIRS; at++) {
            int column = (at * 32 + lane) * 2;
            n[at] = column < h ? load2(x + (size_t)row * h + column) : make_float2(0.0f, 0.0f);
            sum += n[at].x + n[at].y;
        }
        float mean = warp_sum(sum) / h, squares = 0.0f;
#pragma unroll
        for (int at = 0; at < PAIRS; at++) {
            if ((at * 32 + lane) * 2 >= h) continue;
            n[at].x -= mean, n[at].y -= mean;
            squares += n[at].x * n[at].x + n[at].y * n[at].y;
        }
        float factor = rsqrtf(warp_sum(squares) / h + epsilon), of_d = 0.0f, of_dn = 0.0f;
#pragma unroll
        for (int at = 0; at < PAIRS; at++) {
            int column = (at * 32 + lane) * 2;
            d[at] = make_float2(0.0f, 0.0f);
            if (column >= h) continue;
            n[at].x *= factor, n[at].y *= factor;
            float2 up = load2(g + (size_t)row * h + column), s = load2(scale + column);
            dscale[at].x += up.x * n[at].x, dscale[at].y += up.y * n[at].y;
            dshift[at].x += up.x, dshift[at].y += up.y;
            d[at] = make_float2(up.x * s.x, up.y * s.y);
            of_d += d[at].x + d[at].y;
            of_dn += d[at].x * n[at].x + d[at].y * n[at].y;
        }
        of_d = warp_sum(of_d) / h, of_dn = warp_sum(of_dn) / h;
#pragma unroll
        for (int at = 0; at < PAIRS; at++) {
            int column = (at * 32 + lane) * 2;
            if (column >= h) continue;
            store2(dx + (size_t)row * h + column, (d[at].x - of_d - n[at].x * of_dn) * factor,
                   (d[at].y - of_d - n[at].y * of_dn) * factor);
        }
    }
    // the four warps one after the other: an order of the sum that does not change
    for (int turn = 0; turn < 4; turn++) {
        if (warp == turn) {
#pragma unroll
            for (int at = 0; at < PAIRS; at++) {
                int column = (at * 32 + lane) * 2;
                float2 *a = reinterpret_cast<float2 *>(&sums[0][column]), *b = reinterpret_cast<float2 *>(&sums[1][column]);
                float2 none = make_float2(0.0f, 0.0f), x = turn ? *a : none, y = turn ? *b : none;
                *a = make_float2(x.x + dscale[at].x, x.y + dscale[at].y);
                *b = make_float2(y.x + dshift[at].x, y.y + dshift[at].y);
            }
        }
        __syncthreads();
    }
    for (int column = threadIdx.x; column < h; column += blockDim.x) {
        parts[(size_t)blockIdx.x * 2 * h + column] = sums[0][column];
        parts[(size_t)blockIdx.x * 2 * h + h + column] = sums[1][column];
    }
}

// --- gelu and biases; eight numbers a thread, `count` a multiple of 4, `columns` too. Grid: ⌈count / 2048⌉ blocks of 256

// erf(x): for half numbers within 2e-7 (Abramowitz and Stegun 7.1.26), at a third of the cost.
template <typename T> __device__ __forceinline__ float erf_of(float x) {
    float t = __fdividef(1.0f, 1.0f + 0.3275911f * fabsf(x));
    float p = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    return copysignf(1.0f - p * __expf(-x * x), x);
}
template <> __device__ __forceinline__ float erf_of<float>(float x) { return erff(x); }

template <typename T> __device__ __forceinline__ float gelu(float x) {
    return 0.5f * x * (1.0f + erf_of<T>(x * 0.70710678118654752f));
}

template <typename T> struct __align__(4 * sizeof(T)) Four {
    T x[4];
};

// x + bias, or gelu(x + bias), in place or not.
template <typename T, bool GELU>
__device__ __forceinline__ void biased(const T *x, const float *bias, T *out, u64 count, int columns) {
    u64 first = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 8;
    for (u64 at = first; at < first + 8 && at < count; at += 4) {
        Four<T> in = *reinterpret_cast<const Four<T> *>(x + at), result;
        float4 add = bias ? *reinterpret_cast<const float4 *>(bias + at % columns) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        float parts[4] = {add.x, add.y, add.z, add.w};
#pragma unroll
        for (int part = 0; part < 4; part++) {
            float value = wide(in.x[part]) + parts[part];
            result.x[part] = narrow<T>(GELU ? gelu<T>(value) : value);
        }
        *reinterpret_cast<Four<T> *>(out + at) = result;
    }
}

template <typename T> __device__ __forceinline__ float gelu_slope(float x) {
    return 0.5f * (1.0f + erf_of<T>(x * 0.70710678118654752f)) + x * 0.39894228040143268f * __expf(-0.5f * x * x);
}

template <typename T> __device__ __forceinline__ void gelu_backward(const T *x, const T *g, T *dx, u64 count) {
    u64 first = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 8;
    for (u64 at = first; at < first + 8 && at < count; at += 4) {
        Four<T> in = *reinterpret_cast<const Four<T> *>(x + at), up = *reinterpret_cast<const Four<T> *>(g + at), result;
#pragma unroll
        for (int part = 0; part < 4; part++)
            result.x[part] = narrow<T>(wide(up.x[part]) * gelu_slope<T>(wide(in.x[part])));
        *reinterpret_cast<Four<T> *>(dx + at) = result;
    }
}

// sums[part, column] = Σ over the rows of a part, which has `step` rows. Grid: (⌈columns / 64⌉, parts) blocks of 32 × 8
// threads; a thread has two columns, even `columns`.
template <typename T>
__device__ __forceinline__ void column_sums(const T *x, float *sums, int rows, int columns, int step) {
    __shared__ float2 shared[8][32];
    int column = (blockIdx.x * 32 + threadIdx.x) * 2, end = min(rows, (int)(blockIdx.y + 1) * step);
    float2 sum = make_float2(0.0f, 0.0f);
    if (column < columns) {
#pragma unroll 8
        for (int row = blockIdx.y * step + threadIdx.y; row < end; row += 8) {
            float2 more = load2(x + (size_t)row * columns + column);
            sum.x += more.x, sum.y += more.y;
        }
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= columns) return;
    for (int at = 1; at < 8; at++) sum.x += shared[at][threadIdx.x].x, sum.y += shared[at][threadIdx.x].y;
    store2(sums + (size_t)blockIdx.y * columns + column, sum.x, sum.y);
}

// --- attention

template <typename T>
__device__ __forceinline__ void multiply(float *c, const u32 *a, u32 b0, u32 b1);
template <> __device__ __forceinline__ void multiply<bf16>(float *c, const u32 *a, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> __device__ __forceinline__ void multiply<half>(float *c, const u32 *a, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 8 × 8 matrices out of shared memory, four as they are, two transposed: lanes name the rows.
__device__ __forceinline__ void matrices(u32 *b, const void *row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(address));
}

__device__ __forceinline__ void transposed(u32 *b, const void *row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(address));
}

// 16 bytes to shared memory, zeros where `there` is false, without waiting.
__device__ __forceinline__ void fetch(void *to, const void *from, bool there) {
    u32 address = (u32)__cvta_generic_to_shared(to), bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void end_of_fetches() { asm volatile("cp.async.commit_group;"); }
template <int LEFT> __device__ __forceinline__ void wait_for_fetches() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT)); }

const int QUERIES = 64;  // rows of a block, 16 a warp
const int KEYS = 64;     // rows that are met at a time

template <typename T, int D> struct Met {
    T keys[KEYS][D + 8], values[KEYS][D + 8];
};

// Begins to fetch the keys and values of the rows from `from` on, the first of which is at `row`.
template <typename T, int D> __device__ __forceinline__ void meet(Met<T, D> &met, const T *row, int h, int from, int length) {
    const int PARTS = D / 8;
    for (int at = threadIdx.x; at < KEYS * PARTS; at += 128) {
        int key = at / PARTS, column = at % PARTS * 8;
        bool there = from + key < length;
        const T *source = row + (size_t)(there ? key : 0) * 3 * h + column;
        fetch(&met.keys[key][column], source + h, there);
        fetch(&met.values[key][column], source + 2 * h, there);
    }
    end_of_fetches();
}

// softmax(Q Kᵀ · scale) V of one head for 64 rows of one document, without storing the scores.
// qkv [rows, 3 · heads · D] lacks its bias [3 · heads · D]: that of Q is added here; that of K adds the same to all
// scores of a row, which a softmax does not see; that of V is added to the result, for shares sum to 1.
// out [rows, heads · D]. Grid: (⌈longest / 64⌉, heads, documents) blocks of 4 warps. Softmax as it goes (Milakov and
// Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135).
template <typename T, int D>
__device__ __forceinline__ void attention(const T *qkv, const float *bias, const u32 *starts, T *out, int heads, float scale) {
    __shared__ __align__(16) Met<T, D> stages[2];
    int first = starts[blockIdx.z], length = starts[blockIdx.z + 1] - first, head = blockIdx.y;
    if ((int)blockIdx.x * QUERIES >= length) return;
    int h = heads * D, stride = 3 * h, lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    int group = lane >> 2, pair = (lane & 3) * 2;
    int rows[2] = {(int)blockIdx.x * QUERIES + warp * 16 + group, (int)blockIdx.x * QUERIES + warp * 16 + group + 8};
    const T *own = qkv + (size_t)first * stride + head * D;
    meet(stages[0], own, h, 0, length);

    u32 query[D / 16][4];
#pragma unroll
    for (int step = 0; step < D / 16; step++)
#pragma unroll
        for (int part = 0; part < 4; part++) {
            int row = rows[part & 1], column = step * 16 + pair + (part >> 1) * 8;
            float2 q = make_float2(0.0f, 0.0f), b = load2(bias + head * D + column);
            if (row < length) {
                q = load2(own + (size_t)row * stride + column);
                q.x += b.x, q.y += b.y;
            }
            query[step][part] = packed<T>(q.x, q.y);
        }

    float context[D / 8][4];
#pragma unroll
    for (int at = 0; at < D / 8; at++)
#pragma unroll
        for (int part = 0; part < 4; part++) context[at][part] = 0.0f;
    float largest[2] = {-1e30f, -1e30f}, sum[2] = {0.0f, 0.0f};
    scale *= 1.44269504088896341f;  // powers of two are cheaper than powers of e

    for (int from = 0, turn = 0; from < length; from += KEYS, turn ^= 1) {
        if (from + KEYS < length) {
            meet(stages[turn ^ 1], own + (size_t)(from + KEYS) * stride, h, from + KEYS, length);
            wait_for_fetches<1>();
        } else {
            wait_for_fetches<0>();
        }
        __syncthreads();
        Met<T, D> &met = stages[turn];

        float scores[KEYS / 8][4];
#pragma unroll
        for (int at = 0; at < KEYS / 8; at++) {
            scores[at][0] = scores[at][1] = scores[at][2] = scores[at][3] = 0.0f;
#pragma unroll
            for (int step = 0; step < D / 16; step += 2) {
                u32 key[4];
                matrices(key, &met.keys[at * 8 + (lane & 7)][step * 16 + lane / 8 * 8]);
                multiply<T>(scores[at], query[step], key[0], key[1]);
                multiply<T>(scores[at], query[step + 1], key[2], key[3]);
            }
        }
        if (from + KEYS > length) {
#pragma unroll
            for (int at = 0; at < KEYS / 8; at++)
#pragma unroll
                for (int part = 0; part < 4; part++)
                    if (from + at * 8 + pair + (part & 1) >= length) scores[at][part] = -INFINITY;
        }

        float shrink[2];
#pragma unroll
        for (int side = 0; side < 2; side++) {
            float most = largest[side], more = 0.0f;
#pragma unroll
            for (int at = 0; at < KEYS / 8; at++) most = fmaxf(most, fmaxf(scores[at][side * 2], scores[at][side * 2 + 1]));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
            shrink[side] = exp2f((largest[side] - most) * scale);
            largest[side] = most;
            float base = most * scale;
#pragma unroll
            for (int at = 0; at < KEYS / 8; at++)
#pragma unroll
                for (int part = side * 2; part < side * 2 + 2; part++) {
                    scores[at][part] = exp2f(scores[at][part] * scale - base);
                    more += scores[at][part];
                }
            sum[side] = sum[side] * shrink[side] + more;
        }
#pragma unroll
        for (int at = 0; at < D / 8; at++) {
            context[at][0] *= shrink[0], context[at][1] *= shrink[0];
            context[at][2] *= shrink[1], context[at][3] *= shrink[1];
        }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            u32 share[4] = {packed<T>(scores[2 * step][0], scores[2 * step][1]),
                            packed<T>(scores[2 * step][2], scores[2 * step][3]),
                            packed<T>(scores[2 * step + 1][0], scores[2 * step + 1][1]),
                            packed<T>(scores[2 * step + 1][2], scores[2 * step + 1][3])};
#pragma unroll
            for (int at = 0; at < D / 8; at += 2) {
                u32 value[4];
                transposed(value, &met.values[step * 16 + (lane & 15)][at * 8 + lane / 16 * 8]);
                multiply<T>(context[at], share, value[0], value[1]);
                multiply<T>(context[at + 1], share, value[2], value[3]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int side = 0; side < 2; side++) {
        sum[side] += __shfl_xor_sync(~0u, sum[side], 1);
        sum[side] += __shfl_xor_sync(~0u, sum[side], 2);
        if (rows[side] >= length) continue;
        float factor = 1.0f / sum[side];
        T *row = out + (size_t)(first + rows[side]) * h + head * D + pair;
#pragma unroll
        for (int at = 0; at < D / 8; at++) {
            float2 b = load2(bias + 2 * h + head * D + at * 8 + pair);
            store2(row + at * 8, context[at][side * 2] * factor + b.x, context[at][side * 2 + 1] * factor + b.y);
        }
    }
}

// Packed rows to [documents, heads, length, D] and back, `into` by rows of `width` numbers; padding becomes zeros.
// Grid: (length, documents) blocks.
template <typename T>
__device__ __forceinline__ void spread(const T *x, const u32 *starts, T *out, int heads, int d, int length) {
    int first = starts[blockIdx.y], rows = starts[blockIdx.y + 1] - first, row = blockIdx.x, h = heads * d;
    for (int column = threadIdx.x; column < h; column += blockDim.x) {
        size_t to = ((size_t)(blockIdx.y * heads + column / d) * length + row) * d + column % d;
        out[to] = row < rows ? x[(size_t)(first + row) * h + column] : narrow<T>(0.0f);
    }
}

template <typename T>
__device__ __forceinline__ void gather(const T *x, const u32 *starts, T *out, int heads, int d, int length) {
    int first = starts[blockIdx.y], rows = starts[blockIdx.y + 1] - first, row = blockIdx.x, h = heads * d;
    if (row >= rows) return;
    for (int column = threadIdx.x; column < h; column += blockDim.x) {
        size_t from = ((size_t)(blockIdx.y * heads + column / d) * length + row) * d + column % d;
        out[(size_t)(first + row) * h + column] = x[from];
    }
}

// The place of a number of [documents, heads, length, length] among those of its document without padding.
__device__ __forceinline__ u64 place(int head, int rows, int row, int column) {
    return ((u64)head * rows + row) * rows + column;
}

// Scores to probabilities in place, and what dropout leaves of them to `left` if it is not null; a warp a row of
// [documents, heads, length, length], zeros where there is padding. Grid: (⌈length / 4⌉, heads, documents).
template <typename T>
__device__ __forceinline__ void softmax(T *x, const u32 *starts, const u64 *keys, T *left, int length, float scale,
                                        u64 limit, float factor) {
    int rows = starts[blockIdx.z + 1] - starts[blockIdx.z], row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (row >= length) return;
    size_t from = ((size_t)(blockIdx.z * gridDim.y + blockIdx.y) * length + row) * length;
    int there = row < rows ? rows : 0;
    float most = -1e30f, sum = 0.0f;
    for (int at = lane; at < there; at += 32) most = fmaxf(most, wide(x[from + at]) * scale);
    most = warp_max(most);
    for (int at = lane; at < there; at += 32) sum += __expf(wide(x[from + at]) * scale - most);
    sum = warp_sum(sum);
    for (int at = lane; at < length; at += 32) {
        float p = at < there ? __expf(wide(x[from + at]) * scale - most) / sum : 0.0f;
        x[from + at] = narrow<T>(p);
        if (left) left[from + at] = narrow<T>(p * kept(keys[blockIdx.z], place(blockIdx.y, rows, row, at), limit, factor));
    }
}

// The gradient of the scores in place of that of the probabilities after dropout: with P the probabilities,
// dS = scale · P · (dP − Σ P dP). Grid as softmax.
template <typename T>
__device__ __forceinline__ void softmax_backward(T *g, const T *p, const u32 *starts, const u64 *keys, int length,
                                                 float scale, u64 limit, float factor) {
    int rows = starts[blockIdx.z + 1] - starts[blockIdx.z], row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (row >= length) return;
    size_t from = ((size_t)(blockIdx.z * gridDim.y + blockIdx.y) * length + row) * length;
    int there = row < rows ? rows : 0;
    u64 key = keys ? keys[blockIdx.z] : 0;
    float sum = 0.0f;
    for (int at = lane; at < there; at += 32) {
        float up = wide(g[from + at]);
        if (keys) up *= kept(key, place(blockIdx.y, rows, row, at), limit, factor);
        sum += up * wide(p[from + at]);
    }
    sum = warp_sum(sum);
    for (int at = lane; at < length; at += 32) {
        float d = 0.0f;
        if (at < there) {
            float up = wide(g[from + at]);
            if (keys) up *= kept(key, place(blockIdx.y, rows, row, at), limit, factor);
            d = scale * wide(p[from + at]) * (up - sum);
        }
        g[from + at] = narrow<T>(d);
    }
}

// Dropout of packed rows; keys[document]. Grid: (⌈longest · h / 256⌉, documents).
template <typename T>
__device__ __forceinline__ void dropout(const T *x, const u32 *starts, const u64 *keys, T *out, int h, u64 limit, float factor) {
    u64 first = (u64)starts[blockIdx.y] * h, count = (u64)starts[blockIdx.y + 1] * h - first;
    u64 at = (u64)blockIdx.x * 256 + threadIdx.x;
    if (at < count) out[first + at] = narrow<T>(wide(x[first + at]) * kept(keys[blockIdx.y], at, limit, factor));
}

// --- the head

// best[document, from + column] = the largest of a column of logits [rows, columns] over the document's rows, plus
// the term's bias; winners the row that gave it, if not null, the first of equal ones. `first` is the row of the
// first logit, `document` the number of the first document. Grid: (⌈columns / 128⌉, documents) blocks of 128.
extern "C" __global__ void max_over_tokens(const float *logits, const float *bias, const u32 *starts, float *best,
                                           u32 *winners, int columns, int from, int terms, int first, int document) {
    int column = blockIdx.x * 128 + threadIdx.x, number = document + blockIdx.y;
    if (column >= columns) return;
    int begin = starts[number], rows = starts[number + 1] - begin, row = 0;
    const float *x = logits + (size_t)(begin - first) * columns + column;
    float most = x[0];
    u32 winner = 0;
    for (; row + 8 <= rows; row += 8) {
        float next[8];
#pragma unroll
        for (int at = 0; at < 8; at++) next[at] = x[(size_t)(row + at) * columns];
#pragma unroll
        for (int at = 0; at < 8; at++) {
            // a NaN wins and stays, so that it is reported
            bool larger = next[at] > most || next[at] != next[at];
            if (larger && most == most) most = next[at], winner = row + at;
        }
    }
    for (; row < rows; row++) {
        float next = x[(size_t)row * columns];
        if ((next > most || next != next) && most == most) most = next, winner = row;
    }
    size_t to = (size_t)number * terms + from + column;
    best[to] = most + bias[from + column];
    if (winners) winners[to] = begin + winner;
}

// dW[term] = Σ over documents of g · hidden[winner]; db[term] = Σ g. Grid: a block of 128 a term.
template <typename T>
__device__ __forceinline__ void head_weight_backward(const float *g, const u32 *winners, const T *hidden, float *dw,
                                                     float *db, int documents, int terms, int h) {
    int term = blockIdx.x;
    float total = 0.0f;
    for (int from = threadIdx.x * 2; from < h; from += 256) {
        float2 sum = make_float2(0.0f, 0.0f);
        for (int document = 0; document < documents; document++) {
            float up = g[(size_t)document * terms + term];
            if (up == 0.0f) continue;
            float2 x = load2(hidden + (size_t)winners[(size_t)document * terms + term] * h + from);
            sum.x += up * x.x, sum.y += up * x.y;
        }
        store2(dw + (size_t)term * h + from, sum.x, sum.y);
    }
    if (threadIdx.x) return;
    for (int document = 0; document < documents; document++) total += g[(size_t)document * terms + term];
    db[term] = total;
}

// dhidden[winner] += g · W[term], f32 sums that begin as zeros. Grid: (⌈terms / 64⌉, documents) blocks of 128; the
// order of the sums is not fixed.
template <typename T>
__device__ __forceinline__ void head_hidden_backward(const float *g, const u32 *winners, const T *weight, float *dhidden,
                                                     int terms, int h) {
    int end = min((int)(blockIdx.x + 1) * 64, terms);
    for (int term = blockIdx.x * 64; term < end; term++) {
        size_t at = (size_t)blockIdx.y * terms + term;
        float up = g[at];
        if (up == 0.0f) continue;
        float *to = dhidden + (size_t)winners[at] * h;
        for (int from = threadIdx.x; from < h; from += 128) atomicAdd(to + from, up * wide(weight[(size_t)term * h + from]));
    }
}

// table[ids[row]] += g[row]. Grid: a block a row.
template <typename T>
__device__ __forceinline__ void add_rows(const T *g, const u32 *ids, float *table, int h) {
    for (int at = threadIdx.x; at < h; at += blockDim.x)
        atomicAdd(table + (size_t)ids[blockIdx.x] * h + at, wide(g[(size_t)blockIdx.x * h + at]));
}

// --- the optimizer

// As `train::adamw`. Any grid.
extern "C" __global__ void adamw(float *p, float *m, float *v, const float *g, u64 count, float b1, float b2, float rest1,
                                 float rest2, float keep, float step, float root, float epsilon, float factor) {
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += (u64)gridDim.x * blockDim.x) {
        float grad = g[at] * factor;
        float first = b1 * m[at] + rest1 * grad, second = b2 * v[at] + rest2 * grad * grad;
        m[at] = first, v[at] = second;
        p[at] = p[at] * keep - step * first / (sqrtf(second) * root + epsilon);
    }
}

// sum += Σ x². Any grid of blocks of 256.
extern "C" __global__ void add_squares(const float *x, double *sum, u64 count) {
    __shared__ float parts[8];
    float own = 0.0f;
    for (u64 at = (u64)blockIdx.x * 256 + threadIdx.x; at < count; at += (u64)gridDim.x * 256) own += x[at] * x[at];
    own = warp_sum(own);
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x) return;
    double all = 0.0;
    for (int at = 0; at < 8; at++) all += parts[at];
    atomicAdd(sum, all);
}

// --- names that can be asked for

#define FOR_PAIRS(T, NAME, PAIRS)                                                                                          \
    extern "C" __global__ void norm_##PAIRS##_##NAME(const T *x, const float *bias, const T *residual, const float *scale, \
                                                     const float *shift, T *out, int rows, int h, float epsilon) {         \
        norm<T, PAIRS>(x, bias, residual, scale, shift, out, rows, h, epsilon);                                            \
    }                                                                                                                      \
    extern "C" __global__ void embed_##PAIRS##_##NAME(const u32 *ids, const u32 *places, const T *words,                   \
                                                      const T *positions, const T *types, const float *scale,              \
                                                      const float *shift, T *out, int rows, int h, float epsilon) {        \
        embed<T, PAIRS>(ids, places, words, positions, types, scale, shift, out, rows, h, epsilon);                        \
    }                                                                                                                      \
    extern "C" __global__ void norm_backward_##PAIRS##_##NAME(const T *x, const float *scale, const T *g, T *dx,           \
                                                              float *parts, int rows, int h, float epsilon) {              \
        norm_backward<T, PAIRS>(x, scale, g, dx, parts, rows, h, epsilon);                                                 \
    }

#define FOR_TYPE(T, NAME)                                                                                                  \
    FOR_PAIRS(T, NAME, 2)                                                                                                  \
    FOR_PAIRS(T, NAME, 6)                                                                                                  \
    FOR_PAIRS(T, NAME, 12)                                                                                                 \
    FOR_PAIRS(T, NAME, 16)                                                                                                 \
    extern "C" __global__ void bias_##NAME(const T *x, const float *bias, T *out, u64 count, int columns) {                \
        biased<T, false>(x, bias, out, count, columns);                                                                    \
    }                                                                                                                      \
    extern "C" __global__ void bias_gelu_##NAME(const T *x, const float *bias, T *out, u64 count, int columns) {           \
        biased<T, true>(x, bias, out, count, columns);                                                                     \
    }                                                                                                                      \
    extern "C" __global__ void gelu_backward_##NAME(const T *x, const T *g, T *dx, u64 count) {                            \
        gelu_backward<T>(x, g, dx, count);                                                                                 \
    }                                                                                                                      \
    extern "C" __global__ void column_sums_##NAME(const T *x, float *sums, int rows, int columns, int step) {              \
        column_sums<T>(x, sums, rows, columns, step);                                                                      \
    }                                                                                                                      \
    extern "C" __global__ void spread_##NAME(const T *x, const u32 *starts, T *out, int heads, int d, int length) {        \
        spread<T>(x, starts, out, heads, d, length);                                                                       \
    }                                                                                                                      \
    extern "C" __global__ void gather_##NAME(const T *x, const u32 *starts, T *out, int heads, int d, int length) {        \
        gather<T>(x, starts, out, heads, d, length);                                                                       \
    }                                                                                                                      \
    extern "C" __global__ void softmax_##NAME(T *x, const u32 *starts, const u64 *keys, T *left, int length, float scale,  \
                                              u64 limit, float factor) {                                                   \
        softmax<T>(x, starts, keys, left, length, scale, limit, factor);                                                   \
    }                                                                                                                      \
    extern "C" __global__ void softmax_backward_##NAME(T *g, const T *p, const u32 *starts, const u64 *keys, int length,   \
                                                       float scale, u64 limit, float factor) {                             \
        softmax_backward<T>(g, p, starts, keys, length, scale, limit, factor);                                             \
    }                                                                                                                      \
    extern "C" __global__ void dropout_##NAME(const T *x, const u32 *starts, const u64 *keys, T *out, int h, u64 limit,    \
                                              float factor) {                                                              \
        dropout<T>(x, starts, keys, out, h, limit, factor);                                                                \
    }                                                                                                                      \
    extern "C" __global__ void head_weight_backward_##NAME(const float *g, const u32 *winners, const T *hidden, float *dw, \
                                                           float *db, int documents, int terms, int h) {                   \
        head_weight_backward<T>(g, winners, hidden, dw, db, documents, terms, h);                                          \
    }                                                                                                                      \
    extern "C" __global__ void head_hidden_backward_##NAME(const float *g, const u32 *winners, const T *weight,            \
                                                           float *dhidden, int terms, int h) {                             \
        head_hidden_backward<T>(g, winners, weight, dhidden, terms, h);                                                    \
    }                                                                                                                      \
    extern "C" __global__ void add_rows_##NAME(const T *g, const u32 *ids, float *table, int h) {                          \
        add_rows<T>(g, ids, table, h);                                                                                     \
    }

#define FOR_HEAD(T, NAME, D)                                                                                               \
    extern "C" __global__ void __launch_bounds__(128)                                                                      \
        attention_##D##_##NAME(const T *qkv, const float *bias, const u32 *starts, T *out, int heads, float scale) {       \
        attention<T, D>(qkv, bias, starts, out, heads, scale);                                                             \
    }

FOR_TYPE(float, f32)
FOR_TYPE(bf16, bf16)
FOR_TYPE(half, f16)
FOR_HEAD(bf16, bf16, 32)
FOR_HEAD(bf16, bf16, 64)
FOR_HEAD(half, f16, 32)
FOR_HEAD(half, f16, 64)
