// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// anyArgs are a job's arguments, byte for byte as they were given.
type anyArgs struct{ raw []byte }

func (a anyArgs) MarshalJSON() ([]byte, error) { return a.raw, nil }
func (a *anyArgs) UnmarshalJSON(b []byte) error {
	a.raw = append([]byte(nil), b...)
	return nil
}

// Kinds are types in River: one for what the benchmark inserts, and two with which unique keys are shown.
type benchmarkArgs struct{ anyArgs }

func (benchmarkArgs) Kind() string { return "benchmark.job" }

// onceArgs are a benchmark job that is to be there once, by its key alone.
type onceArgs struct {
	Tenant  string          `json:"tenant_id"`
	Label   string          `json:"kind"`
	Payload json.RawMessage `json:"payload"`
	Job     int64           `json:"job_id"`
	Micros  int64           `json:"work_us"`
	Key     string          `json:"key" river:"unique"`
}

func (onceArgs) Kind() string { return "benchmark.job" }

type otherArgs struct{ anyArgs }

func (otherArgs) Kind() string { return "interop.other" }

// selectedArgs count as the same job by two of their fields only.
type selectedArgs struct {
	Account struct {
		ID   string `json:"id,omitempty" river:"unique"`
		Name string `json:"name,omitempty"`
	} `json:"account"`
	Label string `json:"label,omitempty" river:"unique"`
	Note  string `json:"note,omitempty"`
}

func (selectedArgs) Kind() string { return "interop.selected" }

// structArgs are what a Go application writes: its encoder decides on the order of fields and on escapes.
type structArgs struct {
	Zulu  string         `json:"zulu"`
	Alpha int            `json:"alpha"`
	Deep  map[string]any `json:"deep"`
}

func (structArgs) Kind() string { return "interop.struct" }

func argsOf(kind string, raw []byte) (river.JobArgs, error) {
	switch kind {
	case "benchmark.job":
		return benchmarkArgs{anyArgs{raw}}, nil
	case "once":
		var a onceArgs
		err := json.Unmarshal(raw, &a)
		return a, err
	case "interop.other":
		return otherArgs{anyArgs{raw}}, nil
	case "interop.selected":
		var a selectedArgs
		err := json.Unmarshal(raw, &a)
		return a, err
	case "interop.struct":
		var a structArgs
		err := json.Unmarshal(raw, &a)
		return a, err
	}
	return nil, fmt.Errorf("no such kind: %s", kind)
}

func insert(ctx context.Context, pool *pgxpool.Pool, args []string) error {
	flags := flag.NewFlagSet("insert", flag.ExitOnError)
	n := flags.Int("n", 1, "how many")
	kind := flags.String("kind", "benchmark.job", "of which kind")
	text := flags.String("args", "{}", "JSON; - reads it from standard input")
	first := flags.Int("first", 1, "what an @ in args is for the first job; one more for each that follows")
	opts := river.InsertOpts{}
	flags.StringVar(&opts.Queue, "queue", "", "into which queue")
	flags.IntVar(&opts.MaxAttempts, "max-attempts", 0, "")
	flags.IntVar(&opts.Priority, "priority", 0, "")
	after := flags.Duration("after", 0, "scheduled so much later")
	flags.BoolVar(&opts.UniqueOpts.ByArgs, "by-args", false, "unique by arguments")
	flags.BoolVar(&opts.UniqueOpts.ByQueue, "by-queue", false, "unique by queue")
	flags.BoolVar(&opts.UniqueOpts.ExcludeKind, "exclude-kind", false, "unique whatever the kind")
	flags.DurationVar(&opts.UniqueOpts.ByPeriod, "by-period", 0, "unique in a period")
	narrow := flags.Bool("not-completed", false, "unique only until it is completed")
	rollback := flags.Bool("rollback", false, "in a transaction that is rolled back")
	wait := flags.Duration("commit-after", 0, "in a transaction that stays open for so long")
	flags.Parse(args)
	if *after != 0 {
		opts.ScheduledAt = time.Now().Add(*after)
	}
	if *narrow {
		opts.UniqueOpts.ByState = []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}
	}
	client, err := inserter(pool)
	if err != nil {
		return err
	}
	raw, err := readArgs(*text)
	if err != nil {
		return err
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	for i := range *n {
		var res *rivertype.JobInsertResult
		what, err := argsOf(*kind, bytes.ReplaceAll(raw, []byte("@"), strconv.AppendInt(nil, int64(*first+i), 10)))
		if err != nil {
			return err
		}
		if *rollback || *wait > 0 {
			res, err = client.InsertTx(ctx, tx, what, &opts)
		} else {
			res, err = client.Insert(ctx, what, &opts)
		}
		if err != nil {
			return err
		}
		encoded, err := json.Marshal(what)
		if err != nil {
			return err
		}
		if err = inserted(ctx, pool, res, string(encoded)); err != nil {
			return err
		}
	}
	if *rollback {
		return nil
	}
	time.Sleep(*wait)
	return tx.Commit(ctx)
}

func inserted(ctx context.Context, pool *pgxpool.Pool, res *rivertype.JobInsertResult, encoded string) error {
	var mask *string
	table := pgx.Identifier{"river_job"}
	if schema != "" {
		table = pgx.Identifier{schema, "river_job"}
	}
	err := pool.QueryRow(ctx, "select unique_states::text from "+table.Sanitize()+" where id = $1", res.Job.ID).Scan(&mask)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	jobSaid("inserted", res.Job, "duplicate", res.UniqueSkippedAsDuplicate, "unique_states", mask,
		"encoded", encoded)
	return nil
}

// How a job is to go is in its payload, as the benchmark writes it.
type payload struct {
	WorkMillis    int    `json:"work_millis"`
	FailWithError string `json:"fail_with_error"`
	Bytes         []byte `json:"bytes"`
}

func do(ctx context.Context, row *rivertype.JobRow) error {
	var args struct {
		Payload payload `json:"payload"`
	}
	if err := json.Unmarshal(row.EncodedArgs, &args); err != nil {
		return err
	}
	began := time.Now()
	jobSaid("started", row, "payload_bytes", len(args.Payload.Bytes))
	err := simulate(ctx, args.Payload)
	text := ""
	if err != nil {
		text = err.Error()
	}
	say("event", "ended", "id", row.ID, "attempt", row.Attempt, "ms", time.Since(began).Milliseconds(), "error", text)
	return err
}

func simulate(ctx context.Context, p payload) error {
	switch p.FailWithError {
	case "":
	case "permanent":
		return river.JobCancel(errors.New(p.FailWithError))
	default:
		return errors.New(p.FailWithError)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	case <-time.After(time.Duration(p.WorkMillis) * time.Millisecond):
		return nil
	}
}

type benchmarkWorker struct {
	river.WorkerDefaults[benchmarkArgs]
}

func (benchmarkWorker) Work(ctx context.Context, job *river.Job[benchmarkArgs]) error {
	return do(ctx, job.JobRow)
}

type otherWorker struct {
	river.WorkerDefaults[otherArgs]
}

func (otherWorker) Work(ctx context.Context, job *river.Job[otherArgs]) error {
	return do(ctx, job.JobRow)
}

type selectedWorker struct {
	river.WorkerDefaults[selectedArgs]
}

func (selectedWorker) Work(ctx context.Context, job *river.Job[selectedArgs]) error {
	return do(ctx, job.JobRow)
}
