package testkit

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// PG is a Postgres server on 127.0.0.1 with a data folder of its own. It serves tests:
// it does not wait for the disk.
type PG struct {
	// URL of the database postgres, with user and password. It stays the same over
	// Stop and Start.
	URL string

	bin, dir string
	port     int
	cred     *syscall.Credential // nil: as this process
	run      *exec.Cmd           // the watchdog; nil while stopped
	stdin    io.WriteCloser
}

// StartPostgres makes a data folder and starts a server on it. Under root it runs as the
// user postgres or nobody. Close ends it; so does the end of this process, however it
// comes.
func StartPostgres() (*PG, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	p := &PG{bin: bin}
	if p.dir, err = os.MkdirTemp("", "relay-postgres-"); err != nil {
		return nil, fmt.Errorf("make a data folder for Postgres: %w", err)
	}
	if err := p.init(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	if err := p.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	return p, nil
}

// postgresBin finds the folder of Postgres's programs, the newest if there are several.
func postgresBin() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // where Debian keeps them
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if hasAll(dir, "initdb", "postgres", "pg_ctl", "pg_isready") {
			return dir, nil
		}
	}
	return "", errors.New("no Postgres server on this machine; install it with: make setup (or apt-get install postgresql), or set " +
		PostgresEnv + " to the URL of one")
}

func hasAll(dir string, programs ...string) bool {
	for _, program := range programs {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

// version is the major version in /usr/lib/postgresql/15/bin; 0 if there is none.
func version(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

// init settles user, port and password.
func (p *PG) init() error {
	if os.Geteuid() == 0 { // Postgres refuses to run as root
		if err := p.dropRoot(); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a port for Postgres: %w", err)
	}
	p.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	password := rand.Text()
	p.URL = (&url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", password),
		Host: fmt.Sprintf("127.0.0.1:%d", p.port), Path: "/postgres", RawQuery: "sslmode=disable",
	}).String()
	pwfile := filepath.Join(p.dir, "password")
	if err := os.WriteFile(pwfile, []byte(password), 0o600); err != nil {
		return fmt.Errorf("keep the password of Postgres: %w", err)
	}
	if p.cred != nil {
		if err := os.Chown(pwfile, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
			return fmt.Errorf("keep the password of Postgres: %w", err)
		}
	}
	return nil
}

// dropRoot gives the folder, and the processes to come, to an unprivileged user.
func (p *PG) dropRoot() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return fmt.Errorf("find an unprivileged user for Postgres: %w", err)
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return fmt.Errorf("read the ids of user %s: %w", u.Username, err)
	}
	p.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(p.dir, int(uid), int(gid))
}

// watchdog fills the data folder, unless that is done, and starts Postgres. Then it
// waits for one line, the mode in which to stop it. When its standard input ends without
// one, because Close or the death of this process closed it, it stops Postgres and
// removes the folder.
const watchdog = `
bin=$1 dir=$2 port=$3
if ! [ -e "$dir/data" ]; then
	"$bin/initdb" --pgdata "$dir/data" --username=postgres --auth=scram-sha-256 --pwfile "$dir/password" \
		--encoding=UTF8 --locale=C --no-sync >/dev/null || exit 1
fi
rm -f "$dir/ended"
{
	"$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
		-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=300 >>"$dir/log" 2>&1
	: >"$dir/ended"
} &
tries=0
until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
	tries=$((tries + 1))
	if [ -e "$dir/ended" ] || [ $tries -gt 600 ]; then
		tail -n 20 "$dir/log" >&2
		"$bin/pg_ctl" stop -D "$dir/data" -m immediate >/dev/null 2>&1
		exit 1
	fi
	sleep 0.1
done
trap '' PIPE # nobody may be left to read it
echo ready 2>/dev/null
if read -r mode; then
	"$bin/pg_ctl" stop -w -t 60 -D "$dir/data" -m "$mode" >/dev/null || exit 1
	wait
	exit 0
fi
"$bin/pg_ctl" stop -w -t 60 -D "$dir/data" -m immediate >/dev/null
wait
rm -rf "$dir"
`

// Start starts a stopped server again and returns when it accepts connections.
func (p *PG) Start() error {
	cmd := exec.Command("/bin/sh", "-c", watchdog, "watchdog", p.bin, p.dir, strconv.Itoa(p.port))
	cmd.Dir = "/" // this process's folder may be closed to the other user
	// A process group of its own: Ctrl-C at the terminal ends the tests, and then the
	// watchdog ends Postgres in good order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.cred}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, errIn := cmd.StdinPipe()
	stdout, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		return fmt.Errorf("start Postgres: %w\n%s", cmd.Wait(), stderr.String())
	}
	p.run, p.stdin = cmd, stdin
	return nil
}

// Stop stops the server in one of Postgres's modes: smart waits for clients to go, fast
// cuts them off, immediate is as a crash. It returns when the server has stopped.
func (p *PG) Stop(mode string) error {
	if p.run == nil {
		return errors.New("stop Postgres: it is not running")
	}
	if _, err := io.WriteString(p.stdin, mode+"\n"); err != nil {
		return fmt.Errorf("stop Postgres: %w", err)
	}
	return p.wait()
}

// Close stops the server if it runs, as a crash would, and removes its folder.
func (p *PG) Close() error {
	var err error
	if p.run != nil {
		err = p.wait()
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

// wait ends the watchdog's input and waits for its end.
func (p *PG) wait() error {
	_ = p.stdin.Close() // Wait closes it too
	err := p.run.Wait()
	p.run = nil
	if err != nil {
		return fmt.Errorf("stop Postgres: %w", err)
	}
	return nil
}
