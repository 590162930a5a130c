/* Pillow's resize of 8-bit pixels, bit for bit. It computes only the part of the result that a crop keeps.

   The arithmetic is that of Pillow 13 (src/libImaging/Resample.c): weights of 22 fractional bits, two passes, each
   rounded to 8 bits. Sums are modulo 2^32, in any order. The absolute values of an output's weights sum to at most
   1.27 * 2^22, and pixels are at most 255, so the final sum fits into 32 bits. Intermediate sums may overflow: modulo
   2^32 that does not change the final sum.

   resize(schema, array, source, bands, size, box, bicubic, height_first) -> bytes; see _resample.pyi. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if SIZE_MAX < UINT64_MAX
#error "sizes are computed in 64 bits: the longest side is MAX_SIDE, so that no product below reaches 2^40"
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(PLAIN)
#include <immintrin.h>
#define WITH_AVX2
#define AVX2 __attribute__((target("avx2")))
#endif
#define INLINE static inline __attribute__((always_inline))

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1), STEP = 4, MAX_SIDE = 65535 };

static int avx2; /* whether this processor has AVX2 */

/* The stable ABI of Arrow's C data interface: https://arrow.apache.org/docs/format/CDataInterface.html */
typedef struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
} ArrowSchema;

typedef struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
} ArrowArray;

/* The weights of all outputs along one side. Output i is the sum of inputs[first[i] + j] * weights[i * most + j] for j
   below count[i]. All of these inputs exist. `whole_steps`: the side is long enough that all counts are multiples of
   STEP, padded with weights of 0. `parts` has two weights as four 16-bit numbers: both low halves, both high halves. */
typedef struct {
    int outputs, most, whole_steps;
    int *first, *count;
    int32_t *weights;
    int16_t *parts;
} Taps;

typedef struct {
    const uint8_t *pixels;
    size_t row; /* bytes from one row to the next */
} Rows;

/* Compilers for 64-bit ARM round a product and a sum once where they can, and so do Pillow's wheels. Only the weights of the
   bicubic filter have such sums. */
#ifdef __aarch64__
#define MULTIPLY_ADD(a, b, c) fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return MULTIPLY_ADD(MULTIPLY_ADD(a + 2.0, x, -(a + 3.0)) * x, x, 1);
    if (x < 2.0)
        return MULTIPLY_ADD(MULTIPLY_ADD(x - 5, x, 8), x, -4) * a;
    return 0.0;
}

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static void free_taps(Taps *taps) {
    free(taps->first);
    free(taps->count);
    free(taps->weights);
    free(taps->parts);
}

/* Computes the `count` weights of output i, from the input `from` on, as precompute_coeffs of Pillow does. */
static void weigh(const Taps *taps, int i, int from, int count, double center, double scale, int is_bicubic) {
    int32_t *weights = taps->weights + (size_t)i * (size_t)taps->most + (from - taps->first[i]);
    double inverse = 1.0 / scale, sum = 0.0;
    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j < count; j++) {
            double x = (j + from - center + 0.5) * inverse;
            double weight = is_bicubic ? bicubic(x) : bilinear(x);
            if (pass == 0) {
                sum += weight;
                continue;
            }
            if (sum != 0.0)
                weight /= sum;
            weights[j] = (int32_t)((weight < 0 ? -0.5 : 0.5) + weight * (1 << PRECISION));
        }
}

/* Makes the taps of outputs `begin` to `end` of a side that is resized from `in` to `out` pixels. False: no memory. */
static int make_taps(Taps *taps, int in, int out, int begin, int end, int is_bicubic) {
    double scale = (double)in / out, filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = (is_bicubic ? 2.0 : 1.0) * filter_scale;
    int most = (int)ceil(support) * 2 + 1; /* 4 * MAX_SIDE + 1 at most */
    taps->outputs = end - begin;
    taps->most = (most + STEP - 1) / STEP * STEP;
    taps->whole_steps = in >= taps->most;
    size_t outputs = (size_t)taps->outputs, all = outputs * (size_t)taps->most;
    taps->first = calloc(outputs, sizeof *taps->first);
    taps->count = calloc(outputs, sizeof *taps->count);
    taps->weights = calloc(all, sizeof *taps->weights);
    taps->parts = calloc(all, 2 * sizeof *taps->parts);
    if (!taps->first || !taps->count || !taps->weights || !taps->parts)
        return 0;
    for (int i = 0; i < taps->outputs; i++) {
        double center = (i + begin + 0.5) * scale;
        int from = (int)(center - support + 0.5), to = (int)(center + support + 0.5);
        from = from < 0 ? 0 : from;
        to = to > in ? in : to;
        to = to > from + most ? from + most : to; /* never so: the ends are 2 * support apart, each rounded once */
        /* Whole steps: adds inputs of weight 0, and begins earlier where the side would end too soon. */
        int count = (to - from + STEP - 1) / STEP * STEP;
        count = count > in ? in : count;
        taps->count[i] = count;
        taps->first[i] = from > in - count ? in - count : from;
        weigh(taps, i, from, to - from, center, filter_scale, is_bicubic);
    }
    /* Every window contains the middle of its filter, so no weight is above 1.13 * 2^22: its parts fit into 16 bits. */
    for (size_t j = 0; j < all; j++) {
        int32_t low = (int16_t)(taps->weights[j] & 0xFFFF), high = (taps->weights[j] - low) / 65536;
        taps->parts[j / 2 * 4 + j % 2] = (int16_t)low;
        taps->parts[j / 2 * 4 + 2 + j % 2] = (int16_t)high;
    }
    return 1;
}

/* Returns how many inputs all outputs need together, beginning with *begin. Shifts `first` to count from there. */
static int needed(Taps *taps, int *begin) {
    int end = 0;
    *begin = MAX_SIDE;
    for (int i = 0; i < taps->outputs; i++) {
        int first = taps->first[i], after = first + taps->count[i];
        *begin = first < *begin ? first : *begin;
        end = after > end ? after : end;
    }
    for (int i = 0; i < taps->outputs; i++)
        taps->first[i] -= *begin;
    return end - *begin;
}

INLINE uint8_t rounded(uint32_t sum) {
    int32_t value = (int32_t)(sum + HALF) >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Resizes one row of pixels of `size` bytes along its width. */
INLINE void across_row(const uint8_t *in, const Taps *taps, int size, uint8_t *out) {
    for (int i = 0; i < taps->outputs; i++) {
        const int32_t *weights = taps->weights + (size_t)i * (size_t)taps->most;
        const uint8_t *pixels = in + taps->first[i] * size;
        uint32_t sums[4] = {0};
        for (int j = 0; j < taps->count[i]; j++)
            for (int band = 0; band < size; band++)
                sums[band] += (uint32_t)weights[j] * pixels[j * size + band];
        for (int band = 0; band < size; band++)
            out[i * size + band] = rounded(sums[band]);
    }
}

/* Computes `bytes` bytes of output row i, along the height. */
INLINE void down_row(Rows in, const Taps *taps, int i, int bytes, uint8_t *out) {
    const int32_t *weights = taps->weights + (size_t)i * (size_t)taps->most;
    for (int x = 0; x < bytes; x += 16) {
        uint32_t sums[16] = {0};
        int columns = bytes - x < 16 ? bytes - x : 16;
        const uint8_t *pixels = in.pixels + (size_t)taps->first[i] * in.row + x;
        for (int j = 0; j < taps->count[i]; j++, pixels += in.row)
            for (int c = 0; c < columns; c++)
                sums[c] += (uint32_t)weights[j] * pixels[c];
        for (int c = 0; c < columns; c++)
            out[x + c] = rounded(sums[c]);
    }
}

#ifdef WITH_AVX2
/* A weight is 65536 * high + low. vpmaddwd multiplies two 8-bit pixels by two 16-bit parts and adds the products; a sum
   fits into 25 bits. */
AVX2 INLINE __m256i pair_of(const int16_t *parts) {
    int32_t both;
    memcpy(&both, parts, sizeof both);
    return _mm256_set1_epi32(both);
}

AVX2 INLINE __m256i values(__m256i low, __m256i high) {
    __m256i sum = _mm256_add_epi32(low, _mm256_slli_epi32(high, 16));
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(HALF)), PRECISION);
}

AVX2 INLINE __m256i add_products(__m256i sum, __m256i pixels, __m256i parts) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pixels, parts));
}

AVX2 INLINE __m256i two_rows(const uint8_t *upper, const uint8_t *lower) {
    __m128i a = _mm_loadu_si128((const __m128i *)upper), b = _mm_loadu_si128((const __m128i *)lower);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

/* Resizes four rows of 4-byte pixels; in[] and out[] may repeat a row. A step reads STEP pixels of each row. */
AVX2 static void across_four_rows(const uint8_t *const in[4], const Taps *taps, uint8_t *const out[4]) {
    /* For pixels 0 and 1, or 2 and 3: the first bands of both as 16-bit numbers, then the other bands. */
    const __m256i first_two = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1));
    const __m256i last_two = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(8, -1, 12, -1, 9, -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1));
    for (int i = 0; i < taps->outputs; i++) {
        const int16_t *parts = taps->parts + 2 * (size_t)i * (size_t)taps->most;
        __m256i low[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, high[2] = {low[0], low[0]};
        for (int j = 0; j < taps->count[i]; j += STEP, parts += 2 * STEP) {
            int at = 4 * (taps->first[i] + j);
            for (int k = 0; k < 2; k++) {
                __m256i pixels = two_rows(in[2 * k] + at, in[2 * k + 1] + at);
                __m256i one = _mm256_shuffle_epi8(pixels, first_two), other = _mm256_shuffle_epi8(pixels, last_two);
                low[k] = add_products(add_products(low[k], one, pair_of(parts)), other, pair_of(parts + 4));
                high[k] = add_products(add_products(high[k], one, pair_of(parts + 2)), other, pair_of(parts + 6));
            }
        }
        __m256i words = _mm256_packs_epi32(values(low[0], high[0]), values(low[1], high[1]));
        __m256i bytes = _mm256_packus_epi16(words, words);
        for (int k = 0; k < 4; k++) { /* the lower half holds rows 0 and 2 */
            __m128i half = k % 2 ? _mm256_extracti128_si256(bytes, 1) : _mm256_castsi256_si128(bytes);
            int32_t pixel = k < 2 ? _mm_cvtsi128_si32(half) : _mm_extract_epi32(half, 1);
            memcpy(out[k] + 4 * i, &pixel, sizeof pixel);
        }
    }
}

AVX2 INLINE __m128i four_bytes(const uint8_t *bytes) {
    int32_t all;
    memcpy(&all, bytes, sizeof all);
    return _mm_cvtsi32_si128(all);
}

/* Resizes four rows of 1-byte pixels: a step multiplies STEP pixels by their low and their high parts at once. */
AVX2 static void across_four_grey_rows(const uint8_t *const in[4], const Taps *taps, uint8_t *const out[4]) {
    const __m256i twice = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 1, -1, 0, -1, 1, -1, 2, -1, 3, -1, 2, -1, 3, -1));
    for (int i = 0; i < taps->outputs; i++) {
        const int16_t *parts = taps->parts + 2 * (size_t)i * (size_t)taps->most;
        __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}; /* low, high, low, high of each row */
        for (int j = 0; j < taps->count[i]; j += STEP, parts += 2 * STEP) {
            __m256i weights = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)parts));
            for (int k = 0; k < 2; k++) {
                __m128i upper = four_bytes(in[2 * k] + taps->first[i] + j);
                __m128i lower = four_bytes(in[2 * k + 1] + taps->first[i] + j);
                __m256i pixels = _mm256_inserti128_si256(_mm256_castsi128_si256(upper), lower, 1);
                sums[k] = add_products(sums[k], _mm256_shuffle_epi8(pixels, twice), weights);
            }
        }
        for (int k = 0; k < 2; k++) {
            uint32_t parted[8];
            _mm256_storeu_si256((__m256i *)parted, sums[k]);
            out[2 * k][i] = rounded(parted[0] + parted[2] + ((parted[1] + parted[3]) << 16));
            out[2 * k + 1][i] = rounded(parted[4] + parted[6] + ((parted[5] + parted[7]) << 16));
        }
    }
}

/* Computes output row i of the 16 columns that begin with byte `x`. */
AVX2 INLINE void down_16(Rows in, const Taps *taps, int i, int x, uint8_t *out) {
    const int16_t *parts = taps->parts + 2 * (size_t)i * (size_t)taps->most;
    const uint8_t *pixels = in.pixels + (size_t)taps->first[i] * in.row + x;
    __m256i low[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, high[2] = {low[0], low[0]};
    for (int j = 0; j < taps->count[i]; j += 2, parts += 4, pixels += 2 * in.row) {
        __m256i upper = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)pixels));
        __m256i lower = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(pixels + in.row)));
        __m256i one = _mm256_unpacklo_epi16(upper, lower), other = _mm256_unpackhi_epi16(upper, lower);
        low[0] = add_products(low[0], one, pair_of(parts));
        low[1] = add_products(low[1], other, pair_of(parts));
        high[0] = add_products(high[0], one, pair_of(parts + 2));
        high[1] = add_products(high[1], other, pair_of(parts + 2));
    }
    __m256i words = _mm256_packs_epi32(values(low[0], high[0]), values(low[1], high[1]));
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0x08);
    _mm_storeu_si128((__m128i *)(out + x), _mm256_castsi256_si128(bytes));
}

AVX2 static void down_row_by_16(Rows in, const Taps *taps, int i, int bytes, uint8_t *out) {
    for (int x = 0; x < bytes; x += 16)
        down_16(in, taps, i, x + 16 > bytes ? bytes - 16 : x, out);
}
#endif

/* Resizes `rows` rows along their width. */
static void across(Rows in, int rows, int size, const Taps *taps, uint8_t *out) {
    size_t row = (size_t)taps->outputs * (size_t)size;
    int y = 0;
#ifdef WITH_AVX2
    for (; avx2 && taps->whole_steps && y < rows; y += 4) {
        const uint8_t *from[4];
        uint8_t *to[4];
        for (int k = 0; k < 4; k++) { /* repeats the last row if fewer than four remain */
            size_t each = (size_t)(y + k < rows ? y + k : rows - 1);
            from[k] = in.pixels + each * in.row;
            to[k] = out + each * row;
        }
        (size == 4 ? across_four_rows : across_four_grey_rows)(from, taps, to);
    }
#endif
    for (; y < rows; y++)
        if (size == 4)
            across_row(in.pixels + (size_t)y * in.row, taps, 4, out + (size_t)y * row);
        else
            across_row(in.pixels + (size_t)y * in.row, taps, 1, out + (size_t)y * row);
}

/* Resizes along the height; each row has `bytes` bytes. */
static void down(Rows in, int bytes, const Taps *taps, uint8_t *out) {
    for (int i = 0; i < taps->outputs; i++, out += bytes)
#ifdef WITH_AVX2
        if (avx2 && taps->whole_steps && bytes >= 16)
            down_row_by_16(in, taps, i, bytes, out);
        else
#endif
            down_row(in, taps, i, bytes, out);
}

/* Runs both passes. Pixels have `size` bytes, and `out` has room for the whole result. False: no memory. */
static int both(Rows in, int size, Taps *wide, Taps *high, int height_first, uint8_t *out) {
    int begin, count = needed(height_first ? wide : high, &begin);
    int outputs = height_first ? high->outputs : wide->outputs;
    uint8_t *between = malloc((size_t)count * (size_t)outputs * (size_t)size);
    if (!between)
        return 0;
    in.pixels += (size_t)begin * (height_first ? (size_t)size : in.row);
    if (height_first) {
        down(in, count * size, high, between);
        across((Rows){between, (size_t)count * (size_t)size}, outputs, size, wide, out);
    } else {
        across(in, count, size, wide, between);
        down((Rows){between, (size_t)outputs * (size_t)size}, outputs * size, high, out);
    }
    free(between);
    return 1;
}

/* Copies `count` 4-byte pixels without their unused bytes. Pillow stores the second of two bands in the fourth byte. */
static void pack(const uint8_t *pixels, size_t count, int bands, uint8_t *out) {
    for (size_t i = 0; i < count; i++, pixels += 4, out += bands)
        if (bands == 3) {
            memcpy(out, pixels, 3);
        } else {
            out[0] = pixels[0];
            out[1] = pixels[3];
        }
}

/* Returns the `count` pixels of an image, of one or four bytes each. NULL: it has another form; an error is set. */
static const uint8_t *pixels_of(PyObject *schema_capsule, PyObject *array_capsule, int64_t count, int *size) {
    const ArrowSchema *schema = PyCapsule_GetPointer(schema_capsule, "arrow_schema");
    const ArrowArray *array = schema ? PyCapsule_GetPointer(array_capsule, "arrow_array") : NULL;
    if (!array)
        return NULL;
    int good = schema->release && array->release && array->length == count;
    *size = 1;
    if (good && strcmp(schema->format, "+w:4") == 0) {
        good = schema->n_children == 1 && array->n_children == 1 && array->offset == 0;
        schema = good ? schema->children[0] : schema;
        array = good ? array->children[0] : array;
        *size = 4;
    }
    good = good && strcmp(schema->format, "C") == 0 && array->length == count * *size;
    if (good && array->offset == 0 && array->n_buffers == 2 && array->buffers[1])
        return array->buffers[1];
    PyErr_SetString(PyExc_ValueError, "the image is not one run of pixels of bytes, as many as its size says");
    return NULL;
}

static PyObject *resize(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *schema, *array;
    int width, height, bands, to_width, to_height, left, top, right, bottom, is_bicubic, height_first, size;
    if (!PyArg_ParseTuple(args, "OO(ii)i(ii)(iiii)pp:resize", &schema, &array, &width, &height, &bands, &to_width,
                          &to_height, &left, &top, &right, &bottom, &is_bicubic, &height_first))
        return NULL;
    if (width < 1 || height < 1 || to_width < 1 || to_height < 1 || width > MAX_SIDE || height > MAX_SIDE ||
        to_width > MAX_SIDE || to_height > MAX_SIDE || left < 0 || top < 0 || right <= left || bottom <= top ||
        right > to_width || bottom > to_height)
        return PyErr_Format(PyExc_ValueError, "sides are 1 to %d pixels, and the box is inside of the result", MAX_SIDE);
    const uint8_t *pixels = pixels_of(schema, array, (int64_t)width * height, &size);
    if (!pixels)
        return NULL;
    if (size == 1 ? bands != 1 : bands < 2 || bands > 4)
        return PyErr_Format(PyExc_ValueError, "pixels of %d bytes have no %d bands", size, bands);
    size_t count = (size_t)(right - left) * (size_t)(bottom - top);
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * (size_t)bands));
    if (!result)
        return NULL;
    uint8_t *bytes = (uint8_t *)PyBytes_AsString(result), *out = bytes;
    Taps wide = {0}, high = {0};
    int done;
    Py_BEGIN_ALLOW_THREADS /* the caller's capsules keep the pixels, and only this thread has `result` */
    if (size != bands)
        out = malloc(count * (size_t)size);
    done = out && make_taps(&wide, width, to_width, left, right, is_bicubic) &&
           make_taps(&high, height, to_height, top, bottom, is_bicubic) &&
           both((Rows){pixels, (size_t)width * (size_t)size}, size, &wide, &high, height_first, out);
    if (size != bands) {
        if (done)
            pack(out, count, bands, bytes);
        free(out);
    }
    free_taps(&wide);
    free_taps(&high);
    Py_END_ALLOW_THREADS
    if (!done) {
        Py_DECREF(result);
        return PyErr_NoMemory();
    }
    return result;
}

static PyMethodDef methods[] = {{"resize", resize, METH_VARARGS, NULL}, {0}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_resample", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__resample(void) {
#ifdef WITH_AVX2
    avx2 = __builtin_cpu_supports("avx2");
#endif
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddStringConstant(module, "INSTRUCTIONS", avx2 ? "AVX2" : "plain") < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
