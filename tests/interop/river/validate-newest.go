// SPDX-License-Identifier: Apache-2.0

//go:build newest

package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivermigrate"
)

// validated asks for more in newer versions of River.
func validated(ctx context.Context, m *rivermigrate.Migrator[pgx.Tx]) (bool, []string, error) {
	res, err := m.Validate(ctx, nil)
	if err != nil {
		return false, nil, err
	}
	return res.OK, res.Messages, nil
}
