package chaos_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

func postgresFaults() []scenario {
	const goesOn = "deliveries go on; the table catches up; attempts exact"
	return []scenario{
		{
			name: "postgres-stop", short: true, ownPostgres: true, run: func(h *house) { postgresStopped(h, "fast", 1) },
			fault: "stopped in good order for 3 to 6 s", holds: goesOn,
		},
		{
			name: "postgres-crash", ownPostgres: true, run: func(h *house) { postgresStopped(h, "immediate", 4) },
			fault: "stopped with immediate for 3 to 6 s, four times", holds: goesOn,
		},
		{
			name: "postgres-away", ownPostgres: true, run: postgresAway,
			fault: "stopped in good order for a minute: longer than any of relay's waits, as ten are", holds: goesOn,
		},
		{
			name: "postgres-hang", ownPostgres: true, run: postgresHangs,
			fault: "all its processes get SIGSTOP for 40 s", holds: goesOn,
		},
		{
			name: "postgres-commit", run: postgresCommit,
			fault: "the connection is cut as a COMMIT passes, before or after the server got it, for 10 s", holds: goesOn,
		},
		{
			name: "postgres-locked", run: postgresLocked,
			fault: "another session holds dead_letters in ACCESS EXCLUSIVE mode for 15 s", holds: goesOn,
		},
		{
			name: "postgres-full-house", ownPostgres: true, run: postgresTaken,
			fault: "relay's connections are ended, and all that its role may have taken by others for 15 s", holds: goesOn,
		},
		{
			name: "postgres-disk-full", ownPostgres: true, disk: "256m", run: postgresDiskFull,
			fault: "a ballast file fills the disk of its data and its log, a tmpfs of 256 MiB, for 20 s",
			holds: "relay says which disk; " + goesOn,
		},
	}
}

// behind waits until dead letters wait for the database.
func (h *house) behind() {
	h.t.Helper()
	await(h.t, patience, "the projection to lag", func() bool { return h.current().metrics()["relay_projection_lag"] > 0 })
}

// beside runs load while the fault is there, and checks that deliveries did not wait
// for the database: all that was published is settled before the fault ends.
func (h *house) beside(fault, heal func()) {
	h.t.Helper()
	h.start(relayOptions{})
	h.warm()
	fault()
	h.await(h.publish(500, 150))
	done := within(patience, func() bool {
		for _, route := range h.routes {
			if c, err := h.consumer(h.t.Context(), route); err != nil || c.Unsettled > 0 {
				return false
			}
		}
		return true
	})
	h.behind()
	heal()
	if !done {
		h.t.Error("deliveries waited for the database")
	}
	h.await(h.publish(300, 150))
}

func postgresStopped(h *house, mode string, times int) {
	h.start(relayOptions{})
	h.warm()
	l := h.flow(100)
	defer l.end()
	for range times {
		h.pause(time.Second, 2*time.Second)
		if err := h.pg.Stop(mode); err != nil {
			h.t.Fatal(err)
		}
		h.pause(3*time.Second, 6*time.Second)
		h.behind()
		if err := h.pg.Start(); err != nil {
			h.t.Fatal(err)
		}
	}
}

func postgresAway(h *house) {
	h.beside(func() {
		if err := h.pg.Stop("fast"); err != nil {
			h.t.Fatal(err)
		}
	}, func() {
		<-time.After(time.Minute)
		if err := h.pg.Start(); err != nil {
			h.t.Fatal(err)
		}
	})
}

func postgresDiskFull(h *house) {
	ballast := filepath.Join(h.disk, "ballast")
	h.beside(func() {
		f, err := os.Create(ballast)
		if err != nil {
			h.t.Fatal(err)
		}
		if _, err = io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
			h.t.Fatalf("fill the disk: %v", err)
		}
		_ = f.Close()
	}, func() {
		<-time.After(20 * time.Second)
		if !h.current().said("No space left on device") {
			h.t.Error("relay does not say that the disk of Postgres is full")
		}
		if err := os.Remove(ballast); err != nil {
			h.t.Fatal(err)
		}
		if _, err := h.count(h.t.Context(), `SELECT 1`); err != nil {
			h.note("Postgres itself had ended")
			_ = h.pg.Stop("immediate") // of which nothing is left to stop
			if err := h.pg.Start(); err != nil {
				h.t.Fatal(err)
			}
		}
	})
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func postgresHangs(h *house) {
	var family []int
	h.beside(func() {
		family = h.postgresProcesses()
		for _, pid := range family {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
		}
	}, func() {
		<-time.After(30 * time.Second)
		for _, pid := range family {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
}

// postgresProcesses are the server of this run and all its children.
func (h *house) postgresProcesses() []int {
	h.t.Helper()
	conn, err := pgx.Connect(h.t.Context(), h.database)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var backend int
	if err = conn.QueryRow(h.t.Context(), `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
		h.t.Fatal(err)
	}
	server := parent(strconv.Itoa(backend))
	family := []int{server}
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		if pid := filepath.Base(folder); parent(pid) == server {
			family = append(family, number(pid))
		}
	}
	return family
}

// parent is the process that started another; 0 when that is gone.
func parent(pid string) int {
	status, _ := os.ReadFile(filepath.Join("/proc", pid, "status"))
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			return number(strings.TrimSpace(value))
		}
	}
	return 0
}

func postgresCommit(h *house) {
	p := newProxy(h.t, hostOf(h.t, h.database))
	h.relayDatabase = p.through(h.database)
	h.start(relayOptions{})
	h.warm()
	l := h.flow(150)
	defer l.end()
	h.pause(time.Second, 2*time.Second)
	toxic := p.infect(atCommitName, "upstream", nil).(*atCommit)
	<-time.After(10 * time.Second)
	p.heal()
	h.note("%d COMMITs cut", toxic.cuts.Load())
	if toxic.cuts.Load() < 2 {
		h.t.Error("no COMMIT was cut before the server got it, and none after")
	}
}

func postgresLocked(h *house) {
	var conn *pgx.Conn
	h.beside(func() {
		var err error
		if conn, err = pgx.Connect(h.t.Context(), h.database); err == nil {
			_, err = conn.Exec(h.t.Context(), `BEGIN; LOCK TABLE dead_letters IN ACCESS EXCLUSIVE MODE`)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}, func() {
		<-time.After(10 * time.Second)
		_ = conn.Close(context.Background())
	})
}

// postgresTaken gives relay a role that may have 20 connections, and takes them all.
func postgresTaken(h *house) {
	h.exec(`CREATE ROLE chaos LOGIN PASSWORD 'chaos' CONNECTION LIMIT 20`)
	h.exec(`GRANT ALL ON SCHEMA public TO chaos`)
	u, err := url.Parse(h.database)
	if err != nil {
		h.t.Fatal(err)
	}
	u.User = url.UserPassword("chaos", "chaos")
	h.relayDatabase = u.String()
	var taken []*pgx.Conn
	h.beside(func() {
		h.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'chaos'`)
		for len(taken) < 20 {
			conn, err := pgx.Connect(h.t.Context(), h.relayDatabase)
			if err != nil {
				// relay was quicker, and is ended again.
				h.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'chaos' AND application_name <> 'taken'`)
				continue
			}
			if _, err := conn.Exec(h.t.Context(), `SET application_name = 'taken'`); err != nil {
				h.t.Fatal(err)
			}
			taken = append(taken, conn)
		}
	}, func() {
		<-time.After(10 * time.Second)
		for _, conn := range taken {
			_ = conn.Close(context.Background())
		}
	})
}
