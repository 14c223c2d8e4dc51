/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only atomic operations on shared memory, with the order in the name.
 *
 * The wrapper types have one member so that a plain read or write does not compile.  Built on
 * the compiler's __atomic builtins, which ThreadSanitizer understands; there are no stand-alone
 * fences except qb_fence_seq_cst(), because ThreadSanitizer does not model them.
 *
 * QB_ATOMIC_POINT() stands before every access.  It is empty in the product; a simulation
 * defines it to switch to another actor, so that every interleaving of accesses can be tried.
 */
#ifndef QB_SHM_ATOMIC_H
#define QB_SHM_ATOMIC_H

#include <stdint.h>

#ifndef QB_ATOMIC_POINT
#define QB_ATOMIC_POINT() ((void)0)
#endif

typedef struct { uint32_t v; } qb_au32;
typedef struct { uint64_t v; } qb_au64;

_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "64-bit atomics must be lock-free");

#define QB_ATOMIC_DEFINE(bits)                                                                     \
static inline uint##bits##_t qb_load_relaxed##bits(const qb_au##bits *p)                           \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_load_n(&p->v, __ATOMIC_RELAXED);                                           \
}                                                                                                  \
static inline uint##bits##_t qb_load_acquire##bits(const qb_au##bits *p)                           \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_load_n(&p->v, __ATOMIC_ACQUIRE);                                           \
}                                                                                                  \
static inline void qb_store_relaxed##bits(qb_au##bits *p, uint##bits##_t v)                        \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	__atomic_store_n(&p->v, v, __ATOMIC_RELAXED);                                              \
}                                                                                                  \
static inline void qb_store_release##bits(qb_au##bits *p, uint##bits##_t v)                        \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	__atomic_store_n(&p->v, v, __ATOMIC_RELEASE);                                              \
}                                                                                                  \
/* Strong. Acquire-release on success, acquire on failure; *expected then holds what was there. */ \
static inline int qb_cas_acq_rel##bits(qb_au##bits *p, uint##bits##_t *expected, uint##bits##_t v) \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_compare_exchange_n(&p->v, expected, v, 0, __ATOMIC_ACQ_REL,                \
					   __ATOMIC_ACQUIRE);                                      \
}                                                                                                  \
static inline uint##bits##_t qb_xchg_acq_rel##bits(qb_au##bits *p, uint##bits##_t v)               \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_exchange_n(&p->v, v, __ATOMIC_ACQ_REL);                                    \
}                                                                                                  \
static inline uint##bits##_t qb_add_relaxed##bits(qb_au##bits *p, uint##bits##_t n)                \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_fetch_add(&p->v, n, __ATOMIC_RELAXED);                                     \
}                                                                                                  \
static inline uint##bits##_t qb_add_acq_rel##bits(qb_au##bits *p, uint##bits##_t n)                \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_fetch_add(&p->v, n, __ATOMIC_ACQ_REL);                                     \
}                                                                                                  \
static inline uint##bits##_t qb_or_seq_cst##bits(qb_au##bits *p, uint##bits##_t bitmask)           \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_fetch_or(&p->v, bitmask, __ATOMIC_SEQ_CST);                                \
}                                                                                                  \
static inline uint##bits##_t qb_and_seq_cst##bits(qb_au##bits *p, uint##bits##_t bitmask)          \
{                                                                                                  \
	QB_ATOMIC_POINT();                                                                         \
	return __atomic_fetch_and(&p->v, bitmask, __ATOMIC_SEQ_CST);                               \
}

QB_ATOMIC_DEFINE(32)
QB_ATOMIC_DEFINE(64)

/*
 * Store-load barrier, for two sides that each store a word and then load the other's (see wait.h).
 * Nothing is published by it alone, so that ThreadSanitizer, which does not model it, has nothing to
 * miss; gcc warns of it all the same.
 */
#if defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
static inline void qb_fence_seq_cst(void)
{
	QB_ATOMIC_POINT();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#if defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

static inline void qb_cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
