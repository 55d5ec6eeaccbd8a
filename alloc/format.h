/* SPDX-License-Identifier: Apache-2.0
 *
 * format.h - the contract of everything that lies in a pond's files.
 *
 * Three files in one directory. `pond` is written by the daemon alone and mapped read-only by
 * readers; `leases` and `hints` are what a reader can write.
 *
 *   pond   0            HEADER_BYTES        meta_off        arena_off            file end
 *          +------------+-------------------+---------------+--------------------+
 *          | superblock | table slots (256) | buddy metadata| arena: 16-byte     |
 *          | 4 KiB      | 64 KiB            | (sparse)      | units (sparse)     |
 *          +------------+-------------------+---------------+--------------------+
 *
 *   leases +------------+-------------------------+
 *          | lease_head | struct lease [1024]     |
 *          +------------+-------------------------+
 *
 *   hints  0            HINTS_HEAD_BYTES            file end
 *          +------------+---------------------------+
 *          | hints_head | a byte for each bucket of |
 *          | 4 KiB      | the cache                 |
 *          +------------+---------------------------+
 *
 * Inside the arena a place is a unit index: byte offset / 16 from the arena's start. Unit 0 is
 * never handed out, so 0 means "none". From a table slot everything is found:
 *
 *   table slot --head--> table root --prev--> older root (while a snapshot needs it)
 *                          |  schema block
 *                          |  dir word: unit and depth of a directory, for the primary index and
 *                          v            for each secondary one
 *                        directory: 2^depth words, each a segment's unit, size and own depth
 *                          |
 *                          v
 *                        segment: 1 to 256 buckets of 64 bytes: a meta word and 7 slots
 *                          |
 *                          v
 *                        entry --prev--> the version it replaced (while somebody may need it)
 *
 * Who may read what when, and why that is safe without a lock, is docs/CONCURRENCY.md. All numbers
 * are little-endian. Words marked "atomic" are naturally aligned and are read and written as a
 * whole.
 */
#ifndef SIDEPOND_FORMAT_H
#define SIDEPOND_FORMAT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the pond's format is little-endian, and so must be the machine"
#endif
static_assert(sizeof(_Atomic uint64_t) == 8, "64-bit atomics are plain words");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics take no lock");

#define FORMAT_MAGIC        UINT64_C(0x01646e6f70656469) /* "idepond" and 1 */
#define FORMAT_VERSION      1u
#define FORMAT_NAME_BYTES   64u /* with the terminating zero */
#define FORMAT_TABLES_MAX   256u
#define FORMAT_LEASES_MAX   1024u
#define FORMAT_SUPER_BYTES  4096u
#define FORMAT_SLOT_BYTES   256u
#define FORMAT_HEADER_BYTES (FORMAT_SUPER_BYTES + FORMAT_TABLES_MAX * FORMAT_SLOT_BYTES)
#define FORMAT_UNIT_BYTES   16u
#define FORMAT_UNIT_SHIFT   4
#define FORMAT_UNIT_BITS    36   /* a pond holds at most 2^36 units: 1 TiB */
#define FORMAT_UNITS_LEAST  256u /* of every arena: a page of it is always backed */
#define FORMAT_UNIT_MASK    ((UINT64_C(1) << FORMAT_UNIT_BITS) - 1)
#define FORMAT_ARENA_ALIGN  (UINT64_C(2) << 20) /* of arena_off: the size of a huge page */

#define FORMAT_CACHE_NAME "$cache" /* of the slot; no table can be called so */

#define FORMAT_POND_FILE   "pond"
#define FORMAT_LEASES_FILE "leases"
#define FORMAT_HINTS_FILE  "hints"

/* --- versions -----------------------------------------------------------------------------------
 * Each commit has a number, counted from 1. An entry carries in `born` the commit that made it.
 * While its transaction runs, born is VERSION_UNCOMMITTED | the transaction's number, which is
 * above every committed version, so nobody sees it.
 */
#define VERSION_BITS        40
#define VERSION_MASK        ((UINT64_C(1) << VERSION_BITS) - 1)
#define VERSION_UNCOMMITTED (UINT64_C(1) << (VERSION_BITS - 1))
#define VERSION_RETIRED     (UINT64_C(1) << 63) /* flag in super.committed */

/* --- superblock: page 0 of the pond file ------------------------------------------------------ */

struct super {
    /* Lines 0-3, fixed when the pond is created; checksum covers the bytes before it, but takes
     * magic as 0, since magic is written last. */
    _Atomic uint64_t magic; /* FORMAT_MAGIC once the pond is complete */
    uint32_t format_version;
    uint32_t features;  /* bits a reader must know; none yet */
    uint64_t id[2];     /* random */
    uint64_t hash_seed; /* of every index */
    uint64_t file_bytes;
    uint64_t meta_off; /* from the file's start; multiple of 4096 */
    uint64_t meta_bytes;
    uint64_t arena_off;  /* multiple of FORMAT_ARENA_ALIGN */
    uint64_t unit_limit; /* units in the arena */
    int64_t created_ms;  /* wall clock */
    char name[FORMAT_NAME_BYTES];
    uint8_t reserved0[96];
    uint64_t checksum; /* XXH3 */

    /* Line 4: what every read loads. Written by the daemon at a commit. */
    _Atomic uint64_t committed; /* newest visible version | VERSION_RETIRED */
    _Atomic uint64_t
        reclaim_seq; /* raised before versions in a prev chain are unlinked and freed */
    _Atomic uint32_t commit_futex; /* raised after each commit; waiters sleep on it */
    uint32_t reserved1[11];

    /* Line 5: the daemon's business, read by tools. */
    _Atomic int64_t writer_pid;    /* 0: none */
    _Atomic uint64_t heartbeat_ms; /* CLOCK_MONOTONIC */
    _Atomic uint64_t usable_units; /* arena and metadata are backed by memory up to here */
    _Atomic uint64_t lease_limit_ms;
    _Atomic uint64_t punched_bytes; /* of the usable part, given back to the system */
    _Atomic uint64_t used_units;    /* as of the last commit, or tick of the cache */
    _Atomic uint32_t table_count;   /* slots in use: [0, table_count) */
    _Atomic uint32_t moves_pending; /* 1: originals of moved entries wait for leases to end */
    uint32_t reserved2[2];
};
static_assert(offsetof(struct super, checksum) == 248, "fixed part is four lines");
static_assert(offsetof(struct super, committed) == 256, "hot line");
static_assert(offsetof(struct super, writer_pid) == 320, "writer's line");
static_assert(sizeof(struct super) == 384, "super");

/* --- table slots --------------------------------------------------------------------------------
 * A slot belongs to one name for the pond's life. Written by the daemon at commits and by the
 * refresh status; a refresh that changes no row writes nothing else of the pond.
 */
#define SLOT_FAIL_WHEN_STALE 1u /* flags: reads past deadline_ms answer SP_EOLD */
#define SLOT_CACHE           2u /* flags: the cache (below), no table for readers */

struct table_slot {
    /* line 0: what every read loads */
    _Atomic uint64_t head;        /* unit of the newest table root; 0: none yet */
    _Atomic uint64_t route;       /* raised after each change of head, flags, or the newest root's
                                     primary directory */
    _Atomic uint64_t deadline_ms; /* CLOCK_MONOTONIC; with SLOT_FAIL_WHEN_STALE */
    _Atomic uint32_t flags;
    uint32_t reserved0[9];
    /* line 1: status */
    _Atomic uint64_t refreshed_ms;   /* CLOCK_MONOTONIC of the last successful refresh; 0: none */
    _Atomic int64_t refreshed_at_ms; /* the same by the wall clock */
    _Atomic int64_t changed_at_ms;   /* wall clock of the last commit that changed it */
    _Atomic uint64_t changed_version;
    _Atomic uint64_t max_stale_ms;
    _Atomic uint64_t refresh_count;
    _Atomic uint64_t failure_count;
    _Atomic uint32_t state; /* enum sp_table_state of sidepond/sidepond.h */
    _Atomic uint32_t feed;  /* enum sp_table_feed of it */
    /* line 2: sizes as of the last commit */
    _Atomic uint64_t rows;
    _Atomic uint64_t bytes;        /* keys and values */
    _Atomic uint64_t memory_units; /* entries, indexes, schema */
    _Atomic uint64_t changes;      /* rows that commits have put in, replaced and deleted */
    _Atomic int64_t whole_ms;      /* of the cache in a ring: see struct cache_life */
    _Atomic int64_t since_ms;
    uint64_t reserved2[2];
    /* line 3 */
    char name[FORMAT_NAME_BYTES]; /* set before table_count is raised */
};
static_assert(offsetof(struct table_slot, refreshed_ms) == 64, "status line");
static_assert(offsetof(struct table_slot, rows) == 128, "sizes line");
static_assert(offsetof(struct table_slot, name) == 192, "name line");
static_assert(sizeof(struct table_slot) == FORMAT_SLOT_BYTES, "table_slot");

/* --- table roots --------------------------------------------------------------------------------
 * One for each shape a table has had and somebody may still see. 16-byte aligned, in the arena.
 * dirs[0] is the primary index, dirs[1..index_count] the secondary ones in the schema's order.
 */
#define ROOT_DROPPED 1u /* flags: the table was dropped by this version */
#define ROOT_CACHE   2u /* flags: the cache: its entries are ENTRY_CACHE */

struct table_root {
    _Atomic uint64_t born; /* version, as in entries */
    _Atomic uint64_t prev; /* unit of the root it replaced; 0: none */
    uint64_t schema_unit;  /* schema block (row.h) */
    uint32_t schema_bytes;
    uint32_t index_count; /* secondary ones */
    uint32_t flags;
    uint32_t checksum; /* XXH3 over schema_unit..flags and the schema block */
    uint64_t reserved;
    _Atomic uint64_t dirs[];
};
static_assert(sizeof(struct table_root) == 48, "table_root");

/* A dir word: unit of the directory | depth << 36. A directory has 2^depth words. */
#define DIR_DEPTH_MAX 28u
static inline uint64_t dir_word(uint64_t unit, unsigned depth)
{
    return unit | (uint64_t)depth << FORMAT_UNIT_BITS;
}
static inline uint64_t dir_unit(uint64_t word)
{
    return word & FORMAT_UNIT_MASK;
}
static inline unsigned dir_depth(uint64_t word)
{
    return (unsigned)(word >> FORMAT_UNIT_BITS) & 63;
}

/* A segment word, in a directory: bucket count | depth << 16 | unit of the first bucket / 4 << 30.
 * The segment is pointed to by the 2^(directory's depth - its depth) neighbouring words that share
 * its hash prefix. Buckets are 64-byte aligned; a segment_head lies in the 64 bytes before.
 * In the cache (ROOT_CACHE) a note of 32 bits for each bucket lies behind the last bucket: how much
 * its entries are used and when the first of them expires, for the daemon alone.
 */
#define SEGMENT_BUCKETS_MAX 256u
#define BUCKET_UNITS        UINT64_C(4)
static inline uint64_t segment_word(uint64_t unit, unsigned bucket_count, unsigned depth)
{
    return bucket_count | (uint64_t)depth << 16 | unit / BUCKET_UNITS << 30;
}
static inline uint64_t segment_unit(uint64_t word)
{
    return word >> 30 << 2;
}
static inline unsigned segment_buckets(uint64_t word)
{
    return (unsigned)word & 0xffff;
}
/* Of a word that the daemon has written; any other may have any number of buckets up to 65535. */
static inline bool segment_possible(uint64_t word)
{
    return segment_unit(word) != 0 && segment_buckets(word) - 1 < SEGMENT_BUCKETS_MAX;
}
static inline unsigned segment_depth(uint64_t word)
{
    return (unsigned)(word >> 16) & 63;
}

struct segment_head { /* written and read by the daemon and by checkers only */
    uint32_t entry_count;
    uint32_t reserved0;
    uint64_t due; /* of the cache: no entry of the segment expires before this */
    uint32_t reserved1[12];
};
static_assert(sizeof(struct segment_head) == 64, "segment_head");

/* --- buckets ------------------------------------------------------------------------------------
 *
 *    0        8                                                            64
 *   +--------+--------+--------+--------+--------+--------+--------+--------+
 *   |  meta  | slot 0 | slot 1 | slot 2 | slot 3 | slot 4 | slot 5 | slot 6 |
 *   +--------+--------+--------+--------+--------+--------+--------+--------+
 *   meta: sequence << 16 | reach << 8 | overflow
 *   slot: tag | unit of the entry << 28, tag = low 28 bits of the key's hash; 0: empty
 *
 * An entry whose home bucket is full lies in one of the PROBE_MAX buckets after it (cyclic). The
 * home's `overflow` counts those, `reach` is the farthest one's distance (0 where overflow is 0).
 * Every change of a slot raises the sequence of the entry's *home* bucket after the slot's store
 * and before anything it made unreachable is freed; so a reader need watch one sequence only.
 */
#define BUCKET_SLOTS 7u
#define PROBE_MAX    63u
#define TAG_BITS     28
#define TAG_MASK     ((UINT64_C(1) << TAG_BITS) - 1)

struct bucket {
    _Atomic uint64_t meta;
    _Atomic uint64_t slots[BUCKET_SLOTS];
};
static_assert(sizeof(struct bucket) == BUCKET_UNITS * FORMAT_UNIT_BYTES, "bucket");

#define BUCKET_SEQUENCE_ONE (UINT64_C(1) << 16)
static inline unsigned bucket_overflow(uint64_t meta)
{
    return (unsigned)meta & 255;
}
static inline unsigned bucket_reach(uint64_t meta)
{
    return (unsigned)(meta >> 8) & 255;
}

static inline uint64_t slot_word(uint64_t unit, uint64_t hash)
{
    return (hash & TAG_MASK) | unit << TAG_BITS;
}
static inline uint64_t slot_unit(uint64_t word)
{
    return word >> TAG_BITS;
}
static inline uint64_t slot_tag(uint64_t word)
{
    return word & TAG_MASK;
}

/* Where a hash goes: the top bits choose the directory word, the tag's bits the bucket. */
static inline uint64_t hash_dir_index(uint64_t hash, unsigned depth)
{
    return depth == 0 ? 0 : hash >> (64 - depth);
}
static inline unsigned tag_bucket(uint64_t tag, unsigned bucket_count)
{
    return (unsigned)(tag * bucket_count >> TAG_BITS);
}

/* --- entries ------------------------------------------------------------------------------------
 *
 *    0                 8                   16         20
 *   +-----------------+-------------------+----------+-----------+----------------+
 *   | born  flags key | prev      value   | checksum | key bytes | value bytes    |
 *   | 40    8     16  | 36        28 bits | 32 bits  |           |                |
 *   +-----------------+-------------------+----------+-----------+----------------+
 *
 * 16-byte aligned; takes ceil((20 + key + value) / 16) units. Written completely before it is
 * published; after that only born (when its transaction commits) and prev (when what it points to
 * is freed) change. The checksum covers flags, sizes, key and value: what never changes.
 *
 * Entries of the cache (ENTRY_CACHE) are seen by all and have no older versions. In the place of
 * born, prev and half of the checksum they have an expiry, in Unix ms, and a version of their own;
 * nothing of them changes once they are published, and the checksum covers all.
 *
 *    0                       8                                16        18         20
 *   +-----------------------+--------------------------------+---------+----------+-----------+
 *   | expiry     flags key  | expiry     version     value   | version | checksum | key bytes |
 *   | low 40     8     16   | high 4     high 32     28 bits | low 16  | 16       | ...       |
 *   +-----------------------+--------------------------------+---------+----------+-----------+
 *
 * The version is a hybrid logical clock: milliseconds since 2024 << 8 | count.
 *
 * A tombstone of the cache (ENTRY_CACHE | ENTRY_TOMBSTONE) says that the key was deleted by this
 * version, or, if it has lapsed, that the value of this version has expired. Its expiry is long
 * past, so that nobody takes it for a value, and says which; it stays for some time that the daemon
 * knows.
 */
#define ENTRY_HEAD_BYTES 20u
#define ENTRY_KEY_MAX    65535u
#define ENTRY_VALUE_MAX  ((1u << 28) - 1)

#define ENTRY_EXPIRY_MAX       ((INT64_C(1) << 44) - 1) /* in the year 2527 */
#define ENTRY_CLOCK_BITS       48
#define ENTRY_CLOCK_COUNT_BITS 8
#define ENTRY_CLOCK_EPOCH_MS   INT64_C(1704067200000) /* 2024-01-01 00:00 UTC */

#define ENTRY_TOMBSTONE 1u /* flags: the key was deleted by this version; no value */
#define ENTRY_POSTING   2u /* flags: belongs to a secondary index (below) */
#define ENTRY_CACHE     4u /* see above */

#define ENTRY_TOMBSTONE_EXPIRY INT64_C(1) /* of the cache's tombstones */
#define ENTRY_LAPSED_EXPIRY    INT64_C(2) /* of those that have lapsed */

struct entry {
    _Atomic uint64_t born_word; /* born | flags << 40 | key_bytes << 48 */
    _Atomic uint64_t prev_word; /* prev | value_bytes << 36 */
    uint32_t checksum;          /* of the cache: with the low 16 bits of its version */
    uint8_t bytes[];            /* key, then value */
};
static_assert(offsetof(struct entry, bytes) == ENTRY_HEAD_BYTES, "entry");

static inline uint64_t entry_born_word(uint64_t born, unsigned flags, size_t key_bytes)
{
    return born | (uint64_t)flags << 40 | (uint64_t)key_bytes << 48;
}
static inline uint64_t entry_prev_word(uint64_t prev, size_t value_bytes)
{
    return prev | (uint64_t)value_bytes << FORMAT_UNIT_BITS;
}
static inline unsigned entry_flags(uint64_t born_word)
{
    return (unsigned)(born_word >> 40) & 255;
}
static inline size_t entry_key_bytes(uint64_t born_word)
{
    return (size_t)(born_word >> 48);
}
/* Of the cache: the first version there is, and none before. */
static inline uint64_t entry_born(uint64_t born_word)
{
    return entry_flags(born_word) & ENTRY_CACHE ? 1 : born_word & VERSION_MASK;
}
static inline uint64_t entry_prev(uint64_t born_word, uint64_t prev_word)
{
    return entry_flags(born_word) & ENTRY_CACHE ? 0 : prev_word & FORMAT_UNIT_MASK;
}
static inline size_t entry_value_bytes(uint64_t prev_word)
{
    return (size_t)(prev_word >> FORMAT_UNIT_BITS);
}
static inline uint64_t entry_bytes(uint64_t born_word, uint64_t prev_word)
{
    return ENTRY_HEAD_BYTES + entry_key_bytes(born_word) + entry_value_bytes(prev_word);
}

/* Of the cache: 0 to ENTRY_EXPIRY_MAX; 0: it does not expire. */
static inline int64_t entry_expiry(uint64_t born_word, uint64_t prev_word)
{
    return (int64_t)((born_word & VERSION_MASK) | (prev_word & 15) << VERSION_BITS);
}
static inline uint64_t entry_clock(uint64_t prev_word, uint32_t checksum)
{
    return (prev_word & FORMAT_UNIT_MASK) >> 4 << 16 | (checksum & 0xffff);
}
static inline uint64_t entry_cache_born_word(int64_t expiry_ms, size_t key_bytes)
{
    return entry_born_word((uint64_t)expiry_ms & VERSION_MASK, ENTRY_CACHE, key_bytes);
}
static inline uint64_t entry_cache_tombstone_word(size_t key_bytes, bool lapsed)
{
    return entry_born_word((uint64_t)(lapsed ? ENTRY_LAPSED_EXPIRY : ENTRY_TOMBSTONE_EXPIRY),
                           ENTRY_CACHE | ENTRY_TOMBSTONE, key_bytes);
}
static inline uint64_t entry_cache_prev_word(int64_t expiry_ms, uint64_t clock, size_t value_bytes)
{
    return entry_prev_word((uint64_t)expiry_ms >> VERSION_BITS | clock >> 16 << 4, value_bytes);
}
static inline uint64_t bytes_to_units(uint64_t bytes)
{
    return (bytes + FORMAT_UNIT_BYTES - 1) >> FORMAT_UNIT_SHIFT;
}

/* --- secondary indexes --------------------------------------------------------------------------
 * An index of its own, of posting entries with versions like any other. The primary keys that share
 * a secondary key are spread over numbered postings by linear hashing, so that adding or removing
 * one rewrites a bounded posting:
 *
 *   entry key    u32 number | the encoded secondary key
 *   entry value  [number 0 only: u32 how many postings there are, at least 1]
 *                then for each primary key: u16 size | its bytes
 *
 * The primary key with hash h is in posting posting_number(h, count). A posting may be empty or
 * absent (then it holds nothing); number 0 is present as long as any is.
 * Rows whose secondary key has a NULL column are not in the index.
 */
static inline uint32_t posting_number(uint64_t hash, uint32_t count)
{
    uint32_t low = (uint32_t)hash;
    uint32_t mask = count <= 1 ? 0 : (UINT32_C(0xffffffff) >> __builtin_clz(count - 1));
    uint32_t number = low & mask;
    return number < count ? number : number & (mask >> 1);
}

/* --- leases -------------------------------------------------------------------------------------
 * A reader takes a slot by an exclusive OFD lock on the slot's bytes in the file; the kernel drops
 * it when the reader dies. Only then it may store to the slot, but the daemon trusts nothing in
 * here.
 */
#define LEASES_MAGIC  UINT64_C(0x0173657361656c73) /* "sleases" and 1 */
#define LEASE_BUSY    (UINT64_C(1) << 63)
#define LEASE_REVOKED (UINT64_C(1) << 62)

struct lease_head {
    uint64_t magic;
    uint64_t id[2]; /* the pond's */
    uint32_t lease_count;
    uint32_t reserved[9];
};
static_assert(sizeof(struct lease_head) == 64, "lease_head");

struct lease {
    /* 0: free. Else version | count << 40 (20 bits, to tell one use from the next) | LEASE_BUSY.
     * The daemon adds LEASE_REVOKED when it takes the lease back. */
    _Atomic uint64_t pinned;
    _Atomic int64_t pid;       /* of the reader, in its own PID namespace; for people */
    _Atomic uint64_t since_ms; /* CLOCK_MONOTONIC; for people */
    uint64_t reserved[5];
};
static_assert(sizeof(struct lease) == 64, "lease");
#define LEASES_FILE_BYTES (sizeof(struct lease_head) + FORMAT_LEASES_MAX * sizeof(struct lease))

/* --- hints --------------------------------------------------------------------------------------
 * Which entries of the cache readers have touched: after the head, a byte for each bucket, in which
 * bit s stands for slot s, and bit 7 for all entries that are at home in the bucket and lie in an
 * overflow bucket. The file grows behind its end as the index does; a byte that is not there yet is
 * a hint that nobody gives. Nothing depends on what stands here but which entry is evicted first,
 * and what is shown to people. What the head does not use is 0.
 */
#define HINT_OVERFLOW    128u
#define HINTS_MAGIC      UINT64_C(0x0173746e69687073) /* "sphints" and 1 */
#define HINTS_HEAD_BYTES 4096u
#define HINTS_BYTES_MAX  (UINT64_C(1) << (DIR_DEPTH_MAX + 8)) /* no index has more buckets */

struct hints_head {
    uint64_t magic;
    uint64_t id[2];              /* the pond's */
    uint64_t capacity;           /* bytes of hints that the file may grow to */
    _Atomic uint64_t hint_bytes; /* how many there are; backed by memory before this is raised */
    uint64_t reserved[3];
    /* Reads of readers, added up by them: of keys that were there, and that were not. */
    _Atomic uint64_t hits, misses;
    uint64_t reserved1[6];
};
static_assert(offsetof(struct hints_head, hits) == 64, "the daemon's words are a line");
static_assert(sizeof(struct hints_head) == 128, "hints_head");

/* The place of a bucket's byte: `position` is that of a directory word of its segment, in a
 * directory of so many words, of which the segment's first one counts. */
static inline uint64_t hint_place(uint64_t position, uint64_t dir_words, uint64_t segment,
                                  unsigned bucket)
{
    uint64_t range = dir_words >> segment_depth(segment); /* words that the segment has */
    return (position & -range) * SEGMENT_BUCKETS_MAX + bucket;
}

#endif
