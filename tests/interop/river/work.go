// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// work runs a client until so many jobs have ended, a time is over, or it is told to go by SIGTERM.
func work(ctx context.Context, pool *pgxpool.Pool, args []string) error {
	flags := flag.NewFlagSet("work", flag.ExitOnError)
	n := flags.Int("n", 0, "so many jobs; 0: until it is told to go")
	limit := flags.Duration("limit", 30*time.Second, "give up after so long")
	queueName := flags.String("queue", river.QueueDefault, "of this queue")
	cfg := &river.Config{Logger: quiet(), Schema: schema, Workers: river.NewWorkers()}
	workers := flags.Int("workers", 4, "so many at a time")
	flags.StringVar(&cfg.ID, "id", "", "the client's name")
	flags.DurationVar(&cfg.FetchCooldown, "cooldown", 0, "")
	flags.DurationVar(&cfg.FetchPollInterval, "poll", 0, "")
	flags.DurationVar(&cfg.JobTimeout, "timeout", 0, "of a job")
	flags.DurationVar(&cfg.RescueStuckJobsAfter, "rescue-after", 0, "")
	flags.BoolVar(&cfg.PollOnly, "poll-only", false, "without notifications")
	flags.Parse(args)
	cfg.Queues = map[string]river.QueueConfig{*queueName: {MaxWorkers: *workers}}
	river.AddWorker(cfg.Workers, &benchmarkWorker{})
	river.AddWorker(cfg.Workers, &otherWorker{})
	river.AddWorker(cfg.Workers, &selectedWorker{})
	c, err := river.NewClient(riverpgxv5.New(pool), cfg)
	if err != nil {
		return err
	}
	events, unsubscribe := c.Subscribe(river.EventKindJobCompleted, river.EventKindJobFailed,
		river.EventKindJobCancelled, river.EventKindQueuePaused, river.EventKindQueueResumed)
	defer unsubscribe()
	if err := c.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	say("event", "ready", "client", c.ID())
	listen(ctx, events, *n, *limit)
	stopping, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	if err := c.Stop(stopping); err != nil {
		return fmt.Errorf("could not stop: %w", err)
	}
	say("event", "stopped")
	return nil
}

func listen(ctx context.Context, events <-chan *river.Event, n int, limit time.Duration) {
	over := time.After(limit)
	for ended := 0; n == 0 || ended < n; {
		select {
		case <-over:
			return
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Job != nil {
				ended++
				jobSaid(string(e.Kind), e.Job, "last_error", lastError(e.Job))
			} else {
				say("event", string(e.Kind), "queue", e.Queue.Name)
			}
		}
	}
}
