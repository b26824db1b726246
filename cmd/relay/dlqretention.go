package main

import (
	"time"

	"relay/dlqstore"
	"relay/routes"
)

// retention is what the routes file says of how long dead letters are kept.
func retention(c *routes.Config) dlqstore.Retention {
	r := dlqstore.Retention{Default: c.DeadLetter.Retention, Routes: map[string]time.Duration{}}
	for _, route := range c.Routes {
		r.Routes[route.Name] = route.DeadLetter.Retention
	}
	return r
}
