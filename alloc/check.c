/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c - the checker of a pond.
 *
 * One walk from the table slots, marking what it reaches in a bitmap of its own, then a comparison
 * with the allocator's. It follows nothing before it has checked that it lies in the arena, so a
 * damaged or hostile file gives complaints and no crash.
 *
 * On a pond with a living writer a complaint is one only if the words that led to what is wrong are
 * afterwards as they were: what they lead to is freed only when they have changed. If a root or a
 * directory is another one by then, the table is begun again; an entry whose slot or home has
 * changed is looked at again, and so are the counts of a bucket whose meta has. The writer may
 * still be between two stores that belong together, so a segment that looks wrong is walked again,
 * with pauses: what is really wrong stays so.
 *
 * Limits: of a live pond, what changes whenever it is looked at is not judged, and a writer that is
 * stopped between two stores for as long as the checker is patient is complained of.
 */
#include "alloc/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "alloc/buddy.h"
#include "alloc/hash.h"
#include "alloc/row.h"
#include "alloc/sound.h"

#define LIVE_ATTEMPTS  50u
#define QUICK_ATTEMPTS 5u /* of those, without a pause */
#define PAUSE_NS       2000000
#define PAUSES_MAX     2500u /* of one check: 5 s */
#define SLOT_ATTEMPTS  10u
#define COUNT_ATTEMPTS 10u
#define WATCHED_MAX    4u
#define CHAIN_MAX      100000u

struct check {
    const struct region *region;
    const struct check_options *options;
    struct check_report *report;
    uint64_t *reached; /* one bit a unit */
    uint64_t committed;
    const char *table;
    bool muted; /* an attempt at a live segment: count complaints, say nothing */
    /* Of a live table: the words through which it is looked at, and what they were. */
    const _Atomic uint64_t *head_at, *dir_at;
    uint64_t head, dir;
    bool moved; /* one of them is another one by now */
    /* Of an entry in a live segment: the words one of which changes before the entry is freed. */
    struct {
        const _Atomic uint64_t *at;
        uint64_t was;
    } watched[WATCHED_MAX];
    unsigned watched_count, pauses;
};

/* Whether what was read may have been freed before. */
static bool has_moved(struct check *c)
{
    atomic_thread_fence(memory_order_acquire);
    if (c->options->live && !c->moved)
        c->moved =
            (c->head_at && atomic_load_explicit(c->head_at, memory_order_relaxed) != c->head) ||
            (c->dir_at && atomic_load_explicit(c->dir_at, memory_order_relaxed) != c->dir);
    return c->moved;
}

static void watch(struct check *c, const _Atomic uint64_t *at, uint64_t was)
{
    c->watched[c->watched_count].at = at;
    c->watched[c->watched_count++].was = was;
}

/* The same of the entry that is looked at. */
static bool has_gone(const struct check *c)
{
    atomic_thread_fence(memory_order_acquire);
    for (unsigned i = 0; i < c->watched_count; i++) {
        if (atomic_load_explicit(c->watched[i].at, memory_order_relaxed) != c->watched[i].was)
            return true;
    }
    return false;
}

static void complain(struct check *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct check *c, const char *format, ...)
{
    char text[512];
    if (has_moved(c) || has_gone(c))
        return;
    uint64_t number = c->report->complaints++;
    if (c->muted || !c->options->complain || number >= c->options->complaints_max)
        return;
    int used = snprintf(text, sizeof(text), "table %s: ", c->table ? c->table : "-");
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, sizeof(text) - (size_t)used, format, args);
    va_end(args);
    c->options->complain(c->options->context, c->table ? text : text + used);
}

static bool is_unwanted(const struct check *c)
{
    return c->options->unwanted && atomic_load_explicit(c->options->unwanted, memory_order_relaxed);
}

/* --- what is reached ------------------------------------------------------------------------ */

static bool reach(struct check *c, uint64_t unit, uint64_t count, const char *what)
{
    if (c->options->live) /* blocks come and go */
        return true;
    for (uint64_t u = unit; u < unit + count; u++) {
        if (c->reached[u / 64] >> (u % 64) & 1) {
            complain(c, "%s at unit %llu overlaps another block", what, (unsigned long long)unit);
            return false;
        }
        c->reached[u / 64] |= UINT64_C(1) << (u % 64);
    }
    c->report->reachable_units += count;
    return true;
}

/* --- entries -------------------------------------------------------------------------------- */

struct found {
    uint64_t born, prev, units, hash;
    size_t key_bytes;
    unsigned flags;
};

/* Sizes out of a block that was freed may be any, and a checksum over them take long. */
static bool may_be_read(const struct check *c, const struct entry *entry, struct found *out)
{
    uint64_t b = atomic_load_explicit(&entry->born_word, memory_order_relaxed);
    uint64_t p = atomic_load_explicit(&entry->prev_word, memory_order_relaxed);
    *out = (struct found){.born = entry_born(b),
                          .prev = entry_prev(b, p),
                          .units = bytes_to_units(entry_bytes(b, p)),
                          .key_bytes = entry_key_bytes(b),
                          .flags = entry_flags(b)};
    return !has_gone(c);
}

static bool read_entry(struct check *c, uint64_t unit, struct found *out)
{
    const struct region *region = c->region;
    bool inside = region_holds(region, unit, bytes_to_units(ENTRY_HEAD_BYTES));
    const struct entry *entry = inside ? region_at(region, unit) : NULL;
    if (inside && !may_be_read(c, entry, out))
        return false;
    if (!inside || !entry_is_sound(region, unit) || !region_holds(region, unit, out->units)) {
        complain(c, "entry at unit %llu: bounds or checksum are wrong", (unsigned long long)unit);
        return false;
    }
    const uint8_t *key = entry->bytes;
    out->hash = hash_key(&region->hash, key, out->key_bytes);
    return true;
}

static void check_chain(struct check *c, const struct found *head)
{
    struct found newer = *head, older;
    for (unsigned i = 0; newer.prev; i++) {
        uint64_t unit = newer.prev;
        if (i == CHAIN_MAX) {
            complain(c, "a chain of versions does not end");
            return;
        }
        if (!read_entry(c, unit, &older) || !reach(c, unit, older.units, "old version"))
            return;
        if (older.hash != head->hash || older.born >= newer.born)
            complain(c, "old version at unit %llu is of another key or not older",
                     (unsigned long long)unit);
        c->report->old_versions++;
        newer = older;
    }
}

static bool check_entry(struct check *c, uint64_t word, uint64_t *hash)
{
    struct found head;
    if (!read_entry(c, slot_unit(word), &head) || !reach(c, slot_unit(word), head.units, "entry"))
        return false;
    *hash = head.hash;
    c->report->entries++;
    c->report->tombstones += (head.flags & ENTRY_TOMBSTONE) != 0;
    c->report->uncommitted += head.born > c->committed;
    check_chain(c, &head);
    return true;
}

/* --- segments ------------------------------------------------------------------------------- */

struct segment {
    const struct bucket *buckets;
    unsigned count, depth, dir_bits;
    uint64_t position; /* in the directory */
    /* Of a live one: the word that leads to it, and what that was. */
    const _Atomic uint64_t *word_at;
    uint64_t word;
};

/* What is said of an entry counts if these are the same afterwards: see C2 in docs/CONCURRENCY.md,
 * and W4 for older versions. */
static uint64_t watch_slot(struct check *c, const struct segment *s, const _Atomic uint64_t *slot,
                           unsigned *home)
{
    const _Atomic uint64_t *reclaimed = &c->region->super->reclaim_seq;
    c->watched_count = 0;
    watch(c, s->word_at, s->word);
    watch(c, reclaimed, atomic_load_explicit(reclaimed, memory_order_acquire));
    uint64_t word = atomic_load_explicit(slot, memory_order_acquire);
    *home = tag_bucket(slot_tag(word), s->count);
    const _Atomic uint64_t *meta = &s->buckets[*home].meta;
    watch(c, meta, atomic_load_explicit(meta, memory_order_acquire));
    word = atomic_load_explicit(slot, memory_order_acquire);
    watch(c, slot, word);
    *home = tag_bucket(slot_tag(word), s->count);
    return word;
}

static void check_slot(struct check *c, const struct segment *s, unsigned bucket, unsigned slot)
{
    unsigned home, shift = s->dir_bits - s->depth;
    uint64_t hash, word = watch_slot(c, s, &s->buckets[bucket].slots[slot], &home);
    unsigned distance = (bucket + s->count - home) % s->count;
    if (word && check_entry(c, word, &hash) &&
        ((hash & TAG_MASK) != slot_tag(word) || distance > PROBE_MAX ||
         hash_dir_index(hash, s->dir_bits) >> shift != s->position >> shift))
        complain(c, "entry at unit %llu is not where its key's hash wants it",
                 (unsigned long long)slot_unit(word));
}

/* Of a live segment: the directory has another one in its place, or is another one itself. */
static bool segment_is_gone(struct check *c, const struct segment *s)
{
    return c->options->live &&
           (has_moved(c) || atomic_load_explicit(s->word_at, memory_order_relaxed) != s->word);
}

static void check_slots(struct check *c, const struct segment *s)
{
    for (unsigned i = 0; i < s->count * BUCKET_SLOTS && !segment_is_gone(c, s); i++) {
        struct check_report before = *c->report;
        for (unsigned attempt = 0; attempt < SLOT_ATTEMPTS; attempt++) {
            check_slot(c, s, i / BUCKET_SLOTS, i % BUCKET_SLOTS);
            if (!c->options->live || before.complaints != c->report->complaints || !has_gone(c))
                break;
            *c->report = before;
        }
    }
    c->watched_count = 0;
}

/* What the slots of a segment say, and what its buckets and its head do. */
struct counts {
    struct {
        uint64_t meta;
        unsigned overflow, reach; /* entries that are at home here and lie elsewhere */
        bool changed;             /* the meta, meanwhile: nothing can be said */
    } homes[SEGMENT_BUCKETS_MAX];
    unsigned entries, told;
    bool changed; /* any of them */
};

static const struct segment_head *head_of(const struct bucket *buckets)
{
    return (const struct segment_head *)buckets - 1;
}

static void count_slot(const struct segment *s, unsigned bucket, unsigned slot, struct counts *out)
{
    uint64_t word = atomic_load_explicit(&s->buckets[bucket].slots[slot], memory_order_acquire);
    unsigned home = tag_bucket(slot_tag(word), s->count);
    unsigned distance = (bucket + s->count - home) % s->count;
    if (!word)
        return;
    out->entries++;
    out->homes[home].overflow += distance > 0;
    if (distance > out->homes[home].reach)
        out->homes[home].reach = distance;
}

static void count_slots(const struct segment *s, struct counts *out)
{
    *out = (struct counts){.entries = 0};
    for (unsigned b = 0; b < s->count; b++)
        out->homes[b].meta = atomic_load_explicit(&s->buckets[b].meta, memory_order_acquire);
    for (unsigned i = 0; i < s->count * BUCKET_SLOTS; i++)
        count_slot(s, i / BUCKET_SLOTS, i % BUCKET_SLOTS, out);
    out->told = head_of(s->buckets)->entry_count;
    atomic_thread_fence(memory_order_acquire);
    for (unsigned b = 0; b < s->count; b++) {
        uint64_t meta = atomic_load_explicit(&s->buckets[b].meta, memory_order_relaxed);
        out->homes[b].changed = meta != out->homes[b].meta;
        out->changed |= out->homes[b].changed;
    }
}

static void check_counts(struct check *c, const struct segment *s)
{
    struct counts counts = {.changed = true};
    for (unsigned attempt = 0; attempt < COUNT_ATTEMPTS && counts.changed; attempt++)
        count_slots(s, &counts);
    if (c->options->live)
        watch(c, s->word_at, s->word);
    for (unsigned b = 0; b < s->count; b++) {
        uint64_t meta = counts.homes[b].meta;
        unsigned overflow = counts.homes[b].overflow, reach = counts.homes[b].reach;
        if (counts.homes[b].changed ||
            (bucket_overflow(meta) == overflow && bucket_reach(meta) >= reach &&
             (overflow > 0 || bucket_reach(meta) == 0)))
            continue;
        complain(c,
                 "bucket %u of the segment at %llu counts %u entries elsewhere, up to %u away; "
                 "there are %u, up to %u",
                 b, (unsigned long long)s->position, bucket_overflow(meta), bucket_reach(meta),
                 overflow, reach);
    }
    if (!counts.changed && counts.told != counts.entries)
        complain(c, "the segment at %llu counts %u entries; there are %u",
                 (unsigned long long)s->position, counts.told, counts.entries);
    c->watched_count = 0;
}

static void check_segment(struct check *c, const struct segment *s)
{
    check_slots(c, s);
    check_counts(c, s);
    c->report->segments++;
    c->report->buckets += s->count;
}

/* One look at a live segment; whether there was nothing to complain of. */
static bool look_at_segment(struct check *c, struct segment *s)
{
    uint64_t complaints = c->report->complaints;
    s->word = atomic_load_explicit(s->word_at, memory_order_acquire);
    if (segment_word_is_sound(c->region, s->word, s->dir_bits)) {
        s->buckets = region_at(c->region, segment_unit(s->word));
        s->count = segment_buckets(s->word);
        s->depth = segment_depth(s->word);
        check_segment(c, s);
    } else {
        complain(c, "a segment word is wrong");
    }
    bool same = s->word == atomic_load_explicit(s->word_at, memory_order_acquire);
    return same && c->report->complaints == complaints;
}

static void pause_for_writer(struct check *c, unsigned attempt)
{
    const struct timespec time = {.tv_nsec = PAUSE_NS};
    if (attempt < QUICK_ATTEMPTS || c->pauses == PAUSES_MAX)
        return;
    c->pauses++;
    nanosleep(&time, NULL);
}

/* A live segment may be half-way through a change: only what stays wrong is said. */
static void check_live_segment(struct check *c, struct segment *s)
{
    const struct check_options *options = c->options;
    struct check_report before = *c->report;
    bool sound = false;
    for (unsigned attempt = 1;
         attempt < LIVE_ATTEMPTS && !sound && !has_moved(c) && !is_unwanted(c); attempt++) {
        *c->report = before;
        pause_for_writer(c, attempt);
        c->muted = true;
        sound = look_at_segment(c, s);
        c->muted = false;
    }
    if (sound || c->moved)
        return;
    if (options->hold)
        options->hold(options->context, true);
    /* Once more where another segment has taken its place before anything was found. */
    for (unsigned attempt = 0; attempt < LIVE_ATTEMPTS && !sound && !has_moved(c); attempt++) {
        *c->report = before;
        sound = look_at_segment(c, s) || c->report->complaints != before.complaints;
    }
    if (options->hold)
        options->hold(options->context, false);
}

/* --- indexes -------------------------------------------------------------------------------- */

static void check_index(struct check *c, const _Atomic uint64_t *dir, bool noted)
{
    uint64_t word = atomic_load_explicit(dir, memory_order_acquire);
    c->dir_at = dir;
    c->dir = word;
    if (!dir_word_is_sound(c->region, word)) {
        complain(c, "a directory's place or depth is wrong");
        return;
    }
    struct segment s = {.dir_bits = dir_depth(word)};
    const _Atomic uint64_t *words = region_at(c->region, dir_unit(word));
    c->report->indexes++;
    if (!reach(c, dir_unit(word), dir_units(s.dir_bits), "directory"))
        return;
    for (uint64_t i = 0, range; i < UINT64_C(1) << s.dir_bits && !is_unwanted(c); i += range) {
        uint64_t segment = atomic_load_explicit(&words[i], memory_order_acquire);
        if (has_moved(c))
            return;
        if (!segment_word_is_sound(c->region, segment, s.dir_bits)) {
            complain(c, "directory word %llu is wrong", (unsigned long long)i);
            return;
        }
        s.position = i;
        s.count = segment_buckets(segment);
        s.depth = segment_depth(segment);
        s.buckets = region_at(c->region, segment_unit(segment));
        s.word_at = &words[i];
        s.word = segment;
        if (c->options->live)
            check_live_segment(c, &s);
        range =
            UINT64_C(1) << (s.dir_bits - s.depth); /* of what was looked at: it may have split */
        if (c->options->live)
            continue;
        for (uint64_t j = i; j < i + range; j++) {
            if (i & (range - 1) || atomic_load_explicit(&words[j], memory_order_relaxed) != segment)
                complain(c, "directory word %llu does not belong to its segment's range",
                         (unsigned long long)j);
        }
        if (reach(c, segment_unit(segment) - SEGMENT_HEAD_UNITS, segment_units(s.count, noted),
                  "segment"))
            check_segment(c, &s);
    }
}

/* --- tables --------------------------------------------------------------------------------- */

static void check_indexes(struct check *c, const struct table_root *root)
{
    for (unsigned i = 0; i <= root->index_count && !c->moved; i++)
        check_index(c, &root->dirs[i], root->flags & ROOT_CACHE);
    c->dir_at = NULL;
}

static void check_root(struct check *c, uint64_t unit)
{
    const struct table_root *root = region_at(c->region, unit);
    const void *block = region_at(c->region, root->schema_unit);
    struct schema *schema;
    reach(c, unit, root_units(root->index_count), "table root");
    reach(c, root->schema_unit, bytes_to_units(root->schema_bytes), "schema");
    if (schema_parse(block, root->schema_bytes, &schema) != SP_OK) {
        complain(c, "the schema is damaged");
        return;
    }
    if (schema->index_count != root->index_count)
        complain(c, "the root has %u secondary indexes, the schema %u", root->index_count,
                 schema->index_count);
    schema_free(schema);
    check_indexes(c, root);
}

static void check_table(struct check *c, const struct table_slot *slot)
{
    uint64_t unit = atomic_load_explicit(&slot->head, memory_order_acquire);
    c->head_at = &slot->head;
    c->head = unit;
    c->table = slot->name;
    c->report->tables++;
    if (memchr(slot->name, 0, sizeof(slot->name)) == NULL)
        complain(c, "a table's name does not end");
    for (unsigned i = 0; unit && i < CHAIN_MAX; i++) {
        if (!root_is_sound(c->region, unit)) {
            complain(c, "the root at unit %llu: bounds or checksum are wrong",
                     (unsigned long long)unit);
            return;
        }
        const struct table_root *root = region_at(c->region, unit);
        if (atomic_load_explicit(&root->born, memory_order_relaxed) > c->committed)
            c->report->uncommitted++;
        check_root(c, unit);
        unit = c->options->live ? 0 : atomic_load_explicit(&root->prev, memory_order_relaxed);
    }
}

/* A table that gets another root or directory all the time is let be in the end. */
static void check_live_table(struct check *c, const struct table_slot *slot)
{
    struct check_report before = *c->report;
    for (unsigned attempt = 0; attempt < LIVE_ATTEMPTS; attempt++) {
        *c->report = before;
        c->moved = false;
        check_table(c, slot);
        if (!has_moved(c))
            break;
    }
    c->moved = false;
    c->head_at = NULL;
}

/* --- the allocator -------------------------------------------------------------------------- */

static void check_allocator(struct check *c)
{
    struct buddy buddy;
    char why[256];
    uint64_t usable = atomic_load_explicit(&c->region->super->usable_units, memory_order_relaxed);
    c->table = NULL;
    if (buddy_attach(&buddy, c->region->meta, c->region->unit_limit, usable) != SP_OK ||
        buddy_check(&buddy, why, sizeof(why)) != SP_OK) {
        if (!c->options->killed)
            complain(c, "allocator: %s", why);
        return;
    }
    c->report->allocator_checked = true;
    c->report->used_units = usable - buddy_free_units(&buddy);
    uint64_t lost = 0, unowned = 0;
    for (uint64_t u = 1; u < usable; u++) {
        bool reached = c->reached[u / 64] >> (u % 64) & 1;
        if (reached != buddy_is_used(&buddy, u, 1)) {
            lost += !reached;
            unowned += reached;
        }
    }
    c->report->leaked_units = lost;
    if (c->options->killed)
        return;
    if (unowned)
        complain(c, "allocator: %llu units in use are marked as free", (unsigned long long)unowned);
    if (lost && !c->report->uncommitted)
        complain(c, "allocator: %llu units are marked as used, and nothing leads to them",
                 (unsigned long long)lost);
}

int check_pond(const struct region *region, const struct check_options *options,
               struct check_report *report)
{
    struct check c = {.region = region, .options = options, .report = report};
    size_t bytes = (region->unit_limit + 63) / 64 * 8;
    *report = (struct check_report){0};
    c.reached = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (c.reached == MAP_FAILED)
        return SP_ENOMEM;
    c.committed =
        atomic_load_explicit(&region->super->committed, memory_order_acquire) & VERSION_MASK;
    unsigned count = atomic_load_explicit(&region->super->table_count, memory_order_acquire);
    for (unsigned i = 0; i < count && i < FORMAT_TABLES_MAX; i++)
        (options->live ? check_live_table : check_table)(&c, &region->slots[i]);
    bool unwanted = is_unwanted(&c);
    if (!options->live && !unwanted)
        check_allocator(&c);
    munmap(c.reached, bytes);
    if (unwanted)
        return SP_ECANCELED;
    return report->complaints ? SP_ECORRUPT : SP_OK;
}
