/* SPDX-License-Identifier: Apache-2.0 */
#include "base/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/num.h"
#include "base/proc.h"

#define CPUINFO_BYTES_MAX (4u << 20)

/* The value of the first line "key : value"; inner runs of blanks become one. 1 when found. */
static int line_value(const char *text, const char *key, char *out, size_t cap)
{
	size_t key_len = strlen(key), n = 0;

	while (text) {
		const char *line = text, *p;

		text = strchr(text, '\n');
		if (text)
			text++;
		if (strncmp(line, key, key_len) != 0)
			continue;
		p = line + key_len;
		p += strspn(p, " \t");
		if (*p != ':')
			continue;
		p++;
		for (p += strspn(p, " \t"); *p && *p != '\n' && n + 1 < cap; p++) {
			int blank = *p == ' ' || *p == '\t';

			if (!blank || (n && out[n - 1] != ' '))
				out[n++] = blank ? ' ' : *p;
		}
		while (n && out[n - 1] == ' ')
			n--;
		out[n] = '\0';
		return n > 0;
	}
	return 0;
}

void qb_host_cpu_model(const char *cpuinfo, char *out, size_t cap)
{
	/* x86, some ARM boards, POWER, s390; most 64-bit ARM kernels name no model at all. */
	static const char *const keys[] = { "model name", "Model", "cpu", "Hardware", "Processor" };

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (line_value(cpuinfo, keys[i], out, cap))
			return;
}

static void read_cpu(struct qb_host *h)
{
	char *text;
	size_t bytes;

	if (qb_read_file("/proc/cpuinfo", CPUINFO_BYTES_MAX, &text, &bytes, NULL) < 0)
		return;
	qb_host_cpu_model(text, h->cpu, sizeof(h->cpu));
	free(text);
}

void qb_host_read(struct qb_host *h)
{
	long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	struct utsname u;

	memset(h, 0, sizeof(*h));
	if (uname(&u) == 0) {
		snprintf(h->name, sizeof(h->name), "%.64s", u.nodename);
		snprintf(h->kernel, sizeof(h->kernel), "%.16s %.48s %.16s", u.sysname, u.release,
			 u.machine);
	}
	h->cores = qb_proc_cores();
	h->cores_online = online > 0 ? (uint32_t)online : 0;
	if (pages > 0 && page_bytes > 0)
		h->memory_bytes = (uint64_t)pages * (uint64_t)page_bytes;
	read_cpu(h);
}

enum host_fact {
	FACT_NAME, FACT_CPU, FACT_KERNEL, FACT_CORES, FACT_CORES_ONLINE, FACT_MEMORY, FACT_COUNT,
};

static const char *const fact_keys[FACT_COUNT] = {
	"host_name", "host_cpu", "host_kernel", "host_cores", "host_cores_online",
	"host_memory_bytes",
};

int qb_host_fact(const struct qb_host *h, unsigned i, char *key, size_t key_cap, char *value,
		 size_t value_cap)
{
	if (i >= FACT_COUNT)
		return 0;
	snprintf(key, key_cap, "%s", fact_keys[i]);
	switch (i) {
	case FACT_NAME:
		snprintf(value, value_cap, "%s", h->name);
		break;
	case FACT_CPU:
		snprintf(value, value_cap, "%s", h->cpu);
		break;
	case FACT_KERNEL:
		snprintf(value, value_cap, "%s", h->kernel);
		break;
	case FACT_CORES:
		snprintf(value, value_cap, "%u", h->cores);
		break;
	case FACT_CORES_ONLINE:
		snprintf(value, value_cap, "%u", h->cores_online);
		break;
	default:
		snprintf(value, value_cap, "%llu", (unsigned long long)h->memory_bytes);
		break;
	}
	return 1;
}

static uint64_t number(const char *text, uint64_t max)
{
	uint64_t value;

	return qb_parse_u64(text, &value) == 0 && value <= max ? value : 0;
}

int qb_host_take(struct qb_host *h, const char *key, const char *value)
{
	unsigned i = 0;

	while (i < FACT_COUNT && strcmp(key, fact_keys[i]) != 0)
		i++;
	switch (i) {
	case FACT_NAME:
		snprintf(h->name, sizeof(h->name), "%.64s", value);
		return 1;
	case FACT_CPU:
		snprintf(h->cpu, sizeof(h->cpu), "%.95s", value);
		return 1;
	case FACT_KERNEL:
		snprintf(h->kernel, sizeof(h->kernel), "%.95s", value);
		return 1;
	case FACT_CORES:
		h->cores = (uint32_t)number(value, UINT32_MAX);
		return 1;
	case FACT_CORES_ONLINE:
		h->cores_online = (uint32_t)number(value, UINT32_MAX);
		return 1;
	case FACT_MEMORY:
		h->memory_bytes = number(value, UINT64_MAX);
		return 1;
	}
	return 0;
}

const char *qb_host_line(const struct qb_host *h, char *buf, size_t cap)
{
	char cores[48] = "", memory[24] = "";

	if (h->cores_online > h->cores)
		snprintf(cores, sizeof(cores), "%u of %u cores", h->cores, h->cores_online);
	else if (h->cores)
		snprintf(cores, sizeof(cores), "%u core%s", h->cores, h->cores == 1 ? "" : "s");
	if (h->memory_bytes)
		qb_format_size(memory, sizeof(memory), h->memory_bytes);

	const char *const parts[] = { h->cpu, cores, memory, h->kernel };
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!parts[i][0] || used >= cap)
			continue;
		int n = snprintf(buf + used, cap - used, "%s%s", used ? ", " : "", parts[i]);

		used += n > 0 ? (size_t)n : 0;
	}
	return buf;
}
