/* Products of a few rows with a large matrix, C = A B', in the place of a BLAS's cblas_sgemm.

   A decoding step multiplies a row or two dozen by every weight of the network. A BLAS copies each weight into an order
   of its own first, which pays from a hundred rows on; here a weight is read once, as it lies in memory, and what is
   needed next is asked for while the last is multiplied. All other products go on to the BLAS.

   An element of C is added up in the same order however many rows, threads and columns there are, and wherever its
   arrays lie: a row's result does not depend on what else is decoded. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { LANES = 8 };
#else
#error "a processor with AVX2 is needed"
#endif
enum { COLUMNS = 4, ROWS = LANES / COLUMNS }; /* of a tile: as many sums as a vector has lanes */
enum { FEW = 32, LARGE = 1 << 16 };           /* rows at most, numbers of the matrix at least */
static const double SMALL = 5e5;             /* multiplications of a product that one thread does best */
enum { ROW_MAJOR = 101, AS_IS = 111, TURNED = 112 };
static const long PATIENCE = 200000; /* nanoseconds a thread waits awake for the next product */

typedef float vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int places __attribute__((vector_size(LANES * 4)));
#define INLINE static inline __attribute__((always_inline))

typedef void gemm(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);

typedef struct {
    long rows, columns, inner;   /* of A: [rows, inner]; of B: [columns, inner] */
    const float *a, *b;
    float *c;                    /* [rows, columns] */
    long a_step, b_step, c_step; /* from a row to the next */
} product;

/* Lanes of two vectors added in pairs `half` apart, those of x in every first half, those of y in every second. */
INLINE vector folded(vector x, vector y, int half) {
    places low, high;
    int l = 0, h = 0;
#pragma GCC unroll 32
    for (int i = 0; i < 2 * LANES; i++) {
        if (i / half % 2) high[h++] = i;
        else low[l++] = i;
    }
    return __builtin_shuffle(x, y, low) + __builtin_shuffle(x, y, high);
}

/* The sums over the lanes of so many vectors as there are lanes. */
INLINE vector totals(vector *sums) {
    int count = LANES;
#pragma GCC unroll 4
    for (int half = LANES / 2; half; half /= 2) {
        count /= 2;
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) sums[i] = folded(sums[2 * i], sums[2 * i + 1], half);
    }
    return sums[0];
}

/* A tile of C; meanwhile `coming` rows of B from `ahead` on are fetched. */
INLINE void tile(const product *p, long row, long column, const float *ahead, int coming) {
    const float *a = p->a + row * p->a_step, *b = p->b + column * p->b_step;
    vector sums[ROWS * COLUMNS] = {0};
    long i = 0;
    for (; i + LANES <= p->inner; i += LANES) {
        for (int j = 0; j < coming; j++) __builtin_prefetch(ahead + j * p->b_step + i, 0, 2);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; j++)
                sums[r * COLUMNS + j] += *(const vector *)(a + r * p->a_step + i) * *(const vector *)(b + j * p->b_step + i);
    }
    vector all = totals(sums);
    for (int r = 0; r < ROWS && row + r < p->rows; r++)
        for (int j = 0; j < COLUMNS; j++) {
            float sum = all[r * COLUMNS + j];
            for (long k = i; k < p->inner; k++) sum += a[r * p->a_step + k] * b[j * p->b_step + k];
            p->c[(row + r) * p->c_step + column + j] = sum;
        }
}

/* All rows of a tile's columns; each tile fetches `coming` rows of what comes next of B. */
INLINE void strip(const product *p, long column, int coming) {
    const float *ahead = p->b + (column + COLUMNS) * p->b_step;
    for (long row = 0; row < p->rows; row += ROWS, ahead += coming * p->b_step) tile(p, row, column, ahead, coming);
}

static void multiply(const product *p, long from, long to) {
    for (long column = from; column < to; column += COLUMNS) {
        long start = column + COLUMNS <= p->columns ? column : p->columns - COLUMNS; /* the last may overlap */
        if (p->rows <= ROWS) strip(p, start, COLUMNS);
        else if (p->rows <= 2 * ROWS) strip(p, start, 2);
        else strip(p, start, 1);
    }
}

static gemm *blas;
static int (*limit_threads)(int);
static int threads = 1;
static product work;
static float *packed; /* the rows of A next to each other, each beginning where a vector may */
static long room;
static atomic_long turn, finished, asleep, taken;
static pthread_mutex_t one_product = PTHREAD_MUTEX_INITIALIZER, door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;

static void share(long number) {
    long each = (work.columns + threads - 1) / threads, from, to;
    each = (each + COLUMNS - 1) / COLUMNS * COLUMNS;
    from = number * each;
    to = from + each < work.columns ? from + each : work.columns;
    if (from < to) multiply(&work, from, to);
}

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void *serve(void *number) {
    for (long seen = 0;; seen++) {
        long start = now();
        while (atomic_load(&turn) == seen) {
            for (int i = 0; i < 16; i++) __builtin_ia32_pause();
            sched_yield(); /* MLX's own threads may need the core */
            if (now() - start < PATIENCE) continue;
            pthread_mutex_lock(&door);
            atomic_fetch_add(&asleep, 1);
            while (atomic_load(&turn) == seen) pthread_cond_wait(&bell, &door);
            atomic_fetch_sub(&asleep, 1);
            pthread_mutex_unlock(&door);
        }
        share((long)number);
        atomic_fetch_add(&finished, 1);
    }
    return NULL;
}

/* Take products of few rows from now on, with at most so many threads; `other` serves the rest. `limit`, if any, sets
   how many threads `other` takes and returns how many it was. */
void few_rows_start(gemm *other, int count, int (*limit)(int)) {
    pthread_t thread;
    blas = other;
    limit_threads = limit;
    while (threads < count && !pthread_create(&thread, NULL, serve, (void *)(long)threads)) threads++;
}

/* How many products were computed here. */
long few_rows_taken(void) { return atomic_load(&taken); }

static int prepare(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float *c, int ldc) {
    long step = (k + 15L) / 16 * 16, whole = (m + ROWS - 1) / ROWS * ROWS; /* the last tile's rows that are none: 0 */
    if (room < whole * step) {
        free(packed);
        packed = aligned_alloc(64, whole * step * sizeof *packed);
        room = packed ? whole * step : 0;
        if (!packed) return 0;
    }
    for (long row = 0; row < m; row++) memcpy(packed + row * step, a + row * lda, k * sizeof *a);
    memset(packed + m * step, 0, (whole - m) * step * sizeof *packed);
    work = (product){m, n, k, packed, b, c, step, ldb, ldc};
    return 1;
}

void cblas_sgemm(int order, int a_order, int b_order, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    int few = order == ROW_MAJOR && a_order == AS_IS && b_order == TURNED && m > 0 && m <= FEW && n >= COLUMNS &&
              (long)n * k >= LARGE && alpha == 1 && beta == 0;
    if (few) {
        pthread_mutex_lock(&one_product);
        if ((few = prepare(m, n, k, a, lda, b, ldb, c, ldc))) {
            atomic_store(&finished, 0);
            atomic_fetch_add(&turn, 1);
            if (atomic_load(&asleep)) {
                pthread_mutex_lock(&door);
                pthread_cond_broadcast(&bell);
                pthread_mutex_unlock(&door);
            }
            share(0);
            while (atomic_load(&finished) < threads - 1) __builtin_ia32_pause();
            atomic_fetch_add(&taken, 1);
        }
        pthread_mutex_unlock(&one_product);
    }
    if (few) return;
    int limited = limit_threads && (double)m * n * k < SMALL, before = limited ? limit_threads(1) : 0;
    blas(order, a_order, b_order, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (limited) limit_threads(before);
}
