//go:build unix

package main

import (
	"os"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
