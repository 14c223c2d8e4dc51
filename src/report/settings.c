/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a run under one roof: the members of its description and the list behind them. */
#include "report/model.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

enum scalar {
	DURATION, RATE, TENANTS, SEED, WORKERS, SLOTS, ACK, AMBIGUOUS, BACKOFF, SERVER,
	SCALAR_COUNT,
};

static const char *const scalar_keys[SCALAR_COUNT] = {
	"duration", "rate", "tenants", "seed", "workers", "slots", "ack", "ambiguous", "backoff",
	"server",
};

int qb_setting_key(const struct qb_meta *m, unsigned i, char key[QB_SETTING_BYTES])
{
	struct qb_host host;

	if (i < SCALAR_COUNT) {
		snprintf(key, QB_SETTING_BYTES, "%s", scalar_keys[i]);
		return 1;
	}
	i -= SCALAR_COUNT;
	if (i >= m->settings_count)
		return 0;
	/* The machine is no setting; its facts only travel in the list. */
	if (qb_host_take(&host, m->settings[i].key, m->settings[i].value))
		snprintf(key, QB_SETTING_BYTES, "%s", scalar_keys[0]);
	else
		snprintf(key, QB_SETTING_BYTES, "%s", m->settings[i].key);
	return 1;
}

static const char *scalar_text(const struct qb_meta *m, unsigned i)
{
	switch (i) {
	case ACK:
		return m->ack;
	case AMBIGUOUS:
		return m->ambiguous;
	case BACKOFF:
		return m->backoff;
	case SERVER:
		return m->server_version;
	default:
		return NULL;
	}
}

static uint64_t scalar_number(const struct qb_meta *m, unsigned i)
{
	switch (i) {
	case RATE:
		return m->rate;
	case TENANTS:
		return m->tenants;
	case SEED:
		return m->seed;
	case WORKERS:
		return m->workers;
	default:
		return m->slots;
	}
}

void qb_setting(const struct qb_meta *m, const char *key, char value[QB_SETTING_BYTES])
{
	unsigned i = 0;

	while (i < SCALAR_COUNT && strcmp(scalar_keys[i], key) != 0)
		i++;
	if (i == DURATION) {
		qb_format_duration(value, QB_SETTING_BYTES, m->duration_ns);
		return;
	}
	if (i < SCALAR_COUNT) {
		const char *text = scalar_text(m, i);

		if (text)
			snprintf(value, QB_SETTING_BYTES, "%.95s", text);
		else
			snprintf(value, QB_SETTING_BYTES, "%llu",
				 (unsigned long long)scalar_number(m, i));
		return;
	}
	snprintf(value, QB_SETTING_BYTES, "-");
	for (uint32_t k = 0; k < m->settings_count; k++)
		if (strcmp(m->settings[k].key, key) == 0)
			snprintf(value, QB_SETTING_BYTES, "%.95s", m->settings[k].value);
}
