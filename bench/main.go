// Command bench is the race: relay beside a bare loop with net/http, one with fasthttp,
// JetStream's consume and ack alone, and Watermill. All deliver the messages of one
// stream of one NATS server to one receiver, each in a process of its own, in turn, and
// what they took is printed as Markdown. docs/performance.md has the last run and its
// reading.
//
// It is a module of its own, so that what the others need stays out of relay's. It reads
// /proc, so it runs on Linux only, and it starts what it needs: NATS, a receiver, Postgres.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 4 && os.Args[1] == asRole {
		err = role(os.Args[2], os.Args[3])
	} else {
		err = conduct(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// asRole as the first argument makes this program one of the processes of a race; the
// role and its order follow.
const asRole = "as"

// role plays one part until its stdin ends.
func role(name, order string) error {
	switch name {
	case "nats":
		return natsRole(order)
	case "receiver":
		return receiverRole()
	case "deliver":
		var j job
		if err := json.Unmarshal([]byte(order), &j); err != nil {
			return fmt.Errorf("read the order: %w", err)
		}
		return deliverRole(j)
	default:
		return fmt.Errorf("no role %q", name)
	}
}

// sizes are how much a run does.
type sizes struct {
	rounds      int
	window      time.Duration // of one measurement of a rate, and of one at a load
	smallBytes  int           // of messages in a stream to race through
	latency     time.Duration
	deadLetters int
	deadRounds  int
	routes      []int
	routeRounds int
	growRoutes  []int
	growRows    []int
	rowsBenched string // -benchtime of a query on the table of a million; empty: left out
}

func fullSizes() sizes {
	return sizes{
		rounds: 5, window: 1200 * time.Millisecond, smallBytes: 48 << 20, latency: 3 * time.Second,
		deadLetters: 10_000, deadRounds: 3, routes: []int{10, 100, 1000}, routeRounds: 2,
		growRoutes: []int{125, 250, 500, 1000}, growRows: []int{20_000, 40_000, 80_000, 160_000}, rowsBenched: "20x",
	}
}

func shortSizes() sizes {
	return sizes{
		rounds: 1, window: 400 * time.Millisecond, smallBytes: 12 << 20, latency: time.Second,
		deadLetters: 1000, deadRounds: 1, routes: []int{10, 50}, routeRounds: 1,
		growRoutes: []int{10, 20, 40}, growRows: []int{1000, 2000, 4000},
	}
}

// section is a part of the suite that can be run alone.
type section struct {
	name string
	run  func(context.Context, *suite) error
}

func sections() []section {
	return []section{
		{"throughput", throughput}, {"latency", latency}, {"deadletters", deadLetters},
		{"routes", manyRoutes}, {"growth", growth}, {"reload", reload}, {"profile", profile},
	}
}

// conduct runs the suite as the arguments say and writes its report to out.
func conduct(ctx context.Context, args []string, out, log io.Writer) error {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(log)
	short := flags.Bool("short", false, "a small run that shows that all of it works; its figures mean little")
	rounds := flags.Int("rounds", 0, "rounds of throughput and latency; 0: five, with -short one")
	only := flags.String("only", "", "sections to run, separated by commas: "+strings.Join(names, ", ")+"; empty: all")
	dir := flags.String("dir", memoryDir(), "a folder for NATS's files, which go with the run; in memory, what is measured is not the disk")
	keep := flags.String("profiles", "", "a folder to keep the profiles in, which must not hold any; empty: only their top lines are printed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	size := fullSizes()
	if *short {
		size = shortSizes()
	}
	if *rounds > 0 {
		size.rounds = *rounds
	}
	chosen := names
	if *only != "" {
		chosen = strings.Split(*only, ",")
		for _, c := range chosen {
			if !slices.Contains(names, c) {
				return fmt.Errorf("-only: there is no section %q; there are %s", c, strings.Join(names, ", "))
			}
		}
	}
	s, err := newSuite(size, *dir, out, log)
	if err != nil {
		return err
	}
	s.keep = *keep
	err = s.run(ctx, chosen)
	return errors.Join(err, s.close())
}

// memoryDir is the machine's file system in memory; empty, which is the folder for
// temporary files: it has none.
func memoryDir() string {
	const shm = "/dev/shm"
	if _, err := os.Stat(shm); err != nil {
		return ""
	}
	return shm
}
