package testkit

import (
	"fmt"
	"testing"
)

// FillDeadLetters makes n dead letters inside the Postgres whose schema is that of relay,
// the newest at FilledUntil: of 20 routes from route-0 on and a rare one, of seven causes.
func FillDeadLetters(t testing.TB, url string, n int) {
	t.Helper()
	const atOnce = 20_000
	for from := 1; from <= n; from += atOnce {
		execSQL(t, url, fmt.Sprintf(insertDeadLetters, FilledUntil, from, min(n, from+atOnce-1)))
	}
	execSQL(t, url, `VACUUM ANALYZE dead_letters`)
}

// FilledUntil is the time of the newest that FillDeadLetters makes, in RFC 3339.
const FilledUntil = "2026-03-01T12:00:00Z"

// insertDeadLetters takes FilledUntil and the numbers of the first and the last.
const insertDeadLetters = `INSERT INTO dead_letters (id, route, state, reason, original_subject, payload, headers, error, status, retry_count,
	consumer_name, stream, stream_sequence, published_at, failed_at, changed_at, family, replay_count, died_in,
	error_class, cause, fingerprint)
	SELECT 'msg_' || md5(n::text), CASE WHEN n %% 100000 = 0 THEN 'rare' ELSE 'route-' || n %% 20 END,
	(ARRAY['dead', 'dead', 'dead', 'dead', 'dead', 'dead', 'delivered', 'discarded'])[1 + n %% 8],
	(ARRAY['exhausted', 'exhausted', 'exhausted', 'rejected'])[1 + n %% 4], 'orders.' || n %% 100 || '.created',
	convert_to('{"customer": "customer-' || n || '", "items": "' || md5((n * 7)::text) || md5((n * 11)::text) || '"}', 'UTF8'),
	'{"Event-Type": ["order"]}', 'the receiver answered ' || 500 + n %% 7, CASE WHEN n %% 1000 = 0 THEN 404 ELSE 500 + n %% 7 END,
	8, 'relay-orders', 'ORDERS', n, at, at + interval '1s', at, 'msg_' || md5(n::text), 0, 0, '5xx', 'the receiver answered ' || 500 + n %% 7,
	left(md5((n %% 7)::text), 16)
	FROM (SELECT n, '%s'::timestamptz - n * interval '7 seconds' AS at FROM generate_series(%d, %d) AS n) AS g`
