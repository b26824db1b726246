package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"relay/dlqstore"
)

type jobShown struct {
	ID                                                           string
	State                                                        string
	Queued                                                       bool
	Filter                                                       map[string]any
	Routes                                                       []string
	Rate                                                         float64 `json:"rate_per_second"`
	Total, Done, Delivered, Failed, Skipped, InFlight, Remaining int
	CreatedBy                                                    string    `json:"created_by"`
	FinishedAt                                                   time.Time `json:"finished_at"`
}

func TestReplays(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(0, nil), dead(1, nil), dead(2, nil),
		dead(3, func(d *dlqstore.DeadLetter) { d.Route = "orders-to-search" }),
		dead(4, func(d *dlqstore.DeadLetter) { d.FailedAt = noon.Add(-48 * time.Hour) }))
	body := `{"filter":{"route":"orders-to-billing","since":"24h","status":503},"rate_per_second":50,"limit":2,"stop_after":5,"ramp":true`
	if got := s.post("/api/v1/replays", body+`,"dry_run":true}`); got.status != http.StatusOK || got.body != `{"count":2}`+"\n" {
		t.Fatalf("dry run: got %d %s", got.status, got.body)
	}
	if n := s.wakes.count(); n != 0 {
		t.Errorf("a dry run woke the replays")
	}
	got := s.post("/api/v1/replays", body+`}`)
	var job jobShown
	s.decode(got, &job)
	if got.status != http.StatusAccepted || job.ID == "" || job.Total != 2 || job.State != "running" || job.Remaining != 2 ||
		job.Rate != 50 || job.CreatedBy != "anonymous" || s.wakes.count() != 1 {
		t.Fatalf("started: got %d %s", got.status, got.body)
	}
	if job.Filter["route"] != "orders-to-billing" || job.Filter["since"] != "2026-03-03T12:00:00Z" {
		t.Errorf("filter: got %v", job.Filter)
	}
	path := "/api/v1/replays/" + job.ID
	for _, step := range []struct{ act, state string }{{"/pause", "paused"}, {"/pause", "paused"}, {"/resume", "running"}, {"/cancel", "cancelled"}} {
		s.decode(s.post(path+step.act, "{}"), &job)
		if job.State != step.state {
			t.Errorf("%s: got state %q, want %q", step.act, job.State, step.state)
		}
	}
	if job.FinishedAt.IsZero() {
		t.Error("a cancelled job that never began is not finished")
	}
	refused := s.post(path+"/resume", "")
	if code := s.code(refused); refused.status != http.StatusConflict || code != "state_conflict" || !strings.Contains(refused.body, "anonymous") {
		t.Errorf("resume of a cancelled job: got %d %s", refused.status, refused.body)
	}

	s.decode(s.post("/api/v1/replays", `{"filter":{"ids":["`+ids[3]+`","`+ids[4]+`"]}}`), &job)
	var list struct{ Replays []jobShown }
	s.decode(s.get("/api/v1/replays?limit=1"), &list)
	if len(list.Replays) != 1 || list.Replays[0].ID != job.ID || list.Replays[0].Total != 2 || len(list.Replays[0].Routes) != 2 {
		t.Errorf("list: got %+v, want the job of two ids", list.Replays)
	}
	s.decode(s.get("/api/v1/replays/"+job.ID), &job)
	if job.State != "running" || job.Queued {
		t.Errorf("second job: got %+v", job)
	}
}

func TestBadReplays(t *testing.T) {
	s := start(t, nil)
	for name, body := range map[string]string{
		"no filter":          `{}`,
		"null filter":        `{"filter":null}`,
		"misspelt":           `{"filter":{"rout":"x"}}`,
		"not a dead state":   `{"filter":{"state":"delivered"}}`,
		"bad id":             `{"filter":{"ids":["x"]}}`,
		"bad time":           `{"filter":{"since":"yesterday"}}`,
		"bad status":         `{"filter":{"status":9}}`,
		"negative rate":      `{"filter":{},"rate_per_second":-1}`,
		"endless rate":       `{"filter":{},"rate_per_second":1e300}`,
		"negative limit":     `{"filter":{},"limit":-1}`,
		"negative stop":      `{"filter":{},"stop_after":-1}`,
		"text without sense": `replay`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.post("/api/v1/replays", body); got.status != http.StatusBadRequest || s.code(got) == "" {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
	for _, got := range []answer{s.get("/api/v1/replays/rpl_none"), s.post("/api/v1/replays/rpl_none/pause", "")} {
		if got.status != http.StatusNotFound || s.code(got) != "not_found" {
			t.Errorf("unknown job: got %d %s", got.status, got.body)
		}
	}
}
