package routes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say what a file is read with. The zero value reads the environment of the
// process and checks neither secrets nor filter expressions.
type Options struct {
	// LookupEnv finds environment variables. Nil: os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Stdin is read for the path "-". Nil: os.Stdin.
	Stdin io.Reader
	// CheckFilter compiles a route's filter: expression; its error is shown to the
	// writer of the file. Nil: expressions are not checked.
	CheckFilter func(expression string) error
	// Secrets makes a secret, or a file of tls:, that cannot be read an error; false
	// makes it a warning.
	Secrets bool
	// Streams are those of the servers. Unless nil, a stream that a route reads has to
	// be among them or under streams:, and the checks of streams: hold for it too. One
	// without subjects, such as a mirror, may hold any.
	Streams []Stream
}

// Load reads routes files: each path is a file, a folder whose *.yaml and *.yml are
// read in the order of their names, or "-" for standard input. Together they are one
// configuration: routes and streams add up, defaults and dead_letter stand in one of
// them. A mistake in a file is reported as Problems; any other error means that a
// path could not be read.
func Load(paths []string, o Options) (*Config, error) {
	d := newDecoder(o)
	var sources []*source
	var contents [][]byte
	for _, path := range paths {
		names, err := filesOf(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := readFile(name, d.opts.Stdin)
			if err != nil {
				return nil, err
			}
			src, err := newSource(name, len(sources))
			if err != nil {
				return nil, err
			}
			sources, contents = append(sources, src), append(contents, data)
		}
	}
	if len(sources) == 0 {
		return nil, errors.New("no routes file was named")
	}
	return d.decode(sources, contents)
}

// Parse is Load of one file that was read already. The name stands in problems, and
// relative paths in the file start at its folder.
func Parse(name string, data []byte, o Options) (*Config, error) {
	src, err := newSource(name, 0)
	if err != nil {
		return nil, err
	}
	return newDecoder(o).decode([]*source{src}, [][]byte{data})
}

func newDecoder(o Options) *decoder {
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	return &decoder{opts: o, seen: map[string]bool{}}
}

const stdinName = "<stdin>"

// filesOf lists the files that a path stands for.
func filesOf(path string) ([]string, error) {
	if path == "-" {
		return []string{stdinName}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	var names []string
	for _, entry := range entries {
		name := filepath.Join(path, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)) {
			continue
		}
		// A ConfigMap's files are links, so that the entry's own type does not tell.
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("read routes: folder %s holds no *.yaml and no *.yml", path)
	}
	return names, nil
}

// readFile reads no more than decode needs to see that a file is too large.
func readFile(name string, stdin io.Reader) ([]byte, error) {
	from := stdin
	if name != stdinName {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read routes: %w", err)
		}
		defer f.Close() //nolint:errcheck // nothing was written
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return data, nil
}

func newSource(name string, order int) (*source, error) {
	dir := "."
	if name != stdinName {
		dir = filepath.Dir(name)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", name, err)
	}
	return &source{name: name, dir: dir, order: order, masked: map[int]int{}}, nil
}

// decode makes one configuration of the files, or Problems.
func (d *decoder) decode(sources []*source, contents [][]byte) (*Config, error) {
	var roots []*node
	for i, src := range sources {
		if root := d.parse(src, contents[i]); root != nil {
			roots = append(roots, root)
		}
	}
	config := &Config{}
	if len(roots) == len(sources) { // a file that was not read would be missed by the others
		d.config(config, roots)
	}
	d.checkUses()
	order := map[string]int{}
	for _, src := range sources {
		order[src.name] = src.order
	}
	sortProblems(d.problems, order)
	valid := true
	for i, p := range d.problems {
		d.problems[i].Source = sourceLine(sources[order[p.Pos.File]], p.Pos.Line)
		valid = valid && p.Warning
	}
	if !valid {
		return nil, Problems(d.problems)
	}
	config.Warnings = d.problems
	return config, nil
}

// parse checks what can be checked before YAML, and reads the YAML.
func (d *decoder) parse(src *source, data []byte) *node {
	if len(data) > maxFileBytes {
		d.fileProblem(src, 0, 0, codeLimit, "a routes file has at most 1 MiB; split it into several files of one folder")
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // a byte-order mark
	src.lines = splitLines(string(data))
	if d.encodingProblem(src, data) {
		return nil
	}
	return parseYAML(d, src, data)
}
