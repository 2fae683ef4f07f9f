/* Products of a few rows with a matrix in the place of a BLAS's cblas_sgemm.

   A decoding step multiplies a row or two dozen by every weight of the network. A BLAS copies each weight into an order
   of its own first, which pays from a hundred rows on; here a weight is read once, as it lies in memory, and what is
   needed next is asked for while the last is multiplied. Then it multiplies the queries of every row and head by that
   row's few keys and values: so small that a BLAS takes longer to begin than to multiply. All other products go on to
   the BLAS, to OpenBLAS those with a long prompt's keys and values in slices.

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
enum { FEWER = 8, SHORT = 512 };              /* rows at most and numbers of each where the matrix is not large */
enum { NEAR = 624 };                          /* numbers of A's rows that stay in a core's first cache */
enum { MOST_THREADS = 64, PIECE = 48, COUNT_BITS = 32 }; /* PIECE: columns that a thread takes at a time */
static const double SMALL = 5e5;              /* multiplications of a product that one thread does best */
enum { ALONE = 1 << 18, SLICES = 40, THIN = 128 }; /* of a slice at most; how many of these; two sides at most */
enum { ROW_MAJOR = 101, AS_IS = 111, TURNED = 112 };
static const long PATIENCE = 200000; /* nanoseconds a thread waits awake for the next product */

typedef float vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int places __attribute__((vector_size(LANES * 4)));
#define INLINE static inline __attribute__((always_inline))

typedef void gemm(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);

typedef struct {
    long rows, columns, inner;   /* of A: [rows, inner]; of B: [columns, inner], or [inner, columns] where C = A B */
    const float *a, *b;
    float *c;                    /* [rows, columns] */
    long a_step, b_step, c_step; /* from a row to the next */
} product;

static long least(long x, long y) { return x < y ? x : y; }
static long padded(long count, long multiple) { return (count + multiple - 1) / multiple * multiple; }

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

/* rows x columns sums over [from, to) of the inner dimension, those of the first `done` columns left out; what comes
   after the first such range is added to C. Meanwhile `coming` rows of B from `ahead` on are fetched. */
INLINE void tile(const product *p, const int rows, const int columns, long row, long column, int done, long from,
                 long to, const float *ahead, int coming) {
    const float *a = p->a + row * p->a_step, *b = p->b + column * p->b_step;
    vector sums[LANES] = {0};
    float found[LANES];
    long i = from;
    for (; i + LANES <= to; i += LANES) {
        for (int j = 0; j < coming; j++) __builtin_prefetch(ahead + j * p->b_step + i, 0, 2);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++)
                sums[r * columns + j] += *(const vector *)(a + r * p->a_step + i) * *(const vector *)(b + j * p->b_step + i);
    }
    *(vector *)found = totals(sums);
    for (; i < to; i++)
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < columns; j++) found[r * columns + j] += a[r * p->a_step + i] * b[j * p->b_step + i];
    for (int r = 0; r < rows && row + r < p->rows; r++) {
        float *c = p->c + (row + r) * p->c_step + column;
        for (int j = done; j < columns; j++) c[j] = (from ? c[j] : 0) + found[r * columns + j];
    }
}

/* Columns [first, last) of C, a tile's after the other; the last tile of C begins where it fits. */
INLINE void strips(const product *p, const int rows, const int columns, const int coming, long first, long last,
                   long from, long to) {
    for (long next = first; next < last; next += columns) {
        long column = next + columns <= p->columns ? next : p->columns - columns;
        const float *ahead = p->b + (column + COLUMNS) * p->b_step;
        for (long row = 0; row < p->rows; row += rows, ahead += coming * p->b_step)
            tile(p, rows, columns, row, column, next - column, from, to, ahead, coming);
    }
}

static void multiply(const product *p, long first, long last) {
    long parts = (p->inner + NEAR - 1) / NEAR, each = padded(p->inner / parts, LANES);
    for (long from = 0; from < p->inner; from += each) {
        long to = least(from + each, p->inner);
        if (p->rows <= ROWS) strips(p, ROWS, COLUMNS, COLUMNS, first, last, from, to);
        else if (p->rows <= 2 * ROWS) strips(p, ROWS, COLUMNS, 2, first, last, from, to);
        else if (p->rows <= 3 * ROWS || p->rows > LANES) strips(p, ROWS, COLUMNS, 1, first, last, from, to);
        else strips(p, 2 * ROWS, COLUMNS / 2, 1, first, last, from, to); /* reads B more in the order it lies in */
    }
}

/* The rows of A, each beginning where a vector may; a tile's rows that are none: 0. */
static void lay_out(float *rows, long step, const product *p) {
    long row = 0;
    for (; row < p->rows; row++) memcpy(rows + row * step, p->a + row * p->a_step, p->inner * sizeof *rows);
    memset(rows + row * step, 0, (padded(row, 2 * ROWS) - row) * step * sizeof *rows);
}

/* C = A B: at most COLUMNS rows and ROWS vectors of columns at a time. */
INLINE void block(const product *p, const int rows, const int vectors, long row, long column) {
    const float *a = p->a + row * p->a_step, *b = p->b + column;
    vector sums[ROWS * COLUMNS] = {0};
    for (long i = 0; i < p->inner; i++, b += p->b_step)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) sums[r * vectors + v] += a[r * p->a_step + i] * *(const vector *)(b + v * LANES);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            *(vector *)(p->c + (row + r) * p->c_step + column + v * LANES) = sums[r * vectors + v];
}

INLINE void blocks(const product *p, const int vectors, long column) {
    long row = 0;
    for (; row + COLUMNS <= p->rows; row += COLUMNS) block(p, COLUMNS, vectors, row, column);
    if (p->rows - row == 3) block(p, 3, vectors, row, column);
    else if (p->rows - row == 2) block(p, 2, vectors, row, column);
    else if (p->rows - row == 1) block(p, 1, vectors, row, column);
}

/* Products with a matrix that is not large, on the calling thread: those of attention while it decodes. C = A B': */
static void small_by_rows(const product *given) {
    float rows[FEWER * SHORT] __attribute__((aligned(64)));
    product p = *given;
    p.a = rows, p.a_step = padded(p.inner, 16);
    lay_out(rows, p.a_step, given);
    multiply(&p, 0, p.columns);
}

/* C = A B: */
static void small_by_columns(const product *p) {
    long column = 0;
    for (; column + ROWS * LANES <= p->columns; column += ROWS * LANES) blocks(p, ROWS, column);
    for (; column < p->columns; column += LANES) blocks(p, 1, column);
}

static gemm *blas;
static int (*limit_threads)(int);
static int threads = 1;
static product work;
static float *packed; /* the rows of A next to each other, each beginning where a vector may */
static long room;
static long pieces, each; /* of C's columns: all, and a thread's own, which others take when theirs are done */
static atomic_long left[MOST_THREADS]; /* for each thread: the product's number, and how many pieces nobody has begun */
static atomic_long finished, asleep, taken; /* finished: pieces of this product */
static pthread_mutex_t one_product = PTHREAD_MUTEX_INITIALIZER, door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;

static long number_of(long entry) { return entry >> COUNT_BITS; }
static long count_of(long entry) { return entry & ((1L << COUNT_BITS) - 1); }
static long newest(void) { return number_of(atomic_load(&left[0])); }

/* Multiply one of the pieces that are `owner`'s; 0 if none is left, or if the product of this number is over. */
static int take_piece(long number, int owner) {
    long entry = atomic_load(&left[owner]), first;
    do {
        if (number_of(entry) != number || !count_of(entry)) return 0;
    } while (!atomic_compare_exchange_weak(&left[owner], &entry, entry - 1));
    /* the product is not over before this piece is, so from here on `work`, `pieces` and `each` are its own */
    first = (least((owner + 1) * each, pieces) - count_of(entry)) * PIECE;
    multiply(&work, first, least(first + PIECE, work.columns));
    atomic_fetch_add(&finished, 1);
    return 1;
}

static void share(long number, int thread) {
    for (int i = 0; i < threads; i++)
        while (take_piece(number, (thread + i) % threads)) {}
}

/* Let all threads share `work`; back when it is done. */
static void share_out(void) {
    long number = newest() + 1;
    pieces = (work.columns + PIECE - 1) / PIECE;
    each = (pieces + threads - 1) / threads;
    atomic_store(&finished, 0);
    for (int i = threads - 1; i >= 0; i--) { /* threads begin when they see the first one's */
        long others = least(i * each, pieces);
        atomic_store(&left[i], number << COUNT_BITS | least(each, pieces - others));
    }
    if (atomic_load(&asleep)) {
        pthread_mutex_lock(&door);
        pthread_cond_broadcast(&bell);
        pthread_mutex_unlock(&door);
    }
    share(number, 0);
    while (atomic_load(&finished) < pieces) __builtin_ia32_pause();
}

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void *serve(void *thread) {
    for (long seen = 0;;) {
        long start = now();
        while (newest() == seen) {
            for (int i = 0; i < 16; i++) __builtin_ia32_pause();
            sched_yield(); /* MLX's own threads may need the core */
            if (now() - start < PATIENCE) continue;
            pthread_mutex_lock(&door);
            atomic_fetch_add(&asleep, 1);
            while (newest() == seen) pthread_cond_wait(&bell, &door);
            atomic_fetch_sub(&asleep, 1);
            pthread_mutex_unlock(&door);
        }
        seen = newest();
        share(seen, (int)(long)thread);
    }
    return NULL;
}

/* Take products of few rows from now on, with at most so many threads; `other` serves the rest. `limit`, if any, sets
   how many threads `other` takes and returns how many it was. */
void few_rows_start(gemm *other, int count, int (*limit)(int)) {
    pthread_t thread;
    blas = other;
    limit_threads = limit;
    count = least(count, MOST_THREADS);
    while (threads < count && !pthread_create(&thread, NULL, serve, (void *)(long)threads)) threads++;
}

/* How many products were computed here. */
long few_rows_taken(void) { return atomic_load(&taken); }

/* `work` is this product; 0 if there is no memory for it. */
static int prepare(const product *given) {
    long step = padded(given->inner, 16), whole = padded(given->rows, 2 * ROWS);
    if (room < whole * step) {
        free(packed);
        packed = aligned_alloc(64, whole * step * sizeof *packed);
        room = packed ? whole * step : 0;
        if (!packed) return 0;
    }
    work = *given;
    work.a = packed, work.a_step = step;
    lay_out(packed, step, given);
    return 1;
}

/* A thin product, as those with a long prompt's keys and values while rows are decoded, in slices of its longest side
   that OpenBLAS leaves to the calling thread: its own threads would stay awake beside ours after every one of them.
   0 if the product is another. */
static int in_slices(int a_order, int b_order, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                     int ldb, float beta, float *c, int ldc) {
    double all = (double)m * n * k;
    if (all <= ALONE || all > (double)SLICES * ALONE || (m > THIN) + (n > THIN) + (k > THIN) > 1) return 0;
    int longest = m > n ? (m > k ? m : k) : (n > k ? n : k), each = ALONE / (all / longest);
    long a_row = a_order == AS_IS ? lda : 1, a_inner = a_order == AS_IS ? 1 : lda;
    long b_inner = b_order == AS_IS ? ldb : 1, b_column = b_order == AS_IS ? 1 : ldb;
    for (long i = 0; i < longest; i += each) {
        int count = least(each, longest - i);
        if (m == longest)
            blas(ROW_MAJOR, a_order, b_order, count, n, k, alpha, a + i * a_row, lda, b, ldb, beta, c + i * ldc, ldc);
        else if (n == longest)
            blas(ROW_MAJOR, a_order, b_order, m, count, k, alpha, a, lda, b + i * b_column, ldb, beta, c + i, ldc);
        else
            blas(ROW_MAJOR, a_order, b_order, m, n, count, alpha, a + i * a_inner, lda, b + i * b_inner, ldb,
                 i ? 1 : beta, c, ldc);
    }
    return 1;
}

void cblas_sgemm(int order, int a_order, int b_order, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    product p = {m, n, k, a, b, c, lda, ldb, ldc};
    int plain = order == ROW_MAJOR && a_order == AS_IS && alpha == 1 && beta == 0 && m > 0 && k > 0, done = 0;
    if (plain && (long)n * k >= LARGE) {
        if (b_order == TURNED && m <= FEW && n >= COLUMNS) {
            pthread_mutex_lock(&one_product);
            if ((done = prepare(&p))) share_out();
            pthread_mutex_unlock(&one_product);
        }
    } else if (plain && m <= FEWER) {
        if ((done = b_order == TURNED && n >= COLUMNS && k <= SHORT)) small_by_rows(&p);
        else if ((done = b_order == AS_IS && n >= LANES && n % LANES == 0)) small_by_columns(&p);
    }
    if (done) {
        atomic_fetch_add(&taken, 1);
        return;
    }
    if (!limit_threads && order == ROW_MAJOR &&
        in_slices(a_order, b_order, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)) return;
    int limited = limit_threads && (double)m * n * k < SMALL, before = limited ? limit_threads(1) : 0;
    blas(order, a_order, b_order, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (limited) limit_threads(before);
}
