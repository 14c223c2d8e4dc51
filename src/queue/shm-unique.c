/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/shm-unique.h"

#include <openssl/evp.h>
#include <string.h>

#include "shm/key.h"

static uint64_t big_endian(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

int qb_shm_key_of(const void *bytes, size_t n, struct qb_key *key, struct qb_err *err)
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (!EVP_Digest(bytes, n, digest, NULL, EVP_sha256(), NULL))
		return qb_err_set(err, QB_EUSAGE, "libcrypto has no SHA-256");
	key->hi = big_endian(digest);
	key->lo = big_endian(digest + 8);
	/* Both 0 is no key. */
	key->lo += key->hi == 0 && key->lo == 0;
	return 0;
}

int qb_shm_enqueue_unique(const struct qb_queue_env *env, const struct qb_submit *job, const char *key,
			  struct qb_queue_ticket *ticket, struct qb_err *err)
{
	uint64_t holder_id;

	return qb_shm_submit_unique(env, job, key, ticket, &holder_id, err);
}

int qb_shm_submit_unique(const struct qb_queue_env *env, const struct qb_submit *job, const char *key,
			 struct qb_queue_ticket *ticket, uint64_t *holder_id, struct qb_err *err)
{
	struct qb_submit with_key = *job;
	struct qb_key_holder holder;
	struct qb_held ref;
	int rc = qb_shm_key_of(key, strlen(key), &with_key.key, err);

	if (rc < 0)
		return rc;
	rc = qb_job_submit_unique(env->seg, env->seat, &with_key, &ref, &holder);
	if (rc < 0)
		return qb_err_set(err, rc, "job %llu: %s", (unsigned long long)job->job_id, qb_strerror(rc));
	if (rc == QB_OK)
		*ticket = (struct qb_queue_ticket){ .a = ref.slot_idx, .b = ref.word };
	else if (rc == QB_DUPLICATE) {
		*ticket = (struct qb_queue_ticket){
			.a = holder.slot_idx, .b = qb_word(holder.gen, 0, 0, 0, QB_JOB_READY),
		};
		*holder_id = holder.job_id;
	}
	return rc;
}
