// SPDX-License-Identifier: Apache-2.0

// One side of the interoperation test: the River library itself, used as an application would use it.
//
//	river-go CONNINFO COMMAND [FLAG]...
//
// Each command prints JSON, a line each, and exits; "work" prints what it sees while it sees it.  The schema is
// $QB_RIVER_SCHEMA, or what the connection has first.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

type command struct {
	run  func(ctx context.Context, pool *pgxpool.Pool, args []string) error
	help string
}

var commands = map[string]command{
	"cancel":   {cancel, "cancel jobs by id"},
	"insert":   {insert, "insert jobs, also unique, scheduled, or in a transaction"},
	"migrate":  {migrate, "bring the schema up, by River's own migrator"},
	"queue":    {queue, "pause, resume or show a queue"},
	"resign":   {resign, "ask whoever leads to resign"},
	"retry":    {retry, "make jobs available again"},
	"states":   {states, "the jobs as River reads them"},
	"version":  {version, "which River this is"},
	"validate": {validate, "what River's migrator says of a schema"},
	"work":     {work, "work jobs"},
}

var (
	out    = json.NewEncoder(os.Stdout)
	schema = os.Getenv("QB_RIVER_SCHEMA")
)

func say(pairs ...any) {
	line := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		line[pairs[i].(string)] = pairs[i+1]
	}
	if err := out.Encode(line); err != nil {
		os.Exit(1)
	}
}

func jobSaid(event string, job *rivertype.JobRow, more ...any) {
	say(append([]any{
		"event", event, "id", job.ID, "kind", job.Kind, "queue", job.Queue, "attempt", job.Attempt,
		"max_attempts", job.MaxAttempts, "state", job.State, "errors", len(job.Errors),
		"attempted_by", job.AttemptedBy, "unique_key", hex.EncodeToString(job.UniqueKey),
		"args", json.RawMessage(job.EncodedArgs), "finalized", job.FinalizedAt != nil,
	}, more...)...)
}

func main() {
	if len(os.Args) < 3 || commands[os.Args[2]].run == nil {
		fmt.Fprintln(os.Stderr, "usage: river-go CONNINFO COMMAND [FLAG]...")
		for name, c := range commands {
			fmt.Fprintf(os.Stderr, "  %-9s %s\n", name, c.help)
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Args[1])
	if err == nil {
		defer pool.Close()
		err = commands[os.Args[2]].run(ctx, pool, os.Args[3:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "river-go %s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
}

func inserter(pool *pgxpool.Pool) (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet(), Schema: schema})
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func migrator(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	return rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet(), Schema: schema})
}

func version(context.Context, *pgxpool.Pool, []string) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("built without modules")
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/riverqueue/river" {
			fmt.Println(dep.Version)
			return nil
		}
	}
	return errors.New("built without River")
}

func migrate(ctx context.Context, pool *pgxpool.Pool, args []string) error {
	flags := flag.NewFlagSet("migrate", flag.ExitOnError)
	dryRun := flags.Bool("dry-run", false, "change nothing")
	flags.Parse(args)
	m, err := migrator(pool)
	if err != nil {
		return err
	}
	res, err := m.Migrate(ctx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{DryRun: *dryRun})
	if err != nil {
		return err
	}
	versions := []int{}
	for _, v := range res.Versions {
		versions = append(versions, v.Version)
	}
	say("event", "migrated", "versions", versions)
	return nil
}

func validate(ctx context.Context, pool *pgxpool.Pool, _ []string) error {
	m, err := migrator(pool)
	if err != nil {
		return err
	}
	ok, messages, err := validated(ctx, m)
	if err != nil {
		return err
	}
	existing, err := m.ExistingVersions(ctx)
	if err != nil {
		return err
	}
	versions := []int{}
	for _, v := range existing {
		versions = append(versions, v.Version)
	}
	say("event", "validated", "ok", ok, "messages", strings.Join(messages, "; "), "versions", versions)
	return nil
}

// ids are the arguments of a command that takes jobs.
func ids(args []string) ([]int64, error) {
	var res []int64
	for _, a := range args {
		var id int64
		if _, err := fmt.Sscan(a, &id); err != nil {
			return nil, fmt.Errorf("no job id: %q", a)
		}
		res = append(res, id)
	}
	return res, nil
}

func eachJob(ctx context.Context, pool *pgxpool.Pool, args []string, event string,
	do func(*river.Client[pgx.Tx], int64) (*rivertype.JobRow, error)) error {
	list, err := ids(args)
	if err != nil {
		return err
	}
	client, err := inserter(pool)
	if err != nil {
		return err
	}
	for _, id := range list {
		job, err := do(client, id)
		if err != nil {
			return err
		}
		jobSaid(event, job)
	}
	return nil
}

func cancel(ctx context.Context, pool *pgxpool.Pool, args []string) error {
	return eachJob(ctx, pool, args, "cancel", func(c *river.Client[pgx.Tx], id int64) (*rivertype.JobRow, error) {
		return c.JobCancel(ctx, id)
	})
}

func retry(ctx context.Context, pool *pgxpool.Pool, args []string) error {
	return eachJob(ctx, pool, args, "retry", func(c *river.Client[pgx.Tx], id int64) (*rivertype.JobRow, error) {
		return c.JobRetry(ctx, id)
	})
}

func resign(ctx context.Context, pool *pgxpool.Pool, _ []string) error {
	client, err := inserter(pool)
	if err != nil {
		return err
	}
	return client.Notify().RequestResign(ctx)
}

func queue(ctx context.Context, pool *pgxpool.Pool, args []string) error {
	if len(args) != 2 {
		return errors.New("pause|resume|show QUEUE")
	}
	client, err := inserter(pool)
	if err != nil {
		return err
	}
	switch args[0] {
	case "pause":
		err = client.QueuePause(ctx, args[1], nil)
	case "resume":
		err = client.QueueResume(ctx, args[1], nil)
	}
	if err != nil {
		return err
	}
	if args[1] == "*" {
		return nil
	}
	q, err := client.QueueGet(ctx, args[1])
	if err != nil {
		return err
	}
	say("event", "queue", "name", q.Name, "paused", q.PausedAt != nil)
	return nil
}

func states(ctx context.Context, pool *pgxpool.Pool, _ []string) error {
	client, err := inserter(pool)
	if err != nil {
		return err
	}
	list := river.NewJobListParams().First(10000).OrderBy(river.JobListOrderByID, river.SortOrderAsc)
	res, err := client.JobList(ctx, list)
	if err != nil {
		return err
	}
	for _, job := range res.Jobs {
		jobSaid("job", job, "last_error", lastError(job))
	}
	return nil
}

func lastError(job *rivertype.JobRow) string {
	if len(job.Errors) == 0 {
		return ""
	}
	return job.Errors[len(job.Errors)-1].Error
}

func readArgs(text string) ([]byte, error) {
	if text != "-" {
		return []byte(text), nil
	}
	return io.ReadAll(os.Stdin)
}
