package routes

import (
	"regexp"
	"time"
)

// Bounds that no sensible file reaches.
const (
	longest      = 3650 * day
	largestCount = 1_000_000
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func streamKind() kind[Stream] {
	return object(nil,
		field("name", jsName("stream"), func(s *Stream) *string { return &s.Name }, keyDoc{
			doc: "Name of the stream in JetStream.", example: "ORDERS", required: true,
		}),
		field("subjects", listOf(subjectFilter(), 1, 1000), func(s *Stream) *[]string { return &s.Subjects }, keyDoc{
			doc: "Subjects that the stream stores; the wildcards * and > are allowed.", example: "[orders.>]", required: true,
		}),
		field("storage", word(StorageFile, StorageMemory), func(s *Stream) *Storage { return &s.Storage }, keyDoc{
			doc: "Where messages are kept.", def: "file",
		}),
		field("retention", word(RetentionLimits, RetentionInterest, RetentionWorkQueue), func(s *Stream) *Retention { return &s.Retention }, keyDoc{
			doc: "When a message leaves the stream: at its limits, when every consumer has acked it, or when one has.", def: "limits",
		}),
		field("max_age", duration(0, longest, "d"), func(s *Stream) *time.Duration { return &s.MaxAge }, keyDoc{
			doc: "How long a message is kept; 0 is for ever.", def: "0", example: "7d",
		}),
		field("max_bytes", size(), func(s *Stream) *int64 { return &s.MaxBytes }, keyDoc{
			doc: "Most bytes that the stream holds, as a number or with KiB, MiB, GiB or TiB; 0 is no limit.", def: "0", example: "10GiB",
		}),
		field("replicas", integer[int](1, 5), func(s *Stream) *int { return &s.Replicas }, keyDoc{
			doc: "Servers of the cluster that keep a copy.", def: "1", example: "3",
		}),
		field("discard", word(DiscardOld, DiscardNew), func(s *Stream) *Discard { return &s.Discard }, keyDoc{
			doc: "What a full stream does: drop the oldest message, or refuse the new one.", def: "old",
		}),
	)
}

func deadLetterKind() kind[DeadLetter] {
	return object(nil,
		field("stream", jsName("stream"), func(d *DeadLetter) *string { return &d.Stream }, keyDoc{
			doc: "Stream that keeps the dead letters; relay creates it.", def: "RELAY_DLQ",
		}),
		field("subject_prefix", deadLetterPrefix(), func(d *DeadLetter) *string { return &d.SubjectPrefix }, keyDoc{
			doc: "First part of a dead letter's subject, before the route's name and the original subject.", def: "dlq",
		}),
		field("max_age", duration(time.Minute, longest, "d"), func(d *DeadLetter) *time.Duration { return &d.MaxAge }, keyDoc{
			doc: "How long the stream keeps a dead letter.", def: "30d",
		}),
		field("retention", duration(time.Minute, longest, "d"), func(d *DeadLetter) *time.Duration { return &d.Retention }, keyDoc{
			doc: "How long the table keeps a dead letter that nobody replayed or discarded.", def: "90d",
		}),
	)
}

func routeKind() kind[Route] {
	return object(nil,
		field("name", pattern(codeName, "a name of lower-case letters, digits, - and _, at most 63, that begins with a letter or digit", nameForm),
			func(r *Route) *string { return &r.Name }, keyDoc{
				doc: "Name of the route in pages, logs, metrics and dead letters.", example: "orders-to-billing", required: true,
			}),
		field("description", str("a text"), func(r *Route) *string { return &r.Description }, keyDoc{
			doc: "What the route is for, shown on its page.", example: "Keep the search index fresh",
		}),
		field("enabled", boolean(), func(r *Route) *bool { return &r.Enabled }, keyDoc{
			doc: "Whether the route runs; one that does not is still validated.", def: "true",
		}),
		field("stream", jsName("stream"), func(r *Route) *string { return &r.Stream }, keyDoc{
			doc: "Stream that the messages come from.", example: "ORDERS", required: true,
		}),
		field("filter_subjects", listOf(subjectFilter(), 1, 1000), func(r *Route) *[]string { return &r.FilterSubjects }, keyDoc{
			doc: "Subjects of the stream that the route takes; * stands for one token, > at the end for one or more.", example: "[orders.created, orders.*.paid]", required: true,
		}),
		field("consumer", consumerKind(), func(r *Route) *Consumer { return &r.Consumer }, keyDoc{
			doc: "The durable JetStream consumer of the route.",
		}),
		field("filter", filterExpression(), func(r *Route) *string { return &r.Filter }, keyDoc{
			doc: "Expression over subject, headers and body. A message for which it is false is acked and counted, never sent.", example: `'headers["Event-Type"] == "order" && body.total > 0'`,
		}),
		field("webhook", webhookKind(), func(r *Route) *Webhook { return &r.Webhook }, keyDoc{
			doc: "The receiver and how it is spoken to.",
		}),
		field("concurrency", integer[int](1, 4096), func(r *Route) *int { return &r.Concurrency }, keyDoc{
			doc: "Attempts under way at once in one relay process; 1 with order: strict.", def: "16",
		}),
		field("rate_limit", rateLimitKind(), func(r *Route) *RateLimit { return &r.RateLimit }, keyDoc{
			doc: "Bound on the attempts of one relay process; none when left out.",
		}),
		field("order", word(OrderNone, OrderStrict), func(r *Route) *Order { return &r.Order }, keyDoc{
			doc: "none delivers side by side; strict delivers one message at a time and retries it in place.", def: "none",
		}),
		field("circuit_breaker", breakerKind(), func(r *Route) *CircuitBreaker { return &r.Breaker }, keyDoc{
			doc: "Stops taking messages while the receiver is down.",
		}),
		field("retry", retryKind(), func(r *Route) *Retry { return &r.Retry }, keyDoc{
			doc: "When and how often a failed attempt is made again.",
		}),
		field("status", statusKind(), func(r *Route) *StatusRules { return &r.Status }, keyDoc{
			doc: "Exceptions from the default outcome by HTTP status: 404, 200-204 or 5xx, each to ack, nak, term or drop. An exact status beats a range, a range beats a class.", example: "{ 404: term, 409: ack, 5xx: nak }",
		}),
		field("dead_letter", deadLetterKind(), func(r *Route) *DeadLetter { return &r.DeadLetter }, keyDoc{
			doc: "Where this route's dead letters go, in place of the file's dead_letter.",
		}),
		field("notify", notifyKind(), func(r *Route) **Notify { return &r.Notify }, keyDoc{
			doc: "Who is told when the receiver is down, dead letters pile up or have a new cause, and when that is over: once a change, not once a message.",
		}),
	)
}

func consumerKind() kind[Consumer] {
	return object(nil,
		field("durable", jsName("consumer"), func(c *Consumer) *string { return &c.Durable }, keyDoc{
			doc: "Name of the consumer in JetStream; relay-NAME when left out.", example: "relay-orders-to-billing",
		}),
		field("type", word(Pull, Push), func(c *Consumer) *ConsumerType { return &c.Type }, keyDoc{
			doc: "Whether relay asks for messages or the server pushes them.", def: "pull",
		}),
		field("deliver_policy", word(DeliverAll, DeliverNew, DeliverLast, DeliverLastPerSubject, DeliverByStartSequence, DeliverByStartTime),
			func(c *Consumer) *DeliverPolicy { return &c.DeliverPolicy }, keyDoc{
				doc: "Where in the stream a new consumer begins.", def: "all",
			}),
		field("start_sequence", integer[uint64](1, 1<<53), func(c *Consumer) *uint64 { return &c.StartSequence }, keyDoc{
			doc: "First sequence to deliver, with deliver_policy: by_start_sequence.", example: "1000",
		}),
		field("start_time", timestamp(), func(c *Consumer) *time.Time { return &c.StartTime }, keyDoc{
			doc: "Deliver what was stored from then on, with deliver_policy: by_start_time.", example: "2026-01-31T08:00:00Z",
		}),
		field("ack_wait", duration(time.Second, day, "s"), func(c *Consumer) *time.Duration { return &c.AckWait }, keyDoc{
			doc: "Time after which the server gives an unsettled message to somebody else; more than webhook.timeout and 5 s.", def: "30s",
		}),
		field("max_ack_pending", integer[int](1, largestCount), func(c *Consumer) *int { return &c.MaxAckPending }, keyDoc{
			doc: "Most messages delivered and not settled, those that wait for a retry among them.", def: "10000",
		}),
		field("deliver_subject", literalSubject(), func(c *Consumer) *string { return &c.DeliverSubject }, keyDoc{
			doc: "Subject that the server pushes to, with type: push.", example: "deliver.orders",
		}),
		field("deliver_group", jsName("queue group"), func(c *Consumer) *string { return &c.DeliverGroup }, keyDoc{
			doc: "Queue group that shares the pushed messages, with type: push.", example: "relay",
		}),
	)
}

func webhookKind() kind[Webhook] {
	return object(nil,
		field("url", webhookURL(), func(w *Webhook) *string { return &w.URL }, keyDoc{
			doc: "Where messages are posted to: http or https, without credentials.", example: "https://billing.example.com/hooks/orders", required: true,
		}),
		field("timeout", duration(time.Millisecond, time.Hour, "s"), func(w *Webhook) *time.Duration { return &w.Timeout }, keyDoc{
			doc: "Time for one attempt: dial, TLS, request, headers and body of the answer.", def: "15s",
		}),
		field("headers", headersKind(), func(w *Webhook) *map[string]string { return &w.Headers }, keyDoc{
			doc: "Headers sent with every attempt. Those with secrets are under auth.", example: "{ X-Tenant: acme }",
		}),
		field("forward_headers", forwardKind(), func(w *Webhook) *[]string { return &w.ForwardHeaders }, keyDoc{
			doc: "Headers of the message that are sent on; * at the end stands for any rest.", example: "[Event-Type, Ce-*]",
		}),
		field("signing", object(nil,
			field("secrets", listOf(secretKind(), 0, 10), func(s *Signing) *[]Secret { return &s.Secrets }, keyDoc{
				doc: "Standard Webhooks secrets, newest first; each gives one signature.", example: "[{ env: BILLING_WHSEC }]",
			}),
		), func(w *Webhook) *Signing { return &w.Signing }, keyDoc{
			doc: "Signature of every attempt; none when left out.",
		}),
		field("auth", authKind(), func(w *Webhook) *Auth { return &w.Auth }, keyDoc{
			doc: "How relay authenticates itself to the receiver; one of bearer, basic and oauth2.",
		}),
		field("tls", object(nil,
			field("ca_file", pemPath(false), func(t *TLS) *string { return &t.CAFile }, keyDoc{
				doc: "PEM file of authorities trusted besides the system's.", example: "ca.pem",
			}),
			field("cert_file", pemPath(false), func(t *TLS) *string { return &t.CertFile }, keyDoc{
				doc: "PEM file of the client certificate, with key_file.", example: "client.pem",
			}),
			field("key_file", pemPath(true), func(t *TLS) *string { return &t.KeyFile }, keyDoc{
				doc: "PEM file of the client certificate's key, with cert_file.", example: "client.key",
			}),
		), func(w *Webhook) *TLS { return &w.TLS }, keyDoc{
			doc: "Certificates; relative paths start at the routes file's folder.",
		}),
		field("cloudevents", word(CloudEventsNone, CloudEventsBinary), func(w *Webhook) *CloudEvents { return &w.CloudEvents }, keyDoc{
			doc: "binary adds CloudEvents attributes as ce-* headers.", def: "none",
		}),
		field("egress", egressKind(), func(w *Webhook) *Egress { return &w.Egress }, keyDoc{
			doc: "Addresses that the URL may lead to: internal allows private ones, strict only public ones. Or both parts: { mode: strict, allow: [10.1.0.0/16] }.", def: "internal",
		}),
		field("proxy", proxyURL(), func(w *Webhook) *string { return &w.Proxy }, keyDoc{
			doc: "URL of an HTTP proxy; the connection is direct when left out.", example: "http://proxy.internal:3128",
		}),
		field("idempotency_key", boolean(), func(w *Webhook) *bool { return &w.IdempotencyKey }, keyDoc{
			doc: "Send the delivery's id as Idempotency-Key too. A broken connection may then be retried without being counted as an attempt.", def: "false",
		}),
	)
}

func authKind() kind[Auth] {
	kinds := [][]string{{"bearer", "basic", "oauth2"}}
	return object(kinds,
		field("bearer", pointer(secretKind()), func(a *Auth) **Secret { return &a.Bearer }, keyDoc{
			doc: "Token sent as Authorization: Bearer.", example: "{ env: BILLING_TOKEN }",
		}),
		field("basic", pointer(object(nil,
			field("username", str("a user name"), func(b *BasicAuth) *string { return &b.Username }, keyDoc{
				doc: "User name.", example: "relay", required: true,
			}),
			field("password", secretKind(), func(b *BasicAuth) *Secret { return &b.Password }, keyDoc{
				doc: "Password.", example: "{ env: BILLING_PASSWORD }", required: true,
			}),
		)), func(a *Auth) **BasicAuth { return &a.Basic }, keyDoc{
			doc: "HTTP Basic authentication.",
		}),
		field("oauth2", pointer(object(nil,
			field("token_url", webhookURL(), func(o *OAuth2) *string { return &o.TokenURL }, keyDoc{
				doc: "Token endpoint.", example: "https://login.example.com/token", required: true,
			}),
			field("client_id", str("a client id"), func(o *OAuth2) *string { return &o.ClientID }, keyDoc{
				doc: "Client id.", example: "relay", required: true,
			}),
			field("client_secret", secretKind(), func(o *OAuth2) *Secret { return &o.ClientSecret }, keyDoc{
				doc: "Client secret.", example: "{ file: /run/secrets/oauth }", required: true,
			}),
			field("scopes", listOf(str("a scope"), 0, 100), func(o *OAuth2) *[]string { return &o.Scopes }, keyDoc{
				doc: "Scopes asked for.", example: "[hooks.write]",
			}),
		)), func(a *Auth) **OAuth2 { return &a.OAuth2 }, keyDoc{
			doc: "OAuth 2 client credentials (RFC 6749, section 4.4).",
		}),
	)
}

func rateLimitKind() kind[RateLimit] {
	k := object(nil,
		field("per_second", number(0.001, largestCount), func(r *RateLimit) *float64 { return &r.PerSecond }, keyDoc{
			doc: "Attempts a second.", example: "50", required: true,
		}),
		field("burst", integer[int](1, largestCount), func(r *RateLimit) *int { return &r.Burst }, keyDoc{
			doc: "Attempts that may go at once; per_second rounded up when left out.", example: "100",
		}),
	)
	k.shape = k.shape.whenWritten()
	return k
}

func breakerKind() kind[CircuitBreaker] {
	return object(nil,
		field("consecutive_failures", integer[int](0, largestCount), func(c *CircuitBreaker) *int { return &c.ConsecutiveFailures }, keyDoc{
			doc: "Failures of the receiver in a row that open the breaker; 0 is no breaker.", def: "10",
		}),
		field("open_for", duration(time.Millisecond, day, "s"), func(c *CircuitBreaker) *time.Duration { return &c.OpenFor }, keyDoc{
			doc: "Time until one attempt probes the receiver.", def: "30s",
		}),
		field("ramp", boolean(), func(c *CircuitBreaker) *bool { return &c.Ramp }, keyDoc{
			doc: "After a successful probe, double the concurrency step by step.", def: "true",
		}),
	)
}

func retryKind() kind[Retry] {
	retryAfter := object(nil,
		field("max", duration(0, longest, "h"), func(v *time.Duration) *time.Duration { return v }, keyDoc{
			doc: "Longest Retry-After that is honoured; a longer one counts as this, and 0 ignores the header.", def: "1h",
		}),
	)
	return object([][]string{{"backoff", "schedule"}},
		field("max_attempts", integer[int](1, largestCount), func(r *Retry) *int { return &r.MaxAttempts }, keyDoc{
			doc: "Attempts in all; after the last the message becomes a dead letter.", def: "8",
		}),
		field("max_age", duration(0, longest, "h"), func(r *Retry) *time.Duration { return &r.MaxAge }, keyDoc{
			doc: "Age of the message, from its storing, at which it becomes a dead letter; 0 is no limit.", def: "24h",
		}),
		field("backoff", backoffKind(), func(r *Retry) *Backoff { return &r.Backoff }, keyDoc{
			doc: "Delays that grow from attempt to attempt. While messages wait that were never tried, the retries of those that the receiver has something against leave them half of the attempts, by longer delays up to backoff.max.",
		}),
		field("schedule", listOf(duration(0, 30*day, "s"), 1, 1000), func(r *Retry) *[]time.Duration { return &r.Schedule }, keyDoc{
			doc: "Delays one by one, in place of backoff; the last repeats.", example: "[5s, 5m, 30m, 2h, 5h, 10h]",
		}),
		field("retry_after", retryAfter, func(r *Retry) *time.Duration { return &r.RetryAfterMax }, keyDoc{
			doc: "What is done with a Retry-After header of the answer.",
		}),
	)
}

func backoffKind() kind[Backoff] {
	return object(nil,
		field("initial", duration(time.Millisecond, 30*day, "s"), func(b *Backoff) *time.Duration { return &b.Initial }, keyDoc{
			doc: "Delay after the first attempt, before jitter.", def: "1s",
		}),
		field("multiplier", number(1, 100), func(b *Backoff) *float64 { return &b.Multiplier }, keyDoc{
			doc: "How many times longer each delay is than the one before.", def: "2",
		}),
		field("max", duration(time.Millisecond, 30*day, "m"), func(b *Backoff) *time.Duration { return &b.Max }, keyDoc{
			doc: "Longest delay, jitter included.", def: "10m",
		}),
		field("jitter", number(0, 1), func(b *Backoff) *float64 { return &b.Jitter }, keyDoc{
			doc: "Share of the delay that varies at random either way.", def: "0.2",
		}),
	)
}
