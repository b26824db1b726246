package dispatcher

import (
	"errors"
	"testing"

	"relay/dlqstore"
	"relay/internal/webhook"
	"relay/routes"
)

// Whatever kept an answer from coming is tried again: in the last attempt as long as it
// was on relay's own side, else no more.
func TestClassifyEveryClass(t *testing.T) {
	for class, ours := range map[webhook.Class]bool{
		webhook.ClassDNS: false, webhook.ClassRefused: false, webhook.ClassReset: false, webhook.ClassTimeoutDial: false,
		webhook.ClassTimeoutTLS: false, webhook.ClassTimeoutHeaders: false, webhook.ClassTLS: false,
		webhook.ClassHeaderTooLarge: false, webhook.ClassMalformed: false, webhook.ClassUpgrade: false, webhook.ClassNetwork: false,
		webhook.ClassBlocked: true, webhook.ClassLocal: true, webhook.ClassAuth: true, webhook.ClassProxy: true, webhook.ClassCanceled: true,
	} {
		a := webhook.Answer{Err: &webhook.Error{Class: class, Err: errors.New("x")}}
		if got := classify(a, first(), policy()); got.Verdict != routes.Nak || got.Error == "" || got.Status != 0 {
			t.Errorf("%s: got %+v, want nak", class, got)
		}
		verdict, reason := routes.Term, dlqstore.Exhausted
		if ours {
			verdict, reason = routes.Nak, ""
		}
		last := first()
		last.attempt = policy().Retry.MaxAttempts
		if got := classify(a, last, policy()); got.Verdict != verdict || got.Reason != reason {
			t.Errorf("%s in the last attempt: got %s %q, want %s %q", class, got.Verdict, got.Reason, verdict, reason)
		}
		if fault := endpointFault(a); fault == (class == webhook.ClassCanceled) {
			t.Errorf("%s speaks against the receiver: %t", class, fault)
		}
	}
}
