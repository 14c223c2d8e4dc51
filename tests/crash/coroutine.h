/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Switching between stacks in one thread.  On x86-64 by hand, in some 10 ns: swapcontext() makes a
 * system call each time, which would cost a hundred times more.
 */
#ifndef QB_TESTS_CRASH_COROUTINE_H
#define QB_TESTS_CRASH_COROUTINE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define COROUTINE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COROUTINE_ASAN 1
#endif
#endif
#ifdef COROUTINE_ASAN
#include <sanitizer/asan_interface.h>
/* What a killed coroutine had in scope stays marked for ever otherwise. */
#define coroutine_clean(stack, bytes) __asan_unpoison_memory_region((stack), (bytes))
#else
#define coroutine_clean(stack, bytes) ((void)0)
#endif

#ifdef __x86_64__

struct coroutine { void *sp; };

/* Saves what a call must preserve, swaps the stack pointer, restores. */
void coroutine_switch(struct coroutine *from, const struct coroutine *to);
__asm__(".text\n"
	".globl coroutine_switch\n"
	".type coroutine_switch, @function\n"
	"coroutine_switch:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov (%rsi), %rsp\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	".size coroutine_switch, . - coroutine_switch\n");

static inline void coroutine_make(struct coroutine *c, void *stack, size_t bytes, void (*entry)(void))
{
	uint64_t *sp = (uint64_t *)((uint8_t *)stack + bytes - 64);

	coroutine_clean(stack, bytes);
	*--sp = 0;                      /* entry() never returns */
	*--sp = (uint64_t)(uintptr_t)entry;
	for (int i = 0; i < 6; i++)
		*--sp = 0;
	c->sp = sp;
}

#else

#include <ucontext.h>

struct coroutine { ucontext_t context; };

static inline void coroutine_switch(struct coroutine *from, const struct coroutine *to)
{
	swapcontext(&from->context, &to->context);
}

static inline void coroutine_make(struct coroutine *c, void *stack, size_t bytes, void (*entry)(void))
{
	coroutine_clean(stack, bytes);
	getcontext(&c->context);
	c->context.uc_stack.ss_sp = stack;
	c->context.uc_stack.ss_size = bytes;
	c->context.uc_link = NULL;
	makecontext(&c->context, entry, 0);
}

#endif
#endif
