package main

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed samples/*.json samples/LICENSE
var samplePayloads embed.FS

// samplePrefix begins the name of a sample, which is its subject too.
const samplePrefix = "github."

// sampleNames lists the sample payloads.
func sampleNames() []string {
	files, _ := samplePayloads.ReadDir("samples") // embedded: it is there
	var names []string
	for _, f := range files {
		if event, ok := strings.CutSuffix(f.Name(), ".json"); ok {
			names = append(names, samplePrefix+event)
		}
	}
	return names
}

func samplePayload(name string) ([]byte, error) {
	if !slices.Contains(sampleNames(), name) {
		return nil, fmt.Errorf("no sample %q; there are %s", name, strings.Join(sampleNames(), ", "))
	}
	return samplePayloads.ReadFile(path.Join("samples", strings.TrimPrefix(name, samplePrefix)+".json"))
}
