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

#define RACE_COPY_INLINE 128u /* bytes, up to which a call costs more than it saves */

#if RACE_BYTEWISE

static inline void race_copy(void *to, const void *from, size_t bytes)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    for (size_t i = 0; i < bytes; i++)
        out[i] = __atomic_load_n(&in[i], __ATOMIC_RELAXED);
}

static inline void race_copy_short(void *to, const void *from, size_t bytes)
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

/* Of 16 bytes. */
static inline bool race_equal_block(const uint8_t *a, const uint8_t *b)
{
#if defined(__SSE2__)
    __m128i equal = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)a),
                                   _mm_loadu_si128((const __m128i *)(const void *)b));
    return _mm_movemask_epi8(equal) == 0xffff;
#else
    return ((race_word(a) ^ race_word(b)) | (race_word(a + 8) ^ race_word(b + 8))) == 0;
#endif
}

struct race_block {
    uint64_t words[2];
};

/* `count` blocks from the start and as many up to the end, which overlap. All are loaded before the
 * first is stored only where the compiler likes to; the bytes read mean nothing yet in any case. */
static inline __attribute__((always_inline)) void race_copy_ends(uint8_t *out, const uint8_t *in,
                                                                 size_t bytes, unsigned count)
{
    struct race_block block;
    const uint8_t *in_end = in + bytes;
    uint8_t *out_end = out + bytes;
    for (unsigned i = 0; i < count; i++) {
        memcpy(&block, in + i * sizeof block, sizeof block);
        memcpy(out + i * sizeof block, &block, sizeof block);
    }
    for (unsigned i = count; i > 0; i--) {
        memcpy(&block, in_end - i * sizeof block, sizeof block);
        memcpy(out_end - i * sizeof block, &block, sizeof block);
    }
}

/* Values are mostly short: copied without a loop. At most RACE_COPY_INLINE bytes. */
static inline void race_copy_short(void *to, const void *from, size_t bytes)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if (bytes > 64) {
        race_copy_ends(out, in, bytes, 4);
    } else if (bytes > 32) {
        race_copy_ends(out, in, bytes, 2);
    } else if (bytes >= 16) {
        race_copy_ends(out, in, bytes, 1);
    } else if (bytes >= 8) {
        uint64_t first = race_word(in), last = race_word(in + bytes - 8);
        memcpy(out, &first, sizeof first);
        memcpy(out + bytes - 8, &last, sizeof last);
    } else if (bytes >= 4) {
        uint32_t first = race_half(in), last = race_half(in + bytes - 4);
        memcpy(out, &first, sizeof first);
        memcpy(out + bytes - 4, &last, sizeof last);
    } else if (bytes > 0) {
        uint8_t first = in[0], middle = in[bytes / 2], last = in[bytes - 1];
        out[0] = first;
        out[bytes / 2] = middle;
        out[bytes - 1] = last;
    }
}

static inline void race_copy(void *to, const void *from, size_t bytes)
{
    if (bytes <= RACE_COPY_INLINE)
        race_copy_short(to, from, bytes);
    else
        memcpy(to, from, bytes);
}

/* Keys are short: compared in words, the last one overlapping. */
static inline bool race_equal(const void *shared, const void *own, size_t bytes)
{
    const uint8_t *a = shared;
    const uint8_t *b = own;
    if (bytes >= 16) {
        for (size_t i = 0; i + 16 < bytes; i += 16)
            if (!race_equal_block(a + i, b + i))
                return false;
        return race_equal_block(a + bytes - 16, b + bytes - 16);
    }
    if (bytes >= 8)
        return ((race_word(a) ^ race_word(b)) |
                (race_word(a + bytes - 8) ^ race_word(b + bytes - 8))) == 0;
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
