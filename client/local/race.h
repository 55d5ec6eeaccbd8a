/* SPDX-License-Identifier: Apache-2.0
 *
 * race.h - reading bytes that the writer may be overwriting.
 *
 * What these functions deliver means nothing until R8 has passed (docs/CONCURRENCY.md): then the
 * bytes did not change while they were read. Until then they may be any mixture, also two reads of
 * one byte may differ; so sizes are never taken through here, but from words loaded once.
 *
 * For ThreadSanitizer every byte is a relaxed atomic, which is what the proof assumes. Otherwise
 * they are the plain functions, since a copy in pieces of any size is as good.
 */
#ifndef SIDEPOND_LOCAL_RACE_H
#define SIDEPOND_LOCAL_RACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define RACE_BYTEWISE 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACE_BYTEWISE 1
#endif
#endif
#ifndef RACE_BYTEWISE
#define RACE_BYTEWISE 0
#endif

/* The acquire fence of R8 and S4. ThreadSanitizer knows no fences; nothing that it checks relies on
 * this one, as what is raced for is atomic then. */
static inline void race_fence(void)
{
    atomic_thread_fence(memory_order_acquire);
}
static inline void race_fence_full(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

#define RACE_PAD       16u  /* race_copy_padded may write up to the next multiple of this */
#define RACE_SHORT_MAX 128u /* bytes, up to which a call costs more than it saves */

#if RACE_BYTEWISE

static inline void race_copy(void *to, const void *from, size_t bytes)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    for (size_t i = 0; i < bytes; i++)
        out[i] = __atomic_load_n(&in[i], __ATOMIC_RELAXED);
}

static inline void race_copy_padded(void *to, const void *from, size_t bytes)
{
    race_copy(to, from, bytes);
}

static inline bool race_equal(const void *shared, const void *own, size_t bytes)
{
    const uint8_t *a = shared;
    const uint8_t *b = own;
    for (size_t i = 0; i < bytes; i++)
        if (__atomic_load_n(&a[i], __ATOMIC_RELAXED) != b[i])
            return false;
    return true;
}

#else

static inline uint64_t race_word(const void *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint32_t race_half(const void *at)
{
    uint32_t half;
    memcpy(&half, at, sizeof half);
    return half;
}

#if defined(__SSE2__)
static inline __m128i race_equal_block(const uint8_t *a, const uint8_t *b)
{
    return _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)a),
                          _mm_loadu_si128((const __m128i *)(const void *)b));
}
#endif

typedef uint64_t race_pair __attribute__((vector_size(16)));

static inline race_pair race_load(const void *at)
{
    race_pair pair;
    memcpy(&pair, at, sizeof pair);
    return pair;
}

static inline void race_store(void *at, race_pair pair)
{
    memcpy(at, &pair, sizeof pair);
}

/* Either way is as likely: neither is moved out of the line. */
#define RACE_EVEN(cond) __builtin_expect_with_probability(!!(cond), 1, 0.5)

/* All bits of the first n bytes are at 16 - n. */
static const uint8_t race_masks[32] = {255, 255, 255, 255, 255, 255, 255, 255,
                                       255, 255, 255, 255, 255, 255, 255, 255};

/* At most RACE_SHORT_MAX bytes; what follows them up to the next multiple of RACE_PAD (to the first
 * one, for no bytes) is written as zeros, and read.
 *
 * No store's address depends on `bytes`, which has just come from memory: the processor does not
 * let later loads, those of the next read, pass a store that it does not know the place of. The
 * usual copy with an overlapping end makes reads in a loop twice as slow. */
static inline __attribute__((always_inline)) void race_copy_padded(void *to, const void *from,
                                                                   size_t bytes)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if (RACE_EVEN(bytes > 64)) {
        race_store(out, race_load(in));
        race_store(out + 16, race_load(in + 16));
        race_store(out + 32, race_load(in + 32));
        race_store(out + 48, race_load(in + 48));
        out += 64, in += 64, bytes -= 64;
    }
    if (RACE_EVEN(bytes > 32)) {
        race_store(out, race_load(in));
        race_store(out + 16, race_load(in + 16));
        out += 32, in += 32, bytes -= 32;
    }
    if (RACE_EVEN(bytes > 16)) {
        race_store(out, race_load(in));
        out += 16, in += 16, bytes -= 16;
    }
    race_store(out, race_load(in) & race_load(race_masks + 16 - bytes));
}

static inline void race_copy(void *to, const void *from, size_t bytes)
{
    if (bytes > 0) /* else there may be no `to` */
        memcpy(to, from, bytes);
}

/* Keys are short. Both ends are compared, which may overlap, then what lies between. */
static inline bool race_equal(const void *shared, const void *own, size_t bytes)
{
    const uint8_t *a = shared;
    const uint8_t *b = own;
#if defined(__SSE2__)
    if (bytes >= 16) {
        __m128i equal =
            _mm_and_si128(race_equal_block(a, b), race_equal_block(a + bytes - 16, b + bytes - 16));
        for (size_t i = 16; i + 16 < bytes; i += 16)
            equal = _mm_and_si128(equal, race_equal_block(a + i, b + i));
        return _mm_movemask_epi8(equal) == 0xffff;
    }
#endif
    if (bytes >= 8) {
        uint64_t differ =
            (race_word(a) ^ race_word(b)) | (race_word(a + bytes - 8) ^ race_word(b + bytes - 8));
        for (size_t i = 8; i + 8 < bytes; i += 8)
            differ |= race_word(a + i) ^ race_word(b + i);
        return differ == 0;
    }
    if (bytes >= 4)
        return ((race_half(a) ^ race_half(b)) |
                (race_half(a + bytes - 4) ^ race_half(b + bytes - 4))) == 0;
    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

#endif
#endif
