/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Postgres itself allows: rows with the columns and bytes of a live job, put into a table of
 * their own by the plainest statements, each batch one committed transaction.
 *
 * Lives in: one connection and its buffers.  Every failure ends the program with a message.
 */
#ifndef QB_BENCH_PGFLOOR_H
#define QB_BENCH_PGFLOOR_H

#include <libpq-fe.h>
#include <stdint.h>

#include "pg/array.h"

#define PGFLOOR_COLUMNS 13
#define PGFLOOR_PAYLOAD_BYTES 256

struct pgfloor {
	PGconn *conn;
	int64_t next_id;
	int64_t oldest_id;              /* first row that is still in floor.job */
	struct qb_pg_array col[PGFLOOR_COLUMNS];
	unsigned char payload[PGFLOOR_PAYLOAD_BYTES];
	unsigned char *copy;            /* buffer of pgfloor_copy() */
	size_t copy_cap;
};

/* Connects, makes schema "floor" with its tables, prepares the statements. */
void pgfloor_open(struct pgfloor *f, const char *conninfo);
void pgfloor_close(struct pgfloor *f);

/* INSERT ... SELECT FROM unnest(binary arrays) of n rows, and the commit. */
void pgfloor_unnest(struct pgfloor *f, unsigned n);
/* One INSERT with binary parameters, and the commit. */
void pgfloor_single(struct pgfloor *f);
/* COPY ... (FORMAT binary) of n rows, and the commit. */
void pgfloor_copy(struct pgfloor *f, unsigned n);

/* The end of the n oldest jobs: their rows deleted, n rows of outcome inserted, one commit. */
void pgfloor_finish(struct pgfloor *f, unsigned n);

/* Removes all rows: a table does not become slower from one repetition to the next. */
void pgfloor_empty(struct pgfloor *f);
int64_t pgfloor_rows(struct pgfloor *f);
/* Any other statement on this connection. */
void pgfloor_sql(struct pgfloor *f, const char *sql);

#endif
